"""Sacral foramina: where the phantom has them, on label maps of patients, mirrored, hidden, and cut away."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from imaging.files import read_image_file
from imaging.geometry import Side, to_index, to_world
from imaging.volume import Grid, Volume
from sample_data.girdle import foramen_axis
from sample_data.phantom import Phantom
from segmentation.anatomy import LandmarkName, StructureName
from segmentation.assemble import build_spine
from segmentation.frames import FrameFit
from segmentation.labels import import_labels
from segmentation.landmarks.cortex import Cortex
from segmentation.sacral_chain import SEGMENTS
from segmentation.sacral_foramina import SacralForamina, find_sacral_foramina
from segmentation.sacral_frame import sacral_frame
from segmentation.sacral_openings import opened
from segmentation.shape import bone_field
from segmentation.spine import Spine, StructureOrigin

SACRUM = 26
ALL = list(product(SEGMENTS, Side))


def _fit(mask: np.ndarray, grid: Grid) -> FrameFit:
    fit = sacral_frame(mask, grid)
    assert fit.frame is not None
    return fit


def _closed(phantom: Phantom, grid: Grid) -> np.ndarray:
    """The sacrum as an engine may draw it: the tunnels filled, and what is left of their mouths smoothed over."""
    origin, *axes = (np.asarray(part) for part in phantom.frames["S1"])
    k, j, i = np.indices(phantom.labels.shape)
    world = to_world(grid, np.stack([i, j, k], axis=-1).astype(float))
    mask = ndimage.binary_closing(np.pad(phantom.labels == SACRUM, 8), iterations=7)[8:-8, 8:-8, 8:-8]
    for segment, side in ALL:
        front, back = (np.array(end) @ np.stack(axes) + origin for end in foramen_axis(segment, side.value.lower()))
        length = np.linalg.norm(back - front)
        along = (world - front) @ (back - front) / length
        off = np.linalg.norm(world - front - along[..., None] * (back - front) / length, axis=-1)
        mask |= (off < 9.0) & (along > 0) & (along < length)
    return mask


@pytest.fixture(scope="module")
def found(phantom: Phantom, phantom_grid: Grid, phantom_volume: Volume) -> SacralForamina:
    return find_sacral_foramina(_fit(phantom.labels == SACRUM, phantom_grid), Cortex(phantom_volume))


def _off_axis(phantom: Phantom, segment: str, side: Side, point: np.ndarray) -> float:
    """mm between a point and the true axis of a tunnel."""
    origin, *axes = (np.asarray(part) for part in phantom.frames["S1"])
    front, back = (np.array(end) @ np.stack(axes) + origin for end in foramen_axis(segment, side.value.lower()))
    along = (back - front) / np.linalg.norm(back - front)
    away = point - front
    return float(np.linalg.norm(away - (away @ along) * along))


def test_every_opening_lies_on_the_true_tunnel_and_on_its_own_side(found: SacralForamina, phantom: Phantom) -> None:
    assert not found.missing
    assert {(f.segment, f.side) for f in found.found} == set(ALL)
    for foramen in found.found:
        assert _off_axis(phantom, foramen.segment, foramen.side, foramen.posterior.position) < 3.0
        assert foramen.anterior is not None
        assert _off_axis(phantom, foramen.segment, foramen.side, foramen.anterior.position) < 3.5
        behind, ahead = (found.frame.to_side(m.position, foramen.side) for m in (foramen.posterior, foramen.anterior))
        assert behind[0] > 5.0
        assert behind[1] > ahead[1] + 8.0
        assert np.linalg.eigvalsh(foramen.posterior.covariance).min() > 1.0


def test_the_tunnels_hold_the_true_axes_and_no_bone(found: SacralForamina, phantom: Phantom,
                                                    phantom_grid: Grid) -> None:
    tunnels = found.on_grid(found.tunnels, phantom_grid)
    # the scan's edge is half a voxel off the mask's at most places
    inner = ndimage.binary_erosion(phantom.labels == SACRUM)
    assert (tunnels & inner).sum() < 0.02 * tunnels.sum()
    for foramen in found.found:
        assert foramen.anterior is not None
        way = foramen.posterior.position + np.linspace(0.1, 0.9, 40)[:, None] * (
            foramen.anterior.position - foramen.posterior.position)
        k = np.rint(to_index(phantom_grid, way)).astype(int)
        assert tunnels[k[:, 2], k[:, 1], k[:, 0]].mean() > 0.9


def test_a_mask_that_closes_them_hides_them_without_the_scan_and_says_so(
        phantom: Phantom, phantom_grid: Grid, phantom_volume: Volume) -> None:
    mask = phantom.labels == SACRUM
    fit = replace(_fit(mask, phantom_grid), field=bone_field(_closed(phantom, phantom_grid), phantom_grid))
    alone = find_sacral_foramina(fit)
    assert not alone.found
    assert set(alone.missing) == set(ALL)
    assert all("no scan to look in" in why for why in alone.missing.values())
    seen = find_sacral_foramina(fit, Cortex(phantom_volume))
    assert not seen.missing
    for foramen in seen.found:
        assert _off_axis(phantom, foramen.segment, foramen.side, foramen.posterior.position) < 3.0


def test_an_open_mask_shows_them_without_a_scan_and_less_surely(phantom: Phantom, phantom_grid: Grid) -> None:
    alone = find_sacral_foramina(_fit(phantom.labels == SACRUM, phantom_grid))
    assert not alone.missing
    for foramen in alone.found:
        assert _off_axis(phantom, foramen.segment, foramen.side, foramen.posterior.position) < 3.5
        assert foramen.posterior.confidence <= 0.75
        assert any("mask alone" in reason for reason in foramen.posterior.reasons)


def test_the_mirrored_patient_has_mirrored_foramina(found: SacralForamina, phantom: Phantom, phantom_grid: Grid,
                                                    phantom_volume: Volume) -> None:
    flip = np.diag([-1.0, 1.0, 1.0])
    affine = phantom_grid.affine.copy()
    affine[:3, 3] = flip @ (phantom_grid.affine[:3, 3]
                            + phantom_grid.affine[:3, 0] * (phantom.labels.shape[2] - 1))
    grid = Grid(phantom_grid.shape, affine)
    volume = replace(phantom_volume, array=np.ascontiguousarray(phantom_volume.array[:, :, ::-1]), grid=grid)
    other = find_sacral_foramina(_fit(phantom.labels[:, :, ::-1] == SACRUM, grid), Cortex(volume))
    assert not other.missing
    for foramen in found.found:
        twin = other.foramen(foramen.segment, foramen.side.other)
        assert twin is not None
        assert np.linalg.norm(twin.posterior.position - flip @ foramen.posterior.position) < 1.0


def _cut_below(phantom: Phantom, grid: Grid, superior_mm: float) -> int:
    """First row of the scan above a height of the S1 frame at the back of the sacrum."""
    origin, _, posterior, superior = (np.asarray(part) for part in phantom.frames["S1"])
    return int(to_index(grid, origin + 5.0 * posterior + superior_mm * superior)[2])


def test_foramina_below_the_scan_are_missing_with_that_reason(phantom: Phantom, phantom_grid: Grid,
                                                              phantom_volume: Volume) -> None:
    row = _cut_below(phantom, phantom_grid, -52.0)
    affine = phantom_grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * row
    labels = np.ascontiguousarray(phantom.labels[row:])
    grid = Grid(labels.shape, affine)
    volume = replace(phantom_volume, array=np.ascontiguousarray(phantom_volume.array[row:]), grid=grid)
    cut = find_sacral_foramina(_fit(labels == SACRUM, grid), Cortex(volume))
    assert {("S3", Side.LEFT), ("S3", Side.RIGHT)} <= set(cut.missing)
    assert "edge of the scan" in cut.missing["S3", Side.LEFT]
    for side in Side:
        first = cut.foramen("S1", side)
        assert first is not None
        assert _off_axis(phantom, "S1", side, first.posterior.position) < 3.0


def test_a_foramen_filled_with_bone_is_missing_on_that_side_alone(phantom: Phantom, phantom_grid: Grid,
                                                                  phantom_volume: Volume) -> None:
    labels, values = phantom.labels.copy(), phantom_volume.array.copy()
    origin, *axes = (np.asarray(part) for part in phantom.frames["S1"])
    front, back = (np.array(end) @ np.stack(axes) + origin for end in foramen_axis("S2", "left"))
    k, j, i = np.nonzero(_closed(phantom, phantom_grid) & (phantom.labels == 0))
    points = np.column_stack([i, j, k]) @ phantom_grid.affine[:3, :3].T + phantom_grid.affine[:3, 3]
    along = (back - front) / np.linalg.norm(back - front)
    away = points - front
    near = np.linalg.norm(away - (away @ along)[:, None] * along, axis=1) < 9.0
    labels[k[near], j[near], i[near]], values[k[near], j[near], i[near]] = SACRUM, 600
    filled = find_sacral_foramina(_fit(labels == SACRUM, phantom_grid), Cortex(replace(phantom_volume, array=values)))
    assert list(filled.missing) == [("S2", Side.LEFT)]
    assert "no opening in the dorsal cortex" in filled.missing["S2", Side.LEFT]
    right = filled.foramen("S2", Side.RIGHT)
    assert right is not None
    assert any("other side" in reason for reason in right.posterior.reasons)


@pytest.fixture(scope="module")
def spine(phantom: Phantom, phantom_grid: Grid, phantom_volume: Volume) -> Spine:
    return build_spine(import_labels((phantom.labels, phantom_grid), "verse"), phantom_volume)


def test_they_are_landmarks_and_a_structure_of_the_spine(spine: Spine) -> None:
    sacrum = spine.vertebra("S1")
    assert sacrum is not None
    for face, (segment, side) in product(("posterior", "anterior"), ALL):
        assert LandmarkName(f"{face}_foramen_{segment.lower()}_{side.value.lower()}") in sacrum.landmarks
    structure = spine.structures[StructureName.SACRAL_FORAMINA]
    assert structure.origin is StructureOrigin.COMPUTED
    assert structure.mask is not None
    assert structure.mask.any()
    canal = spine.structures[StructureName.CANAL].mask
    assert canal is not None
    assert sacrum.frame is not None
    k, j, i = np.nonzero(canal)
    heights = sacrum.frame.to_local(np.column_stack([i, j, k]) @ spine.grid.affine[:3, :3].T + spine.grid.origin)[:, 2]
    assert heights.min() < -45.0


def test_without_a_sacrum_they_are_not_computed_and_it_says_why(phantom: Phantom, phantom_grid: Grid) -> None:
    labels = np.where(np.isin(phantom.labels, (23, 24)), phantom.labels, 0).astype(np.uint8)
    structure = build_spine(import_labels((labels, phantom_grid), "verse")).structures[StructureName.SACRAL_FORAMINA]
    assert structure.origin is StructureOrigin.NOT_COMPUTED
    assert "no sacrum" in structure.reason


def test_an_engine_s_sacrum_is_opened_and_a_file_s_is_left(found: SacralForamina, phantom: Phantom,
                                                           phantom_grid: Grid) -> None:
    closed = np.where(_closed(phantom, phantom_grid) & (phantom.labels == 0), SACRUM, phantom.labels)
    seg = import_labels((closed.astype(np.uint8), phantom_grid), "verse")
    assert opened(seg, found).labels is seg.labels
    after = opened(replace(seg, engine="builtin"), found).labels
    tunnels = found.on_grid(found.tunnels, phantom_grid)
    assert (closed[tunnels] == SACRUM).any()
    assert not (after[tunnels] == SACRUM).any()
    assert (after[tunnels] == 0).all()


@pytest.mark.data
@pytest.mark.parametrize("case", ["s0004", "s0012", "s0327", "s0328"])
def test_label_maps_of_patients_show_all_six_with_a_free_way_through(data: Path, case: str) -> None:
    seg = import_labels(data / "labels" / f"{case}_totalsegmentator.nii.gz", "totalsegmentator")
    mask = seg.labels == SACRUM
    found = find_sacral_foramina(_fit(mask, seg.grid))
    assert not found.missing
    heights = {side: [] for side in Side}
    for foramen in found.found:
        assert foramen.anterior is not None
        way = foramen.posterior.position + np.linspace(0.0, 1.0, 60)[:, None] * (
            foramen.anterior.position - foramen.posterior.position)
        k = np.rint(to_index(seg.grid, way)).astype(int)
        assert mask[k[:, 2], k[:, 1], k[:, 0]].mean() < 0.35
        heights[foramen.side].append(found.frame.to_local(foramen.posterior.position)[2])
    for side in Side:
        assert (np.diff(heights[side]) < -12.0).all()


@pytest.mark.data
def test_a_coarse_scan_of_a_patient_shows_them_doubtfully(data: Path) -> None:
    volume = read_image_file(data / "ct" / "ts_example.nii.gz")
    volume = getattr(volume, "volume", volume)
    seg = import_labels(data / "labels" / "ts_example_totalsegmentator.nii.gz", "totalsegmentator", volume)
    found = find_sacral_foramina(_fit(seg.labels == SACRUM, seg.grid), Cortex(volume))
    for foramen in found.found:
        assert foramen.posterior.confidence < 0.9
        assert any("voxels of 3.0 mm" in reason for reason in foramen.posterior.reasons)
    assert {(f.segment, f.side) for f in found.found} | set(found.missing) == set(ALL)
