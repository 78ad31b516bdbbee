"""Where the free vertebrae end: the sacrum under the chain, and whether the lowest bone is itself a part of it.

A free fifth lumbar vertebra stands on the body of the first sacral segment, and the alae lie below and beside its disc.
The alae belong to the first sacral segment: they rise to its own upper endplate. So sacral bone that stands on both
sides well above the middle of the lowest body says that this body is sacral, whatever a net calls it; and where hardly
any sacral body is in view beneath, nothing shows that the lowest bone is not the sacrum's first.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from imaging.geometry import Side
from segmentation.builtin.canal import CanalPath
from segmentation.builtin.instances import Chain, Instance
from segmentation.builtin.lattice import Points
from segmentation.builtin.localise import ClassMap
from segmentation.builtin.ribs import Axes
from segmentation.builtin.settings import settings

__all__ = ["Junction", "Sacrum", "find_sacrum", "judge_junction"]

logger = logging.getLogger(__name__)

_S1_HEIGHT_MM = 28.0
_MIDLINE_MM, _CANAL_FRONT_MM = 18.0, 4.0


@dataclass(frozen=True, eq=False)
class Sacrum:
    """The sacrum on the 3 mm lattice.

    Attributes
    ----------
    mask : (z, y, x) bool
    points : (n, 3)
        Box mm of its voxels.
    s1_centre : (3,)
        Box mm, middle of the S1 body.
    """

    mask: NDArray[np.bool_]
    points: Points
    s1_centre: Points


@dataclass(frozen=True)
class Junction:
    """What the chain ends on.

    Attributes
    ----------
    contact : bool
        The lowest vertebra stands on the sacrum.
    doubted : bool
        A free vertebra may be missing between them.
    sacral_chance : float
        Chance, before anything else is counted, that the lowest one is itself the first sacral segment.
    joined : tuple of Side
        Sides on which the transverse process is fused with, or joined to, the ala.
    """

    contact: bool = False
    doubted: bool = False
    sacral_chance: float = 0.0
    joined: tuple[Side, ...] = ()


def find_sacrum(classes: ClassMap, canal: CanalPath, chain: Chain) -> Sacrum | None:
    """The sacrum below a chain: its class near there and the segments the walk met; None when there is too little."""
    limits = settings().column
    lowest = chain.vertebrae[0].centre
    mask = classes.of("sacrum") > limits.sacrum_probability
    for segment in chain.sacral:
        index = np.round(classes.cube.to_index(segment.points())).astype(int)
        index = index[((index >= 0) & (index < mask.shape)).all(axis=1)]
        mask[tuple(index.T)] = True
    pieces, count = ndimage.label(mask)
    if not count:
        return None
    least = limits.sacrum_piece_ml * 1000.0 / classes.cube.spacing**3
    kept = np.zeros(mask.shape, np.bool_)
    for n, block in enumerate(ndimage.find_objects(pieces), start=1):
        piece = np.argwhere(pieces[block] == n) + [s.start for s in block]
        points = classes.cube.to_box(piece)
        gap = float(np.linalg.norm(points - lowest, axis=1).min())
        if len(piece) >= least and points[:, 0].mean() < lowest[0] and gap < limits.sacrum_near_mm:
            kept[tuple(piece.T)] = True
    points = classes.cube.to_box(np.argwhere(kept))
    if len(points) < limits.sacrum_least_ml * 1000.0 / classes.cube.spacing**3:
        return None
    centre = chain.sacral[0].centre if chain.sacral else _s1_centre(points, canal, lowest)
    return Sacrum(kept, points, centre)


def _s1_centre(points: Points, canal: CanalPath, lowest: Points) -> Points:
    """Middle of the uppermost segment of the sacral bodies: near the midline, in front of the canal."""
    near = points[np.linalg.norm(points - lowest, axis=1) < 90.0]
    near = near if len(near) else points
    front = _in_front(near, canal)
    front = front if len(front) > 20 else near
    toward = front.mean(axis=0) - lowest
    centre = front.mean(axis=0)
    for _ in range(3):
        toward = toward / np.linalg.norm(toward)
        height = (front - lowest) @ toward
        first = np.percentile(height, 4)
        centre = front[(height >= first) & (height < first + _S1_HEIGHT_MM)].mean(axis=0)
        toward = centre - lowest
    return np.asarray(centre)


def judge_junction(found: Chain, frame: Axes, classes: ClassMap, canal: CanalPath, sacrum: Sacrum | None) -> Junction:
    """Judge the lower end of a chain; `frame` holds the axes of its lowest vertebra."""
    if sacrum is None:
        return Junction()
    limits, lowest = settings().evidence, found.vertebrae[0]
    gap = float(cKDTree(sacrum.points).query(lowest.points())[0].min())
    distance = float(np.linalg.norm(sacrum.s1_centre - lowest.centre))
    logger.debug("sacrum gap %.1f mm, S1 at %.1f mm, share %.2f", gap, distance, lowest.sacrum_share)
    if gap >= limits.sacrum_gap_mm or distance >= 1.5 * limits.sacrum_centre_mm:
        return Junction()
    voxel_ml = classes.cube.spacing**3 / 1000.0
    return Junction(True, found.sacrum_doubted or distance > limits.sacrum_centre_mm,
                    _sacral_chance(lowest, frame, canal, sacrum, voxel_ml), _joined_sides(lowest, frame, classes))


def _sacral_chance(lowest: Instance, frame: Axes, canal: CanalPath, sacrum: Sacrum, voxel_ml: float) -> float:
    """Chance that the lowest vertebra is sacral: from the alae beside it, the body beneath it and the net's opinion."""
    limits, naming = settings().evidence, settings().naming
    rises = [rise for side in Side if (rise := _ala_rise_mm(sacrum.points, frame, side, voxel_ml)) is not None]
    rise = float(np.mean(rises)) if rises else -np.inf
    body_ml = len(_in_front(sacrum.points, canal)) * voxel_ml
    logger.debug("alae rise to %s mm above the lowest body's middle; %.1f mL of sacral bodies", rises, body_ml)
    if len(rises) == len(Side) and min(rises) > limits.ala_doubt_mm and rise > limits.ala_sacral_mm:
        return naming.sacral_likely
    doubted = (rise > limits.ala_doubt_mm or body_ml < limits.sacral_body_ml
               or lowest.sacrum_share > settings().walk.sacrum_doubt)
    return naming.sacral_possible if doubted else 0.0


def _ala_rise_mm(sacral: Points, frame: Axes, side: Side, voxel_ml: float) -> float | None:
    """How far the ala rises above the middle of a body along its axis; None where too little of it is in view."""
    limits = settings().evidence
    offset = sacral - frame.centre
    lateral = side.sign * (offset @ frame.left)
    heights = (offset @ frame.up)[(lateral > limits.ala_lateral_mm) & (lateral < limits.ala_outer_mm)]
    rank = round(limits.ala_top_ml / voxel_ml)
    return float(np.sort(heights)[-rank]) if len(heights) >= rank else None


def _in_front(points: Points, canal: CanalPath) -> Points:
    """(n, 3) box mm: those near the midline and in front of the canal, where bodies lie."""
    middle = np.array([canal.at(float(z)) for z in points[:, 0]])
    near = np.abs(points[:, 2] - middle[:, 2]) < _MIDLINE_MM
    return np.asarray(points[near & (points[:, 1] < middle[:, 1] - _CANAL_FRONT_MM)])


def _joined_sides(lowest: Instance, frame: Axes, classes: ClassMap) -> tuple[Side, ...]:
    """Sides on which the transverse process meets the sacral ala over more than a touch."""
    limits = settings().evidence
    other = np.argwhere(np.asarray(lowest.other) > 0.5)
    if not len(other):
        return ()
    points = lowest.cube.to_box(other)
    sacral = points[classes.at("sacrum", points) > 0.3]
    if not len(sacral):
        return ()
    own = lowest.points()
    lateral = (own - lowest.centre) @ frame.left
    depth = (own - lowest.centre) @ frame.back
    out: list[Side] = []
    tree = cKDTree(sacral)
    for side in Side:
        process = own[(side.sign * lateral > limits.ala_lateral_mm) & (depth < 30.0)]
        if not len(process):
            continue
        touching = int((tree.query(process)[0] < limits.ala_gap_mm).sum())
        area = touching * lowest.cube.spacing**2
        logger.debug("%s transverse process meets the ala over %.0f mm2", side.value, area)
        if area > limits.ala_area_mm2:
            out.append(side)
    return tuple(out)
