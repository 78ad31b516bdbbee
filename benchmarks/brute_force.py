"""The search against brute force: every skin voxel of a target's angle band as an entry, measured on the masks.

Run from the repository root: ``python -m benchmarks.brute_force PLAN --nerve "L4 MB" --side LEFT [--json]``; PLAN is a
plan folder beside its scan. For each skin voxel a needle is laid toward the target, pushed along the label map until it
meets bone, and judged by exact distances to the masks' voxels, no distance field. Reported: the best score of either,
and how many entries that brute force finds feasible lie further than two entry spacings from any the search admits.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from imaging.geometry import Side, to_index, to_world
from imaging.volume import Volume
from planner.loading import load_plan
from segmentation.anatomy import Nerve
from segmentation.spine import Spine
from targeting.angles import frame_of, oblique_tilt
from targeting.assess import assess
from targeting.candidates import first_batch
from targeting.clearance import ClearanceMeter
from targeting.evaluation import Evaluator
from targeting.fields import build_fields
from targeting.model import Placement, Target
from targeting.procedures import Procedure, load_procedure
from targeting.scene import Scene
from targeting.search import search
from targeting.targets import make_targets

__all__ = ["Comparison", "compare"]

Array = NDArray[np.float64]
PROCEDURE = "lumbar-medial-branch-block"
MARCH_MM = 0.1


@dataclass(frozen=True)
class Comparison:
    """What brute force and the search found for one target."""

    entries: int
    feasible: int
    best: float
    search_best: float
    missed: int

    @property
    def shortfall(self) -> float:
        """How much lower the search's best score is, as a share; negative where it is higher."""
        return (self.best - self.search_best) / self.best if self.best > 0 else 0.0


def skin_entries(spine: Spine, procedure: Procedure, target: Target, stride: int) -> Array:
    """(n, 3) LPS mm: every so many of the skin voxels within reach and inside the hard angle band of a target."""
    assert spine.body is not None
    rim = spine.body & ~ndimage.binary_erosion(spine.body, border_value=1)
    k, j, i = np.nonzero(rim)
    points = to_world(spine.grid, np.stack([i, j, k], axis=1)[::stride])
    away = points - target.position
    points = points[np.linalg.norm(away, axis=1) <= procedure.stock[-1].length_mm]
    u = target.position - points
    u /= np.linalg.norm(u, axis=1)[:, None]
    oblique, tilt = oblique_tilt(frame_of(target), target.side, u)
    band = procedure.band(target.nerve)
    ok = (oblique >= band.oblique_limit.low) & (oblique <= band.oblique_limit.high)
    ok &= (tilt >= band.tilt_limit.low) & (tilt <= band.tilt_limit.high) & (u @ frame_of(target).posterior < 0)
    return points[ok]


def pushed_to_bone(spine: Spine, entry: Array, aim: Array, beyond_mm: float) -> Array | None:
    """The last place before the first labelled voxel on the way to an aim and a little further; None without one."""
    length = float(np.linalg.norm(aim - entry))
    u = (aim - entry) / length
    way = entry + np.arange(0.0, length + beyond_mm, MARCH_MM)[:, None] * u
    index = np.rint(to_index(spine.grid, way)).astype(int)
    inside = ((index >= 0) & (index < np.array(spine.grid.shape[::-1]))).all(axis=1)
    index = np.where(inside[:, None], index, 0)
    bone = (spine.labels[index[:, 2], index[:, 1], index[:, 0]] > 0) & inside
    first = int(np.argmax(bone))
    return way[first - 1] if bone[first] and first > 0 else None


def weighted(procedure: Procedure, target: Target, placement: Placement) -> float:
    """The ranking score of a placement from its objectives, as the procedure file says."""
    band, pose = procedure.band(target.nerve), placement.needles[0]
    total = sum(weight.value * placement.objectives[name] for name, weight in procedure.weights.items())
    usual = (band.oblique_usual.excess(pose.oblique_deg) <= 1e-6 and band.tilt_usual.excess(pose.tilt_deg) <= 1e-6)
    return total if usual else procedure.search.unusual_share.value * total


def compare(spine: Spine, procedure: Procedure, target: Target, volume: Volume | None, stride: int = 1) -> Comparison:
    """Judge every entry by brute force, and search the same target.

    Parameters
    ----------
    stride : int
        Only every so many of the skin's voxels; 1 takes all.
    """
    evaluator = Evaluator(spine, procedure, volume, [target])
    entries, feasible, best = skin_entries(spine, procedure, target, stride), [], 0.0
    for entry in entries:
        tip = pushed_to_bone(spine, entry, target.position, procedure.tip.to_target.value)
        if tip is None:
            continue
        found = evaluator.evaluate(target, entry, tip).placement
        if not found.broken:
            feasible.append(entry)
            best = max(best, weighted(procedure, target, found))
    scene = Scene(spine, build_fields(spine, [target], procedure, volume), target, procedure)
    result = search(scene, ClearanceMeter(spine))
    batch = assess(scene, first_batch(scene))
    admitted = batch.entries[batch.left()]
    missed = len(feasible)
    if len(feasible) and len(admitted):
        gap, _ = cKDTree(admitted).query(np.array(feasible))
        missed = int(np.sum(gap > 2 * procedure.search.entry_spacing.value))
    top = result.finalists[0].total if result.finalists else 0.0
    return Comparison(len(entries), len(feasible), round(best, 4), round(top, 4), missed)


def main() -> None:
    """Compare one target of a plan."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.brute_force")
    parser.add_argument("plan")
    parser.add_argument("--nerve", required=True)
    parser.add_argument("--side", required=True, choices=[side.value for side in Side])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    plan, procedure = load_plan(asked.plan), load_procedure(PROCEDURE)
    target = make_targets(plan.spine, procedure, nerves=[Nerve(asked.nerve)], sides=[Side(asked.side)]).targets[0]
    found = compare(plan.spine, procedure, target, plan.volume)
    out: dict[str, Any] = {"target": target.id, **vars(found), "shortfall": round(found.shortfall, 4)}
    print(json.dumps(out) if asked.json else "\n".join(f"{name}: {value}" for name, value in out.items()))


if __name__ == "__main__":
    main()
