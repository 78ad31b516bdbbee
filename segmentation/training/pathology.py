"""Edits of a sampled label patch: arthrosis of the facet joints and bridging osteophytes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segmentation.training.anatomy import SACRUM, TISSUE
from segmentation.training.fields import smooth_noise

__all__ = ["carve_gaps", "fuse_ala", "grow_facets", "grow_osteophytes", "joint_contact", "near_two"]

_SPINE_MAX = 50
_FREE = (TISSUE["soft"], TISSUE["muscle"])


def near_two(instance: np.ndarray, size: int) -> np.ndarray:
    """Voxels whose cube of ``size`` voxels holds at least two different instance numbers."""
    highest = ndimage.maximum_filter(instance, size)
    inverse = np.where(instance > 0, 255 - instance, 0).astype(np.uint8)
    lowest = 255 - ndimage.maximum_filter(inverse, size)
    return (highest > 0) & (highest != lowest)


def joint_contact(instance: np.ndarray) -> np.ndarray:
    """Bone voxels that touch a different bone, without those of a random half of the pair.

    One side only is enough: carving both would make each gap two voxels wide.
    """
    highest = ndimage.maximum_filter(instance, 3)
    return (instance > 0) & (highest != instance)


def carve_gaps(
    rng: np.random.Generator, hu: np.ndarray, instance: np.ndarray, keep: np.ndarray, spacing: float
) -> np.ndarray:
    """Darken the contact of touching bones as a joint space, in parts of it; labels stay.

    Parameters
    ----------
    keep : ndarray, bool
        Voxels in which joints are narrowed away and nothing is carved.
    """
    if rng.random() < 0.12:
        return hu
    order = instance if rng.random() < 0.5 else np.where(instance > 0, 255 - instance, 0).astype(np.uint8)
    open_joint = joint_contact(order) & ~keep
    open_joint &= smooth_noise(rng, instance.shape, 18.0 / spacing) > rng.uniform(-2.2, 0.3)
    share = rng.uniform(0.45, 1.0)
    hu = hu.copy()
    hu[open_joint] += share * (rng.uniform(-20.0, 260.0) - hu[open_joint])
    return hu


def _grow(
    rng: np.random.Generator, instance: np.ndarray, seeds: np.ndarray, allowed: np.ndarray, steps: int
) -> np.ndarray:
    """Instance numbers of free voxels reached from the seeds; 0 where nothing grew."""
    state = np.where(seeds, instance, 0).astype(np.uint8)
    invert = rng.random() < 0.5
    if invert:
        state = np.where(state > 0, 255 - state, 0).astype(np.uint8)
    grown = np.zeros_like(state)
    for _ in range(steps):
        reach = ndimage.maximum_filter(state, 3)
        fresh = allowed & (state == 0) & (reach > 0)
        state[fresh] = reach[fresh]
        grown[fresh] = reach[fresh]
    return np.where(grown > 0, 255 - grown, 0).astype(np.uint8) if invert else grown


def grow_facets(
    rng: np.random.Generator, instance: np.ndarray, tissue: np.ndarray, depth: np.ndarray, spacing: float
) -> np.ndarray:
    """Hypertrophic, partly fused facet joints, in place.

    Returns
    -------
    ndarray, bool
        The arthrotic joint region (to be painted sclerotic).
    """
    spine = (instance > 0) & (instance <= _SPINE_MAX)
    arch = np.where(spine & ((tissue == TISSUE["arch"]) | (instance == SACRUM)), instance, 0).astype(np.uint8)
    reach = 2 * max(1, round(rng.uniform(2.5, 5.5) / spacing)) + 1
    region = near_two(arch, reach)
    region &= smooth_noise(rng, instance.shape, 22.0 / spacing) > rng.uniform(-1.5, 0.2)
    allowed = region & np.isin(tissue, _FREE)
    allowed &= smooth_noise(rng, instance.shape, max(2.2, 5.0 / spacing)) > rng.uniform(-1.5, 0.3)
    steps = max(1, round(rng.uniform(1.5, 4.5) / spacing))
    grown = _grow(rng, instance, region & (arch > 0), allowed, steps)
    _accept(instance, tissue, depth, grown, spacing)
    return region & (instance > 0)


def grow_osteophytes(
    rng: np.random.Generator, instance: np.ndarray, tissue: np.ndarray, depth: np.ndarray, spacing: float
) -> None:
    """Spurs of the body rims beside the discs, sometimes meeting, in place."""
    disc = tissue == TISSUE["disc"]
    reach = 2 * max(1, round(rng.uniform(3.0, 6.0) / spacing)) + 1
    around = ndimage.maximum_filter(disc, reach)
    allowed = around & (tissue == TISSUE["soft"])
    allowed &= smooth_noise(rng, instance.shape, max(2.5, 9.0 / spacing)) > rng.uniform(-0.2, 1.0)
    seeds = around & (tissue == TISSUE["body"])
    steps = max(1, round(rng.uniform(1.5, 6.0) / spacing))
    grown = _grow(rng, instance, seeds, allowed, steps)
    _accept(instance, tissue, depth, grown, spacing)


def fuse_ala(
    rng: np.random.Generator, instance: np.ndarray, tissue: np.ndarray, depth: np.ndarray, spacing: float
) -> None:
    """Join the transverse process of L5 to the sacral ala on one side, as in transitional anatomy, in place."""
    pair = np.isin(instance, (SACRUM, SACRUM + 2)) & (tissue != TISSUE["body"])
    lowest = np.where(pair, instance, 0).astype(np.uint8)
    reach = 2 * max(1, round(rng.uniform(4.0, 10.0) / spacing)) + 1
    region = near_two(lowest, reach)
    middle = np.argwhere(instance == SACRUM + 2)
    if not len(middle) or not region.any():
        return
    side = np.arange(instance.shape[2]) - middle[:, 2].mean()
    lateral = side > 12.0 / spacing if rng.random() < 0.5 else side < -12.0 / spacing
    region &= lateral[None, None, :]
    grown = _grow(rng, instance, region & pair, region & np.isin(tissue, _FREE), max(1, round(6.0 / spacing)))
    _accept(instance, tissue, depth, grown, spacing)


def _accept(instance: np.ndarray, tissue: np.ndarray, depth: np.ndarray, grown: np.ndarray, spacing: float) -> None:
    fresh = grown > 0
    instance[fresh] = grown[fresh]
    body_side = ndimage.maximum_filter(tissue == TISSUE["body"], 5)
    body_side &= ~ndimage.maximum_filter(tissue == TISSUE["arch"], 3)
    tissue[fresh] = np.where(body_side[fresh], TISSUE["body"], TISSUE["arch"])
    tissue[fresh & (grown == SACRUM)] = TISSUE["sacrum"]
    depth[fresh] = spacing / 2
