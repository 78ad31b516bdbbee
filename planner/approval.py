"""What stands between a target and its approval: limits that are not met, and what must be said before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from imaging.errors import UsageError
from imaging.geometry import Side
from planner.age import AgeVerdict, scan_age
from planner.plan import Plan
from planner.words import margin_words
from targeting.model import ConfidenceWord, Placement, Proposal, best_placement, confidence_word

__all__ = ["Limit", "check_overrides", "check_side", "limits_to_override", "proposal_of", "warnings_before"]

#: Limits whose own sentence already says that a margin is missed, or why it is not known.
_ABOUT_MARGINS = ("margin", "structure_not_computed", "outside_image")


@dataclass(frozen=True)
class Limit:
    """A limit that is not met; an approval overrides it by name, with a reason.

    Attributes
    ----------
    name : str
        Such as ``margin:canal``, ``angle_band``, ``scan_age``.
    sentence : str
        For a person.
    """

    name: str
    sentence: str


def proposal_of(plan: Plan, target_id: str) -> Proposal:
    """The proposal of a target; a UsageError lists the targets there are."""
    found = next((p for p in plan.proposals if p.target.id == target_id), None)
    if found is None:
        known = ", ".join(p.target.id for p in plan.proposals) or "none"
        raise UsageError(f"there is no target '{target_id}' in this plan; it has: {known}")
    return found


def _margins(placement: Placement) -> list[Limit]:
    out = []
    for name, needed in sorted(placement.margins_mm.items(), key=lambda item: item[0].value):
        value = placement.clearance_mm.get(name)
        words = name.value.replace("_", " ")
        if value is None:
            why = placement.clearance_reason.get(name, "no reason is given")
            out.append(Limit(f"margin:{name.value}", f"the clearance to {words} was not computed: {why}"))
        elif value < needed:
            out.append(Limit(f"margin:{name.value}", f"{value:.1f} mm to {words}, {needed:.1f} mm needed"))
    return out


def limits_to_override(plan: Plan, target_id: str, now: datetime) -> tuple[Limit, ...]:
    """Every limit that the target's shown placement does not meet, each once, in a fixed order.

    Raises
    ------
    UsageError
        There is no such target, or no placement to approve.
    """
    proposal = proposal_of(plan, target_id)
    placement = best_placement(proposal)
    if placement is None:
        raise UsageError(f"{target_id} has no placement to approve; place a needle first or reject it")
    found = _margins(placement)
    if proposal.target.withheld:
        found.append(Limit("withheld", proposal.target.withheld))
    for broken in placement.broken:
        name = broken.reason.value + (f":{broken.structure}" if broken.structure else "")
        found.append(Limit(name, broken.sentence))
    for pose in placement.needles:
        shaft = pose.needle.length_mm
        if pose.length_mm is not None and shaft is not None and pose.length_mm > shaft:
            found.append(Limit("needle_length", f"the path is {pose.length_mm:.0f} mm, the needle "
                                                f"{shaft:.0f} mm"))
    age = scan_age(plan.study.date, now)
    if age.verdict is AgeVerdict.STALE:
        found.append(Limit("scan_age", age.sentence))
    unique = {limit.name: limit for limit in reversed(found)}
    if placement.margins_met is not True and not any(n.startswith(_ABOUT_MARGINS) for n in unique):
        unique["margin"] = Limit("margin", margin_words(placement))
    return tuple(unique[name] for name in sorted(unique))


def warnings_before(plan: Plan, target_id: str, now: datetime) -> tuple[str, ...]:
    """What a person must read before approving: age, doubt, an entry that is not in view, hands."""
    proposal = proposal_of(plan, target_id)
    target, placement, age = proposal.target, best_placement(proposal), scan_age(plan.study.date, now)
    out = [age.sentence] if age.verdict in (AgeVerdict.OLD, AgeVerdict.UNKNOWN) else []
    if confidence_word(target.confidence) is ConfidenceWord.LOW:
        out.append("the confidence of this target is LOW: " + ("; ".join(target.reasons) or "no reason is given"))
    if placement is not None and any(pose.entry is None for pose in placement.needles):
        out.append("the skin over the path is not in the scan: entry and depth are not known")
    hands = {name for name in (target.placed_by, "" if placement is None else placement.placed_by) if name}
    out += [f"placed by {name}" for name in sorted(hands)]
    return tuple(out)


def check_side(plan: Plan, target_id: str, typed: str) -> Side:
    """The side that was typed, when it is the target's own; anything else is a UsageError."""
    side = proposal_of(plan, target_id).target.side
    if typed.strip().upper() != side.value:
        raise UsageError(f"the side typed is '{typed}', but {target_id} lies on the patient's {side.value}: nothing "
                         "was approved")
    return side


def check_overrides(limits: tuple[Limit, ...], overrides: Mapping[str, str]) -> dict[str, str]:
    """The reasons, one for each limit and for nothing else; a UsageError says which is missing or stray."""
    given = {name: " ".join(reason.split()) for name, reason in overrides.items()}
    missing = [f"{limit.name} ({limit.sentence})" for limit in limits if not given.get(limit.name)]
    if missing:
        raise UsageError(f"limits that are not met need an override with a reason each: {'; '.join(missing)}")
    stray = sorted(set(given) - {limit.name for limit in limits})
    if stray:
        raise UsageError(f"nothing to override under {', '.join(stray)}: those limits are met or not known")
    return given
