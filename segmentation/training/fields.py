"""Smooth random fields and bent sampling grids."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["sample_linear", "sample_nearest", "sampling_grid", "smooth_noise", "thick_slices"]


def _spline_matrix(count: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Cubic B-spline weights (count, knots) for knots ``scale`` voxels apart with a random phase."""
    position = np.arange(count) / scale + rng.uniform(0.0, 1.0)
    cell = np.floor(position).astype(int)
    t = position - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6.0
    matrix = np.zeros((count, int(cell.max()) + 4), np.float32)
    for k in range(4):
        matrix[np.arange(count), cell + k] += weights[:, k]
    return matrix


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], scale: float) -> np.ndarray:
    """Zero-mean random field of about unit standard deviation.

    Parameters
    ----------
    scale : float
        Distance of the random knots, voxels; about the size of the blobs.

    Returns
    -------
    ndarray, float32, (z, y, x)
    """
    mats = [_spline_matrix(n, scale, rng) for n in shape]
    knots = rng.standard_normal([m.shape[1] for m in mats]).astype(np.float32)
    out = np.tensordot(mats[0], knots, axes=(1, 0))
    out = np.matmul(mats[1], out)
    out = np.matmul(out, mats[2].T)
    return out * np.float32(2.9)


def sampling_grid(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    anchor: tuple[int, int, int],
    spacing: float,
    centre: np.ndarray,
    source_spacing: float,
    *,
    strength: float = 1.0,
) -> np.ndarray:
    """Source coordinates of every patch voxel after a random flip, rotation, scaling, elastic bend and crush.

    Parameters
    ----------
    centre : ndarray, (3,)
        Source voxel (z, y, x) that lands on the anchor voxel of the patch.
    strength : float
        1 for the full range: 18 degrees, 15 % scale, 7 mm bend.

    Returns
    -------
    ndarray, float32, (3, z, y, x)
        Source voxels.
    """
    axes = [(np.arange(n, dtype=np.float32) - a) * spacing for n, a in zip(shape, anchor, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    amplitude = strength * rng.uniform(0.0, 3.0)
    for component in range(3):
        bend = smooth_noise(rng, shape, rng.uniform(32.0, 70.0) / spacing) * amplitude
        grid[component] += bend - bend[anchor]
    if rng.random() < 0.2 * strength:
        _crush(rng, grid)
    angles = np.radians(rng.uniform(-18.0, 18.0, 3)) * strength
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    scale = 1.0 + strength * (rng.uniform(-0.13, 0.13) + rng.uniform(-0.06, 0.06, 3))
    matrix = np.diag(scale) @ matrix
    if rng.random() < 0.5:
        matrix = np.diag([1.0, 1.0, -1.0]) @ matrix
    bent = np.tensordot(matrix.astype(np.float32), grid, axes=(1, 0))
    return bent / np.float32(source_spacing) + np.asarray(centre, np.float32)[:, None, None, None]


def _crush(rng: np.random.Generator, grid: np.ndarray) -> None:
    """Flatten or wedge a region of a vertebra's size near the anchor, in place (mm, patch axes)."""
    place = np.array([rng.choice([-30.0, 0.0, 0.0, 30.0]), 0.0, 0.0]) + rng.normal(0.0, 4.0, 3)
    z, y, x = (grid[k] - np.float32(place[k]) for k in range(3))
    near = np.exp(-(z**2 / (2 * 13.0**2) + (y**2 + x**2) / (2 * 28.0**2)))
    front = 1.0 - rng.uniform(0.0, 1.0) * np.clip(y / 15.0, -1.0, 1.0)
    grid[0] += np.float32(rng.uniform(-0.15, 0.6)) * z * near * front


def sample_nearest(arrays: list[np.ndarray], grid: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Nearest values of several arrays of one shape; zero outside. Also returns which samples lie inside."""
    shape = arrays[0].shape
    index = np.rint(grid).astype(np.int32)
    inside = np.ones(grid.shape[1:], bool)
    for axis in range(3):
        inside &= (index[axis] >= 0) & (index[axis] < shape[axis])
        np.clip(index[axis], 0, shape[axis] - 1, out=index[axis])
    flat = (index[0] * shape[1] + index[1]) * shape[2] + index[2]
    return [np.where(inside, a.ravel()[flat], a.dtype.type(0)) for a in arrays], inside


def sample_linear(array: np.ndarray, grid: np.ndarray, fill: float) -> np.ndarray:
    """Trilinear values, float32; ``fill`` outside."""
    return ndimage.map_coordinates(array, grid, output=np.float32, order=1, mode="constant", cval=fill)


def thick_slices(image: np.ndarray, axis: int, thickness: float, increment: float, phase: float) -> np.ndarray:
    """What reading thick slices and resampling them back to the patch grid does to an image.

    Parameters
    ----------
    axis : int
        Slice direction.
    thickness, increment, phase : float
        Slice thickness, distance of the slices and position of the first, all in voxels.
    """
    count = image.shape[axis]
    fine = np.arange(count)
    positions = np.arange(min(phase, count - 1.0), count, increment)
    box = np.clip(thickness / 2 + 0.5 - np.abs(fine[None] - positions[:, None]), 0.0, 1.0)
    box /= box.sum(1, keepdims=True)
    place = np.clip((fine - positions[0]) / increment, 0.0, len(positions) - 1.0)
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, len(positions) - 1)
    share = (place - lower)[:, None]
    matrix = ((1 - share) * box[lower] + share * box[upper]).astype(np.float32)
    return np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
