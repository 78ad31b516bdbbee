"""Names for a chain of vertebrae, from measured evidence: a pure function, the same for every source of masks.

Every possible numbering (a variant of the column and the place of the chain in it) gets a likelihood from what touches
the sacrum, where ribs are, the distances of the bodies, the volumes and the axis. The best one names the chain; the sum
over all others that disagree is the doubt that each name carries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import Side
from segmentation.anatomy import VERSE_LABEL, Level, relative_label, relative_level
from segmentation.builtin.settings import settings
from segmentation.spine import Alternate, Numbering, NumberingStatus, NumberingTier

__all__ = ["ChainEvidence", "NamedChain", "NamedVertebra", "RibEvidence", "VertebraEvidence", "lowest_is_sacral",
           "name_chain"]

_TIERS = (NumberingTier.A, NumberingTier.B, NumberingTier.C, NumberingTier.D)
_ORDINAL = {1: "1st", 2: "2nd", 3: "3rd"}
_SACRAL = Level.S1.value
_CERVICAL = tuple(f"C{n}" for n in range(7, 0, -1))


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


@dataclass(frozen=True)
class _Signs:
    """Rib status of each vertebra ("rib", "short", "none" or None where not in view) and what follows from it."""

    status: tuple[str | None, ...]
    last_rib: int | None
    last_rib_sure: bool
    first_rib: int | None
    axis: int | None

    @property
    def counted_from_above(self) -> bool:
        return self.first_rib is not None or self.axis is not None


def lowest_is_sacral(chain: ChainEvidence) -> float:
    """Probability that the lowest vertebra is the first sacral segment, all evidence counted.

    0 where five vertebrae below a sure last rib include it: it is then a sacralised L5 by the usual count.
    """
    signs = _signs(chain)
    if _settled(signs):
        return 0.0
    names, p = _hypotheses(chain, signs)
    return sum(float(chance) for given, chance in zip(names, p, strict=True) if given[0] == _SACRAL)


def name_chain(chain: ChainEvidence) -> NamedChain:
    """Name a chain of at least one vertebra.

    Returns
    -------
    NamedChain
        Tier A to C with level names, tier D with names relative to the lowest vertebra.
    """
    signs = _signs(chain)
    names, p = _hypotheses(chain, signs)
    best = int(np.where([given[0] == _SACRAL for given in names], 0.0, p).argmax())
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


# ---- what the ribs say


def _rib_status(vertebra: VertebraEvidence) -> str | None:
    if not vertebra.ribs:
        return None
    kinds = [_rib_kind(rib) for rib in vertebra.ribs.values()]
    return "rib" if "rib" in kinds else "short" if "short" in kinds else "none"


def _rib_kind(rib: RibEvidence) -> str:
    if rib.length_mm <= 0:
        return "none"
    return "rib" if rib.length_mm >= settings().naming.rib_length_mm or not rib.complete else "short"


def _signs(chain: ChainEvidence) -> _Signs:
    status = tuple(_rib_status(v) for v in chain.vertebrae)
    bearing = [n for n, s in enumerate(status) if s == "rib"]
    last = bearing[0] if bearing and bearing[0] > 0 and status[bearing[0] - 1] in ("none", "short") else None
    above = status[bearing[-1] + 1: bearing[-1] + 3] if bearing else ()
    first = bearing[-1] if above == ("none", "none") else None
    axis = next((n for n, v in enumerate(chain.vertebrae) if v.is_axis), None)
    return _Signs(status, last, last is not None and _sure_last_rib(chain, status, last), first, axis)


def _sure_last_rib(chain: ChainEvidence, status: tuple[str | None, ...], last: int) -> bool:
    """True when the last rib is there on both sides, the vertebra above has ribs too and the one below has none."""
    kinds = [_rib_kind(rib) for rib in chain.vertebrae[last].ribs.values()]
    below = [_rib_kind(rib) for rib in chain.vertebrae[last - 1].ribs.values()]
    above = last + 1 == len(status) or status[last + 1] == "rib"
    return kinds == ["rib", "rib"] and below == ["none", "none"] and above


def _transitional(chain: ChainEvidence, signs: _Signs) -> tuple[str, ...]:
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


def _last_short(chain: ChainEvidence, signs: _Signs) -> int | None:
    """The vertebra whose short rib makes the count doubtful: next below the last rib, or short on both sides."""
    if signs.last_rib is not None:
        return signs.last_rib - 1 if signs.status[signs.last_rib - 1] == "short" else None
    both = [n for n, v in enumerate(chain.vertebrae)
            if signs.status[n] == "short" and all(_rib_kind(rib) == "short" for rib in v.ribs.values())]
    return both[-1] if both else None


def _tier(chain: ChainEvidence, signs: _Signs, transitional: bool) -> NumberingTier:
    if signs.counted_from_above or (chain.on_sacrum and signs.last_rib is not None):
        tier = NumberingTier.A
    elif chain.on_sacrum:
        tier = NumberingTier.B
    elif signs.last_rib_sure:
        tier = NumberingTier.C
    else:
        return NumberingTier.D
    return _TIERS[min(_TIERS.index(tier) + int(transitional) + int(_contact_unconfirmed(chain, signs)), 3)]


def _contact_unconfirmed(chain: ChainEvidence, signs: _Signs) -> bool:
    """True when the first bone of the sacrum is doubtful and neither the ribs nor a count from above settle it."""
    return chain.on_sacrum and (chain.contact_doubted or chain.sacral_chance > 0) and not _settled(signs)


def _settled(signs: _Signs) -> bool:
    """True when ribs or a count from above say which vertebra is the fifth lumbar, wherever the sacrum begins."""
    return signs.counted_from_above or (signs.last_rib == 5 and signs.last_rib_sure)


# ---- the hypotheses


def _sequence(variant: str) -> tuple[str, ...]:
    """Levels from the lowest free vertebra up."""
    lumbar = 4 if variant.endswith("four_lumbar") else 6 if variant.endswith("six_lumbar") else 5
    thoracic = 13 if variant.startswith("thirteen") else 11 if variant.startswith("eleven") else 12
    return (*(f"L{n}" for n in range(lumbar, 0, -1)), *(f"T{n}" for n in range(thoracic, 0, -1)), *_CERVICAL)


def _hypotheses(chain: ChainEvidence, signs: _Signs) -> tuple[list[tuple[str, ...]], NDArray[np.float64]]:
    """Every numbering of the chain and its posterior probability.

    What lies far above the last rib counts only as far as a miscount on the way there is unlikely.
    """
    names: list[tuple[str, ...]] = []
    lower: list[float] = []
    upper: list[float] = []
    count = len(chain.vertebrae)
    split = min(count, settings().naming.trusted_count + (signs.last_rib or 0))
    for variant, prior in settings().variants.items():
        sequence = _sequence(variant)
        last_thoracic = next(name for name in sequence if name.startswith("T"))
        lowest = -1 if chain.on_sacrum and chain.sacral_chance > 0 else 0
        for offset in range(lowest, max(len(sequence) - count, 0) + 1):
            given = sequence[offset: offset + count] if offset >= 0 else (_SACRAL, *sequence[:count - 1])
            if len(given) < count:
                continue
            place = _place_chance(chain, offset, len(sequence) - count + 1)
            shape = settings().naming.shape_weight * (_step_score(chain, given) + _volume_score(chain, given))
            ribs = _rib_scores(chain, given, last_thoracic)
            names.append(given)
            lower.append(math.log(prior) + math.log(place) + sum(ribs[:split]) + shape)
            upper.append(sum(ribs[split:]) + _axis_score(signs, given))
    if not names:
        top = _sequence("standard")
        return [(*top, *("C1",) * (count - len(top)))], np.ones(1)
    slip = max(upper) + math.log(settings().naming.miscount)
    score = np.array(lower) + np.logaddexp(np.array(upper), slip)
    p = np.exp(score - score.max())
    return names, np.asarray(p / p.sum())


def _place_chance(chain: ChainEvidence, offset: int, places: int) -> float:
    """Chance that the chain's lowest vertebra is the offset-th free one above the sacrum; -1: the first sacral one."""
    if not chain.on_sacrum:
        return 1.0 / places
    if offset < 0:
        return chain.sacral_chance
    missed = settings().naming.contact_doubted if chain.contact_doubted else settings().naming.contact_missed
    return (1.0 - chain.sacral_chance) * ((1.0 - missed) if offset == 0 else missed if offset == 1 else 1e-5)


def _rib_scores(chain: ChainEvidence, given: tuple[str, ...], last_thoracic: str) -> list[float]:
    """Log-likelihood of each vertebra's ribs."""
    chances = settings().rib_chances
    scores: list[float] = []
    for vertebra, level in zip(chain.vertebrae, given, strict=True):
        row = chances[_rib_row(level, last_thoracic)]
        total = 0.0
        for rib in vertebra.ribs.values():
            if 0 < rib.length_mm < settings().naming.rib_length_mm and not rib.complete:
                total += math.log(row[1] + row[2])
            else:
                total += math.log(row[("none", "short", "rib").index(_rib_kind(rib))])
        scores.append(settings().naming.side_weight * total)
    return scores


def _rib_row(level: str, last_thoracic: str) -> str:
    if level == last_thoracic:
        return "last_thoracic"
    if level == "L1":
        return "first_lumbar"
    if level == "C7":
        return "seventh_cervical"
    return {"S": "lumbar", "L": "lumbar", "T": "thoracic", "C": "cervical"}[level[0]]


def _axis_score(signs: _Signs, given: tuple[str, ...]) -> float:
    if signs.axis is None:
        return 0.0
    wrong = settings().naming.axis_wrong
    return math.log(1.0 - wrong if given[signs.axis] == "C2" else wrong)


def _scaled_score(log_ratio: list[float], noise: list[float], scale_sd: float) -> float:
    """Gaussian log-likelihood of log ratios that share one unknown scale (the patient's size)."""
    if not log_ratio:
        return 0.0
    r = np.array(log_ratio)
    w = 1.0 / np.array(noise) ** 2
    scale = float((w * r).sum() / (w.sum() + 1.0 / scale_sd**2))
    return float(-0.5 * (w * (r - scale) ** 2).sum() - 0.5 * (scale / scale_sd) ** 2)


def _step_score(chain: ChainEvidence, given: tuple[str, ...]) -> float:
    levels, limits = settings().levels, settings().naming
    ratio, noise = [], []
    for vertebra, level in zip(chain.vertebrae[1:], given[1:], strict=True):
        if vertebra.step_below_mm:
            prior = levels[level]
            ratio.append(math.log(vertebra.step_below_mm / prior.step_below_mm))
            noise.append(math.hypot(limits.spacing_noise, 0.5 * prior.step_below_sd_mm / prior.step_below_mm))
    return _scaled_score(ratio, noise, limits.spacing_scale_sd)


def _volume_score(chain: ChainEvidence, given: tuple[str, ...]) -> float:
    levels, limits = settings().levels, settings().naming
    ratio = [math.log(v.volume_ml / levels[level].volume_ml)
             for v, level in zip(chain.vertebrae, given, strict=True) if v.volume_ml and level != _SACRAL]
    return _scaled_score(ratio, [limits.volume_noise] * len(ratio), limits.volume_scale_sd)


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


def _named(chain: ChainEvidence, signs: _Signs, names: list[tuple[str, ...]], p: NDArray[np.float64], best: int, n: int,
           cap: float) -> NamedVertebra:
    name = names[best][n]
    marginal = _marginal(names, p, n)
    confidence = round(min(marginal[name], cap), 3)
    sacralised = chain.vertebrae[n].joined_to_ala if n == 0 and chain.on_sacrum else ()
    return NamedVertebra(name, VERSE_LABEL[Level(name)], confidence, _alternates(marginal, name, confidence),
                         _sentences(chain, signs, n, names[best]), sacralised)


def _relative(chain: ChainEvidence, signs: _Signs, names: list[tuple[str, ...]], p: NDArray[np.float64],
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


def _sentences(chain: ChainEvidence, signs: _Signs, n: int, given: tuple[str, ...] | None) -> tuple[str, ...]:
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
        said.append("numbering unverified from above: C2 and T1 are not in view")
    return tuple(said)


def _place(n: int, last: int, given: tuple[str, ...] | None) -> str:
    steps = abs(last - n)
    direction = "above" if last > n else "below"
    own = f" ({given[last]})" if given else ""
    return f"the vertebra {direction}{own}" if steps == 1 else f"the {_ordinal(steps)} vertebra {direction}{own}"


def _sides_of(vertebra: VertebraEvidence) -> str:
    sides = [side.value for side, rib in vertebra.ribs.items() if _rib_kind(rib) == "rib"]
    return "both sides" if len(sides) == 2 else f"{sides[0]} side"


def _findings(tier: NumberingTier, chain: ChainEvidence, signs: _Signs, transitional: tuple[str, ...],
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
