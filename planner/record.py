"""`Record`: a plan folder held open: its fold, what it rests on, and saves that nothing can break.

The journal is replaced first, ``plan.json`` second, each in one rename: a program killed anywhere leaves the plan as it
was before the step or as it is after, and the next one to open the folder brings ``plan.json`` up to date. A lock keeps
writers apart; whoever saved second is told, reloads and decides again. Nothing is ever merged silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from imaging.errors import NotFoundError, UsageError
from planner.fold import Fold, FoldError, apply
from planner.folder import (
    JOURNAL_FILE,
    LABELS_FILE,
    PLAN_FILE,
    REPORT_FILE,
    StoredPlan,
    dump,
    hashes,
    new_folder,
    read_folder,
    report_waits,
    write_mask,
)
from planner.journal import Entry, journal_lines
from planner.loading import Assets, load_assets, plan_of
from planner.locking import ConflictError, folder_lock
from planner.pipeline import Clock
from planner.plan import Plan, package_version
from planner.replace import link_others, put_staged, remove_leftovers, remove_unfinished, replace_file, stage_file
from planner.schemas import SchemaName, validate

__all__ = ["Person", "Record", "Signer"]

_LONGEST_NAME = 200
_LONGEST_REASON = 2000


class Signer(Protocol):
    """Signs entries; see `planner.signing`."""

    @property
    def public_key(self) -> str:
        """64 hexadecimal digits."""
        ...

    def sign(self, entry_hash: str) -> str:
        """The signature of an entry's hash, 128 hexadecimal digits."""
        ...


@dataclass(frozen=True)
class Person:
    """Who acts, as typed, and why."""

    who: str
    role: str
    reason: str

    @classmethod
    def of(cls, who: str, role: str, reason: str) -> Person:
        """Typed words made one line each; a missing name or endless words are a UsageError."""
        name, part, why = (" ".join(text.split()) for text in (who, role, reason))
        if not name:
            raise UsageError("say who is acting: a name is needed (it is recorded as typed and is not an identity)")
        if max(len(name), len(part)) > _LONGEST_NAME or len(why) > _LONGEST_REASON:
            raise UsageError(f"a name or role has at most {_LONGEST_NAME} characters, a reason {_LONGEST_REASON}")
        if part == "software":
            raise UsageError("the role 'software' is the program's own; say your role")
        return cls(name, part, why)


def _now() -> datetime:
    return datetime.now(UTC)


class Record:
    """A plan folder held open.

    Attributes
    ----------
    folder : Path
    plan : Plan
        As it stands now. Replaced after every step; the masks and the scan in it stay the same objects.
    """

    def __init__(self, folder: Path, state: Fold, assets: Assets, clock: Clock, signer: Signer | None) -> None:
        self.folder = folder
        self._assets = assets
        self._clock = clock
        self._signer = signer
        self._show(state)

    @classmethod
    def open(cls, folder: str | Path, source: str | Path | None = None, *, volume: bool = True,
             clock: Clock | None = None, signer: Signer | None = None) -> Self:
        """Open a folder; parameters and errors as `planner.loading.load_plan`.

        Parameters
        ----------
        clock : callable, optional
            Returns the time, with its zone; entries and the scan's age are dated by it.
        signer : Signer, optional
            Signs every entry that this review adds.
        """
        place = Path(folder).absolute()
        remove_leftovers(place)
        if not place.is_dir():
            raise NotFoundError(f"there is no plan folder '{place.name}'")
        stored = _brought_up_to_date(place)
        assets = load_assets(place, stored, None if source is None else Path(source), volume)
        return cls(place, stored.state, assets, clock or _now, signer)

    def _show(self, state: Fold) -> None:
        self._state = state
        self._document = state.document()
        self.plan: Plan = plan_of(self._document, self._assets)

    @property
    def document(self) -> dict[str, Any]:
        """``plan.json`` as it stands."""
        return self._document

    @property
    def head(self) -> str:
        """Hash of the last entry: it stands for the whole history."""
        return self._state.head

    def reload(self) -> None:
        """Take in what others saved meanwhile."""
        state = _brought_up_to_date(self.folder).state
        if state.numbers != self._state.numbers:
            self._take_labels(_renumbered(self._assets.masks.labels, self._state.numbers, state.numbers))
        self._show(state)

    def _take_labels(self, labels: NDArray[np.uint8]) -> None:
        self._assets = replace(self._assets, masks=replace(self._assets.masks, labels=labels))

    def commit(self, person: Person, body: dict[str, Any]) -> None:
        """Record one step of a person and save it.

        Raises
        ------
        UsageError
            The step cannot be taken.
        ConflictError
            Somebody else saved since this record last looked; nothing was written.
        """
        when = self._clock().isoformat()
        after = self._after(person, body, when)
        if after.numbers == self._state.numbers:
            self.save(after)
        else:
            self._save_renumbered(person, body, when, after.numbers)

    def _after(self, person: Person, body: dict[str, Any], when: str) -> Fold:
        """The plan after one more step of a person; a step that cannot be taken is a UsageError."""
        entry = Entry(self.head, body, person.who, person.role, when, {"nerveplan": package_version()}, person.reason)
        try:
            return apply(self._state, self.signed(entry))
        except FoldError as error:
            raise UsageError(str(error)) from error

    def signed(self, entry: Entry) -> Entry:
        """The entry with this record's signature, where it signs."""
        if self._signer is None:
            return entry
        named = replace(entry, body={**entry.body, "signed_by": self._signer.public_key})
        return replace(named, signature=self._signer.sign(named.hash))

    def save(self, after: Fold, report: bytes | None = None) -> None:
        """Journal, then the report if there is one, then ``plan.json``; only over what this review has seen.

        The report waits beside its place before the journal names it: a save that is killed can then be finished.
        """
        plan = _plan_bytes(after)
        with self._writing():
            if report is not None:
                stage_file(self.folder / REPORT_FILE, report)
            replace_file(self.folder / JOURNAL_FILE, journal_lines(after.entries))
            if report is not None:
                put_staged(self.folder / REPORT_FILE)
            replace_file(self.folder / PLAN_FILE, plan)
        self._show(after)

    def _save_renumbered(self, person: Person, body: dict[str, Any], when: str, numbers: Mapping[int, int]) -> None:
        """A save that changes the label map too: the whole folder is made anew beside its place and swapped in."""
        labels = _renumbered(self._assets.masks.labels, self._state.numbers, numbers)
        with self._writing(), new_folder(self.folder) as fresh:
            write_mask(fresh / LABELS_FILE, labels, self.plan.spine.grid)
            after = self._after(person, {**body, "files": hashes(fresh)}, when)
            replace_file(fresh / JOURNAL_FILE, journal_lines(after.entries))
            replace_file(fresh / PLAN_FILE, _plan_bytes(after))
            link_others(self.folder, fresh)
        self._take_labels(labels)
        self._show(after)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The folder's lock, when nobody has saved since this review last looked."""
        with folder_lock(self.folder):
            if (self.folder / JOURNAL_FILE).read_bytes() != journal_lines(self._state.entries):
                raise ConflictError(_who_came_between(self.folder, self._state.entries))
            yield


def _plan_bytes(state: Fold) -> bytes:
    """``plan.json`` of a fold, checked against its schema."""
    document = state.document()
    validate(document, SchemaName.PLAN)
    return dump(document)


def _renumbered(labels: NDArray[np.uint8], before: Mapping[int, int], after: Mapping[int, int]) -> NDArray[np.uint8]:
    """The label map with its present values turned into others, both told from the values as proposed."""
    table = np.arange(256, dtype=np.uint8)
    for first in {*before, *after}:
        table[before.get(first, first)] = after.get(first, first)
    return np.asarray(table[labels])


def _brought_up_to_date(folder: Path) -> StoredPlan:
    """The folder's documents; what a killed save left undone is finished first."""
    stored = read_folder(folder)
    if not stored.behind:
        return stored
    with folder_lock(folder):
        stored = read_folder(folder)
        if stored.behind:
            if report_waits(folder, stored.state):
                put_staged(folder / REPORT_FILE)
            remove_unfinished(folder)
            replace_file(folder / PLAN_FILE, dump(stored.plan))
    return stored


def _who_came_between(folder: Path, seen: Sequence[Entry]) -> str:
    """The conflict in words, with the name of whoever saved meanwhile."""
    entries = read_folder(folder).journal
    if len(entries) > len(seen) and entries[:len(seen)] == tuple(seen):
        last = entries[-1]
        return (f"{last.who} saved at {last.when} while this plan was open here; nothing of yours was written. "
                "Reload, look at the change, and do it again.")
    return "the plan was replaced while it was open here; nothing of yours was written. Open it again."
