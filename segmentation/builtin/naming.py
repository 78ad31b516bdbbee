"""Names for a chain of vertebrae, from measured evidence: a pure function, the same for every source of masks.

Every possible numbering (`hypotheses`) gets a likelihood from what touches the sacrum, where ribs are, the distances of
the bodies, the volumes and the axis. The best one names the chain; the sum over all others that disagree is the doubt
that each name carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import Side
from segmentation.anatomy import VERSE_LABEL, Level, relative_label, relative_level
from segmentation.builtin.hypotheses import SACRAL, hypotheses
from segmentation.builtin.settings import settings
from segmentation.builtin.signs import ChainEvidence, Signs, VertebraEvidence, read_signs, rib_kind
from segmentation.spine import Alternate, Numbering, NumberingStatus, NumberingTier

__all__ = ["NamedChain", "NamedVertebra", "name_chain"]

_TIERS = (NumberingTier.A, NumberingTier.B, NumberingTier.C, NumberingTier.D)
_ORDINAL = {1: "1st", 2: "2nd", 3: "3rd"}


@dataclass(frozen=True)
class NamedVertebra:
    """The verdict on one vertebra; `confidence` is the probability that the name is right."""

    name: str
    label: int
    confidence: float
    alternates: tuple[Alternate, ...]
    evidence: tuple[str, ...]
    sacralised: tuple[Side, ...]


@dataclass(frozen=True)
class NamedChain:
    """The verdict on a chain, lowest first; `sacrum_confidence` is the probability that the sacrum begins with S1."""

    numbering: Numbering
    vertebrae: tuple[NamedVertebra, ...]
    findings: tuple[Finding, ...]
    sacrum_confidence: float


def name_chain(chain: ChainEvidence) -> NamedChain:
    """Name a chain of at least one vertebra.

    Returns
    -------
    NamedChain
        Tier A to C with level names, tier D with names relative to the lowest vertebra.
    """
    signs = read_signs(chain)
    names, p = hypotheses(chain, signs)
    best = int(np.where([given[0] == SACRAL for given in names], 0.0, p).argmax())
    signs = signs.agreeing(names[best])
    transitional = _transitional(chain, signs)
    tier = _tier(chain, signs, bool(transitional))
    findings = _findings(tier, chain, signs, transitional, names[best])
    unconfirmed = _contact_unconfirmed(chain, signs)
    sacrum_confidence = settings().naming.cap_d if unconfirmed else settings().naming.cap_a
    if tier is NumberingTier.D:
        vertebrae = tuple(_relative(chain, signs, names, p, n) for n in range(len(chain.vertebrae)))
        return NamedChain(Numbering(tier, NumberingStatus.RELATIVE), vertebrae, findings, sacrum_confidence)
    cap = {NumberingTier.A: settings().naming.cap_a, NumberingTier.B: settings().naming.cap_b,
           NumberingTier.C: settings().naming.cap_c}[tier]
    if unconfirmed:
        cap = min(cap, settings().naming.cap_d)
    vertebrae = tuple(_named(chain, signs, names, p, best, n, cap) for n in range(len(chain.vertebrae)))
    return NamedChain(Numbering(tier, NumberingStatus.NAMED), vertebrae, findings, sacrum_confidence)


# ---- tiers


def _transitional(chain: ChainEvidence, signs: Signs) -> tuple[str, ...]:
    """Sentences, one per sign of transitional anatomy."""
    said: list[str] = []
    last = signs.last_rib
    if chain.on_sacrum and last is not None and last != 5:
        said.append(f"{last} vertebrae without ribs between the last rib and the sacrum instead of 5")
    if chain.on_sacrum:
        sides = [side.value for side in chain.vertebrae[0].joined_to_ala]
        if sides:
            said.append(f"the lowest vertebra's transverse process is joined to the sacral ala: {' and '.join(sides)}")
    short = _last_short(chain, signs)
    if short is not None:
        said.append(f"a rib shorter than {settings().naming.rib_length_mm:.0f} mm on the {_ordinal(short + 1)} "
                    "vertebra from below")
    return tuple(said)


def _last_short(chain: ChainEvidence, signs: Signs) -> int | None:
    """The vertebra whose short rib makes the count doubtful: next below the last rib, or short on both sides."""
    if signs.last_rib is not None:
        return signs.last_rib - 1 if signs.status[signs.last_rib - 1] == "short" else None
    both = [n for n, v in enumerate(chain.vertebrae)
            if signs.status[n] == "short" and all(rib_kind(rib) == "short" for rib in v.ribs.values())]
    return both[-1] if both else None


def _tier(chain: ChainEvidence, signs: Signs, transitional: bool) -> NumberingTier:
    if signs.counted_from_above or (chain.on_sacrum and signs.last_rib is not None):
        tier = NumberingTier.A
    elif chain.on_sacrum:
        tier = NumberingTier.B
    elif signs.last_rib_sure:
        tier = NumberingTier.C
    else:
        return NumberingTier.D
    return _TIERS[min(_TIERS.index(tier) + int(transitional) + int(_contact_unconfirmed(chain, signs)), 3)]


def _contact_unconfirmed(chain: ChainEvidence, signs: Signs) -> bool:
    """True when the first bone of the sacrum is doubtful and neither the ribs nor a count from above settle it."""
    return chain.on_sacrum and (chain.contact_doubted or chain.sacral_chance > 0) and not signs.settled


# ---- the verdict


def _marginal(names: list[tuple[str, ...]], p: NDArray[np.float64], n: int) -> dict[str, float]:
    """Posterior of each name of the n-th vertebra, likeliest first."""
    out: dict[str, float] = {}
    for given, chance in zip(names, p, strict=True):
        out[given[n]] = out.get(given[n], 0.0) + float(chance)
    return dict(sorted(out.items(), key=lambda item: (-item[1], item[0])))


def _alternates(marginal: Mapping[str, float], name: str, confidence: float) -> tuple[Alternate, ...]:
    """The other names, sharing the probability that the given one leaves; at least the likeliest is always printed."""
    others = {level: chance for level, chance in marginal.items() if level != name}
    total = sum(others.values())
    if total <= 0:
        return ()
    scaled = [(level, (1.0 - confidence) * chance / total) for level, chance in others.items()]
    # A name whose confidence is capped stays the likeliest: what is left over is doubt about the method, not a rival.
    scaled = [(level, min(p, confidence) if others[level] <= marginal[name] else p) for level, p in scaled]
    kept = [item for n, item in enumerate(scaled) if n == 0 or item[1] >= settings().naming.alternate_least]
    return tuple(Alternate(level, round(chance, 3)) for level, chance in kept[:4])


def _named(chain: ChainEvidence, signs: Signs, names: list[tuple[str, ...]], p: NDArray[np.float64], best: int, n: int,
           cap: float) -> NamedVertebra:
    name = names[best][n]
    marginal = _marginal(names, p, n)
    confidence = round(min(marginal[name], cap), 3)
    sacralised = chain.vertebrae[n].joined_to_ala if n == 0 and chain.on_sacrum else ()
    return NamedVertebra(name, VERSE_LABEL[Level(name)], confidence, _alternates(marginal, name, confidence),
                         _sentences(chain, signs, n, names[best]), sacralised)


def _relative(chain: ChainEvidence, signs: Signs, names: list[tuple[str, ...]], p: NDArray[np.float64],
              n: int) -> NamedVertebra:
    marginal = _marginal(names, p, n)
    top = max(marginal.values())
    confidence = round(min(top, settings().naming.cap_d), 3)
    likely = tuple(Alternate(level, round(chance * confidence / top, 3)) for level, chance in list(marginal.items())[:4]
                   if chance >= settings().naming.alternate_least)
    sacralised = chain.vertebrae[n].joined_to_ala if n == 0 and chain.on_sacrum else ()
    return NamedVertebra(relative_level(n), relative_label(n), confidence, likely, _sentences(chain, signs, n, None),
                         sacralised)


def _ordinal(n: int) -> str:
    return _ORDINAL.get(n, f"{n}th")


def _sentences(chain: ChainEvidence, signs: Signs, n: int, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Why the n-th vertebra is called what it is called."""
    said: list[str] = []
    if chain.on_sacrum:
        doubted = chain.contact_doubted or chain.sacral_chance > 0
        doubt = " (where the sacrum begins is uncertain)" if doubted else ""
        said.append(f"{_ordinal(n + 1)} free vertebra above the sacrum{doubt}")
    else:
        said.append(f"{_ordinal(n + 1)} vertebra from below in view; the sacrum is not below it in this field of view")
    last = signs.last_rib
    if last is not None:
        where = "this vertebra" if n == last else _place(n, last, given)
        said.append(f"last rib on {where}, {_sides_of(chain.vertebrae[last])}")
    elif signs.status[n] is None:
        said.append("no view of where ribs would join")
    if signs.axis is not None:
        said.append(f"{signs.axis - n} below C2" if n < signs.axis else "counted with C2 in view")
    elif signs.first_rib is not None:
        said.append("counted from the first rib (T1)")
    else:
        said.append("numbering unverified from above: neither C2 nor the first rib was made out")
    return tuple(said)


def _place(n: int, last: int, given: tuple[str, ...] | None) -> str:
    steps = abs(last - n)
    direction = "above" if last > n else "below"
    own = f" ({given[last]})" if given else ""
    return f"the vertebra {direction}{own}" if steps == 1 else f"the {_ordinal(steps)} vertebra {direction}{own}"


def _sides_of(vertebra: VertebraEvidence) -> str:
    sides = [side.value for side, rib in vertebra.ribs.items() if rib_kind(rib) == "rib"]
    return "both sides" if len(sides) == 2 else f"{sides[0]} side"


def _findings(tier: NumberingTier, chain: ChainEvidence, signs: Signs, transitional: tuple[str, ...],
              best: tuple[str, ...]) -> tuple[Finding, ...]:
    out: list[Finding] = []
    warn = Severity.WARNING
    if transitional:
        out.append(Finding(FindingCode.TRANSITIONAL_ANATOMY, warn, "Transitional anatomy: " + "; ".join(transitional)
                           + ". Check the level count against whole-spine imaging."))
    if tier is NumberingTier.D:
        out.append(Finding(FindingCode.LEVEL_UNKNOWN, Severity.BLOCK,
                           "The levels cannot be named: neither the sacrum under the lowest vertebra nor the last rib "
                           "is certain in this field of view. State one level (for example --name LLV-1=L4) to plan."))
    elif chain.on_sacrum and signs.last_rib is None and not signs.counted_from_above:
        out.append(Finding(FindingCode.LEVEL_FROM_SACRUM_ONLY, warn,
                           f"Levels are counted from the sacrum only (lowest free vertebra = {best[0]}); no last rib "
                           "is in view to confirm the count. Check the alternates."))
    elif not chain.on_sacrum and signs.last_rib is not None and not signs.counted_from_above:
        out.append(Finding(FindingCode.LEVEL_FROM_RIB_ONLY, warn,
                           "Levels are counted from the last rib only; the sacrum is not in view to confirm the "
                           "count. Check the alternates."))
    return tuple(out)
