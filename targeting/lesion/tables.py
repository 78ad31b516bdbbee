"""The lesion surfaces that ship: one per electrode, setting and edge temperature, precomputed by `compute`.

A surface is a body of revolution about the needle's axis. Uncalibrated: the effect is told as an interval between two
edges, never as one surface.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targeting.lesion.electrode import Edges
from targeting.model import LesionSetting

__all__ = ["UNCALIBRATED", "Lesion", "Surface", "lesion_of", "stored_settings"]

Array = NDArray[np.float64]
UNCALIBRATED = ("uncalibrated model of homogeneous muscle without blood flow: no bench lesion was fitted, bone and "
                "flow change it")


@dataclass(frozen=True, eq=False)
class Surface:
    """Where a heating reached one temperature.

    Attributes
    ----------
    z : (n,) mm, increasing
        Along the needle from its tip, positive beyond it; the first and the last lie on the axis.
    radius : (n,) mm
        About the needle's axis; 0 at both ends.
    """

    z: Array
    radius: Array

    @property
    def width_mm(self) -> float:
        """Largest diameter."""
        return 2.0 * float(self.radius.max())

    @property
    def distal_mm(self) -> float:
        """Reach beyond the tip."""
        return float(self.z[-1])

    def contains(self, along: Array, across: Array) -> NDArray[np.bool_]:
        """Which points lie inside.

        Parameters
        ----------
        along, across : (n,) mm
            Along the needle from its tip and distance from its axis.
        """
        inside = (along > self.z[0]) & (along < self.z[-1])
        return np.asarray(inside & (across < np.interp(along, self.z, self.radius)))

    def balls(self, spacing_mm: float = 0.25) -> tuple[Array, Array]:
        """Balls on the axis that fill the body, and with it measure its distance from anything.

        Returns
        -------
        along : (m,) mm
            Their centres, from the tip.
        radius : (m,) mm
            The largest that stays inside.
        """
        along = np.linspace(self.z[0], self.z[-1], max(int((self.z[-1] - self.z[0]) / spacing_mm), 2))
        start, step = np.stack((self.z[:-1], self.radius[:-1]), 1), np.stack((np.diff(self.z), np.diff(self.radius)), 1)
        centre = np.stack((along, np.zeros_like(along)), 1)[:, None]
        share = np.clip(((centre - start) * step).sum(-1) / (step**2).sum(-1), 0.0, 1.0)
        return along, np.asarray(np.linalg.norm(centre - start - share[..., None] * step, axis=-1).min(axis=1))


@dataclass(frozen=True, eq=False)
class Lesion:
    """The surfaces of one electrode at one setting; an edge that no tissue reached has none."""

    setting: LesionSetting
    spread: Surface | None
    hot: Surface | None
    effect_wide: Surface | None
    effect_narrow: Surface | None


@cache
def _stored() -> Mapping[LesionSetting, Mapping[str, Any]]:
    document = json.loads(resources.files(__package__).joinpath("tables.json").read_text("utf-8"))
    return {LesionSetting(*entry["setting"]): entry["surfaces"] for entry in document["lesions"]}


def stored_settings() -> tuple[LesionSetting, ...]:
    """Every electrode and setting in the tables, in order."""
    return tuple(sorted(_stored()))


@cache
def lesion_of(gauge: int, active_tip_mm: float, temperature_c: float, seconds: float) -> Lesion | None:
    """The lesion of an electrode at a setting; None where that combination was not computed, which is not no lesion."""
    for setting, surfaces in _stored().items():
        if (setting.gauge, setting.active_tip_mm, setting.temperature_c, setting.seconds) == (
                gauge, active_tip_mm, temperature_c, seconds):
            return Lesion(setting, **{edge.name: _surface(surfaces[edge.name]) for edge in fields(Edges)})
    return None


def _surface(stored: list[list[float]] | None) -> Surface | None:
    return None if stored is None else Surface(np.array(stored[0]), np.array(stored[1]))
