"""The catalogue: one TOML file per procedure, every number with its unit, status and source.

A file may extend another and state only what differs (see `targeting.procedures.files`).
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from imaging.errors import UsageError
from targeting.procedures.files import procedure_data
from targeting.procedures.schema import Procedure, ProcedureKind, parse_procedure

__all__ = ["Procedure", "ProcedureKind", "load_procedure", "procedure_names"]


@cache
def procedure_names() -> tuple[str, ...]:
    """Names of the procedures that ship, sorted."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


@cache
def load_procedure(name: str) -> Procedure:
    """Read one procedure; an unknown name is a UsageError that lists the known ones."""
    if name not in procedure_names():
        raise UsageError(f"no procedure '{name}'; known: {', '.join(procedure_names())}")
    return parse_procedure(procedure_data(name))
