"""Cubic working lattices over a scan's box, on which the nets look.

"Box millimetres" are ``(z, y, x)`` mm from the corner of the scan's field of view (the corner, not the first voxel's
centre) along axes that run nearest to superior, posterior and left. The stored voxels, the 3 mm and the 1.5 mm lattice
share them: the centre of voxel ``i`` lies at ``corner + (i + 0.5) * spacing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging.geometry import CanonicalAxes, canonical_axes, to_world
from imaging.resample import resample
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

        Its voxels always are voxels of the whole box's lattice.
        """
        size = np.ceil(box.size / spacing - 1e-6)
        first = np.zeros(3) if low is None else np.clip(np.floor(np.asarray(low) / spacing), 0, size - 1)
        last = size if high is None else np.clip(np.ceil(np.asarray(high) / spacing), first + 1, size)
        z, y, x = (int(n) for n in last - first)
        return cls(box, spacing, first * spacing, (z, y, x))

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


def _block_mean(array: FloatArray, factors: tuple[int, int, int]) -> FloatArray:
    """Average over blocks; the last block is filled up with edge values."""
    pad = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    full = np.pad(array, pad, mode="edge") if any(p for _, p in pad) else array
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = (*full.shape[:axis], full.shape[axis] // factor, factor, *full.shape[axis + 1:])
            full = full.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return full


def sample(volume: Volume, cube: Cube) -> FloatArray:
    """Hounsfield units on a cube, averaged first where the stored voxels are much finer.

    Returns
    -------
    (z, y, x) float32
        Clipped to -1000..1600; -1000 outside the field of view.
    """
    box = cube.box
    low = cube.corner / box.spacing - 2
    high = (cube.corner + np.array(cube.shape) * cube.spacing) / box.spacing + 2
    factor = np.maximum(np.floor(cube.spacing / box.spacing + 0.01), 1).astype(int)
    start = np.clip(np.floor(low / factor) * factor, 0, None).astype(int)
    stop = np.minimum(np.ceil(high), box.grid.shape).astype(int)
    view = box.axes.apply(volume.array)[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    blocks = (int(factor[0]), int(factor[1]), int(factor[2]))
    slab = _SLAB_SLICES * blocks[0]
    mean = np.concatenate([_block_mean(hounsfield(view[z: z + slab], volume), blocks)
                           for z in range(0, view.shape[0], slab)])
    spacing = box.spacing * factor
    affine = np.eye(4)
    affine[:3, :3] = box.grid.direction * spacing[::-1]
    affine[:3, 3] = box.to_lps(start * box.spacing + 0.5 * spacing)
    out = resample(mean, Grid(mean.shape, affine), cube.grid(), linear=True, fill=AIR_HU)
    return np.asarray(out, dtype=np.float32)


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
