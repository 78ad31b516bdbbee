"""What people said, in the report and the tables: names, sides, reasons, hands, and the watermark until approval."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from planner.history import history_of
from planner.journal import Entry, proposed_entry
from planner.plan import WATERMARK, Plan, TargetReview, TargetState
from planner.report import render_report
from planner.signoff import NOT_AN_IDENTITY, sign_off
from tests.planner import builders

APPROVED = TargetReview(TargetState.APPROVED, True, "A. <b>Reader</b>", "physician", "2026-11-03T09:00:00+00:00",
                        "fits the images", "LEFT", (("margin:canal", "mask too wide"),), "ab" * 32)


@pytest.fixture(scope="module")
def reviewed() -> Plan:
    plan = builders.plan()
    ids = [p.target.id for p in plan.proposals]
    by_hand = replace(plan.proposals[1], placements=(replace(plan.proposals[1].placements[0], placed_by="B. Hand"),))
    return replace(plan, proposals=(plan.proposals[0], by_hand, *plan.proposals[2:]), reviews={
        ids[0]: APPROVED, ids[1]: TargetReview(TargetState.EDITED, who="B. Hand", when="2026-11-03T09:01:00+00:00"),
        ids[2]: TargetReview(TargetState.REJECTED, who="C. Reader", when="2026-11-03T09:02:00+00:00",
                             reason="wrong level")})


def test_the_report_says_who_approved_what_and_keeps_the_watermark_on_the_rest(reviewed: Plan) -> None:
    plan = reviewed
    first = proposed_entry({"proposals": []}, "2026-11-01T10:00:00+00:00", {})
    second = Entry(first.hash, {"state": "rejected", "target_id": plan.proposals[2].target.id}, "C. Reader", "",
                   "2026-11-03T09:02:00+00:00", {}, "wrong level")
    page = render_report(plan, "cd" * 32, history=history_of((first, second)), now=datetime(2027, 6, 1, tzinfo=UTC))
    text = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", page)
    assert "APPROVED by A. &lt;b&gt;Reader&lt;/b&gt;" in text
    assert "side typed: LEFT; margin:canal overridden: mask too wide; reason: fits the images" in text
    assert "REJECTED by C. Reader" in text
    assert text.count('<p class="dialline rejected">') == 1
    assert f"EDITED, {WATERMARK}" in text
    assert "needle placed by B. Hand" in text
    assert "older than 365 days" in text
    assert f"rejected, {plan.proposals[2].target.sentence} - C. Reader: wrong level" in text
    assert text.count(NOT_AN_IDENTITY) >= 4
    assert 'class="watermark"' in text


def test_only_an_approved_plan_is_free_of_the_watermark(reviewed: Plan) -> None:
    ids = [p.target.id for p in reviewed.proposals if p.placements]
    assert reviewed.watermark() == WATERMARK
    assert reviewed.watermark(ids[0]) == ""
    assert reviewed.watermark(ids[1]) == WATERMARK
    assert replace(reviewed, reviews=dict.fromkeys(ids, APPROVED)).watermark() == ""
    rejected = dict.fromkeys(ids, TargetReview(TargetState.REJECTED))
    assert replace(reviewed, reviews=rejected).watermark() == WATERMARK


def test_nobody_acted_is_said_by_the_watermark_alone() -> None:
    plan = builders.plan()
    found = sign_off(plan, plan.proposals[0].target.id)
    assert (found.short, found.lines, found.approved) == (WATERMARK, (), False)
