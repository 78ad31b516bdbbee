"""Flat views side by side: what is alike in the orthogonal ones and in those that follow the needle."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QHBoxLayout, QWidget

from viewer.editing import Editor
from viewer.marks import Handle
from viewer.plane_view import WINDOW_SHARE_PER_PX, PlaneView

__all__ = ["ViewRow"]

Array = NDArray[np.float64]
Name = TypeVar("Name", bound=StrEnum)


class ViewRow(QWidget, Generic[Name]):
    """A row of views of an editor's session; what a mouse asks for in any of them arrives with the view's name.

    Parameters
    ----------
    names : iterable of StrEnum
        From left to right; the value is the title.
    """

    def __init__(self, editor: Editor, names: Iterable[Name], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        self.views: dict[Name, PlaneView] = {name: PlaneView(name.value, self) for name in names}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for name, view in self.views.items():
            row.addWidget(view)
            view.picked.connect(self.session.look_at)
            view.window_moved.connect(self._drag_window)
            view.resized.connect(partial(self._draw, name))
            view.stepped.connect(partial(self._step, name))
            view.panned.connect(partial(self._pan, name))
            view.zoomed.connect(partial(self._zoom, name))
            view.handle_moved.connect(partial(self._move_handle, name))
            view.handle_released.connect(self._release_handle)
        self.session.window_changed.connect(self._draw_all)
        editor.ready_changed.connect(self._mark_all)

    def _draw_all(self) -> None:
        for name in self.views:
            self._draw(name)

    def _mark_all(self) -> None:
        for name in self.views:
            self._mark(name)

    def _draw(self, name: Name) -> None:
        """Show the picture of one view and its marks, or why there is none."""
        raise NotImplementedError

    def _mark(self, name: Name) -> None:
        """Draw the marks of one view anew over the picture that is there; nothing where there is none."""
        raise NotImplementedError

    def _step(self, name: Name, steps: float) -> None:
        """Move along the line of sight, away from the eye positive."""
        raise NotImplementedError

    def _pan(self, name: Name, shift: Array) -> None:
        """Move the middle of one view, (3,) LPS mm."""
        raise NotImplementedError

    def _zoom(self, name: Name, factor: float) -> None:
        """Make a view's pixels `factor` times as large."""
        raise NotImplementedError

    def _drag_window(self, right: float, down: float) -> None:
        self.session.drag_window(WINDOW_SHARE_PER_PX * right, WINDOW_SHARE_PER_PX * down)

    def _move_handle(self, name: Name, handle: Handle, place: Array) -> None:
        self.editor.drag(handle, place)

    def _release_handle(self, handle: Handle) -> None:
        self.editor.keep()
