"""The canal as a path: the tracker, and the score made from Hounsfield units alone."""

from __future__ import annotations

import numpy as np

from segmentation.builtin.canal import CanalPath, canal_score, deviation_mm, track
from segmentation.builtin.lattice import Cube, box_of, sample
from tests.segmentation.builtin.column import build
from tests.segmentation.builtin.oracle import painted


def test_tracks_the_canal_of_a_column() -> None:
    model = build()
    volume = painted(model.instance, model.tissue, model.grid)
    cube = Cube.over(box_of(model.grid), 3.0)
    path = track(canal_score(sample(volume, cube), cube), cube, 40.0)
    assert path is not None
    lps = cube.box.to_lps(path.points)
    inside = (lps[:, 2] > 70.0) & (lps[:, 2] < 290.0)
    assert inside.sum() > 60
    assert np.hypot(lps[inside, 0], lps[inside, 1] - 28.0).max() < 5.0


def test_no_score_no_path() -> None:
    model = build(vertebrae=3)
    cube = Cube.over(box_of(model.grid), 3.0)
    assert track(np.full(cube.shape, -1.0, np.float32), cube, 40.0) is None
    single = np.full(cube.shape, -1.0, np.float32)
    single[5, 5, 5] = 1.0
    assert track(single, cube, 40.0) is None


def test_path_goes_straight_on_beyond_its_ends() -> None:
    z = np.arange(0.0, 60.0, 3.0)
    path = CanalPath(np.column_stack([z, 10.0 + 0.5 * z, np.full(len(z), 7.0)]))
    assert np.allclose(path.at(30.0), (30.0, 25.0, 7.0))
    assert np.allclose(path.at(-10.0), (-10.0, 5.0, 7.0))
    assert np.allclose(path.at(70.0), (70.0, 45.0, 7.0))
    assert path.beyond_mm(-10.0) == 10.0
    assert path.beyond_mm(20.0) == 0.0


def test_deviation_of_two_paths() -> None:
    z = np.arange(0.0, 90.0, 3.0)
    one = CanalPath(np.column_stack([z, np.zeros_like(z), np.zeros_like(z)]))
    other = CanalPath(np.column_stack([z, np.full_like(z, 6.0), np.full_like(z, 8.0)]))
    assert deviation_mm(one, other, 0.0, 90.0) == 10.0
    assert deviation_mm(one, other, 200.0, 300.0) is None
