"""Completes the neural arch of a vertebra from the CT: processes that a segmentation cut short grow into bright bone.

Only behind the posterior wall, only a little way from the mask, and against the neighbours: bright voxels flood from
every label at once, and from bone far from all labels (ribs, ilium), so that joints and gaps keep bones apart. Bodies
are left as they are: vessels full of contrast lie against them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import VertebralFrame, to_world
from imaging.volume import Grid
from segmentation.constants import constants
from segmentation.shape import distance_to

__all__ = ["complete_arch"]

_FOREIGN = 1
_OTHER = 2
_OWN = 3
_DARK = 4


def complete_arch(labels: NDArray[Any], label: int, hu: NDArray[Any], grid: Grid, frame: VertebralFrame,
                  sacrum: bool = False) -> NDArray[np.bool_]:
    """Voxels to add to one vertebra.

    Parameters
    ----------
    labels : (z, y, x) integer
        Crop of the label map around the vertebra; other bones that are known carry any other value.
    label : int
        The vertebra.
    hu : (z, y, x) float
        Hounsfield units of the same crop.
    grid : Grid
        The crop's lattice.
    frame : VertebralFrame
        The vertebra's frame.
    sacrum : bool
        The ala lies further forward than an arch.

    Returns
    -------
    (z, y, x) bool
        Unlabelled voxels that belong to its arch.
    """
    c = constants("landmarks")["completion"]
    own = labels == label
    index = np.stack(np.meshgrid(*(np.arange(n) for n in labels.shape), indexing="ij"), axis=-1)[..., ::-1]
    local = frame.to_local(to_world(grid, index.astype(float)))
    front = float(c["sacrum_behind_wall_mm" if sacrum else "behind_wall_mm"])
    arch = (local[..., 1] > front) & (np.abs(local[..., 2]) < float(c["height_mm"]))
    solid = own & arch
    if not solid.any():
        return np.zeros(labels.shape, dtype=bool)
    low, high = (float(v) for v in c["threshold_hu"])
    limit = float(np.clip(np.percentile(hu[solid], float(c["threshold_percentile"])), low, high))
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), float(c["smooth_mm"]) / grid.spacing[::-1])
    bright = smooth > limit
    reach = float(c["reach_mm"])
    away = distance_to(labels > 0, grid.spacing[::-1])
    markers = np.zeros(labels.shape, dtype=np.uint8)
    markers[bright & (away > reach)] = _FOREIGN
    markers[(labels > 0) & ~own] = _OTHER
    markers[own] = _OWN
    markers[~bright & (labels == 0)] = _DARK
    relief = np.clip(float(c["bright_hu"]) - smooth, 0, None).astype(np.float32)
    flooded = sitk.GetArrayFromImage(sitk.MorphologicalWatershedFromMarkers(
        sitk.GetImageFromArray(relief), sitk.GetImageFromArray(markers), markWatershedLine=False))
    beyond = distance_to(own, grid.spacing[::-1])
    grown = (flooded == _OWN) & (labels == 0) & bright & arch & (beyond <= reach)
    return _joined(own, _without_rim(grown, beyond, grid), labels)


def _without_rim(grown: NDArray[np.bool_], beyond: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """Drop what only thickens the mask by a voxel: blurred edges, not missing bone."""
    rim = float(constants("landmarks")["completion"]["rim_voxels"]) * float(grid.spacing.max())
    missing = grown & (beyond > rim)
    if not missing.any():
        return missing
    return np.asarray(grown & (distance_to(missing, grid.spacing[::-1]) <= rim + 1e-3))


def _joined(own: NDArray[np.bool_], grown: NDArray[np.bool_], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """What is connected to the vertebra, with the marrow it encloses."""
    both = own | grown
    parts, _ = ndimage.label(both)
    kept = np.unique(parts[own])
    both = np.isin(parts, kept[kept > 0])
    both = ndimage.binary_fill_holes(both | (ndimage.binary_closing(both) & (labels == 0)))
    return np.asarray(both & ~own & (labels == 0))
