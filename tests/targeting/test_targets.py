"""Targets on the phantom: the right bone, the right place, and a reason for each that is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.errors import UsageError
from imaging.geometry import Side
from segmentation.anatomy import LandmarkName, Nerve, carrier_of
from segmentation.spine import Numbering, NumberingStatus, NumberingTier, Spine
from targeting.clearance import boxes_of
from targeting.model import ProposalStatus
from targeting.planning import propose
from targeting.procedures import load_procedure
from targeting.targets import make_targets, neck_fraction
from tests.targeting.builders import lumbar_spine, sacral_spine

BLOCK, RF = load_procedure("lumbar-medial-branch-block"), load_procedure("lumbar-medial-branch-rf")


@pytest.mark.parametrize("procedure", [BLOCK, RF], ids=lambda p: p.name)
def test_targets_lie_on_their_own_bone_and_side(procedure) -> None:
    spine = lumbar_spine()
    found = make_targets(spine, procedure, nerves=[Nerve.L1, Nerve.L2, Nerve.L3, Nerve.L4])
    assert len(found.targets) == 8
    assert not found.missing
    for target in found.targets:
        assert target.carrier.name == carrier_of(target.nerve)
        own = boxes_of(spine.labels == target.carrier.label, spine.grid)
        other = boxes_of((spine.labels > 0) & (spine.labels != target.carrier.label), spine.grid)
        assert abs(own.gap(target.position, target.position)) <= 2.0
        assert other.gap(target.position, target.position) > 2.0
        junction = target.carrier.landmarks[LandmarkName(f"sap_tp_junction_{target.side.value.lower()}")]
        assert np.linalg.norm(target.position - junction.position) <= 8.0
        assert target.carrier.frame.to_side(target.position, target.side)[0] > 5.0
        assert neck_fraction(target.course, target.position[None])[0] > 0.0


@pytest.mark.parametrize("procedure", [BLOCK, RF], ids=lambda p: p.name)
def test_the_fifth_dorsal_ramus_is_met_beside_the_middle_and_posterior_thirds(procedure) -> None:
    spine = sacral_spine()
    found = make_targets(spine, procedure, nerves=[Nerve.L5])
    assert len(found.targets) == 2
    for target in found.targets:
        t = float(neck_fraction(target.course, target.position[None])[0])
        assert 1 / 3 <= t <= 1
        assert t == pytest.approx(procedure.target.groove_aim.value, abs=0.1)
        groove = target.carrier.landmarks[LandmarkName(f"sap_tp_junction_{target.side.value.lower()}")].position
        along = target.course.neck[1] - groove
        across = np.cross(target.position - groove, along) / np.linalg.norm(along)
        assert np.linalg.norm(across) <= 3.0 + 1.0  # on the bone, the course's 1 mm below it
        assert np.linalg.norm(target.position - groove) <= 8.0


def test_a_fifth_dorsal_ramus_beside_the_ventral_third_is_refused() -> None:
    spine = sacral_spine()
    # three of its own lengths farther back, the process leaves the whole course ahead of its ventral margin
    for share, words in ((3.0, "of the S1 articular process from its ventral margin"), (0.0, "")):
        moved = tuple(replace(c, neck=c.neck + share * (c.neck[1] - c.neck[0])) if c.nerve is Nerve.L5 else c
                      for c in spine.nerves)
        found = make_targets(replace(spine, nerves=moved), BLOCK, nerves=[Nerve.L5], sides=[Side.LEFT])
        assert bool(found.missing) == bool(words)
        assert not words or words in found.missing[0].reason


def test_a_target_says_nerve_bone_side_and_joints() -> None:
    target = make_targets(lumbar_spine(), BLOCK, nerves=[Nerve.L4], sides=[Side.LEFT]).targets[0]
    assert target.id == "lumbar-medial-branch-block:L4-MB:L5:LEFT"
    assert target.sentence == "L4 medial branch at the L5 transverse process, LEFT (L4/5 and L5/S1 joints)"


def test_joints_give_each_nerve_once() -> None:
    found = make_targets(lumbar_spine(), BLOCK, joints=["L4/5", "L5/S1"], sides=[Side.LEFT])
    asked = [t.nerve for t in found.targets] + [m.nerve for m in found.missing]
    assert asked == [Nerve.L3, Nerve.L4, Nerve.L5]


def test_a_nerve_of_another_region_is_refused_and_a_joints_one_is_named() -> None:
    with pytest.raises(UsageError, match="C5 MB"):
        make_targets(lumbar_spine(), BLOCK, nerves=[Nerve.C5])
    found = make_targets(lumbar_spine(), BLOCK, joints=["T12/L1"], sides=[Side.LEFT])
    assert "no target for T11 MB" in next(m.reason for m in found.missing if m.nerve is Nerve.T11)


def _missing(spine: Spine) -> str:
    found = make_targets(spine, BLOCK, nerves=[Nerve.L4], sides=[Side.LEFT])
    assert not found.targets
    return found.missing[0].reason


def _withheld(spine: Spine, nerve: Nerve) -> str:
    target, = make_targets(spine, BLOCK, nerves=[nerve], sides=[Side.LEFT]).targets
    proposal, = propose(spine, [target], BLOCK)
    assert proposal.status is ProposalStatus.NONE
    assert not proposal.placements
    assert target.confidence == 0.0
    assert proposal.reason == target.withheld
    return target.withheld


def test_every_missing_target_has_its_reason() -> None:
    spine = lumbar_spine()
    assert "could not be named" in _missing(replace(spine, numbering=Numbering(NumberingTier.D,
                                                                             NumberingStatus.RELATIVE)))
    assert "not in view" in _missing(replace(spine, vertebrae=()))
    assert "frame" in _missing(replace(spine, vertebrae=tuple(replace(v, frame=None) for v in spine.vertebrae)))
    assert "junction" in _missing(replace(spine, vertebrae=tuple(replace(v, landmarks={}) for v in spine.vertebrae)))
    assert "mask" in _missing(replace(spine, labels=np.zeros_like(spine.labels)))


def test_a_bone_in_view_without_a_course_is_listed_and_not_aimed_at() -> None:
    spine = lumbar_spine()
    assert "course" in _withheld(replace(spine, nerves=()), Nerve.L4)
    fused = replace(spine, vertebrae=tuple(replace(v, sacralised=(Side.LEFT,)) if v.name == "L5" else v
                                           for v in spine.vertebrae))
    assert "joined to the sacrum" in _withheld(fused, Nerve.L5)
    last, = make_targets(fused, BLOCK, nerves=[Nerve.L4], sides=[Side.LEFT]).targets
    assert last.confidence < 0.6
    assert any("joined to the sacrum" in reason for reason in last.reasons)


def test_the_confidence_is_the_lowest_check_and_says_why() -> None:
    spine = lumbar_spine()
    shaky = tuple(replace(v, confidence=0.7, quality=0.8, touches_edge=False) for v in spine.vertebrae)
    target = make_targets(replace(spine, vertebrae=shaky), BLOCK, nerves=[Nerve.L3]).targets[0]
    assert target.confidence == 0.7
    assert any("0.70" in reason for reason in target.reasons)
    assert any("quality" in reason for reason in target.reasons)
    cut = tuple(replace(v, touches_edge=True) for v in spine.vertebrae)
    target = make_targets(replace(spine, vertebrae=cut), BLOCK, nerves=[Nerve.L3]).targets[0]
    assert target.confidence < 0.6
