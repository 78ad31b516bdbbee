"""Every possible numbering of a chain (a variant of the column and the chain's place in it) and how likely each is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from segmentation.anatomy import Level
from segmentation.builtin.settings import settings
from segmentation.builtin.signs import ChainEvidence, Signs, read_signs, rib_kind

__all__ = ["SACRAL", "hypotheses", "lowest_is_sacral"]

#: The name of a lowest vertebra that is itself the first sacral segment.
SACRAL = Level.S1.value
_CERVICAL = tuple(f"C{n}" for n in range(7, 0, -1))


def lowest_is_sacral(chain: ChainEvidence) -> float:
    """Probability that the lowest vertebra is the first sacral segment, all evidence counted.

    0 where five vertebrae below a sure last rib include it: it is then a sacralised L5 by the usual count.
    """
    signs = read_signs(chain)
    names, p = hypotheses(chain, signs)
    if signs.agreeing(names[int(p.argmax())]).settled:
        return 0.0
    return sum(float(chance) for given, chance in zip(names, p, strict=True) if given[0] == SACRAL)


def hypotheses(chain: ChainEvidence, signs: Signs) -> tuple[list[tuple[str, ...]], NDArray[np.float64]]:
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
            given = sequence[offset: offset + count] if offset >= 0 else (SACRAL, *sequence[:count - 1])
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


def _sequence(variant: str) -> tuple[str, ...]:
    """Levels from the lowest free vertebra up."""
    lumbar = 4 if variant.endswith("four_lumbar") else 6 if variant.endswith("six_lumbar") else 5
    thoracic = 13 if variant.startswith("thirteen") else 11 if variant.startswith("eleven") else 12
    return (*(f"L{n}" for n in range(lumbar, 0, -1)), *(f"T{n}" for n in range(thoracic, 0, -1)), *_CERVICAL)


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
                total += math.log(row[("none", "short", "rib").index(rib_kind(rib))])
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


def _axis_score(signs: Signs, given: tuple[str, ...]) -> float:
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
             for v, level in zip(chain.vertebrae, given, strict=True) if v.volume_ml and level != SACRAL]
    return _scaled_score(ratio, [limits.volume_noise] * len(ratio), limits.volume_scale_sd)
