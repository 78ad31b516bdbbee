"""From a synthetic scan with known anatomy and its label map to a finished plan folder, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imaging.errors import UsageError
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.folder import read_folder
from planner.loading import load_plan
from planner.pipeline import replan_study
from sample_data.phantom import Phantom


def test_levels_landmarks_and_needles_agree_with_the_known_anatomy(phantom_plan: Path, small_phantom: Phantom) -> None:
    plan = read_folder(phantom_plan).plan
    for level in plan["levels"]:
        if not level["touches_edge"]:
            gap = np.linalg.norm(np.subtract(level["body_center"], small_phantom.body_centers[level["level"]]))
            assert gap < 5, level["level"]
    planned = [p for p in plan["proposals"] if p["status"] != "none"]
    assert planned
    targets = {t["id"]: t for t in plan["targets"]}
    for proposal in planned:
        target = targets[proposal["target_id"]]
        assert {"L3 MB": "L4", "L4 MB": "L5"}[target["nerve"]] == target["carrier"]
        truth = small_phantom.landmarks[target["carrier"]][f"sap_tp_junction_{target['side'].lower()}"]
        tip = proposal["placements"][0]["needles"][0]["tip"]
        assert np.linalg.norm(np.subtract(tip, truth)) < 8
        lateral = tip[0] - small_phantom.body_centers[target["carrier"]][0]
        assert np.sign(lateral) == (1 if target["side"] == "LEFT" else -1)


def test_the_report_names_what_was_planned(phantom_plan: Path) -> None:
    page = (phantom_plan / "report.html").read_text()
    assert "L4 medial branch at the L5 transverse process, LEFT" in page
    assert "L5=L5" in page
    assert "data:image/jpeg" in page


def test_a_rerun_is_byte_identical(phantom_plan: Path, phantom_files: tuple[Path, Path], tmp_path: Path) -> None:
    CliRunner().invoke(app, ["plan", str(phantom_files[0]), "--labels", str(phantom_files[1]), "--scheme", "verse",
                             "--name", "L5=L5", "--out", str(tmp_path / "again"), "--joint", "L4/5"])
    assert (tmp_path / "again" / "plan.json").read_bytes() == (phantom_plan / "plan.json").read_bytes()


def test_another_procedure_is_planned_on_the_same_anatomy(phantom_plan: Path, tmp_path: Path) -> None:
    replan_study(load_plan(phantom_plan), "lumbar-facet-joint-injection", tmp_path / "other", report=False)
    first, other = read_folder(phantom_plan).plan, read_folder(tmp_path / "other").plan
    for part in ("levels", "landmarks", "landmark_details", "numbering", "masks", "grid", "study"):
        assert other[part] == first[part], part
    assert other["request"]["statements"] == first["request"]["statements"]
    assert {t["procedure"] for t in other["targets"]} == {"lumbar-facet-joint-injection"}
    assert any(p["status"] == "proposed" for p in other["proposals"])
    with pytest.raises(UsageError, match="is not a procedure"):
        replan_study(load_plan(phantom_plan), "no-such-procedure")


def test_labels_alone_give_levels_landmarks_and_nerves(phantom_files: tuple[Path, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plan", "--labels", str(phantom_files[1]), "--scheme", "verse", "--out",
                                      str(tmp_path / "case"), "--name", "L5=L5", "--side", "left"])
    assert result.exit_code == ExitCode.ABSTAINED, result.output
    plan = json.loads((tmp_path / "case" / "plan.json").read_text())
    assert plan["landmarks"]["L4"]["sap_tp_junction_left"]
    assert all(p["status"] == "none" for p in plan["proposals"])
