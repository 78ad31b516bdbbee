"""Plain numpy versions of the kernels, dense and slow, as oracles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import to_index
from imaging.volume import Grid

Array = NDArray[np.float64]


def sample(field: NDArray[np.float32], grid: Grid, points: Array) -> Array:
    """Trilinear values of a field at (..., 3) LPS points; the border value beyond."""
    index = to_index(grid, np.atleast_2d(points))
    values = ndimage.map_coordinates(field.astype(np.float64), np.moveaxis(index[..., ::-1], -1, 0), order=1,
                                     mode="nearest")
    return np.asarray(values.reshape(points.shape[:-1]))


def axis_points(tip: Array, direction: Array, length: float, step: float = 0.05) -> tuple[Array, Array]:
    """Distances from the tip and the points there, ends included."""
    s = np.linspace(0.0, length, max(int(np.ceil(length / step)), 1) + 1)
    return s, tip - s[:, None] * direction


def least(field: NDArray[np.float32], grid: Grid, tip: Array, direction: Array, length: float, start: float) -> float:
    """Smallest value of a field along a needle from `start` mm behind its tip."""
    s, points = axis_points(tip, direction, length)
    return float(sample(field, grid, points[s >= start]).min())


def voxel_gap(mask: NDArray[np.bool_], grid: Grid, a: Array, b: Array) -> float:
    """Distance from a segment, sampled each 0.05 mm, to the full boxes of a mask's voxels."""
    k, j, i = np.nonzero(mask)
    centres = np.stack([i, j, k], axis=1) * grid.spacing
    n = int(np.linalg.norm(b - a) / 0.05) + 2
    points = to_index(grid, a + (b - a) * np.linspace(0, 1, n)[:, None]) * grid.spacing
    return min(float(np.linalg.norm(np.maximum(np.abs(centres - p) - 0.5 * grid.spacing, 0), axis=1).min())
               for p in points)
