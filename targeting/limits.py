"""Hard limits as values: what is asked of a needle, how far it misses, and the sentence for a person.

One `Limit` serves the search (which needles are turned down, and how near the nearest came) and the judgement of one
needle that a person placed (`targeting.evaluation`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.anatomy import StructureName
from targeting.model import Rejection, RejectionReason

__all__ = ["BOUND_ROUNDING", "Limit", "margin_limit", "structure_words"]

Array = NDArray[np.float64]
_WORDS = {StructureName.FORAMEN_CONTENTS: "the exiting nerve in the foramen",
          StructureName.SACRAL_FORAMINA: "a sacral foramen", StructureName.VENA_CAVA: "the vena cava",
          StructureName.BOWEL_GAS: "the bowel", StructureName.ILIAC_BONES: "the iliac bone"}
_DECIMALS = re.compile(r":\.(\d)f")
_MORE_DECIMALS = 2
#: Misses smaller than this (mm or degrees) are rounding: candidates stand exactly on a band's limit.
BOUND_ROUNDING = 1e-6


def structure_words(name: StructureName) -> str:
    """A structure in a sentence."""
    return _WORDS.get(name, f"the {name.value}")


@dataclass(frozen=True)
class Limit:
    """One hard limit.

    Attributes
    ----------
    bound : float or None
        In mm or degrees; None for a yes or no, whose value is 1 when it is broken.
    words : str
        A sentence with ``{value}``, ``{bound}``, ``{miss}`` and ``{best}`` (where "at best" goes for many needles).
    least : bool
        The value must not fall below the bound; else it must not exceed it.
    """

    reason: RejectionReason
    bound: float | None
    words: str
    least: bool = False
    structure: str | None = None

    def miss(self, values: Array) -> Array:
        """(n,) how far values lie beyond the bound, larger is worse; positive where the limit is broken."""
        bound = 0.0 if self.bound is None else self.bound
        return np.asarray((bound - values if self.least else values - bound) - BOUND_ROUNDING)

    def sentence(self, value: float, *, best: bool) -> str:
        """The words for a broken limit; `best` when `value` is the nearest of many needles."""
        bound = 0.0 if self.bound is None else self.bound
        words, told = self.words, ""
        if self.bound is not None and math.isfinite(value):
            words, told = _fine_enough(self.words, value, bound)
        words = words.format(value=value, bound=bound, miss=abs(value - bound), best=" at best" if best else "")
        return words.replace("inf mm", "too far") + told

    def broken(self, value: float) -> Rejection:
        """This limit, broken by one needle with `value`."""
        shown = None if self.bound is None or not math.isfinite(value) else round(value, 3)
        return Rejection(self.reason, self.structure, self.bound, shown, 1, self.sentence(value, best=False))


def _fine_enough(words: str, value: float, bound: float) -> tuple[str, str]:
    """The words with so many decimals that a value and the bound it misses differ; and else ``just missed``."""
    shown = [int(d) for d in _DECIMALS.findall(words)]
    for more in range(_MORE_DECIMALS + 1):
        if all(round(value, d + more) != round(bound, d + more) for d in shown):
            return _with_decimals(words, more), ""
    return words, " (just missed)"


def _with_decimals(words: str, more: int) -> str:
    return _DECIMALS.sub(lambda found: f":.{int(found[1]) + more}f", words)


def margin_limit(name: StructureName, margin_mm: float) -> Limit:
    """The least distance from the needle's surface to a structure."""
    need = "{bound:.1f} mm needed" if margin_mm > 0 else "it must not be crossed"
    return Limit(RejectionReason.MARGIN, margin_mm, f"{{value:.1f}} mm to {structure_words(name)}{{best}}, {need}",
                 True, name.value)
