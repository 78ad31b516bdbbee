"""Many studies at once: local worker processes, one folder per study, failures recorded and never fatal."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaging.errors import AlteredError, InputRefusedError, NerveplanError, NotFoundError, UsageError
from planner.batch_status import SOURCES_FILE
from planner.defaults import DEFAULT_ENGINE, DEFAULT_PROCEDURE
from planner.destination import check_writable, resolved
from planner.exit_codes import ExitCode, exit_code_of
from planner.folder import StoredPlan, dump, parameters, parameters_sha256, read_folder
from planner.locking import folder_lock
from planner.parquet import write_parquet
from planner.plan import PlanRequest, package_version
from planner.studies import Study, find_studies, stamp_of
from planner.tables import (
    STUDY_COLUMNS,
    TARGET_COLUMNS,
    TRAJECTORY_COLUMNS,
    study_row,
    target_rows,
    trajectory_rows,
    write_table,
)
from planner.versions import PlanVersionError
from segmentation.engine import Progress

__all__ = ["BatchReport", "BatchRequest", "run_batch"]

_log = logging.getLogger(__name__)
_FAILURES = "failures"


@dataclass(frozen=True)
class BatchRequest:
    """What is planned in every study, in the words of `planner.pipeline.plan_study`."""

    procedure: str = DEFAULT_PROCEDURE
    joints: tuple[str, ...] = ()
    nerves: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    engine: str = DEFAULT_ENGINE

    def parsed(self) -> PlanRequest:
        """As a plan request; what cannot be understood is a UsageError."""
        from planner.pipeline import parse_request
        return parse_request(self.procedure, self.joints, self.nerves, self.sides, self.engine, None, (), None, False)


@dataclass(frozen=True)
class Failure:
    """A study that could not be planned."""

    study: str
    exit_code: ExitCode
    reason: str

    def document(self) -> dict[str, Any]:
        """As it is written to ``failures/``."""
        return {"study": self.study, "code": self.exit_code.name.lower(), "exit_code": int(self.exit_code),
                "reason": self.reason}


@dataclass(frozen=True)
class BatchReport:
    """What a batch came to.

    Attributes
    ----------
    skipped : int
        Studies that an earlier run had finished with the same parameters.
    """

    studies: int
    planned: int
    abstained: int
    skipped: int
    failures: tuple[Failure, ...]

    @property
    def exit_code(self) -> ExitCode:
        """PARTIAL when a study failed, else OK."""
        return ExitCode.PARTIAL if self.failures else ExitCode.OK

    @property
    def sentence(self) -> str:
        """The counts in words."""
        return (f"{self.studies} studies: {self.planned} planned, {self.abstained} abstained, {len(self.failures)} "
                f"failed; {self.skipped} were finished before")

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return {"studies": self.studies, "planned": self.planned, "abstained": self.abstained,
                "skipped": self.skipped, "failures": [f.document() for f in self.failures],
                "exit_code": int(self.exit_code)}


def _plan_one(path: str, out: str, request: BatchRequest, wanted: str) -> None:
    """Plan one study in a worker process, unless its plan holds: files that were only copied anew are the same."""
    from planner.pipeline import plan_study, read_hashed
    stored = _whole(Path(out))
    if stored is not None:
        if read_hashed(Path(path), None, None).identity.sha256 != stored.plan["study"]["image_sha256"]:
            _make_way(Path(out))
        elif stored.run["parameters_sha256"] == wanted:
            return
    plan_study(path, out, procedure=request.procedure, joints=request.joints, nerves=request.nerves,
               sides=request.sides, engine=request.engine, overwrite=True)


def _make_way(folder: Path) -> None:
    """Remove the plan of files that were replaced; one that a person has worked on is refused."""
    with folder_lock(folder):
        if not all(entry.by_machine for entry in read_folder(folder).journal):
            raise InputRefusedError("the files were replaced after a person had worked on their plan: move that plan's "
                                    "folder away and run again")
        shutil.rmtree(folder)


def _whole(folder: Path) -> StoredPlan | None:
    """The plan of an earlier run when it is whole and of this version."""
    try:
        return read_folder(folder)
    except (AlteredError, NotFoundError, PlanVersionError):
        return None


def _finished(folder: Path, wanted: str) -> StoredPlan | None:
    """The plan of an earlier run when it is whole and was made with the same parameters."""
    stored = _whole(folder)
    return stored if stored is not None and stored.run["parameters_sha256"] == wanted else None


def _is_current(study: Study, folder: Path, wanted: str) -> bool:
    """Whether an earlier run finished a study whose files have not been touched since."""
    stored = _finished(folder, wanted)
    return stored is not None and any(i.get("stamp") == stamp_of(study.path) for i in stored.run["inputs"])


@contextmanager
def _cluster(workers: int | None) -> Iterator[Any]:
    """A client of a local cluster of worker processes; UsageError when the extra is not installed."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError("batch needs the extra 'batch': pip install 'nerveplan[batch]'") from error
    cores = os.cpu_count() or 1
    count = workers or max(1, cores // 2)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    with LocalCluster(n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None,
                      silence_logs=logging.ERROR) as cluster, Client(cluster) as client:
        yield client


def _reason(error: BaseException) -> Failure:
    """Why a study failed. Only errors raised on purpose are quoted; the text of others may hold a name."""
    said = str(error) if isinstance(error, NerveplanError) else f"internal error ({type(error).__name__})"
    return Failure("", exit_code_of(error), said)


def _work(studies: list[Study], out: Path, request: BatchRequest, wanted: str, done: set[str], workers: int | None,
          progress: Progress | None) -> list[Failure]:
    """Plan the studies, whose ids join `done`; failures come back as values and are written as they happen."""
    failures: list[Failure] = []
    with _cluster(workers) as client:
        from distributed import as_completed

        futures = {client.submit(_plan_one, str(s.path), str(out / s.id), request, wanted, key=s.id, pure=False,
                                 retries=0): s for s in studies}
        for number, future in enumerate(as_completed(futures), start=1):
            error = future.exception()
            record = out / _FAILURES / f"{futures[future].id}.json"
            if error is None:
                record.unlink(missing_ok=True)
                done.add(futures[future].id)
            else:
                why = _reason(error)
                failure = Failure(futures[future].id, why.exit_code, why.reason)
                failures.append(failure)
                record.parent.mkdir(exist_ok=True)
                record.write_bytes(dump(failure.document()))
            if progress is not None:
                progress(f"{number}/{len(studies)} done, {len(failures)} failed", number / len(studies))
    return sorted(failures, key=lambda f: f.study)


def run_batch(root: Path, out: Path, request: BatchRequest, *, workers: int | None = None,
              progress: Progress | None = None) -> BatchReport:
    """Plan every study below `root`.

    Each study's plan folder is ``out/ID``; ``studies``, ``targets`` and ``trajectories`` gather them, as CSV and as
    Parquet; ``sources.csv`` (private) says which study is which, ``failures/ID.json`` why one failed. A rerun skips
    what is finished with the same parameters on the same files. An interrupt leaves the tables with what is finished.

    Parameters
    ----------
    workers : int or None
        Processes; one per two cores when None.
    """
    out = resolved(out)
    wanted = parameters_sha256(parameters(request.parsed(), package_version()))
    studies = find_studies(root, leave_out=out)
    if not studies:
        raise InputRefusedError(f"no study was found below '{root.name}'")
    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / SOURCES_FILE, ("study", "place"), [{"study": s.id, "place": s.place} for s in studies], 0o600)
    before = {study.id for study in studies if _is_current(study, out / study.id, wanted)}
    for name in before:
        (out / _FAILURES / f"{name}.json").unlink(missing_ok=True)
    waiting, done = [study for study in studies if study.id not in before], set(before)
    failures: list[Failure] = []
    try:
        if waiting:
            failures = _work(waiting, out, request, wanted, done, workers, progress)
    finally:
        rows = _write_tables(studies, out, wanted, done)
    planned = sum(row["status"] == "planned" for row in rows)
    abstained = sum(row["status"] == "abstained" for row in rows)
    return BatchReport(len(studies), planned, abstained, len(before), tuple(failures))


def _write_tables(studies: tuple[Study, ...], out: Path, wanted: str, done: set[str]) -> list[dict[str, object]]:
    """Gather the studies that are `done` and what failed into the tables."""
    rows: list[dict[str, object]] = []
    targets: list[dict[str, object]] = []
    trajectories: list[dict[str, object]] = []
    for study in sorted(studies, key=lambda s: s.id):
        stored = _finished(out / study.id, wanted) if study.id in done else None
        record = out / _FAILURES / f"{study.id}.json"
        if stored is not None:
            rows.append(study_row(study.id, stored.plan, stored.run))
            targets += target_rows(study.id, stored.plan)
            trajectories += trajectory_rows(study.id, stored.plan)
        elif record.is_file():
            failure = json.loads(record.read_bytes())
            rows.append({"study": study.id, "status": "failed", "exit_code": failure["exit_code"],
                         "reason": failure["reason"]})
    for name, columns, held in (("studies", STUDY_COLUMNS, rows), ("targets", TARGET_COLUMNS, targets),
                                ("trajectories", TRAJECTORY_COLUMNS, trajectories)):
        write_table(out / f"{name}.csv", columns, held)
        write_parquet(out / f"{name}.parquet", columns, held)
    return rows
