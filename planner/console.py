"""The terminal: progress, tables, JSON, and errors turned into exit codes."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal

import typer

from imaging.errors import NerveplanError
from planner.destination import os_error_words
from planner.exit_codes import ExitCode, exit_code_of
from segmentation.engine import Progress

__all__ = ["Boundary", "DEBUG_KEY", "print_json", "print_table", "progress_bar", "say", "warn"]

#: Where the root context keeps the wish for a stack trace.
DEBUG_KEY = "nerveplan.debug"
_PIPED_WIDTH = 200
_log = logging.getLogger(__name__)


class Boundary:
    """Turns what a command raises into one line on stderr and an exit code.

    Errors raised on purpose say what is wrong themselves. Any other is named by its kind alone, for its text may hold
    what must not be printed; ``--debug`` shows all.
    """

    def __init__(self, context: typer.Context) -> None:
        self._context = context

    def __enter__(self) -> Boundary:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> Literal[False]:
        if error is None or hasattr(error, "exit_code") or isinstance(error, typer.Abort | SystemExit):
            return False
        code = exit_code_of(error)
        if isinstance(error, NerveplanError):
            warn(f"nerveplan: {error}")
        elif code is ExitCode.INTERRUPTED:
            warn("nerveplan: interrupted; older results are intact")
        elif isinstance(error, OSError) and (words := os_error_words(error)) is not None:
            warn(f"nerveplan: a file could not be read or written: {words}; older results are intact")
        else:
            warn(f"nerveplan: internal error ({type(error).__name__}); run again with --debug to see it")
        if self._context.find_root().meta.get(DEBUG_KEY, False):
            import traceback
            warn("".join(traceback.format_exception(error)))
        raise typer.Exit(int(code)) from None


def say(text: str) -> None:
    """One line on stdout."""
    typer.echo(text)


def warn(text: str) -> None:
    """One line on stderr."""
    typer.echo(text, err=True)


def print_json(document: Any) -> None:
    """A document on stdout, one object, sorted keys."""
    typer.echo(json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]],
                styles: Mapping[str, str] | None = None) -> None:
    """A table on stdout, as wide as the terminal, or wide enough for whole lines when piped.

    Parameters
    ----------
    styles : mapping
        Cell text to rich style, such as LEFT and RIGHT.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)
    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in row))
    console.print(table)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress | None]:
    """A progress bar on stderr when it is a terminal; nothing when it is piped or `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    with Bars(TextColumn("{task.description:<32}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
              TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=1.0)

        def tell(words: str, fraction: float) -> None:
            bars.update(task, description=words[:32], completed=fraction)

        yield tell
