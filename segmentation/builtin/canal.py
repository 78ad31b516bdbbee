"""The spinal canal as a path: a tracker through any score volume, and a score made from Hounsfield units alone.

The second is independent of the nets, so that the two can check each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.builtin.lattice import Cube, FloatArray, Points, Slices, bounding_slices
from segmentation.builtin.settings import settings

__all__ = ["CanalPath", "canal_score", "deviation_mm", "track"]

_RAYS = 16
_MOVES_Y = (-2, -1, 0, 1, 2)
_MOVES_X = (-1, 0, 1)


@dataclass(frozen=True, eq=False)
class CanalPath:
    """Centre of the canal, one point per slice of the lattice it was tracked on.

    Attributes
    ----------
    points : (n, 3)
        Box mm (z, y, x), caudal first, evenly spaced in z.
    """

    points: Points

    @property
    def length_mm(self) -> float:
        """Extent along z."""
        return float(self.points[-1, 0] - self.points[0, 0])

    def at(self, z_mm: float) -> Points:
        """(3,) box mm: the point at a height; beyond an end, that end's straight continuation."""
        z = self.points[:, 0]
        if z[0] <= z_mm <= z[-1]:
            return np.array([z_mm, *(float(np.interp(z_mm, z, self.points[:, n])) for n in (1, 2))])
        reach = min(10, len(z) - 1)
        a, b = (self.points[0], self.points[reach]) if z_mm < z[0] else (self.points[-1], self.points[-1 - reach])
        slope = (a - b) / (a[0] - b[0]) if reach else np.array([1.0, 0.0, 0.0])
        return np.asarray(a + slope * (z_mm - a[0]))

    def beyond_mm(self, z_mm: float) -> float:
        """How far a height lies beyond the nearer end, 0 inside."""
        return float(max(self.points[0, 0] - z_mm, z_mm - self.points[-1, 0], 0.0))


def track(score: FloatArray, cube: Cube, shortest_mm: float) -> CanalPath | None:
    """The path with the greatest summed score, with free ends.

    Parameters
    ----------
    score : (z, y, x) float32
        Positive where the canal is likely, negative elsewhere.
    shortest_mm : float
        A shorter path is none.
    """
    block = bounding_slices(score > 0, 2)
    if block is None:
        return None
    zyx = _best_path(score[block])
    if zyx is None or (zyx[-1, 0] - zyx[0, 0]) * cube.spacing < shortest_mm:
        return None
    start = np.array([s.start for s in block])
    points = cube.to_box(zyx + start)
    smooth = np.stack([ndimage.gaussian_filter1d(points[:, n], 2.0, mode="nearest") for n in (1, 2)], axis=1)
    return CanalPath(np.column_stack([points[:, 0], smooth]))


def _best_path(score: FloatArray) -> NDArray[np.int64] | None:
    """(n, 3) voxels, one per slice: dynamic programming over slices; a path may start and end anywhere."""
    depth, height, width = score.shape
    moves = [(dy, dx) for dy in _MOVES_Y for dx in _MOVES_X]
    back = np.full(score.shape, -1, np.int8)
    value = score[0].astype(np.float32).copy()
    best = (float(value.max()), 0, int(value.argmax()))
    for z in range(1, depth):
        padded = np.pad(value, ((2, 2), (1, 1)), constant_values=-1e9)
        options = np.stack([padded[2 + dy: 2 + dy + height, 1 + dx: 1 + dx + width] - 0.02 * (dy * dy + dx * dx)
                            for dy, dx in moves])
        choice = options.argmax(axis=0)
        gain = np.take_along_axis(options, choice[None], axis=0)[0]
        back[z] = np.where(gain > 0, choice, -1)
        value = score[z] + np.maximum(gain, 0)
        top = float(value.max())
        if top > best[0]:
            best = (top, z, int(value.argmax()))
    if best[0] <= 0:
        return None
    z, (y, x) = best[1], divmod(best[2], width)
    path = [(z, y, x)]
    while back[z, y, x] >= 0:
        dy, dx = moves[back[z, y, x]]
        z, y, x = z - 1, y + dy, x + dx
        path.append((z, y, x))
    return np.array(path[::-1], dtype=np.int64)


def canal_score(hu: FloatArray, cube: Cube) -> FloatArray:
    """How much each voxel looks like the canal's centre, from Hounsfield units alone.

    Rays in the axial plane must meet bone within reach, opposite rays must span a canal's diameter, a body must lie in
    front and bone behind, and the place itself must be soft.

    Parameters
    ----------
    hu : (z, y, x) float32
        On `cube` (3 mm).

    Returns
    -------
    (z, y, x) float32
        Above 0 where the canal is likely.
    """
    limits = settings().canal
    bone = hu > limits.bone_hu
    block = bounding_slices(bone, 1)
    score = np.full(hu.shape, -1.0, np.float32)
    if block is None:
        return score
    score[block] = _block_score(hu[block], bone[block], cube.spacing)
    return score


def _block_score(hu: FloatArray, bone: NDArray[np.bool_], spacing: float) -> FloatArray:
    limits = settings().canal
    steps = int(limits.reach_mm / spacing)
    reach = (steps + 1) * spacing
    distance = [_ray(bone, 2 * np.pi * n / _RAYS, steps, spacing) for n in range(_RAYS)]
    hits = np.mean([d < reach for d in distance], axis=0, dtype=np.float32)
    half = _RAYS // 2
    wide = [(distance[n] + distance[n + half]) for n in range(half)]
    fits = np.mean([(w > limits.diameter_low_mm) & (w < limits.diameter_high_mm) for w in wide], axis=0,
                   dtype=np.float32)
    body = ndimage.uniform_filter(np.clip(hu, -200, 400), (1, 5, 5))
    front = _shifted(body, round(24.0 / spacing))
    has_body = np.clip((front - 60.0) / 100.0, 0, 1)
    back = ndimage.maximum_filter(bone.astype(np.float32), (3, 1, 3))
    behind = np.max([_shifted(back, -k) for k in range(2, round(24.0 / spacing))], axis=0)
    soft = ndimage.uniform_filter(hu, 3)
    soft_enough = np.clip((140.0 - soft) / 80.0, 0, 1) * np.clip((soft + 120.0) / 60.0, 0, 1)
    product = (hits * fits * has_body * behind * soft_enough).astype(np.float32)
    smooth = ndimage.gaussian_filter(product, (1.0, 0.6, 0.6))
    return np.asarray(smooth - limits.accept_score, dtype=np.float32)


def _ray(bone: NDArray[np.bool_], angle: float, steps: int, spacing: float) -> FloatArray:
    """Distance to the first bone along an axial direction, mm; steps + 1 voxels where none is met."""
    out = np.full(bone.shape, (steps + 1) * spacing, np.float32)
    for k in range(steps, 0, -1):
        dy, dx = round(k * float(np.sin(angle))), round(k * float(np.cos(angle)))
        here, there = _overlap(bone.shape, dy, dx)
        out[here][bone[there]] = k * spacing
    return out


def _overlap(shape: tuple[int, ...], dy: int, dx: int) -> tuple[Slices, Slices]:
    """Slices that pair each voxel with the one (dy, dx) further on."""
    _, height, width = shape
    here = (slice(0, shape[0]), slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0)))
    there = (here[0], slice(max(dy, 0), height - max(-dy, 0)), slice(max(dx, 0), width - max(-dx, 0)))
    return here, there


def _shifted(array: FloatArray, front: int) -> FloatArray:
    """Value `front` voxels anterior of each voxel (posterior when negative), 0 beyond the array."""
    out = np.zeros_like(array)
    here, there = _overlap(array.shape, -front, 0)
    out[here] = array[there]
    return out


def deviation_mm(one: CanalPath, other: CanalPath, low_mm: float, high_mm: float) -> float | None:
    """95th percentile of the axial distance of two paths between two heights; None when they do not overlap there."""
    low = max(low_mm, float(one.points[0, 0]), float(other.points[0, 0]))
    high = min(high_mm, float(one.points[-1, 0]), float(other.points[-1, 0]))
    if high - low < 10.0:
        return None
    heights = np.arange(low, high, 3.0)
    gap = [float(np.linalg.norm(one.at(z)[1:] - other.at(z)[1:])) for z in heights]
    return float(np.percentile(gap, 95))
