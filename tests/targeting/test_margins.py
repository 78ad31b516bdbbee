"""Margins under misplacement: the closed form against seeded simulations on real geometry."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from imaging.volume import Grid
from segmentation.anatomy import StructureName
from targeting.clearance import ClearanceMeter, boxes_of
from targeting.margins import margin_curves, margin_probability, margin_rule, nearest_fraction, places_along
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


def _wall(name: str) -> tuple[NDArray[np.bool_], Grid]:
    """A mask beside the shaft from `TIP` to `ENTRY`, and its lattice of 1 mm."""
    grid = Grid((80, 100, 80), np.eye(4))
    k, j, i = np.indices(grid.shape)
    return {"ridge": (i >= 46) & (j == 32), "wall": (i >= 46) & (j > 15),
            "ball": (i - 52) ** 2 + (j - 40) ** 2 + (k - 40) ** 2 <= 36,
            "tube": (i - 52) ** 2 + (k - 40) ** 2 <= 36}[name], grid


def _probability(mask: NDArray[np.bool_], grid: Grid, need: float, sigma: float) -> float:
    fractions, gaps = places_along(boxes_of(mask, grid), ENTRY, TIP)
    return margin_probability(gaps - need, fractions, sigma, 0.5)


@pytest.mark.parametrize(("sigma", "need"), [(1.0, 3.0), (2.0, 3.0), (2.0, 5.0)])
def test_beside_a_ridge_across_the_shaft_the_closed_form_equals_a_simulation(sigma: float, need: float) -> None:
    """It is nearest in one place, a quarter of the way from tip to entry."""
    mask, grid = _wall("ridge")
    boxes = boxes_of(mask, grid)
    assert boxes.gap(ENTRY, TIP) == pytest.approx(5.5)
    assert nearest_fraction(boxes, ENTRY, TIP) == pytest.approx(0.24, abs=0.02)
    assert _probability(mask, grid, need, sigma) == pytest.approx(_simulated(mask, grid, need, sigma, 0.5, 20_000),
                                                                  abs=0.01)


@pytest.mark.parametrize(("sigma", "need"), [(1.0, 3.0), (2.0, 3.0), (2.0, 5.0), (5.0, 1.0)])
def test_along_a_wall_either_end_can_break_a_margin(sigma: float, need: float) -> None:
    """Both ends of the shaft must stay clear of one plane: a product, averaged over the plane's own place."""
    def both(w: float) -> float:
        return float(norm.pdf(w / 0.5) / 0.5 * norm.cdf((5.5 - need - w) / sigma) ** 2)

    mask, grid = _wall("wall")
    assert _probability(mask, grid, need, sigma) == pytest.approx(quad(both, -4, 4)[0], abs=0.01)


@pytest.mark.parametrize(("name", "below"), [("ball", 0.02), ("tube", 0.06)])
def test_beside_a_rounded_surface_the_closed_form_is_a_lower_bound(name: str, below: float) -> None:
    mask, grid = _wall(name)
    simulated = _simulated(mask, grid, 3.0, 2.0, 0.5, 4000)
    assert simulated - below < _probability(mask, grid, 3.0, 2.0) < simulated + 0.01


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
