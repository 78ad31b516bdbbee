"""Engines: anything that turns a scan into a `Segmentation`, found through an entry-point group."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from imaging.errors import UsageError
from imaging.volume import Volume
from segmentation.spine import Segmentation

__all__ = ["ENTRY_POINT_GROUP", "Engine", "Progress", "engine_names", "load_engine"]

ENTRY_POINT_GROUP = "nerveplan.engines"
#: Called with a stage's words and the fraction done, 0 to 1.
Progress = Callable[[str, float], None]


@runtime_checkable
class Engine(Protocol):
    """What an engine must offer."""

    name: str

    def segment(self, volume: Volume, progress: Progress) -> Segmentation:
        """Find and name the vertebrae and the structures the engine knows, on the volume's own grid."""
        ...


def engine_names() -> tuple[str, ...]:
    """Names of the installed engines, loading none."""
    return tuple(sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP)))


def load_engine(name: str) -> Engine:
    """Load one engine by name; an unknown name is a UsageError that lists the known ones."""
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name:
            engine = point.load()()
            if not isinstance(engine, Engine):
                raise UsageError(f"engine '{name}' does not offer segment(volume, progress)")
            return engine
    raise UsageError(f"no engine '{name}'; installed: {', '.join(engine_names()) or 'none'}")
