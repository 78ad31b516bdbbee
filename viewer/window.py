"""The napari window of the review panel: opened with a path, or from the command line until it is closed."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QWidget

from imaging.errors import NotFoundError
from viewer.app import ReviewPanel

__all__ = ["open_window", "run"]

#: Of the window where the screen has room, and of the docks of the flat views and of the panel, pixels.
_SIZE, _WIDTHS = (1840, 1080), (690, 590)


def open_window(path: Path | None = None, source: Path | None = None, *, show: bool = True) -> ReviewPanel:
    """A napari window with the review panel; a path is opened in it.

    Returns
    -------
    ReviewPanel
        Its ``viewer`` is the window's.
    """
    import napari

    viewer = napari.Viewer(title="nerveplan", ndisplay=3, show=show)
    room = QGuiApplication.primaryScreen().availableGeometry()
    viewer.window.resize(min(_SIZE[0], room.width()), min(_SIZE[1], room.height()))
    panel = ReviewPanel(viewer)
    panel_dock = viewer.window.add_dock_widget(panel, name="nerveplan", area="right")
    _make_room(panel, panel_dock)
    if path is not None:
        panel.open_path(path, source)
    return panel


def _make_room(panel: ReviewPanel, panel_dock: QWidget) -> None:
    """Hide napari's own docks (its Window menu brings them back) and share the width."""
    main, inner = panel.viewer.window._qt_window, panel.viewer.window._qt_viewer
    inner.dockLayerControls.setVisible(False)
    inner.dockLayerList.setVisible(False)
    main.resizeDocks([panel.flat_dock, panel_dock], list(_WIDTHS), Qt.Orientation.Horizontal)


def run(path: Path | None, source: Path | None) -> None:
    """Open the window and stay until it is closed."""
    import napari

    if path is not None and not path.exists():
        raise NotFoundError("no such file or folder; check the path")
    open_window(path, source)
    napari.run()
