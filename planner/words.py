"""The words and figures a person dials from, the same in the report, on the terminal and in tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.geometry import CArmAngles, Side, carm_words
from targeting.model import NeedlePose, Placement, Proposal, ProposalStatus, confidence_word

__all__ = ["DialRow", "best_placement", "carm_short", "clearance_words", "dial_row", "entry_words", "in_plane_words",
           "margin_words", "midline_words", "out_of_plane_words", "smallest_clearance"]


def best_placement(proposal: Proposal) -> Placement | None:
    """The placement a person chose, else that of the lowest rank, or None where nothing is proposed."""
    if proposal.status is ProposalStatus.NONE or not proposal.placements:
        return None
    return min(proposal.placements, key=lambda p: (p.rank != proposal.chosen, p.rank))


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


def margin_words(placement: Placement) -> str:
    """That a margin is not met, or that it is not known whether every margin is; empty where all are met."""
    if placement.margins_met is None:
        return "whether every margin is met is not known"
    return "" if placement.margins_met else "a margin is not met"


def in_plane_words(degrees: float) -> str:
    """The CT in-plane angle with the side the hub leans to."""
    turn = round(abs(degrees))
    return f"{turn}\N{DEGREE SIGN} hub toward {Side.LEFT.value if degrees >= 0 else Side.RIGHT.value}" if turn else \
        "0\N{DEGREE SIGN} straight anterior"


def out_of_plane_words(degrees: float) -> str:
    """The CT out-of-plane angle with the end the tip points to."""
    tilt = round(abs(degrees))
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


def carm_short(angles: CArmAngles) -> str:
    """The receptor's place over a prone patient in as few words as possible: LEFT 20 degrees, FEET 42 degrees."""
    side = Side.LEFT if angles.rotation_deg >= 0 else Side.RIGHT
    end = "HEAD" if angles.tilt_deg >= 0 else "FEET"
    turn, tilt = round(abs(angles.rotation_deg)), round(abs(angles.tilt_deg))
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
                       sure, word, reason)
    pose = placement.needles[0]
    depth = f"{pose.length_mm:.0f} mm" if pose.length_mm is not None else "skin not in view"
    needle = pose.needle.name + (f" (1 of {len(placement.needles)})" if len(placement.needles) > 1 else "")
    return DialRow(
        target.nerve_name, bone, joints, target.side, True, carm_words(pose.carm), carm_short(pose.carm),
        in_plane_words(pose.ct.in_plane_deg), out_of_plane_words(pose.ct.out_of_plane_deg), depth, needle,
        midline_words(pose, target.side), entry_words(pose), clearance_words(placement), margin_words(placement),
        sure, word, proposal.reason)
