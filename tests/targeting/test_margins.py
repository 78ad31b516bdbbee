"""Margins under misplacement: the curves against closed forms and big simulations that know no distance field."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm, qmc

from imaging.geometry import Side, VertebralFrame, to_world
from imaging.volume import Grid
from segmentation.anatomy import StructureName
from segmentation.labels import import_labels
from segmentation.spine import Spine
from targeting.clearance import boxes_of
from targeting.distance import near_distance
from targeting.fields import FIELD_CAP_MM, NearField, build_fields
from targeting.margins import Shaft, margin_curves, margin_probabilities, margin_rule, misses
from targeting.model import Placement, Target
from targeting.planning import propose
from targeting.procedures import Procedure, load_procedure
from targeting.scene import Scene
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine

Array = NDArray[np.float64]
GRID = Grid((160, 180, 160), np.diag([0.5, 0.5, 0.5, 1.0]))
TIP, ENTRY = np.array([40.0, 20.0, 40.0]), np.array([40.0, 70.0, 40.0])
FRAME = VertebralFrame(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 1.0]))
SIGMAS, SURFACE = np.array([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]), 1.0
#: Round bodies of 6 mm: a point of the axis, and the coordinates that count.
CENTRE, RADIUS = np.array([52.0, 38.0, 43.0]), 6.0
SHAPES = {"ball": np.ones(3), "tube along the shaft": np.array([1.0, 0, 1.0]),
          "tube across the shaft": np.array([1.0, 1.0, 0])}
#: Voxels reach beyond a round surface with their corners; drawn so much smaller they keep its distances on average.
INSET = {"ball": 0.25, "tube along the shaft": 0.15, "tube across the shaft": 0.15}


def _wall(name: str) -> NDArray[np.bool_]:
    k, j, i = np.indices(GRID.shape)
    points = to_world(GRID, np.stack([i, j, k], axis=-1)) - CENTRE
    return np.asarray(np.linalg.norm(points * SHAPES[name], axis=-1) <= RADIUS - INSET[name])


def _near(mask: NDArray[np.bool_], grid: Grid = GRID) -> NearField:
    return NearField(*near_distance(mask, grid.spacing, FIELD_CAP_MM, 6.0))


def _curve(near: NearField, clearance: float, need: float, tip: Array = TIP, entry: Array = ENTRY,
           grid: Grid = GRID) -> Array:
    shaft = Shaft.of(grid, entry, tip, FRAME, Side.LEFT)
    return margin_probabilities(near, shaft, clearance, need, SIGMAS, SURFACE)


def _drawn(count: int) -> tuple[Array, Array]:
    """(count, 2, 3) standard misses of tip and entry, across any shaft along y; (count,) of the surface."""
    rng = np.random.default_rng(11)
    return rng.normal(size=(count, 2, 3)) * [1.0, 0, 1.0], rng.normal(size=count)


def _gaps(tips: Array, entries: Array, keep: Array) -> Array:
    """(n,) exact distance from segments to a round body."""
    a, b = (tips - CENTRE) * keep, (entries - tips) * keep
    along = np.clip(-(a * b).sum(axis=1) / np.maximum((b * b).sum(axis=1), 1e-12), 0.0, 1.0)
    return np.asarray(np.linalg.norm(a + along[:, None] * b, axis=1) - RADIUS)


@pytest.mark.parametrize("need", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("name", list(SHAPES))
def test_beside_a_round_body_the_curve_equals_a_simulation(name: str, need: float) -> None:
    """300 000 draws of both ends and of the surface against exact geometry; 8 mm is a margin that is not met."""
    keep, (ends, surface) = SHAPES[name], _drawn(300_000)
    clearance = float(_gaps(TIP[None], ENTRY[None], keep)[0])
    found = _curve(_near(_wall(name)), clearance, need)
    for sigma, p in zip(SIGMAS, found, strict=True):
        gaps = _gaps(TIP + sigma * ends[:, 0], ENTRY + sigma * ends[:, 1], keep)
        assert p == pytest.approx(float((gaps + SURFACE * surface >= need).mean()), abs=0.01)


@pytest.mark.parametrize("need", [1.0, 3.0, 7.0])
def test_along_a_plane_the_curve_equals_the_closed_form(need: float) -> None:
    """Both ends must stay clear of it: a product, averaged over the plane's own place."""
    found = _curve(_near(np.indices(GRID.shape)[2] >= 92), 5.75, need)
    for sigma, p in zip(SIGMAS, found, strict=True):
        def both(w: float, at: float = float(sigma)) -> float:
            return float(norm.pdf(w) * norm.cdf((5.75 - need - SURFACE * w) / at) ** 2)

        assert p == pytest.approx(quad(both, -6, 6)[0], abs=0.01)


def test_the_misses_are_standard_normal_and_the_same_every_time() -> None:
    drawn = misses()
    assert drawn is misses()
    np.testing.assert_allclose(drawn.mean(axis=0), 0.0, atol=0.005)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(4), atol=0.02)


def test_a_mirrored_patient_has_the_same_curve() -> None:
    mask = _wall("ball")
    here = _curve(_near(mask), 5.0, 3.0)
    width = float(GRID.spacing[0] * (GRID.shape[2] - 1))
    tip, entry = (np.array([width - p[0], p[1], p[2]]) for p in (TIP, ENTRY))
    shaft = Shaft.of(GRID, entry, tip, FRAME, Side.RIGHT)
    there = margin_probabilities(_near(mask[:, :, ::-1].copy()), shaft, 5.0, 3.0, SIGMAS, SURFACE)
    np.testing.assert_allclose(there, here, atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize(("name", "beside"), [("bone", (30.0, 30.0, 0.0)), ("kidneys", (-25.0, -20.0, 0.0)),
                                              ("vena_cava", (-25.0, -20.0, 0.0))])
def test_beside_a_real_structure_the_curve_equals_a_simulation(data: Path, name: str,
                                                               beside: tuple[float, float, float]) -> None:
    """4000 stratified shafts beside L3 or a neighbour, each measured on the mask's own voxels, without a field."""
    seg = import_labels(data / "labels" / "s0012_totalsegmentator.nii.gz", "totalsegmentator")
    bone = seg.labels == 22
    mask = bone if name == "bone" else seg.structures[StructureName(name)].mask
    assert mask is not None
    boxes = boxes_of(mask, seg.grid)
    tip = to_world(seg.grid, np.argwhere(bone)[:, ::-1]).mean(axis=0) + beside
    entry = tip + np.array([0.0, 70.0, 0.0])
    clearance = boxes.gap(entry, tip)
    assert 4.0 < clearance < 12.0
    need = clearance - 2.0
    found = _curve(_near(mask, seg.grid), clearance, need, tip, entry, seg.grid)
    drawn = norm.ppf(qmc.LatinHypercube(4, rng=np.random.default_rng(3)).random(4000))
    ends = np.insert(drawn.reshape(-1, 2, 2), 1, 0.0, axis=2)
    for sigma, p in zip(SIGMAS[[2, 6]], found[[2, 6]], strict=True):
        gaps = np.array([boxes.gap(entry + sigma * b, tip + sigma * a) for a, b in ends])
        assert p == pytest.approx(float(norm.cdf((gaps - need) / SURFACE).mean()), abs=0.01)


@cache
def _placement() -> tuple[Procedure, Target, Placement]:
    procedure = load_procedure("lumbar-medial-branch-block")
    targets = make_targets(lumbar_spine(), procedure).targets[:1]
    return procedure, targets[0], propose(lumbar_spine(), targets, procedure)[0].placements[0]


def test_the_tightest_structures_have_falling_curves() -> None:
    procedure, _, placement = _placement()
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
    procedure, target, placement = _placement()
    spine: Spine = lumbar_spine()
    scene = Scene(spine, build_fields(spine, [target], procedure), target, procedure)
    near: dict[StructureName, float | None] = {
        StructureName.CANAL: procedure.margins[StructureName.CANAL].value - 1.0, StructureName.AORTA: None}
    pose = placement.needles[0]
    assert pose.entry is not None
    curves = margin_curves(scene, near, pose.entry, pose.tip)
    assert [c.structure for c in curves] == [StructureName.CANAL]
    assert all(point.p < 0.5 for point in curves[0].curve)
