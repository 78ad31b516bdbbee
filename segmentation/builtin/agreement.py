"""Neighbours agree on whose a facet is: what two patches of the instance net say about one voxel is pooled.

In the patch of one vertebra the net tells "this" from "other"; in its neighbour's patch the same bone must come out the
other way round. Where both patches hold a voxel, each of the four readings - mine, yours, a third bone, no bone - has
the geometric mean of the two probabilities, and the readings are made to sum to 1. A third bone is rare there and
weighs less.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segmentation.builtin.instances import PATCH, SPACING_MM, Chain, Instance
from segmentation.builtin.lattice import FloatArray, cut
from segmentation.builtin.settings import settings

__all__ = ["agreed", "seen_from"]


def agreed(chain: Chain) -> Chain:
    """The chain with each free vertebra's probabilities pooled with its neighbours', the first sacral one included."""
    whole = (*chain.sacral[:1], *chain.vertebrae)
    first = len(whole) - len(chain.vertebrae)
    pooled = []
    for n in range(first, len(whole)):
        this, other = whole[n].this.astype(np.float32), whole[n].other.astype(np.float32)
        for neighbour in (whole[m] for m in (n - 1, n + 1) if 0 <= m < len(whole)):
            this, other = _pooled(whole[n], this, other, neighbour)
        pooled.append(replace(whole[n], this=this.astype(np.float16), other=other.astype(np.float16)))
    return replace(chain, vertebrae=tuple(pooled))


def _pooled(own: Instance, this: FloatArray, other: FloatArray, neighbour: Instance) -> tuple[FloatArray, FloatArray]:
    """Probability of the own vertebra and of other bone after the neighbour was heard, where it claims anything."""
    limits = settings().agreement
    claimed, foreign = (seen_from(own, neighbour, a) for a in (neighbour.this, neighbour.other))
    before = own.other.astype(np.float32)
    none, none_there = (np.clip(1.0 - a - b, 0.0, 1.0) for a, b in ((own.this, before), (claimed, foreign)))
    mine = np.sqrt(own.this * foreign)
    others = np.sqrt(before * claimed) + limits.third_bone * np.sqrt(before * foreign)
    total = np.maximum(mine + others + np.sqrt(none * none_there), 1e-6)
    heard = claimed > limits.claim
    return (np.where(heard, mine / total, this).astype(np.float32),
            np.where(heard, others / total, other).astype(np.float32))


def seen_from(own: Instance, neighbour: Instance, array: NDArray[np.float16]) -> FloatArray:
    """An array of the neighbour's patch on the own patch's voxels, 0 beyond it."""
    shift = np.round((own.cube.corner - neighbour.cube.corner) / SPACING_MM).astype(np.int64)
    return np.asarray(cut(array.astype(np.float32), shift, PATCH, 0.0))
