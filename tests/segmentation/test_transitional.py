"""What masks do to bones, and landmarks must withstand: joined processes, filled joints, leaks into the bone above."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.geometry import Side, VertebralFrame, to_world
from imaging.volume import Grid
from sample_data.phantom import Phantom
from segmentation import frames
from segmentation.anatomy import LandmarkName
from segmentation.frames import FrameFit, vertebral_frame
from segmentation.landmarks import BoneLandmarks, find_presacral
from segmentation.landmarks.measure import arch_block, measure_presacral
from segmentation.landmarks.processes import articular_front
from segmentation.sacral_frame import sacral_frame
from segmentation.shape import FrameBlock

T12, L3, L5, S1 = 19, 22, 24, 26


def truth_frame(phantom: Phantom, level: str) -> VertebralFrame:
    origin, left, posterior, superior = phantom.frames[level]
    return VertebralFrame(np.asarray(origin), np.asarray(left), np.asarray(posterior), np.asarray(superior))


def local_voxels(phantom: Phantom, grid: Grid, level: str) -> np.ndarray:
    """(z, y, x, 3) mm: every voxel's place along the true frame of a level."""
    k, j, i = np.indices(phantom.labels.shape)
    return truth_frame(phantom, level).to_local(to_world(grid, np.stack([i, j, k], axis=-1).astype(float)))


def box(local: np.ndarray, low: tuple[float, float, float], high: tuple[float, float, float]) -> np.ndarray:
    return np.all((local >= low) & (local <= high), axis=-1)


@pytest.fixture(scope="module")
def l3(phantom: Phantom, phantom_grid: Grid) -> FrameFit:
    return vertebral_frame(phantom.labels == L3, phantom_grid)


def test_a_side_wall_that_is_not_there_does_not_turn_the_frame(phantom: Phantom, phantom_grid: Grid,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a transverse process is joined to the ala: the ray to the left meets bone long after the body's side."""
    walls = frames._walls

    def joined(block: FrameBlock, half: np.ndarray) -> frames._Walls:
        seen = walls(block, half)
        return replace(seen, left=seen.left + 11.0)

    monkeypatch.setattr(frames, "_walls", joined)
    fit = vertebral_frame(phantom.labels == L5, phantom_grid)
    assert fit.frame is not None
    assert np.degrees(np.arccos(fit.frame.left @ truth_frame(phantom, "L5").left)) < 4.0


def block_of(solid: np.ndarray, lateral: np.ndarray, posterior: np.ndarray, superior: np.ndarray) -> FrameBlock:
    frame = VertebralFrame(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 1.0]))
    return FrameBlock(frame, lateral, posterior, superior, np.where(solid, -1.0, 1.0).astype(np.float32))


@pytest.mark.parametrize("depth", [8.0, 12.0])
def test_the_front_of_the_articular_process_is_told_from_the_pedicle(depth: float) -> None:
    axis = np.arange(-20.0, 40.0, 0.5)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    shelf = (x > 5) & (x < 35) & (y > -12) & (y < 14) & (z < 10)
    column = (x > 14) & (x < 22) & (y > 6) & (y < 6 + depth) & (z < 10 + depth)
    front = articular_front(block_of(shelf | column, axis, axis, axis), np.array([18.0, 6 + depth / 2, 10 + depth]))
    assert front == pytest.approx(6.0, abs=0.5)


def test_a_junction_is_never_ahead_of_the_articular_process(phantom: Phantom, phantom_grid: Grid, l3: FrameFit) -> None:
    local = local_voxels(phantom, phantom_grid, "L3")
    shelf = box(local, (20.0, -8.0, -6.0), (40.0, 9.0, 9.0))
    wide = vertebral_frame((phantom.labels == L3) | shelf, phantom_grid)
    measured = measure_presacral(wide, arch_block(wide)).sides[Side.LEFT]
    plain = measure_presacral(l3, arch_block(l3)).sides[Side.LEFT]
    assert measured.junction is not None
    assert plain.articular_tip is not None
    front = articular_front(arch_block(l3), plain.articular_tip)
    assert front is not None
    assert measured.junction.point[1] > front - 2.5


def test_a_filled_joint_does_not_draw_the_articular_tip_backward(phantom: Phantom, phantom_grid: Grid,
                                                                 l3: FrameFit) -> None:
    tip = phantom.landmarks["L3"]["sap_tip_left"]
    x, y, z = truth_frame(phantom, "L3").to_local(tip)
    behind = box(local_voxels(phantom, phantom_grid, "L3"), (x - 6, y, z - 10), (x + 4, y + 12, z))
    filled = vertebral_frame((phantom.labels == L3) | behind, phantom_grid)
    assert filled.frame is not None
    found = measure_presacral(filled, arch_block(filled)).sides[Side.LEFT].articular_tip
    assert found is not None
    assert np.linalg.norm(filled.frame.from_side(found, Side.LEFT) - tip) < 2.0


@pytest.fixture(scope="module")
def leaking(phantom: Phantom, phantom_grid: Grid) -> BoneLandmarks:
    """T12 whose mask runs on into the articular process above on the left."""
    x, y, z = truth_frame(phantom, "T12").to_local(phantom.landmarks["T12"]["sap_tip_left"])
    leak = box(local_voxels(phantom, phantom_grid, "T12"), (x - 3, y + 2, z - 8), (x + 3, y + 8, z + 8))
    return find_presacral(vertebral_frame((phantom.labels == T12) | leak, phantom_grid), "T12", True)


def test_a_mask_that_leaks_upward_does_not_carry_a_thoracic_tip_away(phantom: Phantom, leaking: BoneLandmarks) -> None:
    found = leaking.landmarks[LandmarkName.SAP_TIP_LEFT]
    assert np.linalg.norm(found.position - phantom.landmarks["T12"]["sap_tip_left"]) < 2.0


def test_a_thoracic_articular_tip_is_doubted(leaking: BoneLandmarks) -> None:
    for name in (LandmarkName.SAP_TIP_LEFT, LandmarkName.SAP_TIP_RIGHT):
        assert leaking.landmarks[name].confidence < 0.8
        assert leaking.landmarks[name].reasons


def test_a_cleft_medial_of_the_mamillary_process_is_not_the_notch(phantom: Phantom, phantom_grid: Grid) -> None:
    truth = phantom.landmarks["L5"]["mamillo_accessory_notch_left"]
    fit = vertebral_frame(phantom.labels == L5, phantom_grid)
    assert fit.frame is not None
    neck = measure_presacral(fit, arch_block(fit)).sides[Side.LEFT].neck
    assert neck is not None
    assert neck.notch is not None
    assert np.linalg.norm(fit.frame.from_side(neck.notch, Side.LEFT) - truth) < 3.5


def test_bone_bridging_the_disc_behind_does_not_tip_the_sacrum(phantom: Phantom, phantom_grid: Grid) -> None:
    above = vertebral_frame(phantom.labels == L5, phantom_grid)
    clean = sacral_frame(phantom.labels == S1, phantom_grid, above)
    assert clean.frame is not None
    under = np.cumsum(phantom.labels == L5, axis=0) == 0  # nothing of L5 below: the disc and what lies under it
    bridge = under & box(local_voxels(phantom, phantom_grid, "S1"), (-16, -14, 0), (16, 0, 40))
    assert (bridge & (phantom.labels != S1)).sum() > 200
    bridged = sacral_frame((phantom.labels == S1) | bridge, phantom_grid, above)
    assert bridged.frame is not None
    assert np.degrees(np.arccos(clean.frame.superior @ bridged.frame.superior)) < 5.0


def test_a_sacrum_that_leans_too_far_from_the_vertebra_above_is_doubted(phantom: Phantom, phantom_grid: Grid) -> None:
    above = vertebral_frame(phantom.labels == L5, phantom_grid)
    frame = above.frame
    assert frame is not None
    a = np.radians(35.0)
    backward = VertebralFrame.from_axes(frame.origin, np.cos(a) * frame.posterior - np.sin(a) * frame.superior,
                                        np.cos(a) * frame.superior + np.sin(a) * frame.posterior)
    assert sacral_frame(phantom.labels == S1, phantom_grid, above).reasons == ()
    doubted = sacral_frame(phantom.labels == S1, phantom_grid, replace(above, frame=backward))
    assert any("from that of the vertebra above" in said for said in doubted.reasons)
