"""A batch in real worker processes: failures are recorded and never fatal, a rerun goes on, tables gather all."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from imaging.errors import InputRefusedError, UsageError
from planner.batch import BatchRequest, run_batch
from planner.batch_status import batch_status
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.studies import find_studies

pytest.importorskip("distributed")

FINISHED = "[0-9a-f]*/run.json"
"""Run records of finished studies; a plain `*` would also find the hidden folders that are still being written."""


def magnetic_resonance(path: Path, seed: int) -> None:
    """An image that is read and not planned on: quick to abstain from."""
    values = np.random.default_rng(seed).integers(0, 900, (12, 14, 16)).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    for n in range(2):
        (root / f"case{n}").mkdir()
        magnetic_resonance(root / f"case{n}" / "t2.nii.gz", n)
    (root / "broken.nii.gz").write_bytes(b"this is no image")
    (root / "=cmd().mha").write_bytes(b"nor is this")
    return root


@pytest.fixture(scope="module")
def out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "batch"
    report = run_batch(root, out, BatchRequest(), workers=1)
    assert (report.studies, report.planned, report.abstained, report.skipped) == (4, 0, 2, 0)
    assert len(report.failures) == 2
    assert report.exit_code is ExitCode.PARTIAL
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_failures_are_recorded_with_their_reason(out: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted((out / "failures").glob("*.json"))]
    assert {record["code"] for record in records} == {"refused"}
    assert all(record["reason"] for record in records)


def test_the_tables_gather_every_study(out: Path) -> None:
    studies = rows(out / "studies.csv")
    assert sorted(row["status"] for row in studies) == ["abstained", "abstained", "failed", "failed"]
    assert all(row["reason"] for row in studies)
    assert (out / "targets.csv").read_text().startswith("study,target_id,")


def test_the_parquet_tables_hold_the_same_rows_with_types(out: Path) -> None:
    from pyarrow import parquet

    studies = parquet.read_table(out / "studies.parquet")
    assert studies.column("study").to_pylist() == [row["study"] for row in rows(out / "studies.csv")]
    assert {str(studies.schema.field(name).type) for name in ("targets", "planned")} == {"int64"}
    for name in ("targets", "trajectories"):
        table = parquet.read_table(out / f"{name}.parquet")
        assert table.num_rows == len(rows(out / f"{name}.csv"))
        assert table.column_names == (out / f"{name}.csv").read_text().splitlines()[0].split(",")
        assert str(table.schema.field("tip_x").type) == "double"


def test_the_status_counts_every_study(out: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["batch", "status", str(out), "--json"])
    assert shown.exit_code == ExitCode.OK, shown.output
    document = json.loads(shown.output)
    assert document["counts"] == {"abstained": 2, "failed": 2}
    assert sum(bool(study["reason"]) for study in document["studies"]) == 2
    assert "4 studies: 2 abstained, 2 failed" in CliRunner().invoke(app, ["batch", "status", str(out)]).output
    assert CliRunner().invoke(app, ["batch", "status", str(tmp_path)]).exit_code == ExitCode.REFUSED
    assert CliRunner().invoke(app, ["batch", str(out), str(out)]).exit_code == ExitCode.USAGE
    assert CliRunner().invoke(app, ["batch", str(out)]).exit_code == ExitCode.USAGE


def test_a_batch_killed_in_the_middle_goes_on_without_loss_or_double(tmp_path: Path) -> None:
    for n in range(4):
        magnetic_resonance(tmp_path / f"case{n}.nii.gz", n)
    root, out = tmp_path, tmp_path / "out"
    command = [sys.executable, "-m", "planner", "batch", str(root), "--out", str(out), "--workers", "1"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 240
        while not list(out.glob(FINISHED)) and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = {path.parent.name: path.read_bytes() for path in out.glob(FINISHED)}
    assert 0 < len(before) < 4
    waiting = batch_status(out).counts
    assert waiting == {"abstained": len(before), "waiting": 4 - len(before)}
    report = run_batch(root, out, BatchRequest(), workers=1)
    assert (report.studies, report.abstained, report.skipped, report.failures) == (4, 4, len(before), ())
    assert all((out / name / "run.json").read_bytes() == data for name, data in before.items())
    assert len({row["study"] for row in rows(out / "studies.csv")}) == len(rows(out / "studies.csv")) == 4


def test_which_study_is_which_stays_private_and_harmless(out: Path) -> None:
    assert stat.S_IMODE((out / "sources.csv").stat().st_mode) == 0o600
    places = {row["place"] for row in rows(out / "sources.csv")}
    assert places == {"case0/t2.nii.gz", "case1/t2.nii.gz", "broken.nii.gz", "'=cmd().mha"}
    assert not any("case0" in path.name for path in out.rglob("*"))


def test_a_rerun_skips_what_is_finished_and_tries_failures_again(root: Path, out: Path) -> None:
    finished = sorted(out.glob("*/run.json"))
    before = [path.read_bytes() for path in finished]
    (root / "broken.nii.gz").unlink()
    magnetic_resonance(root / "broken.nii.gz", 5)
    report = run_batch(root, out, BatchRequest(), workers=1)
    assert (report.abstained, report.skipped, len(report.failures)) == (3, 2, 1)
    assert [path.read_bytes() for path in finished] == before
    assert len(list((out / "failures").glob("*.json"))) == 1


def test_other_parameters_are_another_batch(root: Path, out: Path) -> None:
    report = run_batch(root, out, BatchRequest(sides=("left",)), workers=1)
    assert report.skipped == 0


def test_what_cannot_be_understood_or_found_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can mean the nerve"):
        run_batch(tmp_path, tmp_path / "out", BatchRequest(nerves=("L4",)))
    with pytest.raises(InputRefusedError, match="no study"):
        run_batch(tmp_path, tmp_path / "out", BatchRequest())
    assert not (tmp_path / "out").exists()


def test_without_the_extra_it_says_what_to_install(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = CliRunner().invoke(app, ["batch", str(root), "--out", str(tmp_path / "out")])
    assert result.exit_code == ExitCode.USAGE
    assert "nerveplan[batch]" in result.stderr


def test_an_interrupt_leaves_the_tables(root: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("planner.batch._work", stop)
    result = CliRunner().invoke(app, ["batch", str(root), "--out", str(tmp_path / "out")])
    assert result.exit_code == ExitCode.INTERRUPTED
    assert (tmp_path / "out" / "studies.csv").is_file()


def test_a_replaced_file_is_planned_anew_and_a_touched_one_is_not(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for n, name in enumerate("ab"):
        magnetic_resonance(scans / f"{name}.nii.gz", n)
    run_batch(scans, out, BatchRequest(), workers=1)
    before = {path.parent.name: path.read_bytes() for path in out.glob(FINISHED)}
    assert run_batch(scans, out, BatchRequest(), workers=1).skipped == 2
    magnetic_resonance(scans / "a.nii.gz", 7)
    os.utime(scans / "b.nii.gz", ns=(1, 1))
    report = run_batch(scans, out, BatchRequest(), workers=1)
    after = {path.parent.name: path.read_bytes() for path in out.glob(FINISHED)}
    changed = {row["study"] for row in rows(out / "sources.csv") if row["place"] == "a.nii.gz"}
    assert {name for name in after if after[name] != before.get(name)} == changed
    assert (report.studies, report.abstained, report.failures) == (2, 2, ())


def test_the_plan_of_a_file_that_broke_is_not_passed_off_as_its_own(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    magnetic_resonance(scans / "a.nii.gz", 1)
    run_batch(scans, out, BatchRequest(), workers=1)
    (scans / "a.nii.gz").write_bytes(b"no image any more")
    assert len(run_batch(scans, out, BatchRequest(), workers=1).failures) == 1
    assert [row["status"] for row in rows(out / "studies.csv")] == ["failed"]
    assert [study.state for study in batch_status(out).studies] == ["failed"]


def test_earlier_plan_folders_are_no_studies(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "scans" / "plan")
    magnetic_resonance(tmp_path / "scans" / "a.nii.gz", 1)
    assert [study.place for study in find_studies(tmp_path / "scans")] == ["a.nii.gz"]
