"""A column of simple shapes: bodies, arches with processes, ribs, sacrum and canal, on a 1.5 mm lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.volume import Grid
from segmentation.builtin.settings import settings

SPACING = 1.5


@dataclass(frozen=True, eq=False)
class ColumnModel:
    """Known anatomy.

    Attributes
    ----------
    instance : (z, y, x) int
        1 for the lowest free vertebra, counting upward.
    tissue : (z, y, x) int
        Index into the localising net's classes, -1 for air.
    centres : (n, 3)
        LPS mm of the bodies, lowest first.
    """

    instance: np.ndarray
    tissue: np.ndarray
    grid: Grid
    centres: np.ndarray


def build(vertebrae: int = 8, ribless: int = 5, *, sacrum: bool = True, wide: bool = True, step: float = 34.0,
          rib_mm: float = 60.0) -> ColumnModel:
    """Stack vertebrae with `step` mm between bodies; those above the first `ribless` bear ribs.

    Parameters
    ----------
    wide : bool
        False cuts the field of view so that no rib could be seen.
    """
    half_width = 84.0 if wide else 36.0
    bottom = 60.0 if sacrum else 22.0
    size = (bottom + step * (vertebrae - 1) + 30.0, 126.0, 2 * half_width)
    shape = tuple(round(s / SPACING) for s in size)
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) * SPACING for n in shape], indexing="ij", sparse=True)
    x = x - half_width
    y = y - 54.0
    code = {name: n for n, name in enumerate(settings().classes)}
    tissue = np.zeros(shape, int)
    tissue[:, :2] = -1
    instance = np.zeros(shape, int)
    low_z = bottom - 20.0 if sacrum else 0.0
    tissue[(np.hypot(x, y - 28.0) < 8.0) & (z > low_z - 22.0)] = code["canal"]
    centres = []
    for n in range(vertebrae):
        h = z - (bottom + step * n)
        body = (np.hypot(x / 22.0, y / 16.0) < 1.0) & (np.abs(h) < 0.38 * step)
        disc = (np.hypot(x / 20.0, y / 14.0) < 1.0) & (np.abs(h + 0.5 * step) < 0.12 * step) & (tissue == 0)
        ring = np.hypot(x / 17.0, (y - 28.0) / 14.0)
        arch = (ring < 1.0) & (np.hypot(x, y - 28.0) >= 8.0) & (np.abs(h) < 8.0) & ~body
        arch = arch | ((np.abs(x) < 3.0) & (y > 36.0) & (y < 62.0) & (np.abs(h + 4.0) < 7.0))
        arch = arch | ((np.abs(y - 24.0) < 4.0) & (np.abs(x) > 12.0) & (np.abs(x) < 30.0) & (np.abs(h) < 5.0))
        arch = arch | ((np.hypot(np.abs(x) - 14.0, y - 36.0) < 4.0) & (np.abs(h) < 0.46 * step))
        tissue[disc] = code["disc"]
        tissue[arch] = code["arch"]
        tissue[body] = code["vertebral_body"]
        instance[body | arch] = n + 1
        if n >= ribless and wide:
            drop = h - 6.0 + 0.4 * (np.abs(x) - 24.0)
            rib = (np.hypot(y - 14.0, drop) < 4.0) & (np.abs(x) > 22.0) & (np.abs(x) < 22.0 + rib_mm)
            tissue[rib & (instance == 0)] = code["rib"]
        centres.append((0.0, 0.0, bottom + step * n))
    if sacrum:
        h = z - (bottom - step)
        bone = (np.hypot(x / 40.0, (y - 4.0) / 20.0) < 1.0) & (h < 0.38 * step) & (np.hypot(x, y - 28.0) >= 8.0)
        tissue[bone & (instance == 0)] = code["sacrum"]
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (-half_width + SPACING / 2, -54.0 + SPACING / 2, SPACING / 2)
    return ColumnModel(instance, tissue, Grid(shape, affine), np.array(centres))
