"""The study pipeline: read, segment, find the anatomy, place the targets, propose needles, write.

Each stage hands a value to the next. What cannot be found is a value too: the plan then says so, and everything that
could be computed is written.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from imaging.errors import NotFoundError, UsageError
from imaging.findings import FILE_DOUBTED, Severity
from imaging.geometry import Side
from imaging.volume import SeriesIdentity, Volume
from planner.defaults import DEFAULT_ENGINE, DEFAULT_PROCEDURE, NO_PROCEDURE
from planner.destination import check_writable, resolved
from planner.folder import check_free, file_sha256, write_folder
from planner.observations import study_findings
from planner.plan import InputHash, Plan, PlanRequest, RunInfo, StudyInfo
from planner.stages import Stages, library_versions, peak_memory_mb
from planner.statements import LevelStatement, apply_statements, parse_statement
from planner.studies import stamp_of
from segmentation.anatomy import Nerve, parse_joint, parse_nerve
from segmentation.engine import Progress
from segmentation.spine import Numbering, NumberingStatus, NumberingTier, Segmentation, Spine
from targeting.model import Proposal, ProposalStatus
from targeting.procedures import load_procedure, procedure_names
from targeting.targets import MissingTarget, make_targets

__all__ = [
    "Clock", "ct_only", "parse_request", "plan_study", "read_hashed", "replan_study", "segment_study", "why_no_needles",
]

_log = logging.getLogger(__name__)

#: Says what time it is; injected so that tests and reruns can hold it still.
Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Job:
    """One call, parsed."""

    input_path: str | Path | None
    labels: str | Path | None
    request: PlanRequest
    series_uid: str | None
    out: Path | None
    overwrite: bool
    report: bool


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What was read, and what was said about it."""

    volume: Volume | None
    labels: Path | None
    labels_identity: SeriesIdentity | None
    stamp: str = ""

    @property
    def identity(self) -> SeriesIdentity:
        """Of the image, else of the label file."""
        known = self.volume.identity if self.volume is not None else self.labels_identity
        assert known is not None
        return known

    @property
    def hashes(self) -> tuple[InputHash, ...]:
        """SHA-256 of each input."""
        image = () if self.volume is None else (InputHash("image", self.volume.identity.sha256, self.stamp),)
        labels = () if self.labels_identity is None else (InputHash("labels", self.labels_identity.sha256),)
        return image + labels


def plan_study(
    input_path: str | Path | None,
    out: str | Path | None = None,
    *,
    procedure: str = DEFAULT_PROCEDURE,
    joints: Sequence[str] = (),
    nerves: Sequence[str | Nerve] = (),
    sides: Sequence[str | Side] = (),
    engine: str = DEFAULT_ENGINE,
    labels: str | Path | None = None,
    scheme: str | None = None,
    names: Sequence[str] = (),
    orientation: str | None = None,
    series_uid: str | None = None,
    overwrite: bool = False,
    report: bool = True,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Plan:
    """Plan one study: the command ``nerveplan plan`` as a function.

    Parameters
    ----------
    input_path : path or None
        A DICOM folder or file, or NIfTI, NRRD or MHA. None plans from `labels` alone: levels, landmarks, nerves and
        targets, no needles.
    out : path or None
        Where the plan folder is written; None writes nothing.
    procedure : str
        A name of ``targeting.procedures.procedure_names()``.
    joints, nerves, sides : sequences
        What to plan: ``"L4/5"``, ``"L4 MB"``, ``"left"``. Empty means all of the procedure's.
    labels, scheme : path and str
        A segmentation made elsewhere and the numbering it uses.
    names : sequence of str
        The operator's word on levels, ``"LLV-1=L4"``.
    orientation : str or None
        Stated by the operator where a file does not say, ``"LPS"``.
    overwrite : bool
        Replace an unreviewed plan of the same study.
    report : bool
        Write ``report.html`` too.
    clock : callable or None
        Returns the time; only ``run.json`` and the journal depend on it.

    Returns
    -------
    Plan
        Also when nothing could be planned; see `Plan.exit_code`.

    Raises
    ------
    UsageError, InputRefusedError, NotFoundError
        Before anything is written.
    """
    if input_path is None and labels is None:
        raise UsageError("name an image to plan on, or --labels with --scheme for levels, landmarks and nerves only")
    request = parse_request(procedure, joints, nerves, sides, engine, scheme, names, orientation, labels is not None)
    return _run(_Job(input_path, labels, request, series_uid, None if out is None else resolved(Path(out)), overwrite,
                     report), progress, clock or _now)


def segment_study(
    input_path: str | Path | None,
    out: str | Path | None = None,
    *,
    engine: str = DEFAULT_ENGINE,
    labels: str | Path | None = None,
    scheme: str | None = None,
    names: Sequence[str] = (),
    orientation: str | None = None,
    series_uid: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Plan:
    """Everything of `plan_study` before the targets: levels, landmarks, nerves and structures, in the same folder."""
    if input_path is None and labels is None:
        raise UsageError("name an image to segment, or --labels with --scheme")
    request = parse_request(NO_PROCEDURE, (), (), (), engine, scheme, names, orientation, labels is not None)
    return _run(_Job(input_path, labels, request, series_uid, None if out is None else resolved(Path(out)), overwrite,
                     True), progress, clock or _now)


def replan_study(plan: Plan, procedure: str, out: str | Path | None = None, *, overwrite: bool = False,
                 report: bool = True, progress: Progress | None = None, clock: Clock | None = None) -> Plan:
    """Plan another procedure on the anatomy of a plan, corrections by hand included; nothing is segmented again.

    Parameters
    ----------
    plan : Plan
        Planned before or read back (`planner.loading.load_plan`), with its scan.
    procedure : str
        A name of ``targeting.procedures.procedure_names()``; all its targets on the plan's sides.
    out, overwrite, report, progress, clock
        As for `plan_study`.

    Raises
    ------
    UsageError
        No such procedure.
    """
    now = clock or _now
    started, stages = now(), Stages(progress)
    asked = parse_request(procedure, (), (), plan.request.sides, plan.request.engine, None, (), None, False)
    if out is not None:
        check_writable(resolved(Path(out)).parent)
    request = replace(plan.request, procedure=asked.procedure, nerves=(), joints=())
    proposals, missing, notices = _propose(plan.volume, plan.spine, request, stages)
    run = _run_info(started, now, plan.run.inputs, stages)
    findings = study_findings(plan.volume, plan.spine, proposals, missing)
    other = replace(plan, request=request, proposals=proposals, findings=findings, run=run, missing_targets=missing,
                    notices=notices, reviews={})
    if out is not None:
        with stages.stage("writing", 0.1) as tell:
            _store(other, resolved(Path(out)), overwrite, report, tell)
    return other


def _run(job: _Job, progress: Progress | None, clock: Clock) -> Plan:
    request, started, stages = job.request, clock(), Stages(progress)
    if job.out is not None:
        check_writable(job.out.parent)
    with stages.stage("reading", 0.08) as tell:
        inputs = _read(job, tell)
    if job.out is not None and inputs.volume is not None:
        check_free(job.out, StudyInfo.of(inputs.volume).study_id, overwrite=job.overwrite)
    spine = _anatomy(inputs, request, stages)
    study = StudyInfo.of(inputs.volume or _without_image(inputs.identity, spine))
    if job.out is not None:
        check_free(job.out, study.study_id, overwrite=job.overwrite)
    proposals, missing, notices = _propose(inputs.volume, spine, request, stages)
    run = _run_info(started, clock, inputs.hashes, stages)
    findings = study_findings(inputs.volume, spine, proposals, missing)
    plan = Plan(study, inputs.identity, request, spine, proposals, findings, run, inputs.volume,
                inputs.labels_identity, missing, notices)
    if job.out is not None:
        with stages.stage("writing", 0.1) as tell:
            _store(plan, job.out, job.overwrite, job.report, tell)
    return plan


def _run_info(started: datetime, clock: Clock, inputs: tuple[InputHash, ...], stages: Stages) -> RunInfo:
    """What ``run.json`` says of the planning that ends now."""
    return RunInfo(started.isoformat(), clock().isoformat(), library_versions(), inputs, stages.times,
                   peak_memory_mb())


def _store(plan: Plan, out: Path, overwrite: bool, report: bool, progress: Progress) -> None:
    if not report:
        write_folder(plan, out, overwrite=overwrite, report=None)
        return
    from planner.report import render_report
    write_folder(plan, out, overwrite=overwrite, report=lambda p, sha256: render_report(p, sha256, progress))


def parse_request(
    procedure: str, joints: Sequence[str], nerves: Sequence[str | Nerve], sides: Sequence[str | Side], engine: str,
    scheme: str | None, names: Sequence[str], orientation: str | None, has_labels: bool,
) -> PlanRequest:
    """Parse what was asked for; anything that cannot be understood is a UsageError."""
    if procedure != NO_PROCEDURE and procedure not in procedure_names():
        raise UsageError(f"'{procedure}' is not a procedure; say one of {', '.join(procedure_names())}")
    if has_labels != (scheme is not None):
        raise UsageError("--labels and --scheme belong together: say which numbering the label file uses")
    parsed = {n if isinstance(n, Nerve) else parse_nerve(n) for n in nerves}
    wanted = {side if isinstance(side, Side) else _parse_side(side) for side in sides} or set(Side)
    return PlanRequest(
        procedure, tuple(dict.fromkeys(parse_joint(j) for j in joints)), tuple(n for n in Nerve if n in parsed),
        tuple(side for side in Side if side in wanted), engine if scheme is None else f"labels:{scheme}", scheme,
        tuple(str(parse_statement(name)) for name in names), orientation)


def _parse_side(text: str) -> Side:
    for side in Side:
        if side.value == text.strip().upper():
            return side
    raise UsageError(f"'{text}' is not a side; say left or right, the patient's own")


def _read(job: _Job, progress: Progress) -> _Inputs:
    volume, stamp = None, ""
    if job.input_path is not None:
        stamp = stamp_of(Path(job.input_path))
        volume = read_hashed(Path(job.input_path), job.request.orientation, job.series_uid)
    progress("reading", 0.8)
    if job.labels is None:
        return _Inputs(volume, None, None, stamp)
    path = Path(job.labels)
    if not path.exists():
        raise NotFoundError(f"there is no label file '{path.name}'")
    return _Inputs(volume, path, SeriesIdentity(source=str(path.absolute()), sha256=file_sha256(path)), stamp)


def read_hashed(path: Path, orientation: str | None, series_uid: str | None) -> Volume:
    """`imaging.reading.read_input`, with the hash of the content always filled in."""
    from imaging.reading import read_input
    return _with_hash(read_input(path, orientation=orientation, series_uid=series_uid))


def _with_hash(volume: Volume) -> Volume:
    """The volume with its content's hash filled in where the reader left it empty."""
    if volume.identity.sha256:
        return volume
    digest = hashlib.sha256(np.ascontiguousarray(volume.grid.affine).tobytes())
    digest.update(np.ascontiguousarray(volume.array).tobytes())
    return replace(volume, identity=replace(volume.identity, sha256=digest.hexdigest()))


def _without_image(identity: SeriesIdentity, spine: Spine) -> Volume:
    """An empty volume on the label file's lattice, to describe a study that has no image."""
    return Volume(np.zeros(spine.grid.shape, np.uint8), spine.grid, "OTHER", identity=identity)


def _plannable(volume: Volume | None) -> bool:
    """Needles are planned on CT only."""
    return volume is not None and volume.modality == "CT"


def ct_only(volume: Volume | None) -> Volume | None:
    """The volume where its values may be used, which is where it is CT."""
    return volume if _plannable(volume) else None


def _segmentation(inputs: _Inputs, request: PlanRequest, stages: Stages) -> Segmentation | None:
    """From the label file, or from the engine where the modality is planned; None where neither applies."""
    statements: tuple[LevelStatement, ...] = tuple(parse_statement(text) for text in request.statements)
    with stages.stage("segmenting", 0.45) as tell:
        if inputs.labels is not None:
            from segmentation.labels import import_labels
            assert request.scheme is not None
            segmentation = import_labels(inputs.labels, request.scheme, ct_only(inputs.volume))
        elif inputs.volume is not None and _plannable(inputs.volume):
            from segmentation.engine import load_engine
            segmentation = load_engine(request.engine).segment(inputs.volume, tell)
        else:
            return None
        return apply_statements(segmentation, statements)


def _anatomy(inputs: _Inputs, request: PlanRequest, stages: Stages) -> Spine:
    segmentation = _segmentation(inputs, request, stages)
    image = ct_only(inputs.volume)
    body = reconstructed = None
    with stages.stage("skin", 0.04):
        if image is not None:
            from imaging.skin import body_mask
            skin = body_mask(image)
            body, reconstructed = skin.mask, skin.reconstructed
    with stages.stage("anatomy", 0.15) as tell:
        if segmentation is None:
            assert inputs.volume is not None
            return Spine(inputs.volume.grid, np.zeros(inputs.volume.grid.shape, np.uint8),
                         Numbering(NumberingTier.D, NumberingStatus.RELATIVE), (), (), {}, None, None, "none")
        from segmentation.assemble import build_spine
        return build_spine(segmentation, image, body, reconstructed, tell)


def _propose(volume: Volume | None, spine: Spine, request: PlanRequest, stages: Stages) -> tuple[
        tuple[Proposal, ...], tuple[MissingTarget, ...], tuple[str, ...]]:
    """Proposals, targets that could not be placed, and what must be said with every plan of the procedure."""
    if request.procedure == NO_PROCEDURE:
        return (), (), ()
    procedure = load_procedure(request.procedure)
    with stages.stage("targets", 0.03):
        asked = make_targets(spine, procedure, request.nerves or None, request.joints or None, request.sides,
                             ct_only(volume))
    reason = why_no_needles(volume, spine)
    if not spine.vertebrae:
        missing = tuple(replace(m, reason=reason or "no vertebra was found") for m in asked.missing)
        return (), missing, procedure.notices
    with stages.stage("searching", 0.15) as tell:
        if reason:
            none = tuple(Proposal(target, ProposalStatus.NONE, reason) for target in asked.targets)
            return none, asked.missing, procedure.notices
        from targeting.planning import propose
        return propose(spine, asked.targets, procedure, tell, volume), asked.missing, procedure.notices


def why_no_needles(volume: Volume | None, spine: Spine) -> str:
    """Why no needle may be proposed for any target of this study; empty when they may.

    What a blocking finding says of the file itself no statement and no hand can mend.
    """
    if volume is None:
        return "no image: needles need the skin and the structures around the path"
    if not _plannable(volume):
        return "needles are planned on CT only"
    for finding in (*volume.findings, *spine.findings):
        if finding.severity is Severity.BLOCK and finding.code in FILE_DOUBTED:
            return finding.message
    if spine.vertebrae and spine.numbering.status is NumberingStatus.RELATIVE:
        return ("the level is not known: neither sacrum nor last rib establishes it; state a level with --name, such "
                "as --name LLV-1=L4")
    return ""
