"""Margins under misplacement: the closed form against seeded simulations on real geometry."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from imaging.volume import Grid
from segmentation.anatomy import StructureName
from targeting.clearance import ClearanceMeter, boxes_of
from targeting.margins import margin_curves, margin_probability, margin_rule, nearest_fraction
from targeting.planning import propose
from targeting.procedures import load_procedure
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine

Array = NDArray[np.float64]
TIP, ENTRY = np.array([40.0, 20.0, 40.0]), np.array([40.0, 70.0, 40.0])


def _across(entry: Array, tip: Array) -> Array:
    return np.asarray(np.linalg.svd(((tip - entry) / np.linalg.norm(tip - entry))[None])[2][1:])


def _simulated(mask: NDArray[np.bool_], grid: Grid, need: float, sigma: float, surface: float, count: int) -> float:
    """Share of misplaced shafts that keep a distance to a mask, by moving both ends and measuring each."""
    rng, boxes, plane = np.random.default_rng(11), boxes_of(mask, grid), _across(ENTRY, TIP)
    ends = rng.normal(0, sigma, (count, 2, 2)) @ plane
    gaps = np.array([boxes.gap(ENTRY + b, TIP + a) for a, b in ends])
    return float((gaps + rng.normal(0, surface, count) >= need).mean())


@pytest.mark.parametrize(("sigma", "need"), [(1.0, 3.0), (2.0, 3.0), (2.0, 5.0), (3.0, 1.0)])
def test_beside_a_flat_wall_the_closed_form_equals_a_simulation(sigma: float, need: float) -> None:
    """A ridge across the shaft is nearest in one place, a quarter of the way from tip to entry."""
    grid = Grid((80, 100, 80), np.eye(4))
    _, j, i = np.indices(grid.shape)
    ridge = (i >= 46) & (j == 32)
    boxes = boxes_of(ridge, grid)
    clearance, place = boxes.gap(ENTRY, TIP), nearest_fraction(boxes, ENTRY, TIP)
    assert clearance == pytest.approx(5.5)
    assert place == pytest.approx(0.24, abs=0.02)
    closed = margin_probability(clearance - need, place, sigma, 0.5)
    assert closed == pytest.approx(_simulated(ridge, grid, need, sigma, 0.5, 20_000), abs=0.01)


def test_beside_a_ball_the_closed_form_is_a_lower_bound() -> None:
    grid = Grid((80, 100, 80), np.eye(4))
    k, j, i = np.indices(grid.shape)
    ball = (i - 52) ** 2 + (j - 40) ** 2 + (k - 40) ** 2 <= 36
    boxes = boxes_of(ball, grid)
    clearance, place = boxes.gap(ENTRY, TIP), nearest_fraction(boxes, ENTRY, TIP)
    closed = margin_probability(clearance - 3.0, place, 2.0, 0.5)
    simulated = _simulated(ball, grid, 3.0, 2.0, 0.5, 4000)
    assert simulated - 0.1 < closed < simulated + 0.01


@cache
def _placement():
    procedure = load_procedure("lumbar-medial-branch-block")
    targets = make_targets(lumbar_spine(), procedure).targets[:1]
    return procedure, propose(lumbar_spine(), targets, procedure)[0].placements[0]


def test_the_tightest_structures_have_falling_curves() -> None:
    procedure, placement = _placement()
    curves = placement.margin_curves
    slack = sorted((v - procedure.margins[n].value, n) for n, v in placement.clearance_mm.items()
                   if v is not None and n in procedure.margins)
    assert [c.structure for c in curves] == [n for _, n in slack[:int(margin_rule().shown.value)]]
    for curve in curves:
        p = [point.p for point in curve.curve]
        assert [point.placement_sigma_mm for point in curve.curve] == list(procedure.capture.placement_sigmas.values)
        assert p == sorted(p, reverse=True)
        assert all(0.5 <= value <= 1.0 for value in p)
        assert curve.margin_mm == procedure.margins[curve.structure].value


def test_a_margin_that_is_not_met_is_kept_less_often_than_not() -> None:
    procedure, placement = _placement()
    pose, meter = placement.needles[0], ClearanceMeter(lumbar_spine())
    near = {StructureName.CANAL: procedure.margins[StructureName.CANAL].value - 1.0}
    curve = margin_curves(procedure, near, pose.entry, pose.tip, meter.structures)[0]
    assert all(point.p < 0.5 for point in curve.curve)


def test_the_nearest_place_is_found_by_brute_force() -> None:
    _, placement = _placement()
    pose, boxes = placement.needles[0], ClearanceMeter(lumbar_spine()).structures[StructureName.CANAL]
    fractions = np.linspace(0, 1, 400)
    gaps = [boxes.gap(p, p) for p in pose.tip + fractions[:, None] * (pose.entry - pose.tip)]
    place = nearest_fraction(boxes, pose.entry, pose.tip)
    at = pose.tip + place * (pose.entry - pose.tip)
    assert boxes.gap(at, at) == pytest.approx(min(gaps), abs=0.1)
