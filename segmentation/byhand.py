"""The anatomy with one thing placed, moved, named or taken away by a person, and the nerve courses drawn anew from it.

Whatever a hand touched says so (``placed_by``) and is never HIGH: nothing checks it but the next reader. Masks stay as
they are: a vertebra taken off the list is still bone in the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging.errors import UsageError
from imaging.geometry import Side, VertebralFrame, unit
from segmentation.anatomy import VERSE_LABEL, LandmarkName, Level, is_relative
from segmentation.constants import constants
from segmentation.landmarks import SideAnatomy
from segmentation.nerves import ala_course, carried_nerve, medial_branch_course
from segmentation.shape import BoneField, bone_field
from segmentation.spine import Landmark, NerveCourse, Numbering, NumberingStatus, Spine, Vertebra

__all__ = [
    "course_through", "frame_from_points", "hand_target_spread", "with_landmark", "with_vertebra", "without_vertebra",
]

Array = NDArray[np.float64]


def _value(table: str, name: str) -> float:
    return float(constants("by_hand")[table][name]["value"])


def frame_from_points(front: ArrayLike, back: ArrayLike, middle: ArrayLike) -> VertebralFrame:
    """The frame of a vertebra from three points in its own midline.

    A point that lies beside the midline turns the frame: 1.5 mm at the front or back by about 3 degrees about its long
    axis, in the middle of the body by about 6 degrees to the side.

    Parameters
    ----------
    front, back : (3,) LPS mm
        Of the upper endplate.
    middle : (3,) LPS mm
        Of the body.

    Raises
    ------
    UsageError
        The points cannot be those of one vertebra, or were put in the wrong order; says which.
    """
    a, b, m = (np.asarray(point, dtype=np.float64) for point in (front, back, middle))
    depth = float(np.linalg.norm(b - a))
    if not _value("points", "depth_min") <= depth <= _value("points", "depth_max"):
        raise UsageError(f"the front and the back of the upper endplate lie {depth:.0f} mm apart; a vertebra's lie "
                         f"{_value('points', 'depth_min'):.0f} to {_value('points', 'depth_max'):.0f} mm apart")
    posterior = unit(b - a)
    up = (a + b) / 2 - m
    up = up - (up @ posterior) * posterior
    height = float(np.linalg.norm(up))
    if not _value("points", "below_min") <= height <= _value("points", "below_max"):
        raise UsageError(f"the middle of the body lies {height:.0f} mm from the line of the upper endplate; a "
                         f"vertebra's lies {_value('points', 'below_min'):.0f} to "
                         f"{_value('points', 'below_max'):.0f} mm below it")
    frame = VertebralFrame.from_axes(m + 0.5 * depth * posterior, posterior, up)
    if frame.left[0] < np.cos(np.radians(_value("points", "turn_max"))):
        raise UsageError("these points would turn the vertebra's left away from the patient's left: the front, the "
                         "back or the middle was put in the wrong place")
    return frame


class _OpenField:
    """Stands for the surface of a bone nobody segmented: nothing is inside it and no point is moved onto it."""

    def sample(self, xyz: ArrayLike) -> Array:
        """(..., 3) to (...): infinitely far outside."""
        return np.full(np.shape(xyz)[:-1], np.inf)

    def normal(self, xyz: ArrayLike) -> Array:
        """(..., 3) to (..., 3): no direction is outward."""
        return np.zeros(np.shape(xyz))

    def to_surface(self, xyz: ArrayLike, offset_mm: float = 0.0) -> Array:
        """(..., 3) to (..., 3): where it was."""
        return np.array(xyz, dtype=np.float64)


def _vertebra(spine: Spine, level: str) -> Vertebra:
    found = spine.vertebra(level)
    if found is None:
        known = ", ".join(v.name for v in spine.vertebrae) or "none"
        raise UsageError(f"there is no vertebra {level} here (found: {known}); place it first")
    return found


def _field(spine: Spine, vertebra: Vertebra) -> BoneField | None:
    """The bone's surface; None where no voxel carries its label."""
    mask = np.asarray(spine.labels == vertebra.label)
    return bone_field(mask, spine.grid) if mask.any() else None


def _with(spine: Spine, vertebra: Vertebra) -> Spine:
    return replace(spine, vertebrae=tuple(vertebra if v.name == vertebra.name else v for v in spine.vertebrae))


def course_through(spine: Spine, vertebra: Vertebra, side: Side, junction: ArrayLike) -> NerveCourse:
    """The nerve course on one side of a bone whose junction was placed by hand.

    The neck of the articular process keeps its place relative to the junction where a course was there before, else it
    is the nominal one; a notch that is known stays where it is.

    Parameters
    ----------
    junction : (3,) LPS mm
        The junction of the superior articular and the transverse process, or the sacral ala groove.

    Raises
    ------
    UsageError
        The bone has no frame to draw in.
    """
    frame = vertebra.frame
    if frame is None:
        raise UsageError(f"{vertebra.name} has no frame: place the vertebra by hand first")
    before = next((c for c in spine.nerves if c.carrier == vertebra.name and c.side is side), None)
    old = vertebra.landmarks.get(LandmarkName(f"sap_tp_junction_{side.value.lower()}"))
    notch = vertebra.landmarks.get(LandmarkName(f"mamillo_accessory_notch_{side.value.lower()}"))
    local = frame.to_side(junction, side)
    ventral = dorsal = None
    if before is not None and old is not None:
        shift = local - frame.to_side(old.position, side)
        ventral, dorsal = (frame.to_side(point, side) + shift for point in before.neck)
    if notch is not None:
        dorsal = frame.to_side(notch.position, side)
    field, confidence, reasons = _field(spine, vertebra), _value("landmark", "confidence"), ["placed by hand"]
    if field is None:
        confidence = min(confidence, _value("course", "no_bone"))
        reasons.append("no mask of the bone: the course is the nominal one, not on its surface")
    anatomy = SideAnatomy(side, frame, local, ventral, dorsal, confidence, tuple(reasons))
    surface = _OpenField() if field is None else field
    if vertebra.name == Level.S1:
        return ala_course(surface, anatomy, carried_nerve(vertebra.name))
    return medial_branch_course(surface, anatomy, carried_nerve(vertebra.name), vertebra.name)


def hand_target_spread(course: NerveCourse) -> tuple[Array, float]:
    """Covariance (3, 3) mm2 and confidence of a target set by hand on a course: the hand's spread and the course's."""
    sigma = _value("landmark", "sigma")
    nerve = float(course.sigma_mm.max()) if len(course.sigma_mm) else 0.0
    return np.eye(3) * (sigma**2 + nerve**2), _value("landmark", "confidence")


def with_landmark(spine: Spine, level: str, name: LandmarkName, position: ArrayLike, who: str) -> Spine:
    """Move or place one landmark; the course that hangs on it is drawn anew.

    Parameters
    ----------
    position : (3,) LPS mm
    who : str
        As typed.
    """
    vertebra = _vertebra(spine, level)
    xyz = np.asarray(position, dtype=np.float64)
    mark = Landmark(xyz, np.eye(3) * _value("landmark", "sigma")**2, _value("landmark", "confidence"),
                    (f"placed by {who}",), who)
    side = next((s for s in Side if name.value.endswith(s.value.lower())), None)
    junction = LandmarkName(f"sap_tp_junction_{side.value.lower()}") if side is not None else None
    marks: Mapping[LandmarkName, Landmark] = {**vertebra.landmarks, name: mark}
    moved = replace(vertebra, landmarks=marks)
    redraws = junction is not None and junction in marks and (
        name is junction or name.value.startswith("mamillo_accessory_notch"))
    if not redraws:
        return _with(spine, moved)
    assert side is not None
    assert junction is not None
    basis = vertebra if name is junction else moved
    course = course_through(spine, basis, side, marks[junction].position)
    nerves = {(c.carrier, c.side): c for c in spine.nerves} | {(level, side): course}
    return replace(_with(spine, moved), nerves=tuple(nerves.values()))


def with_vertebra(spine: Spine, level: str, frame: VertebralFrame, body_center: ArrayLike, who: str) -> Spine:
    """Place a vertebra that was not found, or give a found one a frame.

    Parameters
    ----------
    level : str
        A `segmentation.anatomy.Level` value.
    frame : VertebralFrame
        From points the person set: the superior endplate and the posterior direction.
    body_center : (3,) LPS mm
    who : str
        As typed.

    Raises
    ------
    UsageError
        It is no level, would lie on the wrong side of a known one, or the levels here are only counted.
    """
    if is_relative(level) or level not in [one.value for one in Level]:
        raise UsageError(f"'{level}' is not a level; say one such as L4, the sacrum is S1")
    center, found = np.asarray(body_center, dtype=np.float64), spine.vertebra(level)
    if found is not None:
        placed = replace(found, frame=frame, body_center=center, placed_by=who,
                         confidence=min(found.confidence, _value("vertebra", "confidence")))
        return _with(spine, placed)
    if any(is_relative(v.name) for v in spine.vertebrae):
        raise UsageError("the levels here are only counted; state one first, such as LLV-1=L4")
    placed = Vertebra(level, VERSE_LABEL[Level(level)], _value("vertebra", "confidence"), center, frame,
                      evidence=(f"placed by {who}",), placed_by=who)
    numbering = spine.numbering
    if not spine.vertebrae:
        numbering = Numbering(numbering.tier, NumberingStatus.NAMED, f"{level} placed by {who}")
    order = [one.value for one in Level]
    _in_order(spine, placed, order)
    vertebrae = tuple(sorted((*spine.vertebrae, placed), key=lambda v: order.index(v.name)))
    return replace(spine, vertebrae=vertebrae, numbering=numbering)


def _in_order(spine: Spine, placed: Vertebra, order: list[str]) -> None:
    """Refuse a vertebra that would lie above one it must lie below, or the other way round."""
    assert placed.frame is not None
    for other in spine.vertebrae:
        higher = float((other.body_center - placed.body_center) @ placed.frame.superior) > 0
        if higher is not (order.index(other.name) < order.index(placed.name)):
            raise UsageError(f"{placed.name} would lie {'below' if higher else 'above'} {other.name}: the level or the "
                             "place is wrong")


def without_vertebra(spine: Spine, level: str) -> Spine:
    """Take a vertebra off the list with its courses; its voxels stay bone."""
    _vertebra(spine, level)
    return replace(spine, vertebrae=tuple(v for v in spine.vertebrae if v.name != level),
                   nerves=tuple(c for c in spine.nerves if c.carrier != level))
