"""The fold under random histories: approvals hold only for what was approved, locks hold, replaying gives the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.fold import Fold, FoldError, apply, content_sha256, fold
from planner.journal import Entry, canonical, parse_journal, proposed_entry
from planner.plan import TargetState

IDS = ("a", "b")
ANATOMY = ("grid", "numbering", "levels", "landmarks", "landmark_details", "nerve_courses", "masks")


def placement(rank: int, tip: float, by: str = "") -> dict[str, Any]:
    return {"rank": rank, "placed_by": by, "needles": [{"entry": [0, 0, 0], "tip": [tip, 0, 0]}]}


def proposal() -> Entry:
    plan = {"study": {"image_sha256": "ab" * 32}, "findings": [], **{name: {"of": name} for name in ANATOMY},
            "targets": [{"id": name, "side": "LEFT"} for name in IDS],
            "proposals": [{"target_id": name, "status": "proposed", "chosen_rank": None,
                           "placements": [placement(1, 1.0), placement(2, 2.0)]} for name in IDS]}
    return proposed_entry(plan, "2026-11-01T10:00:00+00:00", {})


def body_of(step: tuple[str, str, int], state: Fold) -> dict[str, Any]:
    """The body a reviewer's step would have now."""
    what, target, number = step
    if what in ("placement", "choice", "lock"):
        more: dict[str, Any] = {"placement": {"placement": placement(0, float(number), "A")},
                                "choice": {"rank": number}, "lock": {"locked": bool(number % 2)}}[what]
        return {"state": "edited", "what": what, "target_id": target, **more}
    if what == "landmark":
        return {"state": "edited", "what": what, "words": "moved", "changes": {"landmarks": {"of": number}}}
    if what == "levels":
        return {"state": "edited", "what": what, "words": "relabelled", "changes": {"levels": {"of": number}},
                "renumber": {str(20 + number % 3): 21 + number % 3, str(21 + number % 3): 20 + number % 3}}
    if what == "approved":
        return {"state": what, "target_id": target, "side": "LEFT", "overrides": {}, "image_sha256": "ab" * 32,
                "content_sha256": content_sha256(state.content, target)}
    if what in ("undone", "redone"):
        steps = state.past if what == "undone" else state.future
        return {"state": what, "of": steps[-1].edit if steps else "0" * 64}
    return {"state": what, "target_id": target}


STEPS = st.lists(st.tuples(
    st.sampled_from(("placement", "choice", "lock", "landmark", "levels", "approved", "rejected", "reopened", "undone",
                     "redone")), st.sampled_from(IDS), st.integers(1, 3)), max_size=14)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_invariants_hold_after_any_history(steps: list[tuple[str, str, int]]) -> None:
    state = fold((proposal(),))
    base = canonical(dict(state.content))
    for number, step in enumerate(steps):
        entry = Entry(state.head, body_of(step, state), "A", "", f"2026-11-01T10:00:{number:02d}+00:00", {}, "")
        before = state
        try:
            state = apply(state, entry)
        except FoldError:
            continue
        for name in IDS:
            review = state.reviews[name]
            same = (state.proposal(name) == before.proposal(name)
                    and all(state.content[part] == before.content[part] for part in ANATOMY))
            if review["state"] == TargetState.APPROVED:
                assert review["content_sha256"] == content_sha256(state.content, name)
                assert same
            if before.reviews[name]["locked"]:
                assert same
            if not same:
                assert review["state"] in (TargetState.PROPOSED, TargetState.EDITED)
            if state.proposal(name)["chosen_rank"] is not None:
                ranks = [p["rank"] for p in state.proposal(name)["placements"]]
                assert state.proposal(name)["chosen_rank"] in ranks
    again = fold(parse_journal(b"".join(entry.line for entry in state.entries)))
    assert canonical(again.document()) == canonical(state.document())
    assert again.numbers == state.numbers
    if state.past and not any(review["locked"] for review in state.reviews.values()):
        while state.past:
            state = apply(state, Entry(state.head, body_of(("undone", "a", 1), state), "A", "",
                                       "2026-11-01T11:00:00+00:00", {}, ""))
        assert canonical(dict(state.content)) == base
        assert state.numbers == {}


@pytest.mark.parametrize(("change", "words"), [
    ({"side": "RIGHT"}, "side typed"), ({"content_sha256": "0" * 64}, "another content"),
    ({"image_sha256": "0" * 64}, "other images"), ({"target_id": "c"}, "no target")])
def test_an_approval_that_does_not_fit_cannot_be_replayed(change: dict[str, str], words: str) -> None:
    first = proposal()
    body = {**body_of(("approved", "a", 1), fold((first,))), **change}
    forged = Entry(first.hash, body, "A", "", "2026-11-01T10:00:01+00:00", {}, "")
    with pytest.raises(FoldError, match=rf"entry 2 .*{words}"):
        fold((first, forged))


def test_a_body_that_lacks_its_parts_names_its_entry() -> None:
    first = proposal()
    for body in ({"state": "edited"}, {"state": "edited", "what": "placement", "target_id": "a"},
                 {"state": "edited", "what": "levels", "words": "", "changes": {"study": {}}}, {"state": "proposed"},
                 {"state": "undone", "of": "x"}, {"state": "approved", "target_id": "a"}):
        with pytest.raises(FoldError, match="entry 2"):
            fold((first, Entry(first.hash, body, "A", "", "2026-11-01T10:00:01+00:00", {}, "")))
