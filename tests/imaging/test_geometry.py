"""The geometry module against the clinical specification's table, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from imaging.geometry import (
    CArmAngles,
    Side,
    VertebralFrame,
    canonical_axes,
    carm_angles,
    carm_tilt,
    carm_words,
    ct_angles,
    dicom_positioner_angles,
    direction_from_carm,
    direction_from_projected,
    isotropic_grid,
    lps_to_ras,
    ras_to_lps,
    to_index,
    to_world,
    unit,
)
from imaging.volume import Grid

finite = st.floats(-300, 300, allow_nan=False)
quaternion = st.tuples(*[st.floats(-1, 1) for _ in range(4)]).filter(lambda q: np.linalg.norm(q) > 0.1)

TABLE = [
    (0, 0, (0, -1, 0), 180, 0),
    (20, 0, (-0.342, -0.940, 0), 160, 0),
    (-20, 0, (0.342, -0.940, 0), -160, 0),
    (20, -42, (-0.2542, -0.6983, 0.6691), 160, -42),
    (10, -50, (-0.1116, -0.6330, 0.7660), 170, -50),
    (0, 25, (0, -0.9063, -0.4226), 180, 25),
]


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Lattices of any orientation, handedness and spacing."""
    affine = np.eye(4)
    rotation = Rotation.from_quat(draw(quaternion)).as_matrix()
    spacing = [draw(st.floats(0.3, 5.0)) for _ in range(3)]
    affine[:3, :3] = rotation * spacing * draw(st.sampled_from([(1, 1, 1), (-1, 1, 1), (1, 1, -1)]))
    affine[:3, 3] = [draw(finite) for _ in range(3)]
    return Grid((draw(st.integers(2, 6)), draw(st.integers(2, 7)), draw(st.integers(2, 8))), affine)


@pytest.mark.parametrize(("theta", "phi", "u", "primary", "secondary"), TABLE)
def test_angles_follow_the_table(
    theta: float, phi: float, u: tuple[float, float, float], primary: float, secondary: float
) -> None:
    assert direction_from_carm(CArmAngles(theta, phi)) == pytest.approx(u, abs=1e-3)
    back = carm_angles(u)
    assert (back.rotation_deg, back.tilt_deg) == pytest.approx((theta, phi), abs=0.1)
    assert dicom_positioner_angles(CArmAngles(theta, phi)) == pytest.approx((primary, secondary))


def test_projected_angles_convert_as_published() -> None:
    """A dry-bone (10, 55) is 14.1 degrees oblique and 54.2 caudal of the needle (clinical specification 1.2)."""
    u = direction_from_projected(10, 55)
    frame = VertebralFrame.from_axes((0, 0, 0), (0, 1, 0), (0, 0, 1))
    world = frame.from_side(u, Side.LEFT) - frame.origin
    oblique, tilt = frame.oblique_tilt(world, Side.LEFT)
    assert oblique == pytest.approx(14.1, abs=0.05)
    assert tilt == pytest.approx(-54.2, abs=0.05)


@pytest.mark.parametrize("side", list(Side))
def test_frame_angles_mirror_with_the_side(side: Side) -> None:
    frame = VertebralFrame.from_axes((1, 2, 3), (0, 1, 0), (0, 0, 1))
    u = direction_from_carm(CArmAngles(20.0 * side.sign, -42.0))
    assert frame.oblique_tilt(u, side) == pytest.approx((20.0, -42.0))


def test_words_name_the_patients_side_first() -> None:
    words = carm_words(CArmAngles(20, -42))
    assert words == "rotate receptor to the patient's LEFT 20 degrees, tilt receptor toward the FEET 42 degrees"
    assert carm_words(CArmAngles(0, 0)) == "no rotation, no tilt"


def test_ct_angles_have_the_stated_signs() -> None:
    hub_left_going_up = unit((-0.5, -1.0, 0.3))
    angles = ct_angles(hub_left_going_up)
    assert angles.in_plane_deg > 0
    assert angles.out_of_plane_deg > 0


@given(quaternion, st.tuples(finite, finite, finite))
def test_frame_round_trip(q: tuple[float, ...], point: tuple[float, ...]) -> None:
    axes = Rotation.from_quat(q).as_matrix()
    frame = VertebralFrame.from_axes(axes[2] * 50, axes[1], axes[0])
    assert frame.from_local(frame.to_local(point)) == pytest.approx(point, abs=1e-8)
    assert frame.from_side(frame.to_side(point, Side.RIGHT), Side.RIGHT) == pytest.approx(point, abs=1e-8)
    assert np.linalg.det(frame.matrix) == pytest.approx(1.0)
    assert frame.lateral(Side.LEFT) == pytest.approx(-frame.lateral(Side.RIGHT))


@given(st.floats(-179, 180), st.floats(-89, 89))
def test_carm_round_trip(theta: float, phi: float) -> None:
    back = carm_angles(direction_from_carm(CArmAngles(theta, phi)))
    assert (back.rotation_deg, back.tilt_deg) == pytest.approx((theta, phi), abs=1e-6)
    assert carm_tilt(direction_from_carm(CArmAngles(theta, phi))) == pytest.approx(phi, abs=1e-6)


@given(grids(), st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=4))
def test_world_index_round_trip(grid: Grid, points: list[tuple[float, float, float]]) -> None:
    assert to_world(grid, to_index(grid, points)) == pytest.approx(np.array(points), abs=1e-6)
    assert ras_to_lps(lps_to_ras(points)) == pytest.approx(np.array(points))


@settings(max_examples=60)
@given(grids())
def test_canonical_axes_keep_every_voxel_in_place(grid: Grid) -> None:
    axes = canonical_axes(grid)
    array = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    turned = axes.apply(array)
    assert turned.shape == axes.grid.shape
    assert (axes.restore(turned) == array).all()
    directions = axes.grid.direction
    assert all(directions[n, n] > 0 for n in range(3))
    for k, j, i in np.ndindex(*turned.shape):
        if (i + j + k) % 5 == 0:
            was = np.argwhere(array == turned[k, j, i])[0][::-1]
            assert to_world(axes.grid, (i, j, k)) == pytest.approx(to_world(grid, was), abs=1e-6)


@given(grids(), st.floats(0.5, 3.0))
def test_isotropic_grid_covers_the_same_box(grid: Grid, spacing: float) -> None:
    fine = isotropic_grid(grid, spacing)
    assert fine.spacing == pytest.approx([spacing] * 3)
    low = to_index(grid, to_world(fine, (-0.5, -0.5, -0.5)))
    assert low == pytest.approx([-0.5] * 3, abs=1e-6)
    high = to_index(grid, to_world(fine, np.array(fine.shape[::-1]) - 0.5))
    assert (high >= np.array(grid.shape[::-1]) - 0.5 - 1e-4).all()


def test_a_grid_refuses_shear_and_nonsense() -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(ValueError, match="orthogonal"):
        Grid((2, 2, 2), sheared)
    with pytest.raises(ValueError, match="finite"):
        Grid((2, 2, 2), np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="zero vector"):
        unit((0, 0, 0))
