"""The scripted review session on the phantom: every claim of the one on a real scan, the time of a move aside."""

from __future__ import annotations

from pathlib import Path

from benchmarks.hand import Hand
from benchmarks.session import approve_whole_plan, review_session
from benchmarks.stage import Stage
from planner.folder import read_folder
from tests.viewer.test_window import shoot
from viewer.app import ReviewPanel


def test_a_whole_session_holds_from_opening_to_verifying(window: ReviewPanel, folder: Path) -> None:
    on = Stage(window, Hand(window.viewer.window._qt_window))
    checks = list(review_session(on, folder, moves=12))
    shoot(window, "session")
    window.close_plan()
    assert [check for check in checks if not check.holds and "computes at most" not in check.claim] == []
    states = [entry.body["state"] for entry in read_folder(folder).journal]
    assert states == ["proposed", "edited", "undone", "redone", "undone", "edited", "undone", "edited", "approved",
                      "approved", "approved"]


def test_a_plan_is_approved_in_three_steps_and_a_typed_side_for_each_target(window: ReviewPanel, folder: Path) -> None:
    hand = Hand(window.viewer.window._qt_window)
    check = approve_whole_plan(Stage(window, hand), folder)
    window.close_plan()
    assert check.holds, check.said
    assert (hand.tally.clicks, hand.tally.keys, hand.tally.drags) == (2 * 4, 4, 0), hand.tally
