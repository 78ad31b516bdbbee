"""Capture: closed form, seeded simulation, and the curve's shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.geometry import Side
from segmentation.anatomy import LandmarkName, Nerve
from segmentation.spine import Spine, Vertebra
from targeting.model import Target
from targeting.procedures import load_procedure
from targeting.targets import make_targets
from targeting.uncertainty import capture_assumptions, capture_curve, disc_probability, radius_holding
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
    for point in capture_curve(target, procedure, offset, tangent):
        away = offset + known + rng.normal(0, point.placement_sigma_mm, (count, 3))
        across = away - (away @ tangent)[:, None] * tangent
        share = float((np.linalg.norm(across, axis=1) <= procedure.capture.radius.value).mean())
        assert point.p == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("sigmas", [(1.5, 1.5, 1.5), (0.8, 2.0, 4.0), (1.0, 1.0, 5.0)])
def test_the_radius_that_holds_95_percent_agrees_with_drawing(sigmas: tuple[float, float, float]) -> None:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    covariance = turn @ np.diag(np.square(sigmas)) @ turn.T
    points = np.random.default_rng(4).multivariate_normal(np.zeros(3), covariance, 400_000)
    expected = float(np.percentile(np.linalg.norm(points, axis=1), 95))
    assert radius_holding(0.95, covariance) == pytest.approx(expected, rel=0.005)


def _with_sigma(spine: Spine, name: LandmarkName, sigma_mm: float) -> Spine:
    """One landmark of L4 less sure."""
    def change(v: Vertebra) -> Vertebra:
        marks = {n: replace(m, covariance=sigma_mm**2 * np.eye(3)) if n is name else m for n, m in v.landmarks.items()}
        return replace(v, landmarks=marks)
    return replace(spine, vertebrae=tuple(change(v) if v.name == "L4" else v for v in spine.vertebrae))


@pytest.mark.parametrize("name", [LandmarkName.SAP_TP_JUNCTION_LEFT, LandmarkName.MAMILLO_ACCESSORY_NOTCH_LEFT])
def test_the_landmarks_a_block_lies_between_each_add_a_quarter_of_their_variance(name: LandmarkName) -> None:
    """Midway between two landmarks whose errors are independent, the error is (a + b) / 2."""
    procedure = load_procedure("lumbar-medial-branch-block")

    def made(spine: Spine, side: Side) -> Target:
        return make_targets(spine, procedure, nerves=[Nerve.L3], sides=[side]).targets[0]

    spine, tangent = lumbar_spine(), np.array([0.0, 0.6, 0.8])
    one, four = made(spine, Side.LEFT), made(_with_sigma(spine, name, 4.0), Side.LEFT)
    assert four.covariance - one.covariance == pytest.approx(0.25 * 15.0 * np.eye(3), abs=0.4)
    sure, unsure = (capture_curve(t, procedure, np.zeros(3), tangent)[2].p for t in (one, four))
    assert unsure < sure - 0.1
    assert four.confidence < 0.6 <= one.confidence
    assert any("95 %" in reason for reason in four.reasons)
    other = made(_with_sigma(spine, name, 4.0), Side.RIGHT)
    assert other.covariance == pytest.approx(made(spine, Side.RIGHT).covariance), "the other side's landmark"
