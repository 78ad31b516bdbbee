"""The one geometry module: voxel, world, vertebral frame, C-arm and CT-gantry angles.

World is DICOM LPS, millimetres: +x to the patient's left, +y posterior, +z superior. Points are ``(..., 3)`` float64
``(x, y, z)``; voxel indices are ``(..., 3)`` ``(i, j, k)`` along the x, y and z array axes. A needle's direction ``u``
is the unit vector from entry to tip; a fluoroscope's receptor lies at ``D = -u`` when it looks down the barrel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging.volume import Grid

__all__ = [
    "CArmAngles", "CanonicalAxes", "CtAngles", "Side", "VertebralFrame", "canonical_axes", "carm_angles", "carm_tilt",
    "carm_words", "ct_angles", "degrees_between", "dicom_positioner_angles", "direction_from_carm",
    "direction_from_projected", "isotropic_grid", "lps_to_ras", "ras_to_lps", "receptor_axes", "to_index", "to_world",
    "unit", "whole_degrees",
]

Array = NDArray[np.float64]


class Side(Enum):
    """The patient's side, printed as a whole word."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"

    @property
    def sign(self) -> float:
        """+1 for left, -1 for right: multiplies the left axis into the side's lateral axis."""
        return 1.0 if self is Side.LEFT else -1.0

    @property
    def other(self) -> Side:
        """The opposite side."""
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


def unit(vector: ArrayLike) -> Array:
    """(..., 3) vectors scaled to length 1; a zero vector among them is a ValueError."""
    v = np.asarray(vector, dtype=np.float64)
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    if not (length > 0).all():
        raise ValueError("a zero vector has no direction")
    return np.asarray(v / length)


def degrees_between(directions: ArrayLike, direction: ArrayLike) -> Array:
    """Angle from (..., 3) unit vectors to one (3,) unit vector, 0 to 180 degrees."""
    cosine = np.asarray(directions, dtype=np.float64) @ np.asarray(direction, dtype=np.float64)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def to_world(grid: Grid, ijk: ArrayLike) -> Array:
    """(..., 3) voxel indices (i, j, k), fractions allowed, to (..., 3) LPS mm."""
    return np.asarray(np.asarray(ijk, dtype=np.float64) @ grid.affine[:3, :3].T + grid.affine[:3, 3])


def to_index(grid: Grid, xyz: ArrayLike) -> Array:
    """(..., 3) LPS mm to (..., 3) fractional voxel indices (i, j, k)."""
    inverse = np.linalg.inv(grid.affine[:3, :3])
    return np.asarray((np.asarray(xyz, dtype=np.float64) - grid.affine[:3, 3]) @ inverse.T)


def lps_to_ras(xyz: ArrayLike) -> Array:
    """(..., 3) LPS mm to RAS mm (the frame of NIfTI files and of Slicer's scene)."""
    return np.asarray(np.asarray(xyz, dtype=np.float64) * (-1.0, -1.0, 1.0))


def ras_to_lps(xyz: ArrayLike) -> Array:
    """(..., 3) RAS mm to LPS mm."""
    return lps_to_ras(xyz)


@dataclass(frozen=True)
class CanonicalAxes:
    """How to turn a stored array so that its axes run nearest to superior, posterior, left, and back again.

    Attributes
    ----------
    grid : Grid
        The lattice of the turned array: same voxels, same places, permuted and flipped axes.
    order : tuple of int
        Transpose of the (z, y, x) array that comes first.
    flips : tuple of int
        Axes of the transposed array that are then reversed.
    """

    grid: Grid
    order: tuple[int, int, int]
    flips: tuple[int, ...]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """(z, y, x) stored array to a view whose axes run S, P, L."""
        return np.flip(array.transpose(self.order), self.flips) if self.flips else array.transpose(self.order)

    def restore(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of the turned array back in the stored axes."""
        back = tuple(int(n) for n in np.argsort(self.order))
        return (np.flip(array, self.flips) if self.flips else array).transpose(back)


def canonical_axes(grid: Grid) -> CanonicalAxes:
    """Find the permutation and flips after which the x, y, z array axes run nearest to +L, +P, +S.

    No resampling: an oblique stack stays oblique, its affine says so.
    """
    direction = grid.direction
    best: tuple[float, tuple[int, int, int]] | None = None
    for a, b, c in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        score = abs(direction[0, a]) + abs(direction[1, b]) + abs(direction[2, c])
        if best is None or score > best[0] + 1e-9:
            best = (score, (a, b, c))
    assert best is not None
    world_to_axis = best[1]
    affine = np.eye(4)
    origin = grid.affine[:3, 3].copy()
    flips: list[int] = []
    for world_axis, axis in enumerate(world_to_axis):
        column = grid.affine[:3, axis]
        if direction[world_axis, axis] < 0:
            origin += column * (grid.shape[2 - axis] - 1)
            column = -column
            flips.append(2 - world_axis)
        affine[:3, world_axis] = column
    affine[:3, 3] = origin
    order = tuple(2 - world_to_axis[2 - n] for n in range(3))
    shape = tuple(grid.shape[n] for n in order)
    return CanonicalAxes(Grid(shape, affine), order, tuple(sorted(flips)))  # type: ignore[arg-type]


def isotropic_grid(grid: Grid, spacing_mm: float) -> Grid:
    """A lattice over the same box and along the same axes with cubic voxels of `spacing_mm`."""
    extent = grid.spacing * np.array(grid.shape[::-1])
    size = np.maximum(np.ceil(extent / spacing_mm - 1e-6), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = grid.direction * spacing_mm
    affine[:3, 3] = to_world(grid, -0.5 + 0.5 * spacing_mm / grid.spacing)
    return Grid((int(size[2]), int(size[1]), int(size[0])), affine)


@dataclass(frozen=True, eq=False)
class VertebralFrame:
    """The right-handed frame of one vertebra (clinical specification 0.3).

    Attributes
    ----------
    origin : (3,) LPS mm
        Midpoint of the body's posterior wall at mid body height.
    left, posterior, superior : (3,) unit LPS
        ``superior`` is the normal of the superior endplate, ``left = posterior x superior``.
    """

    origin: Array
    left: Array
    posterior: Array
    superior: Array

    def __post_init__(self) -> None:
        matrix = np.stack([self.left, self.posterior, self.superior])
        if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6) or np.linalg.det(matrix) < 0:
            raise ValueError("a vertebral frame needs three orthonormal right-handed axes")

    @classmethod
    def from_axes(cls, origin: ArrayLike, posterior: ArrayLike, superior: ArrayLike) -> VertebralFrame:
        """Build from an endplate normal and a rough posterior direction, made orthogonal to it."""
        e_s = unit(superior)
        rough = np.asarray(posterior, dtype=np.float64)
        e_p = unit(rough - np.dot(rough, e_s) * e_s)
        return cls(np.asarray(origin, dtype=np.float64), np.cross(e_p, e_s), e_p, e_s)

    @property
    def matrix(self) -> Array:
        """(3, 3) rows left, posterior, superior: multiplies a world direction into the frame."""
        return np.stack([self.left, self.posterior, self.superior])

    def lateral(self, side: Side) -> Array:
        """(3,) unit LPS: away from the midline on `side`."""
        return np.asarray(side.sign * self.left)

    def to_local(self, xyz: ArrayLike) -> Array:
        """(..., 3) LPS mm to (..., 3) mm along (left, posterior, superior) from the origin."""
        return np.asarray((np.asarray(xyz, dtype=np.float64) - self.origin) @ self.matrix.T)

    def from_local(self, local: ArrayLike) -> Array:
        """(..., 3) mm along (left, posterior, superior) to (..., 3) LPS mm."""
        return np.asarray(np.asarray(local, dtype=np.float64) @ self.matrix + self.origin)

    def to_side(self, xyz: ArrayLike, side: Side) -> Array:
        """(..., 3) LPS mm to (..., 3) mm along (lateral of `side`, posterior, superior)."""
        return self.to_local(xyz) * (side.sign, 1.0, 1.0)

    def from_side(self, local: ArrayLike, side: Side) -> Array:
        """(..., 3) mm along (lateral of `side`, posterior, superior) to LPS mm."""
        return self.from_local(np.asarray(local, dtype=np.float64) * (side.sign, 1.0, 1.0))

    def oblique_tilt(self, u: ArrayLike, side: Side) -> tuple[float, float]:
        """Angles of a needle direction against the squared endplate.

        Parameters
        ----------
        u : (3,) LPS
            Entry to tip.
        side : Side
            The target's side.

        Returns
        -------
        oblique_deg : float
            Positive when the hub (and receptor) is turned toward `side`.
        tilt_deg : float
            Positive toward the head; negative (caudal) when the needle travels cranially.
        """
        angles = carm_angles(self.matrix @ unit(u))
        return side.sign * angles.rotation_deg, angles.tilt_deg


@dataclass(frozen=True)
class CArmAngles:
    """Receptor position over a prone patient's back.

    Attributes
    ----------
    rotation_deg : float
        0 straight behind the patient, positive toward the patient's LEFT.
    tilt_deg : float
        0 perpendicular to the long axis, positive toward the head.
    """

    rotation_deg: float
    tilt_deg: float


def carm_angles(u: ArrayLike) -> CArmAngles:
    """Needle direction (3,) LPS, entry to tip, to the receptor angles that look down its barrel (clinical 5.2)."""
    d = -unit(u)
    return CArmAngles(math.degrees(math.atan2(d[0], d[1])), math.degrees(math.asin(float(np.clip(d[2], -1, 1)))))


def carm_tilt(u: ArrayLike) -> Array:
    """(...,) degrees that a receptor tilts (positive toward the head) to look down needles, (..., 3) unit LPS."""
    return np.asarray(np.degrees(np.arcsin(np.clip(-np.asarray(u, dtype=float)[..., 2], -1.0, 1.0))))


def direction_from_carm(angles: CArmAngles) -> Array:
    """Inverse of `carm_angles`: (3,) unit LPS, entry to tip."""
    theta, phi = math.radians(angles.rotation_deg), math.radians(angles.tilt_deg)
    return -np.array([math.sin(theta) * math.cos(phi), math.cos(theta) * math.cos(phi), math.sin(phi)])


def receptor_axes(angles: CArmAngles) -> tuple[Array, Array]:
    """The axes of a fluoroscope's picture, seen from the receptor toward the source, the head up.

    Returns
    -------
    right, down : (3,) unit LPS
        Directions of growing column and row. From straight behind, the patient's LEFT is on the left.
    """
    theta, phi = math.radians(angles.rotation_deg), math.radians(angles.tilt_deg)
    right = np.array([-math.cos(theta), math.sin(theta), 0.0])
    down = np.array([math.sin(theta) * math.sin(phi), math.cos(theta) * math.sin(phi), -math.cos(phi)])
    return right, down


def dicom_positioner_angles(angles: CArmAngles) -> tuple[float, float]:
    """DICOM Positioner Primary and Secondary Angle (PS3.3 C.8.7.5.1.2) of a receptor behind the patient, degrees."""
    theta = angles.rotation_deg
    return (180.0 - theta if theta >= 0 else -180.0 - theta), angles.tilt_deg


def whole_degrees(angle_deg: float) -> int:
    """An angle without its sign in whole degrees, halves up, for words.

    It is taken as it is written in a plan, with two decimals: a plan read back then says the same as before.
    """
    return math.floor(round(abs(angle_deg), 2) + 0.5)


def carm_words(angles: CArmAngles) -> str:
    """Anatomical words for a console, side first, no LAO/RAO."""
    turn, tilt = whole_degrees(angles.rotation_deg), whole_degrees(angles.tilt_deg)
    side = "LEFT" if angles.rotation_deg >= 0 else "RIGHT"
    rotate = f"rotate receptor to the patient's {side} {turn} degrees" if turn else "no rotation"
    end = "HEAD" if angles.tilt_deg >= 0 else "FEET"
    return f"{rotate}, tilt receptor toward the {end} {tilt} degrees" if tilt else f"{rotate}, no tilt"


@dataclass(frozen=True)
class CtAngles:
    """What an operator dials at the CT table.

    Attributes
    ----------
    in_plane_deg : float
        In the axial plane, from straight anterior; positive when the hub leans toward the patient's LEFT.
    out_of_plane_deg : float
        Out of the axial plane; positive when the tip is cranial of the entry.
    """

    in_plane_deg: float
    out_of_plane_deg: float


def ct_angles(u: ArrayLike) -> CtAngles:
    """Needle direction (3,) LPS, entry to tip, to in-plane and out-of-plane angles of the axial plane."""
    v = unit(u)
    in_plane = math.degrees(math.atan2(-v[0], -v[1]))
    return CtAngles(in_plane, math.degrees(math.asin(float(np.clip(v[2], -1, 1)))))


def direction_from_projected(abduction_deg: float, declination_deg: float) -> Array:
    """Dry-bone projection angles to a needle direction in (lateral, posterior, superior) (clinical 1.2).

    Parameters
    ----------
    abduction_deg : float
        Away from the parasagittal plane in the posterior view.
    declination_deg : float
        Against the superior endplate in the lateral view.

    Returns
    -------
    (3,) float64
        Unit direction, entry to tip: medial, anterior and cranial.
    """
    a, d = math.tan(math.radians(abduction_deg)), math.tan(math.radians(declination_deg))
    return unit((-a * d, -1.0, d))
