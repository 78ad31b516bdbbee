"""Checks a plan folder against its own record: every byte that a hash in the chain covers.

What this cannot show is said with every answer: whoever rewrites all of it (journal, plan and files, every hash made
anew) leaves nothing to find here. A head written down elsewhere finds that, and so do signatures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaging.errors import AlteredError, NotFoundError
from planner.fold import Fold, FoldError, fold
from planner.folder import JOURNAL_FILE, PLAN_FILE, REPORT_FILE, RUN_FILE, SOURCE_FILE, dump, hashes, report_waits
from planner.journal import Entry, check_journal, parse_journal
from planner.locking import LOCK_FILE
from planner.replace import is_unfinished
from planner.schemas import SchemaName, validate
from planner.versions import check_version

__all__ = ["Problem", "Verification", "verify_folder"]

_UNSIGNED = ("no entry is signed: a record rewritten as a whole, every hash made anew, would look the same; compare "
             "the head with one written down elsewhere, or sign entries with --sign-key")


@dataclass(frozen=True)
class Problem:
    """Something that is not what was recorded.

    Attributes
    ----------
    file : str
        Which file of the folder.
    entry : int or None
        Which line of the journal, from 1, where it is one.
    """

    file: str
    sentence: str
    entry: int | None = None


@dataclass(frozen=True)
class Verification:
    """The answer about a folder.

    Attributes
    ----------
    notes : tuple of str
        What is worth knowing and no alteration: a report older than the plan, what only a signature could show.
    entries : int
        Length of the journal that could be read.
    head : str
        Hash of the last entry: written down elsewhere, it stands for the whole record. Empty for a broken journal.
    signed_through : int
        Last entry whose signature holds; all before it are covered too. 0 for none.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    entries: int
    head: str
    signed_through: int

    @property
    def altered(self) -> bool:
        """Whether anything was changed, removed or moved."""
        return bool(self.problems)

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return {"altered": self.altered, "entries": self.entries, "head": self.head,
                "signed_through": self.signed_through, "notes": list(self.notes),
                "problems": [{"file": p.file, "entry": p.entry, "sentence": p.sentence} for p in self.problems]}


def _entries(data: bytes | None) -> tuple[tuple[Entry, ...], list[Problem]]:
    """The journal up to its first broken line."""
    if data is None:
        return (), [Problem(JOURNAL_FILE, f"{JOURNAL_FILE} is missing")]
    try:
        return parse_journal(data), []
    except AlteredError as error:
        lines = data.splitlines(keepends=True)
        good = next(n for n in range(len(lines), -1, -1) if n == 0 or _parses(b"".join(lines[:n])))
        held = parse_journal(b"".join(lines[:good])) if good else ()
        return held, [Problem(JOURNAL_FILE, str(error), good + 1)]


def _parses(data: bytes) -> bool:
    try:
        parse_journal(data)
    except AlteredError:
        return False
    return True


def _plan_problems(data: bytes | None, state: Fold) -> Iterator[Problem]:
    """The bytes of ``plan.json`` against the journal it is the fold of."""
    if data is None:
        yield Problem(PLAN_FILE, f"{PLAN_FILE} is missing")
        return
    try:
        document = json.loads(data)
        validate(document, SchemaName.PLAN)
        check_journal(state.entries, document["journal"])
    except AlteredError as error:
        yield Problem(PLAN_FILE, str(error))
        return
    except ValueError as error:
        yield Problem(PLAN_FILE, f"{PLAN_FILE} is not a plan any more: {str(error)[:200]}")
        return
    length = document["journal"]["length"]
    expected = (state if length == len(state.entries) else fold(state.entries[:length])).document()
    if data != dump(expected):
        known = json.loads(dump(expected))
        parts = sorted(name for name in {*known, *document} if known.get(name) != document.get(name))
        where = f"in {', '.join(parts)}" if parts else "in its spacing, its figures are the same"
        yield Problem(PLAN_FILE, f"{PLAN_FILE} differs from what the journal says, {where}")


def _file_problems(folder: Path, state: Fold) -> Iterator[Problem]:
    """Every other file against the hash that was recorded for it."""
    found, unfinished = hashes(folder), report_waits(folder, state)
    for name, recorded in sorted(state.files.items()):
        if name not in found:
            if name != SOURCE_FILE:
                yield Problem(name, f"{name} is missing")
        elif found[name] not in recorded[-2 if unfinished and name == REPORT_FILE else -1:]:
            yield Problem(name, f"{name} was changed after it was recorded")
    for name in sorted(set(found) - set(state.files) - {JOURNAL_FILE, PLAN_FILE, LOCK_FILE}):
        if not is_unfinished(name):
            yield Problem(name, f"{name} was added: no entry records it")


def _run_problems(folder: Path, state: Fold) -> Iterator[Problem]:
    """The run's own word on the plan it made."""
    try:
        run = json.loads((folder / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        return
    proposed = hashlib.sha256(dump(fold(state.entries[:1]).document())).hexdigest()
    if isinstance(run, dict) and run.get("plan_sha256") != proposed:
        yield Problem(RUN_FILE, f"{RUN_FILE} tells of another plan than the first entry of the journal")


def _signatures(entries: Sequence[Entry], public_key: str | None) -> tuple[list[Problem], list[str], int]:
    """Problems, notes and the last entry whose signature holds."""
    problems, through = [], 0
    for number, entry in enumerate(entries, start=1):
        key = entry.body.get("signed_by", "")
        if not key and not entry.signature:
            continue
        from planner.signing import is_valid
        if not key or not entry.signature or not is_valid(str(key), entry.hash, entry.signature):
            words = f"the signature of entry {number} is missing or does not hold"
            problems.append(Problem(JOURNAL_FILE, words, number))
        elif public_key is None or key == public_key:
            through = number
    people = [n for n, entry in enumerate(entries, start=1) if not entry.by_machine]
    if public_key is not None and people and not through:
        problems.append(Problem(JOURNAL_FILE, "no entry is signed with the key given", people[0]))
    elif public_key is not None and people and through < people[-1]:
        words = f"entries after {through} are not covered by a signature of the key given"
        problems.append(Problem(JOURNAL_FILE, words, through + 1))
    notes = [] if through else [_UNSIGNED]
    if through and public_key is None:
        notes.append(f"entries 1 to {through} are covered by signatures, but only of keys that the entries name "
                     "themselves; give --public-key to say whose key it must be")
    if 0 < through < len(entries):
        notes.append(f"entries after {through} are not signed")
    return problems, notes, through


def _waits(plan: bytes | None, state: Fold) -> bool:
    """Whether ``plan.json`` is behind the journal, as after a save that was killed."""
    try:
        return plan is not None and int(json.loads(plan)["journal"]["length"]) < len(state.entries)
    except (ValueError, KeyError, TypeError):
        return False


def _notes(folder: Path, plan: bytes | None, state: Fold) -> Iterator[str]:
    if not (folder / SOURCE_FILE).is_file() and SOURCE_FILE in state.files:
        yield f"{SOURCE_FILE} is not there: the folder does not say where its scan is"
    if _waits(plan, state):
        yield f"{PLAN_FILE} was not written yet after the last entry; opening the plan for review brings it up to date"
    if REPORT_FILE in state.files and state.drawn_at < len(state.entries):
        yield (f"the report shows the plan after entry {state.drawn_at} of {len(state.entries)}; draw it again with "
               "'nerveplan report'")
    yield "a typed name is not an identity; a key says which file signed, not who held it"


def _head_problem(entries: Sequence[Entry], head: str) -> tuple[list[Problem], list[str]]:
    """A head that was written down elsewhere, against the chain."""
    at = next((n for n, entry in enumerate(entries, start=1) if entry.hash == head.strip().lower()), None)
    if at is None:
        return [Problem(JOURNAL_FILE, "the head given is not in this journal: it was rewritten, or belongs to another "
                                      "plan")], []
    return [], [f"the head given is entry {at} of {len(entries)}: everything up to it is as it was"]


def _check_version(folder: Path, plan: bytes | None, journal: bytes | None) -> None:
    """Nothing where a document is missing or broken: that is a finding of its own."""
    try:
        document = json.loads(plan or b"")
    except ValueError:
        return
    if journal is not None:
        check_version(folder.name, document, journal)


def _bytes_of(path: Path) -> bytes | None:
    """None for what is no file, or cannot be read as one."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def verify_folder(folder: Path, public_key: str | None = None, head: str | None = None) -> Verification:
    """Check a plan folder; nothing in it is changed.

    Parameters
    ----------
    public_key : str, optional
        64 hexadecimal digits: people's entries must be covered by a signature of this key.
    head : str, optional
        A head that was written down before: the journal must hold it.

    Raises
    ------
    PlanVersionError
        The folder is of another version, whose journal this one cannot check; see `planner.versions`.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no plan folder '{folder.name}'")
    # plan.json first: whoever saves meanwhile writes the journal first, so it is never behind what was read here
    plan, journal = _bytes_of(folder / PLAN_FILE), _bytes_of(folder / JOURNAL_FILE)
    _check_version(folder, plan, journal)
    entries, problems = _entries(journal)
    if not entries:
        return Verification(tuple(problems), (), 0, "", 0)
    notes: list[str] = []
    try:
        state = fold(entries)
    except (FoldError, KeyError, TypeError) as error:
        problems.append(Problem(JOURNAL_FILE, f"the journal cannot be replayed: {error}"))
        return Verification(tuple(problems), (), len(entries), entries[-1].hash, 0)
    problems += [*_plan_problems(plan, state), *_file_problems(folder, state), *_run_problems(folder, state)]
    signing, said, through = _signatures(entries, public_key)
    problems += signing
    if head is not None:
        wrong, right = _head_problem(entries, head)
        problems, notes = problems + wrong, notes + right
    notes += [*said, *_notes(folder, plan, state)]
    return Verification(tuple(problems), tuple(notes), len(entries), entries[-1].hash, through)
