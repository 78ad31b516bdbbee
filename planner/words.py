"""The words and figures a person dials from, the same in the report, on the terminal and in tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.geometry import CArmAngles, Side, carm_words, whole_degrees
from segmentation.anatomy import LandmarkName
from targeting.model import (
    NeedlePose,
    Placement,
    PlacementKind,
    Proposal,
    Target,
    best_placement,
    confidence_word,
)
from targeting.procedures import load_procedure, procedure_names

__all__ = ["CAPTURE_HEADING", "CAPTURE_SIGMA_MM", "CONFIDENCE_HEADING", "DialRow", "capture_words",
           "carm_short", "clearance_words", "dial_row", "entry_words", "in_plane_words", "margin_words",
           "midline_words", "needle_words", "out_of_plane_words", "pedicle_words",
           "smallest_clearance"]

#: Landmarks that fluoroscopy shows, the first that the carrier has.
_FLUOROSCOPIC = (("pedicle_center", "pedicle's centre"), ("sap_tp_junction", "groove of the ala"))
#: What the word HIGH, MEDIUM or LOW is about: level, bone and landmarks, not the needle's chance of success.
CONFIDENCE_HEADING = "landmark confidence"
#: The placement error at which a table gives the chance of capture, mm; the curve stands in the report.
CAPTURE_SIGMA_MM = 2.0
CAPTURE_HEADING = f"chance of capture at {CAPTURE_SIGMA_MM:g} mm placement error"


def smallest_clearance(placement: Placement) -> tuple[str, float] | None:
    """The structure the needle passes nearest to, in words, and its signed clearance in mm."""
    known = [(value, name.value.replace("_", " ")) for name, value in placement.clearance_mm.items()
             if value is not None and np.isfinite(value)]
    if not known:
        return None
    value, name = min(known)
    return name, value


def clearance_words(placement: Placement) -> str:
    """``12.3 mm to the canal``, or that none could be computed."""
    nearest = smallest_clearance(placement)
    return "not computed" if nearest is None else f"{nearest[1]:.1f} mm to {nearest[0]}"


def _chance(placement: Placement) -> str:
    p = next((point.p for point in placement.capture if point.placement_sigma_mm == CAPTURE_SIGMA_MM), None)
    return "not known" if p is None else f"{p:.2f}"


def capture_words(proposal: Proposal) -> str:
    """The chance of capture at `CAPTURE_SIGMA_MM`, and that of a set where one is proposed beside a single needle."""
    placement = best_placement(proposal)
    if placement is None:
        return ""
    both = next((p for p in proposal.placements if p.kind is PlacementKind.SET), None)
    if both is None:
        return _chance(placement)
    procedure = load_procedure(proposal.target.procedure) if proposal.target.procedure in procedure_names() else None
    rule = None if procedure is None else procedure.second
    goal = "" if rule is None else f", goal {rule.capture_goal.value:.2f} at {rule.placement_sigma.value:g} mm"
    if placement is both:
        return f"{_chance(both)} for the set of two lesions{goal}"
    return f"{_chance(placement)} alone; {_chance(both)} for the set of two lesions (rank {both.rank}){goal}"


def needle_words(pose: NeedlePose) -> str:
    """The needle's name, and that its length cannot be told where the depth is not known."""
    known = pose.needle.length_mm is not None
    return pose.needle.name if known else f"{pose.needle.name}, length cannot be told: depth not known"


def margin_words(placement: Placement) -> str:
    """That a margin is not met, or that it is not known whether every margin is; empty where all are met."""
    if placement.margins_met is None:
        return "whether every margin is met is not known"
    return "" if placement.margins_met else "a margin is not met"


def in_plane_words(degrees: float) -> str:
    """The CT in-plane angle with the side the hub leans to."""
    turn = whole_degrees(degrees)
    return f"{turn}\N{DEGREE SIGN} hub toward {Side.LEFT.value if degrees >= 0 else Side.RIGHT.value}" if turn else \
        "0\N{DEGREE SIGN} straight anterior"


def out_of_plane_words(degrees: float) -> str:
    """The CT out-of-plane angle with the end the tip points to."""
    tilt = whole_degrees(degrees)
    return f"{tilt}\N{DEGREE SIGN} tip toward {'HEAD' if degrees >= 0 else 'FEET'}" if tilt else \
        "0\N{DEGREE SIGN} in the axial plane"


def midline_words(pose: NeedlePose, side: Side) -> str:
    """How far the entry lies from the midline, and on which side."""
    if pose.entry_from_midline_mm is None:
        return "not in view"
    toward = side if pose.entry_from_midline_mm >= 0 else side.other
    return f"{abs(pose.entry_from_midline_mm):.0f} mm to the {toward.value}"


def entry_words(pose: NeedlePose) -> str:
    """How far the entry lies toward head or feet from the tip."""
    if pose.entry_above_target_mm is None:
        return "not in view"
    offset = round(abs(pose.entry_above_target_mm))
    return f"{offset} mm toward {'HEAD' if pose.entry_above_target_mm >= 0 else 'FEET'}" if offset else "level with it"


def pedicle_words(pose: NeedlePose, target: Target) -> str:
    """The entry against the pedicle (S1: its ala groove) as an AP view along the squared endplate shows it."""
    frame, side = target.carrier.frame, target.side
    name, mark = next(((words, found) for key, words in _FLUOROSCOPIC if (found := target.carrier.landmarks.get(
        LandmarkName(f"{key}_{side.value.lower()}"))) is not None), ("", None))
    if frame is None or mark is None or pose.entry is None:
        return "not known"
    lateral, _, superior = frame.to_side(pose.entry, side) - frame.to_side(mark.position, side)
    across, along = round(abs(float(lateral))), round(abs(float(superior)))
    way = "lateral" if lateral >= 0 else "medial"
    return (f"AP view, {target.carrier.name} endplate squared: {across} mm {way} and {along} mm toward the "
            f"{'HEAD' if superior >= 0 else 'FEET'} of the {name}, {side.value}")


def carm_short(angles: CArmAngles) -> str:
    """The receptor's place over a prone patient in as few words as possible: LEFT 20 degrees, FEET 42 degrees."""
    side = Side.LEFT if angles.rotation_deg >= 0 else Side.RIGHT
    end = "HEAD" if angles.tilt_deg >= 0 else "FEET"
    turn, tilt = whole_degrees(angles.rotation_deg), whole_degrees(angles.tilt_deg)
    rotation = f"{side.value} {turn}\N{DEGREE SIGN}" if turn else "no rotation"
    return f"{rotation}, " + (f"{end} {tilt}\N{DEGREE SIGN}" if tilt else "no tilt")


@dataclass(frozen=True)
class DialRow:
    """One target as a line of the first table.

    Attributes
    ----------
    planned : bool
        False when nothing is proposed; `reason` then says why and the dialled fields are empty.
    margins : str
        As `margin_words`.
    capture : str
        As `capture_words`.
    confidence, confidence_word : str
        Of level, bone and landmarks (`CONFIDENCE_HEADING`).
    """

    nerve: str
    bone: str
    joints: str
    side: Side
    planned: bool
    carm: str
    carm_short: str
    in_plane: str
    out_of_plane: str
    depth: str
    needle: str
    midline: str
    level_offset: str
    clearance: str
    margins: str
    capture: str
    confidence: str
    confidence_word: str
    reason: str


def dial_row(proposal: Proposal) -> DialRow:
    """One target's line of the first table."""
    target, placement = proposal.target, best_placement(proposal)
    bone = target.bone
    word = confidence_word(target.confidence).value
    joints, sure = " and ".join(target.joints), f"{target.confidence:.2f}"
    if placement is None:
        reason = proposal.reason or "; ".join(r.sentence for r in proposal.rejections) or "nothing is proposed"
        reason = reason.removeprefix("no path: ")
        return DialRow(target.nerve_name, bone, joints, target.side, False, "", "", "", "", "", "", "", "", "", "",
                       "", sure, word, reason)
    pose = placement.needles[0]
    depth = f"{pose.length_mm:.0f} mm" if pose.length_mm is not None else "skin not in view"
    needle = needle_words(pose) + (f" (1 of {len(placement.needles)})" if len(placement.needles) > 1 else "")
    return DialRow(
        target.nerve_name, bone, joints, target.side, True, carm_words(pose.carm), carm_short(pose.carm),
        in_plane_words(pose.ct.in_plane_deg), out_of_plane_words(pose.ct.out_of_plane_deg), depth, needle,
        midline_words(pose, target.side), entry_words(pose), clearance_words(placement), margin_words(placement),
        capture_words(proposal), sure, word, proposal.reason)
