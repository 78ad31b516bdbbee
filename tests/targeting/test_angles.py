"""Directions, angles and the words of a pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.geometry import Side, VertebralFrame, unit
from segmentation.anatomy import LandmarkName
from targeting.angles import direction_from_angles, direction_grid, make_pose, midline_x, oblique_tilt
from targeting.procedures import load_procedure
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine, rotation_about

ALIGNED = VertebralFrame.from_axes(np.zeros(3), (0, 1, 0), (0, 0, 1))


@pytest.mark.parametrize(("side", "oblique", "tilt", "u"), [
    (Side.LEFT, 0, 0, (0, -1, 0)),
    (Side.LEFT, 20, 0, (-0.342, -0.940, 0)),
    (Side.RIGHT, 20, 0, (0.342, -0.940, 0)),
    (Side.LEFT, 20, -42, (-0.2542, -0.6983, 0.6691)),
    (Side.LEFT, 10, -50, (-0.1116, -0.6330, 0.7660)),
    (Side.LEFT, 0, 25, (0, -0.9063, -0.4226)),
])
def test_directions_of_the_specification(side: Side, oblique: float, tilt: float, u: tuple[float, ...]) -> None:
    assert direction_from_angles(ALIGNED, side, oblique, tilt) == pytest.approx(np.array(u), abs=5e-4)


@pytest.mark.parametrize("side", Side)
def test_angles_and_directions_are_inverse_in_a_turned_frame(side: Side) -> None:
    turn = rotation_about(np.array([0.3, 1.0, -0.2]), 33.0)
    frame = VertebralFrame.from_axes(np.zeros(3), turn @ [0, 1, 0], turn @ [0, 0, 1])
    for oblique, tilt in ((-5.0, 20.0), (35.0, -60.0), (0.0, 0.0)):
        u = direction_from_angles(frame, side, oblique, tilt)
        assert frame.oblique_tilt(u, side) == pytest.approx((oblique, tilt), abs=1e-9)
        both = oblique_tilt(frame, side, u[None])
        assert (both[0][0], both[1][0]) == pytest.approx((oblique, tilt), abs=1e-9)


def test_the_grid_covers_the_band_in_the_carriers_frame() -> None:
    procedure = load_procedure("lumbar-medial-branch-rf")
    target = make_targets(lumbar_spine(), procedure).targets[0]
    grid, band = direction_grid(target, procedure, 2.0), procedure.band(target.nerve)
    oblique, tilt = oblique_tilt(target.carrier.frame, target.side, grid.directions)
    assert oblique == pytest.approx(grid.oblique, abs=1e-6)
    assert tilt == pytest.approx(grid.tilt, abs=1e-6)
    assert (oblique.min(), oblique.max()) == pytest.approx((band.oblique_limit.low, band.oblique_limit.high))
    assert (tilt.min(), tilt.max()) == pytest.approx((band.tilt_limit.low, band.tilt_limit.high))


def test_the_midline_runs_through_the_spinous_tips() -> None:
    spine = lumbar_spine()
    tip = spine.vertebra("L4").landmarks[LandmarkName.SPINOUS_TIP].position
    assert midline_x(spine, tip[2]) == pytest.approx(tip[0])
    bare = replace(spine, vertebrae=tuple(replace(v, landmarks={}) for v in spine.vertebrae))
    assert midline_x(bare, 0.0) is None


@pytest.mark.parametrize("side", Side)
def test_entry_offsets_point_to_the_targets_side_and_head(side: Side) -> None:
    spine, procedure = lumbar_spine(), load_procedure("lumbar-medial-branch-block")
    target = make_targets(spine, procedure, sides=[side]).targets[1]
    u = direction_from_angles(target.carrier.frame, side, 20.0, 10.0)
    entry = target.position - 70.0 * u
    pose = make_pose(spine, target, procedure.stock[1], target.position, u, entry)
    assert pose.entry_from_midline_mm > 20
    assert pose.entry_above_target_mm == pytest.approx(entry[2] - target.position[2])
    assert pose.length_mm == pytest.approx(70.0)
    assert (pose.oblique_deg, pose.tilt_deg) == pytest.approx((20.0, 10.0))
    assert np.sign(pose.carm.rotation_deg) == side.sign
    blind = make_pose(spine, target, procedure.stock[1], target.position, unit(u), None)
    assert (blind.entry, blind.length_mm, blind.entry_from_midline_mm) == (None, None, None)
