"""Edits of the anatomy: a plan with one thing changed by hand and everything that follows from it computed anew.

Each function takes a plan and gives another; `planner.review.Review` records the difference. A needle placed by hand on
a target that did not change stays; on one that did, it goes, for it was placed against the old anatomy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imaging.errors import UsageError
from imaging.geometry import Side, VertebralFrame
from planner.defaults import NO_PROCEDURE
from planner.document import to_document
from planner.fold import REPLACEABLE
from planner.journal import canonical
from planner.observations import study_findings
from planner.pipeline import ct_only, why_no_needles
from planner.plan import Plan
from planner.statements import apply_statements, parse_statement
from segmentation.anatomy import LandmarkName, Nerve, carrier_of, joints_of
from segmentation.byhand import course_through, hand_target_spread, with_landmark, with_vertebra, without_vertebra
from segmentation.engine import Progress
from segmentation.nerves import carried_nerve
from segmentation.spine import Segmentation, Spine
from targeting.model import Proposal, ProposalStatus, Target
from targeting.procedures import load_procedure
from targeting.procedures.sites import Site
from targeting.targets import make_targets

__all__ = [
    "changes_between", "drop_vertebra", "move_landmark", "place_target", "place_vertebra", "relabel", "renumbering",
]


def changes_between(document: Mapping[str, Any], changed: Plan) -> dict[str, Any]:
    """The parts of a plan document that another plan replaces, whole."""
    after = to_document(changed)
    return {name: after[name] for name in REPLACEABLE if canonical(after[name]) != canonical(document[name])}


def renumbering(before: Spine, after: Spine) -> dict[str, int]:
    """Values of the label map that a relabelling changed, written before to after; empty when it changed none."""
    if before.labels is after.labels:
        return {}
    pairs = {(int(a), int(b)) for a, b in zip((v.label for v in before.vertebrae), (v.label for v in after.vertebrae),
                                              strict=True)}
    return {str(a): b for a, b in sorted(pairs) if a != b}


def _needs_scan(plan: Plan) -> None:
    """Refuse to compute needles without the scan they were computed on."""
    if plan.volume is None and any(i.kind == "image" for i in plan.run.inputs):
        raise UsageError("the anatomy can only be edited with the scan open; give --source")


def _answers(plan: Plan, spine: Spine, targets: Sequence[Target], progress: Progress | None) -> tuple[Proposal, ...]:
    """Proposals for targets on a spine; none with the reason where needles are not planned."""
    reason = why_no_needles(plan.volume, spine)
    if reason or not targets:
        return tuple(Proposal(target, ProposalStatus.NONE, reason) for target in targets)
    from targeting.planning import propose
    return propose(spine, tuple(targets), load_procedure(plan.request.procedure), progress, plan.volume)


def _replanned(plan: Plan, spine: Spine, touches: Callable[[Target], bool], progress: Progress | None) -> Plan:
    """The plan on another spine.

    Parameters
    ----------
    touches : callable
        Whether a target on a nerve's course may differ from before; all others keep their answers. Joints lie between
        two bones and are all searched anew. Targets placed by hand stay while their bone is there.
    """
    _needs_scan(plan)
    request = plan.request
    if request.procedure == NO_PROCEDURE:
        return replace(plan, spine=spine, findings=study_findings(plan.volume, spine, (), ()), reviews={})
    procedure = load_procedure(request.procedure)
    asked = make_targets(spine, procedure, request.nerves or None, request.joints or None,
                         request.sides, ct_only(plan.volume))
    before = {proposal.target.id: proposal for proposal in plan.proposals}
    mine = [replace(p.target, carrier=bone) for p in plan.proposals if p.target.placed_by
            and (bone := spine.vertebra(p.target.carrier.name)) is not None]
    hands = {target.id: target for target in mine}
    targets = [hands.pop(target.id, target) for target in asked.targets] + list(hands.values())
    anew = [t for t in targets if t.id not in before or procedure.site is not Site.NERVE or touches(t)]
    answers = {p.target.id: p for p in _answers(plan, spine, anew, progress)}
    proposals = tuple(answers[t.id] if t.id in answers else replace(before[t.id], target=_rebound(before[t.id], t))
                      for t in targets)
    missing = tuple(m for m in asked.missing if not any(m.name == t.nerve_name and m.side is t.side for t in targets))
    findings = study_findings(plan.volume, spine, proposals, missing)
    return replace(plan, spine=spine, proposals=proposals, missing_targets=missing, findings=findings, reviews={})


def _rebound(proposal: Proposal, target: Target) -> Target:
    """An untouched target on the new spine's own vertebra."""
    return replace(proposal.target, carrier=target.carrier)


def move_landmark(plan: Plan, level: str, name: LandmarkName, position: ArrayLike, who: str,
                  progress: Progress | None = None) -> Plan:
    """A landmark moved or placed: the course on that side and the targets of that bone follow.

    Parameters
    ----------
    position : (3,) LPS mm
    """
    spine = with_landmark(plan.spine, level, name, position, who)
    return _replanned(plan, spine, lambda target: target.carrier.name == level, progress)


def relabel(plan: Plan, statement: str, progress: Progress | None = None) -> Plan:
    """The whole column renamed in one step, ``"L4=L5"``: the vertebra found as L4 is L5, its neighbours follow.

    Masks keep their shape; the label map takes the new VerSe numbers. Everything is searched anew, for every target
    lies on another bone.
    """
    said, spine = parse_statement(statement), plan.spine
    found = Segmentation(
        spine.grid, spine.labels, {v.label: v.name for v in spine.vertebrae}, spine.numbering,
        {v.name: v.confidence for v in spine.vertebrae}, {v.name: v.alternates for v in spine.vertebrae},
        {v.name: v.evidence for v in spine.vertebrae}, {}, {v.name: v.sacralised for v in spine.vertebrae},
        spine.engine, spine.findings)
    named = apply_statements(found, (said,))
    names = dict(zip(found.levels.values(), named.levels.values(), strict=True))
    labels = {level: value for value, level in named.levels.items()}
    vertebrae = tuple(replace(
        v, name=names[v.name], label=labels[names[v.name]], confidence=named.confidence[names[v.name]],
        alternates=named.alternates[names[v.name]], evidence=named.evidence[names[v.name]]) for v in spine.vertebrae)
    nerves = tuple(replace(c, carrier=names[c.carrier], nerve=carried_nerve(names[c.carrier])) for c in spine.nerves)
    renamed = replace(spine, labels=named.labels, numbering=named.numbering, vertebrae=vertebrae, nerves=nerves,
                      findings=named.findings)
    request = replace(plan.request, statements=(*plan.request.statements, str(said)))
    return _replanned(replace(plan, request=request, proposals=()), renamed, lambda target: True, progress)


def drop_vertebra(plan: Plan, level: str, progress: Progress | None = None) -> Plan:
    """A vertebra taken off the list, its targets with it; its voxels stay bone that no needle may cross."""
    spine = without_vertebra(plan.spine, level)
    kept = tuple(p for p in plan.proposals if p.target.carrier.name != level)
    return _replanned(replace(plan, proposals=kept), spine, lambda target: False, progress)


def place_vertebra(plan: Plan, level: str, frame: VertebralFrame, body_center: ArrayLike, who: str,
                   progress: Progress | None = None) -> Plan:
    """A vertebra placed by hand, or a found one given another frame; see `segmentation.byhand.with_vertebra`."""
    spine = with_vertebra(plan.spine, level, frame, body_center, who)
    return _replanned(plan, spine, lambda target: target.carrier.name == level, progress)


def place_target(plan: Plan, nerve: Nerve, side: Side, position: ArrayLike, who: str,
                 progress: Progress | None = None) -> Plan:
    """A target placed by hand on its bone, which must be among the levels and have a frame.

    Parameters
    ----------
    position : (3,) LPS mm
        Where the tip belongs. The course is the one already drawn there, else the nominal one through this point.
    """
    if plan.request.procedure == NO_PROCEDURE:
        raise UsageError("this folder holds anatomy only; plan the study with a procedure first")
    spine, procedure, xyz = plan.spine, load_procedure(plan.request.procedure), np.asarray(position, dtype=np.float64)
    if procedure.site is not Site.NERVE or nerve not in procedure.nerves:
        raise UsageError(f"{procedure.name} has no target on the course of the {nerve.value}")
    level = carrier_of(nerve).value
    bone = spine.vertebra(level)
    if bone is None or bone.frame is None:
        raise UsageError(f"{nerve.value} lies on {level}, which is {'not there' if bone is None else 'cut'}: place "
                         "that vertebra by hand first")
    course = next((c for c in spine.nerves if c.nerve is nerve and c.side is side), None)
    if course is None:
        course = course_through(spine, bone, side, xyz)
    covariance, trust = hand_target_spread(course)
    name = f"{procedure.name}:{nerve.value.replace(' ', '-')}:{level}:{side.value}"
    target = Target(name, procedure.name, nerve, nerve.value, bone, side, joints_of(nerve), xyz, course, covariance,
                    min(trust, bone.confidence, course.confidence), (f"placed by {who}", *course.reasons),
                    placed_by=who)
    _needs_scan(plan)
    answer = _answers(plan, spine, [target], progress)[0]
    known = {p.target.id: p for p in plan.proposals} | {name: answer}
    proposals = tuple(known.values())
    missing = tuple(m for m in plan.missing_targets if not (m.name == nerve.value and m.side is side))
    return replace(plan, proposals=proposals, missing_targets=missing, reviews={},
                   findings=study_findings(plan.volume, spine, proposals, missing))
