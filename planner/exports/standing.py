"""The plan folder that is exported, and where its targets stand, in the words every export carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.folder import check_recorded, read_folder
from planner.plan import WATERMARK, TargetState

__all__ = ["PlanFolder", "chosen_placement", "states", "watermark"]


@dataclass(frozen=True)
class PlanFolder:
    """A plan folder whose documents and masks were checked.

    Attributes
    ----------
    path : path
    document : mapping
        ``plan.json``.
    source : path or None
        Where its scan is now; None where ``source.json`` says.
    """

    path: Path
    document: Mapping[str, Any]
    source: Path | None = None

    @classmethod
    def read(cls, path: Path, source: Path | None = None) -> PlanFolder:
        """Check a folder; an AlteredError when it is not the one that was written."""
        stored = read_folder(path)
        check_recorded(path, stored.state)
        return cls(path, stored.plan, source)


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
