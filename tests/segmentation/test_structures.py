"""Structures told from Hounsfield units, and the completion of arches that an engine cut short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.geometry import Side, VertebralFrame
from imaging.volume import Grid, Volume
from sample_data.phantom import Phantom
from segmentation.anatomy import LandmarkName, StructureName
from segmentation.assemble import build_spine
from segmentation.foramina import RootModel, roots_mask
from segmentation.labels import import_labels
from segmentation.landmarks import SideAnatomy
from segmentation.spine import StructureOrigin
from segmentation.structures import air_structures, complete, metal_structure


@pytest.fixture(scope="module")
def trunk() -> tuple[Volume, np.ndarray]:
    """A box of soft tissue in air with two lungs on top, a pocket of gas below and a screw."""
    hu = np.full((60, 60, 80), -1000, dtype=np.int16)
    body = np.zeros(hu.shape, dtype=bool)
    body[:, 5:55, 5:75] = True
    hu[body] = 40
    hu[35:58, 15:45, 12:34] = -800
    hu[35:58, 15:45, 46:68] = -820
    hu[10:14, 15:19, 30:36] = -990
    hu[20:23, 30:33, 40:43] = 3000
    hu[2, 30, 40] = 3000
    return Volume(hu, Grid(hu.shape, np.diag([3.0, 3.0, 3.0, 1.0]))), body


def test_lungs_and_gas_are_told_apart(trunk: tuple[Volume, np.ndarray]) -> None:
    volume, body = trunk
    found = air_structures(volume, body, None)
    lungs, gas = found[StructureName.LUNGS].mask, found[StructureName.BOWEL_GAS].mask
    assert lungs is not None
    assert gas is not None
    assert lungs.sum() == pytest.approx(2 * 23 * 30 * 22, rel=0.05)
    assert gas[10:14, 15:19, 30:36].all()
    assert gas.sum() == 4 * 4 * 6


def test_metal_is_found_and_single_voxels_are_not(trunk: tuple[Volume, np.ndarray]) -> None:
    mask = metal_structure(trunk[0]).mask
    assert mask is not None
    assert mask.sum() == 27


def test_without_an_image_nothing_is_told_from_it() -> None:
    assert metal_structure(None).origin is StructureOrigin.NOT_COMPUTED
    for structure in air_structures(None, None, None).values():
        assert structure.mask is None
        assert structure.reason


def test_stored_values_are_scaled(trunk: tuple[Volume, np.ndarray]) -> None:
    volume, _ = trunk
    other = Volume((volume.array.astype(np.int16) + 1000) // 2, volume.grid, slope=2.0, intercept=-1000.0)
    one, two = metal_structure(volume).mask, metal_structure(other).mask
    assert one is not None
    assert two is not None
    assert (one == two).all()


def test_every_structure_has_an_entry() -> None:
    entries = complete({}, {})
    assert set(entries) == set(StructureName)
    assert all(entry.reason for entry in entries.values())


def test_an_arch_cut_short_grows_back_into_the_bone(phantom: Phantom, phantom_volume: Volume) -> None:
    labels = np.where(np.isin(phantom.labels, (21, 22, 23)), phantom.labels, 0)
    columns = np.nonzero(labels == 22)[2]
    middle = columns.mean()
    spoiled = labels.copy()
    far = (labels == 22) & (np.abs(np.arange(labels.shape[2]) - middle) * 1.5 > 33.0)
    spoiled[far] = 0
    seg = replace(import_labels((labels, phantom_volume.grid), "verse"), labels=spoiled, engine="some engine")
    spine = build_spine(seg, phantom_volume)
    assert (spine.labels[far] == 22).mean() > 0.5
    assert ((spine.labels == 22) & (phantom.labels != 22)).sum() < 0.06 * len(columns)
    vertebra = spine.vertebra("L3")
    assert vertebra is not None
    for side in ("left", "right"):
        found = vertebra.landmarks[LandmarkName(f"sap_tp_junction_{side}")].position
        assert np.linalg.norm(found - phantom.landmarks["L3"][f"sap_tp_junction_{side}"]) < 2.5


def test_labels_from_a_file_are_left_as_they_are(phantom: Phantom, phantom_volume: Volume) -> None:
    labels = np.where(phantom.labels == 22, phantom.labels, 0)
    seg = import_labels((labels, phantom_volume.grid), "verse")
    assert (build_spine(seg, phantom_volume).labels == seg.labels).all()


def test_the_wall_of_the_foramen_holds_at_the_neck_and_not_above_it() -> None:
    """A nerve under its pedicle, far above the neck of the process below, stays whole."""
    grid = Grid((60, 60, 60), np.diag([1.0, 1.0, 1.0, 1.0]))
    frame = VertebralFrame(np.array([30.0, 30.0, 10.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]),
                           np.array([0, 0, 1.0]))
    ventral = np.array([0.0, 0.0, 5.0])
    wall = SideAnatomy(Side.LEFT, frame, ventral, ventral, None, 1.0, ())
    for height, kept in ((35.0, True), (15.0, False)):
        path = np.column_stack([np.linspace(20.0, 40.0, 41), np.full(41, 36.0), np.full(41, height)])
        root = RootModel("L4", Side.LEFT, path, np.full(41, 2.0))
        assert roots_mask([root], [wall], grid, np.zeros(grid.shape, np.uint8)).any() == kept
