"""Assembles: the plan record, the study pipeline, batch, report and the command line.

``planner.plan_study(...)`` is the command ``nerveplan plan`` as a typed function. Importing this package loads neither
a window toolkit nor a rendering or learning library; whatever is heavy is imported by the function that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.pipeline import plan_study
    from planner.plan import Plan

__all__ = ["Plan", "plan_study"]

_HOME = {"Plan": "planner.plan", "plan_study": "planner.pipeline"}


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that the command line starts quickly."""
    if name not in _HOME:
        raise AttributeError(f"module 'planner' has no attribute '{name}'")
    from importlib import import_module
    return getattr(import_module(_HOME[name]), name)
