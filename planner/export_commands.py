"""The command ``export``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from planner.console import say, warn
from planner.exports import ExportFormat
from planner.options import Debug

__all__ = ["add_export_command"]


def export(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A plan folder.")],
           to: Annotated[list[ExportFormat], typer.Option("--to", help="Format; repeatable.")],
           out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files; not a plan folder.")],
           source: Annotated[Path | None, typer.Option("--source", metavar="PATH", help="Where the scan is now, if it "
                                                       "moved; DICOM formats need it.")] = None,
           debug: Debug = False) -> None:
    """Write a plan for other programs; what no person has approved is marked UNAPPROVED PROPOSAL."""
    from planner.age import AgeVerdict, scan_age
    from planner.exports import export_plan
    from planner.exports.standing import PlanFolder, states, watermark

    plan = PlanFolder.read(folder, source)
    document, written = plan.document, export_plan(plan, tuple(to), out)
    age = scan_age(document["study"]["date"], datetime.now(UTC))
    if age.verdict is not AgeVerdict.RECENT:
        warn(f"warning: {age.sentence}")
    open_targets = sum(bool(watermark(state)) for state in states(document).values())
    if open_targets:
        warn(f"warning: {open_targets} of {len(document['targets'])} targets are exported as UNAPPROVED PROPOSAL")
    say(f"{len(written)} file{'s' if len(written) != 1 else ''} written to {out}")


def add_export_command(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(export)
