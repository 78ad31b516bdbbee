"""The engine 'totalsegmentator' against a stand-in with the tool's own interface: it is too large to install here."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from imaging.errors import InputRefusedError, UsageError
from imaging.files import read_image_file
from imaging.volume import Volume
from segmentation import totalsegmentator
from segmentation.engine import engine_names, load_engine
from segmentation.labels import import_labels

NETWORKS = (291, 292, 293, 294, 295)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """``totalsegmentator.python_api``, its weights on disk and its ``.config`` beside it, which keeps what is set."""
    package, config, api = (ModuleType(f"totalsegmentator{part}") for part in ("", ".config", ".python_api"))
    config.get_weights_dir = lambda: tmp_path / "weights"
    config.setup_totalseg = lambda: None
    config.kept = {}
    config.set_config_key = config.kept.__setitem__
    for number in NETWORKS:
        (tmp_path / "weights" / f"Dataset{number}_part").mkdir(parents=True)
    for module in (package, config, api):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(totalsegmentator, "version", lambda _: "2.18.0")
    return api


def test_the_engine_is_listed_without_the_tool() -> None:
    assert "totalsegmentator" in engine_names()
    assert load_engine("totalsegmentator").name == "totalsegmentator"


@pytest.mark.data
def test_a_run_equals_the_import_of_the_same_label_map(tool: ModuleType, data: Path) -> None:
    volume = read_image_file(data / "ct" / "ts_example.nii.gz")
    label_map = data / "labels" / "ts_example_totalsegmentator.nii.gz"

    def run(scan: Path, output: None, **options: object) -> nib.Nifti1Image:
        given = nib.load(scan)
        assert options["task"] == "total"
        assert options["ml"]
        stored = nib.load(data / "ct" / "ts_example.nii.gz")
        np.testing.assert_allclose(given.affine, stored.affine, atol=1e-3)
        np.testing.assert_allclose(given.get_fdata()[::9, ::9, ::9], stored.get_fdata()[::9, ::9, ::9], atol=0.5)
        assert sys.modules["totalsegmentator.config"].kept == {"send_usage_stats": False}
        return nib.load(label_map)

    tool.totalsegmentator = run
    said: list[str] = []
    found = load_engine("totalsegmentator").segment(volume, lambda words, done: said.append(words))
    np.testing.assert_array_equal(found.labels, import_labels(label_map, "totalsegmentator", volume).labels)
    assert found.engine == "labels:totalsegmentator 2.18.0"
    assert len(said) == 3


def test_a_missing_package_says_what_to_install(phantom_volume: Volume) -> None:
    with pytest.raises(UsageError, match="pip install TotalSegmentator"):
        load_engine("totalsegmentator").segment(phantom_volume, lambda *_: None)


def test_missing_weights_are_named_and_never_downloaded(tool: ModuleType, tmp_path: Path,
                                                        phantom_volume: Volume) -> None:
    (tmp_path / "weights" / "Dataset293_part").rmdir()
    with pytest.raises(UsageError, match=r"networks 293\): run totalseg_download_weights"):
        load_engine("totalsegmentator").segment(phantom_volume, lambda *_: None)


def test_a_failure_of_the_tool_is_a_refusal(tool: ModuleType, phantom_volume: Volume) -> None:
    def run(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory at /somewhere/of/the/operator")

    tool.totalsegmentator = run
    with pytest.raises(InputRefusedError, match="RuntimeError") as caught:
        load_engine("totalsegmentator").segment(phantom_volume, lambda *_: None)
    assert "somewhere" not in str(caught.value)


def test_the_tools_own_package_is_absent_here() -> None:
    """If it is ever installed in the test environment, the stand-in must go."""
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("TotalSegmentator")
