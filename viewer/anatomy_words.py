"""What an edit of the anatomy will change, in words, before a person confirms it. No window toolkit in here."""

from __future__ import annotations

from imaging.errors import UsageError
from planner.plan import Plan, TargetState
from planner.statements import LevelStatement, stated_names
from segmentation.anatomy import Level
from segmentation.spine import Vertebra

__all__ = ["possible_levels", "relabel_words"]

_DECIDED = (TargetState.APPROVED, TargetState.REJECTED)


def _names(plan: Plan, vertebra: Vertebra, level: Level) -> dict[str, Level]:
    found = {v.label: v.name for v in plan.spine.vertebrae}
    return stated_names(found, (LevelStatement(vertebra.name, level),))


def possible_levels(plan: Plan, vertebra: Vertebra) -> tuple[Level, ...]:
    """What a vertebra could be called instead, so that the whole column still has names; the sacrum is always S1."""
    def fits(level: Level) -> bool:
        try:
            _names(plan, vertebra, level)
        except UsageError:
            return False
        return True

    if vertebra.name == Level.S1:
        return ()
    return tuple(level for level in Level if level not in (Level.S1, vertebra.name) and fits(level))


def relabel_words(plan: Plan, vertebra: Vertebra, level: Level, who: str) -> tuple[str, ...]:
    """What relabelling the column so that `vertebra` is `level` will change, one sentence each."""
    names = _names(plan, vertebra, level)
    changes = ", ".join(f"{old} becomes {new.value}" for old, new in names.items())
    return (f"The whole column is renamed: {changes}. The sacrum stays S1.",
            "The nerves are renamed with their bones, and the targets that were asked for are searched anew.",
            *_lost(plan), f"Recorded as the word of {who}. Undo (Ctrl+Z) takes it back.")


def _lost(plan: Plan) -> tuple[str, ...]:
    """What people have done that will not stand after every target is searched anew."""
    decided = sum(plan.review(p.target.id).state in _DECIDED for p in plan.proposals)
    targets = sum(bool(p.target.placed_by) for p in plan.proposals)
    needles = sum(any(placement.placed_by for placement in p.placements) for p in plan.proposals)
    counts = (("decisions", decided), ("targets placed by hand", targets), ("needles placed by hand", needles))
    lost = ", ".join(f"{name}: {count}" for name, count in counts if count)
    return (f"These will not stand any longer: {lost}.",) if lost else ()
