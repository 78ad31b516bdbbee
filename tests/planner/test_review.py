"""The plan as a record: states, edits, decisions, undo, two writers, a killed save."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reliability import Reached, kill_saves
from imaging.errors import AlteredError, UsageError
from planner import record as record_module
from planner.document import to_document
from planner.folder import dump, read_folder
from planner.journal import read_journal
from planner.loading import load_plan
from planner.locking import ConflictError
from planner.plan import PlanState, TargetState
from planner.review import Review
from planner.verifying import verify_folder
from segmentation.anatomy import StructureName
from targeting.model import Placement, Rejection, RejectionReason, best_placement
from tests.planner import builders

LEFT = "lumbar-medial-branch-block:L4-MB:L5:LEFT"
RIGHT = "lumbar-medial-branch-block:L4-MB:L5:RIGHT"
OTHER = "lumbar-medial-branch-block:L3-MB:L4:LEFT"
NONE = "lumbar-medial-branch-block:L5-DR:S1:RIGHT"
NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


def ticking(start: datetime = NOW) -> Callable[[], datetime]:
    """A clock that moves one second at every look."""
    ticks = iter(range(10**6))
    return lambda: start + timedelta(seconds=next(ticks))


def opened(folder: Path, start: datetime = NOW) -> Review:
    return Review.open(folder, volume=False, clock=ticking(start))


def moved(review: Review, target_id: str, by: float, clearance: float = 6.0) -> Placement:
    """The shown placement, its tip moved along x."""
    proposal = next(p for p in review.plan.proposals if p.target.id == target_id)
    shown = best_placement(proposal)
    assert shown is not None
    tip = shown.needles[0].tip + np.array([by, 0.0, 0.0])
    pose = builders.pose(tip, proposal.target.side, proposal.target.carrier)
    return replace(shown, needles=(pose,), clearance_mm={**shown.clearance_mm, StructureName.CANAL: clearance},
                   margins_met=clearance >= 5.0)


def on_disk(folder: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((folder / "plan.json").read_bytes())
    return document


def state_on_disk(folder: Path, target_id: str) -> str:
    return next(r["state"] for r in read_folder(folder).plan["reviews"] if r["target_id"] == target_id)


def test_a_new_plan_is_proposed_throughout(folder: Path) -> None:
    review = opened(folder)
    assert review.plan.state is PlanState.PROPOSED
    assert {review.state(p.target.id) for p in review.plan.proposals} == {TargetState.PROPOSED}
    assert [line.words for line in review.history] == ["proposed 5 placements"]
    assert not review.can_undo


def test_an_edit_is_saved_shown_and_read_back_the_same(folder: Path) -> None:
    review = opened(folder)
    review.edit(LEFT, moved(review, LEFT, 1.5), "A. Reader", "physician", "closer to the notch")
    assert review.state(LEFT) is TargetState.EDITED
    assert review.state(RIGHT) is TargetState.PROPOSED
    shown = best_placement(next(p for p in review.plan.proposals if p.target.id == LEFT))
    assert shown is not None
    assert (shown.rank, shown.placed_by) == (2, "A. Reader")
    again = load_plan(folder, volume=False)
    assert dump(to_document(again)) == dump(to_document(review.plan))
    entry = read_journal(folder / "journal.jsonl")[-1]
    assert (entry.who, entry.role, entry.reason) == ("A. Reader", "physician", "closer to the notch")


def test_hands_stand_behind_the_offered_placements_once(folder: Path) -> None:
    review = opened(folder)
    for by in (1.0, 2.0, 3.0):
        review.edit(LEFT, moved(review, LEFT, by), "A. Reader")
    placements = next(p for p in review.plan.proposals if p.target.id == LEFT).placements
    assert [(p.rank, bool(p.placed_by)) for p in placements] == [(1, False), (2, True)]
    review.choose(LEFT, 1, "A. Reader")
    shown = best_placement(next(p for p in review.plan.proposals if p.target.id == LEFT))
    assert shown is not None
    assert shown.rank == 1


def test_an_approval_names_who_when_and_side_and_binds_to_the_content(folder: Path) -> None:
    review = opened(folder)
    review.approve(LEFT, "A. Reader", "physician", "left")
    found = review.review(LEFT)
    assert (found.state, found.who, found.role, found.typed_side) == (
        TargetState.APPROVED, "A. Reader", "physician", "LEFT")
    assert found.when.startswith("2026-02-01T12:00")
    assert len(found.content_sha256) == 64
    assert state_on_disk(folder, LEFT) == "approved"
    assert review.plan.state is PlanState.PROPOSED


@pytest.mark.parametrize("typed", ["right", "", "l", "LEFT RIGHT", "links"])
def test_a_side_that_does_not_match_approves_nothing(folder: Path, typed: str) -> None:
    review = opened(folder)
    before = (folder / "journal.jsonl").read_bytes()
    with pytest.raises(UsageError, match="LEFT"):
        review.approve(LEFT, "A. Reader", typed_side=typed)
    assert (folder / "journal.jsonl").read_bytes() == before


def test_a_plan_is_approved_when_every_placement_is_decided(folder: Path) -> None:
    review = opened(folder)
    for proposal in review.plan.proposals:
        if proposal.placements:
            review.approve(proposal.target.id, "A. Reader", typed_side=proposal.target.side.value)
    assert review.plan.state is PlanState.APPROVED
    assert on_disk(folder)["state"] == "approved"


def test_an_approval_falls_away_on_any_later_edit_and_undo_does_not_bring_it_back(folder: Path) -> None:
    review = opened(folder)
    review.approve(LEFT, "A. Reader", typed_side="LEFT")
    review.approve(RIGHT, "A. Reader", typed_side="RIGHT")
    review.edit(LEFT, moved(review, LEFT, 1.0), "B. Reader")
    assert review.state(LEFT) is TargetState.EDITED
    assert review.review(LEFT).content_sha256 == ""
    assert review.state(RIGHT) is TargetState.APPROVED
    review.undo("B. Reader")
    assert review.state(LEFT) is TargetState.PROPOSED
    review.redo("B. Reader")
    assert review.state(LEFT) is TargetState.EDITED


def test_limits_that_are_not_met_need_a_reason_each(folder: Path) -> None:
    review = opened(folder)
    broken = Rejection(RejectionReason.ANGLE_BAND, None, 40.0, 44.0, 1, "44 degrees oblique, 40 at most")
    review.edit(LEFT, replace(moved(review, LEFT, 1.0, clearance=3.2), broken=(broken,)), "A. Reader")
    assert [limit.name for limit in review.limits(LEFT)] == ["angle_band", "margin:canal"]
    with pytest.raises(UsageError, match=r"angle_band.*margin:canal"):
        review.approve(LEFT, "A. Reader", typed_side="LEFT")
    with pytest.raises(UsageError, match="margin:canal"):
        review.approve(LEFT, "A. Reader", typed_side="LEFT", overrides={"angle_band": "scoliosis", "margin:canal": " "})
    with pytest.raises(UsageError, match="margin:aorta"):
        review.approve(LEFT, "A. Reader", typed_side="LEFT",
                       overrides={"angle_band": "scoliosis", "margin:canal": "post-operative", "margin:aorta": "?"})
    given = {"angle_band": "scoliosis", "margin:canal": "canal mask too wide here"}
    review.approve(LEFT, "A. Reader", typed_side="LEFT", overrides=given)
    assert dict(review.review(LEFT).overrides) == given


def test_margins_that_are_not_known_need_a_reason_and_stay_unknown_in_the_file(folder: Path) -> None:
    review = opened(folder)
    review.edit(LEFT, replace(moved(review, LEFT, 1.0), margins_met=None), "A. Reader")
    assert [(limit.name, limit.sentence) for limit in review.limits(LEFT)] == [
        ("margin", "whether every margin is met is not known")]
    shown = next(p for p in on_disk(folder)["proposals"] if p["target_id"] == LEFT)["placements"]
    assert None in [placement["margins_met"] for placement in shown]
    again = next(p for p in opened(folder).plan.proposals if p.target.id == LEFT)
    assert best_placement(again).margins_met is None
    missing = Rejection(RejectionReason.STRUCTURE_NOT_COMPUTED, "canal", None, None, 1, "canal was not computed")
    review.edit(LEFT, replace(moved(review, LEFT, 2.0), margins_met=None, broken=(missing,)), "A. Reader")
    assert [limit.name for limit in review.limits(LEFT)] == ["structure_not_computed:canal"]


@pytest.mark.parametrize(("days", "limits", "warned"), [(30, [], False), (91, [], True), (366, ["scan_age"], False)])
def test_the_scan_s_age_is_judged_by_the_clock(folder: Path, days: int, limits: list[str], warned: bool) -> None:
    review = opened(folder, datetime(2026, 1, 2, 12, tzinfo=UTC) + timedelta(days=days))
    assert [limit.name for limit in review.limits(LEFT)] == limits
    assert any("older than 90 days" in words for words in review.warnings(LEFT)) is warned
    if limits:
        with pytest.raises(UsageError, match="scan_age"):
            review.approve(LEFT, "A. Reader", typed_side="LEFT")
        review.approve(LEFT, "A. Reader", typed_side="LEFT", overrides={"scan_age": "no change since, seen on X-ray"})
        assert review.state(LEFT) is TargetState.APPROVED


def test_what_cannot_be_decided_is_said(folder: Path) -> None:
    review = opened(folder)
    with pytest.raises(UsageError, match="no placement"):
        review.approve(NONE, "A. Reader", typed_side="RIGHT")
    with pytest.raises(UsageError, match="no target"):
        review.approve("L4", "A. Reader", typed_side="LEFT")
    with pytest.raises(UsageError, match="reason"):
        review.reject(LEFT, "A. Reader", "")
    with pytest.raises(UsageError, match="name"):
        review.approve(LEFT, "  ", typed_side="LEFT")
    with pytest.raises(UsageError, match="software"):
        review.approve(LEFT, "nerveplan", "software", "LEFT")
    with pytest.raises(UsageError, match="undo"):
        review.undo("A. Reader")
    with pytest.raises(UsageError, match="not decided"):
        review.reopen(LEFT, "A. Reader")
    with pytest.raises(UsageError, match="rank 9"):
        review.choose(LEFT, 9, "A. Reader")
    assert len(review.history) == 1


def test_reject_and_reopen(folder: Path) -> None:
    review = opened(folder)
    review.reject(LEFT, "A. Reader", "wrong level", "radiographer")
    assert (review.state(LEFT), review.review(LEFT).reason) == (TargetState.REJECTED, "wrong level")
    review.reopen(LEFT, "B. Reader")
    assert review.state(LEFT) is TargetState.PROPOSED
    assert [line.words for line in review.history[1:]] == ["rejected", "decision taken back"]


def test_a_locked_target_refuses_edits_until_it_is_unlocked(folder: Path) -> None:
    review = opened(folder)
    review.edit(LEFT, moved(review, LEFT, 1.0), "A. Reader")
    review.lock(LEFT, "A. Reader")
    with pytest.raises(UsageError, match="unlock"):
        review.edit(LEFT, moved(review, LEFT, 1.0), "A. Reader")
    with pytest.raises(UsageError, match="unlock"):
        review.undo("A. Reader")
    review.edit(OTHER, moved(review, OTHER, 1.0), "A. Reader")
    review.approve(LEFT, "A. Reader", typed_side="LEFT")
    assert review.review(LEFT).locked
    review.unlock(LEFT, "A. Reader")
    review.edit(LEFT, moved(review, LEFT, 1.0), "A. Reader")


def test_undo_and_redo_walk_the_edits_of_all_targets(folder: Path) -> None:
    review = opened(folder)
    contents = [dump({k: v for k, v in review.document.items() if k not in ("journal", "reviews", "state")})]
    for target_id, by in ((LEFT, 1.0), (RIGHT, -1.0), (LEFT, 2.0)):
        review.edit(target_id, moved(review, target_id, by), "A. Reader")
        contents.append(dump({k: v for k, v in review.document.items() if k not in ("journal", "reviews", "state")}))

    def now() -> bytes:
        return dump({k: v for k, v in review.document.items() if k not in ("journal", "reviews", "state")})

    for wanted in reversed(contents[:-1]):
        review.undo("A. Reader")
        assert now() == wanted
    for wanted in contents[1:]:
        review.redo("A. Reader")
        assert now() == wanted
    review.undo("A. Reader")
    review.edit(OTHER, moved(review, OTHER, 1.0), "A. Reader")
    assert not review.can_redo
    reopened = opened(folder)
    assert reopened.document == review.document
    assert reopened.can_undo


def test_a_second_writer_is_told_and_loses_nothing(folder: Path) -> None:
    first, second = opened(folder), opened(folder)
    first.edit(LEFT, moved(first, LEFT, 1.0), "A. Reader")
    with pytest.raises(ConflictError, match=r"A\. Reader saved"):
        second.approve(LEFT, "B. Reader", typed_side="LEFT")
    second.reload()
    assert second.state(LEFT) is TargetState.EDITED
    second.approve(LEFT, "B. Reader", typed_side="LEFT")
    assert [line.who for line in opened(folder).history[1:]] == ["A. Reader", "B. Reader"]


def test_killed_saves_lose_nothing(folder: Path) -> None:
    killed = kill_saves(folder, 16)
    assert killed.trouble == ()
    assert sum(killed.stages.values()) == 16
    old = killed.stages.get(Reached.BEFORE, 0) + killed.stages.get(Reached.JOURNAL, 0)
    half = killed.stages.get(Reached.BETWEEN, 0) + killed.stages.get(Reached.PLAN, 0)
    assert old >= 1
    assert half >= 1
    assert killed.mended == half


def _edit_many(folder: str, who: str, count: int) -> None:
    review = Review.open(folder, volume=False)
    done = 0
    while done < count:
        try:
            review.edit(LEFT, moved(review, LEFT, 0.5), who, reason=str(done))
            done += 1
        except ConflictError:
            review.reload()


def test_two_processes_editing_lose_nothing(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_edit_many, args=(str(folder), who, 5)) for who in ("A", "B")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    lines = opened(folder).history[1:]
    for who in ("A", "B"):
        assert [line.reason for line in lines if line.who == who] == [str(n) for n in range(5)]


@pytest.mark.parametrize("killed_before", [1, 2])
def test_a_save_that_stops_between_its_files_is_the_old_or_the_new_state(
        folder: Path, killed_before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    review = opened(folder)
    review.edit(LEFT, moved(review, LEFT, 1.0), "A. Reader")
    before, calls, real = review.document, [], record_module.replace_file

    def stop(path: Path, data: bytes, mode: int = 0o644) -> None:
        calls.append(path)
        if len(calls) == killed_before:
            raise KeyboardInterrupt
        real(path, data, mode)

    monkeypatch.setattr(record_module, "replace_file", stop)
    with pytest.raises(KeyboardInterrupt):
        review.edit(RIGHT, moved(review, RIGHT, 1.0), "A. Reader")
    monkeypatch.undo()
    expected = before if killed_before == 1 else None
    checked = verify_folder(folder)
    assert not checked.altered
    assert any("was not written yet" in note for note in checked.notes) is (killed_before == 2)
    assert load_plan(folder, volume=False).state is PlanState.EDITED
    after = opened(folder)
    assert (after.document == before) is (expected is before)
    assert on_disk(folder) == json.loads(dump(after.document))
    assert len(after.history) == (2 if killed_before == 1 else 3)


def test_a_journal_that_is_behind_is_altered(folder: Path) -> None:
    review = opened(folder)
    review.edit(LEFT, moved(review, LEFT, 1.0), "A. Reader")
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(lines[0])
    with pytest.raises(AlteredError, match="removed"):
        opened(folder)


def test_a_forged_state_in_plan_json_is_found(folder: Path) -> None:
    path = folder / "plan.json"
    path.write_bytes(path.read_bytes().replace(b'"state": "proposed"', b'"state": "approved"', 1))
    with pytest.raises(AlteredError, match=r"plan\.json"):
        opened(folder)


def test_the_folder_holds_no_leftovers(folder: Path) -> None:
    names = set(os.listdir(folder))
    review = opened(folder)
    review.edit(LEFT, moved(review, LEFT, 1.0), "A. Reader")
    assert set(os.listdir(folder)) == names
