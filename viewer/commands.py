"""``nerveplan view``: contributed to the command line through the entry-point group ``nerveplan.commands``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["view"]


def view(
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="A plan folder, the results of a batch, or a scan "
                                                "to plan: a DICOM folder or file, NIfTI, NRRD or MHA.")] = None,
    source: Annotated[Path | None, typer.Option("--source", help="Where the scan of a plan folder is now.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
) -> None:
    """Open the review window: look at a plan, adjust it, approve or reject it."""
    from viewer.window import run

    run(path, source)
