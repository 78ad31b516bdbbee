"""Procedure files and what one takes over from another.

A file may name another with ``extends = "NAME"``: it then states only what differs. Tables are merged key by key; a
number is always restated whole, with its own status and source; ``weights`` (which sum to 1) and lists are replaced.
``omit = ["section", "section.key"]`` leaves out what the named file has and this one must not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from targeting.constants import data_error

__all__ = ["procedure_data", "read_table"]

_OWN = ("extends", "omit")
_REPLACED = ("weights",)


def read_table(name: str) -> dict[str, Any]:
    """One file of the catalogue as it is written."""
    return tomllib.loads(resources.files("targeting.procedures").joinpath(f"{name}.toml").read_text("utf-8"))


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `own` states."""
    out = dict(base)
    for key, value in own.items():
        below = out.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and "value" not in value and key not in _REPLACED:
            out[key] = _merged(below, value)
        else:
            out[key] = value
    return out


def _without(data: Mapping[str, Any], dotted: str, where: str) -> dict[str, Any]:
    """`data` without one key of one of its tables."""
    key, _, rest = dotted.partition(".")
    if key not in data:
        raise data_error(where, f"omits '{dotted}', which what it extends does not have")
    if not rest:
        return {k: v for k, v in data.items() if k != key}
    return {**data, key: _without(data[key], rest, where)}


def procedure_data(name: str, read: Callable[[str], Mapping[str, Any]] = read_table) -> dict[str, Any]:
    """The tables of a procedure with all it takes over; a circle or an unknown omission is a ValueError.

    Parameters
    ----------
    read : callable
        Gives a file's own tables by name.
    """
    chain: list[Mapping[str, Any]] = []
    names: list[str] = []
    above: str | None = name
    while above is not None:
        if above in names:
            raise data_error(name, f"extends itself through {', '.join(names)}")
        names.append(above)
        chain.append(read(above))
        above = chain[-1].get("extends")
    data: dict[str, Any] = {}
    for own in reversed(chain):
        for dotted in own.get("omit", ()):
            data = _without(data, dotted, own["name"])
        data = _merged(data, {k: v for k, v in own.items() if k not in _OWN})
    return data
