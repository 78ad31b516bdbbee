"""How far a batch has come and what waits for a person, read from its folder while it runs or after."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaging.errors import AlteredError, NotFoundError
from planner.folder import PLAN_FILE, read_folder
from planner.versions import PlanVersionError
from targeting.model import confidence_word

__all__ = ["SOURCES_FILE", "BatchStatus", "StudyStatus", "batch_status", "status_of"]

#: Which study is which; every batch folder holds it.
SOURCES_FILE = "sources.csv"
_FAILURES = "failures"
_NO_PLAN = ("waiting", "failed", "altered", "other version")


@dataclass(frozen=True)
class StudyStatus:
    """One study of a batch.

    Attributes
    ----------
    state : str
        ``waiting``, ``failed``, ``altered``, ``other version``, ``abstained``, or the plan's own state: proposed,
        edited, approved, rejected.
    planned, decided : int
        Targets with a placement, and how many of them a person has decided.
    doubt : float
        1 less the lowest confidence among the targets that are not decided; 0 when none is left.
    reason : str
        Why it failed or cannot be opened.
    """

    study: str
    state: str
    planned: int = 0
    decided: int = 0
    doubt: float = 0.0
    reason: str = ""

    @property
    def has_plan(self) -> bool:
        """Whether there is a plan folder that can be opened."""
        return self.state not in _NO_PLAN

    @property
    def word(self) -> str:
        """The lowest confidence that waits for a person, in words; empty when nothing does."""
        return confidence_word(1.0 - self.doubt).value if self.planned > self.decided else ""


@dataclass(frozen=True)
class BatchStatus:
    """All studies of a batch, most doubtful first among those that wait for a person."""

    studies: tuple[StudyStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Studies by state."""
        return dict(sorted(Counter(study.state for study in self.studies).items()))

    @property
    def queue(self) -> tuple[StudyStatus, ...]:
        """In the order of review: nothing proposed, then by doubt, then all decided; last what has no plan."""
        def turn(study: StudyStatus) -> int:
            if not study.has_plan:
                return 3
            return 0 if not study.planned else 1 if study.decided < study.planned else 2

        return tuple(sorted(self.studies, key=lambda s: (turn(s), -s.doubt, s.study)))

    @property
    def sentence(self) -> str:
        """The counts in words."""
        targets = sum(study.planned for study in self.studies)
        decided = sum(study.decided for study in self.studies)
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        return f"{len(self.studies)} studies: {counts}; {decided} of {targets} planned targets decided by a person"

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return {"counts": self.counts, "studies": [
            {"study": s.study, "state": s.state, "planned": s.planned, "decided": s.decided,
             "doubt": round(s.doubt, 4), "reason": s.reason} for s in self.studies]}


def _of_plan(study: str, folder: Path) -> StudyStatus:
    try:
        return status_of(study, read_folder(folder).plan)
    except AlteredError as error:
        return StudyStatus(study, "altered", reason=str(error))
    except PlanVersionError as error:
        return StudyStatus(study, "other version", reason=str(error))


def status_of(study: str, plan: Mapping[str, Any]) -> StudyStatus:
    """How far one study's plan has come, from its ``plan.json``."""
    states = {review["target_id"]: review["state"] for review in plan["reviews"]}
    planned = [p["target_id"] for p in plan["proposals"] if p["placements"]]
    if not planned:
        return StudyStatus(study, "abstained")
    open_ = [name for name in planned if states[name] not in ("approved", "rejected")]
    sure = {target["id"]: target["confidence"] for target in plan["targets"]}
    doubt = 1.0 - min((sure[name] for name in open_), default=1.0)
    return StudyStatus(study, plan["state"], len(planned), len(planned) - len(open_), doubt)


def _status(out: Path, study: str) -> StudyStatus:
    record = out / _FAILURES / f"{study}.json"
    if record.is_file():
        return StudyStatus(study, "failed", reason=json.loads(record.read_bytes())["reason"])
    if (out / study / PLAN_FILE).is_file():
        return _of_plan(study, out / study)
    return StudyStatus(study, "waiting")


def batch_status(out: Path) -> BatchStatus:
    """Read a batch's folder.

    Raises
    ------
    NotFoundError
        It is no folder that ``nerveplan batch`` has written.
    """
    try:
        with (out / SOURCES_FILE).open(encoding="utf-8", newline="") as stream:
            names = [row["study"] for row in csv.DictReader(stream)]
    except FileNotFoundError as error:
        raise NotFoundError(f"'{out.name}' is no batch folder: it holds no {SOURCES_FILE}") from error
    found = [_status(out, name) for name in names]
    return BatchStatus(tuple(sorted(found, key=lambda s: (-s.doubt, s.study))))
