"""Simulated fluoroscopy of the needle shown: down the barrel, AP, lateral or declined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from planner.views import RADIOGRAPHS, radiograph_view
from targeting.fluoroscope import Beam
from targeting.radiograph import as_fluoroscopy, radiograph
from viewer.editing import Editor
from viewer.marks import Handle, Marks, needle_mark, nerve_mark
from viewer.plane_view import PlaneView

__all__ = ["FluoroView"]

Array = NDArray[np.float64]
#: A picture is made this long after the needle last moved, ms: it takes longer than one step of a drag.
_REST_MS = 150
_FOLLOWS = "the C-arm follows when the needle rests"


class FluoroView(QWidget):
    """One simulated picture; needle and nerve are drawn over it at once, the picture follows when the needle rests."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        self.choice = QComboBox()
        self.choice.setAccessibleName("simulated fluoroscopy")
        self.choice.addItems([name.value for name in RADIOGRAPHS])
        self.view = PlaneView("simulated X-ray")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(1)
        column.addWidget(self.choice)
        column.addWidget(self.view, 1)
        self.rest = QTimer(self)
        self.rest.setSingleShot(True)
        self.rest.setInterval(_REST_MS)
        self.rest.timeout.connect(self.draw)
        self._beam: Beam | None = None
        self.choice.currentIndexChanged.connect(self.draw)
        self.view.resized.connect(self.rest.start)
        self.view.handle_moved.connect(editor.drag)
        self.view.handle_released.connect(self._release)
        session = self.session
        for signal in (session.plan_changed, session.target_changed, editor.ready_changed):
            signal.connect(self.draw)
        session.needle_changed.connect(self._follow)
        self.draw()

    def _release(self, handle: Handle) -> None:
        self.editor.keep()

    def _follow(self) -> None:
        """The needle is drawn where it is now; the C-arm, and the words on it, follow when it rests."""
        self._mark(_FOLLOWS)
        self.rest.start()

    def draw(self) -> None:
        """Make the picture of the needle as it lies now."""
        self.rest.stop()
        session, pose, target = self.session, self.session.pose, self.session.target
        if session.attenuation is None or pose is None or target is None:
            self._beam = None
            self.view.clear(self._why_not())
            return
        name = RADIOGRAPHS[self.choice.currentIndex()]
        shown = radiograph_view(name, pose, target)
        assert isinstance(shown.sight, Beam)
        self._beam = shown.sight.sized(max(self.view.width(), 2), max(self.view.height(), 2))
        grey = as_fluoroscopy(radiograph(session.attenuation, self._beam))
        self.view.show_plane(self._beam, np.repeat(grey[..., None], 3, axis=2))
        self._mark(shown.words)

    def _mark(self, words: str) -> None:
        pose, target = self.session.pose, self.session.target
        if self._beam is None or pose is None or target is None:
            return
        paths = (nerve_mark(target),) if len(target.course.path) else ()
        marks = Marks((needle_mark(pose, target.side, self.editor.can_move),), paths,
                      watermark=self.session.watermark)
        self.view.show_marks(marks, words)

    def _why_not(self) -> str:
        if self.session.plan is None:
            return "no plan is open"
        if self.session.pose is None:
            return "no needle for this target"
        return "simulated from CT only, once it is prepared"

