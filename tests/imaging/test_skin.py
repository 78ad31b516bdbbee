"""The body's mask, and what of its edge is skin: a synthetic trunk of known shape, and real scans."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from imaging.geometry import canonical_axes, to_world
from imaging.reading import read_input
from imaging.skin import BodyMask, _Scan, body_mask
from imaging.volume import Grid, Volume

SPACING = (2.0, 1.5, 1.5)
SHAPE = (50, 140, 180)


def trunk(table: bool = True, tube: bool = True) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """(z, y, x) HU of an elliptic trunk with lung and gas on a curved table, and the exact body."""
    rng = np.random.default_rng(3)
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    u, v = (x - 135.0) / 100.0, (y - 90.0) / 65.0
    body = u**2 + v**2 <= 1
    hu = np.where(body, 40.0, -1000.0)
    hu[body & (u**2 + v**2 > 0.85)] = -100
    hu[((x - 90) / 30) ** 2 + ((y - 85) / 35) ** 2 <= 1] = -820
    hu[((x - 160) / 12) ** 2 + ((y - 60) / 8) ** 2 <= 1] = -990
    if table:
        depth = y - 160 - 0.001 * (x - 135) ** 2
        hu[(depth > 3) & (depth < 6)] = 150
        hu[(depth > 6) & (depth < 20)] = -930
        hu[(depth > 20) & (depth < 23)] = 150
    if tube:
        hu[(np.abs(x - 135 - 0.3 * (z - 50)) < 3) & (y > 18) & (y < 24)] = 80
    return np.clip(hu + rng.normal(0, 15, hu.shape), -1024, 3000).astype(np.int16), body


def volume_of(array: NDArray[Any], **kwargs: Any) -> Volume:
    affine = np.diag([*SPACING[::-1], 1.0])
    affine[:3, 3] = (-135, -90, -50)
    return Volume(array, Grid(array.shape, affine), **kwargs)  # type: ignore[arg-type]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


def back_point(depth_mm: float = 0.0) -> NDArray[np.float64]:
    """(3,) LPS mm on the trunk's back, in the midline."""
    return np.array([0.0, 65.0 - depth_mm, 0.0])


def test_the_body_is_found_without_table_and_tube() -> None:
    array, truth = trunk()
    found = body_mask(volume_of(array))
    assert dice(found.mask, truth) > 0.985
    assert found.reconstructed.all()
    assert found.skin_visible
    inner = truth.copy()
    inner[:, :, :] &= np.roll(truth, 5, 1) & np.roll(truth, -5, 1) & np.roll(truth, 5, 2) & np.roll(truth, -5, 2)
    assert found.mask[inner].all()
    assert found.at_skin([back_point()])[0]
    assert found.inside([back_point(5), back_point(-5)]).tolist() == [True, False]
    assert found.in_view([back_point(-5), (0, 0, 500)]).tolist() == [True, False]


def circle(array: NDArray[np.int16], radius_mm: float, value: int) -> NDArray[np.int16]:
    """Pad everything outside a reconstruction circle."""
    _, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    return np.where((x - 135) ** 2 + (y - 90) ** 2 <= radius_mm**2, array, value).astype(np.int16)


@pytest.mark.parametrize("padding", [-1024, -2000, -3024, 0])
def test_the_edge_of_the_reconstruction_is_no_skin(padding: int) -> None:
    array, truth = trunk()
    found = body_mask(volume_of(circle(array, 80.0, padding)))
    inside = circle(np.ones(SHAPE, np.int16), 80.0, 0).astype(bool)
    assert not (found.reconstructed & ~inside).any()
    assert found.reconstructed[truth & inside].mean() > 0.98
    assert (found.reconstructed == inside).mean() > 0.95
    assert dice(found.mask, truth & inside) > 0.98
    assert found.at_skin([back_point()])[0]
    flank = np.array([[79.0, 0.0, 0.0], [-79.0, 0.0, 0.0]])
    assert not found.at_skin(flank).any()


@pytest.mark.parametrize("padding", [-1024, -2000, 0])
def test_a_crop_inside_the_body_shows_no_skin(padding: int) -> None:
    array, _ = trunk()
    found = body_mask(volume_of(circle(array, 50.0, padding)))
    assert not found.skin_visible
    assert found.edge.any()
    bare = array[:, 40:80, 60:120]
    assert not body_mask(volume_of(bare)).skin_visible


def test_a_posterior_crop_keeps_its_skin_and_cut_lung_is_inside() -> None:
    array, truth = trunk(table=False, tube=False)
    cut = (slice(None), slice(50, 120), slice(70, 180))
    found = body_mask(volume_of(array[cut]))
    assert dice(found.mask, truth[cut]) > 0.98
    grid = found.grid
    index = np.array([(20, 53.3, 25)])
    assert found.at_skin(to_world(grid, index))[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_stored_axes_do_not_matter(order: tuple[int, int, int]) -> None:
    array, _ = trunk()
    straight = body_mask(volume_of(array))
    axes = volume_of(array).grid.affine
    turned = np.ascontiguousarray(np.flip(array.transpose(order), 0))
    affine = np.eye(4)
    for new in range(3):
        affine[:3, new] = axes[:3, 2 - order[2 - new]]
    affine[:3, 3] = axes[:3, 3] + affine[:3, 2] * (turned.shape[0] - 1)
    affine[:3, 2] *= -1
    found = body_mask(Volume(turned, Grid(turned.shape, affine)))
    assert (np.flip(found.mask, 0).transpose(np.argsort(order)) == straight.mask).all()
    assert (np.flip(found.skin, 0).transpose(np.argsort(order)) == straight.skin).all()


def test_rescale_is_respected() -> None:
    array, _ = trunk()
    straight = body_mask(volume_of(array))
    stored = ((array.astype(np.int32) + 1024) * 2).astype(np.int16)
    assert (body_mask(volume_of(stored, slope=0.5, intercept=-1024.0)).mask == straight.mask).all()


def test_nothing_but_air_is_an_empty_body() -> None:
    rng = np.random.default_rng(0)
    found = body_mask(volume_of(rng.normal(-1000, 10, (20, 30, 30)).astype(np.int16)))
    assert not found.mask.any()
    assert not found.skin_visible


def share_posterior(found: BodyMask, name: str) -> float:
    """Share of the columns over the midline whose last body voxel toward the back is skin."""
    axes = canonical_axes(found.grid)
    mask, skin = axes.apply(found.mask), axes.apply(found.skin)
    middle = mask.shape[2] // 2
    hits = []
    for k in range(mask.shape[0] // 6, 5 * mask.shape[0] // 6):
        body = np.flatnonzero(mask[k, :, middle])
        if len(body):
            hits.append(bool(skin[k, body[-1], middle]))
    return float(np.mean(hits))


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "skin_share"),
    [("ct/s0015.nii.gz", 0.97), ("ct/ts_example.nii.gz", 0.9), ("dicom/lumbar_ct_axial_20slices", 0.95),
     ("dicom/lumbar_ct_mr_cc0", 0.95)],
)
def test_real_backs_are_skin(path: str, skin_share: float, data: Path) -> None:
    volume = read_input(data / path)
    start = time.process_time()
    found = body_mask(volume)
    assert time.process_time() - start < 4.0
    assert found.skin_visible
    assert share_posterior(found, path) >= skin_share


@pytest.mark.data
@pytest.mark.parametrize("path", ["ct/verse014.nii.gz", "ct/tptbox_l3.nii.gz"])
def test_real_crops_have_no_skin(path: str, data: Path) -> None:
    found = body_mask(read_input(data / path))
    assert share_posterior(found, path) == 0.0
    assert found.mask.mean() > 0.7


@pytest.mark.parametrize(("slope", "intercept"), [(0.03, 500.0), (0.001, -1000.0), (0.05, -1000.0)])
def test_scaled_values_whose_limits_no_int16_holds(slope: float, intercept: float) -> None:
    """As NIfTI writers choose them: -1100 HU may lie below the smallest stored value, 1000 HU above the largest."""
    array, _ = trunk()
    stored = np.clip(np.rint((array - intercept) / slope), -32768, 32767).astype(np.int16)
    scan = _Scan(stored, slope, intercept)
    values = stored * slope + intercept
    for level in (-3000.0, -1100.0, -500.0, -250.0, 0.25, 3000.0):
        assert (scan.above(level) == (values > level)).all()
        assert (scan.near(level, 1.5) == (np.abs(values - level) <= 1.5)).all()


def test_the_body_of_a_scan_saved_with_an_automatic_slope() -> None:
    array, truth = trunk()
    slope = 4000.0 / 65535
    stored = np.rint((array + 1000.0) / slope - 32768).clip(-32768, 32767).astype(np.int16)
    found = body_mask(volume_of(stored, slope=slope, intercept=-1000.0 + 32768 * slope))
    assert dice(found.mask, truth) > 0.985
