"""Where results go: links followed, the place tried before the work, and the system's refusals in words."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imaging.errors import InputRefusedError, UsageError
from planner import pipeline
from planner.cli import app
from planner.destination import check_writable, resolved
from planner.exit_codes import ExitCode, exit_code_of
from planner.exports import ExportFormat, export_plan
from planner.exports.standing import PlanFolder
from planner.folder import read_folder, write_folder
from planner.plan import Plan
from tests.planner import builders

run = CliRunner()


@pytest.fixture(scope="module")
def plan() -> Plan:
    return builders.plan()


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stands_for_the_folder_it_names(there: bool, plan: Plan, tmp_path: Path) -> None:
    if there:
        (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_folder(plan, tmp_path / "link", overwrite=False, report=None)
    assert (tmp_path / "link").is_symlink()
    assert read_folder(tmp_path / "real").plan == read_folder(tmp_path / "link").plan


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputRefusedError):
        check_writable(resolved(tmp_path / "a"))


def test_a_place_that_cannot_be_made_is_refused_before_the_scan_is_read(tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(*_: object) -> None:
        raise AssertionError("the scan was read")

    monkeypatch.setattr(pipeline, "_read", unread)
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y", Path("/proc/x")):
        result = run.invoke(app, ["plan", str(tmp_path / "scan.nii"), "--out", str(out)])
        assert result.exit_code == ExitCode.REFUSED, result.output
        assert "nothing can be written to" in result.output
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "not permitted")])
def test_a_disk_that_takes_nothing_is_named(number: int, words: str, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "Secret^Name")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputRefusedError, match=words) as refusal:
        check_writable(tmp_path / "case")
    assert "Secret" not in str(refusal.value)


def test_a_disk_that_fills_up_in_the_middle_is_a_sentence(plan: Plan, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """SimpleITK says RuntimeError only; the free space tells why."""
    def fail(*_: object) -> None:
        raise RuntimeError("cannot write")

    monkeypatch.setattr("planner.folder.sitk.WriteImage", fail)
    monkeypatch.setattr("planner.folder.shutil.disk_usage", lambda _: _Usage())
    with pytest.raises(OSError, match="No space") as full:
        write_folder(plan, tmp_path / "case", overwrite=False, report=None)
    assert exit_code_of(full.value) is ExitCode.REFUSED
    assert list(tmp_path.iterdir()) == []

    def study(*_: object, **__: object) -> None:
        raise full.value

    monkeypatch.setattr("planner.pipeline.plan_study", study)
    result = run.invoke(app, ["plan", "scan", "--out", str(tmp_path / "case")])
    assert result.exit_code == ExitCode.REFUSED
    assert "the disk is full" in result.output


class _Usage:
    """A full disk."""

    free = 0


def test_exports_never_go_into_a_plan_folder(folder: Path) -> None:
    held = sorted(folder.rglob("*"))
    for out in (folder, folder / "sub", folder / "structures" / "deep"):
        with pytest.raises(UsageError, match="plan folder"):
            export_plan(PlanFolder.read(folder), (ExportFormat.CSV,), out)
    assert sorted(folder.rglob("*")) == held


@pytest.mark.parametrize("command", [
    ["export", "--to", "csv", "--out", "x"], ["verify"], ["history"], ["report"],
    ["approve", "t", "--side", "left", "--who", "A"]])
def test_a_folder_that_is_not_there_is_refused_by_every_command(command: list[str], tmp_path: Path) -> None:
    result = run.invoke(app, [command[0], str(tmp_path / "nosuch"), *command[1:]])
    assert result.exit_code == ExitCode.REFUSED
    assert "there is no plan folder 'nosuch'" in result.output


def test_a_journal_that_is_a_folder_is_missing(folder: Path) -> None:
    (folder / "journal.jsonl").unlink()
    (folder / "journal.jsonl").mkdir()
    for command in ("verify", "history"):
        result = run.invoke(app, [command, str(folder)])
        assert result.exit_code == ExitCode.ALTERED, result.output
