"""First pass: one vetted DICOM file to the slice records it holds. Values are parsed here, at the border."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from imaging.vetting import (
    DEFAULT_LIMITS,
    Limits,
    RefusedFileError,
    SkipReason,
    TransferSyntax,
    VettedFile,
    inflate,
    vet,
)

__all__ = ["PixelFormat", "SliceRecord", "inflated", "read_slices"]

_IMAGE_TYPE, _SOP_CLASS, _SOP_INSTANCE, _STUDY_DATE = 0x00080008, 0x00080016, 0x00080018, 0x00080020
_MODALITY, _DESCRIPTION = 0x00080060, 0x0008103E
_PATIENT_NAME, _PATIENT_ID = 0x00100010, 0x00100020
_THICKNESS, _ECHO_TIME, _PATIENT_POSITION = 0x00180050, 0x00180081, 0x00185100
_STUDY_UID, _SERIES_UID, _SERIES_NUMBER, _ACQUISITION = 0x0020000D, 0x0020000E, 0x00200011, 0x00200012
_POSITION, _ORIENTATION, _FRAME_OF_REFERENCE, _TEMPORAL = 0x00200032, 0x00200037, 0x00200052, 0x00200100
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS = 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011
_SPACING, _ALLOCATED, _STORED, _HIGH_BIT, _SIGNED = 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103
_PADDING, _PADDING_LIMIT, _BURNED_IN = 0x00280120, 0x00280121, 0x00280301
_INTERCEPT, _SLOPE, _LOSSY = 0x00281052, 0x00281053, 0x00282110

WANTED = frozenset({
    _IMAGE_TYPE, _SOP_CLASS, _SOP_INSTANCE, _STUDY_DATE, _MODALITY, _DESCRIPTION, _PATIENT_NAME, _PATIENT_ID,
    _THICKNESS, _ECHO_TIME, _PATIENT_POSITION, _STUDY_UID, _SERIES_UID, _SERIES_NUMBER, _ACQUISITION, _POSITION,
    _ORIENTATION, _FRAME_OF_REFERENCE, _TEMPORAL, _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _SPACING,
    _ALLOCATED, _STORED, _HIGH_BIT, _SIGNED, _PADDING, _PADDING_LIMIT, _BURNED_IN, _INTERCEPT, _SLOPE, _LOSSY,
})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MAX_FRAMES = 20_000


@dataclass(frozen=True)
class PixelFormat:
    """Where the pixels of one file lie and how they are coded.

    Attributes
    ----------
    path, syntax
        The file and its transfer syntax.
    dataset_offset : int
        Where the data set begins in the file.
    offset, length : int, int or None
        Place of the pixel data value, counted in the file, or in the inflated data set; length None when encapsulated.
    rows, columns, frames, samples : int
        Matrix of one frame, number of frames, values per pixel.
    bits_allocated, bits_stored : int
        Bits per value in the file, and how many of them (the low ones) carry it.
    signed : bool
        Two's complement when true.
    photometric : str
        Photometric interpretation.
    padding : (low, high) int or None
        Stored values that stand for "no data" (PixelPaddingValue to PixelPaddingRangeLimit, either way round).
    """

    path: Path = field(repr=False)
    syntax: TransferSyntax
    dataset_offset: int
    offset: int
    length: int | None
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    padding: tuple[int, int] | None = None

    @property
    def frame_bytes(self) -> int:
        """Decoded bytes of one frame as the file stores it."""
        return self.rows * self.columns * self.samples * (self.bits_allocated // 8)


@dataclass(frozen=True)
class SliceRecord:
    """One image plane: where it is, what it belongs to, how its values read. Holds no name of a person.

    Attributes
    ----------
    pixels : PixelFormat
        Shared by the frames of one file.
    frame : int
        Frame number in the file, from 0.
    position : (x, y, z) LPS mm or None
        Centre of the first pixel (ImagePositionPatient).
    orientation : six floats or None
        Direction of a row (x index growing), then of a column (y index growing) (ImageOrientationPatient).
    spacing : (row, column) mm or None
        Between rows first, between columns second (PixelSpacing).
    slope, intercept : float or None
        Rescale; None when absent.
    patient : str
        A digest that tells two patients apart and names neither.
    patient_name : str
        A digest of the name alone, however it is spaced or capitalised; empty without a name.
    split : tuple of str
        What separates images of one series that share their places: acquisition, time point, echo.
    """

    pixels: PixelFormat
    frame: int
    modality: str
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    series_number: str
    description: str = field(repr=False)
    study_date: str
    patient_position: str
    patient: str
    patient_name: str
    image_type: tuple[str, ...]
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    slope: float | None
    intercept: float | None
    burned_in: bool
    lossy: bool
    split: tuple[str, ...]

    @property
    def localizer(self) -> bool:
        """True for scouts."""
        return "LOCALIZER" in self.image_type

    @property
    def secondary_capture(self) -> bool:
        """True for pictures of a screen."""
        return self.sop_class.startswith(_SECONDARY_CAPTURE)


def read_slices(path: Path, limits: Limits = DEFAULT_LIMITS) -> list[SliceRecord]:
    """Vet one file and parse the slices in it.

    Returns
    -------
    list of SliceRecord
        One per frame, in file order.

    Raises
    ------
    RefusedFileError
        With the reason why the file is left out.
    """
    vetted = vet(path, WANTED, limits)
    if vetted.pixel_tag is None:
        raise RefusedFileError(SkipReason.NO_PIXELS)
    try:
        record = _record(vetted, _pixel_format(vetted, limits))
    except (ValueError, OverflowError) as error:
        if isinstance(error, RefusedFileError):
            raise
        raise RefusedFileError(SkipReason.BAD_HEADER, "a number that is none") from error
    if record.pixels.frames == 1:
        return [record]
    return _frames(vetted, record, limits)


def _numbers(vetted: VettedFile, tag: int, count: int) -> tuple[float, ...] | None:
    """`count` finite decimal numbers, or None when the element is absent or empty."""
    text = vetted.text(tag)
    if not text:
        return None
    values = tuple(float(part) for part in text.split("\\"))
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise RefusedFileError(SkipReason.BAD_HEADER, f"({tag >> 16:04X},{tag & 0xFFFF:04X})")
    return values


def _number(vetted: VettedFile, tag: int) -> float | None:
    values = _numbers(vetted, tag, 1)
    return None if values is None else values[0]


def _pixel_format(vetted: VettedFile, limits: Limits) -> PixelFormat:
    rows, columns = vetted.short(_ROWS), vetted.short(_COLUMNS)
    allocated, frames = vetted.short(_ALLOCATED), int(vetted.text(_FRAMES) or 1)
    if not rows or not columns or allocated is None or not 1 <= frames <= _MAX_FRAMES:
        raise RefusedFileError(SkipReason.BAD_HEADER, "Rows, Columns, BitsAllocated or NumberOfFrames")
    stored = vetted.short(_STORED) or allocated
    high = vetted.short(_HIGH_BIT)
    samples = vetted.short(_SAMPLES) or 1
    if samples > 4 or stored > allocated or (high is not None and high != stored - 1):
        raise RefusedFileError(SkipReason.BAD_HEADER, "SamplesPerPixel, BitsStored or HighBit")
    pixels = PixelFormat(
        vetted.path, vetted.syntax, vetted.dataset_offset, vetted.pixel_offset, vetted.pixel_length, rows, columns,
        frames, samples, allocated, stored, vetted.short(_SIGNED) == 1, vetted.text(_PHOTOMETRIC),
        _padding_range(vetted, stored, vetted.short(_SIGNED) == 1),
    )
    if pixels.frame_bytes > limits.frame_bytes or pixels.frame_bytes * frames > limits.volume_bytes:
        raise RefusedFileError(SkipReason.TOO_LARGE, "the decoded pixels")
    if pixels.length is not None and samples == 1 and allocated >= 8 and pixels.length < pixels.frame_bytes * frames:
        raise RefusedFileError(SkipReason.TRUNCATED, "fewer pixels than Rows x Columns x Frames")
    return pixels


def _padding_range(vetted: VettedFile, stored: int, signed: bool) -> tuple[int, int] | None:
    """The declared padding, cut to the bits that the pixels carry, as they are when they were read."""
    ends = []
    for tag in (_PADDING, _PADDING_LIMIT):
        value = vetted.short(tag)
        if value is not None:
            value &= (1 << stored) - 1
            ends.append(value - (1 << stored) if signed and value >> (stored - 1) else value)
    return (min(ends), max(ends)) if ends and vetted.short(_PADDING) is not None else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def _record(vetted: VettedFile, pixels: PixelFormat) -> SliceRecord:
    values = vetted.values
    patient = vetted.text(_PATIENT_ID) or vetted.text(_PATIENT_NAME)
    spacing = _numbers(vetted, _SPACING, 2)
    if spacing is not None and not all(1e-3 < value < 1e3 for value in spacing):
        raise RefusedFileError(SkipReason.BAD_HEADER, "PixelSpacing")
    position = _numbers(vetted, _POSITION, 3)
    return SliceRecord(
        pixels=pixels,
        frame=0,
        modality=vetted.text(_MODALITY)[:16],
        sop_class=vetted.uid(_SOP_CLASS),
        sop_uid=vetted.uid(_SOP_INSTANCE),
        series_uid=vetted.uid(_SERIES_UID),
        study_uid=vetted.uid(_STUDY_UID),
        frame_of_reference_uid=vetted.uid(_FRAME_OF_REFERENCE),
        series_number=vetted.text(_SERIES_NUMBER)[:12],
        description=values.get(_DESCRIPTION, b"")[:64].decode("utf-8", "replace").strip(" \0"),
        study_date=vetted.text(_STUDY_DATE)[:8],
        patient_position=vetted.text(_PATIENT_POSITION)[:16].upper(),
        patient=_digest(patient),
        patient_name=_digest(" ".join(vetted.text(_PATIENT_NAME).replace("^", " ").casefold().split())),
        image_type=tuple(part.strip().upper() for part in vetted.text(_IMAGE_TYPE).split("\\")),
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=_numbers(vetted, _ORIENTATION, 6),
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        thickness=_number(vetted, _THICKNESS),
        slope=_number(vetted, _SLOPE),
        intercept=_number(vetted, _INTERCEPT),
        burned_in=vetted.text(_BURNED_IN).upper() == "YES",
        lossy=vetted.syntax.lossy or vetted.text(_LOSSY) == "01",
        split=tuple(vetted.text(tag)[:32] for tag in (_ACQUISITION, _TEMPORAL, _ECHO_TIME)),
    )


def _frames(vetted: VettedFile, record: SliceRecord, limits: Limits) -> list[SliceRecord]:
    """The frames of a multi-frame file, each placed by its functional groups (shared ones fill in)."""
    dataset = _functional_groups(vetted, limits)
    frames = [replace(record, frame=n) for n in range(record.pixels.frames)]
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame is None:
        return frames
    if len(per_frame) != record.pixels.frames:
        raise RefusedFileError(SkipReason.BAD_HEADER, "functional groups and frames differ in number")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    common = shared[0] if shared else pydicom.Dataset()
    return [_place(frame, groups, common) for frame, groups in zip(frames, per_frame, strict=True)]


def _functional_groups(vetted: VettedFile, limits: Limits) -> pydicom.Dataset:
    """Only the functional groups, parsed by pydicom from the vetted part before the pixels."""
    with vetted.path.open("rb") as handle:
        if vetted.syntax.deflated:
            raise RefusedFileError(SkipReason.TRANSFER_SYNTAX, "a deflated multi-frame image")
        head = handle.read(min(vetted.pixel_offset, limits.header_bytes))
    try:
        tags = ["PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"]
        return pydicom.dcmread(io.BytesIO(head), force=True, stop_before_pixels=True, specific_tags=list(tags))
    except (InvalidDicomError, ValueError, EOFError, OSError, KeyError, TypeError, AttributeError) as error:
        raise RefusedFileError(SkipReason.MALFORMED, "functional groups") from error


def _group(name: str, keyword: str, *places: Any) -> Any:
    """`keyword` out of the functional group `name`, from the first place that has it."""
    for place in places:
        sequence = place.get(name)
        if sequence:
            value = sequence[0].get(keyword)
            if value is not None and value != "":
                return value
    return None


def _floats(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    values = tuple(float(part) for part in (value if count > 1 else [value]))
    if len(values) != count or not all(math.isfinite(part) for part in values):
        raise RefusedFileError(SkipReason.BAD_HEADER, "a functional group")
    return values


def _place(record: SliceRecord, own: pydicom.Dataset, common: pydicom.Dataset) -> SliceRecord:
    try:
        position = _floats(_group("PlanePositionSequence", "ImagePositionPatient", own, common), 3)
        spacing = _floats(_group("PixelMeasuresSequence", "PixelSpacing", own, common), 2)
        orientation = _floats(_group("PlaneOrientationSequence", "ImageOrientationPatient", own, common), 6)
        thickness = _floats(_group("PixelMeasuresSequence", "SliceThickness", own, common), 1)
        slope = _floats(_group("PixelValueTransformationSequence", "RescaleSlope", own, common), 1)
        intercept = _floats(_group("PixelValueTransformationSequence", "RescaleIntercept", own, common), 1)
        index = _group("FrameContentSequence", "TemporalPositionIndex", own, common)
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        if isinstance(error, RefusedFileError):
            raise
        raise RefusedFileError(SkipReason.MALFORMED, "functional groups") from error
    return replace(
        record,
        position=record.position if position is None else (position[0], position[1], position[2]),
        spacing=record.spacing if spacing is None else (spacing[0], spacing[1]),
        orientation=orientation or record.orientation,
        thickness=thickness[0] if thickness else record.thickness,
        slope=slope[0] if slope else record.slope,
        intercept=intercept[0] if intercept else record.intercept,
        split=(*record.split, str(index or "")),
    )


def inflated(pixels: PixelFormat, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The inflated data set of a deflated file, in which `PixelFormat.offset` counts."""
    return inflate(pixels.path.read_bytes()[pixels.dataset_offset :], limits)
