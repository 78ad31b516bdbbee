"""The search for one target: coarse batch, walks from different seeds, exact confirmation, Pareto set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from targeting.assess import Batch, assess
from targeting.candidates import Needles, around, first_batch
from targeting.clearance import ClearanceMeter
from targeting.confirm import Measured, confirm
from targeting.ranking import Scores, beats, differs, score
from targeting.scene import Scene

__all__ = ["Finalist", "SearchResult", "search"]

Array = NDArray[np.float64]
#: Steps of the walk to a better neighbour: degrees and mm; how often each may be repeated; and what counts as better.
_REFINEMENTS = ((2.0, 0.8), (1.0, 0.4), (0.5, 0.2))
_WALKS = 6
_BETTER = 2e-4
_SHORTLIST = 400
_SEEDS = 24
_ATTEMPTS = 80


@dataclass(frozen=True, eq=False)
class Finalist:
    """A needle that was confirmed on the masks.

    Attributes
    ----------
    batch, row
        Where its numbers are.
    total : float
        Weighted score.
    objectives : dict
        Objective name -> 0 to 1.
    measured : Measured
        Exact clearances.
    """

    batch: Batch
    row: int
    total: float
    objectives: dict[str, float]
    measured: Measured


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found: the finalists, best first, and the coarse batch with its verdicts."""

    finalists: tuple[Finalist, ...]
    batch: Batch
    open_end: bool
    unconfirmed: int


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Some rows of a batch, best first, with their weighted score and objectives."""

    batch: Batch
    rows: NDArray[np.intp]
    total: Array
    objectives: Scores

    @classmethod
    def of(cls, scene: Scene, batch: Batch, rows: NDArray[np.intp]) -> _Ranked:
        total, objectives = score(scene, batch, rows)
        order = np.argsort(-total, kind="stable")
        return cls(batch, rows[order], total[order], {name: values[order] for name, values in objectives.items()})


@dataclass(frozen=True, eq=False)
class _Tries:
    """The needles of several rankings in the order in which they are tried: by score, then the first ranking first.

    Attributes
    ----------
    free : (n,) bool
        Those still worth a try; changed in place.
    """

    ranked: tuple[_Ranked, ...]
    which: NDArray[np.intp]
    places: NDArray[np.intp]
    directions: Array
    entries: Array
    objectives: Scores
    free: NDArray[np.bool_]

    @classmethod
    def of(cls, ranked: tuple[_Ranked, ...]) -> _Tries:
        """All of them, from all rankings."""
        which = np.repeat(np.arange(len(ranked)), [len(r.rows) for r in ranked])
        places = np.concatenate([np.arange(len(r.rows)) for r in ranked])
        order = np.lexsort((places, which, -np.concatenate([r.total for r in ranked])))
        directions = np.concatenate([r.batch.directions[r.rows] for r in ranked])[order]
        entries = np.concatenate([r.batch.entries_of(r.rows) for r in ranked])[order]
        objectives = {name: np.concatenate([r.objectives[name] for r in ranked])[order]
                      for name in ranked[0].objectives}
        return cls(ranked, which[order], places[order], directions, entries, objectives, np.ones(len(order), np.bool_))

    def next(self, first: int) -> int | None:
        """The first one from `first` on that is worth a try."""
        left = np.flatnonzero(self.free[first:])
        return first + int(left[0]) if len(left) else None

    def origin(self, n: int) -> tuple[_Ranked, int]:
        """The ranking that one comes from, and its place there."""
        return self.ranked[int(self.which[n])], int(self.places[n])


def _shortlist(scene: Scene, batch: Batch) -> NDArray[np.intp]:
    """The best admitted needle per direction by what is quickly known, best first."""
    admitted = batch.left()
    if not len(admitted):
        return admitted
    quick, _ = score(scene, batch, admitted, granted=("robustness",))
    # both angles to 0.01 degrees as one number
    keys = np.rint(100.0 * batch.oblique[admitted]) * 1e6 + np.rint(100.0 * batch.tilt[admitted])
    order = np.argsort(-quick, kind="stable")
    _, first = np.unique(keys[order], return_index=True)
    return np.asarray(admitted[order[np.sort(first)][:_SHORTLIST]])


def _seeds(scene: Scene, ranked: _Ranked) -> NDArray[np.intp]:
    """Where to walk from: the best, each apart from the others by half of what makes two choices different."""
    rule, batch = scene.procedure.search, ranked.batch
    close = float(np.cos(np.radians(0.5 * rule.different_angle.value)))
    rows, directions, entries = ranked.rows, batch.directions[ranked.rows], batch.entries_of(ranked.rows)
    free = np.ones(len(rows), np.bool_)
    chosen: list[int] = []
    while free.any() and len(chosen) < _SEEDS:
        n = int(np.argmax(free))
        chosen.append(int(rows[n]))
        near = directions @ directions[n] > close
        near &= np.linalg.norm(entries - entries[n], axis=1) < 0.5 * rule.different_entry.value
        free &= ~near
        free[n] = False
    return np.array(chosen, dtype=np.intp)


def _scored(scene: Scene, trial: Batch, beaten: Array) -> Array:
    """(n,) scores of a batch of neighbours, -1 for those turned down and those that cannot beat a bound, (n,).

    What is costly to measure is measured last, and only where the most it can add would tell.
    """
    values, rows = np.full(len(trial), -1.0), trial.left()
    for granted in (("clearance", "robustness"), ("robustness",), ()):
        if len(rows):
            found, _ = score(scene, trial, rows, granted=granted)
            rows, found = rows[found > beaten[rows]], found[found > beaten[rows]]
    values[rows] = found if len(rows) else 0.0
    return values


def _refine(scene: Scene, batch: Batch, seeds: NDArray[np.intp], allow_open: bool) -> Batch:
    """Walk each seed to the best of its neighbours until none is better, then with finer steps; one row per seed."""
    here = batch.take(seeds)
    total, _ = score(scene, here, np.arange(len(here)))
    for angle, shift in _REFINEMENTS:
        active = np.arange(len(here))
        for _ in range(_WALKS):
            around_them = around(scene, here.needles.take(active), angle, shift)
            trial = assess(scene, around_them, allow_open=allow_open)
            each = len(trial) // len(active)
            values = _scored(scene, trial, np.repeat(total[active] + _BETTER, each))
            table = values.reshape(len(active), each)
            best = np.argmax(table, axis=1)
            better = table[np.arange(len(active)), best] > total[active] + _BETTER
            if not better.any():
                break
            rows = np.flatnonzero(better) * each + best[better]
            active = active[better]
            here.put(active, trial, rows)
            total[active] = values[rows]
    return here


def _finalists(scene: Scene, meter: ClearanceMeter, batch: Batch, allow_open: bool) -> tuple[list[Finalist], int]:
    """Different choices, refined, confirmed and none beaten by another in everything; best first."""
    short = _shortlist(scene, batch)
    if not len(short):
        return [], 0
    coarse = _Ranked.of(scene, batch, short)
    fine = _refine(scene, batch, _seeds(scene, coarse), allow_open)
    tries = _Tries.of((_Ranked.of(scene, fine, np.arange(len(fine))), coarse))
    chosen: list[Finalist] = []
    failed, n = 0, tries.next(0)
    while n is not None and len(chosen) < int(scene.procedure.search.placements.value) and failed < _ATTEMPTS:
        ranked, at = tries.origin(n)
        row, objectives = int(ranked.rows[at]), {name: float(v[at]) for name, v in ranked.objectives.items()}
        measured = confirm(scene, meter, tries.entries[n], ranked.batch.tips[row], ranked.batch.directions[row],
                           float(ranked.batch.lengths[row]))
        if measured.broken:
            failed += 1
        else:
            chosen.append(Finalist(ranked.batch, row, float(ranked.total[at]), objectives, measured))
            tries.free[:] &= differs(scene, tries.directions[n], tries.entries[n], tries.directions, tries.entries)
            tries.free[:] &= ~beats(objectives, tries.objectives)
        n = tries.next(n + 1)
    return chosen, failed


def search(scene: Scene, meter: ClearanceMeter, *, divide: int = 1) -> SearchResult:
    """Find up to the procedure's number of different placements for one target.

    Only a target without any is searched once more with closer steps. Paths whose skin is out of view are only
    considered when no path with skin in view is admitted.

    Parameters
    ----------
    divide : int
        Every step between candidates is divided by this.
    """
    result = _search(scene, meter, first_batch(scene, divide=divide))
    return result if result.finalists else _search(scene, meter, first_batch(scene, fine=True, divide=divide))


def _search(scene: Scene, meter: ClearanceMeter, needles: Needles) -> SearchResult:
    """One pass over one batch."""
    batch = assess(scene, needles)
    finalists, failed = _finalists(scene, meter, batch, False)
    if finalists or not batch.open_end.any():
        return SearchResult(tuple(finalists), batch, False, failed)
    opened = assess(scene, needles, allow_open=True)
    found, failed_open = _finalists(scene, meter, opened, True)
    return SearchResult(tuple(found), opened if found else batch, bool(found), failed + failed_open)
