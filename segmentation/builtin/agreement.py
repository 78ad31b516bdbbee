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

__all__ = ["agreed"]


def agreed(chain: Chain) -> Chain:
    """The chain with each free vertebra's probability pooled with its neighbours', the first sacral one included."""
    whole = (*chain.sacral[:1], *chain.vertebrae)
    first = len(whole) - len(chain.vertebrae)
    pooled = []
    for n in range(first, len(whole)):
        this = whole[n].this.astype(np.float32)
        for neighbour in (whole[m] for m in (n - 1, n + 1) if 0 <= m < len(whole)):
            this = _pooled(whole[n], this, neighbour)
        pooled.append(replace(whole[n], this=this.astype(np.float16)))
    return replace(chain, vertebrae=tuple(pooled))


def _pooled(own: Instance, this: FloatArray, neighbour: Instance) -> FloatArray:
    """Probability of the own vertebra after the neighbour was heard, where it claims anything."""
    limits = settings().agreement
    claimed, foreign = (_seen_from(own, neighbour, a) for a in (neighbour.this, neighbour.other))
    other = own.other.astype(np.float32)
    none, none_there = (np.clip(1.0 - a - b, 0.0, 1.0) for a, b in ((own.this, other), (claimed, foreign)))
    mine = np.sqrt(own.this * foreign)
    yours, third = np.sqrt(other * claimed), limits.third_bone * np.sqrt(other * foreign)
    total = mine + yours + third + np.sqrt(none * none_there)
    pooled = mine / np.maximum(total, 1e-6)
    return np.asarray(np.where(claimed > limits.claim, pooled, this), dtype=np.float32)


def _seen_from(own: Instance, neighbour: Instance, array: NDArray[np.float16]) -> FloatArray:
    """An array of the neighbour's patch on the own patch's voxels, 0 beyond it."""
    shift = np.round((own.cube.corner - neighbour.cube.corner) / SPACING_MM).astype(np.int64)
    return np.asarray(cut(array.astype(np.float32), shift, PATCH, 0.0))
