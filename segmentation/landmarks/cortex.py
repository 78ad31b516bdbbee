"""Moves a point on a mask's surface onto the bone's edge in the CT: half-way between bone and soft tissue.

Masks are a little thick or thin by engine and by scanner; the edge in the image is what readers mark. The move is along
the local normals, bounded, and not made where the outside does not fall to soft tissue, as across a joint.
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

    def shift(self, field: BoneField, point: Array) -> Array | None:
        """The translation that lays the mask's surface around a point onto the edge in the image.

        In a crotch the two walls may be off by different amounts, so each place around the point says how far the edge
        lies along its own normal, and the translation meets them all in the least-squares sense; along the surface,
        where nothing is known, it stays zero.

        Parameters
        ----------
        point : (3,) LPS mm
            On the mask's surface.

        Returns
        -------
        (3,) mm or None
            None where the image has no edge from bone to soft tissue within reach.
        """
        c = constants("landmarks")["cortex"]
        step = float(c["normal_step_mm"])
        guess = point + _disc(field.normal(point, step), field.axes, [float(r) for r in c["rings_mm"]])
        places = field.to_surface(guess)
        places = places[np.linalg.norm(places - point, axis=1) <= float(c["patch_mm"])]
        normals = field.normal(places, step)
        depth = np.arange(-float(c["inside_mm"]), float(c["outside_mm"]) + 1e-9, float(c["step_mm"]))
        hu = self.sample(places[:, None, :] + depth[:, None] * normals[:, None, :])
        bone = hu[:, depth <= 0.5].max(axis=1)
        soft = np.median(hu[:, depth >= float(c["outside_mm"]) - 1.0], axis=1)
        clear = (bone - soft >= float(c["min_contrast_hu"])) & (soft <= float(c["max_soft_hu"]))
        edges = [_edge(row, depth, 0.5 * (b + s)) if ok else None
                 for row, b, s, ok in zip(hu, bone, soft, clear, strict=True)]
        found = np.array([e is not None for e in edges], dtype=bool)
        if found.sum() < float(c["min_share"]) * len(guess):
            return None
        away = np.array([e for e in edges if e is not None])
        near = normals[found]
        gram = near.T @ near + float(c["hold_share"]) * len(near) * np.eye(3)
        move = np.linalg.solve(gram, near.T @ away)
        return move if float(np.linalg.norm(move)) <= float(c["reach_mm"]) else None

    def snap(self, field: BoneField, point: Array) -> Array:
        """The point moved onto the edge; unmoved where there is none. (3,) LPS mm."""
        move = self.shift(field, point)
        return point if move is None else point + move


def _disc(normal: Array, axes: Array, radii: list[float]) -> Array:
    """(n, 3) mm: the centre and rings of eight places around it across `normal`, counted from one of some axes."""
    axis = axes[int(np.argmin(np.abs(axes @ normal)))]
    u = np.cross(normal, axis)
    u /= np.linalg.norm(u)
    angles = np.radians(np.arange(0, 360, 45))
    ring = np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * np.cross(normal, u)
    return np.vstack([np.zeros((1, 3)), *(r * ring for r in radii)])


def _edge(row: Array, depth: Array, level: float) -> float | None:
    """Depth nearest to zero at which the row falls through `level`; None when it does not."""
    falls = np.flatnonzero((row[:-1] >= level) & (row[1:] < level))
    if not falls.size:
        return None
    at = depth[falls] + (row[falls] - level) / (row[falls] - row[falls + 1]) * (depth[falls + 1] - depth[falls])
    return float(at[int(np.argmin(np.abs(at)))])
