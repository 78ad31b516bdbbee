"""What people said about a plan, in the words of the report, the terminal and the exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.history import HistoryLine
from planner.plan import WATERMARK, Plan, TargetReview, TargetState
from planner.words import best_placement

__all__ = ["NOT_AN_IDENTITY", "SignOff", "change_log", "person_words", "sign_off"]

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
    marks = sorted((name.value, mark.placed_by) for name, mark in target.carrier.landmarks.items())
    placed = [(f"{target.carrier.name}", target.carrier.placed_by),
              *((f"{name} of {target.carrier.name}", who) for name, who in marks), ("target", target.placed_by),
              ("needle", "" if placement is None else placement.placed_by)]
    return [f"{what} placed by {who}" for what, who in placed if who]


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
