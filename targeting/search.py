"""The search for one target: coarse batch, Pareto set, refinement of different choices, exact confirmation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from targeting.assess import Batch, assess
from targeting.candidates import Needles, around, first_batch
from targeting.clearance import ClearanceMeter
from targeting.confirm import Measured, confirm
from targeting.ranking import differs, pareto, score
from targeting.scene import Scene

__all__ = ["Finalist", "SearchResult", "search"]

Array = NDArray[np.float64]
_REFINEMENTS = ((1.0, 0.5), (0.5, 0.25))
_SHORTLIST = 400
_ATTEMPTS = 40


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


def _shortlist(scene: Scene, batch: Batch) -> NDArray[np.intp]:
    """The Pareto set of the best admitted needle per direction, best weighted score first."""
    admitted = batch.left()
    if not len(admitted):
        return admitted
    quick, _ = score(scene, batch, admitted, quick=True)
    keys = np.round(np.stack([batch.oblique[admitted], batch.tilt[admitted]], axis=1), 2)
    order = np.argsort(-quick, kind="stable")
    _, first = np.unique(keys[order], axis=0, return_index=True)
    best = admitted[order[np.sort(first)][:_SHORTLIST]]
    total, scores = score(scene, batch, best)
    front = pareto(scores)
    rest = np.setdiff1d(np.arange(len(best)), front)
    ranked = [part[np.argsort(-total[part], kind="stable")] for part in (front, rest)]
    return np.asarray(best[np.concatenate(ranked)])


def _refine(scene: Scene, batch: Batch, row: int, allow_open: bool) -> tuple[Batch, int]:
    """Walk one needle to the best of its neighbours, twice, each time with a finer step."""
    here, at = batch, row
    for angle, shift in _REFINEMENTS:
        start = Needles(here.needles.points[at:at + 1], here.needles.directions[at:at + 1])
        trial = assess(scene, around(scene, start, angle, shift), allow_open=allow_open)
        admitted = trial.left()
        if len(admitted):
            total, _ = score(scene, trial, admitted)
            here, at = trial, int(admitted[int(np.argmax(total))])
    return here, at


def _confirm(scene: Scene, meter: ClearanceMeter, batch: Batch, row: int) -> Finalist | None:
    """Measure a needle on the masks themselves; None when a margin, a bone or the carrier does not hold."""
    measured = confirm(scene, meter, batch.entries[row], batch.tips[row], batch.directions[row],
                       float(batch.lengths[row]))
    if measured.broken:
        return None
    total, scores = score(scene, batch, np.array([row]))
    return Finalist(batch, row, float(total[0]), {name: float(v[0]) for name, v in scores.items()}, measured)


def _finalists(scene: Scene, meter: ClearanceMeter, batch: Batch, allow_open: bool) -> tuple[list[Finalist], int]:
    """Different choices off the shortlist, refined and confirmed, best first."""
    chosen: list[Finalist] = []
    failed = 0
    for row in _shortlist(scene, batch):
        if len(chosen) >= int(scene.procedure.search.placements.value) or failed >= _ATTEMPTS:
            break
        if not all(differs(scene, batch, int(row), f.batch, f.row) for f in chosen):
            continue
        fine, at = _refine(scene, batch, int(row), allow_open)
        if not all(differs(scene, fine, at, f.batch, f.row) for f in chosen):
            fine, at = batch, int(row)
        finalist = _confirm(scene, meter, fine, at)
        if finalist is None and fine is not batch:
            finalist = _confirm(scene, meter, batch, int(row))
        if finalist is None:
            failed += 1
        else:
            chosen.append(finalist)
    return sorted(chosen, key=lambda f: -f.total), failed


def search(scene: Scene, meter: ClearanceMeter) -> SearchResult:
    """Find up to the procedure's number of different placements for one target.

    Only a target without any is searched once more with closer steps. Paths whose skin is out of view are only
    considered when no path with skin in view is admitted.
    """
    result = _search(scene, meter, first_batch(scene))
    return result if result.finalists else _search(scene, meter, first_batch(scene, fine=True))


def _search(scene: Scene, meter: ClearanceMeter, needles: Needles) -> SearchResult:
    """One pass over one batch."""
    batch = assess(scene, needles)
    finalists, failed = _finalists(scene, meter, batch, False)
    if finalists or not batch.open_end.any():
        return SearchResult(tuple(finalists), batch, False, failed)
    opened = assess(scene, needles, allow_open=True)
    found, failed_open = _finalists(scene, meter, opened, True)
    return SearchResult(tuple(found), opened if found else batch, bool(found), failed + failed_open)
