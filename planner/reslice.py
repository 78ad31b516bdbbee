"""Flat pictures out of a volume: any plane, sampled at a fixed step, with the masks that cross it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging.geometry import to_index
from imaging.volume import Grid, Volume

__all__ = ["Cut", "Plane"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """A rectangular cut through the patient, seen face on.

    Attributes
    ----------
    center : (3,) LPS mm
        In the middle of the picture.
    right, down : (3,) unit LPS
        Directions of growing column and row.
    width, height : int
        Pixels.
    step_mm : float
        Size of a pixel.
    """

    center: Array
    right: Array
    down: Array
    width: int
    height: int
    step_mm: float

    @property
    def into(self) -> Array:
        """(3,) unit LPS, away from the eye."""
        return np.cross(self.right, self.down)

    def points(self) -> Array:
        """(rows, columns, 3) LPS mm of the pixel centres."""
        rows, columns = np.meshgrid(np.arange(self.height), np.arange(self.width), indexing="ij")
        return self.to_patient(np.stack([columns, rows, np.zeros_like(rows)], axis=-1))

    def to_view(self, xyz: ArrayLike) -> Array:
        """(..., 3) LPS mm to (..., 3): column, row (pixels, fractions) and mm behind the plane, away from the eye."""
        offset = np.asarray(xyz, dtype=np.float64) - self.center
        return np.stack([offset @ self.right / self.step_mm + (self.width - 1) / 2,
                         offset @ self.down / self.step_mm + (self.height - 1) / 2, offset @ self.into], axis=-1)

    def to_patient(self, view: ArrayLike) -> Array:
        """(..., 3) column, row, mm behind the plane to (..., 3) LPS mm: the inverse of `to_view`."""
        place = np.asarray(view, dtype=np.float64)
        x = (place[..., 0, None] - (self.width - 1) / 2) * self.step_mm
        y = (place[..., 1, None] - (self.height - 1) / 2) * self.step_mm
        return np.asarray(self.center + x * self.right + y * self.down + place[..., 2, None] * self.into)

    def sized(self, width: int, height: int) -> Plane:
        """The same cut about the same middle in other numbers of pixels of the same size."""
        return replace(self, width=width, height=height)


class Cut:
    """A plane through one lattice: its pixels' voxels are found once and serve every array on it."""

    def __init__(self, plane: Plane, grid: Grid) -> None:
        self._index = to_index(grid, plane.points())[..., ::-1]
        nearest = np.rint(self._index).astype(np.intp)
        shape = np.array(grid.shape)
        self._outside = ((nearest < 0) | (nearest >= shape)).any(axis=-1)
        self._nearest = np.ravel_multi_index(tuple(np.moveaxis(np.clip(nearest, 0, shape - 1), -1, 0)), grid.shape)

    def values(self, volume: Volume) -> NDArray[np.float32]:
        """(rows, columns) trilinear values (HU for CT); those of air outside the scan. The volume has the grid."""
        stored = ndimage.map_coordinates(volume.array, np.moveaxis(self._index, -1, 0), output=np.float32, order=1,
                                         mode="constant", cval=(-1024.0 - volume.intercept) / volume.slope)
        return np.asarray(stored * np.float32(volume.slope) + np.float32(volume.intercept), dtype=np.float32)

    def nearest(self, mask: NDArray[Any]) -> NDArray[Any]:
        """(rows, columns) nearest values of a mask or label map on the grid; 0 outside."""
        out = mask.ravel()[self._nearest] if mask.flags.c_contiguous else mask[np.unravel_index(self._nearest,
                                                                                                mask.shape)]
        return np.where(self._outside, np.zeros((), mask.dtype), out)
