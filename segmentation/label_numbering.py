"""How far the names in a label map can be trusted: by what is in view, in the tiers of the house plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.findings import Finding, FindingCode, Severity
from imaging.volume import Grid
from segmentation.anatomy import Level
from segmentation.constants import constants
from segmentation.spine import Alternate, Numbering, NumberingStatus, NumberingTier

__all__ = ["LabelNumbering", "number_levels"]

_TIERS = list(NumberingTier)
_COUNTED_FROM = frozenset({Level.C1, Level.C2, Level.T1})
_LUMBAR = (Level.L1, Level.L2, Level.L3, Level.L4, Level.L5)


@dataclass(frozen=True, eq=False)
class LabelNumbering:
    """Tier, confidence per level, other names and findings."""

    numbering: Numbering
    confidence: dict[str, float]
    alternates: dict[str, tuple[Alternate, ...]]
    evidence: dict[str, tuple[str, ...]]
    findings: tuple[Finding, ...]


def _rib_length(ribs: NDArray[np.bool_], grid: Grid) -> float:
    """Longest straight extent of a last rib in view, mm."""
    parts, count = ndimage.label(ribs, np.ones((3, 3, 3)))
    longest = 0.0
    for box in ndimage.find_objects(parts)[:count]:
        size = np.array([s.stop - s.start for s in box][::-1]) * grid.spacing
        longest = max(longest, float(np.linalg.norm(size)))
    return longest


def _gap(levels: Sequence[Level]) -> str:
    """A vertebra missing between two that are there, or an empty string."""
    usual = [level for level in Level if level not in (Level.T13, Level.L6)]
    places = sorted(usual.index(level) for level in levels if level in usual)
    missing = [usual[n].value for n in range(places[0], places[-1]) if n not in places] if places else []
    return ", ".join(missing)


def _signs(levels: Sequence[Level], rib_mm: float) -> tuple[NumberingTier, list[str]]:
    """Tier before doubts, and the sentences that support it."""
    sacrum = Level.S1 in levels
    long_rib = rib_mm >= float(constants("label_schemes")["checks"]["rib_least_mm"])
    evidence = ["named by the label map"]
    if any(level in _COUNTED_FROM for level in levels):
        top = next(level for level in Level if level in levels)
        return NumberingTier.A, [*evidence, f"{top.value} is in view: counted from above"]
    if long_rib:
        evidence.append(f"last rib in view, {rib_mm:.0f} mm")
    if sacrum:
        evidence.append("sacrum in view")
    if sacrum and long_rib and all(level in levels for level in _LUMBAR):
        return NumberingTier.A, [*evidence, "five lumbar vertebrae between last rib and sacrum"]
    if sacrum:
        return NumberingTier.B, evidence
    return (NumberingTier.C if long_rib else NumberingTier.D), evidence


def number_levels(grid: Grid, levels: Sequence[Level], last_ribs: NDArray[np.bool_],
                  ) -> LabelNumbering:
    """Judge the names of a label map.

    Parameters
    ----------
    levels : sequence of Level
        Levels present.
    last_ribs : (z, y, x) bool
        The twelfth ribs, empty when the map has none.

    Returns
    -------
    LabelNumbering
        The names are kept whatever the tier: they are the tool's word, with a confidence no higher than the tier's cap.
    """
    c = constants("label_schemes")["confidence"]
    rib_mm = _rib_length(last_ribs, grid) if last_ribs.any() else 0.0
    tier, evidence = _signs(levels, rib_mm)
    gap = _gap(levels)
    unusual = [level.value for level in (Level.T13, Level.L6) if level in levels]
    if gap or unusual:
        tier = _TIERS[min(_TIERS.index(tier) + 1, len(_TIERS) - 1)]
    cap = float(c[tier.value])
    confidence = {level.value: cap for level in levels}
    alternates = {level.value: _alternates(level, cap) for level in levels if tier is not NumberingTier.A}
    return LabelNumbering(Numbering(tier, NumberingStatus.NAMED), confidence, alternates,
                          {level.value: tuple(evidence) for level in levels}, _findings(tier, gap, unusual))


def _alternates(level: Level, confidence: float) -> tuple[Alternate, ...]:
    """The names one step up and down the column."""
    if level is Level.S1:
        return ()
    usual = [one for one in Level if one not in (Level.T13, Level.L6, Level.S1)]
    if level not in usual:
        return (Alternate(Level.L1.value if level is Level.T13 else Level.S1.value, 1.0 - confidence),)
    rest = (1.0 - confidence) * float(constants("label_schemes")["confidence"]["alternate_share"]) / 2
    place = usual.index(level)
    return tuple(Alternate(usual[n].value, rest) for n in (place - 1, place + 1) if 0 <= n < len(usual))


def _findings(tier: NumberingTier, gap: str, unusual: Sequence[str]) -> tuple[Finding, ...]:
    out = []
    if unusual:
        out.append(Finding(FindingCode.TRANSITIONAL_ANATOMY, Severity.WARNING,
                           f"the label map holds {', '.join(unusual)}: the numbering has two readings"))
    if gap:
        out.append(Finding(FindingCode.VERTEBRA_ATYPICAL, Severity.WARNING, f"the label map skips {gap}"))
    words = {
        NumberingTier.B: (FindingCode.LEVEL_FROM_SACRUM_ONLY,
                          "levels counted from the sacrum only, no ribs to confirm"),
        NumberingTier.C: (FindingCode.LEVEL_FROM_RIB_ONLY, "levels counted from the last rib only: no sacrum in view"),
        NumberingTier.D: (FindingCode.LEVEL_UNKNOWN, "neither ribs nor sacrum to check the names of the label map by"),
    }
    if tier in words and not (unusual or gap):
        code, message = words[tier]
        out.append(Finding(code, Severity.WARNING, message))
    return tuple(out)
