"""Distance maps against scipy, and the field's zero on voxel faces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from targeting.distance import distance_to, ellipsoid_reach, signed_distance


@given(st.integers(0, 10_000), st.floats(0.0, 0.2), st.tuples(*[st.floats(0.4, 3.0)] * 3))
@settings(max_examples=40, deadline=None)
def test_distances_equal_scipy(seed: int, share: float, spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 9, 11)) < share
    cap = 8.0
    expected = (np.minimum(ndimage.distance_transform_edt(~mask, sampling=spacing[::-1]), cap) if mask.any()
                else np.full(mask.shape, cap))
    assert np.allclose(distance_to(mask, np.array(spacing), cap), expected, atol=1e-4)


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
    assert field.max() == pytest.approx(5.5)
    assert field.min() == pytest.approx(-2.5)


@pytest.mark.parametrize("offset", [0.0, 1.0, 3.0, 4.9, 5.0])
def test_balls_on_the_axis_stay_inside_the_ellipsoid_and_touch_it(offset: float) -> None:
    a, b = 8.1, 5.6
    angle = np.linspace(0, np.pi, 20_001)
    rim = np.stack([a * np.cos(angle), b * np.sin(angle)], axis=1)
    nearest = np.linalg.norm(rim - [offset, 0.0], axis=1).min()
    assert ellipsoid_reach(offset, a, b) == pytest.approx(nearest, abs=1e-3)
