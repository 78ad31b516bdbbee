"""Exact clearance against brute force on every voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.geometry import to_index, to_world
from imaging.volume import Grid
from targeting.clearance import boxes_of
from tests.targeting.builders import rotation_about
from tests.targeting.reference import voxel_gap


def _grid(seed: int) -> Grid:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = rotation_about(rng.normal(size=3), rng.uniform(0, 180)) * rng.uniform(0.5, 2.5, 3)
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return Grid((10, 11, 12), affine)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_outside_gaps_equal_brute_force(seed: int) -> None:
    grid, rng = _grid(seed), np.random.default_rng(seed)
    mask = np.zeros(grid.shape, np.bool_)
    mask[3:6, 4:7, 5:8] = rng.random((3, 3, 3)) < 0.5
    if not mask.any():
        return
    a, b = to_world(grid, rng.uniform(-4, 16, (2, 3)))
    exact, brute = boxes_of(mask, grid).gap(a, b), voxel_gap(mask, grid, a, b)
    if brute > 0.06:
        assert brute - 0.06 <= exact <= brute + 1e-6
    else:
        assert exact <= 0.06


def test_inside_is_negative_by_the_depth() -> None:
    grid = Grid((30, 30, 30), np.eye(4))
    mask = np.zeros(grid.shape, np.bool_)
    mask[10:20, 10:20, 10:20] = True
    boxes = boxes_of(mask, grid)
    point = np.array([12.0, 14.5, 14.5])
    assert boxes.gap(point, point) == pytest.approx(-2.5)
    through = boxes.gap(np.array([0.0, 14.5, 14.5]), np.array([29.0, 14.5, 14.5]))
    assert -5.1 <= through <= -4.4


def test_an_empty_mask_is_infinitely_far() -> None:
    grid = Grid((5, 5, 5), np.eye(4))
    assert boxes_of(np.zeros(grid.shape, np.bool_), grid).gap(np.zeros(3), np.ones(3)) == np.inf


def test_gap_to_balls_is_the_brute_force_distance_to_the_boxes() -> None:
    rng = np.random.default_rng(5)
    mask = rng.random((18, 20, 22)) > 0.97
    grid = Grid(mask.shape, np.array([[0, 0.9, 0, 3], [-0.7, 0, 0, 40], [0, 0, 1.3, -8], [0, 0, 0, 1]], np.float64))
    boxes = boxes_of(mask, grid)
    k, j, i = np.nonzero(mask)
    corners = np.stack([i, j, k], axis=1) * grid.spacing
    centres, radii = rng.uniform(-5, 25, (40, 3)), rng.uniform(0.5, 6.0, 40)
    local = to_index(grid, centres) * grid.spacing
    away = np.maximum(np.abs(local[:, None] - corners) - 0.5 * grid.spacing, 0.0)
    brute = (np.linalg.norm(away, axis=2).min(axis=1) - radii).min()
    assert boxes.gap_to_balls(centres, radii) == pytest.approx(brute, abs=1e-9)
    assert boxes_of(np.zeros_like(mask), grid).gap_to_balls(centres, radii) == float("inf")
