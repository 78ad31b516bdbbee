"""Second pass: a chosen series to a `Volume`, read into one preallocated array, straightened where that is harmless."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imaging.dicom_headers import SliceRecord
from imaging.dicom_pixels import read_native
from imaging.dicom_series import Series, StackGeometry
from imaging.dicom_workers import decode_into
from imaging.errors import InputRefusedError
from imaging.findings import Finding, FindingCode, Severity
from imaging.padding import declared_padding
from imaging.position import lying
from imaging.straighten import even_out, unshear
from imaging.vetting import DEFAULT_LIMITS, Limits
from imaging.volume import Grid, SeriesIdentity, Volume

__all__ = ["load_series"]

_LOG = logging.getLogger(__name__)
_USUAL_POSITIONS = ("HFS", "FFS", "")
_PADDING_HU = -2000.0
_BELOW_AIR_HU = -1100.0
_WARN_SLICE_MM = 1.6
_THICK_SLICE_MM = 3.05
_READS_AS_AIR_HU = -900.0
"""Padding below this looks like air or nothing, which what follows can tell apart; brighter, it looks like a body."""
_NO_TISSUE_HU = 20000.0
"""Brighter than any metal that scanners with extended range report."""
_SURELY_HU = -200
"""Stored values of a CT below this, without a rescale, can only be Hounsfield units."""


class _Hash(Protocol):
    """A running digest of hashlib."""

    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, eq=False)
class _Stored:
    """Stored values as read: (z, y, x) int16 or float32 with ``value = array * slope + intercept``."""

    array: NDArray[np.int16] | NDArray[np.float32]
    slope: float
    intercept: float


def load_series(
    series: Series, *, source: str = "", findings: Sequence[Finding] = (), limits: Limits = DEFAULT_LIMITS
) -> Volume:
    """Read the pixels of a fit series.

    Parameters
    ----------
    series : Series
        Fit (`Series.fit`), from `imaging.dicom_inspect`.
    source : str
        Where it was found; kept in the identity only.
    findings : sequence of Finding
        Carried into the volume before those made here.

    Returns
    -------
    Volume
        int16 stored values with slope and intercept (float32 values when the rescale differs between slices), slices
        ascending along the normal ``row x column``. A tilted or slightly uneven stack is brought onto an even
        orthogonal lattice, which a finding says.

    Raises
    ------
    InputRefusedError
        When the series is not fit, its pixels cannot be read, or a CT has no rescale and no Hounsfield units.
    """
    if not series.fit or series.geometry is None:
        why = "; ".join(unfit.message for unfit in series.unfit)
        raise InputRefusedError(f"refused: the series ({series.summary}) is not fit for planning: {why}")
    array, digest = _read(series.slices, limits)
    notes = [*findings, *_header_findings(series)]
    stored = _rescale(array, series, notes)
    values, grid = _straighten(stored, series, notes)
    first = series.first
    uids = tuple(sorted({record.sop_uid for record in series.slices if record.sop_uid}))
    digest.update("\n".join(uids).encode())
    identity = SeriesIdentity(
        source=source, study_uid=first.study_uid, series_uid=first.series_uid,
        frame_of_reference_uid=first.frame_of_reference_uid, patient_position=first.patient_position,
        study_date=first.study_date, description=first.description, sha256=digest.hexdigest(), instance_uids=uids,
    )
    _LOG.info("loaded %d slices of %d x %d", *values.shape)
    return Volume(values, grid, first.modality, stored.slope, stored.intercept, identity, tuple(notes))


def _read(slices: Sequence[SliceRecord], limits: Limits) -> tuple[NDArray[np.int16], _Hash]:
    """Stored values of all slices in order, and the running digest of what was read."""
    pixels = slices[0].pixels
    shape = (len(slices), pixels.rows, pixels.columns)
    if 2 * shape[0] * shape[1] * shape[2] > limits.volume_bytes:
        raise InputRefusedError(f"refused: {shape[0]} slices of {shape[1]} x {shape[2]} exceed the size limit")
    array = np.empty(shape, np.int16)
    digest = hashlib.sha256()
    compressed = [n for n, record in enumerate(slices) if record.pixels.syntax.encapsulated]
    if compressed:
        part = np.empty((len(compressed), *shape[1:]), np.int16) if len(compressed) < len(slices) else array
        decode_into(part, [(slices[n].pixels, slices[n].frame) for n in compressed])
        if part is not array:
            array[compressed] = part
    with ThreadPoolExecutor(1) as hashing:
        for n, record in enumerate(slices):
            if not record.pixels.syntax.encapsulated:
                try:
                    read_native(record.pixels, record.frame, array[n], limits)
                except OSError as error:
                    raise InputRefusedError("refused: a file of the series can no longer be read") from error
            hashing.submit(digest.update, array[n].data)
    return array, digest


def _header_findings(series: Series) -> list[Finding]:
    """What the headers of the chosen series give reason to say."""
    found: list[Finding] = []

    def say(code: FindingCode, severity: Severity, message: str) -> None:
        found.append(Finding(code, severity, message))

    geometry = series.geometry
    assert geometry is not None
    first = series.first
    if not series.uid or not series.study_uid or any(not record.sop_uid for record in series.slices):
        say(FindingCode.EMPTY_UIDS, Severity.WARNING,
            "study, series or instance UIDs are empty: slices were grouped by folder and geometry; "
            "exports cannot refer to them")
    if len({record.patient_name for record in series.slices if record.patient_name}) > 1:
        say(FindingCode.PATIENT_NAMES_DIFFER, Severity.WARNING,
            "the slices bear one patient identity and several patient names: make sure that they are one person's")
    if first.patient_position not in _USUAL_POSITIONS:
        how = lying(first.patient_position)
        words = f"lay {how} ({first.patient_position})" if how else f"lay {first.patient_position}"
        say(FindingCode.UNUSUAL_PATIENT_POSITION, Severity.WARNING,
            f"the patient {words}, not supine: left and right follow the patient, check them")
    if series.elsewhere:
        say(FindingCode.SLICES_LEFT_OUT, Severity.WARNING,
            f"{series.elsewhere} of {series.elsewhere + len(series.slices)} slices of the series were left out "
            f"({series.differs}): part of the spine may be missing")
    elif series.parts > 1:
        say(FindingCode.LOCALIZER_EXCLUDED, Severity.INFO, "scouts in the same series were left out")
    if any(record.lossy for record in series.slices):
        say(FindingCode.COMPRESSED_LOSSY, Severity.WARNING, "compressed with loss: edges may have moved")
    if any(record.burned_in for record in series.slices):
        say(FindingCode.BURNED_IN_ANNOTATION, Severity.WARNING, "burned-in text, which may name the patient")
    if geometry.plane != "axial":
        say(FindingCode.OBLIQUE_STACK, Severity.INFO, f"{geometry.plane} stack: placed by its own axes, not resampled")
    widest = max(geometry.step_mm, first.thickness or 0.0)
    if widest > _WARN_SLICE_MM:
        limit = "3 mm: no radiofrequency angles" if widest > _THICK_SLICE_MM else "1.5 mm: bone edges are blurred"
        say(FindingCode.THICK_SLICES, Severity.WARNING, f"slices are {widest:.2f} mm thick or apart, more than {limit}")
    return found


def _rescale(array: NDArray[np.int16], series: Series, notes: list[Finding]) -> _Stored:
    """How stored values read; large unsigned values are moved into int16, differing rescales are applied."""
    slopes = np.array([1.0 if record.slope in (None, 0.0) else record.slope for record in series.slices])
    intercepts = np.array([record.intercept or 0.0 for record in series.slices])
    offset = 0.0
    blank = _bright_padding(array, series, slopes, intercepts)
    if blank is not None:
        array[blank] = 0
    if not series.first.pixels.signed and array.min() < 0:
        np.bitwise_xor(array, np.int16(-32768), out=array)
        offset = 32768.0
    if series.modality == "CT" and any(record.intercept is None for record in series.slices):
        if series.first.pixels.signed and array.min() < _SURELY_HU:
            message = "no rescale in a CT: stored values are negative and were taken as Hounsfield units"
            notes.append(Finding(FindingCode.MISSING_RESCALE, Severity.WARNING, message))
        else:
            raise InputRefusedError(
                f"refused: the CT ({series.summary}) states no rescale and its stored values cannot be Hounsfield "
                "units; fetch the original series"
            )
    if np.ptp(slopes) < 1e-9 and np.ptp(intercepts) < 1e-6:
        slope, intercept = float(slopes[0]), float(intercepts[0]) + offset * float(slopes[0])
        if blank is not None:
            array[blank] = np.clip(round((_PADDING_HU - intercept) / slope), -32768, 32767)
        return _Stored(array, slope, intercept)
    values = array.astype(np.float32)
    values += np.float32(offset)
    values *= slopes.astype(np.float32)[:, None, None]
    values += intercepts.astype(np.float32)[:, None, None]
    if blank is not None:
        values[blank] = _PADDING_HU
    return _Stored(values, 1.0, 0.0)


def _bright_padding(array: NDArray[np.int16], series: Series, slopes: NDArray[np.float64],
                    intercepts: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """(z, y, x) voxels that the headers of a CT call padding and that would read like tissue or metal, else None."""
    pixels = series.first.pixels
    if series.modality != "CT" or pixels.padding is None:
        return None
    low, high = (value * float(slopes.max()) + float(intercepts.max()) for value in pixels.padding)
    if max(low, high) < _READS_AS_AIR_HU:
        return None
    found = declared_padding(array, pixels.padding, pixels.signed, min(low, high) > _NO_TISSUE_HU)
    return found if found.any() else None


def _straighten(stored: _Stored, series: Series, notes: list[Finding]) -> tuple[NDArray[Any], Grid]:
    """The array on an even orthogonal lattice; the same array when it already lies on one."""
    geometry = series.geometry
    assert geometry is not None
    array: NDArray[Any] = stored.array
    is_ct = series.modality == "CT"
    fill = (_PADDING_HU - stored.intercept) / stored.slope if is_ct else float(array.min())
    if array.dtype.kind == "i":
        fill = float(np.clip(np.rint(fill), -32768, 32767))
    padding_below = (_BELOW_AIR_HU - stored.intercept) / stored.slope if is_ct else None
    origin = geometry.origin
    if geometry.tilted:
        pixel = np.array(geometry.pixel_mm)
        array, first = unshear(array, geometry.shift_mm / pixel, fill, padding_below)
        origin = origin + geometry.row * first[0] * pixel[0] + geometry.column * first[1] * pixel[1]
        notes.append(Finding(FindingCode.GANTRY_TILT_CORRECTED, Severity.WARNING, (
            f"gantry tilt {geometry.tilt_deg:.1f} degrees: slices moved sideways by up to "
            f"{float(np.ptp(geometry.shift_mm, axis=0).max()):.1f} mm onto an orthogonal grid")))
    if not geometry.even:
        array = even_out(array, geometry.along_mm, geometry.step_mm, fill, padding_below)
        notes.append(_uneven_finding(geometry))
    affine = np.eye(4)
    affine[:3, 0] = geometry.row * geometry.pixel_mm[0]
    affine[:3, 1] = geometry.column * geometry.pixel_mm[1]
    affine[:3, 2] = geometry.normal * geometry.step_mm
    affine[:3, 3] = origin
    return array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine)


def _uneven_finding(geometry: StackGeometry) -> Finding:
    steps = np.diff(geometry.along_mm)
    if geometry.missing:
        return Finding(FindingCode.MISSING_SLICES, Severity.WARNING, (
            f"{geometry.missing} slice(s) missing, largest gap {float(steps.max()):.2f} mm: interpolated linearly"))
    return Finding(FindingCode.UNEVEN_SPACING, Severity.WARNING, (
        f"uneven spacing, {float(steps.min()):.2f} to {float(steps.max()):.2f} mm: interpolated linearly onto even "
        f"steps of {geometry.step_mm:.2f} mm"))
