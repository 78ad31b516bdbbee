"""How likely each tight margin still holds when the needle is misplaced: curves over the placement error.

The tip and the entry miss independently, each by the placement sigma per axis across the shaft, and the structure's
surface is known to `surface_sigma`. A fraction f of the way from tip to entry the shaft then shifts by (1 - f) times
the one miss and f times the other, and the margin must hold at every place along it: beside a structure that runs along
the shaft either end can break it. At every place the surface is taken as flat and as lying on the same side of the
shaft, so that beside a rounded one the probability is too low, not too high.
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

__all__ = [
    "MarginRule", "margin_curves", "margin_probability", "margin_rule", "nearest_fraction", "places_along",
]

Array = NDArray[np.float64]
_HALVINGS = 9
#: Places along a shaft that are looked at beside the nearest one; misses of the tip that are summed.
_PLACES, _TIP_MISSES = 13, 121
#: A place nearer to the tip than this share of the shaft does not feel the miss of the entry.
_NEAR_TIP = 1e-3
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / np.sqrt(2 * np.pi)


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


def margin_probability(slack_mm: Array, fraction: Array, placement_sigma_mm: float, surface_sigma_mm: float) -> float:
    """Probability that a clearance keeps its margin at every one of some places along a shaft.

    Parameters
    ----------
    slack_mm : (n,) mm
        Distance to the structure from each place as planned, less the margin; negative where it is not met.
    fraction : (n,)
        The places: 0 at the tip, 1 at the entry.
    placement_sigma_mm, surface_sigma_mm : float
        Per axis; the first is not 0.

    Notes
    -----
    For a miss of the tip the entry may miss by no more than the least of the places allows: one normal distribution
    function, summed over the misses of the tip (to 6 sigma) and of the surface.
    """
    tip = np.linspace(-6.0, 6.0, _TIP_MISSES)
    weight = np.exp(-0.5 * tip**2)
    weight /= weight.sum()
    inverse = 1.0 / np.maximum(fraction, _NEAR_TIP)
    # (places, misses of the tip): what is left for the entry's miss, in sigmas, beside the surface's own
    left = (slack_mm[:, None] / placement_sigma_mm - (1.0 - fraction)[:, None] * tip) * inverse[:, None]
    surface = (surface_sigma_mm / placement_sigma_mm) * _NODES[:, None, None] * inverse[:, None]
    kept = ndtr((left - surface).min(axis=1))
    return float(np.clip(_WEIGHTS @ kept @ weight, 0.0, 1.0))


def places_along(boxes: Boxes, entry: Array, tip: Array) -> tuple[Array, Array]:
    """Places along a shaft, 0 at the tip to 1 at the entry, the nearest to a structure too, and their gaps, mm."""
    fractions = np.sort(np.append(np.linspace(0.0, 1.0, _PLACES), nearest_fraction(boxes, entry, tip)))
    points = tip + fractions[:, None] * (entry - tip)
    return fractions, np.array([boxes.gap(point, point) for point in points])


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
        fractions, gaps = places_along(structures[name], entry, tip)
        slack_there = room + gaps - gaps.min()
        points = tuple(CapturePoint(sigma, round(margin_probability(slack_there, fractions, sigma,
                                                                    rule.surface_sigma.value), 6))
                       for sigma in procedure.capture.placement_sigmas.values)
        out.append(MarginCurve(name, procedure.margins[name].value, points))
    return tuple(out)
