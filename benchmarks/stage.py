"""A review window on a display of its own, with a hand that works in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog

from benchmarks.display import virtual_display
from benchmarks.hand import Hand
from imaging.geometry import to_world
from planner.views import ViewName
from segmentation.anatomy import StructureName
from targeting.model import NeedlePose
from viewer.app import ReviewPanel
from viewer.approval import ApproveDialog
from viewer.plane_view import PlaneView
from viewer.window import open_window

__all__ = ["Stage", "stage"]

Array = NDArray[np.float64]
_REPOSE_S = 0.5
_CTRL = Qt.KeyboardModifier.ControlModifier


@dataclass(frozen=True, eq=False)
class Stage:
    """A window with its review panel, and the hand that works in it."""

    panel: ReviewPanel
    hand: Hand

    @property
    def pose(self) -> NeedlePose:
        """The needle shown."""
        pose = self.panel.session.pose
        assert pose is not None, "no needle is shown"
        return pose

    @property
    def in_plane(self) -> PlaneView:
        """The view that holds the needle."""
        return self.panel.flat.needle.views[ViewName.IN_PLANE]

    @property
    def folder(self) -> Path:
        """The open plan folder."""
        folder = self.panel.session.folder
        assert folder is not None, "no plan is open"
        return folder

    @property
    def broken(self) -> str:
        """The limits that the needle shown does not meet, in the window's words."""
        return self.panel.needle.broken.text()

    @property
    def targets(self) -> tuple[str, ...]:
        """Nerve, bone and side of every target listed."""
        return tuple(p.target.id.partition(":")[2] for p in self.panel.session.proposals)

    def settle(self, what: str) -> float:
        """Wait until needles can be moved and nothing is being computed; seconds."""
        return self.hand.wait(lambda: self.panel.editor.evaluator is not None and not self.panel.strip.busy, what)

    def open(self, folder: Path) -> float:
        """Open a plan folder and wait until needles can be moved; seconds."""
        started = time.perf_counter()
        self.panel.open_path(folder)
        self.settle("opening the plan")
        return time.perf_counter() - started

    def repose(self) -> None:
        """Let everything that follows a needle at rest catch up and be painted."""
        began = time.perf_counter()
        self.hand.wait(lambda: time.perf_counter() - began > _REPOSE_S and not self.panel.flat.fluoro.rest.isActive(),
                       "the views are at rest")

    def sign_in(self, who: str, role: str) -> None:
        """Type name and role."""
        for line, text in ((self.panel.decisions.who, who), (self.panel.decisions.role, role)):
            line.clear()
            self.hand.click(line)
            self.hand.write(line, text)

    def undo(self) -> None:
        """Ctrl+Z."""
        self.hand.press(Qt.Key.Key_Z, _CTRL)

    def redo(self) -> None:
        """Ctrl+Y."""
        self.hand.press(Qt.Key.Key_Y, _CTRL)

    def approve(self, side: str, reason: str, seen: list[tuple[tuple[str, ...], bool]] | None = None) -> None:
        """Ctrl+Return, a reason beside every limit that is not met, the side in words, Approve where it can be pressed.

        `seen` takes the limits asked about and whether Approve could be pressed.
        """
        def fill(dialog: QDialog) -> None:
            assert isinstance(dialog, ApproveDialog)
            for line in dialog.reasons.values():
                self.hand.write(line, reason)
            self.hand.write(dialog.side, side)
            if seen is not None:
                seen.append((tuple(dialog.reasons), dialog.approve_button.isEnabled()))
            if dialog.approve_button.isEnabled():
                self.hand.click(dialog.approve_button)

        self.hand.answer(ApproveDialog, fill)
        self.hand.press(Qt.Key.Key_Return, _CTRL)

    def canal_in_plane(self) -> Array:
        """(3,) LPS mm: the place of the canal that lies nearest to the tip in the plane that holds the needle."""
        tip, plane, plan = self.pose.tip, self.in_plane.plane, self.panel.session.plan
        assert plane is not None
        assert plan is not None
        mask = plan.spine.structures[StructureName.CANAL].mask
        assert mask is not None, "the canal was not computed"
        centres = to_world(plan.spine.grid, np.argwhere(mask)[:, ::-1])
        centres = centres[np.abs((centres - tip) @ plane.into) < 1.5]
        return np.asarray(centres[np.argmin(np.linalg.norm(centres - tip, axis=1))])


@contextmanager
def stage() -> Iterator[Stage]:
    """A review window on a display of its own."""
    with virtual_display():
        app = QApplication.instance() or QApplication([])
        panel = open_window()
        yield Stage(panel, Hand(panel.viewer.window._qt_window))
        panel.close_plan()
        panel.viewer.close()
        app.processEvents()
