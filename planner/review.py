"""`Review`: what people do to a plan. Every step is one journal entry, saved before the call returns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imaging.errors import UsageError
from imaging.geometry import Side, VertebralFrame
from planner import amend
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
from planner.fold import apply, content_sha256
from planner.folder import REPORT_FILE, dump
from planner.history import HistoryLine, history_of
from planner.journal import EditKind, EntryKind, rendered_entry
from planner.plan import Plan, TargetReview, TargetState, package_version
from planner.record import Person, Record
from segmentation.anatomy import LandmarkName, Nerve
from segmentation.engine import Progress
from targeting.model import Placement

__all__ = ["Review"]


class Review(Record):
    """A plan folder opened for review; see `planner.record.Record` for how it is held and saved."""

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
        self._step(EntryKind.UNDONE, Person.of(who, role, reason))

    def redo(self, who: str, role: str = "", reason: str = "") -> None:
        """Make the edit again that was taken back last."""
        self._step(EntryKind.REDONE, Person.of(who, role, reason))

    # the anatomy: everything that follows is computed anew, every approval falls away

    def move_landmark(self, level: str, name: LandmarkName, position: ArrayLike, who: str, role: str = "",
                      reason: str = "", progress: Progress | None = None) -> None:
        """Move or place a landmark, (3,) LPS mm; its course and the targets of its bone follow."""
        person, bone = Person.of(who, role, reason), self.plan.spine.vertebra(level)
        old = None if bone is None else bone.landmarks.get(name)
        by = "placed" if old is None else f"moved by {np.linalg.norm(np.subtract(position, old.position)):.1f} mm"
        changed = amend.move_landmark(self.plan, level, name, position, person.who, progress)
        self._change(person, EditKind.LANDMARK, f"{name.value} of {level} {by}, placed by {person.who}", changed)

    def relabel(self, statement: str, who: str, role: str = "", reason: str = "",
                progress: Progress | None = None) -> None:
        """Rename the whole column in one step: ``"L4=L5"`` says that the vertebra shown as L4 is L5."""
        person = Person.of(who, role, reason)
        changed = amend.relabel(self.plan, statement, progress)
        self._change(person, EditKind.LEVELS, f"column relabelled {statement} by {person.who}", changed)

    def drop_vertebra(self, level: str, who: str, role: str = "", reason: str = "",
                      progress: Progress | None = None) -> None:
        """Take a vertebra off the list, its targets with it; its voxels stay bone in the way."""
        person = Person.of(who, role, reason)
        changed = amend.drop_vertebra(self.plan, level, progress)
        self._change(person, EditKind.VERTEBRA, f"{level} dropped by {person.who}", changed)

    def place_vertebra(self, level: str, frame: VertebralFrame, body_center: ArrayLike, who: str, role: str = "",
                       reason: str = "", progress: Progress | None = None) -> None:
        """Place a vertebra that was not found, or give a found one another frame."""
        person = Person.of(who, role, reason)
        changed = amend.place_vertebra(self.plan, level, frame, body_center, person.who, progress)
        self._change(person, EditKind.VERTEBRA, f"{level} placed by {person.who}", changed)

    def place_target(self, nerve: Nerve, side: Side, position: ArrayLike, who: str, role: str = "", reason: str = "",
                     progress: Progress | None = None) -> None:
        """Place a target by hand, (3,) LPS mm, on its bone."""
        person = Person.of(who, role, reason)
        changed = amend.place_target(self.plan, nerve, side, position, person.who, progress)
        self._change(person, EditKind.TARGET, f"target of the {nerve.value}, {side.value}, placed by {person.who}",
                     changed)

    def _change(self, person: Person, kind: EditKind, words: str, changed: Plan) -> None:
        """Record an edit of the anatomy with all that follows from it."""
        self._edit(person, kind, None, words=words, changes=amend.changes_between(self._document, changed),
                   renumber=amend.renumbering(self.plan.spine, changed.spine))

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
        person = Person.of(who, role, reason)
        side = check_side(self.plan, target_id, typed_side)
        given = check_overrides(self.limits(target_id), overrides or {})
        self.commit(person, {
            "state": EntryKind.APPROVED.value, "target_id": target_id, "side": side.value, "overrides": given,
            "content_sha256": content_sha256(self._state.content, target_id),
            "image_sha256": self.plan.study.image_sha256})

    def reject(self, target_id: str, who: str, reason: str, role: str = "") -> None:
        """Reject a target; the reason is required."""
        person = Person.of(who, role, reason)
        proposal_of(self.plan, target_id)
        if not person.reason:
            raise UsageError("a rejection needs a reason")
        self.commit(person, {"state": EntryKind.REJECTED.value, "target_id": target_id})

    def reopen(self, target_id: str, who: str, role: str = "", reason: str = "") -> None:
        """Take back the decision on a target."""
        person = Person.of(who, role, reason)
        proposal_of(self.plan, target_id)
        self.commit(person, {"state": EntryKind.REOPENED.value, "target_id": target_id})

    # the folder

    def draw_report(self) -> None:
        """Draw ``report.html`` from the plan as it stands, and record its hash."""
        from planner.report import render_report

        now = self._clock()
        page = render_report(self.plan, hashlib.sha256(dump(self._document)).hexdigest(), history=self.history,
                             now=now).encode("utf-8")
        entry = rendered_entry(self.head, {REPORT_FILE: hashlib.sha256(page).hexdigest()}, now.isoformat(),
                               {"nerveplan": package_version()})
        self.save(apply(self._state, self.signed(entry)), report=page)

    # how

    def _free(self, target_id: str, who: str, role: str, reason: str) -> Person:
        """The person, when the target exists and is not locked."""
        if self.review(target_id).locked:
            raise UsageError(f"{target_id} is locked; unlock it first")
        return Person.of(who, role, reason)

    def _lock(self, target_id: str, locked: bool, who: str, role: str, reason: str) -> None:
        if self.review(target_id).locked is locked:
            raise UsageError(f"{target_id} is {'already' if locked else 'not'} locked")
        self._edit(Person.of(who, role, reason), EditKind.LOCK, target_id, locked=locked)

    def _edit(self, person: Person, what: EditKind, target_id: str | None, **body: Any) -> None:
        about = {} if target_id is None else {"target_id": target_id}
        self.commit(person, {"state": EntryKind.EDITED.value, "what": what.value, **about, **body})

    def _step(self, kind: EntryKind, person: Person) -> None:
        steps = self._state.past if kind is EntryKind.UNDONE else self._state.future
        if not steps:
            raise UsageError(f"there is nothing to {'undo' if kind is EntryKind.UNDONE else 'redo'}")
        self.commit(person, {"state": kind.value, "of": steps[-1].edit})
