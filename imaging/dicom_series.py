"""Series: slices that belong together, sorted in space, with a verdict on whether they are fit for planning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from imaging.dicom_headers import SliceRecord
from imaging.volume import MIN_SLICES

__all__ = ["Series", "StackGeometry", "Unfit", "UnfitReason", "group_slices"]

Array = NDArray[np.float64]

SAME_DIRECTION = 1e-3
"""Largest difference of a direction cosine within one stack; over a 250 mm image it moves a corner by 0.25 mm."""
SAME_PLACE_MM = 0.01
"""Slices closer than this along the normal share a place."""
EVEN = 0.01
"""Largest relative deviation of a step from the median step in an even stack (clinical specification 5.1)."""
ROUNDING_MM = 0.015
"""Deviation of a step that rounding positions to 0.01 mm explains."""
PLACE_MM = 0.1
"""Farthest an even stack may put a slice from where its header puts it."""
DRIFT_MM = 0.2
"""Largest sideways drift of the slice origins over the whole stack that counts as straight."""
LINE_MM = 0.5
"""Largest distance of a slice origin from the straight line through all of them."""
MILD_GAP_MM = 3.1
"""Widest step that may be bridged by interpolation."""
MILD_MISSING = 0.02
"""Largest share of missing slices that may be bridged."""
MAX_TILT_DEG = 35.0


class UnfitReason(StrEnum):
    """Why a series is not planned on."""

    LOCALIZER = "localizer"
    SECONDARY_CAPTURE = "secondary_capture"
    MODALITY = "modality"
    COLOUR = "colour"
    PIXEL_FORMAT = "pixel_format"
    NO_GEOMETRY = "no_geometry"
    MIXED_PATIENTS = "mixed_patients"
    TOO_FEW_SLICES = "too_few_slices"
    NOT_A_VOLUME = "not_a_volume"
    DIFFERENT_IMAGES_AT_ONE_PLACE = "different_images_at_one_place"
    MISSING_SLICES = "missing_slices"
    UNEVEN_SPACING = "uneven_spacing"
    ORIGINS_NOT_ON_A_LINE = "origins_not_on_a_line"
    TILT = "tilt"


@dataclass(frozen=True)
class Unfit:
    """One reason against a series, with the sentence for a person."""

    reason: UnfitReason
    message: str


@dataclass(frozen=True, eq=False)
class StackGeometry:
    """How the slices of a series lie.

    Attributes
    ----------
    row, column, normal : (3,) unit LPS
        Along a row (x index growing), along a column (y index growing), and ``row x column`` (z index growing).
    pixel_mm : (x, y) mm
        Between columns, then between rows.
    origin : (3,) LPS mm
        Centre of the first pixel of the first slice.
    along_mm : (n,) mm
        Place of each slice on the normal, from 0, growing.
    shift_mm : (n, 2) mm
        Sideways drift of each slice's origin along row and column: not zero when the gantry was tilted.
    step_mm : float
        Distance of adjacent slices along the normal (not SliceThickness); the median one when they differ.
    tilt_deg : float
        Angle between the normal and the line of the slice origins.
    missing : int
        Slices absent from an otherwise even stack.
    even : bool
        Every step within 1 % of `step_mm`.
    """

    row: Array
    column: Array
    normal: Array
    pixel_mm: tuple[float, float]
    origin: Array
    along_mm: Array
    shift_mm: Array
    step_mm: float
    tilt_deg: float
    missing: int
    even: bool

    @property
    def tilted(self) -> bool:
        """True when the slice origins drift sideways: the stack is sheared."""
        return float(np.abs(self.shift_mm).max()) > DRIFT_MM

    @property
    def extent_mm(self) -> float:
        """Covered length along the normal."""
        return float(self.along_mm[-1] - self.along_mm[0] + self.step_mm)

    @property
    def plane(self) -> str:
        """The nearest of ``axial``, ``coronal`` and ``sagittal``, with ``oblique `` before it beyond 20 degrees."""
        n = np.abs(self.normal)
        name = ("sagittal", "coronal", "axial")[int(n.argmax())]
        return name if n.max() > np.cos(np.radians(20)) else f"oblique {name}"


@dataclass(frozen=True, eq=False)
class Series:
    """Slices of one series and one geometry, sorted along their normal.

    Attributes
    ----------
    slices : tuple of SliceRecord
        Sorted by position, copies removed.
    geometry : StackGeometry or None
        None when the slices do not say where they are.
    unfit : tuple of Unfit
        Reasons against planning on it; empty when it is fit.
    copies : int
        Slices left out because they repeat another one.
    parts : int
        Into how many groups of one geometry the series fell.
    elsewhere : int
        Slices of the same series in its other groups at other places, scouts not counted.
    differs : str
        In what those differ from this group, in words.
    """

    slices: tuple[SliceRecord, ...]
    geometry: StackGeometry | None
    unfit: tuple[Unfit, ...] = ()
    copies: int = 0
    parts: int = 1
    folder: str = field(default="", repr=False)
    elsewhere: int = 0
    differs: str = ""

    def __post_init__(self) -> None:
        if not self.slices:
            raise ValueError("a series needs at least one slice")

    @property
    def fit(self) -> bool:
        """True when nothing speaks against planning on it."""
        return not self.unfit

    @property
    def first(self) -> SliceRecord:
        """The slice whose headers stand for the series."""
        return self.slices[0]

    @property
    def uid(self) -> str:
        """SeriesInstanceUID; may be empty."""
        return self.first.series_uid

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID; may be empty."""
        return self.first.study_uid

    @property
    def modality(self) -> str:
        """Modality as the file states it."""
        return self.first.modality

    @property
    def summary(self) -> str:
        """What it is in a few words, without names: ``CT, 37 slices, sagittal, 3.00 mm``."""
        words = [self.modality or "no modality", f"{len(self.slices)} slice{'s' if len(self.slices) != 1 else ''}"]
        if self.geometry is not None:
            words.append(self.geometry.plane)
            if len(self.slices) > 1:
                words.append(f"{self.geometry.step_mm:.2f} mm apart")
        return ", ".join(words)


def group_slices(slices: Iterable[tuple[str, SliceRecord]]) -> list[Series]:
    """Sort slices into series of one geometry.

    Parameters
    ----------
    slices : iterable of (str, SliceRecord)
        The folder each slice lies in (stands in for an absent SeriesInstanceUID) and the slice.

    Returns
    -------
    list of Series
        In an order that does not depend on the order of the slices.
    """
    by_series: dict[tuple[str, str, str], list[SliceRecord]] = {}
    for folder, record in slices:
        key = (record.study_uid, record.series_uid, "" if record.series_uid else folder)
        by_series.setdefault(key, []).append(record)
    found: list[Series] = []
    for group_key in sorted(by_series):
        members = sorted(by_series[group_key], key=lambda r: (r.sop_uid, str(r.pixels.path), r.frame))
        groups = [part for group in _by_geometry(members) for part in _by_place(group)]
        for group in groups:
            places = {r.position for r in group}
            others = [r for other in groups if other is not group for r in other
                      if not r.localizer and r.position not in places]
            words = ", ".join(dict.fromkeys(_difference(group[0], other) for other in others))
            found += [replace(one, elsewhere=len(others), differs=words)
                      for one in _one_or_more(group, len(groups), group_key[2])]
    return found


def _difference(a: SliceRecord, b: SliceRecord) -> str:
    """What keeps two slices of one series out of one stack."""
    if a.frame_of_reference_uid != b.frame_of_reference_uid:
        return "another frame of reference"
    if a.orientation is not None and b.orientation is not None and max(
            abs(p - q) for p, q in zip(a.orientation, b.orientation, strict=True)) >= SAME_DIRECTION:
        return "another tilt or orientation"
    return "another format or voxel size" if not _same_geometry(a, b) else "another acquisition"


def _one_or_more(records: list[SliceRecord], parts: int, folder: str) -> list[Series]:
    """The series, or its acquisitions (stations of one examination) where only they make even stacks."""
    whole = _series(records, parts, folder)
    broken = {UnfitReason.MISSING_SLICES, UnfitReason.UNEVEN_SPACING, UnfitReason.ORIGINS_NOT_ON_A_LINE}
    acquisitions: dict[str, list[SliceRecord]] = {}
    for record in records:
        acquisitions.setdefault(record.split[0], []).append(record)
    if len(acquisitions) == 1 or not broken & {unfit.reason for unfit in whole.unfit}:
        return [whole]
    pieces = [_series(acquisitions[key], parts, folder) for key in sorted(acquisitions)]
    return pieces if any(piece.fit for piece in pieces) else [whole]


def _same_geometry(a: SliceRecord, b: SliceRecord) -> bool:
    if (a.modality, a.localizer, a.pixels.rows, a.pixels.columns, a.pixels.samples, a.pixels.bits_allocated) != (
        b.modality, b.localizer, b.pixels.rows, b.pixels.columns, b.pixels.samples, b.pixels.bits_allocated
    ) or a.frame_of_reference_uid != b.frame_of_reference_uid:
        return False
    if a.orientation is None or b.orientation is None or a.spacing is None or b.spacing is None:
        return a.orientation is b.orientation and a.spacing is b.spacing
    turned = max(abs(p - q) for p, q in zip(a.orientation, b.orientation, strict=True))
    scaled = max(abs(p - q) / p for p, q in zip(a.spacing, b.spacing, strict=True))
    return turned < SAME_DIRECTION and scaled < SAME_DIRECTION


def _by_geometry(records: list[SliceRecord]) -> list[list[SliceRecord]]:
    groups: list[list[SliceRecord]] = []
    for record in records:
        for group in groups:
            if _same_geometry(group[0], record):
                group.append(record)
                break
        else:
            groups.append([record])
    return groups


def _by_place(records: list[SliceRecord]) -> list[list[SliceRecord]]:
    """Part images that share their places by acquisition, time point or echo, where that separates them."""
    places = Counter(record.position for record in records)
    if len(places) < 2 or max(places.values()) < 2:
        return [records]
    for n in range(min(len(record.split) for record in records)):
        parts: dict[str, list[SliceRecord]] = {}
        for record in records:
            parts.setdefault(record.split[n], []).append(record)
        distinct = all(len({r.position for r in part}) == len(part) for part in parts.values())
        if len(parts) > 1 and distinct:
            return [parts[key] for key in sorted(parts)]
    return [records]


def _series(records: list[SliceRecord], parts: int, folder: str) -> Series:
    records, copies = _without_copies(records)
    unfit = _content(records)
    if any(r.position is None or r.orientation is None or r.spacing is None for r in records):
        unfit.append(Unfit(UnfitReason.NO_GEOMETRY, "the images do not say where in the patient they lie"))
        return Series(tuple(records), None, tuple(unfit), copies, parts, folder)
    axes = _axes(records[0])
    if axes is None:
        unfit.append(Unfit(UnfitReason.NO_GEOMETRY, "the row and column directions are not at right angles"))
        return Series(tuple(records), None, tuple(unfit), copies, parts, folder)
    records.sort(key=lambda r: float(np.dot(axes[2], r.position)))  # type: ignore[arg-type]
    geometry = _geometry(records, *axes)
    unfit += _stack(geometry, len(records), parts)
    return Series(tuple(records), geometry, tuple(unfit), copies, parts, folder)


def _without_copies(records: list[SliceRecord]) -> tuple[list[SliceRecord], int]:
    """Drop slices that repeat the identifier (and frame and place) of another one."""
    kept: dict[tuple[object, ...], SliceRecord] = {}
    for record in records:
        same = record.sop_uid or str(record.pixels.path)
        kept.setdefault((same, record.frame, record.position), record)
    return list(kept.values()), len(records) - len(kept)


def _content(records: Sequence[SliceRecord]) -> list[Unfit]:
    """Reasons against the images themselves, whatever their places."""
    first = records[0]
    found: list[Unfit] = []
    if first.localizer:
        found.append(Unfit(UnfitReason.LOCALIZER, "a localizer (scout)"))
    if any(record.secondary_capture for record in records):
        found.append(Unfit(UnfitReason.SECONDARY_CAPTURE, "a secondary capture (picture of a screen)"))
    if first.modality not in ("CT", "MR"):
        found.append(Unfit(UnfitReason.MODALITY, f"modality {first.modality or 'not stated'}, not CT or MR"))
    if first.pixels.samples != 1 or first.pixels.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        kind = first.pixels.photometric or "not stated"
        found.append(Unfit(UnfitReason.COLOUR, f"colour or palette images ({kind})"))
    if any(record.pixels.bits_allocated not in (8, 16) for record in records):
        found.append(Unfit(UnfitReason.PIXEL_FORMAT, f"{first.pixels.bits_allocated}-bit pixels, not 8 or 16"))
    if len({record.pixels.signed for record in records}) > 1:
        found.append(Unfit(UnfitReason.PIXEL_FORMAT, "signed and unsigned slices in one series"))
    if len({record.patient for record in records if record.patient}) > 1:
        found.append(Unfit(UnfitReason.MIXED_PATIENTS, "images of different patients in one series"))
    return found


def _axes(record: SliceRecord) -> tuple[Array, Array, Array] | None:
    """Unit row, column and normal; None when row and column are not orthogonal unit vectors."""
    row, column = np.array(record.orientation[:3]), np.array(record.orientation[3:])  # type: ignore[index]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.99 or max(lengths) > 1.01 or abs(float(row @ column)) > 1e-3:
        return None
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _geometry(records: Sequence[SliceRecord], row: Array, column: Array, normal: Array) -> StackGeometry:
    positions = np.array([record.position for record in records], dtype=np.float64)
    offset = positions - positions[0]
    along = offset @ normal
    shift = np.stack([offset @ row, offset @ column], axis=1)
    step, missing, even = _steps(along, records[0].thickness or 1.0)
    sideways = float(np.linalg.norm(shift[-1]))
    tilt = float(np.degrees(np.arctan2(sideways, along[-1]))) if sideways > 1e-6 else 0.0
    spacing = records[0].spacing or (1.0, 1.0)
    return StackGeometry(
        row, column, normal, (spacing[1], spacing[0]), positions[0], along, shift, step, tilt, missing, even
    )


def _steps(along: Array, alone_mm: float) -> tuple[float, int, bool]:
    """Step in mm, number of missing slices, and whether the stack is even.

    In a stack of equal steps (or whole multiples of one) the step is the covered length over their number, so that
    positions rounded in the header do not add up; it must bring every slice to within `PLACE_MM` of its stated place.
    """
    steps = np.diff(along)
    if len(steps) == 0:
        return alone_mm, 0, True
    step = float(np.median(steps))
    if step < SAME_PLACE_MM:
        return max(step, 1e-6), 0, False
    multiples = np.rint(steps / step)
    near = np.abs(steps - multiples * step) <= np.maximum(EVEN * step * multiples, ROUNDING_MM)
    if multiples.min() < 1 or not near.all():
        return step, 0, False
    fair = float(along[-1] / multiples.sum())
    places = np.concatenate([[0.0], np.cumsum(multiples)]) * fair
    if float(np.abs(along - places).max()) > PLACE_MM:
        return step, 0, False
    return fair, int((multiples - 1).sum()), bool((multiples == 1).all())


def _stack(geometry: StackGeometry, count: int, parts: int) -> list[Unfit]:
    """Reasons against the stack that the slices make."""
    found: list[Unfit] = []
    steps = np.diff(geometry.along_mm)
    if count < MIN_SLICES:
        split = f"; the series mixes {parts} orientations or formats" if parts > 1 else ""
        words = f"{count} slice{'s' * (count > 1)}, at least {MIN_SLICES} needed{split}"
        found.append(Unfit(UnfitReason.TOO_FEW_SLICES, words))
    if len(steps) == 0:
        return found
    if geometry.along_mm[-1] < SAME_PLACE_MM:
        found.append(Unfit(UnfitReason.NOT_A_VOLUME, f"not a volume: all {count} slices lie at one place"))
        return found
    if float(steps.min()) < SAME_PLACE_MM:
        words = "different images share one place (phases or echoes)"
        found.append(Unfit(UnfitReason.DIFFERENT_IMAGES_AT_ONE_PLACE, words))
    elif not geometry.even:
        found += _uneven(geometry, steps)
    line = geometry.along_mm[:, None] / geometry.along_mm[-1] * geometry.shift_mm[-1]
    if float(np.abs(geometry.shift_mm - line).max()) > LINE_MM:
        found.append(Unfit(UnfitReason.ORIGINS_NOT_ON_A_LINE, "the slice origins do not lie on a line"))
    if geometry.tilted and (geometry.tilt_deg > MAX_TILT_DEG or found):
        words = f"gantry tilt {geometry.tilt_deg:.1f} degrees, which is not corrected on such a stack"
        found.append(Unfit(UnfitReason.TILT, words))
    return found


def _uneven(geometry: StackGeometry, steps: Array) -> list[Unfit]:
    widest = float(steps.max())
    if geometry.missing:
        share = geometry.missing / (len(steps) + 1 + geometry.missing)
        if widest <= MILD_GAP_MM and share <= MILD_MISSING:
            return []
        words = f"{geometry.missing} missing: steps of {geometry.step_mm:.2f} mm with a gap of {widest:.2f} mm"
        return [Unfit(UnfitReason.MISSING_SLICES, f"slices are missing ({words})")]
    if widest <= min(MILD_GAP_MM, 1.5 * geometry.step_mm) and float(steps.min()) >= 0.5 * geometry.step_mm:
        return []
    return [Unfit(UnfitReason.UNEVEN_SPACING, f"uneven spacing, {float(steps.min()):.2f} to {widest:.2f} mm")]
