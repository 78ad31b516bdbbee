"""How likely each tight margin still holds when the needle is misplaced: curves over the placement error.

The tip and the entry miss independently, each by the placement sigma per axis across the shaft, and the structure's
surface is known to `surface_sigma`. Where the shaft passes a surface nearest, a fraction f of the way from tip to
entry, its shift toward that surface is normal with variance sigma^2 ((1 - f)^2 + f^2) + surface_sigma^2. So beside a
flat surface across the shaft the probability of keeping a margin is one normal distribution function; beside a rounded
one it is a little too low.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from segmentation.anatomy import StructureName
from targeting.clearance import Boxes
from targeting.constants import Constant, section
from targeting.model import CapturePoint, MarginCurve
from targeting.procedures import Procedure

__all__ = ["MarginRule", "margin_curves", "margin_probability", "margin_rule", "nearest_fraction"]

Array = NDArray[np.float64]
_HALVINGS = 9


@dataclass(frozen=True)
class MarginRule:
    """How well surfaces are known, mm, and for how many structures a curve is made."""

    surface_sigma: Constant
    shown: Constant


@cache
def margin_rule() -> MarginRule:
    """The constants of ``uncertainty.toml``."""
    data = tomllib.loads(resources.files(__package__).joinpath("uncertainty.toml").read_text("utf-8"))
    return section(MarginRule, data["margins"], "margins")


def margin_probability(slack_mm: float, fraction: float, placement_sigma_mm: float, surface_sigma_mm: float) -> float:
    """Probability that a clearance keeps its margin.

    Parameters
    ----------
    slack_mm : float
        Clearance as planned less the margin; negative where it is not met.
    fraction : float
        Where along the shaft the surface is nearest: 0 at the tip, 1 at the entry.
    placement_sigma_mm, surface_sigma_mm : float
        Per axis; not both 0.
    """
    sigma = np.sqrt(placement_sigma_mm**2 * ((1.0 - fraction)**2 + fraction**2) + surface_sigma_mm**2)
    return float(ndtr(slack_mm / sigma))


def nearest_fraction(boxes: Boxes, entry: Array, tip: Array) -> float:
    """Where a shaft comes nearest to a structure: 0 at the tip, 1 at the entry, to 1/500 of its length."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        near, far = (boxes.gap(tip + a * (entry - tip), tip + b * (entry - tip))
                     for a, b in ((low, middle), (middle, high)))
        low, high = (low, middle) if near <= far else (middle, high)
    return 0.5 * (low + high)


def margin_curves(procedure: Procedure, clearance: Mapping[StructureName, float | None], entry: Array, tip: Array,
                  structures: Mapping[StructureName, Boxes]) -> tuple[MarginCurve, ...]:
    """The curves of the structures with the least slack, tightest first.

    Parameters
    ----------
    clearance : mapping
        Exact, from the needle's surface, mm; structures without one have no curve.
    entry, tip : (3,) LPS mm
        Ends of the part of the needle that was measured.
    structures : mapping
        Masks ready for measuring.
    """
    rule = margin_rule()
    slack = sorted((value - procedure.margins[name].value, name) for name, value in clearance.items()
                   if value is not None and name in procedure.margins and name in structures)
    out = []
    for room, name in slack[:int(rule.shown.value)]:
        place = nearest_fraction(structures[name], entry, tip)
        points = tuple(CapturePoint(sigma, round(margin_probability(room, place, sigma, rule.surface_sigma.value), 6))
                       for sigma in procedure.capture.placement_sigmas.values)
        out.append(MarginCurve(name, procedure.margins[name].value, points))
    return tuple(out)
