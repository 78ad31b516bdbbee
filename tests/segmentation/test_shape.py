"""Surface crossings along sampled rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from segmentation.shape import crossing, distance_to


def test_a_crossing_is_interpolated_between_its_neighbours() -> None:
    position, found = crossing(np.array([-1.0, -0.25, 0.75]), np.array([2.0, 2.5, 3.0]), 0)
    assert bool(found)
    assert float(position) == pytest.approx(2.625)


def test_a_row_that_runs_backward_is_followed_backward() -> None:
    position, found = crossing(np.array([-1.0, 1.0]), np.array([3.0, 2.5]), 0)
    assert bool(found)
    assert float(position) == pytest.approx(2.75)


@pytest.mark.parametrize("row", [[-0.5], [0.5], [0.5, -0.5], [-1.0, -0.5]])
def test_a_row_without_a_crossing_says_so(row: list[float]) -> None:
    position, found = crossing(np.array(row), np.arange(len(row), dtype=np.float64), 0)
    assert not bool(found)
    assert np.isnan(position)


def test_distances_are_those_of_another_library() -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(24, 30, 28)), 2.5) > 0.02
    sampling = np.array([1.5, 0.8, 1.1])
    assert np.abs(distance_to(mask, sampling) - ndimage.distance_transform_edt(~mask, sampling=sampling)).max() < 1e-4
