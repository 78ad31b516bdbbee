"""`Grid` and `Volume`: an array that knows where in the patient it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.findings import Finding

__all__ = ["MIN_SLICES", "Grid", "SeriesIdentity", "Volume"]

MIN_SLICES = 8
"""Fewest slices that make a volume worth planning on, whatever they are kept in."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel lattice in the patient.

    Attributes
    ----------
    shape : tuple of int
        ``(z, y, x)`` array shape.
    affine : (4, 4) float64
        Maps ``(i, j, k, 1)`` (x, y and z array index, voxel centres at integers) to LPS millimetres. Its three
        columns are orthogonal (checked) but may point anywhere: sagittal and oblique stacks keep their own axes.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.abs(affine[3] - (0, 0, 0, 1)).max() > 1e-6:
            raise ValueError("a grid needs a finite 4x4 affine whose last row is 0 0 0 1")
        columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        if not np.abs(columns.T @ columns - np.eye(3)).max() <= 1e-3:
            raise ValueError("the axes of a grid must be orthogonal; correct the shear before building the volume")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def spacing(self) -> NDArray[np.float64]:
        """(3,) mm, along the x, y and z array axes."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3) unit columns: the LPS direction of the x, y and z array axes."""
        return np.asarray(self.affine[:3, :3] / self.spacing)

    @property
    def origin(self) -> NDArray[np.float64]:
        """(3,) LPS mm of voxel (0, 0, 0)."""
        return np.asarray(self.affine[:3, 3])

    def same_as(self, other: Grid, atol: float = 1e-3) -> bool:
        """True when both lattices have the same shape and place."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=atol))


@dataclass(frozen=True)
class SeriesIdentity:
    """Which images a volume came from. Holds no names; `source` is the only path and never leaves ``source.json``."""

    source: str = field(default="", repr=False)
    study_uid: str = ""
    series_uid: str = ""
    frame_of_reference_uid: str = ""
    patient_position: str = ""
    study_date: str = ""
    description: str = field(default="", repr=False)
    sha256: str = ""
    instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: stored values, how to read them, and where they lie.

    Attributes
    ----------
    array : (z, y, x) int16 or float32
        Stored values; ``value = array * slope + intercept`` (Hounsfield units for CT).
    grid : Grid
        The lattice; ``grid.shape == array.shape``.
    modality : str
        ``"CT"``, ``"MR"`` or ``"OTHER"``.
    """

    array: NDArray[Any]
    grid: Grid
    modality: str = "CT"
    slope: float = 1.0
    intercept: float = 0.0
    identity: SeriesIdentity = field(default_factory=SeriesIdentity)
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or tuple(self.array.shape) != self.grid.shape:
            raise ValueError(f"array shape {self.array.shape} does not match the grid's {self.grid.shape}")

    def values(self) -> NDArray[np.float32]:
        """(z, y, x) float32: Hounsfield units for CT, arbitrary units for MR."""
        out = self.array.astype(np.float32)
        if self.slope != 1.0:
            out *= np.float32(self.slope)
        if self.intercept != 0.0:
            out += np.float32(self.intercept)
        return out
