"""A second opinion on proposals: brute force on the masks' voxel centres, none of the planner's fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from imaging.geometry import to_index, to_world
from imaging.volume import Grid
from segmentation.spine import Spine
from targeting.model import NeedlePose, Proposal, ProposalStatus
from targeting.procedures import Procedure, ProcedureKind

Array = NDArray[np.float64]


class Voxels:
    """Boundary voxel centres of a mask and membership."""

    def __init__(self, mask: NDArray[np.bool_], grid: Grid) -> None:
        self.mask, self.grid = mask, grid
        k, j, i = np.nonzero(mask & ~ndimage.binary_erosion(mask, border_value=1))
        self.tree = cKDTree(to_world(grid, np.stack([i, j, k], axis=1)))
        self.half = 0.5 * float(np.linalg.norm(grid.spacing))

    def inside(self, points: Array) -> NDArray[np.bool_]:
        i, j, k = np.rint(to_index(self.grid, points)).astype(int).T
        ok = (np.array([i, j, k]) >= 0).all(axis=0) & (i < self.mask.shape[2]) & (j < self.mask.shape[1])
        ok &= k < self.mask.shape[0]
        out = np.zeros(len(points), np.bool_)
        out[ok] = self.mask[k[ok], j[ok], i[ok]]
        return out

    def signed(self, points: Array) -> Array:
        distance = self.tree.query(points)[0]
        return np.asarray(np.where(self.inside(points), -distance, distance))


def faults(spine: Spine, procedure: Procedure, proposals: tuple[Proposal, ...]) -> list[str]:
    """Everything about the needles that does not hold on the masks."""
    out: list[str] = []
    body = Voxels(spine.body, spine.grid)
    bones = {v.name: Voxels(spine.labels == v.label, spine.grid) for v in spine.vertebrae
             if (spine.labels == v.label).any()}
    structures = {name: Voxels(s.mask, spine.grid) for name, s in spine.structures.items()
                  if s.mask is not None and s.mask.any()}
    for proposal in proposals:
        for placement in proposal.placements:
            gaps: dict[str, list[float]] = {}
            for n, pose in enumerate(placement.needles):
                who = f"{proposal.target.id} rank {placement.rank} needle {n + 1}"
                carrier = bones[proposal.target.carrier.name]
                if carrier.signed(pose.tip[None])[0] > 3 + carrier.half:
                    out.append(f"{who}: tip off its bone")
                if procedure.kind is ProcedureKind.BLOCK and np.linalg.norm(pose.tip - proposal.target.position) > 2.01:
                    out.append(f"{who}: tip off its target")
                if proposal.status is ProposalStatus.DIRECTION_ONLY:
                    continue
                path = pose.tip - np.arange(0, pose.length_mm, 0.25)[:, None] * pose.direction
                out += [f"{who}: {fault}" for fault in _shaft(pose, path, body, bones, placement.may_cross)]
                for name in placement.margins_mm:
                    true = float(structures[name].signed(path).min()) - pose.needle.diameter_mm / 2
                    gaps.setdefault(name, []).append(true)
            for name, found in gaps.items():
                need, said, true = placement.margins_mm[name], placement.clearance_mm[name], min(found)
                if true < need or abs(true - said) > structures[name].half + 0.1:
                    out.append(f"{proposal.target.id} rank {placement.rank}: {true:.2f} mm to {name}, said {said:.2f}, "
                               f"{need} needed")
    return out


def _shaft(pose: NeedlePose, path: Array, body: Voxels, bones: dict[str, Voxels], may_cross: tuple[str, ...]
           ) -> list[str]:
    """What is wrong with one needle from tip to skin."""
    out: list[str] = []
    radius, length = pose.needle.diameter_mm / 2, pose.length_mm
    s = np.arange(0, length, 0.25)
    if body.tree.query(pose.entry)[0] > 2 + body.half or not body.inside(path[s < length - 5]).all():
        out.append("entry not on the skin or path outside the body")
    if length + 15 > pose.needle.length_mm:
        out.append("needle too short")
    early = s > (pose.needle.active_tip_mm or 4.0) + 1.0
    for name, bone in bones.items():
        if name in may_cross:
            continue
        gap = bone.signed(path) - radius
        if gap[early].min() < -bone.half or gap[~early].min() < -(1 + radius + bone.half):
            out.append(f"in {name}")
    return out
