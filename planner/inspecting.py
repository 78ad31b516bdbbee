"""What lies in a folder, which series is fit for planning, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging.errors import InputRefusedError, NotFoundError
from imaging.findings import Finding
from planner.document import finding_entry

if TYPE_CHECKING:
    from imaging.dicom_series import Series

__all__ = ["InspectedInput", "InspectedSeries", "inspect_path"]

_CT_ONLY = "needles are planned on CT only"


@dataclass(frozen=True)
class InspectedSeries:
    """One series (or one image file) and the verdict on it.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID, for ``--series``; empty for files without one.
    chosen : bool
        True for the series that is planned on when none is named.
    reasons : str
        Why it is not fit; empty when it is.
    """

    uid: str
    summary: str
    fit: bool
    reasons: str
    chosen: bool = False

    @property
    def verdict(self) -> str:
        """``fit, chosen``, ``fit`` or ``not fit``."""
        return ("fit, chosen" if self.chosen else "fit") if self.fit else "not fit"


@dataclass(frozen=True)
class InspectedInput:
    """Everything that was seen at one place."""

    series: tuple[InspectedSeries, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def fit(self) -> bool:
        """True when at least one series is fit for planning."""
        return any(one.fit for one in self.series)

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return {"fit": self.fit, "notes": list(self.notes),
                "series": [{"series_uid": s.uid, "summary": s.summary, "fit": s.fit, "chosen": s.chosen,
                            "reasons": s.reasons} for s in self.series],
                "findings": [finding_entry(finding) for finding in self.findings]}


def inspect_path(path: Path) -> InspectedInput:
    """Look into a folder or file without planning anything."""
    from imaging.file_headers import file_kind

    if not path.exists():
        raise NotFoundError(f"there is nothing at '{path.name}'")
    return _file(path) if path.is_file() and file_kind(path) is not None else _folder(path)


def _file(path: Path) -> InspectedInput:
    from imaging.files import read_image_file

    try:
        volume = read_image_file(path)
    except InputRefusedError as error:
        return InspectedInput((InspectedSeries("", "image file", False, str(error)),), (), ())
    shape = " x ".join(str(n) for n in reversed(volume.grid.shape))
    spacing = " x ".join(f"{v:.2f}" for v in volume.grid.spacing)
    fit = volume.modality == "CT"
    one = InspectedSeries("", f"{volume.modality}, {shape} voxels of {spacing} mm", fit, "" if fit else _CT_ONLY, fit)
    return InspectedInput((one,), volume.findings, _notes(volume.findings))


def _folder(path: Path) -> InspectedInput:
    from imaging.dicom_inspect import choose_series, inspect_folder

    seen = inspect_folder(path)
    try:
        chosen = choose_series(seen)[0]
    except InputRefusedError:
        chosen = None
    series = tuple(
        InspectedSeries(one.uid, one.summary, one.fit and one.modality == "CT", _reasons(one), one is chosen)
        for one in seen.series)
    counted = (f"{seen.files} files, {len(seen.series)} series",)
    skipped = (f"skipped: {seen.skipped_words}",) if seen.skipped_words else ()
    return InspectedInput(series, seen.findings, (*counted, *skipped, *_notes(seen.findings)))


def _reasons(series: Series) -> str:
    """Why nothing is planned on a series; empty when it is fit."""
    said = [unfit.message for unfit in series.unfit] or ([] if series.modality == "CT" else [_CT_ONLY])
    return "; ".join(said)


def _notes(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    return tuple(f"{finding.severity.value}: {finding.message}" for finding in findings)
