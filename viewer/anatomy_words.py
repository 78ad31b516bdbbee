"""What an edit of the anatomy will change, in words, before a person confirms it. No window toolkit in here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imaging.errors import UsageError
from imaging.geometry import Side, VertebralFrame, to_index
from planner.defaults import NO_PROCEDURE
from planner.plan import Plan, TargetState
from planner.statements import LevelStatement, stated_names
from segmentation.anatomy import LandmarkName, Level, Nerve, carrier_of, is_relative
from segmentation.spine import Vertebra
from targeting.model import Proposal
from targeting.procedures import load_procedure
from targeting.procedures.sites import Site

__all__ = [
    "drop_words", "field_problem", "landmark_side", "landmark_title", "landmark_words", "placeable_levels",
    "placeable_nerves", "possible_levels", "relabel_words", "side_problem", "target_words", "vertebra_words",
]

Array = NDArray[np.float64]
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
            *_lost(plan, plan.proposals, plan.proposals),
            f"Recorded as the word of {who}. Undo (Ctrl+Z) takes it back.")


def landmark_side(name: LandmarkName) -> Side | None:
    """The side a landmark belongs to; None for one in the midline."""
    return next((side for side in Side if name.value.endswith(f"_{side.value.lower()}")), None)


def landmark_title(name: LandmarkName) -> str:
    """A landmark for a person, its side in a whole word."""
    side = landmark_side(name)
    if side is None:
        return name.value.replace("_", " ")
    return f"{side.value} " + name.value.removesuffix(f"_{side.value.lower()}").replace("_", " ")


def side_problem(vertebra: Vertebra, side: Side | None, xyz: Array) -> str:
    """Why a point (3,) LPS mm cannot belong to that side of a bone; empty where it can or cannot be told."""
    if side is None or vertebra.frame is None or float(vertebra.frame.to_side(xyz, side)[0]) >= 0:
        return ""
    return (f"the cross-hair lies on the patient's {side.other.value} of the middle of {vertebra.name}, and this "
            f"belongs to the {side.value}: nothing was changed")


def field_problem(plan: Plan, xyz: Array) -> str:
    """Why nothing can be placed at a point (3,) LPS mm: it lies outside the images; empty where it lies within."""
    index, last = to_index(plan.spine.grid, xyz), np.array(plan.spine.grid.shape[::-1]) - 0.5
    inside = bool(((index >= -0.5) & (index <= last)).all())
    return "" if inside else "the cross-hair lies outside the images: nothing was changed"


def landmark_words(plan: Plan, vertebra: Vertebra, name: LandmarkName, xyz: Array, who: str) -> tuple[str, ...]:
    """What putting a landmark at `xyz`, (3,) LPS mm, will change."""
    old = vertebra.landmarks.get(name)
    moved = "is placed" if old is None else f"moves {np.linalg.norm(xyz - old.position):.1f} mm"
    anew = [p for p in plan.proposals if p.target.carrier.name == vertebra.name or not _on_nerves(plan)]
    return (f"{landmark_title(name)} of {vertebra.name} {moved} to the cross-hair.",
            f"The nerve course that hangs on it and the targets of {vertebra.name} are made anew, and are never HIGH.",
            *_lost(plan, (), anew), f"Recorded as placed by {who}. Undo (Ctrl+Z) takes it back.")


def drop_words(plan: Plan, vertebra: Vertebra, who: str) -> tuple[str, ...]:
    """What taking a vertebra off the list will change."""
    gone = [p for p in plan.proposals if p.target.carrier.name == vertebra.name]
    names = ", ".join(f"{p.target.nerve_name} {p.target.side.value}" for p in gone) or "none"
    return (f"{vertebra.name} is taken off the list of vertebrae; its targets go with it: {names}.",
            "What was segmented as this vertebra stays bone that no needle may cross. The others keep their names.",
            *_lost(plan, gone, gone), f"Recorded as dropped by {who}. Undo (Ctrl+Z) takes it back.")


def _on_nerves(plan: Plan) -> bool:
    return plan.request.procedure != NO_PROCEDURE and load_procedure(plan.request.procedure).site is Site.NERVE


def placeable_nerves(plan: Plan) -> tuple[Nerve, ...]:
    """Nerves of the plan's procedure whose bone is there with a frame, so that a target can be placed on it."""
    if not _on_nerves(plan):
        return ()
    bones = {v.name for v in plan.spine.vertebrae if v.frame is not None}
    return tuple(n for n in load_procedure(plan.request.procedure).nerves if carrier_of(n).value in bones)


def placeable_levels(plan: Plan) -> tuple[Level, ...]:
    """Levels a vertebra can be placed as: those not there; none while the ones here are only counted."""
    names = [v.name for v in plan.spine.vertebrae]
    return () if any(is_relative(name) for name in names) else tuple(level for level in Level if level not in names)


def vertebra_words(plan: Plan, level: str, frame: VertebralFrame, who: str) -> tuple[str, ...]:
    """What placing a vertebra that was not found will change."""
    tilt = float(np.degrees(np.arctan2(frame.superior[1], frame.superior[2])))
    turn = float(np.degrees(np.arctan2(frame.left[1], frame.left[0])))
    near = [v.name for v in plan.spine.vertebrae]
    known = (f"Known here: {', '.join(near)}." if near else
             "No vertebra is known here: the level rests on this word alone.")
    return (f"{level} is placed at the points set: its upper endplate faces {abs(tilt):.0f} degrees to the "
            f"{'back' if tilt >= 0 else 'front'}, it is turned {abs(turn):.0f} degrees about its long axis. {known}",
            "Nothing is segmented by this: where no mask of this bone is, its nerve course is the nominal one, and "
            "structures that were not computed stay not computed. Landmarks and targets are placed next.",
            *_lost(plan, (), ()), f"Recorded as placed by {who}. Undo (Ctrl+Z) takes it back.")


def target_words(plan: Plan, nerve: Nerve, side: Side, xyz: Array, who: str) -> tuple[str, ...]:
    """What placing a target at `xyz`, (3,) LPS mm, will change."""
    bone = carrier_of(nerve).value
    old = [p for p in plan.proposals if p.target.nerve is nerve and p.target.side is side]
    course = next((c for c in plan.spine.nerves if c.nerve is nerve and c.side is side and len(c.path)), None)
    where = ("no course of it is drawn there: the nominal one through this point is used" if course is None else
             f"{np.linalg.norm(course.path - xyz, axis=1).min():.1f} mm from the nearest point of its drawn course")
    return (f"The target of the {nerve.value} on {bone}, {side.value}, is placed at the cross-hair; {where}.",
            *(f"It takes the place of the one there, {np.linalg.norm(p.target.position - xyz):.1f} mm away."
              for p in old),
            "Needles are searched for it within all limits; it is never HIGH.",
            *_lost(plan, [p for p in old if p.target.placed_by], old),
            f"Recorded as placed by {who}. Undo (Ctrl+Z) takes it back.")


def _lost(plan: Plan, targets: Sequence[Proposal], needles: Sequence[Proposal]) -> tuple[str, ...]:
    """What people have done that will not stand: every decision, and by hand what lies on these targets."""
    decided = sum(plan.review(p.target.id).state in _DECIDED for p in plan.proposals)
    by_hand = sum(bool(p.target.placed_by) for p in targets)
    needles_by_hand = sum(any(placement.placed_by for placement in p.placements) for p in needles)
    counts = (("decisions", decided), ("targets placed by hand", by_hand),
              ("needles placed by hand", needles_by_hand))
    lost = ", ".join(f"{name}: {count}" for name, count in counts if count)
    return (f"These will not stand any longer: {lost}.",) if lost else ()
