"""Stored surfaces against a fresh solution, captured length against closed forms, heat against exact distances."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from imaging.volume import Grid
from targeting.clearance import boxes_of
from targeting.lesion import Surface, lesion_of, stored_settings
from targeting.lesion.compute import all_settings, compute_lesion
from targeting.lesion.effect import captured_length, heat_clearance
from targeting.model import LesionSetting

STANDARD = LesionSetting(18, 1.27, 10.0, 80.0, 90.0)
ROD = Surface(np.array([-12.0, -11.999, 1.999, 2.0]), np.array([0.0, 3.0, 3.0, 0.0]))


def ellipsoid() -> Surface:
    """A body like a lesion: 16 mm long, 10 mm wide, its tip 3 mm inside the far end."""
    z = np.linspace(-8.0, 8.0, 65)
    return Surface(z - 5.0, 5.0 * np.sqrt(np.maximum(1 - (z / 8.0)**2, 0.0)))


def test_the_tables_hold_every_setting_and_a_fresh_solution_gives_the_same() -> None:
    assert set(stored_settings()) == set(all_settings())
    stored, fresh = lesion_of(18, 10.0, 80.0, 90.0), compute_lesion(STANDARD)
    assert stored is not None
    for name in ("spread", "hot", "effect_wide", "effect_narrow"):
        one, other = getattr(stored, name), getattr(fresh, name)
        np.testing.assert_allclose(one.radius, other.radius, atol=0.011)
        np.testing.assert_allclose(one.z, other.z, atol=0.011)


def test_a_setting_that_was_not_computed_is_not_guessed() -> None:
    assert lesion_of(18, 10.0, 81.0, 90.0) is None
    assert lesion_of(17, 4.0, 60.0, 150.0) is None


def test_hotter_edges_lie_inside_cooler_ones_in_every_setting() -> None:
    for setting in stored_settings():
        lesion = lesion_of(setting.gauge, setting.active_tip_mm, setting.temperature_c, setting.seconds)
        assert lesion is not None
        edges = [s for s in (lesion.spread, lesion.hot, lesion.effect_wide, lesion.effect_narrow) if s is not None]
        assert len(edges) >= 3
        for wide, narrow in pairwise(edges):
            assert np.all(np.interp(narrow.z, wide.z, wide.radius) >= narrow.radius - 0.02)


def test_longer_and_hotter_make_wider_lesions() -> None:
    def hot(temperature: float, seconds: float) -> float:
        lesion = lesion_of(18, 10.0, temperature, seconds)
        assert lesion is not None
        assert lesion.hot is not None
        return lesion.hot.width_mm

    assert hot(80, 60) < hot(80, 90) < hot(80, 120) < hot(80, 180)
    assert hot(60, 90) < hot(80, 90) < hot(85, 90) < hot(90, 90)


@pytest.mark.parametrize(("degrees", "millimetres"), [(90, 6.0), (45, 8.485), (30, 12.0), (25, 14.197)])
def test_captured_length_of_a_straight_nerve_is_the_closed_form(degrees: float, millimetres: float) -> None:
    """Rule 55: min(L / cos a, 2 R / sin a) for a nerve through the middle of a rod."""
    a = np.radians(degrees)
    path = np.array([-20.0, 20.0])[:, None] * np.array([np.sin(a), 0.0, np.cos(a)]) + [0.0, 0.0, -5.0]
    said = captured_length(ROD, np.zeros(3), np.array([0.0, 0.0, 1.0]), path)
    assert said == pytest.approx(min(14.0 / np.cos(a), millimetres), abs=0.1)


@settings(deadline=None)
@given(st.floats(-np.pi, np.pi), st.floats(-1.2, 1.2), st.integers(0, 2**31))
def test_captured_length_does_not_depend_on_where_the_patient_lies(turn: float, lean: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(size=(6, 3)) * 3.0, axis=0) - 5.0
    rotation = Rotation.from_euler("zx", [turn, lean]).as_matrix()
    here = captured_length(ellipsoid(), np.zeros(3), np.array([0.0, 0.0, 1.0]), path)
    there = captured_length(ellipsoid(), np.full(3, 7.0), rotation @ [0.0, 0.0, 1.0], path @ rotation.T + 7.0)
    assert there == pytest.approx(here, abs=0.21)


def test_a_surface_that_heat_never_reached_captures_nothing() -> None:
    assert captured_length(None, np.zeros(3), np.array([0.0, 0.0, 1.0]), np.eye(3)) == 0.0


def test_balls_on_the_axis_fill_the_body() -> None:
    surface = ellipsoid()
    along, radius = surface.balls()
    turned = np.linspace(-10.5, 0.5, 23)
    reach = np.sqrt(np.maximum(radius[:, None]**2 - (along[:, None] - turned)**2, 0.0)).max(axis=0)
    np.testing.assert_allclose(reach, np.interp(turned, surface.z, surface.radius), atol=0.05)


def test_heat_clearance_is_the_distance_to_the_written_mask() -> None:
    mask = np.zeros((40, 40, 40), np.bool_)
    mask[20, 20, 34] = True
    grid = Grid(mask.shape, np.diag([0.5, 0.5, 0.5, 1.0]))
    boxes = boxes_of(mask, grid)
    voxel = np.array([17.0, 10.0, 10.0])
    surface, direction = ellipsoid(), np.array([0.0, 0.0, 1.0])
    tip = np.array([4.0, 10.0, 15.0])  # widest at the voxel's height, 13 mm beside it
    assert heat_clearance(surface, tip, direction, boxes) == pytest.approx(voxel[0] - 0.25 - tip[0] - 5.0, abs=0.03)
    assert heat_clearance(surface, np.array([14.0, 10.0, 15.0]), direction, boxes) < 0
