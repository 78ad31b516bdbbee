"""Two lesions for one nerve: the probability of a set, and the second needle beside the first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.geometry import Side
from segmentation.anatomy import Nerve
from targeting.model import Placement, PlacementKind
from targeting.planning import propose
from targeting.procedures import Procedure, load_procedure
from targeting.sets import set_probability
from targeting.targets import make_targets
from targeting.uncertainty import disc_probability
from tests.targeting.builders import lumbar_spine
from tests.targeting.oracle import faults
from tests.targeting.test_catalogue import usual

RF = "lumbar-medial-branch-rf"
COVARIANCE = np.array([[2.4, 0.5], [0.5, 1.6]])


@pytest.mark.parametrize("sigma", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (1.3, -2.0)])
def test_a_set_of_one_needle_is_that_needle(sigma: float, offset: tuple[float, float]) -> None:
    one = disc_probability(np.array(offset), COVARIANCE + sigma**2 * np.eye(2), 3.0)
    assert set_probability([np.array(offset)], COVARIANCE, sigma, 3.0) == pytest.approx(one, abs=1e-4)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_the_probability_of_a_set_agrees_with_drawing_it(sigma: float) -> None:
    offsets = [np.array([0.4, 1.0]), np.array([-0.8, 0.6])]
    draw = np.random.default_rng(7)
    nerve = draw.multivariate_normal(np.zeros(2), COVARIANCE, 400_000)
    caught = np.zeros(len(nerve), np.bool_)
    for offset in offsets:
        needle = offset + draw.normal(0.0, sigma, nerve.shape)
        caught |= np.linalg.norm(nerve - needle, axis=1) <= 3.0
    assert set_probability(offsets, COVARIANCE, sigma, 3.0) == pytest.approx(caught.mean(), abs=0.005)


def _both(procedure: Procedure) -> tuple[Placement, ...]:
    targets = make_targets(lumbar_spine(), procedure, nerves=[Nerve.L2], sides=[Side.LEFT]).targets
    return propose(lumbar_spine(), targets, procedure)[0].placements


def test_a_second_needle_lies_a_millimetre_beside_the_first_and_raises_the_capture() -> None:
    placements = usual(RF).placements
    first, both = placements[0], placements[-1]
    assert [p.kind for p in placements[:-1]] == [PlacementKind.STRAIGHT] * (len(placements) - 1)
    assert both.kind is PlacementKind.SET
    assert len(placements) <= 5
    a, b = both.needles
    assert a is first.needles[0]
    assert b.direction == pytest.approx(a.direction)
    apart = b.tip - a.tip
    assert np.linalg.norm(apart - (apart @ a.direction) * a.direction) == pytest.approx(1.0, abs=1e-6)
    assert all(q.p > p.p for p, q in zip(first.capture, both.capture, strict=True))
    for name, value in both.clearance_mm.items():
        alone = first.clearance_mm[name]
        assert (value is None) == (alone is None)
        assert value is None or alone is None or alone - 1.0 - 1e-6 <= value <= alone
    assert both.lesion is not None
    assert first.lesion is not None
    assert both.lesion.captured_mm[1] >= first.lesion.captured_mm[1] - 0.3
    assert faults(lumbar_spine(), load_procedure(RF), (usual(RF),)) == []


def test_one_needle_is_enough_where_it_reaches_the_goal() -> None:
    rf = load_procedure(RF)
    assert rf.second is not None
    content = replace(rf, second=replace(rf.second, capture_goal=replace(rf.second.capture_goal, value=0.05)))
    assert all(p.kind is PlacementKind.STRAIGHT for p in _both(content))
