"""Signs that a file's axes or its voxel size contradict the anatomy in it: such a scan is not aimed in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import unit
from segmentation.anatomy import Level
from segmentation.constants import constants
from segmentation.spine import Vertebra

__all__ = ["plausibility_findings"]


def plausibility_findings(vertebrae: Sequence[Vertebra]) -> list[Finding]:
    """Blocking findings about the axes and the voxel size, head to foot vertebrae given."""
    return [*_axes(vertebrae), *_size(vertebrae)]


def _axes(vertebrae: Sequence[Vertebra]) -> list[Finding]:
    """Frames follow the bones, words for C-arm and table follow the file: the two must mean the same directions.

    DICOM's axes are the patient's own, so a prone, decubitus or feet-first scan with right tags stays in range.
    """
    framed = [(v.name, v.frame) for v in vertebrae if v.frame is not None]
    frames = [frame for name, frame in framed if name != Level.S1] or [frame for _, frame in framed]
    if not frames:
        return []
    least = float(constants("population")["plausible"]["axis_cosine"])
    said = []
    if float(unit(np.sum([f.superior for f in frames], axis=0))[2]) < least:
        said.append("the spine runs from head to foot against the file's axes")
    if float(unit(np.sum([f.posterior for f in frames], axis=0))[1]) < least:
        said.append("the spinous processes do not point to what the file calls the back")
    if not said:
        return []
    return [Finding(FindingCode.ORIENTATION_WRONG, Severity.BLOCK,
                    f"{' and '.join(said).capitalize()}: its orientation tags are wrong (head and feet, or left and "
                    "right, exchanged), or the patient lay otherwise than they say. Left and right cannot be trusted; "
                    "nothing is aimed. Export the scan again with its orientation.")]


def _size(vertebrae: Sequence[Vertebra]) -> list[Finding]:
    """A block when several neighbours lie far too near or too far apart, all the same way."""
    limits, table = constants("population")["plausible"], constants("population")["spacing_mm"]
    levels = [level.value for level in Level if level not in (Level.T13, Level.L6)]
    off = []
    for upper, lower in itertools.pairwise(vertebrae):
        if upper.name in table and lower.name in levels and levels.index(upper.name) + 1 == levels.index(lower.name):
            mean, sd = table[upper.name]
            distance = float(np.linalg.norm(upper.body_center - lower.body_center))
            off.append(((distance - mean) / sd, f"{upper.name} to {lower.name} {distance:.0f} mm, {mean:.0f} usual"))
    limit = float(limits["spacing_sds"])
    for sign, word in ((1, "far apart"), (-1, "near together")):
        same = [words for deviation, words in off if sign * deviation > limit]
        other = any(-sign * deviation > limit for deviation, _ in off)
        if len(same) >= int(limits["spacings"]) and not other:
            return [Finding(FindingCode.VOXEL_SIZE_WRONG, Severity.BLOCK,
                            f"The vertebrae lie impossibly {word} ({'; '.join(same)}): the voxel spacing in the header "
                            "is probably wrong. Lengths and angles cannot be trusted; nothing is aimed.")]
    return []
