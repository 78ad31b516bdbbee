"""Sentences for what was turned down: how many paths, by which limit, and how near the nearest came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from targeting.assess import Batch
from targeting.clearance import ClearanceMeter
from targeting.limits import Limit, margin_limit
from targeting.model import Rejection, RejectionReason
from targeting.scene import Scene

__all__ = ["rejections_of"]

_ORDER = tuple(RejectionReason)


def _rejection(limit: Limit, value: float, count: int) -> Rejection:
    """A class of paths from the value that the nearest of them reached."""
    sentence = f"{count} path{'' if count == 1 else 's'}: {limit.sentence(value, best=True)}"
    best = None if limit.bound is None else round(value, 3)
    return Rejection(limit.reason, limit.structure, limit.bound, best, count, sentence)


def _margins(scene: Scene, meter: ClearanceMeter, batch: Batch, rows: NDArray[np.intp]) -> list[Rejection]:
    """One rejection per structure whose margin is the tightest."""
    owners = [scene.fields.owner_at(batch.tips[r] - batch.slack_at[r] * batch.directions[r]) for r in rows]
    out = []
    for name in dict.fromkeys(o for o in owners if o is not None):
        mine = rows[[o is name for o in owners]]
        best = int(mine[int(np.argmax(batch.slack[mine]))])
        limit = margin_limit(name, scene.procedure.margins[name].value)
        boxes = meter.structures.get(name)
        gap = batch.slack[best] + scene.procedure.margins[name].value if boxes is None else (
            boxes.gap(batch.entries[best], batch.tips[best]) - scene.radius)
        out.append(_rejection(limit, float(gap), len(mine)))
    return out


def rejections_of(scene: Scene, meter: ClearanceMeter, batch: Batch) -> tuple[Rejection, ...]:
    """Every class of rejected path, in the order of `RejectionReason`."""
    out: list[Rejection] = []
    for limit, rows, values in sorted(batch.broken, key=lambda found: _ORDER.index(found[0].reason)):
        if limit.reason is RejectionReason.MARGIN:
            out += _margins(scene, meter, batch, rows)
        else:
            nearest = int(np.argmin(limit.miss(values)))
            out.append(_rejection(limit, float(values[nearest]), len(rows)))
    return tuple(out)
