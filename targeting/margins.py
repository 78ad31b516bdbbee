"""How likely each tight margin still holds when the needle is misplaced: curves over the placement error.

The tip and the entry miss independently, each by the placement sigma per axis across the shaft, and the structure's
surface is known to `surface_sigma`. Beside a flat surface that has a closed form (`tests/targeting/test_margins.py`);
bone and canal are not flat, so the same seeded misses of both ends are tried at every sigma, and each shaft that joins
them is followed through the distance field of the structure from end to end. The surface's own error needs no draws:
for one shaft the margin holds with a normal distribution function of what is left of it.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from imaging.geometry import Side, VertebralFrame, to_index, unit
from imaging.volume import Grid
from segmentation.anatomy import StructureName
from targeting.compiled import compiled
from targeting.constants import Constant, section
from targeting.fields import FIELD_CAP_MM, NearField
from targeting.kernels import EDGE, within
from targeting.model import CapturePoint, MarginCurve
from targeting.scene import Scene

__all__ = ["MarginRule", "Shaft", "margin_curves", "margin_probabilities", "margin_rule", "misses"]

Array = NDArray[np.float64]
Field = NDArray[np.float32]
#: Misses that are tried, a power of two, and the seed of their scrambling: with any of 30 seeds planes, balls and tubes
#: come out within 0.009, with this one within 0.003.
_COUNT, _SEED = 1024, 28
#: A placement sigma of more than half so many surface sigmas needs them all, one of more than a quarter half of them.
_NEEDS_ALL = 8.0
#: Shortest step along a misplaced shaft, mm, and by how much it grows with the distance: half a step beside a point
#: makes little of a distance that is long (6 mm: 0.05 mm).
_STEP_MM, _STEP_SHARE = 0.5, 1.0 / 6.0
#: A margin with more left of it than so many sigmas of the surface holds, with so much missing it does not.
_SURE = 4.0
#: A shaft whose cosine to the lateral axis is greater takes the superior one for its first axis across.
_ALONG = 0.9
#: What a probability is told to, decimals; the misses are good for two.
_DECIMALS = 4


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


@cache
def misses() -> Array:
    """(n, 4) standard normal misses: of the tip along two axes across the shaft, then of the entry.

    Points of a scrambled Sobol sequence, which fill the four dimensions more evenly than draws do: a probability is
    within 0.005 of its limit, where as many draws would be within 0.03.
    """
    return np.ascontiguousarray(ndtri(qmc.Sobol(4, rng=np.random.default_rng(_SEED)).random(_COUNT)))


@compiled
def _least_along(field: Field, start: Array, step: Array, length: float, floor: float, ceiling: float) -> float:
    """The least a field is along a segment, told only between two values.

    Parameters
    ----------
    start, step : (3,)
        Fractional indices of one end, and the steps of 1 mm toward the other.
    """
    last_k, last_j, last_i = field.shape[0] - 1 - EDGE, field.shape[1] - 1 - EDGE, field.shape[2] - 1 - EDGE
    s, least = 0.0, ceiling
    while least > floor:
        value = within(field, min(max(start[0] + s * step[0], 0.0), last_i),
                       min(max(start[1] + s * step[1], 0.0), last_j), min(max(start[2] + s * step[2], 0.0), last_k))
        least = min(least, value)
        if s >= length:
            return least
        s = min(s + max(value - least, _STEP_MM + max(value, 0.0) * _STEP_SHARE), length)
    return floor


@compiled
def _kept(field: Field, ends: Array, across: Array, length: float, found: float, missed: Array, sigmas: Array,
          level: float, surface: float) -> Array:
    """(m,) probability that a field stays above a level, itself known to `surface`, along a misplaced shaft.

    Parameters
    ----------
    ends, across : (2, 3)
        Tip and entry as fractional indices of the field; index steps per mm along two axes across the shaft.
    length, found : float, mm
        Of the shaft as planned, and the least the field is along it.
    missed : (n, 4)
        As `misses`.
    sigmas : (m,) mm
    """
    out, high, low = np.zeros(len(sigmas)), level + _SURE * surface, level - _SURE * surface
    start, step = np.empty(3), np.empty(3)
    for m in range(len(sigmas)):
        count = len(missed)
        while count > 1 and sigmas[m] * len(missed) <= 0.5 * _NEEDS_ALL * surface * count:
            count //= 2
        for n in range(count):
            a, b = sigmas[m] * missed[n, 0], sigmas[m] * missed[n, 1]
            c, d = sigmas[m] * missed[n, 2], sigmas[m] * missed[n, 3]
            if found - math.sqrt(max(a * a + b * b, c * c + d * d)) >= high:
                out[m] += 1.0 / count
                continue
            reach = math.sqrt(length**2 + (c - a)**2 + (d - b)**2)
            for axis in range(3):
                start[axis] = ends[0, axis] + a * across[0, axis] + b * across[1, axis]
                step[axis] = (ends[1, axis] + c * across[0, axis] + d * across[1, axis] - start[axis]) / reach
            least = _least_along(field, start, step, reach, low, high)
            out[m] += 0.5 * math.erfc((level - least) / (surface * math.sqrt(2.0))) / count
    return out


@dataclass(frozen=True, eq=False)
class Shaft:
    """The part of a needle that is misplaced, on the lattice of some fields.

    Attributes
    ----------
    ends : (2, 3)
        Tip and entry as fractional indices.
    across : (2, 3)
        Index steps of 1 mm along two axes across the shaft, mirror images on the patient's two sides.
    length : float
        mm.
    """

    ends: Array
    across: Array
    length: float

    @classmethod
    def of(cls, grid: Grid, entry: Array, tip: Array, frame: VertebralFrame, side: Side) -> Shaft:
        """Of a needle beside a vertebra, ends in LPS mm."""
        u, inverse = unit(tip - entry), np.linalg.inv(grid.affine[:3, :3])
        lateral = frame.lateral(side)
        aside = lateral if abs(float(lateral @ u)) < _ALONG else frame.superior
        first = unit(aside - (aside @ u) * u)
        across = np.stack([first, side.sign * np.cross(u, first)]) @ inverse.T
        return cls(to_index(grid, np.stack([tip, entry])), across, float(np.linalg.norm(tip - entry)))


def margin_probabilities(near: NearField, shaft: Shaft, clearance_mm: float, need_mm: float, sigmas: Array,
                         surface_mm: float) -> Array:
    """(m,) probability that a clearance keeps its margin all along a shaft that is misplaced.

    Parameters
    ----------
    near : NearField
        Of the structure.
    clearance_mm : float
        From the needle's axis to the structure as planned, measured exactly: what the field finds there counts as this.
    need_mm : float
        Least distance of the axis.
    sigmas : (m,) mm
        Placement errors per axis, of either end.
    """
    ends = shaft.ends - near.low
    length = shaft.length
    found = _least_along(near.distance, ends[0], (ends[1] - ends[0]) / length, length, -1e3, FIELD_CAP_MM)
    level = need_mm + (found - clearance_mm if found < FIELD_CAP_MM else 0.0)
    return np.asarray(_kept(near.distance, ends, shaft.across, length, found, misses(), sigmas, level, surface_mm))


def margin_curves(scene: Scene, clearance: Mapping[StructureName, float | None], entry: Array,
                  tip: Array) -> tuple[MarginCurve, ...]:
    """The curves of the structures with the least slack, tightest first.

    Parameters
    ----------
    clearance : mapping
        Exact, from the needle's surface, mm; structures without one have no curve.
    entry, tip : (3,) LPS mm
        Ends of the part of the needle that was measured.
    """
    rule, margins = margin_rule(), scene.procedure.margins
    slack = sorted((value - margins[name].value, name) for name, value in clearance.items()
                   if value is not None and name in margins)
    shaft = Shaft.of(scene.fields.grid, entry, tip, scene.frame, scene.target.side)
    sigmas = scene.procedure.capture.placement_sigmas.values
    out = []
    for room, name in slack[:int(rule.shown.value)]:
        near = scene.fields.near.get(name)
        kept = np.ones(len(sigmas)) if near is None else margin_probabilities(
            near, shaft, room, 0.0, np.array(sigmas), rule.surface_sigma.value)
        points = tuple(CapturePoint(sigma, round(float(p), _DECIMALS)) for sigma, p in zip(sigmas, kept, strict=True))
        out.append(MarginCurve(name, margins[name].value, points))
    return tuple(out)
