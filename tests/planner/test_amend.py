"""Edits of the anatomy on the phantom: what follows follows, the rest stays, hands are named, undo brings it back."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from imaging.errors import UsageError
from imaging.geometry import Side, VertebralFrame
from planner.document import to_document
from planner.folder import dump, read_folder
from planner.loading import load_plan
from planner.pipeline import plan_study
from planner.plan import TargetState
from planner.review import Review
from planner.signoff import sign_off
from planner.verifying import verify_folder
from segmentation.anatomy import VERSE_LABEL, LandmarkName, Level, Nerve, StructureName
from targeting.angles import make_pose
from targeting.model import ConfidenceWord, Placement, PlacementKind, Proposal, ProposalStatus, confidence_word
from tests.planner import builders

NAME = "A. Reader"
JUNCTION = LandmarkName("sap_tp_junction_left")


@pytest.fixture
def review(phantom_plan: Path, tmp_path: Path) -> Review:
    place = tmp_path / "case"
    shutil.copytree(phantom_plan, place)
    return Review.open(place, clock=lambda: datetime(2026, 11, 27, tzinfo=UTC))


def of(review: Review, nerve: Nerve, side: Side) -> Proposal:
    return next(p for p in review.plan.proposals if p.target.nerve is nerve and p.target.side is side)


def labels_on_disk(review: Review) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(review.folder / "labels.nii.gz")))


def reads_back_the_same(review: Review) -> bool:
    loaded = load_plan(review.folder, volume=False)
    assert dump(read_folder(review.folder).plan) == (review.folder / "plan.json").read_bytes()
    assert (loaded.spine.labels == review.plan.spine.labels).all()
    return dump(to_document(loaded)) == dump(to_document(review.plan))


def test_a_moved_landmark_moves_its_course_and_target_and_nothing_else(review: Review) -> None:
    before = {(p.target.nerve, p.target.side): p for p in review.plan.proposals}
    review.approve(before[Nerve.L3, Side.RIGHT].target.id, NAME, typed_side="RIGHT",
                   overrides={limit.name: "tested" for limit in review.limits(
                       before[Nerve.L3, Side.RIGHT].target.id)})
    bone = review.plan.spine.vertebra("L5")
    assert bone is not None
    to = bone.landmarks[JUNCTION].position + np.array([0.0, 0.0, 4.0])
    review.move_landmark("L5", JUNCTION, to, NAME, reason="the corner lies higher")
    moved = of(review, Nerve.L4, Side.LEFT)
    assert moved.target.carrier.landmarks[JUNCTION].placed_by == NAME
    old = before[Nerve.L4, Side.LEFT].target
    assert np.linalg.norm(moved.target.course.path[1] - old.course.path[1]) > 1.5
    assert 0.5 < np.linalg.norm(moved.target.position - old.position) < 8
    assert confidence_word(moved.target.confidence) is not ConfidenceWord.HIGH
    assert moved.placements
    for key, was in before.items():
        if key != (Nerve.L4, Side.LEFT):
            # a plan's file keeps micrometres
            np.testing.assert_allclose(of(review, *key).target.position, was.target.position, rtol=0, atol=0.005)
    assert review.state(before[Nerve.L3, Side.RIGHT].target.id) is TargetState.EDITED
    assert f"{JUNCTION.value} of L5 placed by {NAME}" in sign_off(review.plan, moved.target.id).lines
    assert review.history[-1].words.startswith("sap_tp_junction_left of L5 moved by 4.0 mm")
    assert reads_back_the_same(review)


def test_the_column_is_relabelled_in_one_step_and_back(review: Review) -> None:
    before, labels, head = review.document, review.plan.spine.labels.copy(), review.plan.spine
    review.relabel("L5=L4", NAME)
    spine = review.plan.spine
    down = {"L2": "L1", "L3": "L2", "L4": "L3", "L5": "L4", "S1": "S1"}
    assert [v.name for v in spine.vertebrae] == [down[v.name] for v in head.vertebrae]
    now_l4, was_l5 = spine.vertebra("L4"), head.vertebra("L5")
    assert now_l4 is not None
    assert was_l5 is not None
    assert now_l4.label == VERSE_LABEL[Level.L4]
    on_disk = labels_on_disk(review)
    assert ((on_disk == VERSE_LABEL[Level.L4]) == (labels == VERSE_LABEL[Level.L5])).all()
    np.testing.assert_allclose(now_l4.body_center, was_l5.body_center)
    assert {(p.target.nerve, p.target.carrier.name) for p in review.plan.proposals} == {(Nerve.L3, "L4")}
    assert {m.nerve for m in review.plan.missing_targets} == {Nerve.L4}
    assert "L5=L4" in (spine.numbering.statement or "")
    assert reads_back_the_same(review)
    review.undo(NAME)
    assert (labels_on_disk(review) == labels).all()
    parts = ("levels", "landmarks", "targets", "proposals", "numbering", "nerve_courses")
    assert {name: review.document[name] for name in parts} == {name: before[name] for name in parts}
    review.redo(NAME)
    assert (labels_on_disk(review) == on_disk).all()
    again = Review.open(review.folder, volume=False)
    again.undo(NAME)
    assert (labels_on_disk(again) == labels).all()
    assert not verify_folder(review.folder).altered
    review.reload()
    assert (review.plan.spine.labels == labels).all()


def test_a_dropped_vertebra_takes_its_targets_and_stays_bone(review: Review) -> None:
    labels = review.plan.spine.labels
    review.drop_vertebra("L4", NAME, reason="not a vertebra")
    assert review.plan.spine.vertebra("L4") is None
    assert all(p.target.carrier.name != "L4" for p in review.plan.proposals)
    assert any(m.nerve is Nerve.L3 and "L4" in m.reason for m in review.plan.missing_targets)
    assert (review.plan.spine.labels == labels).all()
    assert of(review, Nerve.L4, Side.LEFT).placements
    assert reads_back_the_same(review)


def test_a_target_placed_by_hand_is_searched_and_named(review: Review) -> None:
    was = of(review, Nerve.L4, Side.LEFT)
    review.place_target(Nerve.L4, Side.LEFT, was.target.position + np.array([0.0, 0.0, 1.0]), NAME)
    now = of(review, Nerve.L4, Side.LEFT)
    assert now.target.id == was.target.id
    assert now.target.placed_by == NAME
    assert now.status is not ProposalStatus.NONE or now.rejections
    assert f"placed by {NAME}" in review.warnings(now.target.id) if now.placements else True
    assert reads_back_the_same(review)
    with pytest.raises(UsageError, match="L1, which is not there"):
        review.place_target(Nerve.T12, Side.LEFT, np.zeros(3), NAME)


def test_without_any_bone_a_vertebra_a_landmark_and_a_target_can_be_placed(review: Review) -> None:
    center = np.array([0.0, 0.0, 400.0])
    frame = VertebralFrame.from_axes(np.add(center, (0, 15, 0)), (0, 1, 0), (0, 0.1, 1))
    review.place_vertebra("L1", frame, center, NAME)
    review.move_landmark("L1", JUNCTION, np.add(center, (25, 30, 5)), NAME)
    course = next(c for c in review.plan.spine.nerves if c.carrier == "L1")
    assert course.nerve is Nerve.T12
    assert confidence_word(course.confidence) is ConfidenceWord.LOW
    assert any("no mask of the bone" in reason for reason in course.reasons)
    review.place_target(Nerve.T12, Side.LEFT, np.add(center, (27, 32, 3)), NAME)
    target = of(review, Nerve.T12, Side.LEFT).target
    assert (target.placed_by, target.carrier.placed_by) == (NAME, NAME)
    assert confidence_word(target.confidence) is ConfidenceWord.LOW
    assert reads_back_the_same(review)


def test_on_an_mr_nobody_segmented_a_needle_can_be_placed_and_approved(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(1).integers(0, 900, (40, 60, 50)).astype(np.int16))
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(tmp_path / "t2.nii.gz"))
    plan_study(tmp_path / "t2.nii.gz", tmp_path / "case", report=False)
    review = Review.open(tmp_path / "case", clock=lambda: datetime(2026, 11, 27, tzinfo=UTC))
    assert review.plan.proposals == ()
    center = review.plan.spine.grid.origin + np.array([0.0, 40.0, 40.0])
    frame = VertebralFrame.from_axes(np.add(center, (0, 15, 0)), (0, 1, 0), (0, 0, 1))
    review.place_vertebra("L5", frame, center, NAME)
    review.move_landmark("L5", JUNCTION, np.add(center, (25, 30, 5)), NAME)
    review.place_target(Nerve.L4, Side.LEFT, np.add(center, (25, 30, 3)), NAME)
    proposal = of(review, Nerve.L4, Side.LEFT)
    assert (proposal.status, proposal.reason) == (ProposalStatus.NONE, "needles are planned on CT only")
    pose = make_pose(review.plan.spine, proposal.target, builders.NEEDLE, proposal.target.position,
                     np.array([0.0, -1.0, 0.0]), None)
    canal = StructureName.CANAL
    placement = Placement(1, PlacementKind.STRAIGHT, (pose,), {canal: None}, {canal: "not computed on MR"},
                          {canal: 5.0}, False, (), (), {}, "")
    review.edit(proposal.target.id, placement, NAME)
    placed = of(review, Nerve.L4, Side.LEFT)
    assert placed.status is ProposalStatus.DIRECTION_ONLY
    assert [limit.name for limit in review.limits(placed.target.id)] == ["margin:canal"]
    review.approve(placed.target.id, NAME, typed_side="left", overrides={"margin:canal": "seen on the images"})
    lines = sign_off(review.plan, placed.target.id).lines
    assert {f"{what} placed by {NAME}" for what in ("L5", "target", "needle")} <= set(lines)
    assert reads_back_the_same(review)


def test_without_the_scan_the_anatomy_cannot_be_edited(review: Review) -> None:
    blind = Review.open(review.folder, volume=False)
    with pytest.raises(UsageError, match="--source"):
        blind.drop_vertebra("L4", NAME)
    assert len(blind.history) == 1


def test_a_locked_target_keeps_its_bone(review: Review) -> None:
    target = of(review, Nerve.L4, Side.LEFT).target
    review.lock(target.id, NAME)
    with pytest.raises(UsageError, match="locked"):
        review.drop_vertebra("L5", NAME)
    assert review.plan.spine.vertebra("L5") is not None
