"""The native border of a vertebra: marrow is filled, the canal stays open."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.volume import Grid, Volume
from segmentation.builtin.instances import PATCH, SPACING_MM, Instance
from segmentation.builtin.lattice import Cube, box_of
from segmentation.builtin.refine import paint_labels


@pytest.mark.parametrize("voxel", [1.5, 3.0])
def test_marrow_with_a_vein_is_filled_and_the_canal_is_not(voxel: float) -> None:
    """A body with a doubted core that opens sideways, and a ring of bone around the canal behind it."""
    this = np.zeros(PATCH, np.float16)
    this[20:44, 10:34, 16:48] = 0.97
    this[20:44, 34:52, 20:44] = 0.97
    this[:, 36:46, 26:38] = 0.0
    core, vein, canal = np.s_[28:36, 18:26, 28:36], np.s_[30:34, 20:24, 36:48], np.s_[24:40, 38:44, 28:36]
    this[core] = this[vein] = 0.0
    count = round(64 * SPACING_MM / voxel)
    grid = Grid((count,) * 3, np.diag([voxel] * 3 + [1.0]))
    box = box_of(grid)
    centre = (np.array([32, 22, 32]) + 0.5) * SPACING_MM
    vertebra = Instance(centre, Cube(box, SPACING_MM, np.zeros(3), PATCH), this, np.zeros_like(this), this > 0.5, 50.0,
                        False, 0.0, 1.0)
    labels = paint_labels(Volume(np.full(grid.shape, 100, np.int16), grid), box, (vertebra,), (22,))
    step = round(voxel / SPACING_MM)
    inside, outside = (tuple(slice(s.start // step + 1, s.stop // step - 1) for s in place) for place in (core, canal))
    assert (labels[inside] == 22).all()
    assert not labels[outside].any()
