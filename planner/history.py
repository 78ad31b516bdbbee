"""The journal in words: who did what, when and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.journal import EditKind, Entry, EntryKind

__all__ = ["HistoryLine", "history_of"]


@dataclass(frozen=True)
class HistoryLine:
    """One entry for a person.

    Attributes
    ----------
    number : int
        Line of ``journal.jsonl``, from 1.
    target_id : str
        The target it is about; empty for the whole plan.
    signed_by : str
        Public key that the entry names, hexadecimal; empty without one. Only `planner.verifying` checks it.
    """

    number: int
    when: str
    who: str
    role: str
    kind: EntryKind
    words: str
    reason: str
    target_id: str = ""
    signed_by: str = ""


def _proposed(body: Mapping[str, Any]) -> str:
    return f"proposed {sum(bool(p['placements']) for p in body['plan']['proposals'])} placements"


def _edited(body: Mapping[str, Any]) -> str:
    what = EditKind(body["what"])
    if what is EditKind.PLACEMENT:
        return "needle placed by hand"
    if what is EditKind.CHOICE:
        return f"placement {body['rank']} chosen"
    if what is EditKind.LOCK:
        return "locked" if body["locked"] else "unlocked"
    return str(body["words"])


def _approved(body: Mapping[str, Any]) -> str:
    over = "; ".join(f"{name} overridden: {reason}" for name, reason in sorted(body["overrides"].items()))
    return f"approved, side typed {body['side']}" + (f"; {over}" if over else "")


_WORDS: dict[EntryKind, Callable[[Mapping[str, Any]], str]] = {
    EntryKind.PROPOSED: _proposed, EntryKind.EDITED: _edited, EntryKind.APPROVED: _approved,
    EntryKind.REJECTED: lambda body: "rejected", EntryKind.REOPENED: lambda body: "decision taken back",
    EntryKind.RENDERED: lambda body: "report drawn"}


def history_of(entries: Sequence[Entry]) -> tuple[HistoryLine, ...]:
    """Every entry in words, oldest first; an undo or redo says what it took back or made again."""
    said: dict[str, str] = {}
    out = []
    for number, entry in enumerate(entries, start=1):
        if entry.kind in (EntryKind.UNDONE, EntryKind.REDONE):
            words = f"{entry.kind.value}: {said.get(entry.body['of'], 'an edit')}"
        else:
            words = _WORDS[entry.kind](entry.body)
        said[entry.hash] = words
        out.append(HistoryLine(number, entry.when, entry.who, entry.role, entry.kind, words, entry.reason,
                               str(entry.body.get("target_id", "")), str(entry.body.get("signed_by", ""))))
    return tuple(out)
