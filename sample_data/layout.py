"""Where each vertebra stands: frames chained from the sacrum upwards, and the small left-right differences.

Anatomical coordinates here are millimetres along LPS axes with the centre of the S1 endplate at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .implicit import Vec
from .morphometry import LEVELS, LevelSize, level_sizes

__all__ = ["SIDES", "Layout", "Pose", "SideSize", "build_layout"]

SIDES: dict[str, float] = {"left": 1.0, "right": -1.0}
"""Sign of the lateral coordinate on each side of the patient."""

SACRAL_SLOPE = 37.0
"""Forward lean of the S1 endplate normal, degrees, supine."""

_SCOLIOSIS_CORONAL = {"T11": 8.0, "T12": 10.0, "L1": 7.5, "L2": 0.0, "L3": -7.5, "L4": -10.0, "L5": -5.0, "S1": 0.0}
_SCOLIOSIS_AXIAL = {"T11": 3.0, "T12": 5.0, "L1": 9.0, "L2": 12.0, "L3": 9.0, "L4": 5.0, "L5": 2.0, "S1": 0.0}


@dataclass(frozen=True)
class Pose:
    """A vertebral frame.

    Attributes
    ----------
    origin : (3,) float64, mm, midpoint of the posterior wall at mid body height.
    axes : (3, 3) float64, rows are the unit vectors to the patient's left, to the back and to the head.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]

    def to_local(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Coordinates (lateral left, posterior, superior), shape (3, ...), of points of shape (3, ...)."""
        axes = self.axes.astype(points.dtype)
        moved = [points[i] - points.dtype.type(self.origin[i]) for i in range(3)]
        return np.stack([axes[r, 0] * moved[0] + axes[r, 1] * moved[1] + axes[r, 2] * moved[2] for r in range(3)])

    def to_world(self, local: NDArray[np.float64] | Vec) -> NDArray[np.float64]:
        """Points, shape (3,) or (3, n), from frame coordinates of the same shape."""
        array = np.asarray(local, dtype=np.float64)
        shift = self.origin if array.ndim == 1 else self.origin[:, None]
        return np.asarray(self.axes.T @ array + shift)


@dataclass(frozen=True)
class SideSize:
    """Departures of one side of one vertebra from the level's size, mm and degrees."""

    transverse_reach: float
    transverse_rise: float
    transverse_retreat: float
    facet_angle: float
    facet_offset: float
    facet_height: float
    pedicle_height: float


@dataclass(frozen=True)
class Layout:
    """Everything the bone builders need.

    Attributes
    ----------
    sizes : level to size.
    poses : level to vertebral frame.
    sides : (level, "left" or "right") to departures.
    fused_side : side on which L5 is fused to the sacral ala, or None.
    """

    sizes: dict[str, LevelSize]
    poses: dict[str, Pose]
    sides: dict[tuple[str, str], SideSize]
    fused_side: str | None

    def anterior_height(self, level: str) -> float:
        """Height of the front of the body, mm."""
        return anterior_height(self.sizes[level])

    def joint(self, level: str, side: str) -> NDArray[np.float64]:
        """Centre of the facet joint on the superior articular process of `level`, in that vertebra's frame, mm."""
        size, own = self.sizes[level], self.sides[level, side]
        lateral = SIDES[side] * (size.facet_offset + own.facet_offset)
        return np.array([lateral, size.facet_depth, size.body_posterior_height / 2 - 0.5 + own.facet_height])

    def joint_axes(self, level: str, side: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Unit vectors of the joint in the vertebra's axial plane: along the joint line (backwards), and from it to
        the superior articular process (outwards and forwards)."""
        angle = np.radians(self.sizes[level].facet_angle + self.sides[level, side].facet_angle)
        sign = SIDES[side]
        along = np.array([sign * np.sin(angle), np.cos(angle), 0.0])
        outward = np.array([sign * np.cos(angle), -np.sin(angle), 0.0])
        return along, outward


def anterior_height(size: LevelSize) -> float:
    """Height of the front of a body, mm, from the posterior height and the wedge."""
    return size.body_posterior_height - size.body_depth * float(np.tan(np.radians(size.body_wedge)))


def _rotation(lean: float, coronal: float, axial: float) -> NDArray[np.float64]:
    """Rows left, back, head of a frame leaning forwards, to the left, and turned about the long axis (degrees)."""
    a, b, c = np.radians([lean, coronal, axial])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray((rz @ ry @ rx).T)


def _chain(sizes: dict[str, LevelSize], coronal: dict[str, float], axial: dict[str, float]) -> dict[str, Pose]:
    lean = SACRAL_SLOPE
    plate = np.zeros(3)
    axes = _rotation(lean, coronal["S1"], axial["S1"])
    poses: dict[str, Pose] = {}
    for level in reversed(LEVELS):
        size = sizes[level]
        if level != "S1":
            lean -= size.disc_wedge
            lower = _rotation(lean, coronal[level], axial[level])
            normal = axes[2] + lower[2]
            plate = plate + normal * (size.disc_height / np.linalg.norm(normal))
            lean += size.body_wedge
            axes = _rotation(lean, coronal[level], axial[level])
            origin = plate - axes.T @ np.array([0.0, -size.body_depth / 2, -anterior_height(size) / 2])
        else:
            origin = plate - axes.T @ np.array([0.0, -size.body_depth / 2, size.body_posterior_height / 2])
        poses[level] = Pose(origin, axes)
        plate = poses[level].to_world((0.0, -size.body_depth / 2, size.body_posterior_height / 2))
    return poses


def _side_sizes(rng: np.random.Generator) -> dict[tuple[str, str], SideSize]:
    sides: dict[tuple[str, str], SideSize] = {}
    for level in LEVELS:
        for side in SIDES:
            draw = np.clip(rng.normal(size=7), -1.6, 1.6)
            scale = (1.3, 0.9, 0.7, 2.5, 0.35, 0.6, 0.35)
            sides[level, side] = SideSize(*(round(float(d * s), 3) for d, s in zip(draw, scale, strict=True)))
    return sides


def build_layout(seed: int, variant: str) -> Layout:
    """Sizes, frames and asymmetries of one patient.

    Parameters
    ----------
    seed : seed of the small differences between levels and sides.
    variant : name of the anatomy; "scoliosis" bends and turns the chain, "transitional" fuses L5 on the left.
    """
    rng = np.random.default_rng([seed, 101])
    curved = variant == "scoliosis"
    wobble = {level: np.clip(rng.normal(size=2), -1.5, 1.5) * 0.6 for level in LEVELS}
    coronal = {lv: float(wobble[lv][0]) + (_SCOLIOSIS_CORONAL[lv] if curved else 0.0) for lv in LEVELS}
    axial = {lv: float(wobble[lv][1]) + (_SCOLIOSIS_AXIAL[lv] if curved else 0.0) for lv in LEVELS}
    sizes = dict(level_sizes())
    if variant == "transitional":
        sizes["L5"] = replace(sizes["L5"], disc_height=5.5, disc_wedge=9.0)
        sizes["S1"] = replace(sizes["S1"], articular_rise=3.5)
    sides = _side_sizes(rng)
    return Layout(sizes, _chain(sizes, coronal, axial), sides, "left" if variant == "transitional" else None)
