"""Every procedure along a nerve plans on the phantom's truth, holds on the masks and mirrors with the patient."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from imaging.geometry import Side
from segmentation.anatomy import Nerve, StructureName
from segmentation.spine import Spine
from targeting.model import Proposal, ProposalStatus, RejectionReason
from targeting.planning import propose
from targeting.procedures import load_procedure
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine, mirrored, sacral_spine
from tests.targeting.oracle import Voxels, faults

ALONG_THE_NERVE = (
    "l5-dorsal-ramus-block", "l5-dorsal-ramus-rf", "lumbar-medial-branch-block", "lumbar-medial-branch-rf",
    "lumbar-medial-branch-rf-parasagittal", "lumbar-medial-branch-rf-perpendicular", "lumbar-medial-branch-rf-cooled",
    "lumbar-medial-branch-cryoneurolysis", "lumbar-medial-branch-pns-lead")
FLIP = np.array([-1.0, 1.0, 1.0])


def _spine(name: str) -> Spine:
    return sacral_spine() if name.startswith("l5") else lumbar_spine()


def _nerve(name: str) -> Nerve:
    return Nerve.L5 if name.startswith("l5") else Nerve.L2


def _plan(spine: Spine, name: str, side: Side) -> Proposal:
    procedure = load_procedure(name)
    targets = make_targets(spine, procedure, nerves=[_nerve(name)], sides=[side]).targets
    return propose(spine, targets, procedure)[0]


def _nerve_gaps(proposal: Proposal, points: np.ndarray) -> np.ndarray:
    """(n,) distances of points from the modelled nerve, by brute force."""
    path = proposal.target.course.path
    dense = np.concatenate([np.linspace(a, b, 60) for a, b in pairwise(path)])
    return np.asarray(np.linalg.norm(points[:, None] - dense, axis=2).min(axis=1))


@cache
def usual(name: str) -> Proposal:
    """The left target of a procedure."""
    return _plan(_spine(name), name, Side.LEFT)


@pytest.mark.parametrize("name", ALONG_THE_NERVE)
def test_it_is_planned_and_holds_on_the_masks(name: str) -> None:
    proposal, procedure = usual(name), load_procedure(name)
    assert proposal.status is ProposalStatus.PROPOSED
    assert proposal.target.id.startswith(f"{name}:")
    assert faults(_spine(name), procedure, (proposal,)) == []
    band = procedure.band(proposal.target.nerve)
    for placement in proposal.placements:
        for pose in placement.needles:
            assert band.oblique_limit.excess(pose.oblique_deg) < 1e-6
            assert band.tilt_limit.excess(pose.tilt_deg) < 1e-6


@pytest.mark.parametrize("name", ALONG_THE_NERVE)
def test_a_mirrored_patient_mirrors_it(name: str) -> None:
    one, other = usual(name), _plan(mirrored(_spine(name)), name, Side.RIGHT)
    assert len(one.placements) == len(other.placements)
    for p, q in zip(one.placements, other.placements, strict=True):
        assert p.kind is q.kind
        for m, n in zip(p.needles, q.needles, strict=True):
            assert n.tip == pytest.approx(m.tip * FLIP, abs=0.1)
            assert n.entry == pytest.approx(m.entry * FLIP, abs=0.1)
            assert (n.oblique_deg, n.tilt_deg) == pytest.approx((m.oblique_deg, m.tilt_deg), abs=0.05)


def test_the_posterior_half_is_reached_from_farther_below_and_nearer_the_parasagittal_plane() -> None:
    behind = usual("lumbar-medial-branch-rf-parasagittal").placements[0].needles[0]
    middle = usual("lumbar-medial-branch-rf").placements[0].needles[0]
    neck = usual("lumbar-medial-branch-rf").target.course.neck
    along = (neck[1] - neck[0]) / float((neck[1] - neck[0]) @ (neck[1] - neck[0]))
    assert (behind.tip - neck[0]) @ along > (middle.tip - neck[0]) @ along
    assert behind.oblique_deg < middle.oblique_deg
    assert behind.tilt_deg < middle.tilt_deg


def _foramen(name: str) -> Voxels:
    spine = _spine(name)
    return Voxels(spine.structures[StructureName.FORAMEN_CONTENTS].mask, spine.grid)


def test_a_small_cannula_across_the_nerve_touches_it_beside_bone_and_is_flagged() -> None:
    name = "lumbar-medial-branch-rf-perpendicular"
    procedure = load_procedure(name)
    assert "electrode not parallel - nerve may be missed" in procedure.notices
    for placement in usual(name).placements:
        pose = placement.needles[0]
        assert (pose.needle.gauge, pose.needle.active_tip_mm) == (22, 5.0)
        active = pose.tip - np.linspace(0, 5, 41)[:, None] * pose.direction
        assert _nerve_gaps(usual(name), active).min() < 2.1
        heated = pose.tip + np.linspace(-5, 2.1, 60)[:, None] * pose.direction
        assert _foramen(name).signed(heated).min() > 2.1
    assert any("less parallel than the goal of 15 degrees" in p.why for p in usual(name).placements)


def test_a_cooled_lesion_is_centred_on_the_nerve_and_its_heat_keeps_from_the_exiting_nerve() -> None:
    name = "lumbar-medial-branch-rf-cooled"
    electrode, foramen = load_procedure(name).electrode, _foramen(name)
    for placement in usual(name).placements:
        pose = placement.needles[0]
        centre = pose.tip + electrode.lesion_ahead.value * pose.direction
        assert _nerve_gaps(usual(name), centre[None])[0] < electrode.nerve_gap.value + 0.05
        # voxel centres stand for their boxes: half a voxel and the field's interpolation
        assert foramen.signed(centre[None])[0] > electrode.hot_radius.value - foramen.half
        assert "lesion centre" in placement.why


def test_a_wider_heated_zone_leaves_no_cooled_lesion_and_says_why() -> None:
    name = "lumbar-medial-branch-rf-cooled"
    procedure = load_procedure(name)
    electrode = procedure.electrode
    wide = replace(electrode, hot_radius=replace(electrode.hot_radius, value=22.0))
    spine = _spine(name)
    wider = replace(procedure, electrode=wide)
    targets = make_targets(spine, wider, nerves=[_nerve(name)], sides=[Side.LEFT]).targets
    proposal = propose(spine, targets, wider)[0]
    assert proposal.status is ProposalStatus.NONE
    assert "the exiting nerve lies" in proposal.reason
    assert "45 C zone" in proposal.reason


def test_a_cryoprobe_touches_the_nerve_and_rests_on_bone_with_its_surface() -> None:
    name = "lumbar-medial-branch-cryoneurolysis"
    spine, proposal = _spine(name), usual(name)
    carrier = Voxels(spine.labels == proposal.target.carrier.label, spine.grid)
    for placement in proposal.placements:
        pose = placement.needles[0]
        assert _nerve_gaps(proposal, pose.tip[None])[0] <= 1.5 + 0.05
        assert carrier.signed(pose.tip[None])[0] > 0.0
        assert pose.needle.diameter_mm > 2.0


def test_a_lead_s_introducer_ends_beside_the_nerve_within_two_mm_of_bone_and_deep_enough() -> None:
    name = "lumbar-medial-branch-pns-lead"
    spine, proposal, procedure = _spine(name), usual(name), load_procedure(name)
    assert procedure.nerves == (Nerve.L2,)
    assert procedure.tip.depth is not None
    carrier = Voxels(spine.labels == proposal.target.carrier.label, spine.grid)
    for placement in proposal.placements:
        pose = placement.needles[0]
        assert _nerve_gaps(proposal, pose.tip[None])[0] <= 3.0 + 0.05
        assert 0.0 < carrier.signed(pose.tip[None])[0] <= 2.0
        assert pose.length_mm is not None
        assert pose.length_mm >= 20.0
    deeper = replace(procedure, tip=replace(procedure.tip, depth=replace(procedure.tip.depth, value=90.0)))
    targets = make_targets(spine, deeper, sides=[Side.LEFT]).targets
    refused = propose(spine, targets, deeper)[0]
    assert all(n.length_mm >= 90.0 for p in refused.placements for n in p.needles if n.length_mm is not None)
    assert any(r.reason is RejectionReason.TIP_DEPTH and r.best is not None and r.best < 90.0
               for r in refused.rejections)
