"""A synthetic lumbar CT with exactly known anatomy: the generator, and the small DICOM series it made.

``lumbar_ct_path()`` is the folder of the series that ships with nerveplan and ``load_truth()`` its truth: levels,
vertebral frames, landmarks and nerve courses in DICOM LPS millimetres. ``sample_data.phantom.build_phantom`` makes
others (scoliosis, transitional anatomy, cropped field of view, osteoporosis; any seed and voxel size) and
``python -m sample_data`` writes them. No patient was involved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["load_truth", "lumbar_ct_path"]

_HERE = Path(__file__).resolve().parent


def lumbar_ct_path() -> Path:
    """Folder of the shipped DICOM series: one CT file per slice, T11 to the sacrum."""
    return _HERE / "lumbar_ct"


def load_truth() -> dict[str, Any]:
    """Truth of the shipped series, as `sample_data.truth.truth_document` wrote it."""
    document: dict[str, Any] = json.loads((_HERE / "lumbar_ct_truth.json").read_text(encoding="utf-8"))
    return document
