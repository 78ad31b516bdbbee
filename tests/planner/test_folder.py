"""The plan folder: complete, atomic, private where it must be, refused where it must not be replaced."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk

from imaging.errors import AlteredError, InputRefusedError, UsageError
from planner import folder as folder_module
from planner.folder import read_folder, write_folder
from planner.journal import Entry, head_of, journal_lines
from planner.locking import LOCK_FILE
from planner.plan import Plan
from tests.planner import builders

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return builders.plan()


def write(plan: Plan, out: Path, overwrite: bool = False) -> Path:
    write_folder(plan, out, overwrite=overwrite, report=lambda _, sha256: f"<html>{sha256}</html>")
    return out


def snapshot(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_every_file_of_the_contract_is_there_and_checked(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    names = set(snapshot(out))
    assert names == {"plan.json", "run.json", "source.json", "journal.jsonl", "report.html", "labels.nii.gz",
                     "body.nii.gz", "reconstructed.nii.gz", "structures/canal.nii.gz", "structures/metal.nii.gz"}
    assert stat.S_IMODE((out / "source.json").stat().st_mode) == 0o600
    stored = read_folder(out)
    assert stored.plan["study"]["image_sha256"] == plan.identity.sha256
    assert [entry.body["state"] for entry in stored.journal] == ["proposed"]
    run = json.loads((out / "run.json").read_text())
    assert {s["name"] for s in run["stages"]} >= {"read", "search", "masks", "report"}
    assert run["inputs"] == [{"kind": "image", "sha256": plan.identity.sha256}]
    assert list(tmp_path.iterdir()) == [out]


def test_masks_lie_on_the_input_grid(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    image = sitk.ReadImage(str(out / "labels.nii.gz"))
    assert image.GetSize() == tuple(reversed(plan.spine.grid.shape))
    assert image.GetOrigin() == pytest.approx(plan.spine.grid.origin)
    assert (sitk.GetArrayFromImage(image) == plan.spine.labels).all()
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(out / "structures/canal.nii.gz"))).sum() == builders.canal().sum()


def test_without_an_image_the_body_is_written_empty_and_said_so(plan: Plan, tmp_path: Path) -> None:
    out = write(replace(plan, spine=replace(plan.spine, body=None)), tmp_path / "case")
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(out / "body.nii.gz"))).sum() == 0
    assert read_folder(out).plan["masks"]["body"]["computed"] is False


def test_a_rerun_at_another_time_gives_the_same_plan_bytes(plan: Plan, tmp_path: Path) -> None:
    first = write(plan, tmp_path / "a")
    later = replace(plan, run=replace(plan.run, started="2027-01-01T00:00:00+00:00",
                                      finished="2027-01-01T00:00:09+00:00"))
    second = write(later, tmp_path / "b")
    for name in ("plan.json", "labels.nii.gz", "body.nii.gz", "structures/canal.nii.gz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (first / "journal.jsonl").read_bytes() != (second / "journal.jsonl").read_bytes()


@pytest.mark.parametrize("where", ["_write_masks", "journal_lines", "exchange", "_run_document"])
def test_a_fault_anywhere_leaves_the_old_folder_whole(plan: Plan, tmp_path: Path, where: str,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    out = write(plan, tmp_path / "case")
    before = snapshot(out)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(folder_module, where, fail)
    with pytest.raises(OSError, match="disk full"):
        write(plan, out, overwrite=True)
    assert snapshot(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_kill_in_the_middle_leaves_the_old_folder_and_the_next_run_cleans_up(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    before = snapshot(out)
    code = ("import time; from pathlib import Path; from tests.planner import builders; from planner import folder\n"
            "def stop(*_): print('here', flush=True); time.sleep(60)\n"
            "folder.journal_lines = stop\n"
            f"folder.write_folder(builders.plan(), Path({str(out)!r}), overwrite=True, report=None)")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert {name: data for name, data in snapshot(out).items() if name != LOCK_FILE} == before
    assert len(list(tmp_path.iterdir())) == 2
    write(plan, out, overwrite=True)
    assert list(tmp_path.iterdir()) == [out]


def test_a_reader_never_finds_the_folder_missing_while_it_is_replaced(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    code = (f"import os, sys, time\nend = time.monotonic() + 20\nprint('ready', flush=True)\n"
            f"while time.monotonic() < end and not os.path.exists({str(tmp_path / 'stop')!r}):\n"
            f"    os.stat({str(out / 'plan.json')!r})")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        for _ in range(4):
            write(plan, out, overwrite=True)
            time.sleep(0.01)
        (tmp_path / "stop").touch()
        assert watcher.wait(timeout=30) == 0


def test_another_study_is_refused_and_untouched(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    before = snapshot(out)
    other = replace(plan, study=replace(plan.study, study_id="0" * 16))
    with pytest.raises(InputRefusedError, match="another study"):
        write(other, out, overwrite=True)
    assert snapshot(out) == before


def test_the_same_study_is_replaced_only_when_asked(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    with pytest.raises(UsageError, match="--overwrite"):
        write(plan, out)
    write(plan, out, overwrite=True)


def test_a_folder_that_is_no_plan_is_refused_and_an_empty_one_used(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("years of work")
    with pytest.raises(InputRefusedError, match="not a plan"):
        write(plan, tmp_path / "full", overwrite=True)
    (tmp_path / "empty").mkdir()
    assert read_folder(write(plan, tmp_path / "empty"))


def test_a_plan_a_person_worked_on_is_never_replaced(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    first = read_folder(out).journal[0]
    second = Entry(first.hash, {"state": "approved"}, "A. Reader", "physician", "2026-11-02T08:00:00+00:00", {}, "fits")
    (out / "journal.jsonl").write_bytes(journal_lines((first, second)))
    with pytest.raises(InputRefusedError, match="by a person"):
        write(plan, out, overwrite=True)


@pytest.mark.parametrize("name", ["plan.json", "journal.jsonl"])
def test_a_changed_figure_is_found(plan: Plan, tmp_path: Path, name: str) -> None:
    out = write(plan, tmp_path / "case")
    data = (out / name).read_bytes()
    assert b"LEFT" in data
    (out / name).write_bytes(data.replace(b"LEFT", b"RIGHT", 1))
    with pytest.raises(AlteredError):
        read_folder(out)


def test_a_changed_time_or_a_removed_entry_is_found(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    path = out / "journal.jsonl"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"2026-11-01T10:00:05", b"2026-11-01T10:00:06"))
    with pytest.raises(AlteredError, match="changed"):
        read_folder(out)
    path.write_bytes(b"")
    with pytest.raises(AlteredError, match="empty"):
        read_folder(out)


def test_the_head_is_bound_to_time_once_a_person_has_acted(plan: Plan, tmp_path: Path) -> None:
    first = read_folder(write(plan, tmp_path / "case")).journal[0]
    moved = replace(first, when="2030-01-01T00:00:00+00:00")
    assert head_of((first,)) == head_of((moved,))
    act = {"state": "approved"}
    one = Entry(first.hash, act, "A. Reader", "physician", "2026-11-02T08:00:00+00:00", {}, "fits")
    two = replace(one, prev=moved.hash)
    assert head_of((first, one)) != head_of((moved, two))


def test_writing_works_where_folders_cannot_be_swapped(plan: Plan, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.replace._swap", lambda a, b: False)
    out = write(plan, tmp_path / "case")
    write(plan, out, overwrite=True)
    assert read_folder(out)
    assert os.listdir(tmp_path) == ["case"]


def test_a_folder_that_stepped_aside_comes_back(plan: Plan, tmp_path: Path) -> None:
    out = write(plan, tmp_path / "case")
    before = snapshot(out)
    os.rename(out, tmp_path / ".case.before")
    with pytest.raises(UsageError, match="--overwrite"):
        write(plan, out)
    assert snapshot(out) == before
