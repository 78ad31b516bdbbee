"""What the viewer shows at first, read once from ``viewer/settings.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

__all__ = ["Settings", "Window", "settings"]


@dataclass(frozen=True)
class Window:
    """A range of values shown from black to white.

    Attributes
    ----------
    low, high : float
        HU for CT.
    """

    title: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise ValueError(f"window {self.title}: the upper value must exceed the lower")


@dataclass(frozen=True)
class Settings:
    """Numbers of the viewer.

    Attributes
    ----------
    windows : mapping
        Presets for CT by key, in the order they are offered.
    step_mm, needle_step_mm : float
        Pixel of the orthogonal and of the needle views at first.
    beside_mm : float
        What lies farther from a cut is drawn as beside it.
    """

    windows: MappingProxyType[str, Window]
    step_mm: float
    needle_step_mm: float
    beside_mm: float


@cache
def settings() -> Settings:
    """The viewer's own settings."""
    text = resources.files("viewer").joinpath("settings.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)
    windows = {key: Window(w["title"], float(w["low"]), float(w["high"])) for key, w in table["window"].items()}
    view = {key: float(number["value"]) for key, number in table["view"].items()}
    return Settings(MappingProxyType(windows), view["step_mm"], view["needle_step_mm"], view["beside_mm"])
