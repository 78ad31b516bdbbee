"""Options that many commands share."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Annotated

import typer

from planner.console import DEBUG_KEY

__all__ = ["Debug", "Format", "Json", "TableFormat"]


class TableFormat(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"


def _debug(context: typer.Context, value: bool) -> None:
    if value:
        context.find_root().meta[DEBUG_KEY] = True
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


Debug = Annotated[bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show stack traces.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")]
Format = Annotated[TableFormat, typer.Option("--format", help="How to print the list.")]
