"""Courses of the medial branches T12 to L4 and of the L5 dorsal ramus on the bone surface.

The course passes a point cranial and in front of the transverse process root (P0), the junction of superior articular
and transverse process (P1), the neck of the articular process (P2, P3) on the shortest way over the bone to the
mamillo-accessory notch (P4), and ends 5 mm further down and inwards on the lamina (P5).
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy
from .implicit import gradient, project
from .layout import SIDES, Layout
from .vertebra import Bone, superior_articular, transverse

__all__ = ["CARRIERS", "nerve_courses"]

Point = NDArray[np.float64]

CARRIERS: dict[str, str] = {
    "T12 MB": "L1",
    "L1 MB": "L2",
    "L2 MB": "L3",
    "L3 MB": "L4",
    "L4 MB": "L5",
    "L5 DR": "S1",
}
"""Nerve to the bone it crosses: one level lower than its name."""

SURFACE_OFFSET = 1.0
"""Distance of the nerve's axis from the bone, mm (half of a nerve under 2 mm thick)."""

_BIAS_TO_ACCESSORY = 0.1
_LAMINA_STEP = 5.0


def _back_station(bone: Bone, layout: Layout, side: str, junction: Point, notch: Point | None) -> tuple[Point, Point]:
    """P4 at the back of the neck, biased to the accessory process, and the unit step from there to the lamina."""
    sign = SIDES[side]
    inwards = np.array([-sign, 0.0, -1.0]) / np.sqrt(2.0)
    if notch is not None:
        mamillary = np.asarray(superior_articular(layout, bone.level, side)[-1].b)
        accessory = np.asarray(transverse(layout, bone.level, side)[-1].b)
        return notch + _BIAS_TO_ACCESSORY * (accessory - mamillary), inwards
    joint = layout.joint(bone.level, side)
    return np.array([junction[0] - sign * 2.0, joint[1] + 5.0, junction[2] - 6.0]), inwards


def _taut(bone: Bone, start: Point, end: Point, count: int) -> Point:
    """Shortest path over the bone, `SURFACE_OFFSET` above it, between two points; shape (count, 3), mm."""
    share = np.linspace(0.0, 1.0, count)[:, None]
    path = project(
        bone, (start + share * (end - start) + 1.5 * np.sin(np.pi * share) * _away(bone, start)).T, SURFACE_OFFSET
    )
    for _ in range(40):
        path[:, 1:-1] = 0.5 * (path[:, :-2] + path[:, 2:])
        path[:, 1:-1] = project(bone, path[:, 1:-1], SURFACE_OFFSET, rounds=2)
    path[:, 1:-1] = project(bone, path[:, 1:-1], SURFACE_OFFSET)
    return path.T


def _away(bone: Bone, point: Point) -> Point:
    """Unit vector from the bone at a point."""
    slope = gradient(bone, point[:, None])[:, 0]
    return np.asarray(slope / np.linalg.norm(slope))


def _course(bone: Bone, layout: Layout, side: str, junction: Point, notch: Point | None) -> Point:
    """Course of one nerve in the frame of its carrier, shape (n, 3), mm."""
    sign = SIDES[side]
    rise = layout.sizes[bone.level].ramus_rise
    back, inwards = _back_station(bone, layout, side, junction, notch)
    start = junction + rise * np.array([0.0, -1.0, 1.0]) / np.sqrt(2.0) + np.array([sign * 1.5, 0.0, 0.0])
    near = bone.near((junction + back) / 2.0, 24.0)
    stations = np.stack([start, junction, back, back + _LAMINA_STEP * inwards], axis=1)
    fixed = project(near, stations, SURFACE_OFFSET).T
    pieces = [fixed[:1]]
    for a, b in itertools.pairwise(fixed):
        count = max(4, int(np.ceil(1.25 * float(np.linalg.norm(b - a)))) + 1)
        pieces.append(_taut(near, a, b, count)[1:])
    return np.concatenate(pieces)


def nerve_courses(anatomy: Anatomy, landmarks: dict[str, dict[str, Point]]) -> dict[tuple[str, str], Point]:
    """Courses of the twelve lumbar targets.

    Parameters
    ----------
    anatomy : solids.
    landmarks : level to name to (3,) in anatomical coordinates, see `landmarks.find_landmarks`.

    Returns
    -------
    dict
        (nerve, "LEFT" or "RIGHT") to (n, 3) float64, mm, anatomical coordinates, from the foramen to the lamina. A side
        fused to the sacrum has no L5 dorsal ramus target and is left out.
    """
    courses: dict[tuple[str, str], Point] = {}
    for nerve, carrier in CARRIERS.items():
        bone, points = anatomy.bones[carrier], landmarks[carrier]
        for side in SIDES:
            world = points.get(f"sap_tp_junction_{side}")
            if world is None:
                continue
            junction = np.asarray(bone.pose.to_local(world), dtype=np.float64)
            notch_world = points.get(f"mamillo_accessory_notch_{side}")
            notch = None if notch_world is None else np.asarray(bone.pose.to_local(notch_world), dtype=np.float64)
            local = _course(bone, anatomy.layout, side, junction, notch)
            courses[nerve, side.upper()] = bone.pose.to_world(local.T).T
    return courses
