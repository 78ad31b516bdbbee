"""Which vertebra bears a rib, on which side, and how long it is as far as the field of view shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from imaging.geometry import Side
from segmentation.builtin.lattice import AIR_HU, Points
from segmentation.builtin.localise import ClassMap
from segmentation.builtin.settings import EvidenceSettings, settings
from segmentation.builtin.signs import RibEvidence

__all__ = ["Axes", "rib_evidence"]


@dataclass(frozen=True, eq=False)
class Axes:
    """Centre and rough axes of one vertebra: box mm and unit vectors (z, y, x)."""

    centre: Points
    up: Points
    back: Points
    left: Points

    def costal(self, side: Side, limits: EvidenceSettings) -> Points:
        """(3,) box mm: where a rib's head would lie."""
        return np.asarray(self.centre + limits.costal_up_mm * self.up + limits.costal_back_mm * self.back
                          + side.sign * limits.costal_lateral_mm * self.left)


@dataclass(frozen=True, eq=False)
class _Rib:
    """One rib on one side: where its axis meets the spine, its visible extent and the way from there to its head."""

    head: Points
    extent_mm: float
    gap_mm: float
    reaches_edge: bool


def rib_evidence(frames: Sequence[Axes], classes: ClassMap) -> list[dict[Side, RibEvidence]]:
    """What joins each vertebra on each side; a side that is not in view is left out."""
    limits = settings().evidence
    out: list[dict[Side, RibEvidence]] = [{} for _ in frames]
    points = _rib_points(frames, classes)
    for side in Side:
        ribs = _ribs_of_side(points, frames, side, classes)
        owners = _assign(ribs, frames, side)
        for n, frame in enumerate(frames):
            in_view = _costal_view(frame, side, classes)
            mine = [rib for rib, owner in zip(ribs, owners, strict=True) if owner == n]
            mine = [rib for rib in mine if rib.extent_mm >= limits.rib_least_mm]
            if mine:
                length = max(rib.extent_mm + rib.gap_mm for rib in mine)
                complete = in_view and not any(rib.reaches_edge for rib in mine)
                out[n][side] = RibEvidence(round(length, 1), complete)
            elif in_view:
                out[n][side] = RibEvidence(0.0)
    return out


def _rib_points(frames: Sequence[Axes], classes: ClassMap) -> Points:
    """(n, 3) box mm of rib voxels not too far from the chain."""
    limits = settings().evidence
    points = classes.cube.to_box(np.argwhere(classes.of("rib") > limits.rib_probability))
    if not len(points):
        return points
    near, _ = cKDTree(np.array([f.centre for f in frames])).query(points)
    return np.asarray(points[near < limits.rib_near_mm])


def _lateral(points: Points, frames: Sequence[Axes], side: Side) -> NDArray[np.float64]:
    """(n,) mm from the midline toward a side, by the nearest vertebra's frame (negative on the other side)."""
    if not len(points):
        return np.zeros(0)
    nearest = cKDTree(np.array([f.centre for f in frames])).query(points)[1]
    offset = points - np.array([f.centre for f in frames])[nearest]
    return np.asarray(side.sign * (offset * np.array([f.left for f in frames])[nearest]).sum(axis=1))


def _graph(points: Points, reach_mm: float) -> csr_matrix:
    """Voxels joined to their neighbours within reach, weighted by distance."""
    pairs = cKDTree(points).query_pairs(reach_mm, output_type="ndarray")
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    return coo_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points))).tocsr()


def _ribs_of_side(points: Points, frames: Sequence[Axes], side: Side, classes: ClassMap) -> list[_Rib]:
    """Ribs of one side, told apart near the spine, where they never touch, and followed outward from there."""
    limits = settings().evidence
    lateral = _lateral(points, frames, side)
    keep = (lateral > limits.rib_lateral_mm) & (lateral < limits.rib_followed_mm)
    points, lateral = points[keep], lateral[keep]
    root = np.flatnonzero(lateral < limits.rib_root_mm)
    if not len(root):
        return []
    count, piece = connected_components(_graph(points[root], limits.rib_bridge_mm), directed=False)
    source = np.full(len(points), -1)
    source[root] = piece
    along, _, origin = dijkstra(_graph(points, limits.rib_bridge_mm), directed=False, indices=root, min_only=True,
                                return_predecessors=True)
    owner = np.where(np.isfinite(along), source[np.maximum(origin, 0)], -1)
    size = classes.cube.box.size
    ribs: list[_Rib] = []
    for n in range(count):
        own_root = root[piece == n]
        if len(own_root) < limits.rib_least_voxels:
            continue
        mine = points[owner == n]
        head = _head(points[own_root], lateral[own_root], side, frames)
        inner = points[own_root[np.argmin(lateral[own_root])]]
        gap = min(float(np.linalg.norm(inner - head)), limits.rib_gap_mm)
        edge = bool(((mine < 2 * classes.cube.spacing) | (mine > size - 2 * classes.cube.spacing)).any())
        ribs.append(_Rib(head, float(np.linalg.norm(mine - inner, axis=1).max()), gap, edge))
    return ribs


def _head(root: Points, lateral: NDArray[np.float64], side: Side, frames: Sequence[Axes]) -> Points:
    """(3,) box mm: a rib's axis carried on to the costal facets' distance from the midline."""
    limits = settings().evidence
    order = np.argsort(lateral)
    half = max(len(order) // 2, 1)
    inner, outer = root[order[:half]].mean(axis=0), root[order[-half:]].mean(axis=0)
    inner_lateral, outer_lateral = lateral[order[:half]].mean(), lateral[order[-half:]].mean()
    run = float(outer_lateral - inner_lateral)
    if run < 4.0:
        slope = side.sign * frames[0].left - limits.rib_default_slope * frames[0].up
    else:
        slope = (outer - inner) / run
    short = min(float(inner_lateral) - limits.costal_lateral_mm, limits.rib_root_mm)
    return np.asarray(inner - slope * max(short, 0.0))


def _assign(ribs: Sequence[_Rib], frames: Sequence[Axes], side: Side) -> list[int]:
    """For each rib the vertebra whose costal facet is nearest to its head, -1 when none is near; one rib each."""
    limits = settings().evidence
    places = np.array([f.costal(side, limits) for f in frames])
    owners = [-1] * len(ribs)
    options = sorted((float(np.linalg.norm(place - rib.head)), r, n)
                     for r, rib in enumerate(ribs) for n, place in enumerate(places))
    for distance, r, n in options:
        if distance < limits.rib_head_mm and owners[r] < 0 and n not in owners:
            owners[r] = n
    return owners


def _costal_view(frame: Axes, side: Side, classes: ClassMap) -> bool:
    """True when the place where a rib would run beside a vertebra holds measured data."""
    limits = settings().evidence
    reach = np.arange(limits.costal_lateral_mm, limits.rib_view_lateral_mm, 5.0)
    line = frame.centre + frame.back * limits.costal_back_mm + side.sign * reach[:, None] * frame.left
    index = np.round(classes.cube.to_index(line)).astype(int)
    if (index < 0).any() or (index >= classes.hu.shape).any():
        return False
    measured = classes.hu[tuple(index.T)] > AIR_HU + 5.0
    return bool(measured.mean() > 0.8)
