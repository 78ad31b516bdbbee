"""What people said about a plan, in the words of the report, the terminal and the exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.history import HistoryLine
from planner.plan import WATERMARK, Plan, TargetReview, TargetState
from targeting.model import best_placement

__all__ = ["NOT_AN_IDENTITY", "SignOff", "change_log", "hands_in", "person_words", "sign_off"]

NOT_AN_IDENTITY = "A typed name is not an identity."


@dataclass(frozen=True)
class SignOff:
    """Where one target stands, for a reader.

    Attributes
    ----------
    state : TargetState
    short : str
        ``APPROVED by A. Reader``, or the watermark's words.
    lines : tuple of str
        Who, when, side typed, reasons, overridden limits, hands; empty when nobody acted.
    """

    state: TargetState
    short: str
    lines: tuple[str, ...]

    @property
    def approved(self) -> bool:
        """Whether the watermark may be left off."""
        return self.state is TargetState.APPROVED


def person_words(who: str, role: str) -> str:
    """A typed name with the typed role."""
    return f"{who} ({role})" if role else who


def _lines(review: TargetReview) -> list[str]:
    out = []
    if review.who:
        verb = review.state.value if review.state is not TargetState.PROPOSED else "taken back"
        out.append(f"{verb} by {person_words(review.who, review.role)} on {review.when}")
    if review.typed_side:
        out.append(f"side typed: {review.typed_side}")
    out += [f"{name} overridden: {reason}" for name, reason in review.overrides]
    if review.reason:
        out.append(f"reason: {review.reason}")
    if review.locked:
        out.append("locked")
    return out


def _hands(plan: Plan, target_id: str) -> list[str]:
    """What of a target, its bone and its needle was placed by hand."""
    proposal = next((p for p in plan.proposals if p.target.id == target_id), None)
    if proposal is None:
        return []
    target, placement = proposal.target, best_placement(proposal)
    bone = target.carrier
    return _placed(bone.name, bone.placed_by, {name.value: mark.placed_by for name, mark in bone.landmarks.items()},
                   target.placed_by, "" if placement is None else placement.placed_by)


def _placed(bone: str, bone_by: str, marks_by: Mapping[str, str], target_by: str, needle_by: str) -> list[str]:
    """Who placed what, in words; nothing for what the program placed."""
    placed = [(bone, bone_by), *((f"{name} of {bone}", who) for name, who in sorted(marks_by.items())),
              ("target", target_by), ("needle", needle_by)]
    return [f"{what} placed by {who}" for what, who in placed if who]


def hands_in(document: Mapping[str, Any], target: Mapping[str, Any], placement: Mapping[str, Any] | None) -> str:
    """What of a target, its bone and a needle was placed by hand, as an export of ``plan.json`` says it.

    Parameters
    ----------
    document, target, placement : mapping
        ``plan.json``, one of its targets, and the placement that is exported.

    Returns
    -------
    str
        Such as ``L4 placed by A. Reader; target placed by A. Reader``; empty where hands placed nothing.
    """
    bone = next(level for level in document["levels"] if level["level"] == target["carrier"])
    marks = document["landmark_details"].get(bone["level"], {})
    return "; ".join(_placed(bone["level"], bone["placed_by"], {name: m["placed_by"] for name, m in marks.items()},
                             target["placed_by"], "" if placement is None else placement["placed_by"]))


def sign_off(plan: Plan, target_id: str) -> SignOff:
    """What people said about a target, and what they placed by hand."""
    review = plan.review(target_id)
    short = {TargetState.APPROVED: f"APPROVED by {review.who}", TargetState.REJECTED: f"REJECTED by {review.who}",
             TargetState.EDITED: f"EDITED, {WATERMARK}", TargetState.PROPOSED: WATERMARK}[review.state]
    lines = [*_lines(review), *_hands(plan, target_id)]
    return SignOff(review.state, short, (*lines, NOT_AN_IDENTITY) if lines else ())


def change_log(plan: Plan, history: Sequence[HistoryLine]) -> tuple[str, ...]:
    """The history as lines of the report, oldest first; what the program drew itself is left out."""
    if not history:
        return (f"{plan.run.finished}: proposed by the program; no person has reviewed it",)
    names = {proposal.target.id: proposal.target.sentence for proposal in plan.proposals}
    out = []
    for line in history:
        if line.role == "software" and line.number > 1:
            continue
        about = f", {names.get(line.target_id, line.target_id)}" if line.target_id else ""
        why = f": {line.reason}" if line.reason and line.number > 1 else ""
        signed = f" [signed, key {line.signed_by[:16]}]" if line.signed_by else ""
        out.append(f"{line.when}: {line.words}{about} - {person_words(line.who, line.role)}{why}{signed}")
    return tuple(out)
