"""Which version of the plan folder this program reads, and what to do with a folder of another.

The number in ``plan.json``'s ``schema`` rises with every change of what is written that an older program would misread
or a newer one could not read whole. A folder of another number is refused, never converted: its journal binds what was
decided to the exact bytes of then, and a converted plan would be a new one under an old approval.
"""

from __future__ import annotations

import json
import re
from typing import Any

from imaging.errors import InputRefusedError

__all__ = ["PLAN_SCHEMA", "PlanVersionError", "check_version"]

#: Written into every ``plan.json``.
PLAN_SCHEMA = "nerveplan/plan/1"
_FORM = re.compile(r"nerveplan/plan/([1-9][0-9]{0,5}|0)")


class PlanVersionError(InputRefusedError):
    """A plan folder written by a program that writes another version of it."""


def _version(document: Any) -> int | None:
    """The number in a plan document's ``schema``; None where there is none."""
    said = document.get("schema") if isinstance(document, dict) else None
    match = _FORM.fullmatch(said) if isinstance(said, str) else None
    return None if match is None else int(match.group(1))


def _first_plan(journal: bytes) -> Any:
    """The plan in the journal's first entry, whatever else the entry holds; None where there is none."""
    try:
        return json.loads(journal.split(b"\n", 1)[0])["body"]["plan"]
    except (ValueError, KeyError, TypeError):
        return None


def check_version(folder: str, plan: Any, journal: bytes) -> None:
    """Refuse a plan folder of another version.

    Parameters
    ----------
    folder : str
        Its name, for the sentence.
    plan : parsed JSON
        ``plan.json``.
    journal : bytes
        ``journal.jsonl``. Only where both say the same is the folder of another version; else one was altered, which is
        not told here.

    Raises
    ------
    PlanVersionError
        Says which version the folder has, which one this program reads, and what to do.
    """
    ours, theirs = _version({"schema": PLAN_SCHEMA}), _version(plan)
    if theirs is None or theirs == ours or theirs != _version(_first_plan(journal)):
        return
    versions = plan.get("versions")
    writer = versions.get("nerveplan") if isinstance(versions, dict) else None
    by = f", written by nerveplan {writer[:40]}" if isinstance(writer, str) else ""
    what = ("plan the study again into another folder, or open this one with the nerveplan that wrote it" if
            theirs < (ours or 0) else "open it with a nerveplan at least as new as the one that wrote it")
    raise PlanVersionError(f"the plan in '{folder}' has version {theirs} of the plan folder{by}; this nerveplan reads "
                           f"version {ours} only: {what}")
