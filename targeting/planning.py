"""`propose`: for each target placements with their reasons, or why there are none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from imaging.position import position_of
from imaging.volume import Volume
from segmentation.engine import Progress
from segmentation.spine import Spine
from targeting.angles import against_side
from targeting.blocked import blocked_by, unseen_on_open_path
from targeting.clearance import ClearanceMeter
from targeting.fields import PathFields, build_fields, crossed_by
from targeting.model import Placement, Proposal, ProposalStatus, Rejection, RejectionReason, Target
from targeting.needle_sets import keep_sets
from targeting.placing import make_placement
from targeting.procedures import Procedure
from targeting.procedures.sites import BodyRule
from targeting.rejections import rejections_of
from targeting.scene import Scene
from targeting.search import SearchResult, search
from targeting.sets import second_lesion
from targeting.sites.body import wall_doubt

__all__ = ["propose"]

_log = logging.getLogger(__name__)
_THREADS = min(os.cpu_count() or 1, 4)
OPEN_END = "the skin over the path is not in the scan; entry and length are unknown, clearances cover the part in view"


def _answer(scene: Scene, meter: ClearanceMeter, result: SearchResult) -> Proposal:
    rejections = rejections_of(scene, meter, result.batch)
    if result.unconfirmed and not result.finalists:
        rejections += (Rejection(RejectionReason.TIP_RULE, None, None, None, result.unconfirmed,
                                 f"{result.unconfirmed} paths did not hold when measured on the masks themselves"),)
    if not result.finalists:
        worst = sorted(rejections, key=lambda r: -r.count)[:3]
        reason = "no path: " + "; ".join(r.sentence for r in worst)
        return Proposal(scene.target, ProposalStatus.NONE, reason, (), rejections)
    unseen = unseen_on_open_path(scene.target, scene.procedure, meter) if result.open_end else ()
    if unseen:
        return Proposal(scene.target, ProposalStatus.NONE, unseen[0].sentence, (), (*unseen, *rejections))
    made = [make_placement(scene, f.batch, f.row, f.measured, f.objectives, n + 1, result.open_end, meter.structures)
            for n, f in enumerate(result.finalists)]
    placements = tuple(replace(p, rank=n + 1)
                       for n, p in enumerate(p for p in made if not against_side(p.needles)))
    if not placements:
        return _against_side(scene.target, rejections, len(made))
    if not result.open_end:
        placements = _with_set(scene, meter, placements)
    target = _doubted(scene, placements[0])
    status = ProposalStatus.DIRECTION_ONLY if result.open_end else ProposalStatus.PROPOSED
    reason = OPEN_END if result.open_end else f"{len(placements)} different placement{'s' * (len(placements) > 1)}"
    if not result.open_end and 2 * np.count_nonzero(result.batch.open_end) > len(result.batch):
        reason += "; most of the skin over the target is out of view"
    return Proposal(target, status, reason, placements, rejections)


def _doubted(scene: Scene, best: Placement) -> Target:
    """The target, less sure where the best needle leaves a wall too thin for the scan's voxels."""
    rule, pose, target = scene.procedure.site_rule, best.needles[0], scene.target
    if not isinstance(rule, BodyRule):
        return target
    doubt = wall_doubt(target, rule, pose.tip, pose.direction, pose.length_mm or scene.longest_path, scene.radius,
                       float(scene.spine.grid.spacing.max()))
    return target if doubt is None else replace(
        target, confidence=min(target.confidence, doubt[0]), reasons=(*target.reasons, doubt[1]))


def _against_side(target: Target, rejections: tuple[Rejection, ...], count: int) -> Proposal:
    """No needle where the words for the room would name the other side, or the front of the patient."""
    reason = (f"every path found would be dialled against the target's side ({target.side.value}): the vertebra's axes "
              "and the file's contradict each other")
    refused = Rejection(RejectionReason.ENTRY_SIDE, None, None, None, count, reason)
    return Proposal(target, ProposalStatus.NONE, reason, (), (*rejections, refused))


def _with_set(scene: Scene, meter: ClearanceMeter, placements: tuple[Placement, ...]) -> tuple[Placement, ...]:
    """The placements and, where the best alone is unlikely to catch the nerve, it again with a second lesion, last."""
    most = int(scene.procedure.search.placements.value)
    kept = placements[:most - 1]
    both = second_lesion(scene, meter, placements[0], len(kept) + 1)
    return placements if both is None else (*kept, both)


def _searched(spine: Spine, targets: Sequence[Target], procedure: Procedure, fields: PathFields,
              meter: ClearanceMeter, position: str) -> Iterator[tuple[Target, Proposal]]:
    """Each target with its answer, in order; they are searched on every processor, none knowing of another."""
    def answer(target: Target) -> Proposal:
        scene = Scene(spine, fields, target, procedure, position=position)
        return _answer(scene, meter, search(scene, meter))

    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield from zip(targets, pool.map(answer, targets), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


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
    procedure, position = procedure.with_edges(spine.structures), position_of(volume)
    meter = ClearanceMeter(spine)
    meter.prepare()
    blocked = {t.id: blocked_by(t, procedure, spine, meter, volume) for t in targets}
    free = [t for t in targets if not blocked[t.id]]
    say("measuring distances", 0.0)
    groups: dict[frozenset[int], list[Target]] = {}
    for target in free:
        groups.setdefault(crossed_by(target, procedure), []).append(target)
    answers: dict[str, Proposal] = {}
    for crossed in groups:
        fields = build_fields(spine, groups[crossed], procedure, volume).ready()
        for target, answer in _searched(spine, groups[crossed], procedure, fields, meter, position):
            answers[target.id] = answer
            say(f"searched {target.nerve_name} {target.side.value}", len(answers) / (len(free) + 1))
    out: list[Proposal] = []
    for target in targets:
        if target.withheld:
            out.append(Proposal(target, ProposalStatus.NONE, target.withheld))
        elif blocked[target.id]:
            refused = blocked[target.id]
            out.append(Proposal(target, ProposalStatus.NONE, refused[0].sentence, (), refused))
        else:
            out.append(answers[target.id])
        _log.info("%s: %s, %d placements", target.id, out[-1].status.value, len(out[-1].placements))
    say("placements proposed", 1.0)
    return keep_sets(out)
