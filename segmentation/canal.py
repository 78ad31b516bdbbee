"""The spinal canal from the vertebrae: the hole between body and arch, carried along the spine as a tube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

from imaging.geometry import to_world
from imaging.resample import crop_grid
from imaging.volume import Grid
from segmentation.constants import constants
from segmentation.frames import FrameFit, arch_hole

__all__ = ["CanalStation", "canal_mask", "canal_station", "sacral_station"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CanalStation:
    """The canal's section at one vertebra.

    Attributes
    ----------
    center : (3,) LPS mm
    left, posterior : (3,) unit LPS
    half_width, half_depth : float
        mm along them.
    """

    center: Array
    left: Array
    posterior: Array
    half_width: float
    half_depth: float


def canal_station(fit: FrameFit) -> CanalStation | None:
    """The canal at a presacral vertebra's pedicles, or None when its arch is not closed."""
    if fit.frame is None or fit.measures is None:
        return None
    height = fit.measures.pedicle_height
    block = fit.field.block(fit.frame, (-34, -8, height - 14), (34, 44, height + 6), 1.0)
    hole = arch_hole(block, 0.0, height)
    if hole is None:
        return None
    low, high = np.percentile(hole, 2, axis=0) - 0.5, np.percentile(hole, 98, axis=0) + 0.5
    middle = 0.5 * (low + high)
    center = fit.frame.from_local((middle[0], middle[1], height))
    return CanalStation(center, fit.frame.left, fit.frame.posterior, float(high[0] - low[0]) / 2,
                        float(high[1] - low[1]) / 2)


def sacral_station(fit: FrameFit) -> CanalStation | None:
    """The canal behind the S1 body."""
    if fit.frame is None:
        return None
    c = constants("structures")["canal"]
    depth = float(c["sacral_half_depth_mm"])
    return CanalStation(fit.frame.from_local((0.0, depth, 0.0)), fit.frame.left, fit.frame.posterior,
                        float(c["sacral_half_width_mm"]), depth)


def _dense(stations: Sequence[CanalStation]) -> tuple[Array, Array, Array, Array]:
    """Centers, left and posterior axes and (half width, half depth), every millimetre, past both ends."""
    c = constants("structures")["canal"]
    centers = np.array([s.center for s in stations])
    rows = np.hstack([centers, [s.left for s in stations], [s.posterior for s in stations],
                      [[s.half_width, s.half_depth] for s in stations]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centers, axis=0), axis=1))])
    beyond, step = float(c["beyond_ends_mm"]), float(c["station_step_mm"])
    at = np.arange(-beyond, along[-1] + beyond + step / 2, step)
    if len(stations) == 1:
        tangent = np.cross(stations[0].left, stations[0].posterior)
        same = np.repeat(rows, len(at), axis=0)
        return centers + at[:, None] * tangent, same[:, 3:6], same[:, 6:9], same[:, 9:11]
    curve = PchipInterpolator(along, rows)
    values = curve(np.clip(at, 0.0, along[-1]))
    ends = curve(np.array([0.0, along[-1]]), 1)[:, :3]
    ends /= np.linalg.norm(ends, axis=1, keepdims=True)
    values[:, :3] += np.minimum(at, 0.0)[:, None] * ends[0] + np.maximum(at - along[-1], 0.0)[:, None] * ends[1]
    return values[:, :3], values[:, 3:6], values[:, 6:9], values[:, 9:11]


def canal_mask(stations: Sequence[CanalStation], grid: Grid, bone: NDArray[Any]) -> NDArray[np.bool_]:
    """Fill the canal on a lattice.

    Parameters
    ----------
    stations : sequence of CanalStation
        Head to foot, at least one.
    bone : (z, y, x)
        Non-zero where a vertebra is: not canal.

    Returns
    -------
    (z, y, x) bool
    """
    centers, left, posterior, half = _dense(stations)
    reach = float(half.max()) + 2.0
    part, cut = crop_grid(grid, centers, reach)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in part.shape), indexing="ij"), axis=-1)[..., ::-1]
    free = np.asarray(bone[cut]) == 0
    points = to_world(part, index[free].astype(float))
    _, nearest = cKDTree(centers).query(points, distance_upper_bound=reach)
    near = nearest < len(centers)
    at = nearest[near]
    away = points[near] - centers[at]
    power = float(constants("structures")["canal"]["power"])
    axis = np.gradient(centers, axis=0)
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    ahead = np.abs(np.einsum("ij,ij->i", away, axis[at]))
    u = np.abs(np.einsum("ij,ij->i", away, left[at])) / half[at, 0]
    v = np.abs(np.einsum("ij,ij->i", away, posterior[at])) / half[at, 1]
    inside = (u**power + v**power <= 1.0) & (ahead <= max(1.0, 0.75 * math.sqrt(3) * float(grid.spacing.max())))
    keep = np.zeros(len(points), dtype=bool)
    keep[np.flatnonzero(near)[inside]] = True
    out = np.zeros(grid.shape, dtype=bool)
    region = np.zeros(part.shape, dtype=bool)
    region[free] = keep
    out[cut] = region
    return out
