"""The DICOM headers a plan was made on, for objects that point back at their images."""

from __future__ import annotations

import json
from typing import Any

import pydicom

from imaging.dicom_inspect import choose_series, inspect_folder
from imaging.errors import AlteredError, UsageError
from planner.exports.standing import PlanFolder
from planner.folder import SOURCE_FILE

__all__ = ["source_headers"]


def source_headers(plan: PlanFolder) -> list[pydicom.Dataset]:
    """The headers of the series, one per file, sorted along its normal, pixels left where they are.

    Raises
    ------
    UsageError
        The plan was not made on DICOM, or its folder does not say where the images are.
    AlteredError
        The images are not the ones that were planned on.
    """
    path = plan.path / SOURCE_FILE
    known: dict[str, Any] = (json.loads(path.read_bytes())["image"] or {}) if path.is_file() else {}
    if not known.get("instance_uids"):
        raise UsageError("a DICOM object points back at DICOM images: this plan was made on another kind of file, or "
                         "its folder does not say on which")
    where = plan.source if plan.source is not None else known["path"]
    series, _ = choose_series(inspect_folder(where), known["series_uid"] or None)
    if sorted({record.sop_uid for record in series.slices}) != sorted(set(known["instance_uids"])):
        raise AlteredError("the images are not those the plan was made on; give --source with the right ones")
    files = dict.fromkeys(record.pixels.path for record in series.slices)
    return [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
