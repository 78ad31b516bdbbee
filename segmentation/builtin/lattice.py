"""Cubic working lattices over a scan's box, on which the nets look.

"Box millimetres" are ``(z, y, x)`` mm from the corner of the scan's field of view (the corner, not the first voxel's
centre) along axes that run nearest to superior, posterior and left. The stored voxels, the 3 mm and the 1.5 mm lattice
share them: the centre of voxel ``i`` lies at ``corner + (i + 0.5) * spacing``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging.geometry import CanonicalAxes, canonical_axes, to_world
from imaging.volume import Grid, Volume

__all__ = [
    "AIR_HU", "Box", "Cube", "FloatArray", "Points", "Slices", "bounding_slices", "box_of", "cut",
    "hounsfield", "intensity", "sample",
]

FloatArray = NDArray[np.float32]
Points = NDArray[np.float64]
Slices = tuple[slice, slice, slice]

#: What lies outside the field of view, Hounsfield units.
AIR_HU = -1000.0
_CEILING_HU = 1600.0
_SLAB_SLICES = 32
_ROUNDING = 1e-3


def intensity(hu: NDArray[Any]) -> FloatArray:
    """Hounsfield units to the input scale of both nets: ``sign(h - 40) |h - 40|^0.7 / 80``, clipped to -1000..1600."""
    h = np.clip(np.asarray(hu, dtype=np.float32), AIR_HU, _CEILING_HU) - np.float32(40.0)
    return np.asarray(np.sign(h) * np.abs(h) ** np.float32(0.7) / np.float32(80.0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Box:
    """A scan's field of view.

    Attributes
    ----------
    axes : CanonicalAxes
        Turns stored arrays to superior, posterior, left and back.
    """

    axes: CanonicalAxes

    @property
    def grid(self) -> Grid:
        """The stored voxels in turned axes."""
        return self.axes.grid

    @property
    def spacing(self) -> Points:
        """(3,) mm of the stored voxels along z, y, x."""
        return np.asarray(self.grid.spacing[::-1])

    @property
    def size(self) -> Points:
        """(3,) mm, z, y, x."""
        return np.asarray(self.spacing * self.grid.shape)

    def to_lps(self, points: ArrayLike) -> Points:
        """(..., 3) box mm to (..., 3) LPS mm."""
        index = np.asarray(points, dtype=np.float64) / self.spacing - 0.5
        return to_world(self.grid, index[..., ::-1])

    def holds(self, point: ArrayLike, margin_mm: float = 0.0) -> bool:
        """True when a (3,) box mm point lies at least `margin_mm` inside the field of view."""
        p = np.asarray(point, dtype=np.float64)
        return bool((p >= margin_mm).all() and (p <= self.size - margin_mm).all())


def box_of(grid: Grid) -> Box:
    """The box of a stored lattice."""
    return Box(canonical_axes(grid))


@dataclass(frozen=True, eq=False)
class Cube:
    """A cubic lattice in the box.

    Attributes
    ----------
    box : Box
    spacing : float
        mm.
    corner : (3,)
        Box mm of the lattice's own corner.
    shape : tuple of int
        Voxels along z, y, x.
    """

    box: Box
    spacing: float
    corner: Points
    shape: tuple[int, int, int]

    @classmethod
    def over(cls, box: Box, spacing: float, low: ArrayLike | None = None, high: ArrayLike | None = None) -> Cube:
        """The lattice over the whole box, or over the part of it between two (3,) box mm points.

        Its voxels always are voxels of the whole box's lattice, which is centred on the box, so that the mirror image
        of a scan gets the mirror image of the lattice. What a file's rounded spacing adds to the box earns no voxel.
        """
        size = np.ceil(box.size / spacing - _ROUNDING)
        shift = (box.size - size * spacing) / 2
        first = np.zeros(3) if low is None else np.clip(np.floor((np.asarray(low) - shift) / spacing), 0, size - 1)
        last = size if high is None else np.clip(np.ceil((np.asarray(high) - shift) / spacing), first + 1, size)
        z, y, x = (int(n) for n in last - first)
        return cls(box, spacing, shift + first * spacing, (z, y, x))

    def to_index(self, points: ArrayLike) -> Points:
        """(..., 3) box mm to (..., 3) fractional (z, y, x) voxel index."""
        return np.asarray((np.asarray(points, dtype=np.float64) - self.corner) / self.spacing - 0.5)

    def to_box(self, index: ArrayLike) -> Points:
        """(..., 3) (z, y, x) voxel index to (..., 3) box mm."""
        return np.asarray((np.asarray(index, dtype=np.float64) + 0.5) * self.spacing + self.corner)

    def grid(self) -> Grid:
        """The lattice in the patient."""
        affine = np.eye(4)
        affine[:3, :3] = self.box.grid.direction * self.spacing
        affine[:3, 3] = self.box.to_lps(self.to_box(np.zeros(3)))
        return Grid(self.shape, affine)

    def part(self, slices: Slices) -> Cube:
        """The lattice of a cut-out."""
        start = np.array([s.start for s in slices], dtype=np.float64)
        z, y, x = (s.stop - s.start for s in slices)
        return Cube(self.box, self.spacing, self.corner + start * self.spacing, (z, y, x))


def hounsfield(stored: NDArray[Any], volume: Volume) -> FloatArray:
    """Stored values of a part of a volume as Hounsfield units clipped to -1000..1600, not-a-number as air."""
    hu = stored.astype(np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)
    return np.asarray(np.nan_to_num(np.clip(hu, AIR_HU, _CEILING_HU), copy=False, nan=AIR_HU))


@dataclass(frozen=True, eq=False)
class _Taps:
    """How the voxels of a cube average the stored ones along one axis.

    Attributes
    ----------
    index, weight : (n, taps)
        Stored voxels and their shares.
    inside : (n,) bool
        The voxel's middle lies in the field of view.
    """

    index: NDArray[np.int64]
    weight: FloatArray
    inside: NDArray[np.bool_]

    def part(self, first: int, count: int) -> _Taps:
        """The taps of some of the voxels."""
        rows = slice(first, first + count)
        return _Taps(self.index[rows], self.weight[rows], self.inside[rows])

    def mean(self, array: FloatArray, axis: int) -> FloatArray:
        """Average an array along an axis."""
        shape = tuple(-1 if n == axis else 1 for n in range(3))
        return np.asarray(sum(self.weight[:, k].reshape(shape) * array.take(self.index[:, k], axis)
                              for k in range(self.index.shape[1])), dtype=np.float32)


def _taps(cube: Cube, axis: int) -> _Taps:
    """Windows as wide as whole stored voxels (at least one) that fit a voxel of the cube, centred on its middle.

    A window of one stored voxel is linear interpolation. It is the same from either end of the axis.
    """
    spacing, stored = float(cube.box.spacing[axis]), cube.box.grid.shape[axis]
    width = max(int(np.floor(cube.spacing / spacing + 0.01)), 1)
    middle = (cube.corner[axis] + (np.arange(cube.shape[axis]) + 0.5) * cube.spacing) / spacing
    first = np.floor(middle - width / 2 + 1e-6)
    index = first[:, None] + np.arange(width + 1)
    low, high = (middle - width / 2)[:, None], (middle + width / 2)[:, None]
    weight = np.clip(np.minimum(index + 1, high) - np.maximum(index, low), 0.0, 1.0) / width
    inside = (middle >= 0) & (middle <= stored)
    return _Taps(np.clip(index, 0, stored - 1).astype(np.int64), weight.astype(np.float32), inside)


def sample(volume: Volume, cube: Cube) -> FloatArray:
    """Hounsfield units on a cube, averaged where the stored voxels are much finer.

    Returns
    -------
    (z, y, x) float32
        Clipped to -1000..1600; -1000 outside the field of view.
    """
    heights, rows, columns = (_taps(cube, axis) for axis in range(3))
    near = tuple(slice(int(t.index.min()), int(t.index.max()) + 1) for t in (rows, columns))
    rows, columns = (replace(t, index=t.index - s.start) for t, s in zip((rows, columns), near, strict=True))
    view = cube.box.axes.apply(volume.array)
    out = np.full(cube.shape, AIR_HU, np.float32)
    for z in range(0, cube.shape[0], _SLAB_SLICES):
        slab = heights.part(z, _SLAB_SLICES)
        low = int(slab.index.min())
        stored = hounsfield(view[low: int(slab.index.max()) + 1, near[0], near[1]], volume)
        mean = replace(slab, index=slab.index - low).mean(stored, 0)
        mean = columns.mean(rows.mean(mean, 1), 2)
        inside = slab.inside[:, None, None] & rows.inside[:, None] & columns.inside
        out[z: z + _SLAB_SLICES] = np.where(inside, mean, np.float32(AIR_HU))
    return out


def cut(array: NDArray[Any], start: NDArray[np.int64], shape: tuple[int, int, int], fill: float) -> NDArray[Any]:
    """A block of an array that may reach beyond it.

    Parameters
    ----------
    start : (3,)
        First (z, y, x) voxel, may be negative.
    fill : float
        Value beyond the array.
    """
    out = np.full(shape, fill, dtype=array.dtype)
    low = np.maximum(start, 0)
    high = np.minimum(start + shape, array.shape)
    if (high > low).all():
        target = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        out[target] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


def bounding_slices(mask: NDArray[np.bool_], margin: int = 0) -> Slices | None:
    """The block around the true voxels of a mask, grown by `margin` voxels; None when there are none."""
    out: list[slice] = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(line):
            return None
        out.append(slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + margin + 1, mask.shape[axis])))
    return out[0], out[1], out[2]
