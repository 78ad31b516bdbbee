"""What names rest on: measurements of a chain of vertebrae, and the signs that ribs and the axis make in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from imaging.geometry import Side
from segmentation.builtin.settings import settings

__all__ = ["ChainEvidence", "RibEvidence", "Signs", "VertebraEvidence", "read_signs", "rib_kind"]


@dataclass(frozen=True)
class RibEvidence:
    """What was seen where a rib would join one side of a vertebra.

    Attributes
    ----------
    length_mm : float
        Visible length; 0 when the place is in view and there is none.
    complete : bool
        False when the rib leaves the field of view, so that it may be longer.
    """

    length_mm: float
    complete: bool = True


@dataclass(frozen=True)
class VertebraEvidence:
    """Measurements of one vertebra.

    Attributes
    ----------
    step_below_mm : float or None
        Body centre to the body centre below; None for the lowest.
    volume_ml : float or None
        None when the vertebra is cut.
    ribs : mapping
        By side; a side that is not in view is absent.
    joined_to_ala : tuple of Side
        Sides on which the transverse process is fused with, or joined to, the sacral ala.
    is_axis : bool
        It has the shape of C2.
    """

    step_below_mm: float | None = None
    volume_ml: float | None = None
    ribs: Mapping[Side, RibEvidence] = field(default_factory=dict)
    joined_to_ala: tuple[Side, ...] = ()
    is_axis: bool = False


@dataclass(frozen=True)
class ChainEvidence:
    """A gapless chain of free vertebrae.

    Attributes
    ----------
    vertebrae : tuple of VertebraEvidence
        Lowest first.
    on_sacrum : bool
        The lowest one stands on the sacrum.
    contact_doubted : bool
        One may be missing between them.
    sacral_chance : float
        Chance, before ribs, distances and volumes are counted, that it is itself the first sacral segment.
    """

    vertebrae: tuple[VertebraEvidence, ...]
    on_sacrum: bool = False
    contact_doubted: bool = False
    sacral_chance: float = 0.0


@dataclass(frozen=True)
class Signs:
    """Rib status of each vertebra ("rib", "short", "none" or None where not in view) and what follows from it."""

    status: tuple[str | None, ...]
    last_rib: int | None
    last_rib_sure: bool
    first_rib: int | None
    axis: int | None

    @property
    def counted_from_above(self) -> bool:
        """True when the first rib or C2 is in view."""
        return self.first_rib is not None or self.axis is not None

    @property
    def settled(self) -> bool:
        """True when ribs or a count from above say which is the fifth lumbar vertebra, wherever the sacrum begins."""
        return self.counted_from_above or (self.last_rib == 5 and self.last_rib_sure)

    def agreeing(self, given: Sequence[str]) -> Signs:
        """What names, lowest first, agree with: nothing is counted from a C2 or T1 that bears another name."""
        first, axis = self.first_rib, self.axis
        return replace(self, first_rib=first if first is not None and given[first] == "T1" else None,
                       axis=axis if axis is not None and given[axis] == "C2" else None)


def read_signs(chain: ChainEvidence) -> Signs:
    """The signs in a chain."""
    status = tuple(_rib_status(v) for v in chain.vertebrae)
    bearing = [n for n, s in enumerate(status) if s == "rib"]
    last = bearing[0] if bearing and bearing[0] > 0 and status[bearing[0] - 1] in ("none", "short") else None
    above = status[bearing[-1] + 1: bearing[-1] + 3] if bearing else ()
    first = bearing[-1] if above == ("none", "none") else None
    ribless = bearing[-1] + 6 if bearing else 0  # T1 is the sixth below C2
    axis = next((n for n, v in enumerate(chain.vertebrae) if v.is_axis and n >= ribless), None)
    return Signs(status, last, last is not None and _sure_last_rib(chain, status, last), first, axis)


def rib_kind(rib: RibEvidence) -> str:
    """Say "none", "short" or "rib"; one that leaves the field of view counts as whole."""
    if rib.length_mm <= 0:
        return "none"
    return "rib" if rib.length_mm >= settings().naming.rib_length_mm or not rib.complete else "short"


def _rib_status(vertebra: VertebraEvidence) -> str | None:
    if not vertebra.ribs:
        return None
    kinds = [rib_kind(rib) for rib in vertebra.ribs.values()]
    return "rib" if "rib" in kinds else "short" if "short" in kinds else "none"


def _sure_last_rib(chain: ChainEvidence, status: tuple[str | None, ...], last: int) -> bool:
    """True when the last rib is there on both sides, the vertebra above has ribs too and the one below has none."""
    kinds = [rib_kind(rib) for rib in chain.vertebrae[last].ribs.values()]
    below = [rib_kind(rib) for rib in chain.vertebrae[last - 1].ribs.values()]
    above = last + 1 == len(status) or status[last + 1] == "rib"
    return kinds == ["rib", "rib"] and below == ["none", "none"] and above
