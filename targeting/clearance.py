"""Exact clearance of a needle from written masks, without any distance field.

A mask is the union of its voxels, each a full box. A needle is a segment with a radius. The distance from a segment to
a box is convex along the segment, so a ternary search finds it; boxes whose centre is too far to matter are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import to_index
from imaging.resample import crop_grid
from imaging.volume import Grid
from segmentation.anatomy import StructureName
from segmentation.spine import Spine
from targeting.compiled import compiled

__all__ = ["Boxes", "ClearanceMeter", "boxes_of"]

Array = NDArray[np.float64]
_DEPTH_MM = 6.0
_INSIDE_STEP_MM = 0.25
_GROUP_MM = 12.0


@compiled
def _boundary(mask: NDArray[np.bool_], out: NDArray[np.int32]) -> int:
    """Write (i, j, k) of voxels with a face toward the outside (the array's border is no face); return their number."""
    nz, ny, nx = mask.shape
    n = 0
    for k in range(nz):
        for j in range(ny):
            for i in range(nx):
                if not mask[k, j, i]:
                    continue
                if ((i > 0 and not mask[k, j, i - 1]) or (i < nx - 1 and not mask[k, j, i + 1])
                        or (j > 0 and not mask[k, j - 1, i]) or (j < ny - 1 and not mask[k, j + 1, i])
                        or (k > 0 and not mask[k - 1, j, i]) or (k < nz - 1 and not mask[k + 1, j, i])):
                    if n < len(out):
                        out[n, 0], out[n, 1], out[n, 2] = i, j, k
                    n += 1
    return n


@compiled
def _box_gap2(p: float, q: float, r: float, hx: float, hy: float, hz: float) -> float:
    """Squared distance from a box's centre-relative point to the box."""
    a, b, c = max(abs(p) - hx, 0.0), max(abs(q) - hy, 0.0), max(abs(r) - hz, 0.0)
    return a * a + b * b + c * c


@compiled
def _to_point(a: Array, d: Array, c: Array) -> float:
    """Distance from the segment a + t d, t in 0 to 1, to a point."""
    p, q, r = a[0] - c[0], a[1] - c[1], a[2] - c[2]
    length2 = d[0] ** 2 + d[1] ** 2 + d[2] ** 2
    t = min(max(-(p * d[0] + q * d[1] + r * d[2]) / length2, 0.0), 1.0) if length2 > 0 else 0.0
    x, y, z = p + t * d[0], q + t * d[1], r + t * d[2]
    return math.sqrt(x * x + y * y + z * z)


@compiled
def _to_box(a: Array, d: Array, c: Array, half: Array) -> float:
    """Distance from the segment a + t d to the box about c, by ternary search of a convex function."""
    p, q, r = a[0] - c[0], a[1] - c[1], a[2] - c[2]
    low, high = 0.0, 1.0
    for _ in range(48):
        u, v = low + (high - low) / 3.0, high - (high - low) / 3.0
        if (_box_gap2(p + u * d[0], q + u * d[1], r + u * d[2], half[0], half[1], half[2])
                <= _box_gap2(p + v * d[0], q + v * d[1], r + v * d[2], half[0], half[1], half[2])):
            high = v
        else:
            low = u
    t = 0.5 * (low + high)
    return math.sqrt(_box_gap2(p + t * d[0], q + t * d[1], r + t * d[2], half[0], half[1], half[2]))


@compiled
def _goes_in(mask: NDArray[np.bool_], spacing: Array, a: Array, b: Array, length: float) -> bool:
    """Whether a segment, given in mm along the lattice, has a point inside the mask, looked at each 0.25 mm."""
    nz, ny, nx = mask.shape
    count = max(int(length / _INSIDE_STEP_MM + 1e-6), 2)
    for n in range(count):
        t = n / (count - 1)
        i = math.floor((a[0] + t * (b[0] - a[0])) / spacing[0] + 0.5)
        j = math.floor((a[1] + t * (b[1] - a[1])) / spacing[1] + 0.5)
        k = math.floor((a[2] + t * (b[2] - a[2])) / spacing[2] + 0.5)
        if 0 <= i < nx and 0 <= j < ny and 0 <= k < nz and mask[k, j, i]:
            return True
    return False


@compiled
def _segment_to_boxes(a: Array, b: Array, centres: Array, half: Array, starts: NDArray[np.int64],
                      balls: Array) -> float:
    """Least distance from the segment a-b to the boxes, mm; 0 when it enters one.

    Boxes come in groups: group g is ``centres[starts[g]:starts[g + 1]]``, inside a ball ``balls[g]`` (centre, radius).
    """
    d = b - a
    radius = math.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
    bound = np.empty(len(balls))
    for g in range(len(balls)):
        bound[g] = _to_point(a, d, balls[g]) - balls[g, 3]
    best, first = 1e9, int(np.argmin(bound))
    for step in range(-1, len(balls)):
        g = first if step < 0 else step
        if bound[g] >= best:
            continue
        for n in range(starts[g], starts[g + 1]):
            if _to_point(a, d, centres[n]) - radius < best:
                best = min(best, _to_box(a, d, centres[n], half))
    return best


@compiled
def _balls(centres: Array, starts: NDArray[np.int64], half: float) -> Array:
    """(g, 4) centre and radius of a ball about the boxes of each group."""
    out = np.zeros((len(starts) - 1, 4))
    for g in range(len(out)):
        for n in range(starts[g], starts[g + 1]):
            for axis in range(3):
                out[g, axis] += centres[n, axis] / (starts[g + 1] - starts[g])
        for n in range(starts[g], starts[g + 1]):
            gap = math.sqrt((centres[n, 0] - out[g, 0]) ** 2 + (centres[n, 1] - out[g, 1]) ** 2
                            + (centres[n, 2] - out[g, 2]) ** 2)
            out[g, 3] = max(out[g, 3], gap + half)
    return out


@compiled
def _balls_to_boxes(places: Array, radii: Array, centres: Array, half: Array, starts: NDArray[np.int64],
                    groups: Array) -> float:
    """Least of the distances from points to the boxes, each less its own radius, mm; boxes as in the one above."""
    best = 1e9
    for n in range(len(places)):
        p = places[n]
        for g in range(len(groups)):
            away = math.sqrt((p[0] - groups[g, 0]) ** 2 + (p[1] - groups[g, 1]) ** 2 + (p[2] - groups[g, 2]) ** 2)
            if away - groups[g, 3] - radii[n] >= best:
                continue
            for b in range(starts[g], starts[g + 1]):
                gap = math.sqrt(_box_gap2(p[0] - centres[b, 0], p[1] - centres[b, 1], p[2] - centres[b, 2], half[0],
                                          half[1], half[2]))
                best = min(best, gap - radii[n])
    return best


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boundary voxels of one mask, ready for measuring.

    Attributes
    ----------
    grid : Grid
        Lattice of the mask.
    mask : (z, y, x) bool
    centres : (n, 3) mm
        Along the lattice's own axes from its first voxel, in groups of near ones.
    starts : (g + 1,) int
        Where each group begins.
    balls : (g, 4) mm
        Centre and radius of a ball about each group's boxes.
    """

    grid: Grid
    mask: NDArray[np.bool_]
    centres: Array
    starts: NDArray[np.int64]
    balls: Array

    @cached_property
    def _inverse(self) -> Array:
        """(3, 3) mm to mm along the lattice."""
        return np.asarray(self.grid.spacing[:, None] * np.linalg.inv(self.grid.affine[:3, :3]))

    @cached_property
    def _spacing(self) -> Array:
        return np.ascontiguousarray(self.grid.spacing)

    def _local(self, point: Array) -> Array:
        return np.asarray(self._inverse @ (point - self.grid.affine[:3, 3]))

    def _inside(self, points: Array) -> NDArray[np.bool_]:
        index = np.rint(to_index(self.grid, points)).astype(int)
        ok = ((index >= 0) & (index < np.array(self.grid.shape[::-1]))).all(axis=1)
        out = np.zeros(len(points), np.bool_)
        i, j, k = index[ok].T
        out[ok] = self.mask[k, j, i]
        return out

    def _depth(self, points: Array) -> float:
        """How deep the deepest of some inside points lies under the mask's faces, mm; at most about `_DEPTH_MM`."""
        grid, cut = crop_grid(self.grid, points, _DEPTH_MM)
        k, j, i = np.nonzero(~self.mask[cut])
        if not len(k):
            return _DEPTH_MM
        outside = np.stack([i, j, k], axis=1) * grid.spacing
        half, deepest = 0.5 * grid.spacing, 0.0
        for p in to_index(grid, points) * grid.spacing:
            gap = np.linalg.norm(np.maximum(np.abs(outside - p) - half, 0.0), axis=1).min()
            deepest = max(deepest, float(gap))
        return deepest

    def gap(self, a: Array, b: Array) -> float:
        """Distance from the segment a-b (LPS mm) to the mask; negative by how deep it lies inside; inf when empty."""
        if not len(self.centres):
            return float("inf")
        start, end, length = self._local(a), self._local(b), float(np.linalg.norm(b - a))
        if _goes_in(self.mask, self._spacing, start, end, length):
            points = a + (b - a) * np.linspace(0, 1, max(int(length / _INSIDE_STEP_MM + 1e-6), 2))[:, None]
            return -self._depth(points[self._inside(points)])
        return float(_segment_to_boxes(start, end, self.centres, 0.5 * self._spacing, self.starts, self.balls))


    def gap_to_balls(self, centres: Array, radii: Array) -> float:
        """Distance from some balls to the mask's voxels, mm; negative by how deep a voxel reaches; inf when empty.

        Parameters
        ----------
        centres : (n, 3) LPS mm
        radii : (n,) mm
        """
        if not len(self.centres):
            return float("inf")
        places = np.ascontiguousarray((centres - self.grid.affine[:3, 3]) @ self._inverse.T)
        return float(_balls_to_boxes(places, radii, self.centres, 0.5 * self._spacing, self.starts, self.balls))


def _extent(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The box of a mask and one voxel more on every side; empty slices for an empty mask."""
    out = []
    for axis in range(3):
        seen = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        out.append(slice(max(seen[0] - 1, 0), seen[-1] + 2) if len(seen) else slice(0, 0))
    return out[0], out[1], out[2]


def boxes_of(mask: NDArray[np.bool_], grid: Grid) -> Boxes:
    """Collect the boundary voxels of a mask, in groups that share a cube of `_GROUP_MM`."""
    cut = _extent(mask)
    part = mask[cut]
    index = np.empty((_boundary(part, np.empty((0, 3), np.int32)), 3), np.int32)
    _boundary(part, index)
    centres = (index + np.array([c.start for c in cut[::-1]])) * grid.spacing
    cell = np.floor(centres / _GROUP_MM).astype(np.int64) @ np.array([1, 1 << 20, 1 << 40])
    order = np.argsort(cell, kind="stable")
    centres, cell = np.ascontiguousarray(centres[order]), cell[order]
    starts = np.flatnonzero(np.diff(cell, prepend=-1, append=-1)) if len(index) else np.zeros(1, np.int64)
    starts = starts.astype(np.int64)
    return Boxes(grid, mask, centres, starts, _balls(centres, starts, 0.5 * float(np.linalg.norm(grid.spacing))))


@dataclass(frozen=True, eq=False)
class ClearanceMeter:
    """Measures needles against every structure of a spine and against its bones, each mask prepared on first use."""

    spine: Spine

    @cached_property
    def structures(self) -> Mapping[StructureName, Boxes]:
        """Structures with a mask that holds something."""
        found = {name: boxes_of(s.mask, self.spine.grid) for name, s in self.spine.structures.items()
                 if s.mask is not None}
        return {name: boxes for name, boxes in found.items() if len(boxes.centres)}

    @cached_property
    def bones(self) -> Boxes:
        """Every labelled bone."""
        return boxes_of(self.spine.labels > 0, self.spine.grid)

    def bone(self, label: int) -> Boxes:
        """One labelled bone."""
        if label not in self._single:
            self._single[label] = boxes_of(self.spine.labels == label, self.spine.grid)
        return self._single[label]

    @cached_property
    def _single(self) -> dict[int, Boxes]:
        return {}

    def prepare(self) -> None:
        """Read every mask now rather than on first use."""
        _ = self.structures, self.bones

    def reason_missing(self, name: StructureName) -> str:
        """Why there is no clearance to a structure."""
        structure = self.spine.structures.get(name)
        if structure is None:
            return "nothing looked for it"
        return structure.reason if structure.mask is None else "none of it is in view"

    def clearances(self, entry: Array, tip: Array, radius_mm: float
                   ) -> tuple[dict[StructureName, float | None], dict[StructureName, str]]:
        """Signed clearance from the needle's surface to every structure, mm, and why some are None."""
        clearance: dict[StructureName, float | None] = {}
        reasons: dict[StructureName, str] = {}
        for name in StructureName:
            boxes = self.structures.get(name)
            clearance[name] = None if boxes is None else boxes.gap(entry, tip) - radius_mm
            if boxes is None:
                reasons[name] = self.reason_missing(name)
        return clearance, reasons
