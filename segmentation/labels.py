"""Label maps made elsewhere, by scheme, as a `Segmentation`: checked against the scan, numbered by their evidence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.dicom_seg import is_dicom_segmentation, read_dicom_segmentation
from imaging.errors import InputRefusedError, UsageError
from imaging.files import read_labels
from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import canonical_axes
from imaging.resample import resample
from imaging.volume import Grid, Volume
from segmentation.anatomy import VERSE_LABEL, StructureName
from segmentation.constants import constants
from segmentation.label_checks import check_order, check_scheme, relative_where_names_skip
from segmentation.label_numbering import number_levels
from segmentation.label_schemes import DICOM_SEG, LabelScheme, label_scheme, scheme_of_segments
from segmentation.spine import Segmentation, Structure, StructureOrigin

__all__ = ["IMPORTED_LABELS", "import_labels"]

#: How `Segmentation.engine` begins when the labels are a file's: they are taken as they are.
IMPORTED_LABELS = "labels:"
Source = str | os.PathLike[str] | tuple[NDArray[Any], Grid]


def import_labels(source: Source, scheme: str, volume: Volume | None = None) -> Segmentation:
    """Take over a label map made by another tool.

    Parameters
    ----------
    source : path, or array and Grid
        The label map. An array is ``(z, y, x)`` of whole numbers.
    scheme : str
        One of `segmentation.label_schemes.scheme_names`; ``dicom-seg`` for a DICOM segmentation, whose own codes say
        what is what.
    volume : Volume, optional
        The scan the labels were made on: the result lies on its grid.

    Returns
    -------
    Segmentation
        On the scan's grid, or on the label map's own without a scan.

    Raises
    ------
    UsageError
        No such scheme, or one that does not suit the file.
    InputRefusedError
        No vertebra in the map; it was written in another scheme; its bones do not lie in the order of their names; or
        it does not fit the scan: another frame of reference, it does not lie on its bone, or fits it better mirrored
        left to right.
    """
    array, grid, table = _read(source, scheme, volume)
    values = np.asarray(array)
    if values.shape != grid.shape:
        raise InputRefusedError(f"label array {values.shape} does not match its grid {grid.shape}")
    if not np.isin(values, list(table.levels)).any():
        raise InputRefusedError(f"the label map holds no vertebra of the scheme '{scheme}' ({table.title}): "
                                "check --scheme")
    check_scheme(values, table)
    if volume is not None and not volume.grid.same_as(grid):
        values = resample(_compact(values), grid, volume.grid, linear=False, fill=0)
        grid = volume.grid
    labels = _vertebrae(values, table)
    if volume is not None:
        _check_against(volume, labels)
    labels, findings = _tidy(labels, grid)
    check_order(labels, grid)
    return relative_where_names_skip(_segmentation(values, labels, grid, table, findings))


def _read(source: Source, scheme: str, volume: Volume | None) -> tuple[NDArray[Any], Grid, LabelScheme]:
    """The map, where it lies, and what its numbers mean."""
    if isinstance(source, tuple):
        return *source, label_scheme(scheme)
    path = Path(source)
    if scheme != DICOM_SEG:
        table = label_scheme(scheme)
        if path.is_file() and is_dicom_segmentation(path):
            raise UsageError(f"the label file is a DICOM segmentation: say --scheme {DICOM_SEG}")
        return *read_labels(path), table
    found = read_dicom_segmentation(path)
    mine = "" if volume is None else volume.identity.frame_of_reference_uid
    if mine and found.frame_of_reference and mine != found.frame_of_reference:
        raise InputRefusedError("the segmentation was made in another frame of reference than the scan's: their "
                                "positions cannot be compared; give the segmentation of this series")
    return found.array, found.grid, scheme_of_segments(found.segments)


def _compact(values: NDArray[Any]) -> NDArray[np.int16]:
    if not np.can_cast(values.dtype, np.int16) and (np.abs(values) > np.iinfo(np.int16).max).any():
        raise InputRefusedError("the label map holds values beyond 32767: it is no label map")
    return values.astype(np.int16)


def _vertebrae(values: NDArray[Any], table: LabelScheme) -> NDArray[np.uint8]:
    """Their numbers to VerSe numbers."""
    out = np.zeros(values.shape, dtype=np.uint8)
    for value, level in table.levels.items():
        out[values == value] = VERSE_LABEL[level]
    return out


def _check_against(volume: Volume, labels: NDArray[np.uint8]) -> None:
    """Refuse labels that do not lie on the scan's bone, or that fit it better mirrored left to right."""
    if volume.modality != "CT":
        return
    c = constants("label_schemes")["checks"]
    box = ndimage.find_objects((labels > 0).astype(np.uint8))
    if not box or box[0] is None:
        raise InputRefusedError("the labels lie outside the scan: they belong to another one")
    turned = canonical_axes(volume.grid)
    values = turned.apply(volume.array)
    slope = volume.slope or 1.0
    limit = (float(c["bone_hu"]) - volume.intercept) / slope
    bright = values > limit if slope > 0 else values < limit
    mask = turned.apply(labels) > 0
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    mask, bright = mask[rows[0]:rows[-1] + 1], bright[rows[0]:rows[-1] + 1]
    near = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_dilation(mask, iterations=1)
    inside, around = float(bright[mask].mean()), float(bright[near].mean())
    if inside - around < float(c["bright_margin"]):
        raise InputRefusedError(
            f"the labels do not lie on the scan's bone ({inside:.0%} of them is bright, {around:.0%} of their "
            "surroundings): they belong to another scan or their position is wrong")
    mirrored = _mirrored_overlap(mask, bright)
    if mirrored > inside + float(c["mirror_gain"]):
        raise InputRefusedError(
            f"the labels fit the scan's bone better mirrored left to right ({mirrored:.0%} against {inside:.0%}): "
            "their left and right are exchanged")


def _mirrored_overlap(mask: NDArray[np.bool_], bright: NDArray[np.bool_]) -> float:
    """Best share of bright voxels under the labels mirrored within the scan and shifted a little."""
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    width = mask.shape[2]
    best = 0.0
    in_place = int(columns[0] + columns[-1]) - (width - 1)
    for base in (0, in_place):
        for shift in (-2, -1, 0, 1, 2):
            flipped = np.roll(mask[:, :, ::-1], base + shift, axis=2)
            best = max(best, float(bright[flipped].mean()))
    return best


def _tidy(labels: NDArray[np.uint8], grid: Grid) -> tuple[NDArray[np.uint8], tuple[Finding, ...]]:
    """Keep the parts of each vertebra that belong to it."""
    c = constants("label_schemes")["checks"]
    voxel_ml = float(np.prod(grid.spacing)) / 1000.0
    out = np.zeros_like(labels)
    findings = []
    for level, label in VERSE_LABEL.items():
        boxes = ndimage.find_objects((labels == label).astype(np.uint8))
        if not boxes or boxes[0] is None:
            continue
        box = boxes[0]
        mask = labels[box] == label
        parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        largest = int(np.argmax(sizes))
        keep = sizes >= float(c["sliver_share"]) * sizes[largest]
        keep[0] = False
        if keep.sum() > 1:
            away = ndimage.distance_transform_edt(parts != largest, sampling=grid.spacing[::-1])
            nearest = ndimage.minimum(away, parts, np.arange(count + 1))
            keep &= np.asarray(nearest) <= float(c["far_part_mm"])
        dropped = float(sizes[~keep].sum()) * voxel_ml
        if float(sizes[keep].sum()) * voxel_ml < float(c["least_volume_ml"]):
            keep[:] = False
        out[box][keep[parts]] = label
        if dropped > 0:
            findings.append(Finding(FindingCode.LABELS_REFUSED, Severity.INFO,
                                    f"{level}: {count - int(keep.sum())} loose parts of the label ({dropped:.2f} mL) "
                                    "left out"))
    return out, tuple(findings)


def _structures(values: NDArray[Any], table: LabelScheme) -> dict[StructureName, Structure]:
    return {name: Structure(name, np.isin(values, ids), StructureOrigin.IMPORTED, f"from the label map ({table.title})")
            for name, ids in table.structures.items() if np.isin(values, ids).any()}


def _segmentation(values: NDArray[Any], labels: NDArray[np.uint8], grid: Grid, table: LabelScheme,
                  findings: tuple[Finding, ...]) -> Segmentation:
    levels = {label: level for level, label in VERSE_LABEL.items() if (labels == label).any()}
    numbered = number_levels(grid, tuple(levels.values()), np.isin(values, table.last_ribs))
    return Segmentation(
        grid, labels, {label: level.value for label, level in levels.items()}, numbered.numbering, numbered.confidence,
        numbered.alternates, numbered.evidence, _structures(values, table), {}, f"{IMPORTED_LABELS}{table.name}",
        (*findings, *numbered.findings))
