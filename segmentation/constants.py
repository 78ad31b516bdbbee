"""Reads the constants of this package: TOML tables with value, unit, status and source."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["constants"]


@cache
def constants(name: str) -> dict[str, Any]:
    """The parsed table of ``segmentation/data/<name>.toml``."""
    return tomllib.loads(resources.files("segmentation.data").joinpath(f"{name}.toml").read_text(encoding="utf-8"))
