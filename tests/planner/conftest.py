"""Two small plan folders with their scans: one made by hand, one planned on the phantom."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from imaging.resample import to_sitk
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.folder import write_folder
from planner.pipeline import read_hashed
from planner.plan import InputHash, Plan, StudyInfo
from tests.planner import builders


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made scan as a file."""
    path = tmp_path_factory.mktemp("scan") / "ct.nii.gz"
    made = builders.volume()
    sitk.WriteImage(to_sitk(made.array, made.grid), str(path))
    return path


@pytest.fixture(scope="session")
def scanned_plan(scan: Path) -> Plan:
    """The hand-made plan, on the scan that lies in a file; taken on 2 January 2026."""
    made, volume = builders.plan(), read_hashed(scan, None, None)
    volume = replace(volume, modality="CT", identity=replace(volume.identity, study_date="20260102"))
    run = replace(made.run, inputs=(InputHash("image", volume.identity.sha256),))
    return replace(made, volume=volume, identity=volume.identity, study=StudyInfo.of(volume), run=run)


@pytest.fixture(scope="session")
def written(scanned_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its plan folder; not to be changed."""
    out = tmp_path_factory.mktemp("plans") / "case"
    write_folder(scanned_plan, out, overwrite=False, report=lambda _, sha256: f"<html>{sha256}</html>")
    return out


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy of the plan folder to work in."""
    return Path(shutil.copytree(written, tmp_path / "case"))


@pytest.fixture(scope="session")
def phantom_plan(phantom_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its plan folder, made by the command line; not to be changed."""
    out = tmp_path_factory.mktemp("plans") / "case"
    result = CliRunner().invoke(app, ["plan", str(phantom_files[0]), "--labels", str(phantom_files[1]), "--scheme",
                                      "verse", "--name", "L5=L5", "--out", str(out), "--joint", "L4/5"])
    assert result.exit_code == ExitCode.OK, result.output
    return out
