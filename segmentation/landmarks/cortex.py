"""Moves a point on a mask's surface onto the bone's edge in the CT: half-way between bone and soft tissue.

Masks are a little thick or thin by engine and by scanner; the edge in the image is what readers mark. The move is along
the local normal, bounded, and not made where the outside does not fall to soft tissue, as across a joint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import to_index
from imaging.volume import Volume
from segmentation.constants import constants
from segmentation.shape import BoneField

__all__ = ["Cortex"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cortex:
    """The edge of the bones in one CT."""

    volume: Volume

    def sample(self, xyz: Array) -> Array:
        """(..., 3) LPS mm to (...) HU, trilinear; the nearest voxel beyond the scan."""
        index = np.moveaxis(to_index(self.volume.grid, xyz), -1, 0)[::-1]
        raw = ndimage.map_coordinates(self.volume.array, index, order=1, mode="nearest", output=np.float64)
        return np.asarray(raw * self.volume.slope + self.volume.intercept)

    def shift(self, field: BoneField, point: Array) -> tuple[Array, float] | None:
        """How far the edge lies outward of a point of the mask's surface.

        Parameters
        ----------
        point : (3,) LPS mm

        Returns
        -------
        normal : (3,) unit, outward
        shift_mm : float
            Median over rays around the point; negative inward, where the mask is too thick.
        None where the image has no edge from bone to soft tissue within reach.
        """
        c = constants("landmarks")["cortex"]
        normal = field.normal(point, float(c["normal_step_mm"]))
        depth = np.arange(-float(c["inside_mm"]), float(c["outside_mm"]) + 1e-9, float(c["step_mm"]))
        hu = self.sample((point + _disc(normal, float(c["disc_mm"])))[:, None, :] + depth[:, None] * normal)
        bone = hu[:, depth <= 0.5].max(axis=1)
        soft = np.median(hu[:, depth >= float(c["outside_mm"]) - 1.0], axis=1)
        found = [_edge(row, depth, 0.5 * (b + s)) for row, b, s in zip(hu, bone, soft, strict=True)
                 if b - s >= float(c["min_contrast_hu"]) and s <= float(c["max_soft_hu"])]
        edges = np.array([e for e in found if e is not None])
        if len(edges) < float(c["min_share"]) * len(hu):
            return None
        shift = float(np.median(edges))
        return (normal, shift) if abs(shift) <= float(c["reach_mm"]) else None

    def snap(self, field: BoneField, point: Array) -> Array:
        """The point moved onto the edge; unmoved where there is none. (3,) LPS mm."""
        found = self.shift(field, point)
        return point if found is None else point + found[1] * found[0]


def _disc(normal: Array, radius: float) -> Array:
    """(7, 3) mm: the centre and six places around it across `normal`."""
    axis = np.eye(3)[int(np.argmin(np.abs(normal)))]
    u = np.cross(normal, axis)
    u /= np.linalg.norm(u)
    angles = np.radians(np.arange(0, 360, 60))
    ring = np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * np.cross(normal, u)
    return np.vstack([np.zeros(3), radius * ring])


def _edge(row: Array, depth: Array, level: float) -> float | None:
    """Depth nearest to zero at which the row falls through `level`; None when it does not."""
    falls = np.flatnonzero((row[:-1] >= level) & (row[1:] < level))
    if not falls.size:
        return None
    at = depth[falls] + (row[falls] - level) / (row[falls] - row[falls + 1]) * (depth[falls + 1] - depth[falls])
    return float(at[int(np.argmin(np.abs(at)))])
