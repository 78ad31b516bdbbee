"""Resampling between lattices, and the bridge to SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from imaging.geometry import to_index
from imaging.volume import Grid

__all__ = ["crop_grid", "from_sitk", "grid_of", "resample", "to_sitk"]


def to_sitk(array: NDArray[Any], grid: Grid) -> sitk.Image:
    """(z, y, x) array on `grid` to a SimpleITK image in LPS; booleans become uint8."""
    data = array.astype(np.uint8) if array.dtype == np.bool_ else array
    image = sitk.GetImageFromArray(np.ascontiguousarray(data))
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    return image


def grid_of(image: sitk.Image) -> Grid:
    """The lattice of a 3D SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    x, y, z = image.GetSize()
    return Grid((z, y, x), affine)


def from_sitk(image: sitk.Image) -> tuple[NDArray[Any], Grid]:
    """A 3D SimpleITK image to its (z, y, x) array and lattice."""
    return sitk.GetArrayFromImage(image), grid_of(image)


def resample(array: NDArray[Any], grid: Grid, target: Grid, *, linear: bool, fill: float) -> NDArray[Any]:
    """Bring an array onto another lattice.

    Parameters
    ----------
    array : (z, y, x)
        Values on `grid`; booleans are handled as 0/1 (nearest keeps them boolean).
    linear : bool
        Trilinear when true, nearest otherwise (labels). Anti-aliasing is the caller's business.
    fill : float
        Value outside `grid`.
    """
    image = to_sitk(array, grid)
    reference = sitk.Image(list(target.shape[::-1]), sitk.sitkUInt8)
    reference.SetOrigin(target.origin.tolist())
    reference.SetSpacing(target.spacing.tolist())
    reference.SetDirection(target.direction.ravel().tolist())
    how = sitk.sitkLinear if linear else sitk.sitkNearestNeighbor
    out: NDArray[Any] = sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), how, float(fill)))
    return out.astype(np.bool_) if array.dtype == np.bool_ else out


def crop_grid(grid: Grid, points: NDArray[np.float64], margin_mm: float) -> tuple[Grid, tuple[slice, slice, slice]]:
    """The part of a lattice around some points.

    Parameters
    ----------
    points : (n, 3)
        LPS mm.
    margin_mm : float
        Kept around them on every side.

    Returns
    -------
    Grid, tuple of slice
        The cropped lattice and the (z, y, x) slices that cut its array out of the whole one.
    """
    index = to_index(grid, points)
    pad = margin_mm / grid.spacing
    size = np.array(grid.shape[::-1])
    low = np.clip(np.floor(index.min(axis=0) - pad), 0, size - 1).astype(int)
    high = np.clip(np.ceil(index.max(axis=0) + pad) + 1, low + 1, size).astype(int)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.affine[:3, :3] @ low + grid.affine[:3, 3]
    cut = tuple(slice(int(low[2 - n]), int(high[2 - n])) for n in range(3))
    shape = tuple(int(high[2 - n] - low[2 - n]) for n in range(3))
    return Grid(shape, affine), cut  # type: ignore[arg-type,return-value]
