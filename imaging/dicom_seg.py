"""DICOM Segmentation objects: vetted like any other file, then read as a label map with what each number means."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.errors import InputRefusedError, NotFoundError
from imaging.vetting import DEFAULT_LIMITS, Limits, vet
from imaging.volume import Grid

__all__ = ["DicomSegment", "DicomSegmentation", "is_dicom_segmentation", "read_dicom_segmentation"]

_LOG = logging.getLogger(__name__)
_SOP_CLASS, _ROWS, _COLUMNS, _FRAMES, _FRAME_OF_REFERENCE = 0x00080016, 0x00280010, 0x00280011, 0x00280008, 0x00200052
#: Segmentation Storage and Label Map Segmentation Storage (DICOM PS3.4 B.5).
_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})


@dataclass(frozen=True)
class DicomSegment:
    """What one number of the label map means.

    Attributes
    ----------
    label : str
        The maker's free text.
    code, scheme : str
        Of the segmented property type, e.g. ``"11994002"`` in ``"SCT"``.
    """

    label: str
    code: str
    scheme: str


@dataclass(frozen=True, eq=False)
class DicomSegmentation:
    """A segmentation object as a label map.

    Attributes
    ----------
    array : (z, y, x) uint16
        Segment numbers, 0 where there is none.
    grid : Grid
    segments : mapping of int to DicomSegment
    frame_of_reference : str
        UID; what is measured in another one lies elsewhere.
    """

    array: NDArray[np.uint16]
    grid: Grid
    segments: Mapping[int, DicomSegment]
    frame_of_reference: str


def is_dicom_segmentation(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bool:
    """True for a DICOM file that says it is a segmentation; False for what is no DICOM or another object."""
    try:
        return vet(Path(path), {_SOP_CLASS}, limits).text(_SOP_CLASS) in _CLASSES
    except InputRefusedError:
        return False


def read_dicom_segmentation(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> DicomSegmentation:
    """Read one segmentation object whose segments do not overlap.

    Raises
    ------
    NotFoundError
        No such file.
    InputRefusedError
        Not a segmentation, over the size limits, on no regular lattice, with overlapping or fractional segments.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError("no such file; check the path")
    vetted = vet(file, {_SOP_CLASS, _ROWS, _COLUMNS, _FRAMES, _FRAME_OF_REFERENCE}, limits)
    if vetted.text(_SOP_CLASS) not in _CLASSES:
        raise InputRefusedError("refused: the file is no DICOM segmentation; give an object of modality SEG")
    frames = int(vetted.text(_FRAMES)) if vetted.text(_FRAMES).isdigit() else 0
    pixels = frames * (vetted.short(_ROWS) or 0) * (vetted.short(_COLUMNS) or 0)
    if not 0 < pixels <= limits.volume_bytes:
        raise InputRefusedError(f"refused: the segmentation claims {frames} frames and {pixels} pixels, outside the "
                                "limit")
    from highdicom.seg import segread

    try:
        segmentation = segread(file)
        volume = segmentation.get_volume(combine_segments=True)
    except (ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        # highdicom says what is amiss in these kinds; its words may quote the file, so only their kind is passed on.
        _LOG.info("segmentation not read: %s", type(error).__name__)
        raise InputRefusedError(
            "refused: the segmentation cannot be read as one label map: its segments overlap or are fractional, its "
            "frames lie on no regular lattice, or it is malformed; export it as a non-overlapping binary or label map "
            "segmentation") from error
    index_to_world = np.asarray(volume.affine, np.float64)
    affine = index_to_world[:, [2, 1, 0, 3]]  # highdicom counts (slice, row, column), a Grid (x, y, z)
    array = np.asarray(volume.array, np.uint16)
    return DicomSegmentation(array, Grid(_shape(array), affine), _segments(segmentation),
                             vetted.uid(_FRAME_OF_REFERENCE))


def _shape(array: NDArray[np.uint16]) -> tuple[int, int, int]:
    z, y, x = array.shape
    return z, y, x


def _segments(segmentation: Any) -> dict[int, DicomSegment]:
    found = {}
    for number in segmentation.segment_numbers:
        description = segmentation.get_segment_description(number)
        kind = description.segmented_property_type
        found[int(number)] = DicomSegment(str(description.segment_label), str(kind.value), str(kind.scheme_designator))
    return found
