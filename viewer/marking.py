"""What a person is about to put by hand: a landmark chosen, and the points of a vertebra nobody found. No toolkit."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from segmentation.anatomy import LandmarkName
from segmentation.spine import Spine
from viewer.anatomy_words import landmark_title
from viewer.marks import PointMark

__all__ = ["BodyPoint", "Marking"]

Array = NDArray[np.float64]


class BodyPoint(StrEnum):
    """The points, in the vertebra's own midline, that give it its place and frame."""

    FRONT = "front of the upper endplate"
    BACK = "back of the upper endplate"
    MIDDLE = "middle of the body"


class Marking:
    """Points on their way into the plan; nothing of it is recorded.

    Attributes
    ----------
    landmark : tuple of level name and LandmarkName, or None
        The landmark chosen; it stays one of that bone wherever the cross-hair goes.
    held : bool
        It is being dragged: it lies where the cross-hair lies.
    points : mapping
        What was set of a vertebra, (3,) LPS mm each.
    """

    changed = Signal()
    let_go = Signal()
    """The landmark was dragged to the cross-hair and let go."""

    def __init__(self) -> None:
        self.landmark: tuple[str, LandmarkName] | None = None
        self.held = False
        self.points: dict[BodyPoint, Array] = {}

    def choose_landmark(self, level: str, name: LandmarkName | None) -> None:
        """Choose a landmark of a bone, or none."""
        self.landmark, self.held = None if name is None or not level else (level, name), False
        self.changed.emit()

    def set_point(self, which: BodyPoint, place: Array) -> None:
        """Set one point of a vertebra, (3,) LPS mm."""
        self.points[which] = np.asarray(place, dtype=np.float64).copy()
        self.changed.emit()

    def take_hold(self) -> None:
        """From now on the landmark lies where the cross-hair lies."""
        if not self.held:
            self.held = True
            self.changed.emit()

    def release(self) -> None:
        """Let the landmark go: whoever listens asks whether it is meant; then it lies where the plan has it."""
        if self.held:
            self.let_go.emit()
            self.held = False
            self.changed.emit()

    def forget_points(self) -> None:
        """The vertebra they were for is in the plan, or the plan is another."""
        self.points = {}
        self.changed.emit()

    def clear(self) -> None:
        """Forget everything."""
        self.landmark, self.held, self.points = None, False, {}
        self.changed.emit()

    def marks(self, spine: Spine, crosshair: Array) -> tuple[PointMark, ...]:
        """The points to draw: the landmark chosen, which can be taken hold of, and those of a vertebra."""
        points = tuple(PointMark(which.value, place) for which, place in self.points.items())
        if self.landmark is None:
            return points
        level, name = self.landmark
        bone = spine.vertebra(level)
        mark = None if bone is None else bone.landmarks.get(name)
        if mark is None and not self.held:
            return points
        place = crosshair if self.held or mark is None else mark.position
        return (*points, PointMark(f"{landmark_title(name)} of {level}", place, movable=True))
