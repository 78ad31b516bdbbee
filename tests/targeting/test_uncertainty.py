"""Capture: closed form, seeded simulation, and the curve's shape."""

from __future__ import annotations

import numpy as np
import pytest

from targeting.procedures import load_procedure
from targeting.targets import make_targets
from targeting.uncertainty import capture_assumptions, capture_curve, disc_probability, landmark_covariance
from tests.targeting.builders import lumbar_spine


@pytest.mark.parametrize("radius", [2.0, 3.0, 4.0, 5.0])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.3, 5.0])
def test_equal_axes_give_the_closed_form(radius: float, sigma: float) -> None:
    expected = 1 - np.exp(-radius**2 / (2 * sigma**2))
    assert disc_probability(np.zeros(2), sigma**2 * np.eye(2), radius) == pytest.approx(expected, abs=1e-6)


def test_unequal_axes_and_an_offset_equal_a_simulation() -> None:
    covariance = np.array([[4.0, 1.2], [1.2, 1.0]])
    mean = np.array([0.8, -1.1])
    points = np.random.default_rng(7).multivariate_normal(mean, covariance, 400_000)
    expected = float((np.linalg.norm(points, axis=1) <= 3.0).mean())
    assert disc_probability(mean, covariance, 3.0) == pytest.approx(expected, abs=0.004)


def test_the_curve_falls_with_placement_error_and_with_distance() -> None:
    procedure = load_procedure("lumbar-medial-branch-block")
    target = make_targets(lumbar_spine(), procedure).targets[0]
    tangent = np.array([0.0, 0.0, 1.0])
    near = capture_curve(target, procedure, np.zeros(3), tangent)
    far = capture_curve(target, procedure, np.array([2.0, 0, 0]), tangent)
    p = [point.p for point in near]
    assert p == sorted(p, reverse=True)
    assert [point.placement_sigma_mm for point in near] == [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]
    assert all(f.p < n.p for f, n in zip(far, near, strict=True))
    words = capture_assumptions(target, procedure, np.zeros(3), tangent)
    assert "unverified" in words[0]


def test_nerve_landmark_and_placement_errors_add_as_in_a_simulation() -> None:
    """Rule 54: the curve equals seeded draws of all three errors within 0.01."""
    procedure = load_procedure("lumbar-medial-branch-block")
    target = make_targets(lumbar_spine(), procedure).targets[0]
    tangent, offset = np.array([0.0, 0.6, 0.8]), np.array([0.8, 0.48, -0.36])
    rng, count = np.random.default_rng(5), 200_000
    known = rng.multivariate_normal(np.zeros(3), target.covariance, count)
    known += rng.multivariate_normal(np.zeros(3), landmark_covariance(target), count)
    assert np.trace(landmark_covariance(target)) > 0
    for point in capture_curve(target, procedure, offset, tangent):
        away = offset + known + rng.normal(0, point.placement_sigma_mm, (count, 3))
        across = away - (away @ tangent)[:, None] * tangent
        share = float((np.linalg.norm(across, axis=1) <= procedure.capture.radius.value).mean())
        assert point.p == pytest.approx(share, abs=0.01)
