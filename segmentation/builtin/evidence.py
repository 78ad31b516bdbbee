"""Measuring what names rest on: the sacrum under the chain, the ribs beside it, distances and volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from segmentation.builtin.naming import ChainEvidence, RibEvidence, VertebraEvidence
from segmentation.builtin.ribs import Axes, rib_evidence
from segmentation.builtin.settings import settings

__all__ = ["Sacrum", "chain_axes", "find_sacrum", "measure"]

logger = logging.getLogger(__name__)

_S1_HEIGHT_MM = 28.0


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


def chain_axes(chain: Sequence[Instance], canal: CanalPath) -> list[Axes]:
    """Axes of each vertebra from its neighbours and the canal."""
    centres = [v.centre for v in chain]
    out: list[Axes] = []
    for n, centre in enumerate(centres):
        above, below = centres[min(n + 1, len(centres) - 1)], centres[max(n - 1, 0)]
        up = above - below if len(centres) > 1 else np.array([1.0, 0.0, 0.0])
        up = up / np.linalg.norm(up)
        back = canal.at(float(centre[0])) - centre
        back = back - up * (back @ up)
        back = back / max(float(np.linalg.norm(back)), 1e-6)
        left = np.cross(back, up)
        out.append(Axes(centre, up, back, left if left[2] >= 0 else -left))
    return out


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
    middle = np.array([canal.at(float(z)) for z in near[:, 0]])
    front = near[(np.abs(near[:, 2] - middle[:, 2]) < 18.0) & (near[:, 1] < middle[:, 1] - 4.0)]
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


def measure(found: Chain, classes: ClassMap, canal: CanalPath, sacrum: Sacrum | None) -> ChainEvidence:
    """All evidence on a chain, lowest vertebra first."""
    chain = found.vertebrae
    axes = chain_axes(chain, canal)
    ribs = rib_evidence(axes, classes)
    contact, doubted = False, False
    joined: tuple[Side, ...] = ()
    if sacrum is not None:
        lowest = chain[0]
        gap = float(cKDTree(sacrum.points).query(lowest.points())[0].min())
        distance = float(np.linalg.norm(sacrum.s1_centre - lowest.centre))
        contact = gap < settings().evidence.sacrum_gap_mm and distance < 1.5 * settings().evidence.sacrum_centre_mm
        doubted = found.sacrum_doubted or distance > settings().evidence.sacrum_centre_mm
        joined = _joined_sides(lowest, axes[0], classes) if contact else ()
        logger.debug("sacrum gap %.1f mm, S1 at %.1f mm, share %.2f", gap, distance, lowest.sacrum_share)
    vertebrae = tuple(
        VertebraEvidence(
            step_below_mm=float(np.linalg.norm(v.centre - chain[n - 1].centre)) if n else None,
            volume_ml=None if v.cut else v.volume_ml, ribs=_certain(ribs[n], v.cut),
            joined_to_ala=joined if n == 0 else (), is_axis=n + 2 >= len(chain) and _has_dens(v, axes[n]))
        for n, v in enumerate(chain))
    return ChainEvidence(vertebrae, contact, doubted and contact)


def _certain(ribs: dict[Side, RibEvidence], cut: bool) -> dict[Side, RibEvidence]:
    """Of a vertebra cut by the field of view, only the ribs that were seen count, not those that were not."""
    return {side: rib for side, rib in ribs.items() if rib.length_mm > 0 or not cut}


def _has_dens(vertebra: Instance, frame: Axes) -> bool:
    """True for a small whole vertebra whose body carries a peg in the midline: C2."""
    limits = settings().evidence
    if vertebra.cut or vertebra.volume_ml > limits.axis_volume_ml:
        return False
    offset = vertebra.points() - vertebra.centre
    midline = (np.abs(offset @ frame.left) < 4.0) & (np.abs(offset @ frame.back) < 8.0)
    return bool((offset[midline] @ frame.up).max(initial=0.0) > limits.dens_mm)


# ---- lumbosacral junction


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
