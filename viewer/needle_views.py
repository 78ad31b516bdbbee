"""The two cuts that follow the needle: across it, as seen from the hub, and along it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from planner.reslice import Plane
from planner.views import ViewName, pose_marks, reformat_view
from targeting.model import NeedlePose
from viewer.editing import Editor
from viewer.marks import Handle, Marks, needle_mark, nerve_mark
from viewer.settings import settings
from viewer.view_row import ViewRow

__all__ = ["NeedleViews"]

Array = NDArray[np.float64]
_NAMES = (ViewName.ACROSS, ViewName.IN_PLANE)
_DEPTH_STEP_MM = 1.0
#: A needle that was not moved for as long rests, ms.
_REST_MS = 150


class NeedleViews(ViewRow[ViewName]):
    """Needle-eye and in-plane views of the needle shown."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        self._step_mm = {ViewName.ACROSS: settings().needle_step_mm, ViewName.IN_PLANE: settings().step_mm}
        self._shift: dict[ViewName, Array] = {name: np.zeros(3) for name in _NAMES}
        self._back_mm = 0.0
        self._held: ViewName | None = None
        self._moving = False
        super().__init__(editor, _NAMES, parent)
        self.rest = QTimer(self)
        self.rest.setSingleShot(True)
        self.rest.setInterval(_REST_MS)
        self.rest.timeout.connect(self._sharpen)
        session = self.session
        session.target_changed.connect(self._reset)
        session.needle_changed.connect(self._follow)
        session.crosshair_changed.connect(self._mark_all)
        self._reset()

    def _reset(self) -> None:
        """Back to the tip, centred."""
        self._shift = {name: np.zeros(3) for name in _NAMES}
        self._back_mm = 0.0
        self._draw_all()

    def _follow(self) -> None:
        """Show a needle that is being moved in coarse pictures, which are sharp once it rests; any other at once."""
        self._moving = self.session.draft is not None
        if self._moving:
            self.rest.start()
        self._draw_all()

    def _sharpen(self) -> None:
        self._moving = False
        self._draw_all()

    def _plane(self, name: ViewName, pose: NeedlePose) -> Plane:
        view, step = self.views[name], self._step_mm[name]
        start = pose_marks(pose).start
        around = np.stack([start, pose.tip]) if name is ViewName.IN_PLANE else None
        sight = reformat_view(name, pose, 2.0 * step, step, around).sight
        assert isinstance(sight, Plane)
        back = self._back_mm if name is ViewName.ACROSS else 0.0
        center = sight.center - back * pose.direction + self._shift[name]
        return replace(sight, center=center, width=max(view.width(), 2), height=max(view.height(), 2))

    def _draw(self, name: ViewName) -> None:
        session, view = self.session, self.views[name]
        pose, target = session.pose, session.target
        if session.slicer is None or target is None or pose is None:
            view.clear("no plan is open" if session.plan is None else "no needle for this target")
            return
        if self._held is not name or view.plane is None:
            plane = self._plane(name, pose)
            cut = _coarse(plane) if self._moving else plane
            view.show_plane(plane, session.slicer.picture(cut, session.window))
        self._mark(name)

    def _mark(self, name: ViewName) -> None:
        pose, target = self.session.pose, self.session.target
        if pose is None or target is None:
            return
        note = ""
        if name is ViewName.ACROSS:
            note = "at the tip" if not self._back_mm else f"{self._back_mm:.0f} mm back from the tip"
        paths = (nerve_mark(target),) if len(target.course.path) else ()
        needles = (needle_mark(pose, target.side, self.editor.can_move),)
        self.views[name].show_marks(Marks(needles, paths, watermark=self.session.watermark), note)

    def _zoom(self, name: ViewName, factor: float) -> None:
        self._step_mm[name] = float(np.clip(self._step_mm[name] * factor, 0.05, 5.0))
        self._draw(name)

    def _pan(self, name: ViewName, shift: Array) -> None:
        self._shift[name] = self._shift[name] + shift
        self._draw(name)

    def _step(self, name: ViewName, steps: float) -> None:
        """Along the shaft, toward the hub for steps toward the eye; not past either end."""
        pose = self.session.pose
        if pose is None:
            return
        longest = float(np.linalg.norm(pose.tip - pose_marks(pose).start))
        self._back_mm = float(np.clip(self._back_mm - _DEPTH_STEP_MM * steps, 0.0, longest))
        self._draw(ViewName.ACROSS)

    def _move_handle(self, name: ViewName, handle: Handle, place: Array) -> None:
        """The view that is dragged in stands still, or the plane would run away under the pointer."""
        self._held = name
        super()._move_handle(name, handle, place)

    def _release_handle(self, handle: Handle) -> None:
        self._held = None
        super()._release_handle(handle)
        self._sharpen()


def _coarse(plane: Plane) -> Plane:
    """The same cut in pixels twice as wide; with an odd number of them half a pixel more is seen at each end."""
    return replace(plane, width=(plane.width + 1) // 2, height=(plane.height + 1) // 2, step_mm=2 * plane.step_mm)
