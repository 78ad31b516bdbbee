"""Edits of the anatomy: a plan with one thing changed by hand and everything that follows from it computed anew."""

from __future__ import annotations

from typing import Any

from planner.document import to_document
from planner.fold import REPLACEABLE
from planner.journal import canonical
from planner.plan import Plan

__all__ = ["changes_between"]


def changes_between(document: dict[str, Any], changed: Plan) -> dict[str, Any]:
    """The parts of a plan document that another plan replaces, whole."""
    after = to_document(changed)
    return {name: after[name] for name in REPLACEABLE if canonical(after[name]) != canonical(document[name])}
