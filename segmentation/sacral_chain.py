"""Which pits of the sacrum are its foramina S1 to S3: the likeliest chain, behind and in front, left and right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from imaging.geometry import Side
from segmentation.constants import constants
from segmentation.sacral_view import Pit

__all__ = ["SEGMENTS", "ForamenPair", "likeliest_chains"]

#: The segments whose foramina are looked for.
SEGMENTS = ("S1", "S2", "S3")
_STATES = 14
_CHAINS = 60


@dataclass(frozen=True, eq=False)
class ForamenPair:
    """One foramen's openings; None where none was taken.

    Attributes
    ----------
    behind, front : Pit or None
    deviation : float
        Largest departure from the place it is expected in, in standard deviations.
    """

    behind: Pit | None
    front: Pit | None
    deviation: float

    @property
    def height(self) -> float | None:
        """Superior mm of the anterior opening's middle, or what the posterior one says about it."""
        if self.front is not None:
            return self.front.superior
        if self.behind is None:
            return None
        return self.behind.superior - float(constants("sacral_foramina")["prior"]["behind_front_mm"][1])


def _worth(pit: Pit) -> float:
    c = constants("sacral_foramina")
    return float(c["prior"]["taken_worth"]) + float(c["prior"]["depth_worth"]) * pit.deepest_mm / float(
        c["pit"]["cap_mm"])


def _state(n: int, behind: Pit | None, front: Pit | None) -> tuple[float, ForamenPair]:
    """Log-likelihood of two openings as those of segment `n`, its height in the chain aside."""
    c = constants("sacral_foramina")["prior"]
    mean, sd = float(c["lateral_mm"][n]), float(c["lateral_sd_mm"][n])
    score, off = 0.0, [0.0]
    for pit in (behind, front):
        if pit is not None:
            off.append(abs(pit.lateral - mean) / sd)
            score += _worth(pit) - 0.5 * off[-1]**2
    if behind is not None and front is not None:
        for got, mean, sd in zip((behind.lateral - front.lateral, behind.superior - front.superior),
                                 c["behind_front_mm"], c["behind_front_sd_mm"], strict=True):
            off.append(abs(got - float(mean)) / float(sd))
            score -= 0.5 * off[-1]**2
    return score, ForamenPair(behind, front, max(off))


def _heights(chain: Sequence[ForamenPair]) -> tuple[float, tuple[float, ...]]:
    """Log-likelihood of the chain's heights, and the departure of each segment."""
    c = constants("sacral_foramina")["prior"]
    gaps, sds = [float(v) for v in c["gap_mm"]], [float(v) for v in c["gap_sd_mm"]]
    score, off = 0.0, []
    expected, spread = float(c["first_mm"]), float(c["first_sd_mm"])
    for n, pair in enumerate(chain):
        height, away = pair.height, 0.0
        if height is not None:
            away = abs(height - expected) / spread
            score -= 0.5 * away**2
            expected, spread = height, 0.0
        off.append(away)
        if n < len(gaps):
            expected, spread = expected - gaps[n], float(np.hypot(spread, sds[n]))
    return score, tuple(off)


def _steps(chain: Sequence[ForamenPair]) -> tuple[float, list[float]]:
    """Log-likelihood of the way from each posterior opening to the next, and the departure of each segment."""
    c = constants("sacral_foramina")["prior"]
    score, off = 0.0, [0.0] * len(chain)
    for n, (one, two) in enumerate(pairwise(chain)):
        if one.behind is None or two.behind is None:
            continue
        inward = two.behind.lateral - one.behind.lateral - float(c["step_lateral_mm"])
        down = one.behind.superior - two.behind.superior - float(c["gap_mm"][n])
        for away in (inward / float(c["step_lateral_sd_mm"]), down / float(c["step_down_sd_mm"])):
            score -= 0.5 * away**2
            off[n + 1] = max(off[n + 1], abs(away))
    return score, off


def _side_chains(behind: Sequence[Pit], front: Sequence[Pit]) -> list[tuple[float, tuple[ForamenPair, ...]]]:
    """The likeliest chains of one side, best first."""
    most = float(constants("sacral_foramina")["prior"]["most_deviation"])
    states = []
    for n in range(len(SEGMENTS)):
        all_states = [_state(n, b, f) for b in (*behind, None) for f in (*front, None)]
        near = [(s + _near(n, p), s, p) for s, p in all_states]
        states.append([(s, p) for _, s, p in sorted(near, key=lambda t: -t[0])[:_STATES]])
    chains = []
    for parts in product(*states):
        pairs = tuple(p for _, p in parts)
        used = [id(pit) for p in pairs for pit in (p.behind, p.front) if pit is not None]
        if len(set(used)) < len(used):
            continue
        score, off = _heights(pairs)
        along, steps = _steps(pairs)
        score, off = score + along, tuple(max(a, b) for a, b in zip(off, steps, strict=True))
        if max(*off, *(p.deviation for p in pairs)) > most:
            continue
        chains.append((score + sum(s for s, _ in parts),
                       tuple(ForamenPair(p.behind, p.front, max(p.deviation, o))
                             for p, o in zip(pairs, off, strict=True))))
    return sorted(chains, key=lambda t: -t[0])[:_CHAINS]


def _near(n: int, pair: ForamenPair) -> float:
    """Rough log-likelihood of a height on its own, to keep the states that can matter."""
    c = constants("sacral_foramina")["prior"]
    if pair.height is None:
        return 0.0
    mean = float(c["first_mm"]) - sum(float(v) for v in c["gap_mm"][:n])
    sd = float(np.hypot(float(c["first_sd_mm"]), 1.5 * n * float(c["gap_sd_mm"][0])))
    return -0.5 * ((pair.height - mean) / sd)**2


def likeliest_chains(behind: Mapping[Side, Sequence[Pit]], front: Mapping[Side, Sequence[Pit]],
                     ) -> dict[Side, tuple[ForamenPair, ...]]:
    """For each side the openings of S1 to S3.

    Parameters
    ----------
    behind, front : mapping of Side to sequence of Pit
        Lateral coordinates grow away from the midline on both sides.
    """
    sd = float(constants("sacral_foramina")["prior"]["sides_sd_mm"])
    left, right = (_side_chains(behind[side], front[side]) for side in (Side.LEFT, Side.RIGHT))
    best = max(((a + b + _sides(one, two, sd), one, two) for (a, one), (b, two) in product(left, right)),
               key=lambda t: t[0])
    return {Side.LEFT: best[1], Side.RIGHT: best[2]}


def _sides(one: Sequence[ForamenPair], two: Sequence[ForamenPair], sd: float) -> float:
    """Log-likelihood of the difference in height between the sides."""
    out = 0.0
    for a, b in zip(one, two, strict=True):
        if a.height is not None and b.height is not None:
            out -= 0.5 * ((a.height - b.height) / sd)**2
    return out
