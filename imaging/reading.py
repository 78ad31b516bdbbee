"""One door for every input: a DICOM folder or file, NIfTI, NRRD or MetaImage, to a vetted `Volume`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from imaging.dicom_inspect import choose_series, inspect_folder
from imaging.dicom_load import load_series
from imaging.errors import InputRefusedError, NotFoundError, UsageError
from imaging.file_headers import file_kind
from imaging.files import read_image_file
from imaging.hounsfield import hounsfield_findings
from imaging.vetting import DEFAULT_LIMITS, Limits
from imaging.volume import Volume

__all__ = ["read_input"]


def read_input(
    path: str | os.PathLike[str],
    *,
    orientation: str | None = None,
    series_uid: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Volume:
    """Read a scan, whatever it is kept in.

    Parameters
    ----------
    path : path
        A folder of DICOM files, one multi-frame DICOM file, or a NIfTI, NRRD or MetaImage file. Told apart by content.
    orientation : str, optional
        The operator's word for a file without one, such as ``"LPS"`` (see `imaging.files.read_image_file`).
    series_uid : str, optional
        The operator's choice among the series of a folder; the best one is chosen otherwise.
    limits : Limits
        Budgets that bound what a hostile input can cost.

    Returns
    -------
    Volume
        With its identity and every finding made on the way.

    Raises
    ------
    NotFoundError
        No such path or series.
    InputRefusedError
        Not fit, with what, where and what to do.
    UsageError
        Options that do not suit the input.
    """
    source = Path(path)
    if not source.exists():
        raise NotFoundError("no such file or folder; check the path")
    if source.is_file() and file_kind(source) is not None:
        if series_uid is not None:
            raise UsageError("a series can be chosen in a DICOM folder only; leave the series out")
        return _judged(read_image_file(source, orientation=orientation, limits=limits))
    if not source.is_file() and not source.is_dir():
        raise InputRefusedError("refused: the input is neither a file nor a folder")
    if orientation is not None:
        raise UsageError("DICOM states its own orientation; leave the stated orientation out")
    inspection = inspect_folder(source, limits)
    series, others = choose_series(inspection, series_uid)
    findings = (*inspection.findings, *others)
    return _judged(load_series(series, source=str(source), findings=findings, limits=limits))


def _judged(volume: Volume) -> Volume:
    """The volume with what its values give reason to say."""
    found = hounsfield_findings(volume)
    return replace(volume, findings=(*volume.findings, *found)) if found else volume
