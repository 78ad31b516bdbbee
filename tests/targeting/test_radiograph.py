"""Simulated fluoroscopy: places, path lengths, sides and orientations, against analysis and a brute-force ray sum."""

from __future__ import annotations

import tomllib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import CArmAngles, carm_angles, direction_from_carm, receptor_axes, to_index, to_world, unit
from imaging.volume import Grid, Volume
from targeting.fluoroscope import Beam, beam, fluoroscope
from targeting.radiograph import as_fluoroscopy, attenuation, radiograph

ANGLES = [CArmAngles(0, 0), CArmAngles(20, 5), CArmAngles(-35, -20), CArmAngles(90, 0), CArmAngles(-88, 4),
          CArmAngles(12, -62), CArmAngles(44, -41), CArmAngles(0, 25)]
WATER = fluoroscope().water_per_mm


def grid(shape: tuple[int, int, int] = (60, 70, 80), spacing: float = 1.5, turn_deg: float = 0.0) -> Grid:
    """A lattice about the origin, turned about an oblique axis."""
    axis = unit((1, 2, -1))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    a = np.radians(turn_deg)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * cross @ cross) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return Grid(shape, affine)


def sampled(lattice: Grid, hu: object) -> Volume:
    """A scan of a function of (n, 3) LPS mm."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in lattice.shape), indexing="ij")
    return Volume(np.asarray(hu(to_world(lattice, np.stack([i, j, k], axis=-1)))).astype(np.int16), lattice)  # type: ignore[operator]


def balls(*places: tuple[float, float, float], hu: float = 3000.0, sigma: float = 3.0) -> object:
    def values(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(xyz.shape[:-1], -1000.0)
        for place in places:
            out += hu * np.exp(-((xyz - np.array(place))**2).sum(axis=-1) / (2 * sigma**2))
        return out
    return values


def centroid(image: NDArray[np.float32]) -> NDArray[np.float64]:
    rows, columns = np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij")
    return np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()


def test_every_constant_says_where_it_comes_from() -> None:
    table = tomllib.loads(resources.files("targeting.data").joinpath("fluoroscope.toml").read_text(encoding="utf-8"))
    entries = [entry for section in table.values() for entry in section.values()]
    assert len(entries) == 5
    for entry in entries:
        assert entry["status"] in ("L", "L2", "RV", "D", "E")
        assert len(entry["source"]) > 10


@pytest.mark.parametrize("angles", ANGLES, ids=str)
@pytest.mark.parametrize("turn", [0.0, 33.0])
def test_a_dense_point_lies_where_the_beam_says(angles: CArmAngles, turn: float) -> None:
    place = (13.0, -9.0, 17.0)
    view = beam((4, 3, -2), angles)
    image = radiograph(attenuation(sampled(grid(turn_deg=turn), balls(place))), view)
    assert np.linalg.norm(centroid(image) - view.to_view(place)[:2]) < 0.3


@pytest.mark.parametrize("angles", [CArmAngles(0, 0), CArmAngles(25, 0), CArmAngles(-20, -30), CArmAngles(0, -40)],
                         ids=str)
def test_a_slab_of_water_attenuates_by_its_length_along_the_ray(angles: CArmAngles) -> None:
    lattice = grid((200, 40, 200))
    water = sampled(lattice, lambda xyz: np.where(np.abs(xyz[..., 1]) < 24.0, 0.0, -1000.0))
    view = beam((0, 0, 0), angles, 64)
    image = radiograph(attenuation(water), view)
    rows, columns = np.meshgrid([20, 31, 40], [24, 32, 44], indexing="ij")
    for row, column in zip(rows.ravel(), columns.ravel(), strict=True):
        ray = unit(view.to_patient((column, row, 0.0)) - view.source)
        assert image[row, column] == pytest.approx(WATER * 48.0 / abs(ray[1]), rel=2e-3)


@pytest.mark.parametrize("angles", ANGLES, ids=str)
def test_it_agrees_with_a_brute_force_sum_along_every_ray(angles: CArmAngles) -> None:
    rng = np.random.default_rng(3)
    lattice = grid(turn_deg=20.0)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, lattice.shape), 3.0)
    rim = np.minimum(np.stack(np.meshgrid(*(np.minimum(np.arange(n), n - 1 - np.arange(n)) for n in lattice.shape),
                                          indexing="ij")).min(axis=0) / 10.0, 1.0)
    scan = Volume(((smooth / smooth.std() * 400 + 1100) * rim - 1000).astype(np.int16), lattice)
    view = beam((2, -3, 4), angles, 48)
    image = radiograph(attenuation(scan), view)
    columns, rows = np.meshgrid(np.arange(48), np.arange(48))
    far = view.to_patient(np.stack([columns, rows, np.full_like(rows, -300)], axis=-1).astype(float))
    steps = (np.arange(6000) + 0.5) / 6000
    mu = np.pad((scan.array + 1000.0).clip(0), 1)
    for row, column in ((12, 30), (24, 24), (30, 15), (33, 20)):
        points = view.source + steps[:, None] * (far[row, column] - view.source)
        values = ndimage.map_coordinates(mu, to_index(lattice, points)[:, ::-1].T + 1, order=1)
        length = np.linalg.norm(far[row, column] - view.source) / len(steps)
        assert image[row, column] == pytest.approx(values.sum() * length * WATER / 1000, rel=0.01)


def test_a_mirrored_patient_gives_a_mirrored_picture() -> None:
    places = ((14.0, 5.0, 9.0), (-22.0, -8.0, -13.0), (3.0, 20.0, 2.0))
    here = attenuation(sampled(grid(), balls(*places)))
    there = attenuation(sampled(grid(), balls(*((-x, y, z) for x, y, z in places))))
    for angles in ANGLES:
        other = CArmAngles(-angles.rotation_deg, angles.tilt_deg)
        image, mirrored = radiograph(here, beam((5, 2, 1), angles)), radiograph(there, beam((-5, 2, 1), other))
        np.testing.assert_allclose(image, mirrored[:, ::-1], atol=4e-3 * image.max())


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_the_picture_does_not_depend_on_how_the_scan_is_stored(order: tuple[int, int, int]) -> None:
    scan = sampled(grid(), balls((10, 4, 6), (-18, -8, -11)))
    affine = np.eye(4)
    affine[:3, :3] = scan.grid.affine[:3, [2 - n for n in order[::-1]]]
    affine[:3, 3] = scan.grid.affine[:3, 3]
    turned = scan.array.transpose(order)
    flipped = turned[::-1]
    affine[:3, 3] += affine[:3, 2] * (turned.shape[0] - 1)
    affine[:3, 2] *= -1
    stored = Volume(flipped, Grid(flipped.shape, affine))
    for angles in ANGLES:
        view = beam((0, 0, 0), angles)
        image = radiograph(attenuation(scan), view)
        np.testing.assert_allclose(radiograph(attenuation(stored), view), image, atol=4e-3 * image.max())


@pytest.mark.parametrize("angles", ANGLES, ids=str)
def test_the_sum_over_the_picture_does_not_depend_on_the_lattice_s_orientation(angles: CArmAngles) -> None:
    view = beam((0, 0, 0), angles, 256)
    sums = [radiograph(attenuation(sampled(grid(turn_deg=turn), balls((6, -4, 8)))), view).sum()
            for turn in (0.0, 20.0, 45.0, 70.0)]
    np.testing.assert_allclose(sums, sums[0], rtol=5e-3)


def test_down_the_barrel_a_needle_is_one_point_in_the_middle() -> None:
    tip = np.array([20.0, 40.0, -10.0])
    for angles in ANGLES:
        direction = direction_from_carm(angles)
        view = beam(tip, carm_angles(direction))
        places = view.to_view(tip - np.linspace(0, 120, 7)[:, None] * direction)
        np.testing.assert_allclose(places[:, :2], 255.5, atol=1e-6)
        assert (np.diff(places[:, 2]) < 0).all(), "the hub is nearer to the receptor than the tip"


def test_from_behind_the_patient_s_left_is_on_the_left_and_the_head_is_up() -> None:
    right, down = receptor_axes(CArmAngles(0, 0))
    np.testing.assert_allclose(right, (-1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(down, (0, 0, -1), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.floats(-180, 180), st.floats(-80, 80), st.tuples(*[st.floats(-150, 150)] * 3))
def test_patient_to_picture_and_back(rotation: float, tilt: float, place: tuple[float, float, float]) -> None:
    view = beam((3, 4, 5), CArmAngles(rotation, tilt))
    axes = np.stack([view.right, view.down, view.into])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(-view.into, -direction_from_carm(CArmAngles(rotation, tilt)), atol=1e-12)
    np.testing.assert_allclose(view.to_patient(view.to_view(place)), place, atol=1e-6)


def test_a_point_beyond_the_source_has_no_place() -> None:
    view = beam((0, 0, 0), CArmAngles(0, 0))
    assert np.isnan(view.to_view(view.source)[:2]).all()


def test_another_size_keeps_the_field() -> None:
    view = beam((1, 2, 3), CArmAngles(10, -20))
    small: Beam = view.sized(128, 128)
    edge, same = view.to_patient((-0.5, -0.5, 0.0)), small.to_patient((-0.5, -0.5, 0.0))
    np.testing.assert_allclose(edge, same)


def test_the_couch_is_left_out_where_the_body_is_known() -> None:
    scan = sampled(grid(), lambda xyz: np.where(np.abs(xyz[..., 1]) < 30, 0.0, 500.0))
    body = np.asarray(scan.array == 0)
    view = beam((0, 0, 0), CArmAngles(0, 0), 64)
    assert radiograph(attenuation(scan, body), view)[32, 32] == pytest.approx(
        WATER * 1.5 * int(body[30, :, 40].sum()), rel=0.01)


def test_only_a_ct_can_be_looked_through() -> None:
    scan = sampled(grid((8, 8, 8)), balls((0, 0, 0)))
    with pytest.raises(ValueError, match="MR"):
        attenuation(Volume(scan.array, scan.grid, "MR"))
    with pytest.raises(ValueError, match="pixels"):
        beam((0, 0, 0), CArmAngles(0, 0), 1)


def test_bone_is_shown_dark_and_air_white() -> None:
    body = sampled(grid((90, 70, 90)), lambda xyz: np.where(
        np.hypot(xyz[..., 0], xyz[..., 1]) > 45, -1000.0,
        np.where((np.abs(xyz[..., 0]) < 6) & (np.abs(xyz[..., 2]) < 12), 900.0, 40.0)))
    shown = as_fluoroscopy(radiograph(attenuation(body), beam((0, 0, 0), CArmAngles(0, 0), 256)))
    assert shown.dtype == np.uint8
    assert shown[128, 128] + 60 < shown[128, 180]
    assert (shown[:, :20] == 255).all()
    assert (as_fluoroscopy(np.zeros((40, 40), np.float32)) == 255).all()
