"""A second opinion on proposals: brute force on the masks' voxel centres, none of the planner's fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from imaging.geometry import to_index, to_world
from imaging.volume import Grid
from segmentation.spine import Spine
from targeting.model import Proposal, ProposalStatus
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
            who, pose = f"{proposal.target.id} rank {placement.rank}", placement.needles[0]
            carrier = bones[proposal.target.carrier.name]
            if carrier.signed(pose.tip[None])[0] > 3 + carrier.half:
                out.append(f"{who}: tip off its bone")
            if procedure.kind is ProcedureKind.BLOCK and np.linalg.norm(pose.tip - proposal.target.position) > 2.01:
                out.append(f"{who}: tip off its target")
            if proposal.status is ProposalStatus.DIRECTION_ONLY:
                continue
            radius, length = pose.needle.diameter_mm / 2, pose.length_mm
            s = np.arange(0, length, 0.25)
            path = pose.tip - s[:, None] * pose.direction
            if body.tree.query(pose.entry)[0] > 2 + body.half or not body.inside(path[s < length - 5]).all():
                out.append(f"{who}: entry not on the skin or path outside the body")
            if length + 15 > pose.needle.length_mm:
                out.append(f"{who}: needle too short")
            early = s > (pose.needle.active_tip_mm or 4.0) + 1.0
            for name, bone in bones.items():
                if name in placement.may_cross:
                    continue
                gap = bone.signed(path) - radius
                if gap[early].min() < -bone.half or gap[~early].min() < -(1 + radius + bone.half):
                    out.append(f"{who}: in {name}")
            for name, need in placement.margins_mm.items():
                true, said = float(structures[name].signed(path).min()) - radius, placement.clearance_mm[name]
                if true < need or abs(true - said) > structures[name].half + 0.1:
                    out.append(f"{who}: {true:.2f} mm to {name}, said {said:.2f}, {need} needed")
    return out
