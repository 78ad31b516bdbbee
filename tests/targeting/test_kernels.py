"""The numba kernels against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imaging.geometry import to_index, to_world
from imaging.volume import Grid
from targeting.distance import signed_distance
from targeting.follow import find_stop
from targeting.kernels import (
    AIR,
    CELL_MM,
    INSIDE,
    OPEN,
    electrode_along,
    find_contact,
    find_exit,
    floor_of_cells,
    least_slack,
    sample_many,
)
from tests.targeting.builders import rotation_about
from tests.targeting.reference import axis_points, least, sample

Array = NDArray[np.float64]


def _lattice() -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = rotation_about(np.array([1.0, 2.0, 0.5]), 25.0) * np.array([0.9, 1.1, 1.6])
    affine[:3, 3] = (-20.0, 5.0, 11.0)
    return Grid((30, 40, 44), affine)


@pytest.fixture(scope="module")
def world() -> tuple[Grid, NDArray[np.float32], NDArray[np.float32], Array, Array, Array]:
    """A turned lattice with two random fields and random needles inside it."""
    grid, rng = _lattice(), np.random.default_rng(3)
    masks = [rng.random(grid.shape) < 0.0015 for _ in range(2)]
    fields = [signed_distance(m, grid.spacing, 24.0, 6.0) for m in masks]
    index = rng.uniform((8, 8, 6), (36, 32, 24), (60, 3))
    tips = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    directions = rng.normal(size=(60, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    return grid, fields[0], fields[1], tips, directions, rng.uniform(3, 12, 60)


def _inverse(grid: Grid) -> tuple[Array, Array]:
    return np.ascontiguousarray(np.linalg.inv(grid.affine[:3, :3])), np.array(grid.origin)


def test_sampling_is_trilinear(world: tuple) -> None:
    grid, field, _, tips, _, _ = world
    inverse, origin = _inverse(grid)
    assert np.allclose(sample_many(field, inverse, origin, tips), sample(field, grid, tips), atol=1e-5)


def test_least_slack_equals_dense_sampling(world: tuple) -> None:
    grid, combined, bones, tips, directions, lengths = world
    inverse, origin = _inverse(grid)
    slack, slack_at, bone, bone_at = least_slack(combined, bones, floor_of_cells(combined), floor_of_cells(bones),
                                                 inverse, origin, tips, directions, lengths, 3.0)
    for n in range(len(tips)):
        dense = least(combined, grid, tips[n], directions[n], lengths[n], 0.0)
        # steps never exceed what the field allows, except the shortest step of 0.5 mm
        assert dense - 1e-3 <= slack[n] <= dense + 0.26
        assert sample(combined, grid, tips[n] - slack_at[n] * directions[n]) == pytest.approx(slack[n], abs=1e-4)
        dense = least(bones, grid, tips[n], directions[n], lengths[n], 3.0)
        assert dense - 0.06 <= bone[n] <= dense + 0.51
        assert bone_at[n] >= 3.0


def test_the_floor_of_a_cell_is_the_least_of_its_corners(world: tuple) -> None:
    _, field, _, _, _, _ = world
    floors = floor_of_cells(field)
    corners = np.stack([field[k:k - 1 or None, j:j - 1 or None, i:i - 1 or None]
                        for k in (0, 1) for j in (0, 1) for i in (0, 1)]).min(axis=0)
    least = floors.transpose(0, 2, 1) * CELL_MM
    assert (least <= np.maximum(corners, 0) + 1e-5).all()
    assert (least >= np.minimum(corners, 25.5) - CELL_MM - 1e-5).all()


def _held(grid: Grid, s: Array, points: Array) -> tuple[Array, Array]:
    """The places of a shaft that lie on a lattice; beyond it nothing is looked at."""
    index = to_index(grid, points)
    inside = ((index >= 0) & (index < np.array(grid.shape[::-1]) - 1)).all(axis=1)
    return s[inside], points[inside]


def test_a_shaft_is_followed_to_where_it_leaves_the_fields(world: tuple) -> None:
    """Out of every face, alone and in bundles, along a wall there and without one; a tip outside is not followed."""
    grid = world[0]
    inverse, origin = _inverse(grid)
    border = np.ones(grid.shape, np.bool_)
    border[1:-1, 1:-1, 1:-1] = False
    middle = to_world(grid, 0.5 * (np.array(grid.shape[::-1]) - 1))
    ways = np.concatenate([np.eye(3), -np.eye(3)]) @ grid.direction.T
    tips, directions, lengths = np.repeat(middle[None], 24, axis=0), np.repeat(ways, 4, axis=0), np.full(24, 500.0)
    for field, stopped in ((np.full(grid.shape, 9.0, np.float32), False),
                           (signed_distance(border, grid.spacing, 24.0, 6.0), True)):
        cells = floor_of_cells(field)
        stops = find_stop(field, field, cells, inverse, origin, tips, directions, lengths, 3.0, 1.0)
        assert (np.isnan(stops) == (not stopped)).all()
        outside = middle - 400.0 * directions
        assert np.isnan(find_stop(field, field, cells, inverse, origin, outside, directions, lengths, 3.0, 1.0)).all()


@pytest.mark.parametrize("radius", [1.0, 2.0, 3.0])
def test_shafts_are_stopped_where_dense_sampling_finds_too_little_room(world: tuple, radius: float) -> None:
    grid, combined, bones, tips, directions, lengths = world
    inverse, origin = _inverse(grid)
    merged = np.minimum(combined, bones)
    stops = find_stop(merged, combined, floor_of_cells(merged), inverse, origin, tips, directions, 3 * lengths, 3.0,
                      radius)
    seen = [0, 0]
    for n in range(len(tips)):
        s, points = _held(grid, *axis_points(tips[n], directions[n], 3 * lengths[n]))
        dense = np.where(s < 3.0, sample(combined, grid, points), sample(merged, grid, points))
        if np.isnan(stops[n]):
            assert dense.min() >= radius - 0.26  # half the shortest step
        else:
            field = combined if stops[n] < 3.0 else merged
            assert sample(field, grid, tips[n] - stops[n] * directions[n]) < radius + 1e-4
        seen[int(np.isnan(stops[n]))] += 1
    assert min(seen) >= 3


@pytest.mark.parametrize("radius", [0.5, 1.5, 2.5])
def test_shafts_in_bundles_are_judged_as_each_by_itself(world: tuple, radius: float) -> None:
    """Fans of close neighbours: all of a fan in one call, each needle alone, and dense sampling agree."""
    grid, combined, bones, tips, directions, lengths = world
    inverse, origin = _inverse(grid)
    merged, rng = np.minimum(combined, bones), np.random.default_rng(7)
    cells = floor_of_cells(merged)
    fans = np.repeat(tips, 12, axis=0) + rng.normal(0, 0.3, (12 * len(tips), 3))
    ways = np.repeat(directions, 12, axis=0) + rng.normal(0, 0.03, (12 * len(tips), 3))
    ways /= np.linalg.norm(ways, axis=1)[:, None]
    ends = np.repeat(3 * lengths, 12) + rng.uniform(0, 2, 12 * len(tips))
    together = find_stop(merged, combined, cells, inverse, origin, fans, ways, ends, 3.0, radius)
    alone = np.concatenate([find_stop(merged, combined, cells, inverse, origin, fans[n:n + 1], ways[n:n + 1],
                                      ends[n:n + 1], 3.0, radius) for n in range(len(fans))])
    assert 0.05 < np.isnan(together).mean() < 0.95
    for n in range(len(fans)):
        s, points = _held(grid, *axis_points(fans[n], ways[n], ends[n]))
        room = np.where(s < 3.0, sample(combined, grid, points), sample(merged, grid, points)) - radius
        if np.isnan(together[n]) != np.isnan(alone[n]):
            assert -0.26 < room.min() < 0.0  # missed by either within half the shortest step
        elif np.isnan(together[n]):
            assert room.min() >= -0.26
        else:
            assert together[n] == pytest.approx(alone[n], abs=1e-9) or room.min() > -0.26


def test_the_first_contact_is_found(world: tuple) -> None:
    grid, _, bones, tips, directions, _ = world
    inverse, origin = _inverse(grid)
    s, nearest = find_contact(bones, inverse, origin, tips, directions, 6.0, 4.0, 1.5)
    for n in range(len(tips)):
        along = np.arange(6.0, -4.001, -0.05)
        values = sample(bones, grid, tips[n] - along[:, None] * directions[n])
        touched = np.flatnonzero(values <= 1.5)
        if np.isnan(s[n]):
            assert not len(touched) or values.min() > 1.2
            assert nearest[n] >= values.min() - 1e-3
        else:
            assert len(touched) or values.min() < 1.55
            assert sample(bones, grid, tips[n] - s[n] * directions[n]) == pytest.approx(1.5, abs=0.12) or s[n] == 6.0


def test_the_exit_is_the_first_air_and_edges_are_no_skin() -> None:
    grid = Grid((40, 40, 60), np.eye(4))
    state = np.full(grid.shape, AIR, np.uint8)
    state[:, :, 10:40] = INSIDE
    state[:20, :, 43:] = OPEN
    tips = np.array([[20.0, 20, 30], [20.0, 20, 10], [20.0, 20, 30]])
    directions = np.array([[-1.0, 0, 0], [-1.0, 0, 0], [1.0, 0, 0]])
    s, how = find_exit(state, np.eye(3), np.zeros(3), tips, directions, 200.0)
    assert s == pytest.approx([19.5, 19.5, 10.5], abs=0.06)
    assert how.tolist() == [AIR, OPEN, AIR]
    s, how = find_exit(state, np.eye(3), np.zeros(3), tips[:1], directions[:1], 5.0)
    assert how.tolist() == [INSIDE]
    up = np.array([[0.0, 0.0, -1.0]])
    assert find_exit(state, np.eye(3), np.zeros(3), tips[:1], up, 200.0)[1].tolist() == [OPEN]


def test_electrodes_are_measured_as_by_hand(world: tuple) -> None:
    grid, bones, foramen, tips, directions, _ = world
    inverse, origin = _inverse(grid)
    rng = np.random.default_rng(5)
    nerve = np.cumsum(rng.normal(0, 0.2, (80, 3)), axis=0) + tips.mean(axis=0)
    wanted = np.arange(80) % 3 > 0
    reach = np.array([[0.0, 3.1, 5.6], [5.0, 5.6, 8.2], [10.0, 3.1, 5.6]])
    out = electrode_along(bones, foramen, inverse, origin, tips, directions, reach, nerve, wanted, 0.25, 10.0, 11.0,
                          3.0, 1.0, 1.6, -np.inf, np.inf)
    near, gap = float(np.median(out[:, 0])), float(np.median(out[:, 1])) + 1.0
    some = electrode_along(bones, foramen, inverse, origin, tips, directions, reach, nerve, wanted, 0.25, 10.0, 11.0,
                           3.0, 1.0, 1.6, near, gap)
    kept = (out[:, 0] >= near) & (out[:, 1] <= gap)
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(some[:, :2], out[:, :2])
    np.testing.assert_array_equal(some[kept], out[kept])
    assert np.isnan(some[~kept, 2:]).all()
    for n in range(len(tips)):
        s = np.arange(0.0, 11.01, 0.5)
        b = sample(bones, grid, tips[n] - s[:, None] * directions[n])
        assert out[n, 0] == pytest.approx(b.min(), abs=1e-4)
        assert out[n, 1] == pytest.approx(b[0], abs=1e-4)
        assert out[n, 2] == pytest.approx((b[s <= 10.0] <= 1.6).mean(), abs=0.05)
        f = sample(foramen, grid, tips[n] - reach[:, :1] * directions[n])
        assert out[n, 3] == pytest.approx((f - reach[:, 1]).min(), abs=1e-4)
        assert out[n, 4] == pytest.approx((f - reach[:, 2]).min(), abs=1e-4)
        _, axis = axis_points(tips[n], directions[n], 10.0, 0.01)
        gaps = np.linalg.norm(nerve[:, None] - axis[None], axis=2).min(axis=1)
        assert out[n, 5] == pytest.approx(gaps.min(), abs=1e-3)
        back = (tips[n] - nerve) @ directions[n]
        caught = wanted & (gaps <= 3.0) & (back >= -1.0) & (back <= 11.0)
        assert out[n, 6] == pytest.approx(0.25 * caught.sum(), abs=0.26)
