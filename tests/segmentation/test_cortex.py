"""Surface points moved onto the bone's edge in the image: sub-voxel, bounded, never across a joint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imaging.volume import Grid, Volume
from segmentation.landmarks import Cortex
from segmentation.shape import BoneField, bone_field

EDGE = 20.3


def slab(edge: float = EDGE, bone: float = 700.0, outside: float = 40.0, second_from: float | None = None,
         ) -> tuple[Volume, BoneField]:
    """Bone below `edge` mm along x, blurred by a millimetre of partial volume; the mask ends at `edge` + 0.7 mm."""
    grid = Grid((24, 24, 48), np.eye(4))
    x = np.arange(48, dtype=float)
    profile = outside + (bone - outside) * np.clip(edge + 0.5 - x, 0, 1)
    if second_from is not None:
        profile = np.maximum(profile, outside + (bone - outside) * np.clip(x + 0.5 - second_from, 0, 1))
    volume = Volume(np.broadcast_to(profile, grid.shape).astype(np.int16), grid)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[4:20, 4:20, 6:22] = True
    return volume, bone_field(mask, grid)


@pytest.mark.parametrize("edge", [20.0, 20.3, 20.75, 21.2, 22.0])
def test_a_point_lands_on_the_edge_between_voxels(edge: float) -> None:
    volume, field = slab(edge)
    moved = Cortex(volume).snap(field, np.array([21.5, 12.0, 12.0]))
    assert moved[0] == pytest.approx(edge, abs=0.15)
    assert np.abs(moved[1:] - 12.0).max() < 0.05


def test_an_edge_out_of_reach_leaves_the_point_where_it_is() -> None:
    volume, field = slab(18.5)
    point = np.array([21.5, 12.0, 12.0])
    assert Cortex(volume).shift(field, point) is None
    assert (Cortex(volume).snap(field, point) == point).all()


@pytest.mark.parametrize(("outside", "second"), [(40.0, 22.8), (650.0, None)])
def test_no_move_where_the_outside_is_not_soft(outside: float, second: float | None) -> None:
    volume, field = slab(20.9, outside=outside, second_from=second)
    assert Cortex(volume).shift(field, np.array([21.5, 12.0, 12.0])) is None


def test_stored_values_are_turned_into_hounsfield_units_first() -> None:
    volume, field = slab()
    stored = Volume(((volume.array + 1000) // 2).astype(np.int16), volume.grid, slope=2.0, intercept=-1000.0)
    point = np.array([21.5, 12.0, 12.0])
    assert Cortex(stored).snap(field, point)[0] == pytest.approx(Cortex(volume).snap(field, point)[0], abs=0.05)


def test_in_a_crotch_each_wall_has_its_own_say() -> None:
    grid = Grid((40, 24, 40), np.eye(4))
    x = np.arange(40, dtype=float)
    wall, floor = np.clip(19.7 + 0.5 - x, 0, 1), np.clip(20.4 + 0.5 - x, 0, 1)
    inside = np.maximum(wall[None, None, :], floor[:, None, None]) * np.ones(grid.shape)
    volume = Volume((40 + 660 * inside).astype(np.int16), grid)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[2:38, 4:20, 2:21] = True
    mask[2:21, 4:20, 2:38] = True
    field = bone_field(mask, grid)
    move = Cortex(volume).shift(field, field.to_surface(np.array([20.8, 12.0, 20.8])))
    assert move is not None
    assert move[0] == pytest.approx(-0.8, abs=0.3)
    assert move[2] == pytest.approx(-0.1, abs=0.3)
    assert abs(move[1]) < 0.1


def test_a_turned_patient_turns_the_move() -> None:
    """Nothing may depend on the world's axes: the same voxels under a turned affine give the turned move."""
    volume, field = slab()
    turn = Rotation.from_euler("zxy", [10.0, 8.0, -7.0], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn
    there = Grid(volume.grid.shape, affine @ volume.grid.affine)
    turned, corner = replace(volume, grid=there), np.array([20.9, 18.4, 17.8])
    mask = np.zeros(there.shape, dtype=bool)
    mask[4:20, 4:20, 6:22] = True
    moved = Cortex(turned).snap(bone_field(mask, there), turn @ corner)
    np.testing.assert_allclose(moved, turn @ Cortex(volume).snap(field, corner), atol=1e-6)
    assert np.linalg.norm(Cortex(volume).snap(field, corner) - corner) > 0.1
