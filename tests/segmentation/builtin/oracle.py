"""Nets that answer from known anatomy, so that the engine's own logic can be tested without weights.

The scan is painted so that each vertebra has its own density; the instance oracle reads the vertebra back from it.
"""

from __future__ import annotations

import numpy as np

from imaging.resample import resample
from imaging.volume import Grid, Volume
from segmentation.builtin.instances import ANCHOR
from segmentation.builtin.lattice import Cube, box_of
from segmentation.builtin.localise import SPACING_MM
from segmentation.builtin.settings import settings

SOFT_HU = 40.0
SACRUM_HU = 280.0
OTHER_BONE_HU = 220.0


def vertebra_hu(number: int) -> float:
    """Density that stands for the number-th vertebra (1 upward)."""
    return 300.0 + 40.0 * number


def density(intensity: np.ndarray) -> np.ndarray:
    """Hounsfield units back from the nets' input scale."""
    return np.sign(intensity) * (np.abs(intensity) * 80.0) ** (1 / 0.7) + 40.0


def painted(instance: np.ndarray, tissue: np.ndarray, grid: Grid) -> Volume:
    """A scan of coded densities.

    Parameters
    ----------
    instance : (z, y, x) int
        Vertebra number, 0 elsewhere.
    tissue : (z, y, x) int
        Index into the localising net's classes; -1 is air.
    """
    hu = np.full(instance.shape, SOFT_HU, np.float32)
    names = settings().classes
    hu[tissue < 0] = -1000.0
    for name in ("rib", "other_bone"):
        hu[tissue == names.index(name)] = OTHER_BONE_HU
    hu[tissue == names.index("sacrum")] = SACRUM_HU
    bone = instance > 0
    hu[bone] = vertebra_hu(1) + 40.0 * (instance[bone] - 1)
    return Volume(hu.astype(np.int16), grid)


class OracleNets:
    """Answers of perfect nets for one painted scan."""

    def __init__(self, tissue: np.ndarray, grid: Grid) -> None:
        box = box_of(grid)
        cube = Cube.over(box, SPACING_MM)
        turned = box.axes.apply(np.maximum(tissue, 0).astype(np.uint8))
        self._classes = np.stack([
            resample((turned == n).astype(np.float32), box.grid, cube.grid(), linear=True, fill=0.0)
            for n in range(len(settings().classes))])
        self.calls = 0

    def localise(self, image: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        assert image.shape == self._classes.shape[1:] == wanted.shape
        return self._classes

    def instance(self, image: np.ndarray) -> np.ndarray:
        self.calls += 1
        hu = density(image[0])
        code = np.round((hu - 300.0) / 40.0).astype(int)
        code[hu < 320.0] = 0
        near = tuple(slice(a - 6, a + 7) for a in ANCHOR)
        counts = np.bincount(np.maximum(code[near], 0).ravel(), minlength=2)
        this = 0 if counts[1:].sum() < 300 else 1 + int(counts[1:].argmax())
        out = np.zeros((3, *hu.shape), np.float32)
        out[1] = (code == this) & (this > 0)
        out[2] = ((code > 0) & (code != this)) | (np.abs(hu - SACRUM_HU) < 15)
        out[0] = 1 - out[1] - out[2]
        return out
