"""Bone sizes of the phantom, read from ``morphometry.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["LEVELS", "LevelSize", "level_sizes", "morphometry_version"]

LEVELS: tuple[str, ...] = ("T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1")
"""Levels of the phantom, from the head down."""


@dataclass(frozen=True)
class LevelSize:
    """Sizes of one vertebra, millimetres and degrees; the data file says what each row means and where it is from."""

    level: str
    body_width: float
    body_depth: float
    body_posterior_height: float
    body_wedge: float
    disc_height: float
    disc_wedge: float
    pedicle_separation: float
    pedicle_width: float
    pedicle_height: float
    pedicle_angle: float
    canal_depth: float
    transverse_span: float
    transverse_rise: float
    transverse_retreat: float
    transverse_height: float
    transverse_thickness: float
    facet_angle: float
    facet_offset: float
    facet_depth: float
    facet_gap: float
    articular_width: float
    articular_rise: float
    spinous_length: float
    spinous_height: float
    spinous_thickness: float
    ramus_rise: float


def _table() -> dict[str, Any]:
    text = resources.files(__package__ or "sample_data").joinpath("morphometry.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def morphometry_version() -> str:
    """Version of the data file."""
    return str(_table()["version"])


@cache
def level_sizes() -> dict[str, LevelSize]:
    """Sizes of every level.

    Returns
    -------
    dict of str to LevelSize
        Keyed by level name, T11 to S1; a row that does not apply to a level (a disc below S1) is 0.
    """
    rows = _table()["rows"]
    names = [field.name for field in fields(LevelSize) if field.name != "level"]
    return {
        level: LevelSize(level, **{name: float(rows[name]["values"].get(level, 0.0)) for name in names})
        for level in LEVELS
    }
