"""Nerve courses: lumbar medial branches on the neck of the superior articular process, the L5 dorsal ramus on the ala.

A model, not an image finding: a polyline on the bone surface with a cross-track standard deviation at each point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segmentation.anatomy import LUMBAR_NERVES, Level, Nerve, carrier_of
from segmentation.constants import constants
from segmentation.landmarks import SideAnatomy
from segmentation.spine import NerveCourse

__all__ = ["Surface", "ala_course", "carried_nerve", "medial_branch_course"]

Array = NDArray[np.float64]


class Surface(Protocol):
    """What a course is laid on: the surface of a bone, such as `segmentation.shape.BoneField`."""

    def sample(self, xyz: ArrayLike) -> Array:
        """(..., 3) LPS mm to (...) mm signed distance, negative inside."""
        ...

    def normal(self, xyz: ArrayLike) -> Array:
        """(..., 3) LPS mm to (..., 3) outward."""
        ...

    def to_surface(self, xyz: ArrayLike, offset_mm: float = 0.0) -> Array:
        """(..., 3) LPS mm moved onto the surface `offset_mm` outside the bone."""
        ...


def carried_nerve(level: str) -> Nerve | None:
    """The lumbar nerve targeted on a bone, or None when the bone carries none or has no certain name."""
    return next((nerve for nerve in LUMBAR_NERVES if carrier_of(nerve).value == level), None)


def _outside(field: Surface, points: Array, offset: float) -> Array:
    """Points moved onto the surface `offset` mm outside the bone."""
    return field.to_surface(points, offset)


def _clear(field: Surface, point: Array, offset: float) -> Array:
    """The point itself, or moved outward when it lies in the bone or nearer than `offset`."""
    return point if float(field.sample(point)) >= offset else _outside(field, point, offset)


def _walk(field: Surface, start: Array, direction: Array, length: float, offset: float) -> Array:
    """(n, 3) LPS mm: steps over the surface from `start` along a direction, kept `offset` mm outside the bone."""
    step = float(constants("nerves")["ala"]["step_mm"])
    points = [start]
    for _ in range(max(1, round(length / step))):
        normal = field.normal(points[-1])
        tangent = direction - np.dot(direction, normal) * normal
        size = float(np.linalg.norm(tangent))
        if size < 1e-6:
            break
        points.append(_outside(field, points[-1] + step * tangent / size, offset))
    return np.array(points)


def _course(nerve: Nerve | None, carrier: str, anatomy: SideAnatomy, path: Array, neck: Array,
            doubts: Sequence[tuple[float, str]]) -> NerveCourse:
    sigma = np.array(constants("nerves")["course"]["sigma_mm"], dtype=float)
    confidence = min([anatomy.confidence, *(c for c, _ in doubts)])
    return NerveCourse(nerve, carrier, anatomy.side, path, sigma, neck, confidence,
                       (*anatomy.reasons, *(reason for _, reason in doubts)))


def _naming_doubts(nerve: Nerve | None) -> list[tuple[float, str]]:
    if nerve is not None:
        return []
    return [(float(constants("nerves")["confidence"]["not_named"]), "the bone's level is not certain: nerve not named")]


def medial_branch_course(field: Surface, anatomy: SideAnatomy, nerve: Nerve | None, carrier: str) -> NerveCourse:
    """The medial branch on one side of a thoracolumbar vertebra (clinical specification 1.2).

    Returns
    -------
    NerveCourse
        Path P0..P5: cranial-anterior of the crest, over it at the junction, along the neck, the notch, the lamina.
    """
    c = constants("nerves")["course"]
    offset = float(c["offset_mm"])
    doubts = _naming_doubts(nerve)
    n = anatomy.junction
    front, back = (float(v) for v in c["nominal_neck_mm"])
    fall = float(c["nominal_fall_mm"])
    ventral = anatomy.ventral if anatomy.ventral is not None else n - np.array([0.0, front, 0.0])
    notch = anatomy.notch if anatomy.notch is not None else n + np.array([0.0, back, -fall])
    for found, word in ((anatomy.ventral, "front margin"), (anatomy.notch, "mamillo-accessory notch")):
        if found is None:
            doubts.append((float(constants("nerves")["confidence"]["missing_margin"]), f"{word} of the neck assumed"))
    share = float(np.clip((n[1] - ventral[1]) / max(notch[1] - ventral[1], 1e-6), 0.0, 0.9))
    wanted = [float(v) for v in c["neck_shares"]]
    if share > wanted[0] - 0.1:
        wanted = [share + (1 - share) / 3, share + 2 * (1 - share) / 3]
    between = [n + (notch - n) * (t - share) / (1 - share) for t in wanted]
    forward = float(c["rise_forward_share"])
    root = n + float(c["rise_mm"]) * np.array([0.0, -forward, np.sqrt(1 - forward**2)])
    world = anatomy.frame.from_side(np.array([root, n, *between, notch - (0.0, 0.0, float(c["accessory_bias_mm"]))]),
                                    anatomy.side)
    on_bone = _outside(field, world[1:], offset)
    lamina = _direction(anatomy, c["lamina_direction"])
    last = _walk(field, on_bone[-1], lamina, float(c["lamina_mm"]), offset)[-1]
    path = np.vstack([_clear(field, world[0], offset), on_bone, last])
    neck = field.to_surface(anatomy.frame.from_side(np.array([ventral, notch]), anatomy.side))
    return _course(nerve, carrier, anatomy, path, neck, doubts)


def _direction(anatomy: SideAnatomy, local: Sequence[float]) -> Array:
    """(lateral, posterior, superior) direction of one side to a unit LPS direction."""
    vector = anatomy.frame.from_side(np.asarray(local, dtype=float), anatomy.side) - anatomy.frame.origin
    return np.asarray(vector / np.linalg.norm(vector))


def ala_course(field: Surface, anatomy: SideAnatomy, nerve: Nerve | None) -> NerveCourse:
    """The L5 dorsal ramus in the groove between the S1 articular root and the ala (clinical specification 1.3)."""
    c, common = constants("nerves")["ala"], constants("nerves")["course"]
    offset = float(common["offset_mm"])
    doubts = _naming_doubts(nerve)
    n = anatomy.junction
    low, high = (float(v) for v in c["root_length_mm"])
    length = low
    if anatomy.notch is None:
        doubts.append((float(constants("nerves")["confidence"]["missing_margin"]),
                       "back of the articular root assumed"))
    else:
        length = float(np.clip(anatomy.notch[1] - n[1], low, high))
    forward = float(common["rise_forward_share"])
    root = n + float(common["rise_l5_mm"]) * np.array([0.0, -forward, np.sqrt(1 - forward**2)])
    world = anatomy.frame.from_side(np.array([root, n]), anatomy.side)
    first = _outside(field, world[1], offset)
    groove = _walk(field, first, _direction(anatomy, c["walk_direction"]), length, offset)
    along = [groove[min(len(groove) - 1, round(float(t) * (len(groove) - 1)))] for t in c["shares"]]
    last = _walk(field, along[-1], _direction(anatomy, c["hook_direction"]), float(c["hook_mm"]), offset)[-1]
    path = np.vstack([_clear(field, world[0], offset), first, *along, last])
    ventral = world[1] if anatomy.ventral is None else anatomy.frame.from_side(anatomy.ventral, anatomy.side)
    neck = field.to_surface(np.vstack([ventral, along[-1]]))
    return _course(nerve, Level.S1.value, anatomy, path, neck, doubts)
