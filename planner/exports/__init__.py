"""Plans in the formats of other programs: one module per format, each writes files from a checked plan folder.

A format is a function of a `planner.exports.standing.PlanFolder` and an output folder that gives the paths it wrote.
What no person has approved is marked so in every file.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from imaging.errors import UsageError
from planner.destination import check_writable, resolved

if TYPE_CHECKING:
    from planner.exports.standing import PlanFolder

__all__ = ["ExportFormat", "export_plan"]


class ExportFormat(StrEnum):
    """What a plan can be exported to."""

    SLICER = "slicer"
    CSV = "csv"
    SEG = "seg"


def _writer(kind: ExportFormat) -> Callable[[PlanFolder, Path], tuple[Path, ...]]:
    if kind is ExportFormat.SLICER:
        from planner.exports.slicer import write_markups
        return write_markups
    if kind is ExportFormat.SEG:
        from planner.exports.segmentation import write_segmentation
        return write_segmentation
    from planner.exports.trajectories import write_trajectories
    return write_trajectories


def export_plan(plan: PlanFolder, kinds: tuple[ExportFormat, ...], out: Path) -> tuple[Path, ...]:
    """Write a plan in some formats.

    Parameters
    ----------
    out : path
        Made when it is missing; files of the same names are replaced. A plan folder is refused with a UsageError.

    Returns
    -------
    tuple of path
        What was written.
    """
    from planner.folder import PLAN_FILE

    out = resolved(out)
    if any((place / PLAN_FILE).exists() for place in (out, *out.parents)):
        raise UsageError("the output is or lies in a plan folder, whose files are recorded; export into another one")
    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    return tuple(path for kind in dict.fromkeys(kinds) for path in _writer(kind)(plan, out))
