"""`propose`: for each target placements with their reasons, or why there are none."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imaging.volume import Volume
from segmentation.anatomy import StructureName
from segmentation.engine import Progress
from segmentation.spine import Spine
from targeting.angles import make_pose
from targeting.clearance import ClearanceMeter
from targeting.fields import build_fields
from targeting.model import (
    Placement,
    PlacementKind,
    Proposal,
    ProposalStatus,
    Rejection,
    RejectionReason,
    Target,
)
from targeting.needles import choose_needle
from targeting.procedures import Procedure, ProcedureKind
from targeting.rejections import rejections_of, structure_words
from targeting.scene import Scene
from targeting.search import Finalist, SearchResult, search
from targeting.targets import neck_fraction
from targeting.uncertainty import capture_assumptions, capture_curve

__all__ = ["propose"]

_log = logging.getLogger(__name__)
Array = NDArray[np.float64]
OPEN_END = "the skin over the path is not in the scan; entry and length are unknown, clearances cover the part in view"


def _bone_seen(name: StructureName, volume: Volume | None) -> bool:
    """Whether a bone without a mask is still avoided because the CT shows it."""
    return name in (StructureName.ILIAC_BONES, StructureName.RIBS) and volume is not None and volume.modality == "CT"


def _blocked(target: Target, procedure: Procedure, spine: Spine, meter: ClearanceMeter,
             volume: Volume | None) -> Rejection | None:
    """What forbids planning a target before any search: something not computed, or metal."""
    def missing(structure: str, why: str) -> Rejection:
        return Rejection(RejectionReason.STRUCTURE_NOT_COMPUTED, structure, None, None, 1,
                         f"{structure} is required and was not computed: {why}")

    if spine.body is None:
        return missing("skin", "there is no image to find it in")
    for name in procedure.required_structures(target.nerve):
        structure = spine.structures.get(name)
        if (structure is None or structure.mask is None) and not _bone_seen(name, volume):
            return missing(name.value, meter.reason_missing(name))
    for name in procedure.required:
        boxes, within = meter.structures.get(name), procedure.search.required_within.value
        gap = float("inf") if boxes is None else boxes.gap(target.position, target.position)
        if gap > within:
            return missing(name.value, f"none of it lies within {within:.0f} mm of the target")
    metal, margin = meter.structures.get(StructureName.METAL), procedure.margins.get(StructureName.METAL)
    if metal is not None and margin is not None:
        gap = metal.gap(target.position, target.position)
        if gap < margin.value:
            return Rejection(RejectionReason.METAL_NEARBY, StructureName.METAL.value, margin.value, round(gap, 3), 1,
                             f"metal lies {gap:.0f} mm from the target, {margin.value:.0f} mm needed")
    return None


def _offset_to_nerve(scene: Scene, tip: Array, direction: Array) -> tuple[Array, Array]:
    """From the needle's working part to the nearest place of the course, (3,) mm, and the course's tangent there."""
    along = np.clip((tip - scene.nerve) @ direction, 0.0, scene.active)
    gaps = scene.nerve - (tip - along[:, None] * direction)
    nearest = int(np.argmin(np.linalg.norm(gaps, axis=1)))
    low, high = max(nearest - 4, 0), min(nearest + 4, len(scene.nerve) - 1)
    tangent = scene.nerve[high] - scene.nerve[low]
    tangent = tangent / np.linalg.norm(tangent)
    gap = gaps[nearest]
    return gap - (gap @ tangent) * tangent, tangent


def _why(scene: Scene, finalist: Finalist, length_mm: float | None, reserve_mm: float | None) -> str:
    """What speaks for a placement and what must be known about it, in one sentence."""
    batch, row, parts = finalist.batch, finalist.row, []
    oblique, tilt = float(batch.oblique[row]), float(batch.tilt[row])
    turn = f"{abs(oblique):.0f} degrees {'lateral' if oblique >= 0 else 'medial'} of straight posterior"
    parts.append(f"{turn}, {abs(tilt):.0f} degrees toward the {'head' if tilt >= 0 else 'feet'}")
    if length_mm is not None and reserve_mm is not None:
        short = reserve_mm < scene.procedure.reach.reserve.value
        parts.append(f"{length_mm:.0f} mm deep measured supine"
                     + (f", only {reserve_mm:.0f} mm left outside" if short else ""))
    else:
        parts.append(f"depth unknown, {float(batch.lengths[row]):.0f} mm of the path are in view")
    near = [(value - scene.procedure.margins[name].value, name, value) for name, value in finalist.clearance.items()
            if value is not None and name in scene.procedure.margins and scene.procedure.margins[name].value > 0]
    if near:
        _, name, value = min(near)
        parts.append(f"{value:.1f} mm to {structure_words(name)} at the tightest "
                     f"({scene.procedure.margins[name].value:.1f} needed)")
    if scene.procedure.kind is ProcedureKind.RF:
        found = {name: float(column[row]) for name, column in batch.electrode.items()}
        radius = scene.procedure.capture.radius.value
        parts.append(f"{found['parallel']:.0f} degrees to the nerve")
        parts.append(f"{found['captured']:.0f} mm of it within {radius:g} mm")
        parts.append(f"{100 * found['contact']:.0f} percent of the active tip on bone")
        if found["parallel"] > scene.electrode.parallel_goal.value:
            parts.append(f"less parallel than the goal of {scene.electrode.parallel_goal.value:.0f} degrees")
        if neck_fraction(scene.target.course, batch.tips[row]) < scene.electrode.tip_neck_warn.value:
            parts.append("tip close to the ventral margin of the articular process")
        if found["warm"] < 0:
            parts.append("the exiting nerve lies inside the 45 C zone and its allowance")
    else:
        parts.append(f"tip {np.linalg.norm(batch.tips[row] - scene.target.position):.1f} mm from the target")
    unusual = scene.band.oblique_usual.excess(oblique) + scene.band.tilt_usual.excess(tilt)
    if unusual > 0.5:
        parts.append("outside the usual angles")
    return "; ".join(parts)


def _placement(scene: Scene, finalist: Finalist, rank: int, open_end: bool) -> Placement:
    batch, row = finalist.batch, finalist.row
    tip, direction = batch.tips[row].copy(), batch.directions[row].copy()
    entry = None if open_end else batch.entries[row].copy()
    longest = scene.procedure.stock[-1]
    needle = longest if open_end else choose_needle(scene.procedure, float(batch.lengths[row])) or longest
    pose = make_pose(scene.spine, scene.target, needle, tip, direction, entry)
    reserve = None if pose.length_mm is None else needle.length_mm - pose.length_mm
    margins = {name: c.value for name, c in scene.procedure.margins.items() if finalist.clearance[name] is not None}
    offset, tangent = _offset_to_nerve(scene, tip, direction)
    return Placement(
        rank=rank, kind=PlacementKind.STRAIGHT, needles=(pose,), clearance_mm=finalist.clearance,
        clearance_reason=finalist.clearance_reason, margins_mm=margins, margins_met=True,
        capture=capture_curve(scene.target, scene.procedure, offset, tangent),
        capture_assumptions=capture_assumptions(scene.target, scene.procedure, offset, tangent),
        objectives={name: round(value, 6) for name, value in finalist.objectives.items()},
        why=_why(scene, finalist, pose.length_mm, reserve), may_cross=scene.procedure.may_cross)


def _answer(scene: Scene, meter: ClearanceMeter, result: SearchResult) -> Proposal:
    rejections = rejections_of(scene, meter, result.batch)
    if result.unconfirmed and not result.finalists:
        rejections += (Rejection(RejectionReason.TIP_RULE, None, None, None, result.unconfirmed,
                                 f"{result.unconfirmed} paths did not hold when measured on the masks themselves"),)
    if not result.finalists:
        worst = sorted(rejections, key=lambda r: -r.count)[:3]
        reason = "no path: " + "; ".join(r.sentence for r in worst)
        return Proposal(scene.target, ProposalStatus.NONE, reason, (), rejections)
    placements = tuple(_placement(scene, f, n + 1, result.open_end) for n, f in enumerate(result.finalists))
    status = ProposalStatus.DIRECTION_ONLY if result.open_end else ProposalStatus.PROPOSED
    reason = OPEN_END if result.open_end else f"{len(placements)} different placement{'s' * (len(placements) > 1)}"
    if not result.open_end and 2 * np.count_nonzero(result.batch.open_end) > len(result.batch):
        reason += "; most of the skin over the target is out of view"
    return Proposal(scene.target, status, reason, placements, rejections)


def propose(spine: Spine, targets: Sequence[Target], procedure: Procedure,
            progress: Progress | None = None, volume: Volume | None = None) -> tuple[Proposal, ...]:
    """Search placements for every target.

    Parameters
    ----------
    targets : sequence of Target
        Made by `targeting.targets.make_targets` with the same procedure.
    progress : callable or None
        Called with words and the fraction done.
    volume : Volume or None
        The scan the spine was found in. With a CT, bone that no label holds is kept off the path as well, and iliac
        bones need no mask of their own.

    Returns
    -------
    tuple of Proposal
        In the order of `targets`. Same input, same result.
    """
    say = progress or (lambda words, done: None)
    meter = ClearanceMeter(spine)
    blocked = {t.id: _blocked(t, procedure, spine, meter, volume) for t in targets if not t.withheld}
    free = [t for t in targets if blocked.get(t.id, t) is None]
    say("measuring distances", 0.0)
    fields = build_fields(spine, free, procedure, volume) if free else None
    out: list[Proposal] = []
    for n, target in enumerate(targets):
        say(f"searching {target.nerve_name} {target.side.value}", (n + 1) / (len(targets) + 1))
        block = blocked.get(target.id)
        if target.withheld:
            out.append(Proposal(target, ProposalStatus.NONE, target.withheld))
        elif block is not None:
            out.append(Proposal(target, ProposalStatus.NONE, block.sentence, (), (block,)))
        elif fields is not None:
            scene = Scene(spine, fields, target, procedure)
            out.append(_answer(scene, meter, search(scene, meter)))
        _log.info("%s: %s, %d placements", target.id, out[-1].status.value, len(out[-1].placements))
    say("placements proposed", 1.0)
    return tuple(out)
