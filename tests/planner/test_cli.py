"""The command line: exit codes, what goes to which stream, what is refused before anything is written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from imaging.errors import AlteredError, InputRefusedError, NotFoundError, UsageError
from planner import plugins
from planner.cli import app
from planner.exit_codes import ExitCode, exit_code_of
from planner.pipeline import plan_study, segment_study
from segmentation.spine import Numbering, NumberingStatus, NumberingTier
from targeting.model import ProposalStatus
from targeting.targets import TargetList
from tests.planner import builders

ROOT = Path(__file__).resolve().parents[2]
run = CliRunner()


class HandMadeEngine:
    """Knows the hand-made study by heart."""

    name = "hand"

    def segment(self, volume: object, progress: object) -> object:
        return builders.segmentation()


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their pictures, where the pictures are not what is tested."""
    monkeypatch.setattr("planner.report.target_pictures", lambda *_: ())
    monkeypatch.setattr("planner.report.overview_picture", lambda *_: None)


@pytest.fixture
def hand_made(few_pictures: None, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Replace reading, engine, anatomy and search by the hand-made study."""
    plan = builders.plan()
    targets = TargetList(tuple(p.target for p in plan.proposals), ())
    monkeypatch.setattr("imaging.reading.read_input", lambda *_, **__: builders.volume())
    monkeypatch.setattr("segmentation.engine.load_engine", lambda _: HandMadeEngine())
    monkeypatch.setattr("segmentation.assemble.build_spine", lambda *_: builders.spine())
    monkeypatch.setattr("planner.pipeline.make_targets", lambda *_: targets)
    monkeypatch.setattr("targeting.planning.propose", lambda *_: plan.proposals)
    return monkeypatch


def test_plan_writes_the_folder_and_prints_one_object(hand_made: object, tmp_path: Path) -> None:
    out = tmp_path / "case"
    result = run.invoke(app, ["plan", "ct", "--out", str(out), "--json"])
    assert result.exit_code == ExitCode.OK, result.output
    said = json.loads(result.stdout)
    assert said["planned"] == 5
    assert said["targets"][0]["side"] == "LEFT"
    assert "What to dial" in (out / "report.html").read_text()
    again = run.invoke(app, ["plan", "ct", "--out", str(out)])
    assert again.exit_code == ExitCode.USAGE
    assert "--overwrite" in again.stderr
    table = run.invoke(app, ["plan", "ct", "--out", str(out), "--overwrite"])
    assert table.exit_code == ExitCode.OK
    assert "RESEARCH USE ONLY" in table.stdout
    assert "LEFT" in table.stdout
    assert table.stderr == ""


def test_another_study_in_the_folder_is_refused(hand_made: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case")]).exit_code == ExitCode.OK
    before = (tmp_path / "case" / "plan.json").read_bytes()
    other = builders.volume()
    hand_made.setattr("imaging.reading.read_input",
                      lambda *_, **__: replace(other, identity=replace(other.identity, study_uid="9.9")))
    result = run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case"), "--overwrite"])
    assert result.exit_code == ExitCode.REFUSED
    assert "another study" in result.stderr
    assert (tmp_path / "case" / "plan.json").read_bytes() == before


@pytest.mark.parametrize(("arguments", "words"), [
    (["--nerve", "L4"], "can mean the nerve"), (["--side", "up"], "not a side"),
    (["--joint", "L9/9"], "not a facet joint"), (["--procedure", "massage"], "not a procedure"),
    (["--name", "L4"], "does not state a level"),
    (["--labels", "x.nii.gz"], "belong together"), (["--scheme", "verse"], "belong together"),
])
def test_what_cannot_be_understood_is_a_usage_error(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case"), *arguments])
    assert result.exit_code == ExitCode.USAGE
    assert words in result.stderr
    assert not list(tmp_path.iterdir())


def test_neither_image_nor_labels_is_a_usage_error_and_nothing_there_is_a_refusal(tmp_path: Path) -> None:
    assert run.invoke(app, ["plan", "--out", str(tmp_path / "x")]).exit_code == ExitCode.USAGE
    assert run.invoke(app, ["plan", "nowhere", "--out", str(tmp_path / "x")]).exit_code == ExitCode.REFUSED
    assert run.invoke(app, ["inspect", "nowhere"]).exit_code == ExitCode.REFUSED
    assert run.invoke(app, ["no-such-command"]).exit_code == ExitCode.USAGE
    assert not list(tmp_path.iterdir())


def test_relative_levels_abstain_and_everything_else_is_written(hand_made: pytest.MonkeyPatch, tmp_path: Path) -> None:
    relative = replace(builders.spine(), numbering=Numbering(NumberingTier.D, NumberingStatus.RELATIVE))
    hand_made.setattr("segmentation.assemble.build_spine", lambda *_: relative)
    result = run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case")])
    assert result.exit_code == ExitCode.ABSTAINED
    plan = json.loads((tmp_path / "case" / "plan.json").read_text())
    assert {p["status"] for p in plan["proposals"]} == {"none"}
    assert all("--name" in p["reason"] for p in plan["proposals"])
    assert "level_unknown" in {f["code"] for f in plan["findings"]}


def test_mr_is_not_planned_and_says_so(hand_made: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hand_made.setattr("imaging.reading.read_input", lambda *_, **__: builders.volume("MR"))
    hand_made.setattr("planner.pipeline.make_targets", lambda *_: TargetList((), ()))
    result = run.invoke(app, ["plan", "mr", "--out", str(tmp_path / "case")])
    assert result.exit_code == ExitCode.ABSTAINED
    plan = json.loads((tmp_path / "case" / "plan.json").read_text())
    assert "modality_not_planned" in {f["code"] for f in plan["findings"]}
    assert plan["masks"]["body"]["computed"] is False
    assert (tmp_path / "case" / "labels.nii.gz").is_file()


def test_labels_without_an_image_list_targets_and_no_needles(hand_made: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels = tmp_path / "labels.nii.gz"
    labels.write_bytes(b"label map")
    hand_made.setattr("segmentation.labels.import_labels", lambda *_: builders.segmentation())
    result = run.invoke(app, ["plan", "--labels", str(labels), "--scheme", "verse", "--out", str(tmp_path / "case")])
    assert result.exit_code == ExitCode.ABSTAINED, result.output
    plan = json.loads((tmp_path / "case" / "plan.json").read_text())
    assert len(plan["targets"]) == 6
    assert all(p["status"] == "none" and p["reason"].startswith("no image") for p in plan["proposals"])
    source = json.loads((tmp_path / "case" / "source.json").read_text())
    assert source["image"] is None
    assert source["labels"]["path"] == str(labels)


def test_an_unexpected_error_is_named_by_kind_alone(hand_made: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DOE^JANE")

    hand_made.setattr("imaging.reading.read_input", fail)
    result = run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case")])
    assert result.exit_code == ExitCode.INTERNAL
    assert "RuntimeError" in result.stderr
    assert "DOE" not in result.output
    assert "Traceback" not in result.output
    shown = run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case"), "--debug"])
    assert shown.exit_code == ExitCode.INTERNAL
    assert "Traceback" in shown.stderr


def test_an_interrupt_leaves_the_old_folder(hand_made: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case")]).exit_code == ExitCode.OK
    before = (tmp_path / "case" / "run.json").read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    hand_made.setattr("targeting.planning.propose", stop)
    result = run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "case"), "--overwrite"])
    assert result.exit_code == ExitCode.INTERRUPTED
    assert (tmp_path / "case" / "run.json").read_bytes() == before


def test_segment_writes_the_anatomy_without_targets(hand_made: object, tmp_path: Path) -> None:
    result = run.invoke(app, ["segment", "ct", "--out", str(tmp_path / "case"), "--json"])
    assert result.exit_code == ExitCode.OK, result.output
    plan = json.loads((tmp_path / "case" / "plan.json").read_text())
    assert plan["targets"] == []
    assert len(plan["levels"]) == 3


def test_the_function_and_the_command_are_one(hand_made: object, tmp_path: Path) -> None:
    told: list[float] = []
    plan = plan_study("ct", tmp_path / "a", progress=lambda _, fraction: told.append(fraction),
                      clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert plan.planned == 5
    assert json.loads((tmp_path / "a" / "run.json").read_text())["started"] == "2026-01-02T00:00:00+00:00"
    assert plan_study("ct").exit_code is ExitCode.OK
    assert segment_study("ct").proposals == ()
    run.invoke(app, ["plan", "ct", "--out", str(tmp_path / "b")])
    assert (tmp_path / "a" / "plan.json").read_bytes() == (tmp_path / "b" / "plan.json").read_bytes()


def test_skin_out_of_view_and_missing_paths_are_findings(hand_made: pytest.MonkeyPatch) -> None:
    plan = builders.plan()
    hidden = tuple(replace(p, status=ProposalStatus.DIRECTION_ONLY) if p.placements else p for p in plan.proposals)
    hand_made.setattr("targeting.planning.propose", lambda *_: hidden)
    codes = [finding.code.value for finding in plan_study("ct").findings]
    assert codes == ["supine_scan_prone_procedure", "skin_not_in_view", "no_admissible_path"]


def test_lists_come_as_tables_and_as_json() -> None:
    assert "lumbar-medial-branch-block" in run.invoke(app, ["procedures"]).stdout
    names = [entry["name"] for entry in json.loads(run.invoke(app, ["procedures", "--json"]).stdout)]
    assert "lumbar-medial-branch-rf" in names
    assert "python" in json.loads(run.invoke(app, ["info", "--format", "json"]).stdout)


def test_inspect_says_why_an_input_is_not_fit(tmp_path: Path) -> None:
    import SimpleITK as sitk
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), str(tmp_path / "zeros.mha"))
    result = run.invoke(app, ["inspect", str(tmp_path / "zeros.mha"), "--json"])
    assert result.exit_code == ExitCode.REFUSED
    seen = json.loads(result.stdout)
    assert seen["fit"] is False
    assert seen["series"][0]["reasons"]


@pytest.mark.parametrize(("error", "code"), [
    (UsageError("x"), 2), (InputRefusedError("x"), 3), (NotFoundError("x"), 3), (AlteredError("x"), 6),
    (KeyError("x"), 5), (KeyboardInterrupt(), 130),
])
def test_every_error_has_its_code(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code


def test_an_extra_command_is_found_and_a_broken_one_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"hello": EntryPoint("hello", "tests.planner.test_cli:hello", plugins.COMMAND_GROUP),
              "broken": EntryPoint("broken", "no_such_package:command", plugins.COMMAND_GROUP)}
    monkeypatch.setattr(plugins, "plugin_commands", lambda: points)
    listed = run.invoke(app, ["--help"])
    assert listed.exit_code == 0
    assert "hello" in listed.stdout
    assert "'broken' cannot be loaded" in listed.stderr
    assert run.invoke(app, ["hello", "--name", "you"]).stdout == "hello you\n"
    refused = run.invoke(app, ["hello", "--name", "nobody"])
    assert refused.exit_code == ExitCode.REFUSED
    assert run.invoke(app, ["broken"]).exit_code == ExitCode.USAGE


def hello(name: str = typer.Option("you")) -> None:
    """Say hello."""
    if name == "nobody":
        raise InputRefusedError("nobody is there")
    typer.echo(f"hello {name}")


def test_help_is_light_and_quick() -> None:
    code = ("import sys; from typer.testing import CliRunner; from planner.cli import app\n"
            "assert CliRunner().invoke(app, ['plan', '--help']).exit_code == 0\n"
            "names = ('vtk', 'matplotlib', 'onnxruntime', 'distributed', 'numba', 'torch', 'napari', 'qtpy')\n"
            "heavy = [m for m in names if m in sys.modules]\nassert not heavy, heavy")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
