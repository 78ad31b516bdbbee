"""Concave corners of a bone's outline in one plane, found from outside: where two surfaces meet in a crotch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.shape import crossing

__all__ = ["Corner", "CornerSearch", "PlaneSlice", "concave_corner"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlaneSlice:
    """Distance to the bone on a plane.

    Attributes
    ----------
    u, v : (n,) mm
        Coordinates of the columns and of the rows.
    distance : (v, u) float
        mm, negative inside.
    """

    u: Array
    v: Array
    distance: NDArray[Any]

    def sample(self, uv: Array) -> Array:
        """(..., 2) mm to (...) mm, bilinear."""
        step = float(self.u[1] - self.u[0])
        index = [(uv[..., 1] - self.v[0]) / step, (uv[..., 0] - self.u[0]) / step]
        return np.asarray(ndimage.map_coordinates(self.distance, index, order=1, mode="nearest", output=np.float64))


@dataclass(frozen=True)
class CornerSearch:
    """How to look for a corner.

    Attributes
    ----------
    direction : (2,) unit
        From the corner outward, (u, v).
    arms_mm : tuple of float
        Lengths over which the bend is measured; the mean over them counts.
    span_mm, depth_mm : float
        Half width and half depth of the searched square about the start.
    step_mm : float
    prior_scale_mm, prior_weight : float
        A corner `prior_scale_mm` away from the start (along `u`) must bend by `prior_weight` more to win.
    """

    direction: tuple[float, float]
    arms_mm: tuple[float, ...]
    span_mm: float
    depth_mm: float
    step_mm: float
    prior_scale_mm: float
    prior_weight: float


@dataclass(frozen=True, eq=False)
class Corner:
    """A concave corner.

    Attributes
    ----------
    point : (2,) mm
        (u, v) on the outline.
    bend : float
        Sagitta over half the chord, mean over the arms: 0 flat, 0.41 a right angle seen along its bisector.
    spread_mm : float
        Half width along the outline of the part that bends nearly as much.
    """

    point: Array
    bend: float
    spread_mm: float


def _bends(depth: Array, found: NDArray[np.bool_], search: CornerSearch) -> Array:
    """Bend at each ray; -inf where the outline is not whole over the longest arm."""
    n = len(depth)
    total = np.zeros(n)
    whole = np.ones(n, dtype=bool)
    steps = [max(1, round(arm / search.step_mm)) for arm in search.arms_mm]
    index = np.arange(n)
    gap = np.concatenate([[0], np.cumsum(~found)])
    for k in steps:
        low, high = index - k, index + k
        inside = (low >= 0) & (high < n)
        lo, hi = np.clip(low, 0, n - 1), np.clip(high, 0, n - 1)
        whole &= inside & (gap[hi + 1] - gap[lo] == 0)
        total += (0.5 * (depth[lo] + depth[hi]) - depth) / (k * search.step_mm)
    return np.where(whole, total / len(steps), -np.inf)


def concave_corner(plane: PlaneSlice, start: Array, search: CornerSearch,
                   allowed: Callable[[Array], NDArray[np.bool_]]) -> Corner | None:
    """Find the strongest concavity of the outline as seen from outside along `search.direction`.

    Parameters
    ----------
    start : (2,) mm
        Where the corner is expected, (u, v).
    allowed : callable
        (n, 2) outline points to (n,) bool: where a corner may lie.

    Returns
    -------
    Corner or None
        None when no allowed point of the outline bends inward.
    """
    d = np.array(search.direction)
    along = np.array([-d[1], d[0]])
    s = np.arange(-search.span_mm, search.span_mm + 1e-9, search.step_mm)
    t = np.arange(search.depth_mm, -search.depth_mm - 1e-9, -search.step_mm)
    values = plane.sample(start + s[None, :, None] * along + t[:, None, None] * d)
    depth, found = crossing(-values, t, 0)
    depth = np.where(found, depth, 0.0)
    outline = start + s[:, None] * along + depth[:, None] * d
    bend = _bends(depth, found, search)
    score = bend - search.prior_weight * ((outline[:, 0] - start[0]) / search.prior_scale_mm) ** 2
    score[~(found & allowed(outline))] = -np.inf
    best = int(np.argmax(score))
    if not np.isfinite(score[best]) or bend[best] <= 0:
        return None
    shift = 0.0
    if 0 < best < len(s) - 1 and np.isfinite(score[best - 1:best + 2]).all():
        below, middle, above = score[best - 1:best + 2]
        curve = below - 2 * middle + above
        shift = float(np.clip(0.5 * (below - above) / curve, -0.5, 0.5)) if curve < 0 else 0.0
    at = s[best] + shift * search.step_mm
    near = np.isfinite(score) & (bend >= 0.9 * bend[best]) & (np.abs(s - at) <= 6.0)
    point = start + at * along + float(np.interp(at, s, depth)) * d
    return Corner(point, float(bend[best]), 0.5 * float(near.sum()) * search.step_mm)
