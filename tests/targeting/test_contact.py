"""Where a needle can touch a bone: exact shapes, on lattices that lie differently about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from imaging.geometry import VertebralFrame, to_world
from imaging.volume import Grid
from segmentation.spine import Numbering, NumberingStatus, NumberingTier, Spine, Vertebra
from targeting.contact import ContactRule, contact_point

Array = NDArray[np.float64]
Solid = Callable[[Array], NDArray[np.bool_]]
#: Posterior to anterior, LPS.
FORWARD = np.array([0.0, -1.0, 0.0])
NEAR = ContactRule(4.0, np.zeros(3), 7.5)


def ball(points: Array) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(points, axis=-1) <= 8.0)


def plate(points: Array) -> NDArray[np.bool_]:
    """Bone in front of the plane y = 0."""
    return np.asarray((np.abs(points[..., 0]) < 15) & (np.abs(points[..., 2]) < 15) & (points[..., 1] < 0)
                      & (points[..., 1] > -10))


def roof(left_of_mm: float) -> Solid:
    """A plate whose left part lies under a thin overhang 6 mm behind it."""
    def solid(points: Array) -> NDArray[np.bool_]:
        over = (points[..., 0] > left_of_mm) & (points[..., 0] < 15) & (np.abs(points[..., 2]) < 15)
        return plate(points) | (over & (points[..., 1] > 6) & (points[..., 1] < 9))
    return solid


def bone(solid: Solid, turn: Rotation | None = None, spacing_mm: float = 1.0) -> Spine:
    """One vertebra of a given shape about the world's origin, drawn on a lattice turned about it."""
    size = round(60 / spacing_mm)
    rotation = np.eye(3) if turn is None else turn.as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing_mm
    affine[:3, 3] = rotation @ np.full(3, -30.0 + 0.3)
    grid = Grid((size, size, size), affine)
    k, j, i = np.indices(grid.shape)
    labels = solid(to_world(grid, np.stack([i, j, k], axis=-1))).astype(np.int16)
    frame = VertebralFrame.from_axes(np.zeros(3), [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    vertebra = Vertebra("L3", 1, 1.0, np.zeros(3), frame, {})
    return Spine(grid, labels, Numbering(NumberingTier.A, NumberingStatus.NAMED), (vertebra,), (), {}, None,
                 np.ones(grid.shape, np.bool_))


def touched(spine: Spine, wanted: Array, rule: ContactRule = NEAR) -> Array | None:
    return contact_point(spine, spine.vertebrae[0], wanted, FORWARD, rule)


@pytest.mark.parametrize("wanted", [(0.0, 10.0, 0.0), (1.3, 6.4, -0.7), (-1.0, 9.0, 1.5)])
def test_a_round_bone_is_touched_at_its_nearest_place(wanted: tuple[float, float, float]) -> None:
    point = np.array(wanted)
    rule = ContactRule(4.0, point, 7.5)
    found = touched(bone(ball), point, rule)
    assert found is not None
    assert found == pytest.approx(8.0 * point / np.linalg.norm(point), abs=0.35)


def test_the_lattice_does_not_choose_the_place() -> None:
    wanted, rule = np.array([1.3, 9.0, -0.7]), ContactRule(4.0, np.array([1.3, 9.0, -0.7]), 7.5)
    places = []
    for angles in ([0, 0, 0], [10, 0, 10], [25, -15, 40]):
        found = touched(bone(ball, Rotation.from_euler("xyz", angles, degrees=True)), wanted, rule)
        assert found is not None
        places.append(found)
    assert np.linalg.norm(np.array(places) - places[0], axis=1).max() < 0.75


def test_a_small_move_of_what_is_wanted_is_a_small_move_of_the_place() -> None:
    spine = bone(plate, spacing_mm=1.5)
    places = [touched(spine, np.array([x, 0.8, 0.3])) for x in np.arange(0.0, 3.0, 0.25)]
    assert all(place is not None for place in places)
    steps = np.linalg.norm(np.diff(np.array(places), axis=0), axis=1)
    assert steps.max() < 0.5


def test_bone_behind_a_place_sends_the_needle_beside_it() -> None:
    found = touched(bone(roof(-1.0)), np.array([0.5, 0.0, 0.0]))
    assert found is not None
    assert found[0] < -0.8
    assert found[1] == pytest.approx(0.0, abs=0.3)


def test_a_place_closed_all_around_is_still_named() -> None:
    """So that the search can say which bone is in the way."""
    found = touched(bone(roof(-14.0)), np.array([0.5, 0.7, 0.0]))
    assert found is not None
    assert found == pytest.approx([0.5, 0.0, 0.0], abs=0.3)


def test_bone_out_of_reach_is_no_place() -> None:
    assert touched(bone(plate), np.array([0.0, 4.6, 0.0])) is None
    assert touched(bone(plate), np.array([0.0, 1.0, 0.0]), ContactRule(4.0, np.array([9.0, 1.0, 0.0]), 3.0)) is None


def test_the_face_at_which_the_scan_cuts_a_bone_is_no_surface() -> None:
    whole = bone(plate)
    cut = replace(whole, grid=Grid((35, 60, 60), whole.grid.affine), labels=whole.labels[:35],
                  reconstructed=np.ones((35, 60, 60), np.bool_))
    edge = float(to_world(cut.grid, np.array([0.0, 0.0, 34.5]))[2])
    wanted = np.array([0.0, -4.0, edge])
    assert touched(cut, wanted, ContactRule(3.5, wanted, 7.5)) is None
