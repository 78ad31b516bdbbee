"""The plan's history: a chain of entries, each bound to the one before by its hash.

An entry is one line of ``journal.jsonl``: ``{prev, body, who, role, when, versions, reason, hash}`` in the canonical
form of RFC 8785. ``hash`` is the SHA-256 of all the other fields and ``prev`` the hash of the line before.
``plan.json`` carries the journal's length and head:

* with people's entries, the head is the last entry's hash;
* with the machine's proposal alone, it is the hash of that entry without its time. The same input and configuration
  then give the same ``plan.json``; the time is still bound by the line's own hash, and by ``prev`` once a person acted.

A chain rewritten as a whole is found only where entries are signed. A typed name is not an identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from imaging.errors import AlteredError
from planner.plan import PlanState
from planner.schemas import SchemaName, validate

__all__ = ["Entry", "canonical", "check_journal", "head_of", "journal_lines", "proposed_entry", "read_journal"]

_MACHINE = "nerveplan"
_ROLE = "software"


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
        What was done: ``state`` and, for a proposal, the whole plan document without its ``journal`` field.
    who, role : str
        As typed; not an identity.
    when : str
        ISO 8601 with offset.
    """

    prev: str
    body: Mapping[str, Any]
    who: str
    role: str
    when: str
    versions: Mapping[str, str]
    reason: str

    def fields(self) -> dict[str, Any]:
        """Everything the hash covers."""
        return {"prev": self.prev, "body": dict(self.body), "who": self.who, "role": self.role, "when": self.when,
                "versions": dict(self.versions), "reason": self.reason}

    @property
    def hash(self) -> str:
        """SHA-256 of the entry's fields."""
        return _sha256(self.fields())

    @property
    def by_machine(self) -> bool:
        """True for the proposal the program itself made."""
        return self.role == _ROLE and self.body.get("state") == PlanState.PROPOSED.value

    def line(self) -> bytes:
        """The entry as it is written, newline included; validated."""
        document = {**self.fields(), "hash": self.hash}
        validate(document, SchemaName.JOURNAL)
        return canonical(document) + b"\n"


def proposed_entry(document: Mapping[str, Any], when: str, versions: Mapping[str, str]) -> Entry:
    """The first entry: what the program proposed."""
    return Entry("", {"state": PlanState.PROPOSED.value, "plan": dict(document)}, _MACHINE, _ROLE, when, versions,
                 "proposed by the program")


def head_of(entries: Sequence[Entry]) -> str:
    """The head hash that ``plan.json`` carries for these entries (see the module's words on time)."""
    if len(entries) == 1 and entries[0].by_machine:
        fields = entries[0].fields()
        del fields["when"]
        return _sha256(fields)
    return entries[-1].hash


def journal_lines(entries: Sequence[Entry]) -> bytes:
    """The whole of ``journal.jsonl``."""
    return b"".join(entry.line() for entry in entries)


def read_journal(path: Path) -> tuple[Entry, ...]:
    """Read and check ``journal.jsonl``; a line that does not hash to what it says is an AlteredError."""
    entries: list[Entry] = []
    previous = ""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            document = json.loads(line)
            validate(document, SchemaName.JOURNAL)
        except ValueError as error:
            raise AlteredError(f"journal.jsonl line {number} is not a journal entry; restore it from a copy") from error
        said = document.pop("hash")
        entry = Entry(**document)
        if entry.hash != said or entry.prev != previous:
            raise AlteredError(f"journal.jsonl line {number} was changed after it was written")
        previous = said
        entries.append(entry)
    if not entries:
        raise AlteredError("journal.jsonl is empty; restore it from a copy")
    return tuple(entries)


def check_journal(entries: Sequence[Entry], journal: Mapping[str, Any]) -> None:
    """Compare a journal with the length and head that ``plan.json`` carries; a shorter or other one was altered."""
    length = int(journal["length"])
    if len(entries) < length:
        raise AlteredError(f"the journal holds {len(entries)} entries, plan.json says {length}: entries were removed")
    if head_of(entries[:length]) != journal["head"]:
        raise AlteredError("the journal's head is not the one plan.json carries")
