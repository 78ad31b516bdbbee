"""The simulated C-arm: its distances, and where it puts a point of the patient in the picture."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging.geometry import CArmAngles, receptor_axes

__all__ = ["Beam", "Fluoroscope", "beam", "fluoroscope"]

Array = NDArray[np.float64]
_PIXELS = 512


@dataclass(frozen=True)
class Fluoroscope:
    """The simulated C-arm, read from ``targeting/data/fluoroscope.toml`` (value, unit, status and source of each).

    Attributes
    ----------
    source_to_receptor_mm, source_to_center_mm : float
        From the focal spot to the receptor, and to what the picture is centred on.
    field_mm : float
        Edge of the field at the receptor.
    water_per_mm : float
        Linear attenuation of water at the effective energy.
    declined_tilt_deg : float
        Caudal tilt, against the squared endplate, of the declined view.
    """

    source_to_receptor_mm: float
    source_to_center_mm: float
    field_mm: float
    water_per_mm: float
    declined_tilt_deg: float


def _constant(table: dict[str, Any], section: str, name: str, unit: str) -> float:
    entry = table[section][name]
    if set(entry) != {"value", "unit", "status", "source"} or entry["unit"] != unit:
        raise ValueError(f"fluoroscope.toml, {section}.{name}: needs value, unit ({unit}), status and source")
    return float(entry["value"])


@cache
def fluoroscope() -> Fluoroscope:
    """The C-arm that pictures are simulated for."""
    text = resources.files("targeting.data").joinpath("fluoroscope.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    names = (("geometry", "source_to_receptor", "mm"), ("geometry", "source_to_center", "mm"),
             ("geometry", "field", "mm"), ("attenuation", "water", "1/mm"), ("views", "declined_tilt", "deg"))
    return Fluoroscope(*(_constant(table, *name) for name in names))


@dataclass(frozen=True, eq=False)
class Beam:
    """A cone of rays from a point source onto a square receptor, seen from the receptor's side.

    The picture is what the eye sees looking from the receptor toward the source, so behind a prone patient LEFT is on
    the left. A point nearer to the source is larger in the picture.

    Attributes
    ----------
    center : (3,) LPS mm
        On the central ray; drawn in the middle of the picture.
    right, down : (3,) unit LPS
        Directions of growing column and row.
    source_mm, receptor_mm : float
        From `center` to the source and to the receptor.
    width, height : int
        Pixels.
    step_mm : float
        Size of a pixel in the plane through `center`.
    """

    center: Array
    right: Array
    down: Array
    source_mm: float
    receptor_mm: float
    width: int
    height: int
    step_mm: float

    @property
    def into(self) -> Array:
        """(3,) unit LPS, from the receptor toward the source: away from the eye."""
        return np.cross(self.right, self.down)

    @property
    def source(self) -> Array:
        """(3,) LPS mm of the focal spot."""
        return np.asarray(self.center + self.source_mm * self.into)

    def to_view(self, xyz: ArrayLike) -> Array:
        """(..., 3) LPS mm to (..., 3): column, row (pixels, fractions) and mm behind `center`, away from the eye.

        A point at or beyond the source has no picture: NaN.
        """
        offset = np.asarray(xyz, dtype=np.float64) - self.center
        behind = offset @ self.into
        left = self.source_mm - behind
        grow = self.source_mm / np.where(left > 0, left, np.nan) / self.step_mm
        return np.stack([offset @ self.right * grow + (self.width - 1) / 2,
                         offset @ self.down * grow + (self.height - 1) / 2, behind], axis=-1)

    def to_patient(self, view: ArrayLike) -> Array:
        """(..., 3) column, row, mm behind `center` to (..., 3) LPS mm: the inverse of `to_view`."""
        place = np.asarray(view, dtype=np.float64)
        scale = (self.source_mm - place[..., 2]) / self.source_mm * self.step_mm
        x = (place[..., 0] - (self.width - 1) / 2) * scale
        y = (place[..., 1] - (self.height - 1) / 2) * scale
        return np.asarray(self.center + x[..., None] * self.right + y[..., None] * self.down
                          + place[..., 2, None] * self.into)

    def sized(self, width: int, height: int) -> Beam:
        """The same field of view about the same middle in other numbers of pixels, the longer edge holding it."""
        field = self.step_mm * max(self.width, self.height)
        return replace(self, width=width, height=height, step_mm=field / max(width, height))


def beam(center: ArrayLike, angles: CArmAngles, pixels: int = _PIXELS) -> Beam:
    """The beam of the simulated C-arm.

    Parameters
    ----------
    center : (3,) LPS mm
        What the room would centre on, such as the needle's tip.
    angles : CArmAngles
        The receptor's place over a prone patient's back. At `carm_angles(direction)` with the tip as centre, a
        needle along `direction` is one point in the middle of the picture.
    """
    right, down = receptor_axes(angles)
    if pixels < 2:
        raise ValueError(f"a picture needs at least 2 pixels along an edge, not {pixels}")
    arm = fluoroscope()
    source, receptor = arm.source_to_center_mm, arm.source_to_receptor_mm - arm.source_to_center_mm
    step = arm.field_mm * source / arm.source_to_receptor_mm / pixels
    return Beam(np.asarray(center, dtype=np.float64), right, down, source, receptor, pixels, pixels, step)
