"""`Review`: a plan folder opened for work. Every step is one journal entry, saved before the call returns.

The journal is replaced first, ``plan.json`` second, each in one rename: a program killed anywhere leaves the plan as it
was before the step or as it is after, and the next one to open the folder brings ``plan.json`` up to date. A lock keeps
writers apart; whoever saved second is told, reloads and decides again. Nothing is ever merged silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from imaging.errors import NotFoundError, UsageError
from planner.age import ScanAge, scan_age
from planner.approval import (
    Limit,
    check_overrides,
    check_side,
    limits_to_override,
    proposal_of,
    warnings_before,
)
from planner.document import placement_document
from planner.fold import Fold, FoldError, apply, content_sha256
from planner.folder import JOURNAL_FILE, PLAN_FILE, REPORT_FILE, StoredPlan, dump, read_folder
from planner.history import HistoryLine, history_of
from planner.journal import EditKind, Entry, EntryKind, journal_lines, rendered_entry
from planner.loading import Assets, load_assets, plan_of
from planner.locking import ConflictError, folder_lock
from planner.pipeline import Clock
from planner.plan import Plan, TargetReview, TargetState, package_version
from planner.replace import remove_unfinished, replace_file
from planner.schemas import SchemaName, validate
from targeting.model import Placement

__all__ = ["Review", "Signer"]

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
class _Person:
    """Who acts, as typed, and why."""

    who: str
    role: str
    reason: str

    @classmethod
    def of(cls, who: str, role: str, reason: str) -> _Person:
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


class Review:
    """A plan folder opened for review.

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
             clock: Clock | None = None, signer: Signer | None = None) -> Review:
        """Open a folder; parameters and errors as `planner.loading.load_plan`.

        Parameters
        ----------
        clock : callable, optional
            Returns the time, with its zone; entries and the scan's age are dated by it.
        signer : Signer, optional
            Signs every entry that this review adds.
        """
        place = Path(folder)
        if not place.is_dir():
            raise NotFoundError(f"there is no plan folder '{place.name}'")
        stored = _brought_up_to_date(place)
        assets = load_assets(place, stored.plan, stored.run, None if source is None else Path(source), volume)
        return cls(place, stored.state, assets, clock or _now, signer)

    def _show(self, state: Fold) -> None:
        self._state = state
        self._document = state.document()
        self.plan: Plan = plan_of(self._document, self._assets)

    # what there is to see

    @property
    def document(self) -> dict[str, Any]:
        """``plan.json`` as it stands."""
        return self._document

    @property
    def head(self) -> str:
        """Hash of the last entry: it stands for the whole history."""
        return self._state.head

    @property
    def history(self) -> tuple[HistoryLine, ...]:
        """Who did what and when, oldest first."""
        return history_of(self._state.entries)

    @property
    def can_undo(self) -> bool:
        """Whether an edit can be taken back."""
        return bool(self._state.past)

    @property
    def can_redo(self) -> bool:
        """Whether an edit that was taken back can be made again."""
        return bool(self._state.future)

    @property
    def scan_age(self) -> ScanAge:
        """How old the scan is now."""
        return scan_age(self.plan.study.date, self._clock())

    @property
    def report_is_current(self) -> bool:
        """False when something was done since the report was drawn."""
        return REPORT_FILE in self._state.files and self._state.drawn_at == len(self._state.entries)

    def review(self, target_id: str) -> TargetReview:
        """What people said about a target."""
        proposal_of(self.plan, target_id)
        return self.plan.review(target_id)

    def state(self, target_id: str) -> TargetState:
        """Where a target stands: proposed, edited, approved or rejected."""
        return self.review(target_id).state

    def limits(self, target_id: str) -> tuple[Limit, ...]:
        """Limits that an approval of the target must override now, each with a reason."""
        return limits_to_override(self.plan, target_id, self._clock())

    def warnings(self, target_id: str) -> tuple[str, ...]:
        """What must be said before the target is approved now."""
        return warnings_before(self.plan, target_id, self._clock())

    # edits

    def edit(self, target_id: str, placement: Placement, who: str, role: str = "", reason: str = "") -> None:
        """Place a target's needle by hand. It stands behind the offered ones and is the one shown.

        Parameters
        ----------
        placement : Placement
            With its clearances, margins and ``broken`` limits as measured; its rank and who placed it are filled in.
        """
        person = self._free(target_id, who, role, reason)
        document = placement_document(replace(placement, placed_by=person.who))
        self._edit(person, EditKind.PLACEMENT, target_id, placement=document)

    def choose(self, target_id: str, rank: int, who: str, role: str = "", reason: str = "") -> None:
        """Choose one of the offered placements by its rank."""
        self._edit(self._free(target_id, who, role, reason), EditKind.CHOICE, target_id, rank=rank)

    def lock(self, target_id: str, who: str, role: str = "", reason: str = "") -> None:
        """Refuse edits of a target until it is unlocked."""
        self._lock(target_id, True, who, role, reason)

    def unlock(self, target_id: str, who: str, role: str = "", reason: str = "") -> None:
        """Allow edits again."""
        self._lock(target_id, False, who, role, reason)

    def undo(self, who: str, role: str = "", reason: str = "") -> None:
        """Take back the last edit, whichever target it touched. Decisions are reopened, not undone."""
        self._step(EntryKind.UNDONE, _Person.of(who, role, reason))

    def redo(self, who: str, role: str = "", reason: str = "") -> None:
        """Make the edit again that was taken back last."""
        self._step(EntryKind.REDONE, _Person.of(who, role, reason))

    def change_anatomy(self, kind: EditKind, words: str, changed: Plan, who: str, role: str = "",
                       reason: str = "") -> None:
        """Record an edit of the anatomy and all that follows from it; approvals fall away.

        Parameters
        ----------
        kind : EditKind
            LANDMARK, LEVELS, VERTEBRA or TARGET.
        words : str
            What was done, for the history: "sap_tp_junction_left of L4 moved by 3.1 mm".
        changed : Plan
            This review's plan after the edit, recomputed (see `planner.amend`).
        """
        from planner.amend import changes_between

        person = _Person.of(who, role, reason)
        self._edit(person, kind, None, words=words, changes=changes_between(self._document, changed))

    # decisions

    def approve(self, target_id: str, who: str, role: str = "", typed_side: str = "",
                overrides: Mapping[str, str] | None = None, reason: str = "") -> None:
        """Approve a target as it is shown.

        Parameters
        ----------
        typed_side : str
            LEFT or RIGHT, the patient's own, as the person typed it; it must be the target's.
        overrides : mapping of limit name to reason
            One for each of `limits`, and for nothing else.

        Raises
        ------
        UsageError
            The side does not match, a limit lacks its reason, or there is nothing to approve.
        """
        person = _Person.of(who, role, reason)
        side = check_side(self.plan, target_id, typed_side)
        given = check_overrides(self.limits(target_id), overrides or {})
        self._commit(person, {
            "state": EntryKind.APPROVED.value, "target_id": target_id, "side": side.value, "overrides": given,
            "content_sha256": content_sha256(self._state.content, target_id),
            "image_sha256": self.plan.study.image_sha256})

    def reject(self, target_id: str, who: str, reason: str, role: str = "") -> None:
        """Reject a target; the reason is required."""
        person = _Person.of(who, role, reason)
        proposal_of(self.plan, target_id)
        if not person.reason:
            raise UsageError("a rejection needs a reason")
        self._commit(person, {"state": EntryKind.REJECTED.value, "target_id": target_id})

    def reopen(self, target_id: str, who: str, role: str = "", reason: str = "") -> None:
        """Take back the decision on a target."""
        person = _Person.of(who, role, reason)
        proposal_of(self.plan, target_id)
        self._commit(person, {"state": EntryKind.REOPENED.value, "target_id": target_id})

    # the folder

    def reload(self) -> None:
        """Take in what others saved meanwhile."""
        self._show(_brought_up_to_date(self.folder).state)

    def draw_report(self) -> None:
        """Draw ``report.html`` from the plan as it stands, and record its hash."""
        from planner.report import render_report

        now = self._clock()
        page = render_report(self.plan, hashlib.sha256(dump(self._document)).hexdigest(), history=self.history,
                             now=now).encode("utf-8")
        entry = rendered_entry(self.head, {REPORT_FILE: hashlib.sha256(page).hexdigest()}, now.isoformat(),
                               {"nerveplan": package_version()})
        self._save(apply(self._state, entry), report=page)

    # how

    def _free(self, target_id: str, who: str, role: str, reason: str) -> _Person:
        """The person, when the target exists and is not locked."""
        if self.review(target_id).locked:
            raise UsageError(f"{target_id} is locked; unlock it first")
        return _Person.of(who, role, reason)

    def _lock(self, target_id: str, locked: bool, who: str, role: str, reason: str) -> None:
        if self.review(target_id).locked is locked:
            raise UsageError(f"{target_id} is {'already' if locked else 'not'} locked")
        self._edit(_Person.of(who, role, reason), EditKind.LOCK, target_id, locked=locked)

    def _edit(self, person: _Person, what: EditKind, target_id: str | None, **body: Any) -> None:
        about = {} if target_id is None else {"target_id": target_id}
        self._commit(person, {"state": EntryKind.EDITED.value, "what": what.value, **about, **body})

    def _step(self, kind: EntryKind, person: _Person) -> None:
        steps = self._state.past if kind is EntryKind.UNDONE else self._state.future
        if not steps:
            raise UsageError(f"there is nothing to {'undo' if kind is EntryKind.UNDONE else 'redo'}")
        self._commit(person, {"state": kind.value, "of": steps[-1].edit})

    def _time(self) -> str:
        return self._clock().isoformat()

    def _commit(self, person: _Person, body: dict[str, Any]) -> None:
        if self._signer is not None:
            body["signed_by"] = self._signer.public_key
        entry = Entry(self.head, body, person.who, person.role, self._time(), {"nerveplan": package_version()},
                      person.reason)
        if self._signer is not None:
            entry = replace(entry, signature=self._signer.sign(entry.hash))
        try:
            after = apply(self._state, entry)
        except FoldError as error:
            raise UsageError(str(error)) from error
        self._save(after)

    def _save(self, after: Fold, report: bytes | None = None) -> None:
        """Journal, then the report if there is one, then ``plan.json``; only over what this review has seen."""
        document = after.document()
        validate(document, SchemaName.PLAN)
        journal, plan = journal_lines(after.entries), dump(document)
        seen = journal_lines(self._state.entries)
        with folder_lock(self.folder):
            if (self.folder / JOURNAL_FILE).read_bytes() != seen:
                raise ConflictError(_who_came_between(self.folder, self._state.entries))
            replace_file(self.folder / JOURNAL_FILE, journal)
            if report is not None:
                replace_file(self.folder / REPORT_FILE, report)
            replace_file(self.folder / PLAN_FILE, plan)
        self._show(after)


def _brought_up_to_date(folder: Path) -> StoredPlan:
    """The folder's documents; what a killed save left undone is finished first, where the folder can be written."""
    stored = read_folder(folder)
    if not stored.behind:
        return stored
    with folder_lock(folder):
        stored = read_folder(folder)
        if stored.behind:
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
