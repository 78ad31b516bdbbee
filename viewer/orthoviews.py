"""Axial, sagittal and coronal views through one cross-hair, along the patient's own axes whatever the stack's are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QHBoxLayout, QWidget

from planner.reslice import Plane
from viewer.editing import Editor
from viewer.marks import Handle, Marks, needle_mark, nerve_mark
from viewer.plane_view import WINDOW_SHARE_PER_PX, PlaneView
from viewer.planes import PlaneName, orthogonal, through
from viewer.settings import settings

__all__ = ["OrthoViews"]

Array = NDArray[np.float64]


class OrthoViews(QWidget):
    """The three linked views of an editor's session."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        session = self.session
        self.views = {name: PlaneView(name.value, self) for name in PlaneName}
        self._planes: dict[PlaneName, Plane] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for name, view in self.views.items():
            row.addWidget(view)
            view.picked.connect(session.look_at)
            view.stepped.connect(partial(self._step, name))
            view.panned.connect(partial(self._pan, name))
            view.zoomed.connect(self._zoom)
            view.window_moved.connect(self._drag_window)
            view.resized.connect(partial(self._draw, name))
            view.handle_moved.connect(self._move_handle)
            view.handle_released.connect(self._release_handle)
        session.plan_changed.connect(self._reset)
        session.crosshair_changed.connect(self._follow)
        session.window_changed.connect(self._draw_all)
        session.needle_changed.connect(self._mark_all)
        session.review_changed.connect(self._draw_all)
        editor.ready_changed.connect(self._mark_all)
        self._reset()

    def _reset(self) -> None:
        """Look at the whole of a newly opened plan, or at nothing."""
        if self.session.plan is None:
            self._planes = {}
            for view in self.views.values():
                view.clear("no plan is open")
            return
        step = settings().step_mm
        self._planes = {name: orthogonal(name, self.session.crosshair, 2, 2, step) for name in PlaneName}
        self._draw_all()

    def _follow(self) -> None:
        """Cut through the cross-hair; the middle of a view moves only when the cross-hair would leave it."""
        at = self.session.crosshair
        for name, plane in self._planes.items():
            view = self.views[name]
            plane = plane.sized(view.width(), view.height())
            plane = replace(plane, center=through(plane, at))
            x, y, _ = plane.to_view(at)
            inside = 0.1 * plane.width < x < 0.9 * plane.width and 0.1 * plane.height < y < 0.9 * plane.height
            self._planes[name] = plane if inside else replace(plane, center=at)
        self._draw_all()

    def _draw_all(self) -> None:
        for name in self._planes:
            self._draw(name)

    def _draw(self, name: PlaneName) -> None:
        if name not in self._planes or self.session.slicer is None:
            return
        view = self.views[name]
        plane = self._planes[name].sized(view.width(), view.height())
        self._planes[name] = plane
        view.show_plane(plane, self.session.slicer.picture(plane, self.session.window))
        self._mark(name)

    def _mark_all(self) -> None:
        for name in self._planes:
            self._mark(name)

    def _mark(self, name: PlaneName) -> None:
        session, target, pose = self.session, self.session.target, self.session.pose
        needles = () if target is None or pose is None else (needle_mark(pose, target.side, self.editor.can_move),)
        paths = () if target is None or not len(target.course.path) else (nerve_mark(target),)
        self.views[name].show_marks(Marks(needles, paths, session.crosshair))

    def _step(self, name: PlaneName, steps: float) -> None:
        """Along the line of sight by the scan's own spacing in that direction."""
        plan = self.session.plan
        if plan is None:
            return
        into = self._planes[name].into
        spacing = float(np.abs(into @ plan.spine.grid.direction) @ plan.spine.grid.spacing)
        self.session.look_at(self.session.crosshair + steps * spacing * into)

    def _pan(self, name: PlaneName, shift: Array) -> None:
        plane = self._planes[name]
        self._planes[name] = replace(plane, center=plane.center + shift)
        self._draw(name)

    def _zoom(self, factor: float) -> None:
        self._planes = {name: replace(plane, step_mm=float(np.clip(plane.step_mm * factor, 0.05, 5.0)))
                        for name, plane in self._planes.items()}
        self._draw_all()

    def _drag_window(self, right: float, down: float) -> None:
        self.session.drag_window(WINDOW_SHARE_PER_PX * right, WINDOW_SHARE_PER_PX * down)

    def _move_handle(self, handle: Handle, place: Array) -> None:
        self.editor.drag(handle, place)

    def _release_handle(self, handle: Handle) -> None:
        self.editor.keep()
