"""The edit path: it agrees with the search, and says everything that is wrong with a needle a person placed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from imaging.errors import UsageError
from imaging.geometry import Side, to_index, to_world
from segmentation.anatomy import Nerve, StructureName
from segmentation.spine import NerveCourse, Spine
from targeting.evaluation import Evaluator
from targeting.limits import Limit
from targeting.model import Evaluation, PlacementKind, Proposal, ProposalStatus, RejectionReason, Target
from targeting.planning import propose
from targeting.procedures import Procedure, ProcedureKind, load_procedure
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine, lumbar_volume, tube, with_structure

KINDS = (ProcedureKind.BLOCK, ProcedureKind.RF)
PROCEDURES = {kind: load_procedure(f"lumbar-medial-branch-{kind.value}") for kind in KINDS}
NERVES = [Nerve.L1, Nerve.L2]


@cache
def _evaluator(kind: ProcedureKind) -> Evaluator:
    return Evaluator(lumbar_spine(), PROCEDURES[kind], lumbar_volume())


@cache
def _proposals(kind: ProcedureKind) -> tuple[Proposal, ...]:
    targets = make_targets(lumbar_spine(), PROCEDURES[kind], nerves=NERVES).targets
    return propose(lumbar_spine(), targets, PROCEDURES[kind], volume=lumbar_volume())


def _best(kind: ProcedureKind = ProcedureKind.BLOCK) -> Evaluation:
    proposal = _proposals(kind)[0]
    pose = proposal.placements[0].needles[0]
    return _evaluator(kind).evaluate(proposal.target, pose.entry, pose.tip)


def _reasons(evaluation: Evaluation) -> set[RejectionReason]:
    return {b.reason for b in evaluation.placement.broken}


@pytest.mark.parametrize("kind", KINDS)
def test_each_proposed_placement_is_reproduced_and_breaks_no_limit(kind: ProcedureKind) -> None:
    seen = 0
    for proposal in _proposals(kind):
        for placement in proposal.placements:
            pose = placement.needles[0]
            found = _evaluator(kind).evaluate(proposal.target, pose.entry, pose.tip)
            again = found.placement
            assert found.placement.broken == ()
            assert found.status is ProposalStatus.PROPOSED
            assert again.margins_met
            if placement.kind is PlacementKind.SET:  # its figures are those of both needles together
                continue
            assert set(again.clearance_mm) == set(placement.clearance_mm)
            for name, value in placement.clearance_mm.items():
                assert again.clearance_mm[name] == (None if value is None else pytest.approx(value, abs=1e-6))
            assert again.objectives == pytest.approx(placement.objectives, abs=1e-6)
            assert (again.why, again.capture) == (placement.why, placement.capture)
            assert again.clearance_reason == placement.clearance_reason
            assert again.needles[0].needle == pose.needle
            assert (again.needles[0].oblique_deg, again.needles[0].tilt_deg) == pytest.approx(
                (pose.oblique_deg, pose.tilt_deg), abs=1e-6)
            seen += 1
    assert seen >= 8


def test_a_direction_alone_is_judged_without_entry_and_length() -> None:
    best = _best()
    pose = best.placement.needles[0]
    found = _evaluator(ProcedureKind.BLOCK).evaluate(best.target, None, pose.tip, direction=3.0 * pose.direction)
    assert found.status is ProposalStatus.DIRECTION_ONLY
    assert found.placement.broken == ()
    again = found.placement.needles[0]
    assert (again.entry, again.length_mm, again.entry_above_target_mm) == (None, None, None)
    assert found.placement.clearance_mm[StructureName.CANAL] == pytest.approx(
        best.placement.clearance_mm[StructureName.CANAL], abs=1e-6)


@pytest.mark.parametrize(("value", "words"), [
    (2.6, "2.6 mm off, 2.0 allowed"), (2.03, "2.03 mm off, 2.00 allowed"), (2.004, "2.004 mm off, 2.000 allowed"),
    (2.00001, "2.0 mm off, 2.0 allowed (just missed)")])
def test_a_value_and_the_bound_it_misses_never_read_the_same(value: float, words: str) -> None:
    limit = Limit(RejectionReason.TIP_RULE, 2.0, "{value:.1f} mm off{best}, {bound:.1f} allowed")
    assert limit.sentence(value, best=False) == words
    deep = Limit(RejectionReason.TIP_RULE, 0.0, "{miss:.1f} mm too deep{best}", True)
    assert deep.sentence(-0.02, best=True) == "0.02 mm too deep at best"


def test_the_skin_is_found_where_the_search_found_it() -> None:
    pose = _best().placement.needles[0]
    assert _evaluator(ProcedureKind.BLOCK).entry_of(pose.tip, pose.direction) == pytest.approx(pose.entry, abs=1e-6)


def test_every_broken_limit_is_told_with_its_value() -> None:
    """Through the canal from the other side, hub far outside the skin."""
    target = _best().target
    frame = target.carrier.frame
    across = frame.lateral(target.side)
    entry = target.position - 90 * across + 70 * frame.posterior
    found = _evaluator(ProcedureKind.BLOCK).evaluate(target, entry, target.position - 25 * across)
    reasons = _reasons(found)
    assert {RejectionReason.ANGLE_BAND, RejectionReason.ENTRY_SIDE, RejectionReason.TIP_RULE,
            RejectionReason.MARGIN, RejectionReason.BONE_ON_PATH} <= reasons
    assert found.status is ProposalStatus.NONE
    canal = next(b for b in found.placement.broken if b.structure == "canal")
    assert not found.placement.margins_met
    assert (canal.limit, canal.best) == (5.0, round(found.placement.clearance_mm[StructureName.CANAL], 3))
    assert canal.sentence == f"{canal.best:.1f} mm to the canal, 5.0 mm needed"
    off = next(b for b in found.placement.broken if "from the target" in b.sentence)
    assert (off.limit, off.best) == (2.0, pytest.approx(25.0, abs=0.01))
    assert all("safe" not in b.sentence and "best" not in b.sentence for b in found.placement.broken)


@pytest.mark.parametrize(("shift", "word"), [(20.0, "outside"), (-20.0, "inside")])
def test_an_entry_off_the_skin_is_told(shift: float, word: str) -> None:
    pose = _best().placement.needles[0]
    found = _evaluator(ProcedureKind.BLOCK).evaluate(_best().target, pose.entry - shift * pose.direction, pose.tip)
    assert _reasons(found) == {RejectionReason.ENTRY_OFF_SKIN}
    assert found.placement.broken[0].best == pytest.approx(20.0, abs=0.01)
    assert word in found.placement.broken[0].sentence


def test_a_needle_of_ones_own_is_held_to_its_length_and_width() -> None:
    best = _best()
    pose = best.placement.needles[0]
    thick = replace(pose.needle, diameter_mm=3.0, length_mm=pose.length_mm + 5.0)
    found = _evaluator(ProcedureKind.BLOCK).evaluate(best.target, pose.entry, pose.tip, thick)
    reach = next(b for b in found.placement.broken if b.reason is RejectionReason.REACH)
    assert (reach.limit, reach.best) == pytest.approx((pose.length_mm - 10.0, pose.length_mm), abs=2e-3)
    assert found.placement.needles[0].needle is thick
    for name, value in best.placement.clearance_mm.items():
        if value is not None:
            assert found.placement.clearance_mm[name] == pytest.approx(value - 0.5 * (3.0 - 0.72), abs=1e-6)


def _by_hand(target: Target) -> Target:
    """The same place, but nothing is known of a nerve."""
    junction = target.position
    course = NerveCourse(target.nerve, target.carrier.name, target.side, np.zeros((0, 3)), np.zeros(0),
                         np.tile(junction, (2, 1)), 0.0, ("placed by hand",))
    return replace(target, id="by-hand", nerve=None, nerve_name="placed by hand", course=course)


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_placed_by_hand_has_no_capture_and_says_so(kind: ProcedureKind) -> None:
    best = _best(kind)
    pose = best.placement.needles[0]
    found = _evaluator(kind).evaluate(_by_hand(best.target), pose.entry, pose.tip)
    assert found.placement.capture == ()
    assert "not known" in found.placement.capture_assumptions[0]
    assert found.placement.clearance_mm == pytest.approx(best.placement.clearance_mm)
    assert not {"captured", "parallel"} & set(found.placement.objectives)
    assert found.placement.broken == ()


def test_a_target_far_from_those_known_gets_fields_of_its_own() -> None:
    evaluator = Evaluator(lumbar_spine(), PROCEDURES[ProcedureKind.BLOCK], targets=[])
    best = _best()
    pose = best.placement.needles[0]
    found = evaluator.evaluate(best.target, pose.entry, pose.tip)
    assert found.placement.broken == ()
    assert found.placement.objectives == pytest.approx(best.placement.objectives, abs=0.05)


def _missing(spine: Spine, procedure: Procedure) -> Evaluation:
    best = _best()
    pose = best.placement.needles[0]
    return Evaluator(spine, procedure, targets=[best.target]).evaluate(best.target, pose.entry, pose.tip)


def test_what_was_not_computed_is_null_with_its_reason() -> None:
    procedure = PROCEDURES[ProcedureKind.BLOCK]
    found = _missing(with_structure(lumbar_spine(), StructureName.AORTA, None), procedure)
    assert found.placement.clearance_mm[StructureName.AORTA] is None
    assert found.placement.clearance_reason[StructureName.AORTA] == "left out by the test"
    assert found.placement.broken == ()
    found = _missing(with_structure(lumbar_spine(), StructureName.CANAL, None), procedure)
    assert found.placement.clearance_mm[StructureName.CANAL] is None
    broken = next(b for b in found.placement.broken if b.reason is RejectionReason.STRUCTURE_NOT_COMPUTED)
    assert (broken.structure, broken.limit, broken.best) == ("canal", None, None)


def test_whether_the_margins_hold_is_unknown_while_a_required_structure_is() -> None:
    procedure, best = PROCEDURES[ProcedureKind.BLOCK], _best()
    assert _missing(with_structure(lumbar_spine(), StructureName.AORTA, None), procedure).placement.margins_met is True
    without = with_structure(lumbar_spine(), StructureName.CANAL, None)
    assert _missing(without, procedure).placement.margins_met is None
    pose = best.placement.needles[0]
    assert pose.entry is not None
    rod = with_structure(without, StructureName.AORTA, tube(without.grid, pose.entry, pose.tip, 3.0))
    assert _missing(rod, procedure).placement.margins_met is False


def test_an_end_outside_the_image_is_told_and_leaves_the_margins_unknown() -> None:
    best, evaluator = _best(), _evaluator(ProcedureKind.BLOCK)
    pose, grid = best.placement.needles[0], lumbar_spine().grid
    below = pose.tip - (pose.tip[2] - to_world(grid, [0.0, 0.0, -0.5])[2] + 7.0) * np.array([0.0, 0.0, 1.0])
    found = evaluator.evaluate(best.target, pose.entry, below)
    told = [b for b in found.placement.broken if b.reason is RejectionReason.OUTSIDE_IMAGE]
    assert [(b.best, b.sentence) for b in told] == [
        (7.0, "the tip lies 7.0 mm outside the image: nothing is known there")]
    assert found.status is ProposalStatus.NONE
    assert found.placement.margins_met is not True
    far = pose.entry - 500.0 * pose.direction
    found = evaluator.evaluate(best.target, far, pose.tip)
    assert any("the entry lies" in b.sentence and "outside the image" in b.sentence for b in found.placement.broken)
    assert found.placement.margins_met is None


def test_an_end_where_nothing_was_measured_is_told() -> None:
    best = _best()
    pose, spine = best.placement.needles[0], lumbar_spine()
    index = np.rint(to_index(spine.grid, pose.tip)).astype(int)
    seen = np.ones(spine.grid.shape, np.bool_)
    seen[tuple(slice(n - 1, n + 2) for n in index[::-1])] = False
    found = _missing(replace(spine, reconstructed=seen), PROCEDURES[ProcedureKind.BLOCK])
    assert "the tip lies where the scan measured nothing" in {b.sentence for b in found.placement.broken}


def test_without_a_body_the_skin_is_the_limit_that_breaks() -> None:
    found = _missing(replace(lumbar_spine(), body=None), PROCEDURES[ProcedureKind.BLOCK])
    missing = [b for b in found.placement.broken if b.reason is RejectionReason.STRUCTURE_NOT_COMPUTED]
    assert [b.structure for b in missing] == ["skin"]
    assert found.placement.clearance_mm[StructureName.CANAL] > 5.0


def test_bone_that_only_the_scan_shows_and_metal_are_told() -> None:
    spine, volume, best = lumbar_spine(), lumbar_volume(), _best()
    pose = best.placement.needles[0]
    middle = pose.tip - 30 * pose.direction
    plate = tube(spine.grid, *np.add(middle, [(0, 0, -10), (0, 0, 10)]), 3.0)
    scan = replace(volume, array=np.where(plate, 600, volume.array).astype(np.int16))
    procedure = PROCEDURES[ProcedureKind.BLOCK]
    found = Evaluator(spine, procedure, scan, [best.target]).evaluate(best.target, pose.entry, pose.tip)
    assert _reasons(found) == {RejectionReason.BONE_ON_PATH}
    metal = tube(spine.grid, *np.add(best.target.position, [(0, -4, -12), (0, -4, -8)]), 2.0)
    with_metal = with_structure(spine, StructureName.METAL, metal)
    found = Evaluator(with_metal, procedure, targets=[best.target]).evaluate(best.target, pose.entry, pose.tip)
    assert {RejectionReason.METAL_NEARBY, RejectionReason.MARGIN} <= _reasons(found)


def test_a_tip_on_another_bone_is_told() -> None:
    best, evaluator = _best(), _evaluator(ProcedureKind.BLOCK)
    pose = best.placement.needles[0]
    other = next(v for v in lumbar_spine().vertebrae if v.name == "L4")
    wrong = replace(best.target, carrier=other)
    found = evaluator.evaluate(wrong, pose.entry, pose.tip)
    assert any(b.sentence == "the bone at the tip is not L4" for b in found.placement.broken)


def test_a_target_that_is_withheld_stays_withheld() -> None:
    best = _best()
    pose = best.placement.needles[0]
    held = replace(best.target, withheld="L5 is joined to the sacrum on the LEFT")
    found = _evaluator(ProcedureKind.BLOCK).evaluate(held, pose.entry, pose.tip)
    assert [(b.reason, b.sentence) for b in found.placement.broken] == [(RejectionReason.WITHHELD, held.withheld)]


def test_a_needle_needs_two_points_or_a_direction() -> None:
    best = _best()
    pose, evaluator = best.placement.needles[0], _evaluator(ProcedureKind.BLOCK)
    with pytest.raises(UsageError, match="either"):
        evaluator.evaluate(best.target, None, pose.tip)
    with pytest.raises(UsageError, match="apart"):
        evaluator.evaluate(best.target, pose.tip, pose.tip)
    with pytest.raises(UsageError, match="either"):
        evaluator.evaluate(best.target, pose.entry, pose.tip, direction=pose.direction)
    for lost in (np.nan, np.inf):
        with pytest.raises(UsageError, match="finite"):
            evaluator.evaluate(best.target, pose.entry, np.array([lost, 0.0, 0.0]))


@pytest.mark.parametrize("side", Side)
def test_moving_the_entry_across_the_skin_changes_only_what_it_must(side: Side) -> None:
    """The tip stays, so its distance to the target and its bone stay; the pose follows the entry."""
    proposal = next(p for p in _proposals(ProcedureKind.BLOCK) if p.target.side is side)
    pose = proposal.placements[0].needles[0]
    evaluator, base = _evaluator(ProcedureKind.BLOCK), _best()
    for turn in np.linspace(-0.15, 0.15, 7):
        u = pose.direction + turn * base.target.carrier.frame.superior
        u /= np.linalg.norm(u)
        entry = evaluator.entry_of(pose.tip, u)
        found = evaluator.evaluate(proposal.target, entry, pose.tip)
        assert found.placement.needles[0].direction == pytest.approx(u, abs=1e-9)
        assert found.placement.needles[0].length_mm == pytest.approx(np.linalg.norm(entry - pose.tip))
        assert found.placement.capture == proposal.placements[0].capture


def test_clearances_to_masks_are_no_kinder_than_to_their_meshes() -> None:
    """A mesh from flying edges cuts the voxels' corners: it may stand out of a hollow by a quarter voxel, no more."""
    spine, grid = lumbar_spine(), lumbar_spine().grid
    proposal = _proposals(ProcedureKind.BLOCK)[0]
    for name in (StructureName.CANAL, StructureName.FORAMEN_CONTENTS):
        mask = spine.structures[name].mask
        image = vtk.vtkImageData()
        image.SetDimensions(*mask.shape[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel().astype(np.uint8), deep=True))
        edges = vtk.vtkFlyingEdges3D()
        edges.SetInputData(image)
        edges.SetValue(0, 0.5)
        edges.Update()
        mesh = edges.GetOutput()
        points = to_world(grid, vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64))
        mesh.GetPoints().SetData(numpy_to_vtk(points, deep=True))
        locator = vtk.vtkStaticCellLocator()
        locator.SetDataSet(mesh)
        locator.BuildLocator()
        for placement in proposal.placements:
            pose = placement.needles[0]
            closest, cell, sub, squared = [0.0] * 3, vtk.mutable(0), vtk.mutable(0), vtk.mutable(0.0)
            least = np.inf
            for s in np.arange(0.0, pose.length_mm, 0.25):
                locator.FindClosestPoint(pose.tip - s * pose.direction, closest, cell, sub, squared)
                least = min(least, float(squared.get()) ** 0.5)
            said = placement.clearance_mm[name] + 0.5 * pose.needle.diameter_mm
            assert -0.25 * grid.spacing.max() - 0.02 < least - said < 0.6 * np.linalg.norm(grid.spacing)


def test_what_lies_beyond_measuring_is_said_without_infinity() -> None:
    limit = Limit(RejectionReason.TIP_RULE, 1.0, "the tip lies {value:.1f} mm off the bone{best}, {bound:.1f} allowed")
    broken = limit.broken(np.inf)
    assert broken.sentence == "the tip lies too far off the bone, 1.0 allowed"
    assert broken.best is None
