"""Landmarks computed on the implicit surfaces themselves, so that they are exact for the phantom.

"Up", "lateral" and "back" are the axes of the vertebral frame of each level, except for the SAP/TP junction and the
groove of the ala: as the readers' protocol has it, they lie in the patient's coronal plane, with up toward the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Anatomy
from .implicit import Array, gradient, project
from .layout import SIDES, Layout
from .morphometry import LEVELS
from .vertebra import Bone, pedicle_rod, spinous, superior_articular, transverse

__all__ = ["climb", "find_landmarks"]

Point = NDArray[np.float64]


@dataclass(frozen=True)
class Upright:
    """A bone seen along the patient's axes (left, back, head), from the origin of its own frame."""

    bone: Bone

    def distance(self, points: Array) -> Array:
        """Signed distance, mm, of points of shape (3, ...)."""
        return self.bone.distance(np.tensordot(self.bone.pose.axes, points, axes=1))

    def to_bone(self, point: Point) -> Point:
        """From the patient's axes to the bone's frame, (3,) mm."""
        return np.asarray(self.bone.pose.axes @ point)

    def from_bone(self, point: Point) -> Point:
        """From the bone's frame to the patient's axes, (3,) mm."""
        return np.asarray(point @ self.bone.pose.axes)


def _grid(centre: Point, half: tuple[float, float, float], step: float) -> tuple[Point, tuple[int, int, int]]:
    """Regular grid around a centre: points (3, n) and the number of points along each axis."""
    axes = [centre[i] + np.arange(-half[i], half[i] + step / 2, step) for i in range(3)]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"))
    return mesh.reshape(3, -1), (len(axes[0]), len(axes[1]), len(axes[2]))


def climb(bone: Bone, start: Point, direction: Point, half: tuple[float, float, float]) -> Point:
    """Surface point of a bone that lies furthest along a direction, inside a box.

    Parameters
    ----------
    bone : the solid.
    start : (3,) centre of the box, in the bone's frame, mm.
    direction : (3,) unit vector.
    half : half size of the box along each axis, mm.

    Returns
    -------
    (3,) float64, mm, in the bone's frame; within a few micrometres of the extremum.
    """
    bone = bone.near(start, float(np.linalg.norm(half)))
    points, _ = _grid(start, half, 0.8)
    inside = bone.distance(points) < 0
    reach = np.where(inside, direction @ points, -np.inf)
    best = project(bone, points[:, [int(np.argmax(reach))]])
    step = 0.8
    while step > 0.002:
        normal = gradient(bone, best)
        normal /= np.linalg.norm(normal, axis=0)
        tangent = direction[:, None] - normal * (normal * direction[:, None]).sum(axis=0)
        length = float(np.linalg.norm(tangent))
        if length < 1e-5:
            break
        candidate = project(bone, best + tangent * (step / length), rounds=2)
        if float((direction @ (candidate - best))[0]) > 0:
            best = candidate
        else:
            step /= 2
    return np.asarray(project(bone, best)[:, 0])


def _crest_depth(upright: Upright, layout: Layout, side: str) -> tuple[float, float]:
    """Front-to-back position and height of the upper border of the transverse process, over its middle half, mm."""
    rod = transverse(layout, upright.bone.level, side)[0]
    a, b = upright.from_bone(np.asarray(rod.a)), upright.from_bone(np.asarray(rod.b))
    depths, heights = [], []
    for t in np.linspace(0.35, 0.75, 7):
        centre = a + t * (b - a) + np.array([0.0, 0.0, 4.0])
        points, _ = _grid(centre, (0.0, 7.0, 8.0), 0.25)
        inside = upright.distance(points) < 0
        top = int(np.argmax(np.where(inside, points[2], -np.inf)))
        depths.append(points[1, top])
        heights.append(points[2, top])
    return float(np.median(depths)), float(np.median(heights))


def _onto_contour(upright: Upright, point: Point) -> Point:
    """Move a point onto the surface without leaving the patient's coronal plane."""
    moved = point[:, None].copy()
    for _ in range(20):
        value = np.asarray(upright.distance(moved), dtype=np.float64)
        if float(np.abs(value).max()) < 1e-6:
            break
        slope = gradient(upright, moved)
        slope[1] = 0.0
        moved = moved - slope * value / np.maximum((slope * slope).sum(axis=0), 0.05)
    return np.asarray(moved[:, 0])


def junction(bone: Bone, layout: Layout, side: str) -> Point:
    """Middle of the fillet between the upper border of the transverse process and the lateral face of the superior
    articular process, in the patient's coronal plane through the transverse crest; on the bone surface, mm, in the
    bone's frame."""
    sign = SIDES[side]
    size = layout.sizes[bone.level]
    upright = Upright(bone.near(np.array([sign * size.pedicle_separation / 2 + sign * 8.0, 11.0, 8.0]), 26.0))
    depth, height = _crest_depth(upright, layout, side)
    step = 0.2
    inner, outer = size.pedicle_separation / 2 - 4.0, size.transverse_span / 2 - 6.0
    lateral = np.arange(inner, outer, step)
    heights = np.arange(height - 8.0, height + 12.0, step)
    u, w = np.meshgrid(lateral, heights, indexing="ij")
    points = np.stack([sign * u, np.full_like(u, depth), w])
    field = upright.distance(points)
    smooth = ndimage.gaussian_filter(field, 1.7 / step)
    du, dw = np.gradient(smooth, step)
    norm = np.hypot(du, dw) + 1e-9
    bend = np.gradient(du / norm, step, axis=0) + np.gradient(dw / norm, step, axis=1)
    facing = (du / norm > 0.15) & (dw / norm > 0.45)
    band = (np.abs(field) < 0.5) & facing & (w > height - 5.0) & (w < height + 2.2)
    band[:8], band[-8:], band[:, :8], band[:, -8:] = False, False, False, False
    lowest = float(bend[band].min())
    seed = np.argwhere(band & (bend == lowest))[0]
    parts, _ = ndimage.label(band & (bend < 0.6 * lowest), np.ones((3, 3)))
    fillet = parts == parts[tuple(seed)]
    weight = -bend[fillet]
    centre = np.array([sign * np.average(u[fillet], weights=weight), depth, np.average(w[fillet], weights=weight)])
    return upright.to_bone(_onto_contour(upright, centre))


def ala_groove(bone: Bone, side: str) -> Point:
    """Bottom of the valley between the S1 articular process root and the ala, in the patient's coronal plane through
    the top of the ala (nearest the head); on the bone surface, mm, in the bone's frame."""
    sign = SIDES[side]
    upright = Upright(bone.near(np.array([sign * 35.0, 6.0, 6.0]), 24.0))
    middle = upright.from_bone(np.array([sign * 43.0, 4.0, 6.0]))
    points, _ = _grid(middle, (5.0, 12.0, 12.0), 0.4)
    inside = upright.distance(points) < 0
    depth = float(points[1, int(np.argmax(np.where(inside, points[2], -np.inf)))])
    lateral, heights = np.arange(22.0, 46.0, 0.2), middle[2] + np.arange(-18.0, 20.0, 0.1)
    u, w = np.meshgrid(lateral, heights, indexing="ij")
    solid = upright.distance(np.stack([sign * u, np.full_like(u, depth), w])) < 0
    top = np.where(solid, w, -np.inf).max(axis=1)
    ridge = int(np.argmax(np.where(lateral > 34.0, top, -np.inf)))
    wall = int(np.argmax(np.where(lateral < 29.0, top, -np.inf)))
    valley = wall + int(np.argmin(top[wall : ridge + 1]))
    return upright.to_bone(_onto_contour(upright, np.array([sign * lateral[valley], depth, top[valley]])))


def pedicle_centre(bone: Bone, layout: Layout, side: str) -> Point:
    """Centroid of the pedicle's section where it is smallest, mm."""
    rod = pedicle_rod(layout, bone.level, side)
    axes = rod.axes
    a, b = np.asarray(rod.a), np.asarray(rod.b)
    size = layout.sizes[bone.level]
    reach = max(size.pedicle_height, size.pedicle_width) / 2 + 3.0
    offsets = np.arange(-reach, reach, 0.4)
    p, q = np.meshgrid(offsets, offsets, indexing="ij")
    smallest: tuple[float, Point] = (np.inf, (a + b) / 2)
    depths = (3.0,) if bone.level == "S1" else np.arange(1.0, 6.6, 0.5)
    for depth in depths:
        centre = a + (b - a) * ((depth - a[1]) / (b[1] - a[1]))
        points = centre[:, None, None] + axes[0][:, None, None] * p + axes[1][:, None, None] * q
        parts, _ = ndimage.label(bone.distance(points) < 0)
        own = parts == parts[len(offsets) // 2, len(offsets) // 2]
        if own.sum() < smallest[0]:
            smallest = (float(own.sum()), np.asarray(points[:, own].mean(axis=1)))
    return smallest[1]


def notch(bone: Bone, layout: Layout, side: str) -> Point:
    """Lowest point of the saddle between mamillary and accessory process, seen from behind and outside, mm."""
    mamillary = np.asarray(superior_articular(layout, bone.level, side)[-1].b)
    accessory = np.asarray(transverse(layout, bone.level, side)[-1].b)
    across = accessory - mamillary
    outward = np.array([SIDES[side] * 0.35, 0.94, 0.0])
    outward -= across * float(outward @ across) / float(across @ across)
    outward /= np.linalg.norm(outward)
    t, s = np.meshgrid(np.linspace(0.2, 0.85, 53), np.arange(8.0, -14.0, -0.1), indexing="ij")
    points = mamillary[:, None, None] + across[:, None, None] * t + outward[:, None, None] * s
    inside = bone.distance(points) < 0
    first = np.where(inside.any(axis=1), inside.argmax(axis=1), -1)
    deepest = int(np.argmax(first))
    start = points[:, deepest, first[deepest]]
    return np.asarray(project(bone, start[:, None])[:, 0])


def _tips(bone: Bone, layout: Layout) -> dict[str, Point]:
    found: dict[str, Point] = {}
    up = np.array([0.0, 0.0, 1.0])
    for side, sign in SIDES.items():
        top = np.asarray(superior_articular(layout, bone.level, side)[0].b)
        found[f"sap_tip_{side}"] = climb(bone, top + 2.0 * up, up, (8.0, 8.0, 6.0))
        if bone.level != "S1":
            end = np.asarray(transverse(layout, bone.level, side)[0].b)
            fused = layout.fused_side == side and bone.level == "L5"
            if not fused:
                found[f"tp_tip_{side}"] = climb(bone, end, np.array([sign, 0.0, 0.0]), (8.0, 8.0, 10.0))
    if bone.level == "S1":
        size = layout.sizes["S1"]
        centre = np.array([0.0, size.canal_depth + 4.7 + size.spinous_length, -12.0])
        half = (6.0, 6.0, 8.0)
    else:
        edge = spinous(layout, bone.level)[-1]
        centre = (np.asarray(edge.a) + np.asarray(edge.b)) / 2
        half = (6.0, 7.0, abs(edge.a[2] - edge.b[2]) / 2 + 7.0)
    found["spinous_tip"] = climb(bone, centre, np.array([0.0, 1.0, 0.0]), half)
    return found


def find_landmarks(anatomy: Anatomy) -> dict[str, dict[str, Point]]:
    """Landmarks of every level.

    Returns
    -------
    dict
        Level to landmark name to (3,) float64, mm, in anatomical coordinates. On the sacrum, named "S1",
        ``sap_tp_junction_*`` is the groove of the ala. T11 and T12, whose transverse processes are tubercles, have no
        junction or notch; the fused side of a sacralised L5 has no transverse tip.
    """
    found: dict[str, dict[str, Point]] = {}
    for level in LEVELS:
        bone, layout = anatomy.bones[level], anatomy.layout
        local = _tips(bone, layout)
        for side in SIDES:
            local[f"pedicle_center_{side}"] = pedicle_centre(bone, layout, side)
            if level == "S1":
                if layout.fused_side != side:
                    local[f"sap_tp_junction_{side}"] = ala_groove(bone, side)
            elif level.startswith("L"):
                local[f"sap_tp_junction_{side}"] = junction(bone, layout, side)
                local[f"mamillo_accessory_notch_{side}"] = notch(bone, layout, side)
        found[level] = {name: bone.pose.to_world(point) for name, point in sorted(local.items())}
    return found
