"""Sets of needles that count together: which placements go together, and what holds between them.

Every needle of a set is a target of its own with its own placement and clearances; this module looks at all of them. A
set with a needle missing, a gap too wide or two needles in each other's way is not offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, degrees_between
from targeting.model import NeedlePose, Placement, Proposal, ProposalStatus, best_placement
from targeting.procedures import load_procedure
from targeting.procedures.sites import PalisadeRule

__all__ = ["NeedleSet", "keep_sets", "needle_sets", "shaft_distance"]

Array = NDArray[np.float64]
_ROUNDING_MM = 1e-6
#: A needle whose skin is out of view is followed this far when it is held against its neighbours, mm.
_OPEN_SHAFT_MM = 60.0


@dataclass(frozen=True)
class NeedleSet:
    """One set as its needles stand now.

    Attributes
    ----------
    target_ids : tuple of str
        In order along the row.
    spacing_mm, shaft_gap_mm, angle_deg : tuple of float
        Between each needle and the next: tip to tip, surface to surface at the nearest, and between their directions;
        empty where a needle has no placement.
    broken : tuple of str
        What does not hold, in sentences; empty when the set is whole.
    """

    set_id: str
    side: Side
    target_ids: tuple[str, ...]
    spacing_mm: tuple[float, ...]
    shaft_gap_mm: tuple[float, ...]
    angle_deg: tuple[float, ...]
    broken: tuple[str, ...]


def shaft_distance(one: tuple[Array, Array], two: tuple[Array, Array]) -> float:
    """Least distance between two segments, each given by its ends, mm."""
    (p, q), (r, s) = one, two
    u, v, w = q - p, s - r, p - r
    a, b, c, d, e = (float(x) for x in (u @ u, u @ v, v @ v, u @ w, v @ w))
    denominator = a * c - b * b
    t = float(np.clip((b * e - c * d) / denominator, 0.0, 1.0)) if denominator > 1e-12 * a * c else 0.0
    k = float(np.clip((b * t + e) / c, 0.0, 1.0))
    t = float(np.clip((b * k - d) / a, 0.0, 1.0))
    return float(np.linalg.norm(w + t * u - k * v))


def _shaft(pose: NeedlePose) -> tuple[Array, Array]:
    entry = pose.tip - _OPEN_SHAFT_MM * pose.direction if pose.entry is None else pose.entry
    return entry, pose.tip


def _between(one: Placement, two: Placement) -> tuple[float, float, float]:
    """Tip to tip mm, surface to surface mm, and the angle between two needles, degrees."""
    a, b = one.needles[0], two.needles[0]
    gap = shaft_distance(_shaft(a), _shaft(b)) - 0.5 * (a.needle.diameter_mm + b.needle.diameter_mm)
    angle = float(degrees_between(a.direction, b.direction))
    return float(np.linalg.norm(a.tip - b.tip)), gap, angle


def _faults(rule: PalisadeRule, spacing: float, gap: float, angle: float, which: str) -> list[str]:
    """What does not hold between two neighbours."""
    out = []
    if not rule.spacing.low - _ROUNDING_MM <= spacing <= rule.spacing.high + _ROUNDING_MM:
        out.append(f"tips of {which} are {spacing:.1f} mm apart, {rule.spacing.low:.0f} to {rule.spacing.high:.0f} "
                   "needed")
    if gap < rule.shaft_gap.value:
        out.append(f"{which} come within {gap:.1f} mm of each other, {rule.shaft_gap.value:.1f} needed")
    if angle > rule.parallel.value + _ROUNDING_MM:
        out.append(f"{which} stand {angle:.0f} degrees to each other, {rule.parallel.value:.0f} allowed")
    return out


def _members(proposals: Sequence[Proposal]) -> dict[str, list[Proposal]]:
    """The proposals of each set in the order of the row."""
    out: dict[str, list[Proposal]] = {}
    for proposal in proposals:
        if proposal.target.member is not None:
            out.setdefault(proposal.target.member.set_id, []).append(proposal)
    return {name: sorted(members, key=_index) for name, members in out.items()}


def _index(proposal: Proposal) -> int:
    member = proposal.target.member
    return 0 if member is None else member.index


def _rule(proposal: Proposal) -> PalisadeRule:
    rule = load_procedure(proposal.target.procedure).site_rule
    if not isinstance(rule, PalisadeRule):
        raise ValueError(f"{proposal.target.procedure} has no rule for needles of a set")
    return rule


def _judge(name: str, members: Sequence[Proposal], placements: Sequence[Placement | None]) -> NeedleSet:
    """One set with the placements given for its members."""
    rule, first = _rule(members[0]), members[0].target
    member = first.member
    count = 0 if member is None else member.count
    broken = [f"needle {_index(p)} ({p.target.bone}) has no placement: {p.reason}"
              for p, placed in zip(members, placements, strict=True) if placed is None]
    if len(members) < count:
        broken.append(f"only {len(members)} of its {count} needles are in the plan")
    measured = []
    for (one, a), (two, b) in pairwise(zip(members, placements, strict=True)):
        if a is not None and b is not None:
            measured.append(_between(a, b))
            broken += _faults(rule, *measured[-1], f"needles {_index(one)} and {_index(two)}")
    columns = tuple(zip(*measured, strict=True)) if len(measured) == len(members) - 1 and measured else ((), (), ())
    return NeedleSet(name, first.side, tuple(p.target.id for p in members), columns[0], columns[1], columns[2],
                     tuple(broken))


def needle_sets(proposals: Sequence[Proposal]) -> tuple[NeedleSet, ...]:
    """Every set among some proposals, judged by the placements that count now."""
    return tuple(_judge(name, members, [best_placement(p) for p in members])
                 for name, members in _members(proposals).items())


def _together(members: Sequence[Proposal]) -> list[Placement]:
    """For each member the placement that, with its neighbours', breaks least and is ranked best: the chain's best."""
    rule = _rule(members[0])
    best: list[tuple[tuple[int, int], list[Placement]]] = [((0, p.rank), [p]) for p in members[0].placements]
    for one, two in pairwise(members):
        which, step = f"needles {_index(one)} and {_index(two)}", []
        for placement in two.placements:
            ways = [((cost[0] + len(_faults(rule, *_between(path[-1], placement), which)), cost[1] + placement.rank),
                     path) for cost, path in best]
            cost, path = min(ways, key=lambda w: w[0])
            step.append((cost, [*path, placement]))
        best = step
    return min(best, key=lambda b: b[0])[1]


def _withdrawn(proposal: Proposal, why: str) -> Proposal:
    """A member of a set that is not offered."""
    if proposal.status is ProposalStatus.NONE:
        return proposal
    return Proposal(proposal.target, ProposalStatus.NONE, why, (), proposal.rejections)


def keep_sets(proposals: Sequence[Proposal]) -> tuple[Proposal, ...]:
    """Proposals in which every set is whole, with one placement for each of its needles, or not offered at all.

    Proposals whose targets belong to no set are left as they are.
    """
    out = {p.target.id: p for p in proposals}
    for name, members in _members(proposals).items():
        none = [p for p in members if not p.placements]
        chosen: list[Placement | None] = [None] * len(members) if none else list(_together(members))
        shown = [c if c is not None else best_placement(p) for c, p in zip(chosen, members, strict=True)]
        judged = _judge(name, members, shown)
        if judged.broken:
            why = "the set is not whole: " + "; ".join(judged.broken)
            out |= {p.target.id: _withdrawn(p, why) for p in members}
            continue
        for n, (member, placement) in enumerate(zip(members, chosen, strict=True)):
            assert placement is not None
            beside = [f"{judged.spacing_mm[m]:.1f} mm from needle {_index(members[k])}"
                      for m, k in ((n - 1, n - 1), (n, n + 1)) if 0 <= k < len(members)]
            words = f"needle {n + 1} of {len(members)} of a set, tip {' and '.join(beside)}"
            out[member.target.id] = replace(
                member, reason=f"one placement, taken so that the {len(members)} needles of the set keep their spacing",
                placements=(replace(placement, rank=1, why=f"{placement.why}; {words}"),))
    return tuple(out[p.target.id] for p in proposals)
