"""What is drawn over a flat view, in the patient's coordinates; the widget puts it on the screen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side
from planner.pictures import NERVE_COLOR, SIDE_COLOR
from planner.views import PoseMarks, pose_marks
from targeting.model import NeedlePose, Target

__all__ = ["Handle", "Marks", "NeedleMark", "PathMark", "PointMark", "needle_mark", "nerve_mark"]

Array = NDArray[np.float64]


class Handle(StrEnum):
    """What can be taken hold of in a view: the ends of a needle, and a landmark."""

    ENTRY = "entry"
    TIP = "tip"
    LANDMARK = "landmark"


@dataclass(frozen=True, eq=False)
class NeedleMark:
    """A needle.

    Attributes
    ----------
    points : PoseMarks
    diameter_mm : float
    color : str
        ``#rrggbb``.
    movable : bool
    """

    points: PoseMarks
    diameter_mm: float
    color: str
    movable: bool

    def handles(self) -> dict[Handle, Array]:
        """(3,) LPS mm of the ends that are known."""
        entry = self.points.entry
        return {Handle.TIP: self.points.tip} | ({} if entry is None else {Handle.ENTRY: entry})


@dataclass(frozen=True, eq=False)
class PathMark:
    """A course through the patient, such as a nerve: (n, 3) LPS mm and a colour ``#rrggbb``."""

    path: Array
    color: str


@dataclass(frozen=True, eq=False)
class PointMark:
    """A named point: (3,) LPS mm; a movable one, of which a view has one at most, can be taken hold of."""

    name: str
    place: Array
    movable: bool = False


@dataclass(frozen=True, eq=False)
class Marks:
    """Everything over one view; the watermark says what nobody has approved."""

    needles: tuple[NeedleMark, ...] = ()
    paths: tuple[PathMark, ...] = ()
    crosshair: Array | None = None
    points: tuple[PointMark, ...] = ()
    watermark: str = ""

    def handles(self) -> dict[Handle, Array]:
        """(3,) LPS mm of everything that can be taken hold of."""
        held: dict[Handle, Array] = {}
        for needle in self.needles:
            held |= needle.handles() if needle.movable else {}
        landmark = next((point for point in self.points if point.movable), None)
        return held if landmark is None else held | {Handle.LANDMARK: landmark.place}


def needle_mark(pose: NeedlePose, side: Side, movable: bool) -> NeedleMark:
    """A needle in the colour of its side."""
    return NeedleMark(pose_marks(pose), pose.needle.diameter_mm, SIDE_COLOR[side], movable)


def nerve_mark(target: Target) -> PathMark:
    """The modelled course of a target's nerve."""
    return PathMark(target.course.path, NERVE_COLOR)
