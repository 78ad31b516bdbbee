"""The engine ``totalsegmentator``: runs that tool through its public Python interface where it is installed.

nerveplan neither ships nor downloads it or its weights, and switches its usage statistics off: no study is reported to
anyone. The package, with torch, is imported once per process; the tool itself loads its networks anew for each study.
"""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import SimpleITK as sitk

from imaging.errors import InputRefusedError, UsageError
from imaging.resample import to_sitk
from imaging.volume import Volume
from segmentation.engine import Progress
from segmentation.labels import IMPORTED_LABELS, import_labels
from segmentation.spine import Segmentation

__all__ = ["TotalSegmentatorEngine"]

#: Networks of the task ``total`` at full resolution; without one of them the tool would download it.
_NETWORKS = (291, 292, 293, 294, 295)


def _module(name: str) -> Any:
    """A module of the tool; what to install where there is none."""
    try:
        return importlib.import_module(f"totalsegmentator.{name}")
    except ImportError as error:
        raise UsageError(f"the engine 'totalsegmentator' needs the package of that name ({error.name} is missing): "
                         "pip install TotalSegmentator, then totalseg_download_weights -t total") from error


def _check_weights(config: Any) -> None:
    folder = Path(config.get_weights_dir())
    missing = [number for number in _NETWORKS if not list(folder.glob(f"Dataset{number}_*"))]
    if missing:
        raise UsageError("the weights of TotalSegmentator's task 'total' are not on this machine (networks "
                         f"{', '.join(map(str, missing))}): run totalseg_download_weights -t total, or point "
                         "TOTALSEG_WEIGHTS_PATH to them; nerveplan downloads nothing")


class TotalSegmentatorEngine:
    """TotalSegmentator's whole vertebrae, ribs, organs and vessels, numbered by the evidence in view."""

    name = "totalsegmentator"

    def segment(self, volume: Volume, progress: Progress) -> Segmentation:
        """Run the task ``total`` and take its label map over like any other (`segmentation.labels.import_labels`).

        Raises
        ------
        UsageError
            The package or its weights are not installed; the message says what to install.
        InputRefusedError
            The tool failed, found no vertebra, or what it found does not lie on the scan's bone.
        """
        progress("loading TotalSegmentator", 0.0)
        config, api = _module("config"), _module("python_api")
        _check_weights(config)
        config.setup_totalseg()
        config.set_config_key("send_usage_stats", False)
        with tempfile.TemporaryDirectory(prefix="nerveplan-") as folder:
            scan, labels = Path(folder) / "ct.nii.gz", Path(folder) / "labels.nii.gz"
            sitk.WriteImage(to_sitk(volume.values(), volume.grid), str(scan))
            progress("running TotalSegmentator", 0.1)
            try:
                found = api.totalsegmentator(scan, None, ml=True, task="total", device="gpu", quiet=True)
            except (RuntimeError, ValueError, OSError, MemoryError) as error:
                raise InputRefusedError(f"TotalSegmentator failed on this scan ({type(error).__name__}); run it by "
                                        "itself to see why, or use --engine builtin") from error
            nib.save(found, labels)
            progress("taking the labels over", 0.9)
            taken = import_labels(labels, "totalsegmentator", volume)
        return replace(taken, engine=f"{IMPORTED_LABELS}totalsegmentator {version('TotalSegmentator')}")
