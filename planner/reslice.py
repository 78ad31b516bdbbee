"""Flat pictures out of a volume: any plane, sampled at a fixed step, with the masks that cross it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging.geometry import to_index, unit
from imaging.volume import Grid, Volume

__all__ = ["Plane", "axial_plane", "needle_plane", "sample_mask", "sample_values"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """A square cut through the patient, seen face on.

    Attributes
    ----------
    center : (3,) LPS mm
    right, down : (3,) unit LPS
        Directions of growing column and row.
    size_mm, step_mm : float
        Edge length and pixel size.
    """

    center: Array
    right: Array
    down: Array
    size_mm: float
    step_mm: float

    @property
    def pixels(self) -> int:
        """Pixels along an edge."""
        return round(self.size_mm / self.step_mm)

    def points(self) -> Array:
        """(rows, columns, 3) LPS mm of the pixel centres."""
        offsets = (np.arange(self.pixels) - (self.pixels - 1) / 2) * self.step_mm
        return np.asarray(self.center + offsets[None, :, None] * self.right + offsets[:, None, None] * self.down)

    def project(self, xyz: ArrayLike) -> tuple[Array, Array, Array]:
        """(n, 3) LPS mm to columns and rows in mm from the centre, and distance from the plane, each (n,)."""
        offset = np.atleast_2d(np.asarray(xyz, dtype=np.float64)) - self.center
        normal = np.cross(self.right, self.down)
        return offset @ self.right, offset @ self.down, offset @ normal


def axial_plane(points: ArrayLike, at: ArrayLike, size_mm: float, step_mm: float) -> Plane:
    """The axial cut through `at`, centred over points (n, 3); seen from the feet, the patient's LEFT on the right."""
    middle = _middle(points)
    center = np.array([middle[0], middle[1], float(np.asarray(at)[2])])
    return Plane(center, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), size_mm, step_mm)


def needle_plane(points: ArrayLike, tip: ArrayLike, direction: ArrayLike, size_mm: float, step_mm: float) -> Plane:
    """The cut that holds a needle and runs left to right, oriented as the axial one.

    Parameters
    ----------
    direction : (3,)
        Entry to tip; it must not run left to right itself.
    """
    along = unit(direction)
    left = np.array([1.0, 0.0, 0.0])
    right = unit(left - np.dot(left, along) * along)
    down = -along
    offset = _middle(points) - np.asarray(tip, dtype=np.float64)
    center = np.asarray(tip, dtype=np.float64) + np.dot(offset, right) * right + np.dot(offset, down) * down
    return Plane(center, right, down, size_mm, step_mm)


def _middle(points: ArrayLike) -> Array:
    array = np.atleast_2d(np.asarray(points, dtype=np.float64))
    return np.asarray((array.min(axis=0) + array.max(axis=0)) / 2)


def _coordinates(plane: Plane, grid: Grid) -> Array:
    """(3, rows, columns) fractional (z, y, x) indices of the plane's pixels."""
    return np.moveaxis(to_index(grid, plane.points())[..., ::-1], -1, 0)


def sample_values(volume: Volume, plane: Plane) -> NDArray[np.float32]:
    """(rows, columns) trilinear values (HU for CT); the lowest stored value outside the scan."""
    stored = ndimage.map_coordinates(volume.array, _coordinates(plane, volume.grid), output=np.float32, order=1,
                                     mode="constant", cval=(-1024.0 - volume.intercept) / volume.slope)
    return np.asarray(stored * np.float32(volume.slope) + np.float32(volume.intercept), dtype=np.float32)


def sample_mask(mask: NDArray[Any], grid: Grid, plane: Plane) -> NDArray[Any]:
    """(rows, columns) nearest values of a mask or label map; 0 outside."""
    out = ndimage.map_coordinates(mask.view(np.uint8) if mask.dtype == np.bool_ else mask, _coordinates(plane, grid),
                                  order=0, mode="constant", cval=0)
    return np.asarray(out)
