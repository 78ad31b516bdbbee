"""The border between two bones lies in the dark gap between them, wherever the net put it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from imaging.volume import Grid, Volume
from segmentation.builtin.gaps import parted_at_gaps, walked
from segmentation.builtin.instances import PATCH, SPACING_MM, Chain, Instance
from segmentation.builtin.lattice import Cube, FloatArray, box_of

GAP, BORDER = 20, 25
SHAPE = (40, 12, 12)


def two_bones(gap_hu: float, border: int = BORDER, scale: float = 1.0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A rod of bone along z with a gap at 20; the net puts its border elsewhere, unsure from there to the gap."""
    hu = np.full(SHAPE, 700.0 * scale, np.float32)
    hu[GAP] = gap_hu
    share = np.zeros(SHAPE, np.float32)
    share[:GAP] = 0.98
    share[GAP: border] = 0.65
    share[border:] = 0.02
    both = np.full(SHAPE, 0.95, np.float32)
    return share * both, (1.0 - share) * both, hu


def length(this: FloatArray) -> NDArray[np.int64]:
    """(y, x): voxels along z that are this bone's."""
    return np.asarray((this > 0.475).sum(axis=0))


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.8])
def test_border_moves_to_the_gap_whatever_the_brightness(scale: float) -> None:
    this, other, hu = two_bones(150.0 * scale, scale=scale)
    after = walked(this, other, hu)
    assert (length(this) == BORDER).all()
    assert ((length(after) >= GAP) & (length(after) <= GAP + 1)).all()


def test_without_a_gap_the_nets_border_stays() -> None:
    this, other, hu = two_bones(700.0, border=GAP)
    assert (length(walked(this, other, hu)) == GAP).all()


def test_a_gap_inside_one_bone_does_not_split_it() -> None:
    """A vein or a cyst where the net is sure."""
    this, other, hu = two_bones(700.0, border=GAP)
    hu[8] = 50.0
    assert (length(walked(this, other, hu)) == GAP).all()


def test_bone_stays_bone_and_both_sides_agree() -> None:
    this, other, hu = two_bones(150.0)
    mine, yours = walked(this, other, hu), walked(other, this, hu)
    assert np.allclose(mine + yours, this + other, atol=0.01)
    assert np.allclose(walked(this[::-1], other[::-1], hu[::-1])[::-1], mine, atol=1e-3)


def test_no_bone_no_change() -> None:
    this = np.full(SHAPE, 0.1, np.float32)
    assert np.array_equal(walked(this, this, np.zeros(SHAPE, np.float32)), this)


class _Finder:
    """The part of an instance finder that gives a patch's image."""

    def __init__(self, cube: Cube, hu: FloatArray) -> None:
        self.cube, self._hu = cube, hu

    def hu_of(self, found: Instance) -> FloatArray:
        return self._hu


@pytest.mark.parametrize(("voxel", "neighbour", "moved"), [(1.5, True, True), (3.0, True, False), (1.5, False, False)])
def test_thick_slices_and_the_sacrum_are_left_alone(voxel: float, neighbour: bool, moved: bool) -> None:
    this, other, hu = (np.zeros(PATCH, np.float32) for _ in range(3))
    block = tuple(slice(10, 10 + n) for n in SHAPE)
    this[block], other[block], hu[block] = two_bones(150.0)
    count = round(64 * SPACING_MM / voxel)
    box = box_of(Grid((count,) * 3, np.diag([voxel] * 3 + [1.0])))
    cube = Cube(box, SPACING_MM, np.zeros(3), PATCH)
    vertebra = Instance(np.array([48.0, 33.0, 48.0]), cube, this.astype(np.float16), other.astype(np.float16),
                        this > 0.5, 50.0, False, 0.0, 1.0)
    upper = replace(vertebra, this=vertebra.other, other=vertebra.this)
    chain = Chain((vertebra, upper) if neighbour else (vertebra,))
    after = parted_at_gaps(chain, _Finder(cube, hu))  # type: ignore[arg-type]
    changed = bool((np.abs(after.vertebrae[0].this - vertebra.this) > 0.1).any())
    assert changed is moved


def test_an_image_rounded_in_its_file_gets_the_same_lattice() -> None:
    shapes = {Cube.over(box_of(Grid((186, 186, 40), np.diag([2.0 * s, s, s, 1.0]))), 1.5).shape
              for s in (1.0, 1.0 + 2e-8, 1.0 - 2e-8)}
    assert len(shapes) == 1


def test_finder_gives_the_patch_it_asked_about(phantom_volume: Volume) -> None:
    """The image handed to the walker is the one the net saw: same lattice, same voxels."""
    from segmentation.builtin.instances import InstanceFinder
    from segmentation.builtin.lattice import sample

    box = box_of(phantom_volume.grid)
    finder = InstanceFinder.__new__(InstanceFinder)
    finder.cube = Cube.over(box, SPACING_MM)
    finder.hu = sample(phantom_volume, finder.cube)
    corner = finder.cube.corner + np.array([8, 6, 4]) * SPACING_MM
    empty = np.zeros(PATCH, np.float16)
    found = Instance(corner, Cube(box, SPACING_MM, corner, PATCH), empty, empty, empty > 0, 1.0, False, 0.0, 1.0)
    seen = finder.hu_of(found)
    direct = sample(phantom_volume, found.cube)
    inside = tuple(slice(0, min(64, n - s)) for n, s in zip(finder.cube.shape, (8, 6, 4), strict=True))
    assert np.allclose(seen[inside], direct[inside], atol=0.5)
