"""The plan folder: written beside its place and moved there in one step, read back and checked.

Whatever stops the program, the folder named is the old one or the new one, whole. Nothing is ever written into a folder
that holds another study, nor over a plan that a person has worked on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from imaging.errors import AlteredError, InputRefusedError, NotFoundError, UsageError
from imaging.resample import to_sitk
from imaging.volume import Grid, SeriesIdentity
from planner.destination import resolved
from planner.document import request_document, to_document
from planner.fold import Fold, FoldError, fold
from planner.journal import (
    Entry,
    canonical,
    check_journal,
    journal_lines,
    parse_journal,
    proposed_entry,
)
from planner.locking import folder_lock
from planner.plan import Plan, PlanRequest, StageTime
from planner.replace import exchange, partial_path, remove_leftovers, staged_path
from planner.schemas import SchemaName, validate
from planner.stages import Stages
from planner.versions import PlanVersionError, check_version

__all__ = [
    "BODY_FILE", "JOURNAL_FILE", "LABELS_FILE", "PLAN_FILE", "RECONSTRUCTED_FILE", "REPORT_FILE", "RUN_FILE",
    "SOURCE_FILE", "ReportWriter", "StoredPlan", "check_free", "check_recorded", "dump", "file_sha256", "hashes",
    "new_folder", "parameters", "parameters_sha256", "read_folder", "report_waits", "write_folder", "write_mask",
]

PLAN_FILE = "plan.json"
RUN_FILE = "run.json"
SOURCE_FILE = "source.json"
JOURNAL_FILE = "journal.jsonl"
REPORT_FILE = "report.html"
LABELS_FILE = "labels.nii.gz"
BODY_FILE = "body.nii.gz"
RECONSTRUCTED_FILE = "reconstructed.nii.gz"
_GZIP_LEVEL = 1
_MASK_ENDING = ".nii.gz"
#: Makes ``report.html`` from a plan and the SHA-256 of its ``plan.json``.
ReportWriter = Callable[[Plan, str], str]


@dataclass(frozen=True)
class StoredPlan:
    """What a plan folder says: the checked documents, nothing else loaded.

    Attributes
    ----------
    plan : dict
        The fold of the journal, which ``plan.json`` holds too unless it was killed before it was written.
    behind : bool
        ``plan.json`` waits to be written again from the journal.
    """

    plan: dict[str, Any]
    run: dict[str, Any]
    state: Fold
    behind: bool

    @property
    def journal(self) -> tuple[Entry, ...]:
        """The plan's history."""
        return self.state.entries


def dump(document: Any) -> bytes:
    """A document as it is written: sorted keys, ASCII, no NaN, numbers as RFC 8785 has them, one newline at the end.

    So a document gives the same bytes before it was written and after it was read.
    """
    text = json.dumps(json.loads(canonical(document)), sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def parameters(request: PlanRequest, version: str) -> dict[str, Any]:
    """The configuration of a run: what, beside the input, decides the plan."""
    return {**request_document(request), "nerveplan": version}


def parameters_sha256(document: dict[str, Any]) -> str:
    """Hash of a configuration; equal hashes over equal inputs mean equal plans."""
    return hashlib.sha256(dump(document)).hexdigest()


def check_free(out: Path, study_id: str, *, overwrite: bool) -> None:
    """Refuse an output folder that must not be replaced, before any work is done.

    Raises
    ------
    InputRefusedError
        It holds another study, something that is no plan, or a plan that a person has worked on.
    UsageError
        It holds a plan of this study and `overwrite` was not asked for.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / PLAN_FILE).is_file():
        raise InputRefusedError(f"the output folder '{out.name}' holds something that is not a plan; name an empty one")
    try:
        held = json.loads((out / PLAN_FILE).read_bytes())["study"]["study_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputRefusedError(f"the plan in '{out.name}' cannot be read; name another output folder") from error
    if held != study_id:
        raise InputRefusedError(f"the output folder '{out.name}' holds another study; name another one")
    if _reviewed(out / JOURNAL_FILE):
        raise InputRefusedError(f"the plan in '{out.name}' has been worked on by a person; name another output folder")
    if not overwrite:
        raise UsageError(f"the output folder '{out.name}' holds a plan of this study; add --overwrite to replace it")


def _reviewed(journal: Path) -> bool:
    """True when the journal holds more than the program's own entries, or cannot be read."""
    if not journal.is_file():
        return False
    try:
        return not all(entry.by_machine for entry in parse_journal(journal.read_bytes()))
    except AlteredError:
        return True


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_mask(path: Path, array: NDArray[Any], grid: Grid) -> None:
    """Write a (z, y, x) mask or label map on a grid, to the disk itself; an OSError when the disk does not take it."""
    try:
        sitk.WriteImage(to_sitk(array, grid), str(path), True, _GZIP_LEVEL)
    except RuntimeError as error:
        number = errno.ENOSPC if shutil.disk_usage(path.parent).free < array.nbytes else errno.EIO
        raise OSError(number, os.strerror(number)) from error
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_masks(plan: Plan, folder: Path) -> None:
    spine = plan.spine
    (folder / "structures").mkdir()
    body = spine.body if spine.body is not None else np.zeros(spine.grid.shape, np.bool_)
    jobs: list[tuple[Path, NDArray[Any]]] = [
        (folder / LABELS_FILE, spine.labels.astype(np.uint8, copy=False)), (folder / BODY_FILE, body)]
    if spine.reconstructed is not None:
        jobs.append((folder / RECONSTRUCTED_FILE, spine.reconstructed))
    jobs += [(folder / "structures" / f"{name.value}.nii.gz", structure.mask)
             for name, structure in spine.structures.items() if structure.mask is not None]
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda job: write_mask(job[0], job[1], spine.grid), jobs))


def _source_entry(identity: SeriesIdentity | None) -> dict[str, Any] | None:
    if identity is None:
        return None
    return {"path": identity.source, "study_uid": identity.study_uid, "series_uid": identity.series_uid,
            "frame_of_reference_uid": identity.frame_of_reference_uid, "sha256": identity.sha256,
            "instance_uids": list(identity.instance_uids), "description": identity.description}


def _source_document(plan: Plan) -> dict[str, Any]:
    return {"schema": "nerveplan/source/1",
            "image": _source_entry(plan.identity) if plan.volume is not None else None,
            "labels": _source_entry(plan.labels_identity)}


def _run_document(plan: Plan, plan_sha256: str, writing: tuple[StageTime, ...]) -> dict[str, Any]:
    run, configuration = plan.run, parameters(plan.request, plan.version)
    stages = (*run.stages, *writing)
    return {"schema": "nerveplan/run/1", "started": run.started, "finished": run.finished,
            "versions": dict(run.versions), "parameters": configuration,
            "parameters_sha256": parameters_sha256(configuration),
            "inputs": [{"kind": i.kind, "sha256": i.sha256, **({"stamp": i.stamp} if i.stamp else {})}
                       for i in run.inputs],
            "stages": [{"name": s.name, "seconds": round(s.seconds, 3)} for s in stages],
            "seconds": round(sum(s.seconds for s in stages), 3), "peak_memory_mb": round(run.peak_memory_mb, 1),
            "exit_code": int(plan.exit_code), "plan_sha256": plan_sha256}


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A fresh folder beside `out` that takes its place when the block ends well, and vanishes when it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = partial_path(out)
    fresh.mkdir()
    try:
        yield fresh
        exchange(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_folder(plan: Plan, out: Path, *, overwrite: bool, report: ReportWriter | None) -> None:
    """Write the whole plan folder of design section 4.

    Parameters
    ----------
    plan : Plan
    out : Path
        The folder; see `check_free` for what may be there already.
    overwrite : bool
        Replace an unreviewed plan of the same study.
    report : ReportWriter or None
        Makes ``report.html``; None leaves the report out.
    """
    out = resolved(out)
    remove_leftovers(out)
    with _nobody_else(out):
        check_free(out, plan.study.study_id, overwrite=overwrite)
        _write_whole(plan, out, report)


def _nobody_else(out: Path) -> AbstractContextManager[None]:
    """The lock of a plan that is about to be replaced: whoever reviews it then cannot save into what goes away."""
    return folder_lock(out) if (out / PLAN_FILE).is_file() else nullcontext()


def _write_whole(plan: Plan, out: Path, report: ReportWriter | None) -> None:
    source, stages = _source_document(plan), Stages(None)
    validate(source, SchemaName.SOURCE)
    with new_folder(out) as fresh:
        with stages.stage("masks", 0.5):
            _write_masks(plan, fresh)
        versions = {"nerveplan": plan.version}
        entry = proposed_entry(to_document(plan), plan.run.finished, versions, hashes(fresh))
        document = fold((entry,)).document()
        validate(document, SchemaName.PLAN)
        plan_bytes = dump(document)
        plan_sha256 = hashlib.sha256(plan_bytes).hexdigest()
        masks = set(entry.body["files"])
        if report is not None:
            with stages.stage("report", 0.5):
                _write(fresh / REPORT_FILE, report(plan, plan_sha256).encode("utf-8"))
        run = _run_document(plan, plan_sha256, stages.times)
        validate(run, SchemaName.RUN)
        _write(fresh / RUN_FILE, dump(run))
        _write(fresh / SOURCE_FILE, dump(source), mode=0o600)
        record = {name: sha256 for name, sha256 in hashes(fresh).items() if name not in masks}
        entry = proposed_entry(entry.body["plan"], entry.when, versions, entry.body["files"], record)
        _write(fresh / JOURNAL_FILE, journal_lines((entry,)))
        _write(fresh / PLAN_FILE, plan_bytes)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its name with forward slashes."""
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(folder.rglob("*"))
            if path.is_file()}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_recorded(folder: Path, state: Fold) -> None:
    """Every mask is the one that the journal recorded.

    Raises
    ------
    AlteredError
        A mask is missing or was changed.
    """
    for name, recorded in sorted(state.files.items()):
        if name.endswith(_MASK_ENDING):
            if not (folder / name).is_file():
                raise AlteredError(f"the plan folder '{folder.name}' lacks {name}; restore it from a copy")
            if file_sha256(folder / name) != recorded[-1]:
                raise AlteredError(f"{name} in '{folder.name}' was changed after it was recorded; restore it from a "
                                   "copy")


def report_waits(folder: Path, state: Fold) -> bool:
    """Whether a save was killed between the journal, which names a new report, and putting that report in place."""
    waiting = staged_path(folder / REPORT_FILE)
    return waiting.is_file() and file_sha256(waiting) in state.files.get(REPORT_FILE, ())[-1:]


def read_folder(folder: Path) -> StoredPlan:
    """Read a plan folder's documents and check them against their schemas, hashes and journal.

    Raises
    ------
    AlteredError
        A document is missing, broken, or not the one that was written.
    NotFoundError
        There is no such folder.
    PlanVersionError
        The folder is of another version; see `planner.versions`.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no plan folder '{folder.name}'")
    try:
        plan_bytes = (folder / PLAN_FILE).read_bytes()
        plan, journal = json.loads(plan_bytes), (folder / JOURNAL_FILE).read_bytes()
        check_version(folder.name, plan, journal)
        run = json.loads((folder / RUN_FILE).read_bytes())
        validate(plan, SchemaName.PLAN)
        validate(run, SchemaName.RUN)
        entries = parse_journal(journal)
        check_journal(entries, plan["journal"])
        state = fold(entries)
    except (AlteredError, PlanVersionError):
        raise
    except FoldError as error:
        raise AlteredError(f"'{folder.name}': {error}") from error
    except (OSError, ValueError) as error:
        why = type(error).__name__ if isinstance(error, OSError) else str(error)[:300]
        raise AlteredError(f"'{folder.name}' is not a whole plan folder of this version: {why}") from error
    written = int(plan["journal"]["length"])
    behind = written < len(entries)
    expected = dump((fold(entries[:written]) if behind else state).document())
    if plan_bytes != expected:
        raise AlteredError(f"plan.json in '{folder.name}' was changed after it was written")
    return StoredPlan(state.document(), run, state, behind)
