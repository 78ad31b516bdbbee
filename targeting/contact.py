"""Where on a bone a needle that comes from outside can touch it, at sub-voxel precision.

A target moves with the bone's surface, not with the voxels that happen to draw it: the same patient on another lattice
must give the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import VertebralFrame, unit
from imaging.resample import crop_grid
from segmentation.shape import BoneField, bone_field
from segmentation.spine import Spine, Vertebra

__all__ = ["ContactRule", "contact_point"]

Array = NDArray[np.float64]
#: Way back along the approach that must be free of bone: an articular process overhangs the neck by less.
_OPEN_MM = 12.0
#: Between the rays that feel for the surface, and along them.
_ACROSS_MM, _ALONG_MM = 0.4, 0.25


@dataclass(frozen=True, eq=False)
class ContactRule:
    """What a place on the bone must keep to.

    Attributes
    ----------
    reach_mm : float
        Greatest distance to the wanted point.
    landmark : (3,) LPS mm
    landmark_mm : float
        Greatest distance to the landmark.
    """

    reach_mm: float
    landmark: Array
    landmark_mm: float


def contact_point(spine: Spine, vertebra: Vertebra, wanted: Array, approach: Array, rule: ContactRule) -> Array | None:
    """The place on a bone's surface nearest to a point and open to a needle, LPS mm; None when none lies within reach.

    Open means that the way back along `approach` (unit, entry to tip) meets no bone for 12 mm. When no such place lies
    within reach, the nearest surface place is taken: the search will say what bone is in the way.
    """
    frame = vertebra.frame
    assert frame is not None
    grid, cut = crop_grid(spine.grid, wanted[None], rule.reach_mm + _OPEN_MM + 2.0 * float(spine.grid.spacing.max()))
    labels = np.asarray(spine.labels[cut])
    if not (labels == vertebra.label).any():
        return None
    own, voxel = bone_field(labels == vertebra.label, grid), float(np.linalg.norm(grid.spacing))
    rays = _rays(frame, wanted, approach, rule.reach_mm)
    depth = np.arange(-rule.reach_mm - _OPEN_MM, rule.reach_mm + _ALONG_MM, _ALONG_MM)
    bone = bone_field(labels > 0, grid).sample(rays[:, None] + depth[:, None] * approach)
    inside = bone <= 0
    row, at = np.nonzero(inside[:, 1:] & ~inside[:, :-1])
    fraction = bone[row, at] / (bone[row, at] - bone[row, at + 1])
    places = rays[row] + (depth[at] + fraction * _ALONG_MM)[:, None] * approach
    ok = _kept(own, places, wanted, rule) & (own.sample(places) <= 0.5 * voxel)
    before = np.cumsum(inside, axis=1)
    first = np.maximum(at - int(_OPEN_MM / _ALONG_MM), 0)
    ok &= before[row, at] == before[row, first]
    if ok.any():
        return np.asarray(places[ok][np.argmin(np.linalg.norm(places[ok] - wanted, axis=1))])
    nearest = own.to_surface(wanted)
    return nearest if _kept(own, nearest, wanted, rule) else None


def _kept(own: BoneField, places: Array, wanted: Array, rule: ContactRule) -> NDArray[np.bool_]:
    """(..., 3) LPS mm to (...) bool: within the rule, and not the face at which the scan cuts the bone."""
    near = np.linalg.norm(places - wanted, axis=-1) <= rule.reach_mm
    near &= np.linalg.norm(places - rule.landmark, axis=-1) <= rule.landmark_mm
    return np.asarray(near & own.in_view(places, float(own.grid.spacing.max())))


def _rays(frame: VertebralFrame, wanted: Array, approach: Array, reach_mm: float) -> Array:
    """(n, 3) points in the plane through `wanted` square to the approach, on a lattice that follows the vertebra."""
    across = unit(np.cross(approach, frame.superior))
    up = np.cross(across, approach)
    steps = np.arange(-int(reach_mm / _ACROSS_MM), int(reach_mm / _ACROSS_MM) + 1) * _ACROSS_MM
    return np.asarray(wanted + (steps[:, None, None] * across + steps[:, None] * up).reshape(-1, 3))
