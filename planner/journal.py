"""The plan's history: a chain of entries, each bound to the one before by its hash.

An entry is one line of ``journal.jsonl``: ``{prev, body, who, role, when, versions, reason, hash}`` and, where it was
signed, ``signature``, in the canonical form of RFC 8785. ``hash`` is the SHA-256 of all but itself and the signature,
``prev`` the hash of the line before. ``plan.json`` carries the journal's length and head:

* with people's entries, the head is the last entry's hash;
* with the machine's proposal alone, it is the hash of that entry without its time and without the hashes of files that
  hold times (``body.record``). The same input and configuration then give the same ``plan.json``; what is left out is
  still bound by the line's own hash, and by ``prev`` once a person acted.

A chain rewritten as a whole is found only where entries are signed. A typed name is not an identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import rfc8785

from imaging.errors import AlteredError
from planner.schemas import SchemaName, validate

__all__ = [
    "EditKind", "Entry", "EntryKind", "canonical", "check_journal", "head_of", "journal_lines", "parse_journal",
    "proposed_entry", "read_journal", "rendered_entry",
]

_MACHINE = "nerveplan"
_ROLE = "software"


class EntryKind(StrEnum):
    """What an entry did: the ``state`` of its body."""

    PROPOSED = "proposed"
    EDITED = "edited"
    APPROVED = "approved"
    REJECTED = "rejected"
    REOPENED = "reopened"
    UNDONE = "undone"
    REDONE = "redone"
    RENDERED = "rendered"
    """The program drew the report anew."""


class EditKind(StrEnum):
    """What an EDITED entry changed: the ``what`` of its body."""

    PLACEMENT = "placement"
    """A needle was placed by hand."""
    CHOICE = "choice"
    """Another of the offered placements was chosen."""
    LOCK = "lock"
    """A target was locked or unlocked."""
    LANDMARK = "landmark"
    """A landmark was moved or placed."""
    LEVELS = "levels"
    """The column was relabelled."""
    VERTEBRA = "vertebra"
    """A vertebra was dropped or placed."""
    TARGET = "target"
    """A target was placed by hand."""


def canonical(document: Any) -> bytes:
    """The RFC 8785 bytes of a JSON document."""
    data: bytes = rfc8785.dumps(document)
    return data


def _sha256(document: Any) -> str:
    return hashlib.sha256(canonical(document)).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One step of a plan's history.

    Attributes
    ----------
    prev : str
        Hash of the entry before; empty for the first.
    body : mapping
        What was done: ``state`` (an `EntryKind`) and what belongs to it; for a proposal the whole plan document without
        its ``journal`` field, and the hashes of the folder's files.
    who, role : str
        As typed; not an identity.
    when : str
        ISO 8601 with offset.
    signature : str
        Hexadecimal Ed25519 signature of the hash's 32 bytes; empty without one. The body then names the public key.
    """

    prev: str
    body: Mapping[str, Any]
    who: str
    role: str
    when: str
    versions: Mapping[str, str]
    reason: str
    signature: str = ""

    def fields(self) -> dict[str, Any]:
        """Everything the hash covers."""
        return {"prev": self.prev, "body": dict(self.body), "who": self.who, "role": self.role, "when": self.when,
                "versions": dict(self.versions), "reason": self.reason}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the entry's fields."""
        return _sha256(self.fields())

    @property
    def kind(self) -> EntryKind:
        """What it did."""
        return EntryKind(self.body["state"])

    @property
    def by_machine(self) -> bool:
        """True for what the program itself recorded: its proposal, a report drawn anew."""
        return self.role == _ROLE and self.kind in (EntryKind.PROPOSED, EntryKind.RENDERED)

    @cached_property
    def line(self) -> bytes:
        """The entry as it is written, newline included; validated."""
        document = {**self.fields(), "hash": self.hash, **({"signature": self.signature} if self.signature else {})}
        validate(document, SchemaName.JOURNAL)
        return canonical(document) + b"\n"


def proposed_entry(document: Mapping[str, Any], when: str, versions: Mapping[str, str],
                   files: Mapping[str, str] | None = None, record: Mapping[str, str] | None = None) -> Entry:
    """The first entry: what the program proposed.

    Parameters
    ----------
    files : mapping of file name to SHA-256
        The masks the proposal rests on.
    record : mapping of file name to SHA-256
        Files that tell of the run and hold times.
    """
    body = {"state": EntryKind.PROPOSED.value, "plan": dict(document), "files": dict(files or {}),
            "record": dict(record or {})}
    return Entry("", body, _MACHINE, _ROLE, when, versions, "proposed by the program")


def rendered_entry(prev: str, files: Mapping[str, str], when: str, versions: Mapping[str, str]) -> Entry:
    """The program drew the report anew; `files` holds its SHA-256."""
    return Entry(prev, {"state": EntryKind.RENDERED.value, "record": dict(files)}, _MACHINE, _ROLE, when, versions,
                 "report drawn by the program")


def head_of(entries: Sequence[Entry]) -> str:
    """The head hash that ``plan.json`` carries for these entries (see the module's words on time)."""
    if len(entries) == 1 and entries[0].by_machine:
        fields = entries[0].fields()
        del fields["when"]
        fields["body"].pop("record", None)
        return _sha256(fields)
    return entries[-1].hash


def journal_lines(entries: Sequence[Entry]) -> bytes:
    """The whole of ``journal.jsonl``."""
    return b"".join(entry.line for entry in entries)


def _entry(line: bytes, number: int, previous: str) -> Entry:
    """One line, which must be exactly what its entry is written as."""
    try:
        document = json.loads(line)
        validate(document, SchemaName.JOURNAL)
    except ValueError as error:
        raise AlteredError(f"journal.jsonl line {number} is not a journal entry; restore it from a copy") from error
    said = document.pop("hash")
    entry = Entry(**document)
    if entry.hash != said or entry.line != line + b"\n":
        raise AlteredError(f"journal.jsonl line {number} was changed after it was written")
    if entry.prev != previous:
        raise AlteredError(f"journal.jsonl line {number} does not follow line {number - 1}: a line was removed, added "
                           "or moved")
    return entry


def parse_journal(data: bytes) -> tuple[Entry, ...]:
    """Check the bytes of a journal; a line that is not exactly what was written is an AlteredError that names it."""
    if not data:
        raise AlteredError("journal.jsonl is empty; restore it from a copy")
    lines = data.split(b"\n")
    if lines.pop():
        raise AlteredError(f"journal.jsonl line {len(lines) + 1} is cut short; restore it from a copy")
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        entries.append(_entry(line, number, entries[-1].hash if entries else ""))
    return tuple(entries)


def read_journal(path: Path) -> tuple[Entry, ...]:
    """Read and check ``journal.jsonl``; see `parse_journal`."""
    return parse_journal(path.read_bytes())


def check_journal(entries: Sequence[Entry], journal: Mapping[str, Any]) -> None:
    """Compare a journal with the length and head that ``plan.json`` carries; a shorter or other one was altered."""
    length = int(journal["length"])
    if len(entries) < length:
        raise AlteredError(f"the journal holds {len(entries)} entries, plan.json says {length}: entries were removed")
    if head_of(entries[:length]) != journal["head"]:
        raise AlteredError(f"the journal's entry {length} is not the head that plan.json carries")
