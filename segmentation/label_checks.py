"""Does a label map mean what it is said to mean? The scheme, the order of its bones, and bones that its names skip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from imaging.errors import InputRefusedError
from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import to_world
from imaging.volume import Grid
from segmentation.anatomy import VERSE_LABEL, Level, relative_label, relative_level
from segmentation.constants import constants
from segmentation.label_schemes import DICOM_SEG, LabelScheme, label_scheme, scheme_names
from segmentation.spine import Alternate, Numbering, NumberingStatus, NumberingTier, Segmentation

__all__ = ["bones_touch", "check_order", "check_scheme", "relative_where_names_skip"]

_USUAL = [level for level in Level if level not in (Level.T13, Level.L6)]
_UPPER_LUMBAR = (Level.L1, Level.L2, Level.L3, Level.L4)


# ---- the scheme


def check_scheme(values: NDArray[Any], table: LabelScheme) -> None:
    """Refuse a map that was written in another scheme than the one stated.

    Raises
    ------
    InputRefusedError
        Many voxels hold values that the scheme does not know, T13 stands beside the sacrum without the lumbar
        vertebrae between, or the map is a longer ordered column in another scheme. Names the likely one.
    """
    if table.name == DICOM_SEG:
        return
    c = constants("label_schemes")["checks"]
    numbers, counts = np.unique(values[values != 0], return_counts=True)
    held = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    levels = {level for value, level in table.levels.items() if value in held}
    foreign = _foreign_share(held, table)
    other, longest = _longest_reading(values, held, table)
    advice = f"; it reads like a map of the scheme '{other}': check --scheme" if other else ": check --scheme"
    if foreign > float(c["foreign_share"]):
        raise InputRefusedError(f"{foreign:.0%} of the labelled voxels hold values that the scheme '{table.name}' "
                                f"({table.title}) does not have{advice}")
    if {Level.T13, Level.S1} <= levels and not levels & set(_UPPER_LUMBAR):
        raise InputRefusedError(f"read by the scheme '{table.name}' the label map holds T13 and the sacrum without the "
                                f"lumbar vertebrae between{advice}")
    mine = len(_column(held, table))
    if other and longest >= int(c["column_least"]) and mine <= longest * float(c["column_share"]):
        raise InputRefusedError(f"read by the scheme '{table.name}' the label map holds {mine} vertebrae in a row, by "
                                f"the scheme '{other}' {longest}{advice}")


def _foreign_share(held: Mapping[int, int], table: LabelScheme) -> float:
    """Share of the labelled voxels whose value the scheme does not have."""
    foreign = sum(count for value, count in held.items()
                  if not any(low <= value <= high for low, high in table.known))
    return foreign / max(sum(held.values()), 1)


def _column(held: Mapping[int, int], table: LabelScheme) -> tuple[Level, ...]:
    """The longest run of consecutive presacral levels that the values make in a scheme, head to foot."""
    present = {level for value, level in table.levels.items() if value in held}
    best: list[Level] = []
    run: list[Level] = []
    for level in _USUAL[:-1]:
        run = [*run, level] if level in present else []
        best = max(best, run, key=len)
    return tuple(best)


def _longest_reading(values: NDArray[Any], held: Mapping[int, int], table: LabelScheme) -> tuple[str, int]:
    """The other scheme in which the map is the longest column of bones in their order; empty when in none."""
    limit = float(constants("label_schemes")["checks"]["foreign_share"])
    least = int(constants("label_schemes")["checks"]["column_least"])
    best = ("", 0)
    for name in scheme_names():
        if name in (table.name, DICOM_SEG):
            continue
        other = label_scheme(name)
        column = _column(held, other)
        if other.levels == table.levels or len(column) <= max(best[1], least - 1):
            continue
        value_of = {level: value for value, level in other.levels.items()}
        if _foreign_share(held, other) <= limit and not _disordered(
                [np.array(c) for c in ndimage.center_of_mass(values > 0, values, [value_of[lv] for lv in column])]):
            best = (name, len(column))
    return best


# ---- the order


def _disordered(centres: Sequence[NDArray[np.float64]]) -> int | None:
    """Place in a row of points from which the row turns back; None when it never does."""
    steps = [below - above for above, below in pairwise(centres)]
    return next((n + 1 for n, (a, b) in enumerate(pairwise(steps)) if float(a @ b) < 0), None)


def check_order(labels: NDArray[np.uint8], grid: Grid) -> None:
    """Refuse a map whose bones do not follow each other in the order of their names.

    Parameters
    ----------
    labels : (z, y, x) uint8
        VerSe numbers.

    Raises
    ------
    InputRefusedError
        Names the bones that lie out of order.
    """
    present = [level for level in Level if (labels == VERSE_LABEL[level]).any()]
    middles = ndimage.center_of_mass(labels > 0, labels, [VERSE_LABEL[level] for level in present])
    centres = [to_world(grid, np.array(middle)[::-1]) for middle in middles]
    at = _disordered(centres)
    if at is not None:
        three = ", ".join(level.value for level in present[at - 1:at + 2])
        raise InputRefusedError(f"the bones of the label map do not lie in the order of their names ({three}): two "
                                "names are exchanged; correct the map")


# ---- bones that the names skip


def bones_touch(labels: NDArray[Any], grid: Grid, one: int, other: int) -> bool:
    """True when two labelled bones lie as near as neighbours do, so that no bone is missing between them."""
    limit = float(constants("label_schemes")["checks"]["touch_mm"])
    first, second = (_surface(labels, grid, value) for value in (one, other))
    if not len(first) or not len(second):
        return False
    apart = float(cKDTree(first).query(second)[0].min())
    return apart <= max(limit, 1.5 * float(grid.spacing.max()))


def _surface(labels: NDArray[Any], grid: Grid, value: int) -> NDArray[np.float64]:
    """(n, 3) LPS mm of the outer voxels of a label."""
    box = ndimage.find_objects((labels == value).astype(np.uint8))
    if not box or box[0] is None:
        return np.zeros((0, 3))
    mask = labels[box[0]] == value
    found = np.argwhere(mask & ~ndimage.binary_erosion(mask)) + [s.start for s in box[0]]
    return np.asarray(to_world(grid, found[:, ::-1].astype(float)))


def relative_where_names_skip(segmentation: Segmentation) -> Segmentation:
    """The same bones without their names where the names skip a level between two bones that touch.

    Then either the names are off by one or the anatomy is transitional, and which cannot be told.
    """
    present = [level for level in Level if level.value in segmentation.levels.values()]
    skips = [(upper, lower) for upper, lower in pairwise(present) if _steps(upper, lower) > 1
             and bones_touch(segmentation.labels, segmentation.grid, VERSE_LABEL[upper], VERSE_LABEL[lower])]
    if not skips:
        return segmentation
    upper, lower = skips[-1]
    finding = Finding(FindingCode.LEVEL_UNKNOWN, Severity.BLOCK,
                      f"The label map calls two neighbours {upper.value} and {lower.value}: its names are off by one, "
                      "or a vertebra fewer than usual is there. The levels are not taken over; state one (for example "
                      "--name LLV-0=L5) to plan.")
    return _relative(segmentation, present, finding)


def _steps(upper: Level, lower: Level) -> int:
    """Levels from one to the next below, 1 for neighbours; T13 and L6 are extra steps that may be there or not."""
    if upper not in _USUAL or lower not in _USUAL:
        return 1
    return _USUAL.index(lower) - _USUAL.index(upper)


def _relative(segmentation: Segmentation, present: Sequence[Level], finding: Finding) -> Segmentation:
    """Vertebrae called by their place from the lowest; the map's own names stay readable as alternates."""
    presacral = [level for level in present if level is not Level.S1]
    new: dict[Level, str] = {level: relative_level(n) for n, level in enumerate(reversed(presacral))}
    numbers = {VERSE_LABEL[level]: relative_label(n) for n, level in enumerate(reversed(presacral))}
    table = np.arange(256, dtype=np.uint8)
    for before, after in numbers.items():
        table[before] = after
    cap = float(constants("label_schemes")["confidence"]["D"])
    confidence = {new.get(level, level.value): cap for level in present}
    alternates = {new[level]: (Alternate(level.value, cap),) for level in presacral}
    evidence = {new.get(level, level.value): (f"called {level.value} by the label map", finding.message)
                for level in present}
    levels = {numbers.get(VERSE_LABEL[level], VERSE_LABEL[level]): new.get(level, level.value) for level in present}
    return replace(segmentation, labels=table[segmentation.labels], levels=dict(sorted(levels.items())),
                   numbering=Numbering(NumberingTier.D, NumberingStatus.RELATIVE), confidence=confidence,
                   alternates=alternates, evidence=evidence, findings=(*segmentation.findings, finding))
