"""Proposals on the phantom: they hold on the masks, move with the patient and yield to what is put in their way."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from imaging.geometry import Side
from imaging.volume import Grid, Volume
from segmentation.anatomy import Nerve, StructureName
from segmentation.spine import Spine
from targeting.clearance import ClearanceMeter
from targeting.constants import Constant, Numbers
from targeting.evaluation import Evaluator
from targeting.fields import build_fields
from targeting.model import PlacementKind, Proposal, ProposalStatus, RejectionReason
from targeting.planning import propose
from targeting.procedures import Procedure, ProcedureKind, load_procedure
from targeting.scene import Scene
from targeting.search import search
from targeting.targets import make_targets
from tests.targeting.builders import (
    lumbar_spine,
    lumbar_volume,
    mirrored,
    moved,
    rotation_about,
    tube,
    with_structure,
)
from tests.targeting.oracle import faults

BLOCK, RF = load_procedure("lumbar-medial-branch-block"), load_procedure("lumbar-medial-branch-rf")
NERVE = Nerve.L2


def _plan(spine: Spine, procedure: Procedure, nerve: Nerve = NERVE, side: Side = Side.LEFT) -> Proposal:
    targets = make_targets(spine, procedure, nerves=[nerve], sides=[side]).targets
    return propose(spine, targets, procedure)[0]


@cache
def _usual(kind: ProcedureKind) -> Proposal:
    return _plan(lumbar_spine(), BLOCK if kind is ProcedureKind.BLOCK else RF)


@pytest.mark.parametrize(("procedure", "nerves"), [
    (BLOCK, [Nerve.L1, Nerve.L2, Nerve.L3]), (RF, [Nerve.L1, Nerve.L2])], ids=["block", "rf"])
def test_every_target_is_proposed_and_holds_on_the_masks(procedure: Procedure, nerves: list[Nerve]) -> None:
    spine = lumbar_spine()
    targets = make_targets(spine, procedure, nerves=nerves).targets
    proposals = propose(spine, targets, procedure)
    assert [p.status for p in proposals] == [ProposalStatus.PROPOSED] * len(targets)
    assert faults(spine, procedure, proposals) == []
    for proposal in proposals:
        for placement in proposal.placements:
            pose = placement.needles[0]
            band = procedure.band(proposal.target.nerve)
            assert band.oblique_limit.low <= pose.oblique_deg <= band.oblique_limit.high
            assert band.tilt_limit.low <= pose.tilt_deg <= band.tilt_limit.high
            assert pose.entry_from_midline_mm > 0
            assert placement.margins_met
            assert set(placement.margins_mm) <= set(procedure.margins)
            assert all((value is None) == (name in placement.clearance_reason)
                       for name, value in placement.clearance_mm.items())
            assert set(placement.objectives) == set(procedure.weights)
            assert all(0 <= value <= 1 for value in placement.objectives.values())
        assert [p.rank for p in proposal.placements] == list(range(1, len(proposal.placements) + 1))
        assert all("safe" not in p.why for p in proposal.placements)


@pytest.mark.parametrize("kind", [ProcedureKind.BLOCK, ProcedureKind.RF])
def test_placements_are_different_choices(kind: ProcedureKind) -> None:
    poses = [p.needles[0] for p in _usual(kind).placements if p.kind is PlacementKind.STRAIGHT]
    assert 2 <= len(poses) <= 5
    for n, a in enumerate(poses):
        for b in poses[:n]:
            angle = np.degrees(np.arccos(np.clip(a.direction @ b.direction, -1, 1)))
            assert angle > 8 or np.linalg.norm(a.entry - b.entry) > 15


def test_the_first_block_placement_comes_from_behind_and_slightly_lateral() -> None:
    pose = _usual(ProcedureKind.BLOCK).placements[0].needles[0]
    assert 0 <= pose.oblique_deg <= 40
    assert -20 <= pose.tilt_deg <= 20
    assert pose.direction[1] < -0.8


def test_an_electrode_lies_along_the_nerve_short_of_the_foramen() -> None:
    proposal = _usual(ProcedureKind.RF)
    course = proposal.target.course
    dense = np.concatenate([np.linspace(a, b, 20) for a, b in zip(course.path[:-1], course.path[1:], strict=True)])
    for placement in proposal.placements:
        pose = placement.needles[0]
        active = pose.tip - np.linspace(0, 10, 60)[:, None] * pose.direction
        assert np.linalg.norm(active[:, None] - dense, axis=2).min() < 2.6
        along = course.neck[1] - course.neck[0]
        assert (pose.tip - course.neck[0]) @ along / (along @ along) >= 0.1 - 1e-6
        assert pose.tilt_deg < -15
        assert "degrees to the nerve" in placement.why


def _same(a: Proposal, b: Proposal, turn: np.ndarray, shift: np.ndarray, tolerance: float) -> None:
    assert a.status is b.status
    assert len(a.placements) == len(b.placements)
    for p, q in zip(a.placements, b.placements, strict=True):
        m, n = p.needles[0], q.needles[0]
        assert n.tip == pytest.approx(turn @ m.tip + shift, abs=tolerance)
        assert n.entry == pytest.approx(turn @ m.entry + shift, abs=tolerance)
        assert (n.oblique_deg, n.tilt_deg) == pytest.approx((m.oblique_deg, m.tilt_deg), abs=0.05)
        assert q.clearance_mm[StructureName.CANAL] == pytest.approx(p.clearance_mm[StructureName.CANAL], abs=tolerance)


@pytest.mark.parametrize("kind", [ProcedureKind.BLOCK, ProcedureKind.RF])
def test_a_mirrored_patient_mirrors_the_plan(kind: ProcedureKind) -> None:
    other = _plan(mirrored(lumbar_spine()), BLOCK if kind is ProcedureKind.BLOCK else RF, side=Side.RIGHT)
    _same(_usual(kind), other, np.diag([-1.0, 1, 1]), np.zeros(3), 0.1)


@pytest.mark.parametrize("kind", [ProcedureKind.BLOCK, ProcedureKind.RF])
def test_a_turned_patient_turns_the_plan(kind: ProcedureKind) -> None:
    turn, shift = rotation_about(np.array([0.4, 0.2, 1.0]), 25.0), np.array([30.0, -12.0, 400.0])
    other = _plan(moved(lumbar_spine(), turn, shift), BLOCK if kind is ProcedureKind.BLOCK else RF)
    _same(_usual(kind), other, turn, shift, 0.1)


def test_the_same_input_gives_the_same_plan() -> None:
    again = _plan(lumbar_spine(), BLOCK)
    for p, q in zip(_usual(ProcedureKind.BLOCK).placements, again.placements, strict=True):
        assert (p.needles[0].tip == q.needles[0].tip).all()
        assert p.clearance_mm == q.clearance_mm
        assert p.why == q.why


def test_an_obstacle_on_the_best_path_moves_the_plan_away() -> None:
    spine, best = lumbar_spine(), _usual(ProcedureKind.BLOCK).placements[0].needles[0]
    middle = best.tip - 30 * best.direction
    mask = tube(spine.grid, *np.add(middle, [(0, 0, -3), (0, 0, 3)]), 4.0)
    blocked = with_structure(spine, StructureName.KIDNEYS, mask)
    proposal = _plan(blocked, BLOCK)
    assert proposal.status is ProposalStatus.PROPOSED
    assert faults(blocked, BLOCK, (proposal,)) == []
    for placement in proposal.placements:
        assert placement.clearance_mm[StructureName.KIDNEYS] >= 10.0
    assert any(r.structure == "kidneys" and r.count > 0 for r in proposal.rejections)


def test_a_grown_structure_never_has_more_clearance() -> None:
    spine = lumbar_spine()
    placement = _usual(ProcedureKind.BLOCK).placements[0]
    grown = np.roll(spine.structures[StructureName.CANAL].mask, 2, axis=2) | spine.structures[StructureName.CANAL].mask
    pose = placement.needles[0]
    wide, _ = ClearanceMeter(with_structure(spine, StructureName.CANAL, grown)).clearances(pose.entry, pose.tip, 0.36)
    assert wide[StructureName.CANAL] <= placement.clearance_mm[StructureName.CANAL] + 1e-9
    thick, _ = ClearanceMeter(spine).clearances(pose.entry, pose.tip, 1.0)
    assert all(thick[n] < v for n, v in placement.clearance_mm.items() if v is not None)


def test_a_wall_around_the_target_gives_none_and_says_what_stands_there() -> None:
    spine = lumbar_spine()
    target = make_targets(spine, BLOCK, nerves=[NERVE], sides=[Side.LEFT]).targets[0]
    k, j, i = np.indices(spine.grid.shape, dtype=np.float32)
    points = np.stack([i, j, k], axis=-1) * spine.grid.spacing.astype(np.float32) + spine.grid.origin
    gap = np.linalg.norm(points - target.position, axis=-1)
    wall = (gap > 14) & (gap < 18)
    proposal = _plan(with_structure(spine, StructureName.AORTA, wall), BLOCK)
    assert proposal.status is ProposalStatus.NONE
    assert not proposal.placements
    margin = next(r for r in proposal.rejections if r.reason is RejectionReason.MARGIN)
    assert (margin.structure, margin.limit) == ("aorta", 10.0)
    assert margin.best < 10.0
    assert "aorta" in proposal.reason


def _with_needle(procedure: Procedure, **changes: object) -> Procedure:
    stock = replace(procedure.needles[0], **changes)
    return replace(procedure, needles=(stock,))


def test_needles_too_short_are_refused_with_the_reach() -> None:
    old = BLOCK.needles[0].lengths
    short = _with_needle(BLOCK, lengths=Numbers((40.0, 50.0), old.unit, old.status, old.source))
    proposal = _plan(lumbar_spine(), short)
    assert proposal.status is ProposalStatus.NONE
    reach = next(r for r in proposal.rejections if r.reason is RejectionReason.REACH)
    assert reach.limit == 35.0
    assert reach.best > 35.0


def test_the_shortest_needle_with_the_reserve_is_chosen() -> None:
    for placement in _usual(ProcedureKind.BLOCK).placements:
        pose = placement.needles[0]
        assert pose.length_mm + 25 <= pose.needle.length_mm
        shorter = [n for n in BLOCK.stock if n.length_mm < pose.needle.length_mm]
        assert all(pose.length_mm + 25 > n.length_mm for n in shorter)


def test_a_thicker_needle_keeps_no_more_paths() -> None:
    old = BLOCK.needles[0].diameter
    thick = _with_needle(BLOCK, diameter=Constant(3.0, old.unit, old.status, old.source))
    proposal = _plan(lumbar_spine(), thick)
    assert faults(lumbar_spine(), thick, (proposal,)) == []
    assert sum(r.count for r in proposal.rejections) >= sum(
        r.count for r in _usual(ProcedureKind.BLOCK).rejections)


@pytest.mark.parametrize("kind", ProcedureKind)
def test_halving_every_step_changes_the_best_by_less_than_a_hundredth(kind: ProcedureKind) -> None:
    spine, procedure = lumbar_spine(), BLOCK if kind is ProcedureKind.BLOCK else RF
    targets = make_targets(spine, procedure, nerves=[NERVE], sides=[Side.LEFT]).targets
    scene, meter = Scene(spine, build_fields(spine, targets, procedure), targets[0], procedure), ClearanceMeter(spine)
    usual, halved = (search(scene, meter, divide=n).finalists[0].total for n in (1, 2))
    assert halved == pytest.approx(usual, rel=0.01)


@pytest.mark.parametrize("kind", [ProcedureKind.BLOCK, ProcedureKind.RF])
def test_no_placement_is_beaten_by_another_in_everything(kind: ProcedureKind) -> None:
    placements = [p for p in _usual(kind).placements if p.kind is PlacementKind.STRAIGHT]
    assert len(placements) > 1
    for one in placements:
        for other in placements:
            ahead = [round(v, 3) - round(other.objectives[n], 3) for n, v in one.objectives.items()]
            assert one is other or min(ahead) < 0 or max(ahead) <= 0


@pytest.mark.parametrize("kind", [ProcedureKind.BLOCK, ProcedureKind.RF])
def test_skin_out_of_view_gives_directions_without_entry_or_length(kind: ProcedureKind) -> None:
    spine = lumbar_spine()
    seen = np.ones(spine.grid.shape, np.bool_)
    target = _usual(kind).target
    y = int(np.linalg.solve(spine.grid.affine[:3, :3], target.position - spine.grid.origin)[1]) + 35
    seen[:, y:] = False
    proposal = _plan(replace(spine, reconstructed=seen, body=spine.body & seen),
                     BLOCK if kind is ProcedureKind.BLOCK else RF)
    assert proposal.status is ProposalStatus.DIRECTION_ONLY
    assert "skin" in proposal.reason
    for placement in proposal.placements:
        pose = placement.needles[0]
        assert (pose.entry, pose.length_mm, pose.entry_from_midline_mm) == (None, None, None)
        assert pose.needle.length_mm is None
        assert not any(f"{stock.shaft_mm:.0f} mm" in pose.needle.name for stock in BLOCK.stock + RF.stock)
        assert "length unknown" in placement.why
        assert placement.clearance_mm[StructureName.CANAL] > 5.0


@pytest.mark.parametrize(("iliac", "status"), [(False, ProposalStatus.NONE), (True, ProposalStatus.DIRECTION_ONLY)])
def test_a_path_that_leaves_the_scan_needs_some_of_what_it_must_not_cross_in_view(
        iliac: bool, status: ProposalStatus) -> None:
    """Rules 36 and 47: only of a path that ends on the skin is it known that the iliac crest is not crossed."""
    spine = lumbar_spine()
    mask = np.zeros(spine.grid.shape, np.bool_)
    mask[0, :3, :3] = iliac
    spine = with_structure(spine, StructureName.ILIAC_BONES, mask)
    assert _plan(spine, BLOCK, Nerve.L4).status is ProposalStatus.PROPOSED
    target = make_targets(spine, BLOCK, nerves=[Nerve.L4]).targets[0]
    seen = np.ones(spine.grid.shape, np.bool_)
    seen[:, int(np.linalg.solve(spine.grid.affine[:3, :3], target.position - spine.grid.origin)[1]) + 35:] = False
    cut = replace(spine, reconstructed=seen, body=spine.body & seen)
    proposal = _plan(cut, BLOCK, Nerve.L4)
    assert proposal.status is status
    if status is ProposalStatus.NONE:
        assert (proposal.rejections[0].reason, proposal.rejections[0].structure) == (
            RejectionReason.STRUCTURE_NOT_COMPUTED, "iliac_bones")
        assert "none of it is in view" in proposal.reason
    assert _plan(cut, BLOCK, Nerve.L3).status is ProposalStatus.DIRECTION_ONLY, "not required there"


def test_what_was_not_computed_blocks_what_requires_it() -> None:
    spine = lumbar_spine()
    for name in (StructureName.CANAL, StructureName.FORAMEN_CONTENTS):
        for mask in (None, np.zeros(spine.grid.shape, np.bool_)):
            proposal = _plan(with_structure(spine, name, mask), BLOCK)
            assert proposal.status is ProposalStatus.NONE
            assert proposal.rejections[0].reason is RejectionReason.STRUCTURE_NOT_COMPUTED
            assert proposal.rejections[0].structure == name.value
    proposal = _plan(replace(spine, body=None), BLOCK)
    assert (proposal.status, proposal.rejections[0].structure) == (ProposalStatus.NONE, "skin")
    proposal = _plan(with_structure(spine, StructureName.ILIAC_BONES, None), BLOCK, Nerve.L4)
    assert proposal.rejections[0].structure == "iliac_bones"
    proposal = _plan(with_structure(spine, StructureName.AORTA, None), BLOCK)
    assert proposal.status is ProposalStatus.PROPOSED
    for placement in proposal.placements:
        assert StructureName.AORTA not in placement.margins_mm
        assert placement.clearance_reason[StructureName.AORTA] == "left out by the test"


def test_a_coarse_mask_widens_its_margin() -> None:
    """A margin of 10 mm to kidneys whose edge may lie 7 mm outside the mask is 17 mm to the mask."""
    spine = lumbar_spine()
    kidneys = spine.structures[StructureName.KIDNEYS]
    coarse = replace(spine, structures={**spine.structures, kidneys.name: replace(kidneys, edge_mm=7.0)})
    sharp, wide = (_plan(s, BLOCK) for s in (spine, coarse))
    assert {p.margins_mm[StructureName.KIDNEYS] for p in sharp.placements} == {10.0}
    assert {p.margins_mm[StructureName.KIDNEYS] for p in wide.placements} == {17.0}
    assert all(p.margins_mm[StructureName.CANAL] == 5.0 for p in wide.placements)
    tip, entry = (getattr(_usual(ProcedureKind.BLOCK).placements[0].needles[0], n) for n in ("tip", "entry"))
    mask = tube(spine.grid, *np.add([tip, entry], (0.0, 0.0, 19.0)), 4.0)
    near = with_structure(spine, kidneys.name, mask)
    near = replace(near, structures={**near.structures, kidneys.name: replace(
        near.structures[kidneys.name], edge_mm=7.0)})
    for placement in _plan(near, BLOCK).placements:
        assert placement.clearance_mm[StructureName.KIDNEYS] >= 17.0


def test_metal_beside_the_target_gives_none() -> None:
    spine = lumbar_spine()
    position = _usual(ProcedureKind.BLOCK).target.position
    mask = tube(spine.grid, *np.add(position, [(0, -4, -12), (0, -4, -8)]), 2.0)
    proposal = _plan(with_structure(spine, StructureName.METAL, mask), BLOCK)
    assert proposal.rejections[0].reason is RejectionReason.METAL_NEARBY
    assert "metal" in proposal.reason


def test_bone_that_only_the_scan_shows_is_not_crossed() -> None:
    spine, volume = lumbar_spine(), lumbar_volume()
    best = _usual(ProcedureKind.BLOCK).placements[0].needles[0]
    middle = best.tip - 30 * best.direction
    plate = tube(spine.grid, *np.add(middle, [(0, 0, -10), (0, 0, 10)]), 3.0)
    scan = replace(volume, array=np.where(plate, 600, volume.array).astype(np.int16))
    targets = make_targets(spine, BLOCK, nerves=[NERVE], sides=[Side.LEFT]).targets
    proposal = propose(spine, targets, BLOCK, volume=scan)[0]
    assert proposal.placements
    for placement in proposal.placements:
        pose = placement.needles[0]
        path = pose.tip - np.arange(0, pose.length_mm, 0.25)[:, None] * pose.direction
        gap = np.linalg.norm(path[:, :2] - middle[:2], axis=1)[np.abs(path[:, 2] - middle[2]) < 10]
        assert not len(gap) or gap.min() > 3.0 + 0.36 - 0.75


def test_progress_is_told_and_targets_keep_their_order() -> None:
    spine, told = lumbar_spine(), []
    targets = make_targets(spine, BLOCK, nerves=[Nerve.L1, Nerve.L2], sides=[Side.LEFT]).targets
    proposals = propose(spine, targets, BLOCK, lambda words, done: told.append((words, done)))
    assert [p.target.id for p in proposals] == [t.id for t in targets]
    assert told[0][1] == 0.0
    assert told[-1][1] == 1.0
    assert [done for _, done in told] == sorted(done for _, done in told)


def test_the_order_of_storage_changes_nothing() -> None:
    spine = lumbar_spine()
    affine = spine.grid.affine.copy()
    nx = spine.grid.shape[2]
    affine[:3, 3] += affine[:3, 0] * (nx - 1)
    affine[:3, 0] *= -1
    permuted = affine[:, [1, 0, 2, 3]]

    def store(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[:, :, ::-1].transpose(0, 2, 1))

    shape = (spine.grid.shape[0], nx, spine.grid.shape[1])
    structures = {name: replace(s, mask=None if s.mask is None else store(s.mask))
                  for name, s in spine.structures.items()}
    other = replace(spine, grid=Grid(shape, permuted), labels=store(spine.labels), structures=structures,
                    body=store(spine.body), reconstructed=store(spine.reconstructed))
    _same(_usual(ProcedureKind.BLOCK), _plan(other, BLOCK), np.eye(3), np.zeros(3), 0.01)


def _in_fat(centre: np.ndarray, radius_mm: float) -> Volume:
    """The phantom's CT with a ball of fat where the masks know bone."""
    volume = lumbar_volume()
    k, j, i = np.indices(volume.grid.shape, dtype=np.float32)
    points = np.stack([i, j, k], axis=-1) * volume.grid.spacing.astype(np.float32) + volume.grid.origin
    hu = volume.array.copy()
    hu[np.linalg.norm(points - centre, axis=-1) <= radius_mm] = -100
    return Volume(hu, volume.grid, modality="CT")


def test_a_tip_on_bone_that_the_scan_does_not_show_is_turned_down() -> None:
    spine, seen = lumbar_spine(), replace(lumbar_volume(), modality="CT")
    target = make_targets(spine, BLOCK, nerves=[NERVE], sides=[Side.LEFT]).targets[0]
    best = propose(spine, [target], BLOCK, volume=seen)[0].placements[0].needles[0]
    false = _in_fat(target.position, 14.0)
    proposal, = propose(spine, [target], BLOCK, volume=false)
    assert proposal.status is ProposalStatus.NONE
    refused = next(r for r in proposal.rejections if r.reason is RejectionReason.BONE_NOT_SEEN)
    assert refused.limit < 4.0 < refused.best <= 15.0
    assert "the scan shows no bone" in refused.sentence
    for volume, told in ((seen, False), (false, True), (_in_fat(best.tip - 5.0 * best.direction, 4.0), False)):
        found = Evaluator(spine, BLOCK, volume, [target]).evaluate(target, best.entry, best.tip)
        assert (RejectionReason.BONE_NOT_SEEN in {b.reason for b in found.placement.broken}) is told


def test_the_first_electrode_is_about_the_likeliest_to_catch_the_nerve() -> None:
    for nerve in (Nerve.L1, Nerve.L2, Nerve.L3):
        placements = [p for p in _plan(lumbar_spine(), RF, nerve).placements if p.kind is PlacementKind.STRAIGHT]
        caught = [next(c.p for c in p.capture if c.placement_sigma_mm == 1.5) for p in placements]
        assert caught[0] >= max(caught) - 0.03
        assert RF.weights["catch"].value + RF.weights["captured"].value >= 0.5 - 1e-9


def test_an_angle_that_no_c_arm_follows_loses_and_is_said() -> None:
    first = _usual(ProcedureKind.RF).placements[0].needles[0]
    limit = abs(first.carm.tilt_deg) - 2.0
    search_rule = replace(RF.search, carm_tilt=replace(RF.search.carm_tilt, value=limit))
    proposal = _plan(lumbar_spine(), replace(RF, search=search_rule))
    beyond = [abs(p.needles[0].carm.tilt_deg) > limit for p in proposal.placements]
    assert not beyond[0]
    for placement, steep in zip(proposal.placements, beyond, strict=True):
        assert ("degrees of C-arm tilt, more than most can" in placement.why) is steep


def test_a_needle_whose_words_name_the_other_side_is_not_proposed() -> None:
    turned = moved(lumbar_spine(), np.diag([-1.0, -1.0, 1.0]), np.zeros(3))
    proposal = _plan(turned, BLOCK)
    assert proposal.status is ProposalStatus.NONE
    assert proposal.placements == ()
    assert "against the target's side (LEFT)" in proposal.reason
    assert proposal.rejections[-1].reason is RejectionReason.ENTRY_SIDE
