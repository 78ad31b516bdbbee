"""Axial, sagittal and coronal views through one cross-hair, along the patient's own axes whatever the stack's are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QWidget

from planner.reslice import Plane
from viewer.editing import Editor
from viewer.marks import Handle, Marks, needle_mark, nerve_mark
from viewer.planes import PlaneName, orthogonal, through
from viewer.settings import settings
from viewer.view_row import ViewRow

__all__ = ["OrthoViews"]

Array = NDArray[np.float64]


class OrthoViews(ViewRow[PlaneName]):
    """The three linked views of an editor's session."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        self._planes: dict[PlaneName, Plane] = {}
        super().__init__(editor, PlaneName, parent)
        session = self.session
        session.plan_changed.connect(self._reset)
        session.crosshair_changed.connect(self._follow)
        session.needle_changed.connect(self._mark_all)
        session.review_changed.connect(self._draw_all)
        session.marking.changed.connect(self._mark_all)
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

    def _draw(self, name: PlaneName) -> None:
        if name not in self._planes or self.session.slicer is None:
            return
        view = self.views[name]
        plane = self._planes[name].sized(view.width(), view.height())
        self._planes[name] = plane
        view.show_plane(plane, self.session.slicer.picture(plane, self.session.window))
        self._mark(name)

    def _mark(self, name: PlaneName) -> None:
        session, target, pose = self.session, self.session.target, self.session.pose
        if session.plan is None or name not in self._planes:
            return
        needles = () if target is None or pose is None else (needle_mark(pose, target.side, self.editor.can_move),)
        paths = () if target is None or not len(target.course.path) else (nerve_mark(target),)
        points = session.marking.marks(session.plan.spine, session.crosshair)
        self.views[name].show_marks(Marks(needles, paths, session.crosshair, points, session.watermark))

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

    def _zoom(self, name: PlaneName, factor: float) -> None:
        self._planes = {name: replace(plane, step_mm=float(np.clip(plane.step_mm * factor, 0.05, 5.0)))
                        for name, plane in self._planes.items()}
        self._draw_all()

    def _move_handle(self, name: PlaneName, handle: Handle, place: Array) -> None:
        """A landmark takes the cross-hair with it, so that every other view cuts through it."""
        if handle is Handle.LANDMARK:
            self.session.marking.take_hold()
            self.session.look_at(place)
        else:
            super()._move_handle(name, handle, place)

    def _release_handle(self, handle: Handle) -> None:
        if handle is Handle.LANDMARK:
            self.session.marking.release()
        else:
            super()._release_handle(handle)
