"""Every view of one needle, for whoever draws it: where the eye stands, the words at its edges, patient to picture.

A view is geometry and words only: `targeting.radiograph.radiograph` or `planner.reslice.Cut` makes its picture, and the
caller draws needle, nerve and target where `sight.to_view` puts them. `right x down` always points away from the eye,
so no view is mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging.geometry import CArmAngles, Side, carm_angles, carm_words, direction_from_carm, unit
from planner.reslice import Plane
from planner.words import carm_short
from targeting.fluoroscope import Beam, beam, fluoroscope
from targeting.model import NeedlePose, Target

__all__ = [
    "RADIOGRAPHS", "REFORMATS", "Edge", "PoseMarks", "View", "ViewName", "edge_words", "facing_words",
    "near_side", "pose_marks", "radiograph_view", "reformat_view",
]

Array = NDArray[np.float64]
#: How much of a needle is drawn where its entry is out of view, mm.
_DRAWN_MM = 60.0
_WORDS = ((Side.LEFT.value, Side.RIGHT.value), ("BACK", "FRONT"), ("HEAD", "FEET"))
#: Cosine from which an end of the patient is named at an edge: within 57 degrees, so that one always is, and seen from
#: 60 degrees aside the sides are near and far: what lies behind the patient is then not read as lying on a side.
_NAMED = 0.55
#: The same for where the eye stands, 66 degrees; and from which it stands straight there, within 25 degrees.
_NAMED_EYE, _STRAIGHT = 0.4, 0.906
_LEFT, _HEAD = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
_PRONE = "patient prone"


class ViewName(StrEnum):
    """What a view shows; the value is its title."""

    NEEDLE_EYE = "down the barrel"
    AP = "AP, endplate squared"
    LATERAL = "lateral"
    DECLINED = "declined"
    AXIAL = "axial through the tip"
    IN_PLANE = "plane of the needle, left to right"
    LENGTHWISE = "plane of the needle, head to feet"
    ACROSS = "across the needle at its tip"


#: Simulated fluoroscopy.
RADIOGRAPHS = (ViewName.NEEDLE_EYE, ViewName.AP, ViewName.LATERAL, ViewName.DECLINED)
#: Cuts through the scan.
REFORMATS = (ViewName.AXIAL, ViewName.IN_PLANE, ViewName.LENGTHWISE, ViewName.ACROSS)


class Edge(StrEnum):
    """The four edges of a picture."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


@dataclass(frozen=True, eq=False)
class View:
    """One way to look at a needle.

    Attributes
    ----------
    sight : Plane or Beam
    words : str
        How to get the view in the room, side words before angles, with the assumed position; for a cut, what it
        holds and from where it is seen.
    dial : str
        The receptor's place in few words, for the picture itself; empty for a cut.
    """

    name: ViewName
    sight: Plane | Beam
    words: str
    dial: str = ""

    @property
    def edges(self) -> Mapping[Edge, tuple[str, ...]]:
        """The patient's ends that each edge of the picture lies toward."""
        return edge_words(self.sight.right, self.sight.down)

    @property
    def facing(self) -> str:
        """Where the eye stands."""
        return facing_words(self.sight.right, self.sight.down)


@dataclass(frozen=True, eq=False)
class PoseMarks:
    """What is drawn of one needle and its target, LPS mm.

    Attributes
    ----------
    start, knee, tip : (3,)
        The shaft runs from `start` to `knee`, the active tip from `knee` to `tip`; without one, `knee` is `tip`.
    entry : (3,) or None
        `start` when the skin is in view; else the shaft is drawn for a stretch only.
    """

    start: Array
    knee: Array
    tip: Array
    entry: Array | None


def pose_marks(pose: NeedlePose) -> PoseMarks:
    """The points of a needle that every picture draws."""
    start = pose.entry if pose.entry is not None else pose.tip - _DRAWN_MM * pose.direction
    return PoseMarks(start, pose.tip - (pose.needle.active_tip_mm or 0.0) * pose.direction, pose.tip, pose.entry)


def _toward(direction: Array, named: float = _NAMED) -> tuple[str, ...]:
    """The patient's ends within 57 degrees of a direction: LEFT or RIGHT first, then the nearest. Never empty."""
    found = [(axis > 0, -abs(float(part)), _WORDS[axis][0 if part > 0 else 1])
             for axis, part in enumerate(direction) if abs(part) >= named]
    return tuple(word for _, _, word in sorted(found))


def edge_words(right: Array, down: Array) -> Mapping[Edge, tuple[str, ...]]:
    """The patient's ends that each edge of a picture lies toward: LEFT, RIGHT, HEAD, FEET, BACK or FRONT.

    Parameters
    ----------
    right, down : (3,) unit LPS
        Directions of growing column and row.

    Returns
    -------
    mapping of Edge to tuple of str
        One word or, on a slant, two or three; LEFT or RIGHT first.
    """
    return {Edge.RIGHT: _toward(right), Edge.LEFT: _toward(-right), Edge.BOTTOM: _toward(down),
            Edge.TOP: _toward(-down)}


def facing_words(right: Array, down: Array) -> str:
    """Where the eye stands: ``seen from the patient's LEFT``, ``seen obliquely from the HEAD and BACK``."""
    eye = -np.cross(right, down)
    words = _toward(eye, _NAMED_EYE)
    sides = (Side.LEFT.value, Side.RIGHT.value)
    slant = "" if float(np.abs(eye).max()) >= _STRAIGHT else "obliquely "
    return f"seen {slant}from the " + " and ".join(f"patient's {word}" if word in sides else word for word in words)


def near_side(right: Array, down: Array) -> Side | None:
    """The patient's side that the eye stands on, where LEFT and RIGHT are not at the edges of the picture."""
    if max(abs(float(right[0])), abs(float(down[0]))) >= _NAMED:
        return None
    return Side.LEFT if np.cross(right, down)[0] < 0 else Side.RIGHT


def _radiograph_angles(name: ViewName, pose: NeedlePose, target: Target) -> CArmAngles:
    """Where the receptor goes; against the carrier's own axes when it has them, else against the patient's."""
    frame, side = target.carrier.frame, target.side
    if name is ViewName.NEEDLE_EYE:
        return pose.carm
    if name is ViewName.LATERAL:
        return CArmAngles(90.0 * side.sign, 0.0) if frame is None else carm_angles(-frame.lateral(side))
    tilt = -fluoroscope().declined_tilt_deg if name is ViewName.DECLINED else 0.0
    straight = direction_from_carm(CArmAngles(0.0, tilt))
    return carm_angles(straight if frame is None else straight @ frame.matrix)


def radiograph_view(name: ViewName, pose: NeedlePose, target: Target, pixels: int = 512) -> View:
    """The beam of a simulated fluoroscopy, centred on the needle's tip.

    Parameters
    ----------
    name : ViewName
        One of `RADIOGRAPHS`. Down the barrel the needle is a point in the middle; AP looks along the carrier's
        endplate from behind; lateral has the receptor on the target's side; declined is AP tilted toward the feet.
    pixels : int
        Along an edge.
    """
    if name not in RADIOGRAPHS:
        raise ValueError(f"'{name}' is not simulated fluoroscopy")
    angles = _radiograph_angles(name, pose, target)
    return View(name, beam(pose.tip, angles, pixels), f"{carm_words(angles)} ({_PRONE})",
                f"receptor {carm_short(angles)} ({_PRONE})")


def _reformat_axes(name: ViewName, direction: Array) -> tuple[Array, Array]:
    """Right and down of a cut."""
    along = unit(direction)
    if name is ViewName.AXIAL:
        return _LEFT, np.array([0.0, 1.0, 0.0])
    if name is ViewName.IN_PLANE:
        left = _LEFT if abs(float(along @ _LEFT)) < 0.98 else -_HEAD
        return unit(left - np.dot(left, along) * along), -along
    head = _HEAD if abs(float(along @ _HEAD)) < 0.98 else np.array([0.0, -1.0, 0.0])
    if name is ViewName.LENGTHWISE:
        return -along, -unit(head - np.dot(head, along) * along)
    right = unit(np.cross(along, head))
    return right, np.cross(along, right)


_REFORMAT_WORDS = {
    ViewName.AXIAL: "axial slice through the tip; the path is projected onto it",
    ViewName.IN_PLANE: "slice that holds the whole needle and runs left to right",
    ViewName.LENGTHWISE: "slice that holds the whole needle and runs head to feet",
    ViewName.ACROSS: "slice across the needle at its tip, as seen from the hub",
}


def reformat_view(name: ViewName, pose: NeedlePose, size_mm: float, step_mm: float,
                  around: ArrayLike | None = None) -> View:
    """A square cut through the scan.

    Parameters
    ----------
    name : ViewName
        One of `REFORMATS`.
    size_mm, step_mm : float
        Edge and pixel.
    around : (n, 3) LPS mm or None
        What the cut is centred over, within its plane; None centres it on the tip.
    """
    if name not in REFORMATS:
        raise ValueError(f"'{name}' is not a cut through the scan")
    right, down = _reformat_axes(name, pose.direction)
    center = np.asarray(pose.tip, dtype=np.float64)
    if around is not None:
        points = np.atleast_2d(np.asarray(around, dtype=np.float64))
        offset = (points.min(axis=0) + points.max(axis=0)) / 2 - center
        center = center + np.dot(offset, right) * right + np.dot(offset, down) * down
    pixels = max(round(size_mm / step_mm), 2)
    sight = Plane(center, right, down, pixels, pixels, step_mm)
    return View(name, sight, f"{_REFORMAT_WORDS[name]}; {facing_words(right, down)}")
