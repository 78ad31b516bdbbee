"""Completes the structures a needle must keep away from; what cannot be computed stays "not computed" with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import canonical_axes
from imaging.volume import Volume
from segmentation.anatomy import StructureName
from segmentation.constants import constants
from segmentation.spine import Structure, StructureOrigin

__all__ = ["air_structures", "complete", "metal_structure"]

Mask = NDArray[np.bool_]


def _missing(name: StructureName, reason: str) -> Structure:
    return Structure(name, None, StructureOrigin.NOT_COMPUTED, reason)


def complete(known: Mapping[StructureName, Structure], found: Mapping[StructureName, Structure],
             ) -> dict[StructureName, Structure]:
    """One entry for every structure: the engine's or file's own, else the computed one, else "not computed"."""
    out: dict[StructureName, Structure] = {}
    for name in StructureName:
        own = known.get(name)
        if own is not None and own.mask is not None:
            out[name] = own
        elif name in found:
            out[name] = found[name]
        else:
            out[name] = own or _missing(name, "the segmentation does not hold it and it cannot be told from the image")
    return out


def metal_structure(volume: Volume | None) -> Structure:
    """Metal: connected parts brighter than the limit. Empty when there is none."""
    if volume is None or volume.modality != "CT":
        return _missing(StructureName.METAL, "needs a CT")
    c = constants("structures")["metal"]
    slope = volume.slope or 1.0
    stored = (float(c["hu"]) - volume.intercept) / slope
    bright = volume.array > stored if slope > 0 else volume.array < stored
    if bright.any():
        parts, count = ndimage.label(bright)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        keep = sizes >= int(c["min_voxels"])
        keep[0] = False
        bright = keep[parts]
    return Structure(StructureName.METAL, np.asarray(bright, dtype=bool), StructureOrigin.COMPUTED,
                     f"brighter than {float(c['hu']):.0f} HU")


def _deep(volume: Volume, body: Mask) -> Mask:
    """Inside the body, away from its surface."""
    skin = float(constants("structures")["air"]["skin_mm"])
    rounds = max(1, round(skin / float(volume.grid.spacing.max())))
    return np.asarray(body & ndimage.binary_erosion(body, iterations=rounds, border_value=1))


def _air(volume: Volume, deep: Mask, limit_hu: float) -> Mask:
    """Darker than a limit in the depth of the body."""
    slope = volume.slope or 1.0
    stored = (limit_hu - volume.intercept) / slope
    return np.asarray((volume.array < stored if slope > 0 else volume.array > stored) & deep)


def _lungs(volume: Volume, deep: Mask) -> Mask:
    """Large air spaces whose mean is lung's."""
    c = constants("structures")["air"]
    air = _air(volume, deep, float(c["lung_hu"][1]))
    parts, count = ndimage.label(air)
    if not count:
        return air
    voxel_ml = float(np.prod(volume.grid.spacing)) / 1000.0
    sizes = np.bincount(parts.ravel(), minlength=count + 1) * voxel_ml
    low, high = (float(v) for v in c["lung_mean_hu"])
    keep = np.zeros(count + 1, dtype=bool)
    boxes = ndimage.find_objects(parts)
    for n in np.flatnonzero(sizes >= float(c["lung_min_ml"])):
        if n == 0:
            continue
        here = parts[boxes[n - 1]] == n
        mean = float(volume.array[boxes[n - 1]][here].mean()) * volume.slope + volume.intercept
        keep[n] = low <= mean <= high
    return np.asarray(keep[parts])


def air_structures(volume: Volume | None, body: Mask | None, lungs: Structure | None) -> dict[StructureName, Structure]:
    """Lungs (unless known) and gas in the bowel, from a CT and the body's mask."""
    if volume is None or volume.modality != "CT" or body is None:
        reason = "needs a CT" if volume is None or volume.modality != "CT" else "needs the body's outline"
        return {name: _missing(name, reason) for name in (StructureName.LUNGS, StructureName.BOWEL_GAS)}
    c = constants("structures")["air"]
    known = lungs is not None and lungs.mask is not None
    deep = _deep(volume, body)
    lung = np.asarray(lungs.mask) if lungs is not None and lungs.mask is not None else _lungs(volume, deep)
    gas = _air(volume, deep, float(c["gas_hu"]))
    if lung.any():
        rounds = max(1, round(float(c["gas_from_lung_mm"]) / float(volume.grid.spacing.min())))
        gas &= ~ndimage.binary_dilation(lung, iterations=rounds)
        gas &= ~_above(lung, volume)
    gas = _drop_small(gas, float(c["gas_min_ml"]) * 1000.0 / float(np.prod(volume.grid.spacing)))
    how = f"darker than {float(c['gas_hu']):.0f} HU inside the body, lungs left out"
    out = {StructureName.BOWEL_GAS: Structure(StructureName.BOWEL_GAS, gas, StructureOrigin.COMPUTED, how)}
    if not known:
        out[StructureName.LUNGS] = Structure(StructureName.LUNGS, lung, StructureOrigin.COMPUTED,
                                             "large air spaces with the density of lung")
    return out


def _above(lung: Mask, volume: Volume) -> Mask:
    """Everything cranial of the lungs' middle: airways and oesophagus, never bowel."""
    turned = canonical_axes(volume.grid)
    rows = np.flatnonzero(turned.apply(lung).any(axis=(1, 2)))
    out = np.zeros(lung.shape, dtype=bool)
    turned.apply(out)[int(np.median(rows)):] = True
    return out


def _drop_small(mask: NDArray[Any], least_voxels: float) -> Mask:
    parts, count = ndimage.label(mask)
    if not count:
        return np.asarray(mask, dtype=bool)
    keep = np.bincount(parts.ravel(), minlength=count + 1) >= least_voxels
    keep[0] = False
    return np.asarray(keep[parts])
