"""Plans in the formats of other programs: one module per format, each writes files from a checked ``plan.json``.

A format is a function of the document and a folder that gives the paths it wrote. What no person has approved is
marked so in every file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from imaging.errors import UsageError

__all__ = ["ExportFormat", "Writer", "export_document"]

Document = Mapping[str, Any]
Writer = Callable[[Document, Path], tuple[Path, ...]]


class ExportFormat(StrEnum):
    """What a plan can be exported to."""

    SLICER = "slicer"
    CSV = "csv"


def _writer(kind: ExportFormat) -> Writer:
    if kind is ExportFormat.SLICER:
        from planner.exports.slicer import write_markups
        return write_markups
    from planner.exports.trajectories import write_trajectories
    return write_trajectories


def export_document(document: Document, kinds: tuple[ExportFormat, ...], out: Path) -> tuple[Path, ...]:
    """Write a plan in some formats.

    Parameters
    ----------
    document : mapping
        ``plan.json`` as `planner.folder.read_folder` checked it.
    out : path
        Made when it is missing; files of the same names are replaced. A plan folder is refused with a UsageError.

    Returns
    -------
    tuple of path
        What was written.
    """
    if (out / "plan.json").exists():
        raise UsageError("the output is a plan folder, whose files are recorded; export into another one")
    out.mkdir(parents=True, exist_ok=True)
    return tuple(path for kind in dict.fromkeys(kinds) for path in _writer(kind)(document, out))
