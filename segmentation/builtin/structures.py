"""Structures the localising net knows, as masks on the input grid, and the doubts that withdraw them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.findings import Finding, FindingCode, Severity
from imaging.resample import resample
from segmentation.anatomy import StructureName
from segmentation.builtin.canal import CanalPath
from segmentation.builtin.lattice import FloatArray, bounding_slices
from segmentation.builtin.localise import ClassMap
from segmentation.builtin.refine import native_block
from segmentation.builtin.settings import settings
from segmentation.constants import constants
from segmentation.spine import Structure, StructureOrigin

__all__ = ["canal_structure", "organ_structures"]

logger = logging.getLogger(__name__)

Mask = NDArray[np.bool_]


def organ_structures(classes: ClassMap, labels: NDArray[np.uint8], low_mm: float, high_mm: float) -> tuple[
        dict[StructureName, Structure], tuple[Finding, ...]]:
    """Aorta, vena cava, kidneys, ribs and iliac bones.

    Parameters
    ----------
    labels : (z, y, x) uint8
        Vertebrae in turned axes; ribs and iliac bones leave their voxels alone.
    low_mm, high_mm : float
        Heights (box mm) of the lowest and highest vertebra, between which a vessel should be continuous.
    """
    checks: dict[StructureName, tuple[str, Callable[[Mask], str]]] = {
        StructureName.AORTA: ("aorta", lambda m: _vessel_doubt(m, classes, "aorta", low_mm, high_mm)),
        StructureName.VENA_CAVA: (
            "inferior_vena_cava", lambda m: _vessel_doubt(m, classes, "vena_cava", low_mm, high_mm)),
        StructureName.KIDNEYS: ("kidney", lambda m: _kidney_doubt(m, classes)),
        StructureName.RIBS: ("rib", lambda m: ""),
        StructureName.ILIAC_BONES: ("other_bone", lambda m: ""),
    }
    structures: dict[StructureName, Structure] = {}
    findings: list[Finding] = []
    edges = constants("structures")["coarse_edge_mm"]
    for name, (class_name, doubt) in checks.items():
        coarse = _pieces(classes, class_name)
        if name is StructureName.ILIAC_BONES:
            coarse[_row(classes, low_mm + settings().structures.iliac_above_mm):] = False
        reason = doubt(coarse)
        if reason:
            structures[name] = Structure(name, None, StructureOrigin.NOT_COMPUTED, reason)
            findings.append(Finding(FindingCode.STRUCTURE_NOT_COMPUTED, Severity.WARNING, f"{name.value}: {reason}"))
            continue
        mask = _native(classes, class_name, coarse)
        if name in (StructureName.RIBS, StructureName.ILIAC_BONES):
            mask &= labels == 0
        structures[name] = Structure(name, classes.cube.box.axes.restore(mask).copy(), StructureOrigin.COMPUTED,
                                     "localising net at 3 mm", float(edges.get(name.value, 0.0)))
    return structures, tuple(findings)


def _pieces(classes: ClassMap, class_name: str) -> Mask:
    """Voxels of a class on the 3 mm lattice without specks."""
    mask = classes.of(class_name) > settings().structures.organ_probability
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(pieces.ravel()) * classes.cube.spacing**3 / 1000.0
    sizes[0] = 0.0
    return np.asarray(sizes[pieces] >= settings().structures.piece_least_ml)


def _native(classes: ClassMap, class_name: str, coarse: Mask) -> Mask:
    """A class on the stored voxels (turned axes): interpolated probability around the kept pieces."""
    out = np.zeros(classes.cube.box.grid.shape, np.bool_)
    block = bounding_slices(coarse, 2)
    if block is None:
        return out
    cube = classes.cube.part(block)
    grid, cut = native_block(classes.cube.box, cube)
    kept = ndimage.binary_dilation(coarse[block], iterations=2)
    p = np.where(kept, classes.of(class_name)[block], np.float32(0)).astype(np.float32)
    out[cut] = resample(p, cube.grid(), grid, linear=True, fill=0.0) > settings().structures.organ_probability
    return out


def _row(classes: ClassMap, z_mm: float) -> int:
    """Slice of the 3 mm lattice at a height (box mm), the nearest there is."""
    row = round(float(classes.cube.to_index((z_mm, 0.0, 0.0))[0]))
    return int(np.clip(row, 0, classes.cube.shape[0] - 1))


def _vessel_doubt(mask: Mask, classes: ClassMap, name: str, low_mm: float, high_mm: float) -> str:
    """Why a vessel's mask is not believed; empty when it is."""
    limits = settings().structures
    low_area, high_area, share = (
        (limits.aorta_area_low_mm2, limits.aorta_area_high_mm2, limits.aorta_length_share) if name == "aorta" else
        (limits.vena_cava_area_low_mm2, limits.vena_cava_area_high_mm2, limits.vena_cava_length_share))
    spacing = classes.cube.spacing
    ends = (low_mm + limits.vessel_from_mm, min(high_mm, low_mm + limits.vessel_to_mm))
    first, last = (_row(classes, mm) for mm in ends)
    last = max(last, first)
    area = mask.sum(axis=(1, 2)) * spacing**2
    within = area[first: last + 1]
    found = within > 0
    if found.mean() < share:
        return (f"the {name.replace('_', ' ')} was found along {100 * found.mean():.0f} % of the vertebrae's height "
                "only; its absence elsewhere cannot be trusted")
    median = float(np.median(within[found]))
    if not low_area <= median <= high_area:
        return f"its median cross-section of {median:.0f} mm2 is implausible"
    return ""


def _kidney_doubt(mask: Mask, classes: ClassMap) -> str:
    """Why the kidneys' mask is not believed; empty when it is."""
    limits = settings().structures
    volume = float(mask.sum()) * classes.cube.spacing**3 / 1000.0
    if volume == 0:
        return ""
    if volume < limits.kidney_low_ml:
        return f"only {volume:.0f} mL of kidney was found, too little to tell it from other soft tissue"
    if volume > 2 * limits.kidney_high_ml:
        return f"its volume of {volume:.0f} mL is implausible"
    return ""


def canal_structure(classes: ClassMap, canal: CanalPath, labels: NDArray[np.uint8]) -> Structure:
    """The spinal canal: the net's class joined to a tube around the path, outside the vertebrae's bone."""
    limits = settings().structures
    near = _tube(classes, canal, 22.0)
    p = np.where(near, classes.of("canal"), np.float32(0))
    smooth = np.maximum(ndimage.gaussian_filter(p, 0.6), _tube_probability(classes, canal, limits.canal_tube_mm))
    out = np.zeros(labels.shape, np.bool_)
    block = bounding_slices(smooth > 0.1, 2)
    assert block is not None
    cube = classes.cube.part(block)
    grid, cut = native_block(classes.cube.box, cube)
    inside = resample(smooth[block].astype(np.float32), cube.grid(), grid, linear=True, fill=0.0)
    mask = (inside > limits.canal_probability) & (labels[cut] == 0)
    pieces, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        mask = sizes[pieces] >= 0.05 * sizes.sum()
    out[cut] = mask
    return Structure(StructureName.CANAL, classes.cube.box.axes.restore(out).copy(), StructureOrigin.COMPUTED,
                     "localising net at 3 mm, continuous along the tracked canal, outside bone")


def _axial_distance(classes: ClassMap, canal: CanalPath) -> FloatArray:
    """(z, y, x) axial distance to the canal's path, mm; infinite beyond its ends."""
    cube = classes.cube
    out = np.full(cube.shape, np.inf, np.float32)
    y = (np.arange(cube.shape[1]) + 0.5) * cube.spacing + cube.corner[1]
    x = (np.arange(cube.shape[2]) + 0.5) * cube.spacing + cube.corner[2]
    for z in range(cube.shape[0]):
        height = float(cube.to_box((z, 0, 0))[0])
        if canal.beyond_mm(height) == 0:
            middle = canal.at(height)
            out[z] = np.hypot(y[:, None] - middle[1], x[None, :] - middle[2])
    return out


def _tube(classes: ClassMap, canal: CanalPath, radius_mm: float) -> Mask:
    return np.asarray(_axial_distance(classes, canal) < radius_mm)


def _tube_probability(classes: ClassMap, canal: CanalPath, radius_mm: float) -> FloatArray:
    """1 on the path falling to 0.5 at the radius, so that interpolation keeps the tube round."""
    distance = _axial_distance(classes, canal)
    return np.asarray(np.clip(1.0 - 0.5 * distance / radius_mm, 0.0, 1.0), dtype=np.float32)
