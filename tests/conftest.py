"""Shared fixtures: where the real scans are, and plans that are made once per session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import SimpleITK as sitk

from imaging.resample import to_sitk
from imaging.volume import Grid
from sample_data.phantom import Phantom, PhantomSpec, build_phantom

DATA = Path(os.environ.get("NERVEPLAN_TEST_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the real scans where they are absent, with the reason."""
    if DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"real scans not found at {DATA}; set NERVEPLAN_TEST_DATA")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real scans and label maps."""
    return DATA.resolve()


@pytest.fixture(scope="session")
def small_phantom() -> Phantom:
    """Four vertebrae and the sacrum, exactly known."""
    return build_phantom(PhantomSpec(spacing_mm=(2.0, 1.5, 1.5), levels_in_view=("L3", "L5")))


@pytest.fixture(scope="session")
def phantom_files(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Its scan and its label map as files."""
    folder = tmp_path_factory.mktemp("study")
    grid = Grid(small_phantom.hu.shape, small_phantom.affine)
    sitk.WriteImage(to_sitk(small_phantom.hu, grid), str(folder / "ct.nii.gz"))
    sitk.WriteImage(to_sitk(small_phantom.labels, grid), str(folder / "labels.nii.gz"))
    return folder / "ct.nii.gz", folder / "labels.nii.gz"
