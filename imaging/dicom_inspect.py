"""Looking into a folder: every file vetted, slices grouped into series, a verdict on each, and the choice."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imaging.dicom_headers import SliceRecord, read_slices
from imaging.dicom_pixels import pixel_digest
from imaging.dicom_series import Series, UnfitReason, group_slices
from imaging.errors import InputRefusedError, NotFoundError
from imaging.findings import Finding, FindingCode, Severity
from imaging.vetting import DEFAULT_LIMITS, Limits, RefusedFileError, SkipReason

__all__ = ["Inspection", "choose_series", "inspect_folder"]

_LOG = logging.getLogger(__name__)
_LONG_STACK_MM = 100.0


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a folder (or file) holds.

    Attributes
    ----------
    series : tuple of Series
        Every series found, fit or not.
    skipped : tuple of (SkipReason, int)
        Files left out, counted by reason.
    files : int
        Files looked at.
    patients : int
        Different patients among the images (0 when none is named).
    findings : tuple of Finding
        What was noticed about the folder as a whole.
    """

    root: Path = field(repr=False)
    series: tuple[Series, ...]
    skipped: tuple[tuple[SkipReason, int], ...]
    files: int
    patients: int
    findings: tuple[Finding, ...]

    @property
    def skipped_words(self) -> str:
        """``3 files: not DICOM; 1 file: ...``; empty when none was skipped."""
        return "; ".join(f"{n} file{'s' if n > 1 else ''}: {reason.value}" for reason, n in self.skipped)


def inspect_folder(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Inspection:
    """Vet and sort whatever DICOM lies in a folder, below it, or in one file. Pixels are not decoded.

    Parameters
    ----------
    path : path
        A folder (walked in depth; links must stay inside it) or one file.
    limits : Limits
        Budgets.

    Raises
    ------
    NotFoundError
        When there is no such path.
    InputRefusedError
        When the folder holds more files than `Limits.files`.
    """
    root = Path(path)
    if not root.exists():
        raise NotFoundError("no such file or folder; check the path")
    slices: list[tuple[str, SliceRecord]] = []
    skipped: Counter[SkipReason] = Counter()
    files = 0
    for folder, file in _files(root, limits):
        files += 1
        if file is None:
            skipped[SkipReason.OUTSIDE] += 1
            continue
        try:
            slices += [(folder, record) for record in read_slices(file, limits)]
        except RefusedFileError as error:
            skipped[error.reason] += 1
            _LOG.debug("file %d of the input skipped: %s", files, error.reason.name)
        except OSError:
            skipped[SkipReason.BAD_HEADER] += 1
            _LOG.debug("file %d of the input cannot be opened", files)
    unique, copies = _without_equal_images(slices)
    series = tuple(group_slices(unique))
    patients = {record.patient for _, record in slices if record.patient}
    counted = tuple(sorted(skipped.items()))
    return Inspection(root, series, counted, files, len(patients), _folder_findings(series, counted, copies))


def _files(root: Path, limits: Limits) -> Iterator[tuple[str, Path | None]]:
    """(folder relative to the root, file) in a fixed order; None for a link that leaves the root."""
    if root.is_file():
        yield "", root
        return
    inside = root.resolve()
    count = 0
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > limits.files:
                raise InputRefusedError(
                    f"refused: the folder holds more than {limits.files} files; point to one study's folder"
                )
            file = Path(folder) / name
            if file.is_symlink() and not file.resolve().is_relative_to(inside):
                yield "", None
            elif file.is_file():
                yield os.path.relpath(folder, root), file


def _without_equal_images(slices: list[tuple[str, SliceRecord]]) -> tuple[list[tuple[str, SliceRecord]], int]:
    """Drop single-frame files whose place and pixel data repeat those of another one of their series."""
    places: dict[tuple[object, ...], list[int]] = {}
    for n, (_, record) in enumerate(slices):
        if record.position is not None and record.pixels.frames == 1:
            key = (record.series_uid, record.study_uid, record.position, record.orientation, record.spacing)
            places.setdefault(key, []).append(n)
    drop: set[int] = set()
    for members in places.values():
        if len(members) < 2:
            continue
        seen: set[str] = set()
        for n in sorted(members, key=lambda m: (slices[m][1].sop_uid, str(slices[m][1].pixels.path))):
            digest = pixel_digest(slices[n][1].pixels)
            if digest in seen:
                drop.add(n)
            seen.add(digest)
    return [pair for n, pair in enumerate(slices) if n not in drop], len(drop)


def _folder_findings(
    series: tuple[Series, ...], skipped: tuple[tuple[SkipReason, int], ...], copies: int
) -> tuple[Finding, ...]:
    found: list[Finding] = []
    if skipped:
        words = "; ".join(f"{n}: {reason.value}" for reason, n in skipped)
        message = f"{sum(n for _, n in skipped)} files left out ({words})"
        found.append(Finding(FindingCode.FILES_SKIPPED, Severity.INFO, message))
    copies += sum(s.copies for s in series)
    if copies:
        message = f"{copies} slices repeat another one (same place, same pixels or same identifier) and were left out"
        found.append(Finding(FindingCode.DUPLICATE_SLICES, Severity.INFO, message))
    scouts = sum(len(s.slices) for s in series if any(u.reason is UnfitReason.LOCALIZER for u in s.unfit))
    if scouts:
        found.append(Finding(FindingCode.LOCALIZER_EXCLUDED, Severity.INFO, f"{scouts} localizer images left out"))
    return tuple(found)


def choose_series(inspection: Inspection, series_uid: str | None = None) -> tuple[Series, tuple[Finding, ...]]:
    """Choose the series to plan on.

    CT before MR, axial before other planes, long before short, thin before thick, original before derived.

    Parameters
    ----------
    inspection : Inspection
        Of a folder.
    series_uid : str, optional
        The operator's choice, by SeriesInstanceUID.

    Returns
    -------
    Series, tuple of Finding
        The choice, and a finding for each other series that says why it was not chosen.

    Raises
    ------
    NotFoundError
        When no series has the stated UID.
    InputRefusedError
        When the folder mixes patients, or nothing in it is fit; the message names the reasons.
    """
    if not inspection.series:
        raise InputRefusedError(_nothing(inspection))
    candidates = [s for s in inspection.series if series_uid is None or s.uid == series_uid]
    if not candidates:
        raise NotFoundError(f"no series with the stated UID among the {len(inspection.series)} series of the input")
    if series_uid is None and inspection.patients > 1:
        raise InputRefusedError(
            f"refused: the folder mixes images of {inspection.patients} patients in {len(inspection.series)} series; "
            "give the folder of one patient, or state the series by its UID"
        )
    fit = sorted((s for s in candidates if s.fit), key=_rank)
    if not fit:
        raise InputRefusedError(_none_fit(candidates, inspection))
    chosen = fit[0]
    others = [s for s in inspection.series if s is not chosen]
    return chosen, tuple(_not_chosen(s, chosen) for s in others)


def _rank(series: Series) -> tuple[object, ...]:
    """Sort key, best first; the UID at the end makes the choice independent of file order."""
    geometry = series.geometry
    assert geometry is not None
    axial = "axial" in geometry.plane
    thickness = 0 if geometry.step_mm <= 1.6 else 1 if geometry.step_mm <= 3.1 else 2
    original = "ORIGINAL" in series.first.image_type
    return (
        series.modality != "CT", geometry.extent_mm < _LONG_STACK_MM, not axial, thickness, not original,
        series.first.lossy, not geometry.even, -round(geometry.extent_mm / 20.0), geometry.step_mm, series.uid,
        series.folder,
    )


def _not_chosen(series: Series, chosen: Series) -> Finding:
    if series.unfit:
        why = "; ".join(unfit.message for unfit in series.unfit)
    elif series.modality != chosen.modality:
        why = f"{chosen.modality} is preferred"
    elif series.geometry is not None and chosen.geometry is not None and series.geometry.plane != chosen.geometry.plane:
        why = f"the {chosen.geometry.plane} stack suits planning better"
    else:
        why = "a longer or thinner stack was found"
    number = f" {series.first.series_number}" if series.first.series_number else ""
    return Finding(FindingCode.SERIES_NOT_CHOSEN, Severity.INFO, f"series{number} ({series.summary}) not chosen: {why}")


def _nothing(inspection: Inspection) -> str:
    if inspection.files == 0:
        return "refused: the folder is empty; point to the folder that holds the images"
    what = inspection.skipped_words or "no images"
    advice = "point to the folder that holds the images"
    return f"refused: no DICOM image among {inspection.files} file(s) ({what}); {advice}"


def _none_fit(candidates: list[Series], inspection: Inspection) -> str:
    parts = []
    for series in candidates[:6]:
        number = f" {series.first.series_number}" if series.first.series_number else ""
        parts.append(f"series{number} ({series.summary}): " + "; ".join(unfit.message for unfit in series.unfit))
    if len(candidates) > 6:
        parts.append(f"and {len(candidates) - 6} more series")
    skipped = f" Left out: {inspection.skipped_words}." if inspection.skipped else ""
    studies = len({series.study_uid for series in candidates})
    advice = "Give an axial CT of the spine with thin slices, complete as it left the scanner"
    if inspection.root.is_file():
        advice = "Give the folder that holds all slices, not one file"
    return (
        f"refused: none of {len(candidates)} series in {studies} study(ies) is fit for planning. {'. '.join(parts)}."
        f"{skipped} {advice}"
    )
