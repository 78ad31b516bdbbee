"""`Plan`: one study's answer with everything it rests on, as a frozen record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

from imaging.findings import Finding
from imaging.geometry import Side
from imaging.volume import SeriesIdentity, Volume
from planner.exit_codes import ExitCode
from segmentation.anatomy import Nerve
from segmentation.spine import Spine
from targeting.model import Proposal, ProposalStatus
from targeting.targets import MissingTarget

__all__ = [
    "BANNER", "WATERMARK", "InputHash", "Plan", "PlanRequest", "PlanState", "RunInfo", "StageTime",
    "StudyInfo", "TargetReview", "TargetState", "overall_state", "package_version", "pseudonym",
]

#: Printed on every page, picture and export.
BANNER = ("RESEARCH USE ONLY - NOT FOR CLINICAL USE. Not a cleared medical device. "
          "Clinician must verify against live imaging.")
#: Printed over whatever no person has approved.
WATERMARK = "UNAPPROVED PROPOSAL"


class PlanState(StrEnum):
    """Where a plan as a whole stands."""

    PROPOSED = "proposed"
    EDITED = "edited"
    APPROVED = "approved"
    REJECTED = "rejected"


class TargetState(StrEnum):
    """Where one target stands: only APPROVED is free of the watermark."""

    PROPOSED = "proposed"
    EDITED = "edited"
    APPROVED = "approved"
    REJECTED = "rejected"


def overall_state(states: Iterable[TargetState]) -> PlanState:
    """Of a whole plan, from its targets that have a placement: approved or rejected only when all are decided."""
    found = set(states)
    if found == {TargetState.REJECTED}:
        return PlanState.REJECTED
    if found and found <= {TargetState.APPROVED, TargetState.REJECTED}:
        return PlanState.APPROVED
    return PlanState.EDITED if TargetState.EDITED in found else PlanState.PROPOSED


@dataclass(frozen=True)
class TargetReview:
    """What people said about one target. A typed name is not an identity.

    Attributes
    ----------
    locked : bool
        Edits are refused until it is unlocked.
    who, role, when, reason : str
        Of the last edit or decision; empty when nobody acted.
    typed_side : str
        The side word that was typed to approve.
    overrides : tuple of (limit, reason)
        Limits that are not met and were accepted, each with its reason.
    content_sha256 : str
        What an approval is bound to; empty without one.
    """

    state: TargetState = TargetState.PROPOSED
    locked: bool = False
    who: str = ""
    role: str = ""
    when: str = ""
    reason: str = ""
    typed_side: str = ""
    overrides: tuple[tuple[str, str], ...] = ()
    content_sha256: str = ""


def package_version() -> str:
    """The installed version of nerveplan, or ``0+unknown`` when run from a bare checkout."""
    try:
        return version("nerveplan")
    except PackageNotFoundError:
        return "0+unknown"


def pseudonym(text: str) -> str:
    """16 hexadecimal digits that stand for an identifier: the start of its SHA-256. Empty stays empty."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16] if text else ""


@dataclass(frozen=True)
class StudyInfo:
    """Which images a plan is about, without naming anyone.

    Attributes
    ----------
    study_id, series_id, frame_of_reference_id : str
        Pseudonyms of the DICOM identifiers (the identifiers themselves are in ``source.json`` only); for files without
        identifiers the study is known by its content.
    image_sha256 : str
        Of what was read.
    spacing_mm : tuple of float
        Along the x, y and z array axes.
    shape : tuple of int
        ``(z, y, x)``.
    date : str
        Study date as written in the images, or empty.
    """

    study_id: str
    series_id: str
    frame_of_reference_id: str
    image_sha256: str
    modality: str
    patient_position: str
    date: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, volume: Volume) -> StudyInfo:
        """Describe a volume; `SeriesIdentity.sha256` must be filled."""
        who = volume.identity
        x, y, z = (float(v) for v in volume.grid.spacing)
        return cls(pseudonym(who.study_uid or who.sha256), pseudonym(who.series_uid or who.sha256),
                   pseudonym(who.frame_of_reference_uid), who.sha256, volume.modality, who.patient_position,
                   who.study_date, volume.grid.shape, (x, y, z))


@dataclass(frozen=True)
class PlanRequest:
    """What was asked for, parsed.

    Attributes
    ----------
    nerves : tuple of Nerve
        Empty means the procedure's own default.
    statements : tuple of str
        The operator's words on levels, such as ``LLV-1=L4``.
    orientation : str or None
        The orientation the operator stated for a file that does not say.
    """

    procedure: str
    joints: tuple[str, ...] = ()
    nerves: tuple[Nerve, ...] = ()
    sides: tuple[Side, ...] = (Side.LEFT, Side.RIGHT)
    engine: str = "builtin"
    scheme: str | None = None
    statements: tuple[str, ...] = ()
    orientation: str | None = None


@dataclass(frozen=True)
class StageTime:
    """Wall-clock seconds of one stage of a run."""

    name: str
    seconds: float


@dataclass(frozen=True)
class InputHash:
    """SHA-256 of one input; `kind` is ``image`` or ``labels``.

    Attributes
    ----------
    stamp : str
        `planner.studies.stamp_of` its files when they were read; empty where that was not asked.
    """

    kind: str
    sha256: str
    stamp: str = ""


@dataclass(frozen=True)
class RunInfo:
    """What belongs to this run and not to the plan: times, versions, memory.

    Attributes
    ----------
    started, finished : str
        ISO 8601 with offset, from the injected clock.
    peak_memory_mb : float
        Of the process so far.
    """

    started: str
    finished: str
    versions: Mapping[str, str]
    inputs: tuple[InputHash, ...]
    stages: tuple[StageTime, ...]
    peak_memory_mb: float


@dataclass(frozen=True, eq=False)
class Plan:
    """One study's answer.

    Attributes
    ----------
    volume : Volume or None
        None when only a label file was given.
    identity : SeriesIdentity
        Of the volume, or of the label file; it alone holds paths and identifiers.
    labels_identity : SeriesIdentity or None
        Where an imported segmentation came from.
    proposals : tuple of Proposal
        One per target, in the procedure's order.
    notices : tuple of str
        What must be said with every plan of the procedure.
    reviews : mapping of target id to TargetReview
        Targets nobody acted on may be absent; see `review`.
    """

    study: StudyInfo
    identity: SeriesIdentity
    request: PlanRequest
    spine: Spine
    proposals: tuple[Proposal, ...]
    findings: tuple[Finding, ...]
    run: RunInfo
    volume: Volume | None = None
    labels_identity: SeriesIdentity | None = None
    missing_targets: tuple[MissingTarget, ...] = ()
    notices: tuple[str, ...] = ()
    version: str = field(default_factory=package_version)
    reviews: Mapping[str, TargetReview] = field(default_factory=dict)

    def review(self, target_id: str) -> TargetReview:
        """What people said about a target; untouched when nobody did."""
        return self.reviews.get(target_id, TargetReview())

    def watermark(self, target_id: str | None = None) -> str:
        """What every picture and export of a target, or of the whole plan, must carry; empty once it is approved."""
        approved = (self.state is PlanState.APPROVED if target_id is None else
                    self.review(target_id).state is TargetState.APPROVED)
        return "" if approved else WATERMARK

    @property
    def state(self) -> PlanState:
        """Of the whole; see `overall_state`."""
        return overall_state(self.review(p.target.id).state for p in self.proposals if p.placements)

    @property
    def planned(self) -> int:
        """Number of targets with at least a direction."""
        return sum(proposal.status is not ProposalStatus.NONE for proposal in self.proposals)

    @property
    def exit_code(self) -> ExitCode:
        """OK with at least one target planned, else ABSTAINED."""
        return ExitCode.OK if self.planned else ExitCode.ABSTAINED
