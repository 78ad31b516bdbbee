"""How old a scan is, judged from a clock that is handed in: at view, approve and export, never stored."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["AgeVerdict", "ScanAge", "scan_age"]


class AgeVerdict(StrEnum):
    """What a scan's age asks for."""

    RECENT = "recent"
    OLD = "old"
    """Older than the warning limit: said."""
    STALE = "stale"
    """Older than the override limit: an approval needs a reason."""
    UNKNOWN = "unknown"
    """No date, a broken date, or one in the future: said."""


@dataclass(frozen=True)
class ScanAge:
    """A scan's age.

    Attributes
    ----------
    taken : date or None
    days : int or None
        None when unknown.
    sentence : str
        For a person.
    """

    verdict: AgeVerdict
    taken: date | None
    days: int | None
    sentence: str


@cache
def _limits() -> tuple[int, int]:
    """Days from which a scan is warned of, and from which an override is needed."""
    text = resources.files("planner.data").joinpath("review.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)["scan_age"]
    return int(table["warn"]["value"]), int(table["override"]["value"])


def scan_age(study_date: str, now: datetime) -> ScanAge:
    """Judge the age of a scan.

    Parameters
    ----------
    study_date : str
        As in DICOM, ``YYYYMMDD``; empty when the images do not say.
    now : datetime
        From the caller's clock, with its zone.
    """
    try:
        taken = datetime.strptime(study_date, "%Y%m%d").date()
    except ValueError:
        return ScanAge(AgeVerdict.UNKNOWN, None, None, "the scan's date is not known: ask when it was taken")
    days, (warn, override) = (now.date() - taken).days, _limits()
    if days < 0:
        return ScanAge(AgeVerdict.UNKNOWN, taken, None, f"the scan's date, {taken.isoformat()}, lies in the future")
    words = f"the scan was taken on {taken.isoformat()}, {days} days ago"
    if days > override:
        return ScanAge(AgeVerdict.STALE, taken, days, f"{words}: older than {override} days")
    if days > warn:
        return ScanAge(AgeVerdict.OLD, taken, days,
                       f"{words}: older than {warn} days, make sure that nothing has changed since")
    return ScanAge(AgeVerdict.RECENT, taken, days, words)
