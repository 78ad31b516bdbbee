"""Which stocked needle reaches, with enough left outside the skin."""

from __future__ import annotations

from targeting.model import Needle
from targeting.procedures import Procedure

__all__ = ["choose_needle", "longest_path"]


def longest_path(procedure: Procedure) -> float:
    """Deepest tip any stocked needle reaches with the hard reserve left, mm along the needle."""
    return procedure.stock[-1].shaft_mm - procedure.reach.reserve_hard.value


def choose_needle(procedure: Procedure, path_mm: float) -> Needle | None:
    """The shortest needle that leaves the default reserve; else the longest if it leaves the hard one; else None."""
    for needle in procedure.stock:
        if path_mm + procedure.reach.reserve.value <= needle.shaft_mm:
            return needle
    longest = procedure.stock[-1]
    return longest if path_mm + procedure.reach.reserve_hard.value <= longest.shaft_mm else None
