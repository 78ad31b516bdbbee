"""What scanners and reconstructions do to a patch: blur, noise, thick slices, metal, tables, cut fields of view."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segmentation.training.fields import thick_slices

__all__ = ["add_metal", "add_table", "degrade", "field_of_view"]


def degrade(rng: np.random.Generator, hu: np.ndarray, spacing: float) -> np.ndarray:
    """Apply partial volume, blur or sharpening, correlated noise and thick slices.

    Returns
    -------
    ndarray, float32
        Hounsfield units on the same grid.
    """
    hu = ndimage.gaussian_filter(hu, rng.uniform(0.35, 0.6))
    if rng.random() < 0.3:
        soft = ndimage.gaussian_filter(hu, max(0.5, 1.2 / spacing))
        hu = hu + rng.uniform(0.2, 1.2) * (hu - soft)
    else:
        sigma = rng.uniform(0.1, 1.3) / spacing
        hu = ndimage.gaussian_filter(hu, (0.5 * sigma, sigma, sigma))
    noise_first = rng.random() < 0.5
    if noise_first:
        hu = hu + _noise(rng, hu.shape, spacing)
    if rng.random() < 0.35:
        axis = int(rng.choice([0, 2, 1], p=[0.65, 0.3, 0.05]))
        thickness = rng.uniform(2.0, 6.0) / spacing
        increment = max(1.0, thickness * rng.uniform(0.6, 1.1))
        hu = thick_slices(hu, axis, max(1.0, thickness), increment, rng.uniform(0.0, increment))
    if not noise_first:
        hu = hu + _noise(rng, hu.shape, spacing)
    return (hu * rng.uniform(0.96, 1.04) + rng.normal(0.0, 8.0)).astype(np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, int, int], spacing: float) -> np.ndarray:
    sigma = np.exp(rng.uniform(np.log(3.0), np.log(70.0))) * min(1.0, 2.0 / spacing)
    white = rng.standard_normal(shape, dtype=np.float32)
    width = rng.uniform(0.0, 1.1, 3)
    if rng.random() < 0.25:
        width[2] *= 3.0
    white = ndimage.gaussian_filter(white, width)
    return white * np.float32(sigma / max(float(white.std()), 1e-6))


def add_metal(rng: np.random.Generator, hu: np.ndarray, bone: np.ndarray, spacing: float) -> None:
    """Screws, rods or a nail through random bone voxels, with dark and bright fans around them, in place."""
    points = np.argwhere(bone)
    if not len(points):
        return
    grid = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in hu.shape], indexing="ij")) * spacing
    for _ in range(int(rng.integers(1, 5))):
        start = points[rng.integers(len(points))] * spacing
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        offset = grid - start[:, None, None, None].astype(np.float32)
        along = np.tensordot(direction, offset, axes=(0, 0))
        across = np.sqrt(np.maximum((offset**2).sum(0) - along**2, 0.0))
        rod = (across < rng.uniform(1.5, 5.0)) & (np.abs(along) < rng.uniform(15.0, 60.0))
        rays = np.cos(rng.uniform(3.0, 9.0) * np.arctan2(offset[1], offset[2]))
        fan = np.exp(-across / rng.uniform(5.0, 15.0)) * rays
        same_height = np.abs(along) < 60.0
        hu += (rng.uniform(0.0, 350.0) * fan * same_height).astype(np.float32)
        hu[rod] = rng.uniform(1500.0, 3000.0)


def add_table(rng: np.random.Generator, hu: np.ndarray, air: np.ndarray, spacing: float) -> None:
    """A table top, a tube or a lead in the air around the body, in place."""
    y = np.arange(hu.shape[1]) * spacing
    x = np.arange(hu.shape[2]) * spacing
    if rng.random() < 0.6:
        top = rng.uniform(0.45, 1.0) * y[-1]
        sag = rng.uniform(-0.001, 0.001) * (x - x.mean()) ** 2
        height = y[:, None] - top - sag[None, :]
        plate = (height > 0) & (height < rng.uniform(2.0, 8.0))
        hollow = (height >= 0) & (height < rng.uniform(20.0, 60.0))
        hu[air & hollow[None]] = rng.uniform(-1000.0, -750.0)
        hu[air & plate[None]] = rng.uniform(-400.0, 300.0)
        return
    centre = rng.uniform(0.0, 1.0, 2) * (y[-1], x[-1])
    radius = np.hypot(y[:, None] - centre[0], x[None, :] - centre[1])
    tube = (radius < rng.uniform(2.0, 8.0)) & (radius > rng.uniform(0.0, 4.0))
    hu[air & tube[None]] = rng.uniform(-100.0, 900.0)


def field_of_view(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    anchor: tuple[int, int, int],
    spacing: float,
    *,
    outside: bool,
) -> np.ndarray:
    """Random field of view: none, a box, a narrow sagittal slab or a cylinder.

    Parameters
    ----------
    outside : bool
        True to leave the anchor just outside the field.

    Returns
    -------
    ndarray, bool, (z, y, x)
        True inside.
    """
    inside = np.ones(shape, bool)
    if outside:
        axis = int(rng.choice([0, 1, 2], p=[0.6, 0.2, 0.2]))
        gap = rng.uniform(4.0, 14.0) / spacing
        line = np.arange(shape[axis])
        keep = line > anchor[axis] + gap if rng.random() < 0.5 else line < anchor[axis] - gap
        return inside & keep.reshape([-1 if a == axis else 1 for a in range(3)])
    if rng.random() < 0.5:
        return inside
    for axis in range(3):
        line = np.arange(shape[axis])
        low = anchor[axis] * rng.uniform(0.0, 0.85) if rng.random() < 0.3 else -1.0
        high_room = shape[axis] - anchor[axis]
        high = anchor[axis] + high_room * rng.uniform(0.15, 1.0) if rng.random() < 0.3 else shape[axis] + 1.0
        if axis == 2 and rng.random() < 0.15:
            half = rng.uniform(30.0, 60.0) / spacing
            low, high = anchor[2] - half, anchor[2] + half
        inside &= ((line > low) & (line < high)).reshape([-1 if a == axis else 1 for a in range(3)])
    if rng.random() < 0.25:
        yy, xx = np.mgrid[: shape[1], : shape[2]]
        radius = rng.uniform(45.0, 110.0) / spacing
        shift = rng.uniform(-0.4, 0.4, 2) * radius
        inside &= (np.hypot(yy - anchor[1] - shift[0], xx - anchor[2] - shift[1]) < radius)[None]
    return inside
