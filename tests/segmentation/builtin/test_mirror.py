"""Left and right are treated alike: the mirror image of a patient gets the mirror image of the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.volume import Grid, Volume
from sample_data.phantom import Phantom
from segmentation.builtin import BuiltinEngine
from segmentation.builtin.lattice import Cube, box_of
from segmentation.builtin.models import OnnxNets


@pytest.fixture(scope="module")
def nets() -> OnnxNets:
    return OnnxNets()


@pytest.mark.parametrize("width", [53, 54, 55])
def test_lattice_is_centred(width: int) -> None:
    grid = Grid((40, 50, width), np.diag([0.9, 0.9, 1.5, 1.0]))
    cube = Cube.over(box_of(grid), 1.5)
    ends = cube.to_box([[0, 0, 0], np.array(cube.shape) - 1])
    assert ends.sum(axis=0) == pytest.approx(cube.box.size)
    part = Cube.over(cube.box, 1.5, [6.0, 6.0, 10.0], [20.0, 20.0, 25.0])
    other = Cube.over(cube.box, 1.5, [6.0, 6.0, cube.box.size[2] - 25.0], [20.0, 20.0, cube.box.size[2] - 10.0])
    assert part.shape == other.shape
    assert part.corner[2] + other.corner[2] + 1.5 * part.shape[2] == pytest.approx(cube.box.size[2])
    assert cube.to_index(part.to_box([0, 0, 0])) == pytest.approx(np.round(cube.to_index(part.to_box([0, 0, 0]))))


def test_nets_answer_alike(nets: OnnxNets) -> None:
    rng = np.random.default_rng(5)
    image = rng.normal(0.0, 1.0, (88, 70, 91)).astype(np.float32)
    wanted = np.zeros(image.shape, bool)
    wanted[10:80, 10:60, 8:80] = True
    answer = nets.localise(image, wanted)
    mirrored = nets.localise(image[..., ::-1], wanted[..., ::-1])
    assert np.allclose(answer, mirrored[..., ::-1], atol=1e-5)
    assert np.abs(answer - answer[..., ::-1]).max() > 0.05, "the image itself has two sides"


def test_instance_is_mirrored_about_its_anchor(nets: OnnxNets) -> None:
    rng = np.random.default_rng(6)
    wide = rng.normal(0.0, 1.0, (64, 64, 65)).astype(np.float32)
    heat = np.exp(-(np.arange(64) - 32.0) ** 2 / 50.0) * np.ones((64, 64, 64), np.float32)
    answer, other = (nets.instance(np.stack([a[..., :64], heat.astype(np.float32)])) for a in (wide, wide[..., ::-1]))
    assert np.allclose(answer[..., 1:], other[..., :0:-1], atol=1e-5)
    assert (answer[0, ..., 0] == 1).all()


def test_mirrored_patient_gets_mirrored_labels(phantom: Phantom, phantom_volume: Volume) -> None:
    """Three vertebrae of the phantom, off the middle of an odd field of view."""
    rows = np.flatnonzero(np.isin(phantom.labels, (21, 22, 23)).any(axis=(1, 2)))
    array = np.ascontiguousarray(phantom_volume.array[rows[0]: rows[-1] + 1, :, 20:-35])
    volume = replace(phantom_volume, array=array, grid=Grid(array.shape, phantom_volume.grid.affine))
    mirrored = replace(volume, array=np.ascontiguousarray(array[:, :, ::-1]))
    one, other = (BuiltinEngine().segment(v, lambda stage, done: None) for v in (volume, mirrored))
    assert len(one.levels) >= 3
    assert one.levels == other.levels
    assert (one.labels != other.labels[:, :, ::-1]).mean() < 1e-4 * (one.labels > 0).mean()
    for name, structure in one.structures.items():
        assert (structure.mask is None) == (other.structures[name].mask is None)
        if structure.mask is not None:
            twin = other.structures[name].mask
            assert twin is not None
            assert (structure.mask != twin[:, :, ::-1]).sum() <= 1e-3 * structure.mask.sum()
