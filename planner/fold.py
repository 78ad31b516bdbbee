"""The plan as it stands: the fold of its journal, entry by entry.

Pure functions over documents. Content is what a plan says (`planner.document` without ``state``, ``reviews`` and
``journal``); a review is what people said about one target. An edit of the content undoes the decision on every target
it touches; undo and redo move through contents and never bring a decision back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from planner.journal import EditKind, Entry, EntryKind, canonical, head_of
from planner.plan import TargetState, overall_state

__all__ = ["REPLACEABLE", "Fold", "FoldError", "apply", "content_sha256", "fold"]

Document = Mapping[str, Any]

#: What every target's approval is bound to, beside its own target and proposal.
_ANATOMY = ("study", "grid", "numbering", "levels", "landmarks", "landmark_details", "nerve_courses", "masks")
#: The parts of a plan that an edit of the anatomy may replace.
REPLACEABLE = ("findings", "numbering", "levels", "landmarks", "landmark_details", "nerve_courses", "targets",
               "missing_targets", "proposals", "request")
_BESIDE = ("state", "reviews", "journal")


class FoldError(ValueError):
    """An entry that cannot follow the ones before it; the message says why."""


@dataclass(frozen=True, eq=False)
class _Step:
    """A content that undo or redo can bring back, and the hash of the edit between it and the present one."""

    content: Document
    edit: str
    numbers: Mapping[int, int]


@dataclass(frozen=True, eq=False)
class Fold:
    """A plan after some entries.

    Attributes
    ----------
    content, base : mapping
        The plan's content now, and as it was proposed.
    reviews : mapping of target id to review document
    past, future : tuple
        What undo and redo would bring back, nearest last.
    numbers : mapping
        Values of the label map as it was proposed, to what they are now, where they differ.
    files : mapping of file name to tuple of SHA-256
        Every hash recorded for a file of the folder, oldest first.
    drawn_at : int
        Number of entries that the last drawn report shows.
    """

    entries: tuple[Entry, ...]
    content: Document
    base: Document
    reviews: Mapping[str, Document]
    past: tuple[_Step, ...] = ()
    future: tuple[_Step, ...] = ()
    numbers: Mapping[int, int] = field(default_factory=dict)
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drawn_at: int = 1

    @property
    def head(self) -> str:
        """The hash the next entry must carry as ``prev``."""
        return self.entries[-1].hash

    def document(self) -> dict[str, Any]:
        """The whole of ``plan.json``."""
        states = [TargetState(self.reviews[p["target_id"]]["state"]) for p in self.content["proposals"]
                  if p["placements"]]
        return {**self.content, "state": overall_state(states).value,
                "reviews": [dict(self.reviews[p["target_id"]]) for p in self.content["proposals"]],
                "journal": {"length": len(self.entries), "head": head_of(self.entries)}}

    def target(self, target_id: str) -> Document:
        """One target's document."""
        return _of(self.content, "targets", "id", target_id)

    def proposal(self, target_id: str) -> Document:
        """One target's proposal."""
        return _of(self.content, "proposals", "target_id", target_id)


def _find(content: Document, part: str, key: str, target_id: str) -> Document | None:
    return next((entry for entry in content[part] if entry[key] == target_id), None)


def _of(content: Document, part: str, key: str, target_id: str) -> Document:
    found = _find(content, part, key, target_id)
    if found is None:
        raise FoldError(f"there is no target '{target_id}' in this plan")
    return found


def _fresh(target_id: str) -> dict[str, Any]:
    return {"target_id": target_id, "state": TargetState.PROPOSED.value, "locked": False, "who": "", "role": "",
            "when": "", "reason": "", "typed_side": "", "overrides": {}, "content_sha256": ""}


def content_sha256(content: Document, target_id: str) -> str:
    """What an approval is bound to: the target, its proposal with the chosen placement, all anatomy, the images."""
    bound = {name: content[name] for name in _ANATOMY}
    bound["target"] = _of(content, "targets", "id", target_id)
    bound["proposal"] = _of(content, "proposals", "target_id", target_id)
    return hashlib.sha256(canonical(bound)).hexdigest()


def _signed_off(entry: Entry, review: Document, state: TargetState, **more: Any) -> dict[str, Any]:
    """A review with this entry's people and words; what belonged to an older decision goes."""
    return {**review, "state": state.value, "who": entry.who, "role": entry.role, "when": entry.when,
            "reason": entry.reason, "typed_side": "", "overrides": {}, "content_sha256": "", **more}


def _same(a: Document, b: Document, target_id: str) -> bool:
    """Whether a target, its proposal and the anatomy below are the same in two contents."""
    return (_find(a, "targets", "id", target_id) == _find(b, "targets", "id", target_id)
            and _find(a, "proposals", "target_id", target_id) == _find(b, "proposals", "target_id", target_id)
            and all(a[name] == b[name] for name in _ANATOMY))


def _moved(state: Fold, entry: Entry, content: Document, numbers: Mapping[int, int], past: tuple[_Step, ...],
           future: tuple[_Step, ...]) -> Fold:
    """The fold with another content: decisions on what changed fall away, locked targets may not change."""
    reviews = {}
    for proposal in content["proposals"]:
        name = proposal["target_id"]
        review = state.reviews.get(name, _fresh(name))
        if _same(state.content, content, name):
            reviews[name] = review
        elif review["locked"]:
            raise FoldError(f"{name} is locked; unlock it first")
        elif _same(state.base, content, name):
            reviews[name] = _fresh(name)
        else:
            reviews[name] = _signed_off(entry, review, TargetState.EDITED)
    gone = [name for name, review in state.reviews.items() if review["locked"] and name not in reviews]
    if gone:
        raise FoldError(f"{gone[0]} is locked; unlock it first")
    return replace(state, content=content, numbers=numbers, reviews=reviews, past=past, future=future)


def _renumbered(numbers: Mapping[int, int], change: Document) -> dict[int, int]:
    """Proposed value to present value after one more change of the label map."""
    turn = {int(a): int(b) for a, b in change.items()}
    if len(set(turn.values())) != len(turn):
        raise FoldError("two bones would take the same value of the label map")
    everything = {**{a: b for a, b in turn.items() if a not in numbers.values()},
                  **{a: turn.get(b, b) for a, b in numbers.items()}}
    return {a: b for a, b in everything.items() if a != b}


def _with_proposal(content: Document, proposal: Document) -> dict[str, Any]:
    return {**content, "proposals": [proposal if p["target_id"] == proposal["target_id"] else p
                                     for p in content["proposals"]]}


def _edit(state: Fold, entry: Entry) -> Fold:
    body, kind = entry.body, EditKind(entry.body["what"])
    if kind is EditKind.LOCK:
        review = state.reviews.get(body["target_id"])
        if review is None:
            raise FoldError(f"there is no target '{body['target_id']}' in this plan")
        return replace(state, reviews={**state.reviews, body["target_id"]: {**review, "locked": body["locked"]}})
    content = _EDITS.get(kind, _anatomy)(state, body)
    if content == state.content:
        raise FoldError("that changes nothing")
    past = (*state.past, _Step(state.content, entry.hash, state.numbers))
    return _moved(state, entry, content, _renumbered(state.numbers, body.get("renumber", {})), past, ())


def _placement(state: Fold, body: Document) -> Document:
    """A needle placed by hand stands behind the offered ones, one per target, and is the chosen one."""
    proposal = state.proposal(body["target_id"])
    offered = [p for p in proposal["placements"] if not p["placed_by"]]
    rank = max((p["rank"] for p in offered), default=0) + 1
    mine = {**body["placement"], "rank": rank}
    status = "proposed" if mine["needles"][0]["entry"] is not None else "direction_only"
    return _with_proposal(state.content, {**proposal, "placements": [*offered, mine], "chosen_rank": rank,
                                          "status": status if not offered else proposal["status"]})


def _choice(state: Fold, body: Document) -> Document:
    proposal = state.proposal(body["target_id"])
    if body["rank"] not in [p["rank"] for p in proposal["placements"]]:
        raise FoldError(f"{body['target_id']} has no placement of rank {body['rank']}")
    return _with_proposal(state.content, {**proposal, "chosen_rank": body["rank"]})


def _anatomy(state: Fold, body: Document) -> Document:
    stray = set(body["changes"]) - set(REPLACEABLE)
    if stray:
        raise FoldError(f"an edit of the anatomy may not replace {', '.join(sorted(stray))}")
    return {**state.content, **body["changes"]}


_EDITS: dict[EditKind, Callable[[Fold, Document], Document]] = {
    EditKind.PLACEMENT: _placement, EditKind.CHOICE: _choice}


def _approve(state: Fold, entry: Entry) -> Fold:
    body, name = entry.body, entry.body["target_id"]
    target, proposal = state.target(name), state.proposal(name)
    if not proposal["placements"]:
        raise FoldError(f"{name} has no placement to approve")
    if body["side"] != target["side"]:
        raise FoldError(f"the side typed is {body['side']}, the target lies on the {target['side']}")
    if body["image_sha256"] != state.content["study"]["image_sha256"]:
        raise FoldError("the approval is bound to other images")
    if body["content_sha256"] != content_sha256(state.content, name):
        raise FoldError("the approval is bound to another content of the target")
    review = _signed_off(entry, state.reviews[name], TargetState.APPROVED, typed_side=body["side"],
                         overrides=dict(body["overrides"]), content_sha256=body["content_sha256"])
    return replace(state, reviews={**state.reviews, name: review})


def _decide(state: Fold, entry: Entry) -> Fold:
    """Rejected, or reopened to what its content says."""
    name = entry.body["target_id"]
    state.target(name)
    review = state.reviews[name]
    if entry.kind is EntryKind.REJECTED:
        return replace(state, reviews={**state.reviews, name: _signed_off(entry, review, TargetState.REJECTED)})
    if review["state"] not in (TargetState.APPROVED.value, TargetState.REJECTED.value):
        raise FoldError(f"{name} is not decided: there is nothing to reopen")
    untouched = _same(state.base, state.content, name)
    after = _signed_off(entry, review, TargetState.PROPOSED if untouched else TargetState.EDITED)
    return replace(state, reviews={**state.reviews, name: after})


def _undo(state: Fold, entry: Entry) -> Fold:
    back, forth = (state.past, state.future) if entry.kind is EntryKind.UNDONE else (state.future, state.past)
    if not back:
        raise FoldError(f"there is nothing to {'undo' if entry.kind is EntryKind.UNDONE else 'redo'}")
    step = back[-1]
    if entry.body["of"] != step.edit:
        raise FoldError("another edit is the next to take back")
    left = (*forth, _Step(state.content, step.edit, state.numbers))
    past, future = (back[:-1], left) if entry.kind is EntryKind.UNDONE else (left, back[:-1])
    return _moved(state, entry, step.content, step.numbers, past, future)


def _recorded(files: Mapping[str, tuple[str, ...]], body: Document) -> dict[str, tuple[str, ...]]:
    new = {**body.get("files", {}), **body.get("record", {})}
    return {**files, **{name: (*files.get(name, ()), sha256) for name, sha256 in new.items()}}


def _propose(entry: Entry) -> Fold:
    if entry.kind is not EntryKind.PROPOSED:
        raise FoldError("a journal begins with the proposal")
    content = {name: value for name, value in entry.body["plan"].items() if name not in _BESIDE}
    reviews = {p["target_id"]: _fresh(p["target_id"]) for p in content["proposals"]}
    return Fold((entry,), content, content, reviews, files=_recorded({}, entry.body))


def _render(state: Fold, entry: Entry) -> Fold:
    return replace(state, drawn_at=len(state.entries) + 1)


_STEPS: dict[EntryKind, Callable[[Fold, Entry], Fold]] = {
    EntryKind.EDITED: _edit, EntryKind.APPROVED: _approve, EntryKind.REJECTED: _decide, EntryKind.REOPENED: _decide,
    EntryKind.UNDONE: _undo, EntryKind.REDONE: _undo, EntryKind.RENDERED: _render}


def apply(state: Fold, entry: Entry) -> Fold:
    """The plan after one more entry.

    Raises
    ------
    FoldError
        The entry cannot follow: an unknown or locked target, a side that does not match, nothing to undo.
    """
    if entry.prev != state.head:
        raise FoldError("the entry does not follow the last one")
    if entry.kind not in _STEPS:
        raise FoldError("a plan is proposed once")
    after = _STEPS[entry.kind](state, entry)
    return replace(after, entries=(*state.entries, entry), files=_recorded(state.files, entry.body))


def fold(entries: Sequence[Entry]) -> Fold:
    """The plan as it stands after all entries; a FoldError names the entry that cannot follow."""
    state = _propose(entries[0])
    for number, entry in enumerate(entries[1:], start=2):
        try:
            state = apply(state, entry)
        except (ValueError, KeyError, TypeError) as error:
            raise FoldError(f"journal entry {number} does not follow from the ones before it: {error}") from error
    return state
