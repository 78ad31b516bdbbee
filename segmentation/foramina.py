"""The spinal nerve with its ganglion in the foramen: a model between two vertebrae, never seen in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from imaging.geometry import Side, to_world
from imaging.resample import crop_grid
from imaging.volume import Grid
from segmentation.constants import constants
from segmentation.frames import FrameFit
from segmentation.landmarks import Pedicle, SideAnatomy

__all__ = ["RootModel", "root_model", "roots_mask"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RootModel:
    """One spinal nerve from the canal to beyond the foramen.

    Attributes
    ----------
    level : str
        The upper vertebra, after which the nerve is named.
    path : (n, 3) LPS mm
    radius_mm : (n,) float64
    """

    level: str
    side: Side
    path: Array
    radius_mm: Array


def _ganglion(level: str) -> dict[str, float]:
    table = constants("structures")["ganglion"]
    return dict(table.get(level, table["L4"]))


def root_model(fit: FrameFit, level: str, side: Side, pedicle: Pedicle, canal_half_width: float) -> RootModel:
    """Model the spinal nerve that leaves below a vertebra's pedicle.

    Parameters
    ----------
    fit : FrameFit
        The upper vertebra, with a frame.
    pedicle : Pedicle
        Its pedicle on `side`, in (lateral, posterior, superior) of its frame.
    canal_half_width : float
        mm.
    """
    assert fit.frame is not None
    c, ganglion = constants("structures")["nerve"], _ganglion(level)
    radius = 0.5 * ganglion["width_mm"]
    y = float(pedicle.center[1])
    z = pedicle.inferior_wall - float(c["below_pedicle_mm"]) - radius
    down = np.tan(np.radians(90.0 - float(c["take_off_deg"])))
    entry = min(canal_half_width, pedicle.medial_wall) - 1.0
    middle = pedicle.medial_wall + ganglion["lateral_mm"] * np.sin(np.radians(float(c["take_off_deg"])))
    edge = max(pedicle.lateral_wall, middle + 2.0)
    run = float(c["lateral_run_mm"])
    knots = np.array([
        [entry - 3.0, y + 2.0, z + (middle - entry + 3.0) * down + 3.0],
        [entry, y + 1.0, z + (middle - entry) * down],
        [middle, y, z],
        [edge, y - 1.5, z - (edge - middle) * down],
        [edge + run, y - 1.5 - run * float(c["forward_share"]),
         z - (edge - middle) * down - run * float(c["down_share"])],
    ])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    at = np.arange(0.0, length[-1], float(c["step_mm"]))
    path = np.column_stack([np.interp(at, length, knots[:, n]) for n in range(3)])
    swell = np.clip(1.0 - ((at - length[2]) / (0.5 * ganglion["length_mm"])) ** 2, 0.0, 1.0)
    thick = float(c["nerve_radius_mm"]) + np.sqrt(swell) * max(radius - float(c["nerve_radius_mm"]), 0.0)
    return RootModel(level, side, fit.frame.from_side(path, side), thick)


def roots_mask(roots: Sequence[RootModel], behind: Sequence[SideAnatomy | None], grid: Grid,
               bone: NDArray[Any]) -> NDArray[np.bool_]:
    """Fill the modelled nerves on a lattice, clear of bone and in front of the articular process below.

    Parameters
    ----------
    behind : sequence of SideAnatomy or None
        Per root: the lower vertebra's same side, whose articular process is the foramen's back wall.
    """
    out = np.zeros(grid.shape, dtype=bool)
    for root, wall in zip(roots, behind, strict=True):
        reach = float(root.radius_mm.max())
        part, cut = crop_grid(grid, root.path, reach)
        index = np.stack(np.meshgrid(*(np.arange(n) for n in part.shape), indexing="ij"), axis=-1)[..., ::-1]
        points = to_world(part, index.astype(float))
        away, nearest = cKDTree(root.path).query(points)
        inside = (away <= root.radius_mm[nearest]) & (np.asarray(bone[cut]) == 0)
        if wall is not None and wall.ventral is not None:
            local = wall.frame.to_side(points, wall.side)
            # the margin was measured at the neck; higher up the foramen is deeper
            at_neck = local[..., 2] <= wall.ventral[2] + float(constants("structures")["nerve"]["wall_rise_mm"])
            inside &= ~at_neck | (local[..., 1] < wall.ventral[1])
        out[cut] |= inside
    return out
