"""The vertebrae as one DICOM Segmentation, a segment each, beside the images they were found on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from imaging.errors import AlteredError, UsageError
from planner.exports.source_images import source_headers
from planner.exports.standing import PlanFolder, states, watermark
from planner.folder import LABELS_FILE
from planner.plan import WATERMARK
from segmentation.constants import constants

__all__ = ["SEGMENTATION_FILE", "write_segmentation"]

SEGMENTATION_FILE = "vertebrae.seg.dcm"
_SERIES_NUMBER = 900
_NOTICE = "RESEARCH USE ONLY"
#: Characters of a DICOM long string.
_LONGEST_LABEL = 64


def _code(level: str) -> Code:
    """The SNOMED CT concept of a named vertebra; any vertebra for a relative level."""
    found = next((code for code, name in constants("label_schemes")["dicom-seg"]["levels"].items() if name == level),
                 None)
    return codes.SCT.Vertebra if found is None else Code(found, "SCT", f"{level} vertebra")


def _descriptions(document: Mapping[str, Any], labels: NDArray[Any]) -> list[hd.seg.SegmentDescription]:
    """One segment per vertebra; what a person placed says so."""
    versions, drawn = document["versions"], set(np.unique(labels).tolist())
    engine = hd.AlgorithmIdentificationSequence(f"nerveplan {versions['engine']}"[:_LONGEST_LABEL],
                                                codes.cid7162.ArtificialIntelligence, versions["nerveplan"])
    return [_description(number, level, engine if level["label"] in drawn else None)
            for number, level in enumerate(document["levels"], start=1)]


def _description(number: int, level: Mapping[str, Any],
                 engine: hd.AlgorithmIdentificationSequence | None) -> hd.seg.SegmentDescription:
    """A vertebra whose mask the engine drew, or, without one, a place that a person gave."""
    by, kinds = level["placed_by"], hd.seg.SegmentAlgorithmTypeValues
    label = f"{level['level']} (confidence {level['confidence']:.2f}, label {level['label']})"
    if by:
        label = f"{level['level']} ({'no mask' if engine is None else 'frame'}) placed by {by}"
    return hd.seg.SegmentDescription(number, label[:_LONGEST_LABEL], codes.SCT.AnatomicalStructure,
                                     _code(level["level"]), kinds.MANUAL if engine is None else kinds.AUTOMATIC, engine)


def _volume(document: Mapping[str, Any], labels: NDArray[Any], frame_of_reference: str) -> hd.Volume:
    """Segment numbers on the plan's lattice; highdicom counts (slice, row, column)."""
    numbers = np.zeros(256, dtype=np.uint8)
    for number, level in enumerate(document["levels"], start=1):
        numbers[level["label"]] = number
    affine = np.array(document["grid"]["affine_lps"], dtype=np.float64)[:, [2, 1, 0, 3]]
    return hd.Volume(numbers[labels], affine, "PATIENT", frame_of_reference)


def write_segmentation(plan: PlanFolder, folder: Path) -> tuple[Path, ...]:
    """Write the object; vertebrae only, for the structures overlap them.

    Its content says UNAPPROVED PROPOSAL until every target of the plan is approved: nobody approves a segmentation by
    itself. UIDs are new each time.
    """
    document = plan.document
    if not document["levels"]:
        raise UsageError("the plan has no vertebra to export")
    images = source_headers(plan)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(plan.path / LABELS_FILE)))
    if list(labels.shape) != document["grid"]["shape_zyx"]:
        raise AlteredError(f"{LABELS_FILE} does not lie on the plan's grid")
    marked = any(watermark(state) for state in states(document).values()) or not document["reviews"]
    words = f"{_NOTICE}, {WATERMARK}" if marked else _NOTICE
    made = hd.seg.Segmentation(
        images, _volume(document, labels, str(images[0].FrameOfReferenceUID)), hd.seg.SegmentationTypeValues.BINARY,
        _descriptions(document, labels), hd.UID(), _SERIES_NUMBER, hd.UID(), 1, "nerveplan", "nerveplan",
        document["versions"]["nerveplan"], document["study"]["study_id"], content_label="VERTEBRAE",
        content_description=words, series_description=f"Vertebrae: {words}",
        transfer_syntax_uid=pydicom.uid.ExplicitVRLittleEndian)
    path = folder / SEGMENTATION_FILE
    made.save_as(path)
    return (path,)
