"""From a synthetic scan with known anatomy and its label map to a finished plan folder, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from imaging.resample import to_sitk
from imaging.volume import Grid
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.folder import read_folder
from sample_data.phantom import Phantom, PhantomSpec, build_phantom


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec(spacing_mm=(2.0, 1.5, 1.5), levels_in_view=("L3", "L5")))


@pytest.fixture(scope="module")
def files(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("study")
    grid = Grid(phantom.hu.shape, phantom.affine)
    sitk.WriteImage(to_sitk(phantom.hu, grid), str(folder / "ct.nii.gz"))
    sitk.WriteImage(to_sitk(phantom.labels, grid), str(folder / "labels.nii.gz"))
    return folder / "ct.nii.gz", folder / "labels.nii.gz"


@pytest.fixture(scope="module")
def out(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plans") / "case"
    result = CliRunner().invoke(app, ["plan", str(files[0]), "--labels", str(files[1]), "--scheme", "verse", "--name",
                                      "L5=L5", "--out", str(out), "--joint", "L4/5"])
    assert result.exit_code == ExitCode.OK, result.output
    return out


def test_levels_landmarks_and_needles_agree_with_the_known_anatomy(out: Path, phantom: Phantom) -> None:
    plan = read_folder(out).plan
    for level in plan["levels"]:
        if not level["touches_edge"]:
            gap = np.linalg.norm(np.subtract(level["body_center"], phantom.body_centers[level["level"]]))
            assert gap < 5, level["level"]
    planned = [p for p in plan["proposals"] if p["status"] != "none"]
    assert planned
    targets = {t["id"]: t for t in plan["targets"]}
    for proposal in planned:
        target = targets[proposal["target_id"]]
        assert {"L3 MB": "L4", "L4 MB": "L5"}[target["nerve"]] == target["carrier"]
        truth = phantom.landmarks[target["carrier"]][f"sap_tp_junction_{target['side'].lower()}"]
        tip = proposal["placements"][0]["needles"][0]["tip"]
        assert np.linalg.norm(np.subtract(tip, truth)) < 8
        assert np.sign(tip[0] - phantom.body_centers[target["carrier"]][0]) == (1 if target["side"] == "LEFT" else -1)


def test_the_report_names_what_was_planned(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert "L4 medial branch at the L5 transverse process, LEFT" in page
    assert "L5=L5" in page
    assert "data:image/jpeg" in page


def test_a_rerun_is_byte_identical(out: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    CliRunner().invoke(app, ["plan", str(files[0]), "--labels", str(files[1]), "--scheme", "verse", "--name", "L5=L5",
                             "--out", str(tmp_path / "again"), "--joint", "L4/5"])
    assert (tmp_path / "again" / "plan.json").read_bytes() == (out / "plan.json").read_bytes()


def test_labels_alone_give_levels_landmarks_and_nerves(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plan", "--labels", str(files[1]), "--scheme", "verse", "--out",
                                      str(tmp_path / "case"), "--name", "L5=L5", "--side", "left"])
    assert result.exit_code == ExitCode.ABSTAINED, result.output
    plan = json.loads((tmp_path / "case" / "plan.json").read_text())
    assert plan["landmarks"]["L4"]["sap_tp_junction_left"]
    assert all(p["status"] == "none" for p in plan["proposals"])
