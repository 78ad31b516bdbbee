"""Distance maps against brute force, and the field's zero on voxel faces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from imaging.volume import Grid
from targeting.clearance import boxes_of
from targeting.distance import distance_to, ellipsoid_reach, signed_distance
from tests.targeting.reference import sample


@given(st.integers(0, 10_000), st.floats(0.0, 0.2), st.tuples(*[st.floats(0.4, 3.0)] * 3))
@settings(max_examples=40, deadline=None)
def test_distances_equal_brute_force_on_boxes(seed: int, share: float, spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 9, 11)) < share
    cap, step = 8.0, np.array(spacing)
    points = np.stack(np.indices(mask.shape)[::-1], axis=-1).reshape(-1, 3) * step
    boxes = points[mask.ravel()]
    gaps = np.linalg.norm(np.maximum(np.abs(points[:, None] - boxes[None]) - 0.5 * step, 0), axis=2)
    expected = np.minimum(gaps.min(axis=1), cap) if len(boxes) else np.full(len(points), cap)
    assert np.allclose(distance_to(mask, step, cap).ravel(), expected, atol=1e-3)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_signed_field_is_the_distance_outside_and_the_depth_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, step = ndimage.binary_dilation(rng.random((9, 12, 14)) < 0.02, iterations=2), np.array([1.0, 0.7, 1.6])
    field = signed_distance(mask, step, 5.0, 2.0)
    assert np.allclose(field[~mask], distance_to(mask, step, 5.0)[~mask])
    assert np.allclose(field[mask], -distance_to(~mask, step, 2.0)[mask])


def test_interpolation_between_lattice_points_stays_within_its_bound() -> None:
    """Fields are read between lattice points; the error there is what the exact confirmation makes up for."""
    rng = np.random.default_rng(4)
    mask = ndimage.binary_dilation(rng.random((24, 24, 24)) < 0.004, iterations=2)
    grid = Grid(mask.shape, np.diag([1.5, 1.5, 1.5, 1.0]))
    field, points = signed_distance(mask, grid.spacing, 24.0, 6.0), rng.uniform(3, 31, (1500, 3))
    read, boxes = sample(field, grid, points), boxes_of(mask, grid)
    exact = np.array([boxes.gap(p, p) for p in points])
    outside = exact > 0
    assert np.abs(read - exact)[outside].max() < 0.5 * 1.5
    assert np.percentile(np.abs(read - exact)[outside], 95) < 0.3 * 1.5


def test_the_zero_lies_on_the_face() -> None:
    mask = np.zeros((9, 9, 9), np.bool_)
    mask[:, :, :4] = True
    field = signed_distance(mask, np.array([0.8, 0.8, 2.0]), 20.0, 20.0)
    assert field[4, 4, 4] == pytest.approx(0.4)
    assert field[4, 4, 3] == pytest.approx(-0.4)
    assert 0.5 * (field[4, 4, 3] + field[4, 4, 4]) == pytest.approx(0.0, abs=1e-6)
    assert field[4, 4, 6] == pytest.approx(2.0, abs=1e-5)


def test_caps_hold_outside_and_inside() -> None:
    mask = np.zeros((5, 5, 40), np.bool_)
    mask[:, :, :20] = True
    field = signed_distance(mask, np.ones(3), 6.0, 3.0)
    assert field.max() == pytest.approx(6.0)
    assert field.min() == pytest.approx(-3.0)


@pytest.mark.parametrize("offset", [0.0, 1.0, 3.0, 4.9, 5.0])
def test_balls_on_the_axis_stay_inside_the_ellipsoid_and_touch_it(offset: float) -> None:
    a, b = 8.1, 5.6
    angle = np.linspace(0, np.pi, 20_001)
    rim = np.stack([a * np.cos(angle), b * np.sin(angle)], axis=1)
    nearest = np.linalg.norm(rim - [offset, 0.0], axis=1).min()
    assert ellipsoid_reach(offset, a, b) == pytest.approx(nearest, abs=1e-3)
