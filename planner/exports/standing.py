"""Where a target of a written plan stands, in the words every export carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.plan import WATERMARK, TargetState

__all__ = ["chosen_placement", "states", "watermark"]


def states(document: Mapping[str, Any]) -> dict[str, TargetState]:
    """The state of every target by its id."""
    return {review["target_id"]: TargetState(review["state"]) for review in document["reviews"]}


def watermark(state: TargetState) -> str:
    """What must stand on an export of a target; empty once it is approved."""
    return "" if state is TargetState.APPROVED else WATERMARK


def chosen_placement(proposal: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The placement a person chose, else that of the lowest rank; None where nothing is proposed."""
    found: Mapping[str, Any] | None = min(
        proposal["placements"], key=lambda p: (p["rank"] != proposal["chosen_rank"], p["rank"]), default=None)
    return found
