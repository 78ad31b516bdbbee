"""Commands from other packages: found through an entry-point group, loaded when they are called."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from planner.console import Boundary, warn

__all__ = ["COMMAND_GROUP", "NerveplanGroup", "plugin_commands"]

#: Each entry is a function with typer annotations, or a `typer.Typer`; its name is the command's.
COMMAND_GROUP = "nerveplan.commands"


def plugin_commands() -> dict[str, EntryPoint]:
    """The installed extra commands by name, none loaded."""
    return {point.name: point for point in sorted(entry_points(group=COMMAND_GROUP), key=lambda p: p.name)}


def _load(point: EntryPoint) -> Any:
    """The command behind an entry point; None with a warning when its package cannot be loaded."""
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        warn(f"nerveplan: the command '{point.name}' cannot be loaded ({type(error).__name__}); install its extra")
        return None
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    app = typer.Typer(add_completion=False)
    app.command(point.name)(found)
    return typer.main.get_command(app)


class NerveplanGroup(TyperGroup):
    """The root command: own commands first, then those of other packages; errors become exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        own = list(super().list_commands(ctx))
        return own + [name for name in plugin_commands() if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command; an extra one is loaded here."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = plugin_commands().get(cmd_name)
        return None if point is None else _load(point)

    def invoke(self, ctx: Any) -> Any:
        """Run the command inside the boundary."""
        with Boundary(ctx):
            return super().invoke(ctx)
