"""What the numbers of other tools' label maps mean: fixed schemes, and DICOM segmentations that say it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imaging.dicom_seg import DicomSegment
from imaging.errors import UsageError
from segmentation.anatomy import Level, StructureName
from segmentation.constants import constants

__all__ = ["DICOM_SEG", "LabelScheme", "label_scheme", "scheme_names", "scheme_of_segments"]

#: A DICOM segmentation object: what its numbers mean stands in its own codes.
DICOM_SEG = "dicom-seg"
_NOT_SCHEMES = ("checks", "confidence")


@dataclass(frozen=True)
class LabelScheme:
    """What a tool's numbers mean.

    Attributes
    ----------
    levels : mapping of int to Level
        ``S1`` stands for the whole sacrum; several values may name one level.
    structures : mapping of StructureName to tuple of int
    last_ribs, cord : tuple of int
        Values of the twelfth ribs and of the spinal cord, when the tool has them.
    known : tuple of (int, int)
        First and last of the ranges of values that the tool writes; empty where the file itself says what is what.
    """

    name: str
    title: str
    levels: Mapping[int, Level]
    structures: Mapping[StructureName, tuple[int, ...]]
    last_ribs: tuple[int, ...]
    cord: tuple[int, ...]
    known: tuple[tuple[int, int], ...] = ()


def scheme_names() -> tuple[str, ...]:
    """Names of the known schemes."""
    return tuple(name for name in constants("label_schemes") if name not in _NOT_SCHEMES)


def label_scheme(name: str) -> LabelScheme:
    """A scheme of fixed numbers by name; an unknown one is a UsageError that lists them."""
    if name not in scheme_names() or name == DICOM_SEG:
        raise UsageError(f"no label scheme '{name}'; say one of {', '.join(scheme_names())}")
    table = constants("label_schemes")[name]
    base = table.get("same_levels_as")
    rows = {**(constants("label_schemes")[base]["levels"] if base else {}), **table.get("levels", {})}
    structures = {StructureName(key): tuple(int(v) for v in values)
                  for key, values in table.get("structures", {}).items()}
    return LabelScheme(name, table["title"], {int(value): Level(level) for value, level in rows.items()}, structures,
                       tuple(table.get("ribs", {}).get("last", ())), tuple(table.get("cord", {}).get("values", ())),
                       tuple((int(low), int(high)) for low, high in table["known"]))


def scheme_of_segments(segments: Mapping[int, DicomSegment]) -> LabelScheme:
    """The scheme that a DICOM segmentation states by the SNOMED codes of its segments; other codes are left out."""
    table = constants("label_schemes")[DICOM_SEG]

    def numbers(codes: list[str]) -> tuple[int, ...]:
        return tuple(number for number, segment in sorted(segments.items())
                     if segment.scheme == table["coding_scheme"] and segment.code in codes)

    levels = {number: Level(level) for code, level in table["levels"].items() for number in numbers([code])}
    structures = {StructureName(key): numbers(codes) for key, codes in table["structures"].items()}
    return LabelScheme(DICOM_SEG, table["title"], levels, {name: found for name, found in structures.items() if found},
                       numbers(table["ribs"]["last"]), numbers(table["cord"]["values"]))
