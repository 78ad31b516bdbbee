"""Batches of candidate needles: which aims and directions are tried for a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import unit
from targeting.angles import direction_from_angles, direction_grid
from targeting.kernels import find_exit
from targeting.procedures import ProcedureKind
from targeting.scene import Scene

__all__ = ["Needles", "around", "first_batch"]

Array = NDArray[np.float64]
#: Aims of a block lie on rings about the target, this far apart; closer in a fine batch.
_RING_MM, _FINE_RING_MM, _RING_REACH_MM = 1.2, 0.9, 2.0
_FALLBACK_DEPTH_MM = 100.0
_NERVE_STEP_MM = 0.25
#: Electrodes: cone beyond the parallelism limit that is still tried (to count it).
_CONE_BEYOND_DEG = 5.0
#: Electrodes across the nerve: beyond this limit they are not held along it; grids about places of the nerve.
_ALONG_DEG = 45.0
_PLACE_STEP_MM, _OFF_NERVE_MM = 1.5, 0.75


@dataclass(frozen=True)
class _ElectrodeGrid:
    """Where active tips are tried about the nerve: steps and the ranges they cover, degrees and mm.

    `off` is away from the bone, `across` to either side of the nerve, `along` forward of the middle of the neck.
    """

    cone_step: float
    off_step: float
    off: tuple[float, float]
    across_step: float
    across: float
    along_step: float
    along: tuple[float, float]


_COARSE = _ElectrodeGrid(4.0, 0.5, (-0.5, 1.5), 0.75, 1.5, 1.5, (-6.0, 3.0))
_FINE = _ElectrodeGrid(2.5, 0.5, (-0.5, 2.5), 0.75, 2.25, 1.5, (-6.0, 3.0))


@dataclass(frozen=True, eq=False)
class Needles:
    """Candidates: (n, 3) LPS mm points (aims of a block, tips of an electrode) and (n, 3) unit directions."""

    points: Array
    directions: Array

    def __len__(self) -> int:
        return len(self.points)

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Needles:
        """A part of the batch."""
        return Needles(np.ascontiguousarray(self.points[which]), np.ascontiguousarray(self.directions[which]))


def _preferred(scene: Scene) -> Array:
    oblique, tilt = scene.band.oblique_preferred.value, scene.band.tilt_preferred.value
    return direction_from_angles(scene.frame, scene.target.side, oblique, tilt)


def _pairs(points: Array, directions: Array) -> Needles:
    """Every point with every direction; neighbours follow one another as the directions do (see `targeting.follow`)."""
    n, m = len(points), len(directions)
    return Needles(np.repeat(points, m, axis=0), np.tile(directions, (n, 1)))


def _step(scene: Scene, fine: bool, divide: int) -> float:
    """Degrees between directions, so that skin entries lie no further apart than asked."""
    depth, _ = find_exit(scene.fields.state, scene.inverse, scene.origin, scene.target.position[None],
                         _preferred(scene)[None], 200.0)
    depth_mm = float(depth[0]) if depth[0] > 10.0 else _FALLBACK_DEPTH_MM
    spacing = scene.procedure.search.entry_spacing.value / (divide * (1.5 if fine else 1.0))
    return float(np.degrees(spacing / (1.15 * depth_mm)))


def _block_batch(scene: Scene, fine: bool, divide: int) -> Needles:
    """Every direction of the band at each of a ring of aims about the target."""
    preferred, target = _preferred(scene), scene.target
    # ring aims lie across the preferred direction, turned by the frame so that they follow the patient
    lateral = scene.frame.lateral(target.side)
    first = unit(lateral - (lateral @ preferred) * preferred)
    second = unit(scene.frame.superior - (scene.frame.superior @ preferred) * preferred)
    aims, apart = [target.position], (_FINE_RING_MM if fine else _RING_MM) / divide
    reach = min(scene.procedure.tip.to_target.value, _RING_REACH_MM)
    for ring in range(1, int(reach / apart - 1e-6) + 1):
        for a in np.linspace(0, 2 * np.pi, 6 * ring, endpoint=False):
            aims.append(target.position + ring * apart * (np.cos(a) * first + np.sin(a) * second))
    if scene.procedure.tip.to_nerve is not None:
        near = np.linalg.norm(scene.nerve - target.position, axis=1) <= scene.procedure.tip.to_target.value
        aims += list(_nerve_places(scene, scene.nerve[near], fine, divide)) if near.any() else []
    return _pairs(np.array(aims), direction_grid(target, scene.procedure, _step(scene, fine, divide)).directions)


def _cone(axis: Array, start: Array, sense: float, half_angle_deg: float, step_deg: float) -> Array:
    """(n, 3) unit directions in a cone about `axis`: rings `step_deg` apart, from `start` on in the sense given."""
    first = unit(start - (start @ axis) * axis)
    second = sense * np.cross(axis, first)
    out = [axis]
    for ring in range(1, int(half_angle_deg / step_deg + 1e-9) + 1):
        theta = np.radians(ring * step_deg)
        for a in np.linspace(0, 2 * np.pi, 6 * ring, endpoint=False):
            out.append(np.cos(theta) * axis + np.sin(theta) * (np.cos(a) * first + np.sin(a) * second))
    return np.array(out)


def _range(low: float, high: float, step: float) -> Array:
    return np.linspace(low, high, round((high - low) / step) + 1)


def _electrode_batch(scene: Scene, fine: bool, divide: int) -> Needles:
    """Directions about the nerve's; axes beside the bone; tips from short of the neck's ventral end to its middle."""
    middle, along = scene.nerve_middle
    normal = scene.bone_normal(middle)
    limit = scene.electrode.parallel_limit.value + _CONE_BEYOND_DEG
    tried = _FINE if fine else _COARSE
    u = _cone(along, normal, scene.target.side.sign, limit, tried.cone_step / divide)
    away = unit(normal - (u @ normal)[:, None] * u)
    across = scene.target.side.sign * np.cross(u, away)
    axes = (_range(*tried.off, tried.off_step / divide),
            _range(-tried.across, tried.across, tried.across_step / divide),
            _range(*tried.along, tried.along_step / divide))
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    shift = (grid[:, 0, None] * away[:, None] + grid[:, 1, None] * across[:, None]
             + (0.5 * scene.active + grid[:, 2, None]) * u[:, None])
    return Needles((middle + shift).reshape(-1, 3), np.repeat(u, len(grid), axis=0))


def _nerve_places(scene: Scene, places: Array, fine: bool, divide: int) -> Array:
    """(n, 3) mm: every so many of dense places of the nerve, on it and a little to and off the bone."""
    every = max(round(_PLACE_STEP_MM / _NERVE_STEP_MM / (divide * (2.0 if fine else 1.0))), 1)
    chosen = places[len(places) % every // 2::every]
    shifts = _range(-_OFF_NERVE_MM, _OFF_NERVE_MM, _OFF_NERVE_MM / divide)
    off = shifts[:, None] * scene.bone_normal(places[len(places) // 2])
    return np.asarray((chosen[:, None] + off).reshape(-1, 3))


def _crossing_batch(scene: Scene, fine: bool, divide: int) -> Needles:
    """Every direction of the band through places along the nerve; tips there and beyond, or short of it by a lesion."""
    wanted = scene.nerve[scene.wanted]
    aims = _nerve_places(scene, wanted if len(wanted) else scene.nerve_middle[0][None], fine, divide)
    ahead, active = scene.working
    advances = ((-ahead,) if scene.lesion_ahead is not None
                else tuple(_range(0.0, 0.5 * active, 0.25 * active / divide)))
    u = direction_grid(scene.target, scene.procedure, (_FINE if fine else _COARSE).cone_step / divide).directions
    needles = _pairs(aims, u)
    return Needles(np.concatenate([needles.points + a * needles.directions for a in advances]),
                   np.tile(needles.directions, (len(advances), 1)))


def first_batch(scene: Scene, *, fine: bool = False, divide: int = 1) -> Needles:
    """The batch that covers everything a target's procedure admits.

    Parameters
    ----------
    fine : bool
        Closer steps and wider offsets.
    divide : int
        Every step is divided by this.
    """
    if scene.target.region is not None:
        grid = direction_grid(scene.target, scene.procedure, _step(scene, fine, divide))
        return _pairs(scene.target.region.aims, grid.directions)
    if scene.procedure.kind is ProcedureKind.RF:
        along = scene.electrode.parallel_limit.value < _ALONG_DEG
        return (_electrode_batch if along else _crossing_batch)(scene, fine, divide)
    return _block_batch(scene, fine, divide)


def around(scene: Scene, needles: Needles, angle_deg: float, shift_mm: float) -> Needles:
    """Neighbours of each needle: turned by `angle_deg` about its point in 8 ways, and shifted by `shift_mm` in 6.

    Turns and shifts start from the lateral axis and are mirror images on the two sides, so that candidates come in the
    same order on both.
    """
    u = needles.directions
    lateral, side = scene.frame.lateral(scene.target.side), scene.target.side
    first = unit(lateral - (u @ lateral)[:, None] * u)
    second = side.sign * np.cross(u, first)
    a = np.linspace(0, 2 * np.pi, 8, endpoint=False)[:, None]
    turn = np.tan(np.radians(angle_deg)) * (np.cos(a) * first[:, None] + np.sin(a) * second[:, None])
    axes = np.stack([first, second, u], axis=1)
    shift = shift_mm * np.stack([-axes, axes], axis=2).reshape(-1, 6, 3)
    points, directions = (np.repeat(part[:, None], 14, axis=1) for part in (needles.points, u))
    directions[:, :8] = unit(u[:, None] + turn)
    points[:, 8:] += shift
    return Needles(points.reshape(-1, 3), directions.reshape(-1, 3))
