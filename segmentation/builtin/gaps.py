"""Whose a facet is, by the joint space: each vertebra's share of the bone spreads through bone and stops at dark gaps.

The instance net sees 1.5 mm patches and often puts the border of a narrowed, sclerotic facet joint a few millimetres
into one of the two bones. The image knows better: the joint space is darker than the cortex on either side of it. So
the share of "this vertebra" among all bone becomes a random walker with priors (Grady 2005): neighbouring voxels of
bone are drawn together, the more the brighter the darker one of them is, and every voxel is drawn to what the net said,
the more the surer it was. Bright means against the mean of the bone around, so that neither contrast nor osteoporosis
shifts the border. Where no gap is to be seen the border stays where the net is sure of both sides, and lies midway
between them where it is not. The border to the sacrum is left to the nets: a transverse process may be fused with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import cg

from segmentation.builtin.agreement import seen_from
from segmentation.builtin.instances import SPACING_MM, Chain, Instance, InstanceFinder
from segmentation.builtin.lattice import FloatArray, bounding_slices
from segmentation.builtin.settings import settings

__all__ = ["parted_at_gaps", "walked"]

#: How much of the neighbouring bones is looked at, voxels.
_NEIGHBOUR_VOXELS = 6
_TOLERANCE = 1e-4
_MOST_STEPS = 400


def parted_at_gaps(chain: Chain, finder: InstanceFinder) -> Chain:
    """The chain with the borders between free vertebrae moved to the joint spaces.

    A voxel changes hands only where the other bone is mainly one of the free neighbours, and not at all where the
    stored voxels are too thick to show a joint space.
    """
    if float(finder.cube.box.spacing.max()) >= settings().refine.coarse_voxel_mm:
        return chain
    free = chain.vertebrae
    return replace(chain, vertebrae=tuple(
        _parted(v, (*free[max(n - 1, 0): n], *free[n + 1: n + 2]), finder.hu_of(v)) for n, v in enumerate(free)))


def _parted(vertebra: Instance, neighbours: Sequence[Instance], hu: FloatArray) -> Instance:
    block = bounding_slices(np.asarray(vertebra.this) > settings().gaps.seen, _NEIGHBOUR_VOXELS)
    if block is None:
        return vertebra
    this, other = (p[block].astype(np.float32) for p in (vertebra.this, vertebra.other))
    claimed = np.zeros_like(other)
    for neighbour in neighbours:
        np.maximum(claimed, seen_from(vertebra, neighbour, neighbour.this)[block], out=claimed)
    known = claimed >= settings().gaps.known_share * other
    moved = vertebra.this.astype(np.float32)
    moved[block] = np.where(known, walked(this, other, hu[block]), this)
    return replace(vertebra, this=moved.astype(np.float16))


def walked(this: FloatArray, other: FloatArray, hu: FloatArray) -> FloatArray:
    """Probability of this vertebra after its share of the bone has spread up to the gaps.

    Parameters
    ----------
    this, other : (z, y, x) float32
        Probability of this vertebra, and of another bone; cubic voxels of 1.5 mm.
    hu : (z, y, x) float32
        Hounsfield units there.

    Returns
    -------
    (z, y, x) float32
        ``this`` with the same probability of bone; unchanged where bone is unlikely.
    """
    limits = settings().gaps
    both = this + other
    bone = both > limits.bone
    if not bone.any():
        return this
    share = (this / np.maximum(both, 1e-6))[bone].astype(np.float64)
    trust = limits.trust * both[bone] * (limits.least_trust + (2.0 * share - 1.0) ** 2)
    first, second, weight = _bonds(bone, _openness(hu, both))
    count = len(share)
    bonds = coo_matrix((weight, (first, second)), (count, count)).tocsr()
    bonds = bonds + bonds.T
    diagonal = np.asarray(bonds.sum(axis=1)).ravel() + trust
    spread, _ = cg(diags(diagonal) - bonds, trust * share, x0=share, rtol=_TOLERANCE, maxiter=_MOST_STEPS,
                   M=diags(1.0 / diagonal))
    out = this.copy()
    out[bone] = np.clip(spread, 0.0, 1.0) * both[bone]
    return out


def _openness(hu: FloatArray, both: FloatArray) -> FloatArray:
    """How freely a share passes through each voxel, by its brightness against the mean of the bone around it."""
    limits = settings().gaps
    sure = both > limits.sure_bone
    sigma = limits.local_sigma_mm / SPACING_MM
    weight = ndimage.gaussian_filter(sure.astype(np.float32), sigma, truncate=2.5)
    mean = ndimage.gaussian_filter(np.where(sure, hu, 0).astype(np.float32), sigma, truncate=2.5)
    mean = np.maximum(mean / np.maximum(weight, 1e-3), limits.bone_least_hu)
    open_ = np.clip((hu / mean - limits.closed) / (limits.open - limits.closed), 0.0, 1.0)
    return np.asarray(limits.leak + (1.0 - limits.leak) * open_, dtype=np.float32)


def _bonds(bone: NDArray[np.bool_],
           openness: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Neighbouring bone voxels, by their rank among the bone voxels, and how strongly they are drawn together."""
    rank = np.full(bone.shape, -1, np.int64)
    rank[bone] = np.arange(int(bone.sum()))
    parts = []
    for axis in range(3):
        low: list[slice] = [slice(None)] * 3
        high = list(low)
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        one, two = tuple(low), tuple(high)
        joined = bone[one] & bone[two]
        strength = np.minimum(openness[one], openness[two])[joined].astype(np.float64) / SPACING_MM**2
        parts.append((rank[one][joined], rank[two][joined], strength))
    first, second, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, weight
