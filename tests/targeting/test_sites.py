"""Facet joints, foramina and vertebral bodies on the phantom: each hard limit measured again by brute force."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from imaging.errors import UsageError
from imaging.geometry import Side, to_index
from segmentation.anatomy import LandmarkName, Nerve, StructureName
from segmentation.spine import Numbering, NumberingStatus, NumberingTier, Spine
from targeting.evaluation import Evaluator
from targeting.model import ConfidenceWord, Proposal, ProposalStatus, RejectionReason, confidence_word
from targeting.planning import propose
from targeting.procedures import Procedure, load_procedure
from targeting.procedures.files import procedure_data
from targeting.procedures.schema import parse_procedure
from targeting.procedures.sites import BodyRule
from targeting.sites.body import wall_doubt
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine, lumbar_volume, mirrored, with_structure
from tests.targeting.oracle import Voxels, faults

FACET, BODY = load_procedure("lumbar-facet-joint-injection"), load_procedure("basivertebral-nerve-ablation")
INFERIOR = load_procedure("lumbar-transforaminal-posteroinferior")
SUPERIOR = load_procedure("lumbar-transforaminal-subpedicular")
PROCEDURES = [FACET, BODY, INFERIOR, SUPERIOR]
IDS = ["facet", "body", "inferior", "superior"]
_ASKED = {FACET.name: {"joints": ["L3/4"]}, BODY.name: {"nerves": [Nerve.L4_BVN]},
          INFERIOR.name: {"nerves": [Nerve.L3_SN]}, SUPERIOR.name: {"nerves": [Nerve.L4_SN]}}


def _asked(procedure: Procedure) -> dict[str, list]:
    return _ASKED[procedure.name]


def _plan(spine: Spine, procedure: Procedure, side: Side = Side.LEFT, volume=None) -> Proposal:
    found = make_targets(spine, procedure, sides=[side], volume=volume, **_asked(procedure))
    assert not found.missing
    return propose(spine, found.targets, procedure, volume=volume)[0]


@cache
def _usual(name: str) -> Proposal:
    return _plan(lumbar_spine(), load_procedure(name), volume=lumbar_volume())


def _voxels(spine: Spine, level: str) -> Voxels:
    return Voxels(spine.labels == spine.vertebra(level).label, spine.grid)


@pytest.mark.parametrize("procedure", PROCEDURES, ids=IDS)
def test_it_is_proposed_and_holds_on_the_masks(procedure: Procedure) -> None:
    proposal = _usual(procedure.name)
    assert proposal.status is ProposalStatus.PROPOSED
    found = [f for f in faults(lumbar_spine(), procedure, (proposal,)) if "in L" not in f or procedure is not FACET]
    assert found == []
    target = proposal.target
    assert target.region.excess(target.position[None])[0] == 0.0
    for placement in proposal.placements:
        assert placement.margins_met
        assert target.region.excess(placement.needles[0].tip[None])[0] == 0.0
        assert [c.p for c in placement.capture] == sorted((c.p for c in placement.capture), reverse=True)


def test_a_facet_tip_lies_in_the_joint_and_not_in_the_canal() -> None:
    """Rule 29: between the two processes or within 3 mm of their gap, outside the canal."""
    spine, proposal = lumbar_spine(), _usual(FACET.name)
    upper, lower = _voxels(spine, "L3"), _voxels(spine, "L4")
    canal = Voxels(spine.structures["canal"].mask, spine.grid)
    assert (proposal.target.nerve, proposal.target.carrier.name, proposal.target.joints) == (None, "L4", ("L3/4",))
    assert "L3/4 facet joint" in proposal.target.sentence
    for placement in proposal.placements:
        tip = placement.needles[0].tip[None]
        assert abs(upper.signed(tip)[0] - lower.signed(tip)[0]) <= 3.0 + upper.half
        assert max(upper.signed(tip)[0], lower.signed(tip)[0]) <= 3.0 + upper.half
        assert canal.signed(tip)[0] >= 3.0
        # never deeper in one bone than the mask of a joint's mouth may hold, and in none before the last 3 mm
        pose = placement.needles[0]
        path = pose.tip - np.arange(0.0, pose.length_mm, 0.25)[:, None] * pose.direction
        for bone in (upper, lower):
            gap = bone.signed(path) - pose.needle.diameter_mm / 2
            assert gap.min() >= -FACET.tip.bone_overlap.value - bone.half
            assert gap[12:].min() >= -bone.half


def _first_outside(bone: Voxels, point: np.ndarray, step: np.ndarray) -> float:
    """mm from a point along a direction to where the mask ends, by steps of a quarter millimetre."""
    way = point + np.arange(0.0, 60.0, 0.25)[:, None] * step
    return 0.25 * float(np.argmin(np.append(bone.inside(way), False)))


def _first_inside(bone: Voxels, point: np.ndarray, step: np.ndarray) -> float:
    """mm from a point along a direction to where the mask begins; 60 when it does not."""
    way = point + np.arange(0.0, 60.0, 0.25)[:, None] * step
    return 0.25 * float(np.argmax(np.append(bone.inside(way), True)))


def test_a_basivertebral_tip_and_its_corridor_keep_rule_25() -> None:
    spine, proposal = lumbar_spine(), _usual(BODY.name)
    vertebra, bone, side = spine.vertebra("L4"), _voxels(spine, "L4"), proposal.target.side
    frame, voxel = vertebra.frame, float(np.max(spine.grid.spacing))
    assert proposal.placements[0].may_cross == ("L4",)
    for placement in proposal.placements:
        pose = placement.needles[0]
        lateral, _, _ = frame.to_side(pose.tip, side)
        assert abs(lateral) <= 3.0
        behind, ahead = (_first_outside(bone, pose.tip, s * frame.posterior) for s in (1, -1))
        below, above = (_first_outside(bone, pose.tip, s * frame.superior) for s in (-1, 1))
        slack = voxel / (behind + ahead)
        assert 0.30 - slack <= behind / (behind + ahead) <= 0.50 + slack
        assert 0.35 - voxel / (below + above) <= below / (below + above) <= 0.65 + voxel / (below + above)
        assert behind >= 10.0 - voxel
        assert min(below, above) >= 5.0 - voxel
        # 2 mm of bone beside the needle's surface in the pedicle, toward the midline and the feet
        path = pose.tip - np.arange(0.0, pose.length_mm, 0.5)[:, None] * pose.direction
        isthmus = frame.to_local(vertebra.landmarks[LandmarkName(f"pedicle_center_{side.value.lower()}")].position)[1]
        y = frame.to_local(path)[:, 1]
        points = path[(y >= 0.5) & (y <= isthmus)]
        assert len(points) > 5
        need = pose.needle.diameter_mm / 2 + 2.0 - voxel
        for point in points:
            assert _first_outside(bone, point, -frame.lateral(side)) >= need
            assert _first_outside(bone, point, -frame.superior) >= need


@pytest.mark.parametrize(("procedure", "upper", "lower"), [(INFERIOR, "L3", "L4"), (SUPERIOR, "L4", "L5")],
                         ids=["inferior", "superior"])
def test_a_foraminal_tip_lies_in_its_quadrant_beside_the_nerve(procedure: Procedure, upper: str, lower: str) -> None:
    """Rules 26 and 32: never in the superior half above L4, behind the middle, outside nerve, canal and bone."""
    spine, proposal = lumbar_spine(), _usual(procedure.name)
    side, frame = proposal.target.side, spine.vertebra(upper).frame
    nerve, canal = (Voxels(spine.structures[name].mask, spine.grid) for name in ("foramen_contents", "canal"))
    bones = [_voxels(spine, level) for level in (upper, lower)]
    assert proposal.target.carrier.name == (upper if procedure is SUPERIOR else lower)
    pedicle = spine.vertebra(upper).landmarks[LandmarkName(f"pedicle_center_{side.value.lower()}")].position
    under = pedicle - _first_outside(bones[0], pedicle, -frame.superior) * frame.superior
    floor = under - 1.0 * frame.superior
    floor = floor - _first_inside(bones[1], floor, -frame.superior) * frame.superior
    middle = 0.5 * (frame.to_local(under)[2] + frame.to_local(floor)[2])
    assert 8.0 <= frame.to_local(under)[2] - frame.to_local(floor)[2] <= 30.0
    for placement in proposal.placements:
        tip = placement.needles[0].tip
        above = frame.to_local(tip)[2] - middle
        assert above >= -bones[0].half if procedure is SUPERIOR else above <= bones[0].half
        assert nerve.signed(tip[None])[0] >= 1.0
        assert canal.signed(tip[None])[0] >= 3.0
        assert min(bone.signed(tip[None])[0] for bone in bones) > 0
        # behind the middle between the posterior wall of the bodies and the first bone behind the tip
        to_back = min(_first_inside(bone, tip, frame.posterior) for bone in bones)
        wall = np.interp(-frame.to_local(tip)[2], [0.0, -frame.to_local(spine.vertebra(lower).frame.origin)[2]],
                         [0.0, frame.to_local(spine.vertebra(lower).frame.origin)[1]])
        assert to_back <= frame.to_local(tip)[1] - wall + bones[0].half
        beside = frame.to_side(tip, side)[0] - frame.to_side(pedicle, side)[0]
        assert procedure.site_rule.lateral.low - 1.0 <= beside <= procedure.site_rule.lateral.high + 1.0
        _assert_between_pedicles(spine, lower, side, tip)


@pytest.mark.parametrize("lowered", [0.0, 4.0])
def test_the_upper_third_of_a_facet_joint_is_counted_from_the_tip_of_the_process(lowered: float) -> None:
    """What the masks leave open above the superior articular process is its superior recess, not the joint."""
    spine, name = lumbar_spine(), LandmarkName("sap_tip_left")
    vertebrae = []
    for v in spine.vertebrae:
        marks = dict(v.landmarks)
        if v.name == "L4":
            marks[name] = replace(marks[name], position=marks[name].position - lowered * v.frame.superior)
        vertebrae.append(replace(v, landmarks=marks))
    spine = replace(spine, vertebrae=tuple(vertebrae))
    target, = make_targets(spine, FACET, joints=["L3/4"], sides=[Side.LEFT], volume=lumbar_volume()).targets
    frame, region = spine.vertebra("L4").frame, target.region
    heights = frame.to_local(region.aims)[:, 2]
    summit = frame.to_local(spine.vertebra("L4").landmarks[name].position)[2]
    inside = np.array([place.startswith("posterior") for place in region.places])
    assert inside.any()
    below = FACET.site_rule.superior_share.value * (summit - heights[inside].min())
    assert heights[inside].max() <= summit - below + 0.5


def _assert_between_pedicles(spine: Spine, level: str, side: Side, tip: np.ndarray) -> None:
    """Above the upper edge of the lower pedicle, and not lateral of its border by more than a voxel and the rule."""
    bone, vertebra = _voxels(spine, level), spine.vertebra(level)
    pedicle = vertebra.landmarks[LandmarkName(f"pedicle_center_{side.value.lower()}")].position
    edge = _first_outside(bone, pedicle, vertebra.frame.superior)
    inward = _first_outside(bone, pedicle, -vertebra.frame.lateral(side))
    away = vertebra.frame.to_side(tip, side) - vertebra.frame.to_side(pedicle, side)
    assert away[2] >= edge - bone.half
    assert away[0] <= inward + INFERIOR.site_rule.pedicle_beyond.value + 2.0 * bone.half


@pytest.mark.parametrize("level", ["L3", "L4"])
def test_a_pedicle_found_in_two_places_leaves_its_foramen_alone(level: str) -> None:
    """The isthmus of the bone and the landmark must be one; whichever of the two pedicles it is."""
    spine, name = lumbar_spine(), LandmarkName("pedicle_center_left")
    for shift, told in ((1.0, False), (4.5, True)):
        vertebrae = []
        for v in spine.vertebrae:
            marks = dict(v.landmarks)
            if v.name == level:
                marks[name] = replace(marks[name], position=marks[name].position + shift * v.frame.left)
            vertebrae.append(replace(v, landmarks=marks))
        found = make_targets(replace(spine, vertebrae=tuple(vertebrae)), INFERIOR, nerves=[Nerve.L3_SN],
                             sides=[Side.LEFT])
        assert bool(found.missing) is told
        assert not told or f"the LEFT pedicle of {level} is not certain" in found.missing[0].reason


def test_the_superior_half_is_refused_above_l4() -> None:
    """Rule 26, whatever a file says."""
    data = procedure_data(SUPERIOR.name)
    with pytest.raises(ValueError, match=r"superior half .* L3 SN"):
        parse_procedure({**data, "nerves": ["L3 SN", "L4 SN"]})
    assert {n.value for n in SUPERIOR.nerves} == {"L4 SN", "L5 SN"}
    assert "vascular warning" in SUPERIOR.notices[0]
    with pytest.raises(UsageError):
        make_targets(lumbar_spine(), SUPERIOR, nerves=[Nerve.L3_SN])
    spine, target = lumbar_spine(), make_targets(lumbar_spine(), INFERIOR, nerves=[Nerve.L3_SN]).targets[0]
    pedicle = spine.vertebra("L3").landmarks[LandmarkName("pedicle_center_left")].position
    under = pedicle - 9.0 * spine.vertebra("L3").frame.superior
    found = Evaluator(spine, INFERIOR, None, [target]).evaluate(
        target, None, under, direction=-spine.vertebra("L3").frame.posterior)
    assert found.status is ProposalStatus.NONE
    assert any("outside the posteroinferior quadrant" in b.sentence for b in found.placement.broken)


def test_a_foramen_without_its_nerve_is_not_aimed_at() -> None:
    spine = lumbar_spine()
    assert "was not computed" in _reason(with_structure(spine, StructureName.FORAMEN_CONTENTS, None), INFERIOR)
    none = np.zeros(spine.grid.shape, np.bool_)
    assert "no spinal nerve" in _reason(with_structure(spine, StructureName.FORAMEN_CONTENTS, none), INFERIOR)


@pytest.mark.parametrize("procedure", PROCEDURES, ids=IDS)
def test_a_mirrored_patient_mirrors_the_plan(procedure: Procedure) -> None:
    spine = lumbar_spine()
    here = _plan(spine, procedure)
    there = _plan(mirrored(spine), procedure, Side.RIGHT)
    flip = np.diag([-1.0, 1.0, 1.0])
    assert there.target.position == pytest.approx(flip @ here.target.position, abs=0.1)
    assert len(here.placements) == len(there.placements) > 0
    for a, b in zip(here.placements, there.placements, strict=True):
        assert b.needles[0].tip == pytest.approx(flip @ a.needles[0].tip, abs=0.2)
        assert b.needles[0].oblique_deg == pytest.approx(a.needles[0].oblique_deg, abs=0.2)


def _reason(spine: Spine, procedure: Procedure) -> str:
    found = make_targets(spine, procedure, sides=[Side.LEFT], **_asked(procedure))
    assert not found.targets
    return found.missing[0].reason


@pytest.mark.parametrize("procedure", PROCEDURES, ids=IDS)
def test_anatomy_that_cannot_be_established_is_said(procedure: Procedure) -> None:
    spine = lumbar_spine()
    assert "could not be named" in _reason(replace(spine, numbering=Numbering(
        NumberingTier.D, NumberingStatus.RELATIVE)), procedure)
    assert "not in view" in _reason(replace(spine, vertebrae=()), procedure)
    cut = tuple(replace(v, frame=None) for v in spine.vertebrae)
    assert "frame" in _reason(replace(spine, vertebrae=cut), procedure)
    bare = tuple(replace(v, landmarks={}) for v in spine.vertebrae)
    assert "not found" in _reason(replace(spine, vertebrae=bare), procedure)
    assert "empty" in _reason(replace(spine, labels=np.zeros_like(spine.labels)), procedure)


def test_processes_that_do_not_meet_make_no_joint() -> None:
    spine = lumbar_spine()
    labels, upper = spine.labels.copy(), spine.vertebra("L3")
    k, j, i = np.nonzero(labels == upper.label)
    local = upper.frame.to_local(np.stack([i, j, k], axis=1) @ spine.grid.affine[:3, :3].T + spine.grid.origin)
    away = local[:, 2] < -14.0
    labels[k[away], j[away], i[away]] = 0
    assert "no joint" in _reason(replace(spine, labels=labels), FACET) or "joint space" in _reason(
        replace(spine, labels=labels), FACET)


def test_a_thin_pedicle_leaves_no_path_and_says_so() -> None:
    spine = lumbar_spine()
    vertebra = spine.vertebra("L4")
    labels = spine.labels.copy()
    k, j, i = np.nonzero(labels == vertebra.label)
    world = np.stack([i, j, k], axis=1) @ spine.grid.affine[:3, :3].T + spine.grid.origin
    local = vertebra.frame.to_side(world, Side.LEFT)
    centre = vertebra.frame.to_side(vertebra.landmarks[LandmarkName.PEDICLE_CENTER_LEFT].position, Side.LEFT)
    about = (local[:, 1] > 1.0) & (local[:, 1] < 9.0) & (local[:, 0] > 5.0)
    thin = about & (np.hypot(local[:, 0] - centre[0], local[:, 2] - centre[2]) > 3.0)
    labels[k[thin], j[thin], i[thin]] = 0
    proposal = _plan(replace(spine, labels=labels), BODY)
    assert proposal.status is ProposalStatus.NONE
    corridor = [r for r in proposal.rejections if r.reason is RejectionReason.CORRIDOR]
    assert corridor
    assert "pedicle" in proposal.reason


def test_a_medial_wall_thinner_than_two_voxels_caps_the_confidence() -> None:
    """The same needle on the same bone: sure with voxels that show the wall, MEDIUM with coarse ones."""
    proposal = _usual(BODY.name)
    pose, rule = proposal.placements[0].needles[0], BODY.site_rule
    assert isinstance(rule, BodyRule)
    assert proposal.target.confidence > 0.9

    def doubt(voxel_mm: float):
        return wall_doubt(proposal.target, rule, pose.tip, pose.direction, pose.length_mm,
                          0.5 * pose.needle.diameter_mm, voxel_mm)

    corridor = proposal.target.region.corridor
    left = corridor.margins(pose.tip[None], pose.direction[None], pose.length_mm)[0, 0] - 0.5 * pose.needle.diameter_mm
    assert doubt(0.49 * left) is None
    confidence, words = doubt(0.51 * left)
    assert confidence_word(confidence) is ConfidenceWord.MEDIUM
    assert "medial wall" in words


def test_the_sacrum_has_no_pedicle_to_go_through() -> None:
    found = make_targets(lumbar_spine(), BODY, nerves=[Nerve.S1_BVN], sides=[Side.LEFT])
    assert not found.targets
    assert (found.missing[0].name, found.missing[0].carrier) == ("S1 BVN", "S1")


def test_what_a_procedure_does_not_aim_at_is_refused_with_what_it_does() -> None:
    with pytest.raises(UsageError, match="--joint with one of"):
        make_targets(lumbar_spine(), FACET, nerves=[Nerve.L4])
    with pytest.raises(UsageError, match=r"--nerve with one of L3 BVN"):
        make_targets(lumbar_spine(), BODY, joints=["L4/5"])
    with pytest.raises(UsageError, match="C5/6"):
        make_targets(lumbar_spine(), FACET, joints=["C5/6"])


@pytest.mark.parametrize("procedure", PROCEDURES, ids=IDS)
def test_one_needle_is_judged_by_the_same_limits(procedure: Procedure) -> None:
    proposal = _usual(procedure.name)
    pose = proposal.placements[0].needles[0]
    evaluator = Evaluator(lumbar_spine(), procedure, lumbar_volume(), [proposal.target])
    kept = evaluator.evaluate(proposal.target, pose.entry, pose.tip, pose.needle)
    assert kept.status is ProposalStatus.PROPOSED, kept.placement.broken
    # a plan read back from its folder holds no space: it is found again
    bare = replace(proposal.target, region=None)
    again = evaluator.evaluate(bare, pose.entry, pose.tip, pose.needle)
    assert again.status is ProposalStatus.PROPOSED
    off = evaluator.evaluate(proposal.target, pose.entry, pose.tip - 12.0 * pose.direction, pose.needle)
    assert off.status is ProposalStatus.NONE
    assert any("outside" in b.sentence for b in off.placement.broken)


def test_the_region_ends_where_its_lattice_says() -> None:
    region = _usual(FACET.name).target.region
    assert (region.excess(region.aims) == 0.0).all()
    index = to_index(region.grid, region.aims)
    inside = np.rint(index).astype(int)
    assert (region.outside[inside[:, 2], inside[:, 1], inside[:, 0]] == 0.0).all()
    assert (region.excess(region.aims + 40.0) > 0.0).all()
