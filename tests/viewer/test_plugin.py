"""The napari plug-in without a window: manifest, reader, sample data, planes, meshes, the Qt binding itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from npe2 import PluginManifest
from typer.testing import CliRunner

from imaging.geometry import to_index, to_world
from imaging.volume import Grid, Volume
from planner.cli import app
from planner.plan import PlanState
from sample_data import lumbar_ct_path
from viewer.layers import hounsfield, image_layer, to_napari, world_affine
from viewer.meshes import Mesh, mask_surface, tube
from viewer.readers import SOURCE_KEY, get_reader
from viewer.samples import lumbar_ct
from viewer.settings import Window, settings
from viewer.slices import Slicer


def enclosed(mesh: Mesh) -> float:
    """Volume by the divergence theorem: positive when the faces look outward."""
    a, b, c = (mesh.vertices[mesh.faces[:, n]] for n in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_the_manifest_is_valid_and_every_command_exists() -> None:
    manifest = PluginManifest.from_distribution("nerveplan")
    manifest.validate_imports()
    assert {command.id for command in manifest.contributions.commands or ()} == {
        "nerveplan.get_reader", "nerveplan.lumbar_ct", "nerveplan.review"}


def test_the_command_view_is_contributed() -> None:
    assert "view" in {point.name for point in entry_points(group="nerveplan.commands")}
    done = CliRunner().invoke(app, ["view", "--help"])
    assert done.exit_code == 0
    assert "--source" in done.output


def oblique(angle_deg: float) -> Volume:
    """A small scan on a lattice turned about the patient's long axis and tilted, one voxel bright."""
    a = np.radians(angle_deg)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt * (0.7, 0.8, 1.5)
    affine[:3, 3] = (-31.0, 12.0, 440.0)
    array = np.zeros((12, 14, 16), np.int16)
    array[3, 9, 4] = 1000
    return Volume(array, Grid(array.shape, affine), intercept=-1024.0)


@pytest.mark.parametrize("angle_deg", [0.0, 25.0, 70.0])
def test_an_oblique_stack_lies_where_it_was_measured(angle_deg: float) -> None:
    from napari.layers import Image
    volume = oblique(angle_deg)
    data, style, kind = image_layer(volume, "scan", (-200.0, 500.0))
    assert kind == "image"
    layer = Image(data, **style)
    bright = np.argwhere(layer.data == layer.data.max())[0]
    np.testing.assert_allclose(layer.data_to_world(bright), to_napari(to_world(volume.grid, (4, 9, 3))), atol=1e-9)
    assert layer.data.max() == -24
    assert np.linalg.det(world_affine(volume.grid)[:3, :3]) == pytest.approx(np.linalg.det(volume.grid.affine[:3, :3]))


def test_values_are_hounsfield_units_whatever_the_rescale() -> None:
    volume = oblique(0.0)
    assert hounsfield(volume).dtype == np.int16
    odd = replace(volume, slope=0.5, intercept=-10.25)
    np.testing.assert_allclose(hounsfield(odd), odd.values())


def test_the_reader_takes_a_dicom_folder_with_its_affine() -> None:
    reader = get_reader(str(lumbar_ct_path()))
    assert reader is not None
    ((data, style, kind),) = reader(str(lumbar_ct_path()))
    assert kind == "image"
    assert data.shape == (198, 265, 383)
    np.testing.assert_allclose(np.diag(style["affine"])[:3], (1.5, 0.9, 0.9))
    assert style["metadata"][SOURCE_KEY] == str(lumbar_ct_path())


def test_the_reader_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(tmp_path), str(tmp_path)]) is None


def test_the_reader_takes_nifti_and_a_plan_folder(phantom_files: tuple[Path, Path], folder: Path) -> None:
    assert get_reader(str(phantom_files[0])) is not None
    reader = get_reader(str(folder))
    assert reader is not None
    layers = {style["name"]: kind for _, style, kind in reader(str(folder))}
    assert layers == {"scan": "image", "structures": "surface", "bones": "surface", "nerves (modelled)": "surface",
                      "needles": "surface"}


def test_the_sample_is_the_phantom() -> None:
    ((data, style, _),) = lumbar_ct()
    assert style["name"] == "synthetic lumbar CT"
    assert data.shape == (198, 265, 383)


def test_a_surface_encloses_its_mask_whatever_the_lattice() -> None:
    for flip in ((1, 1, 1), (-1, -1, 1), (-1, 1, 1)):
        affine = np.diag([*np.multiply(flip, 1.0), 1.0])
        grid = Grid((40, 40, 40), affine)
        k, j, i = np.meshgrid(*3 * [np.arange(40)], indexing="ij")
        mask = (i - 20) ** 2 + (j - 18) ** 2 + (k - 16) ** 2 < 12**2
        mesh = mask_surface(mask, grid, 1.2)
        assert mesh is not None
        assert enclosed(mesh) == pytest.approx(mask.sum(), rel=0.03)
        np.testing.assert_allclose(mesh.vertices.mean(axis=0), to_world(grid, (20, 18, 16)), atol=0.6)
    assert mask_surface(np.zeros((4, 4, 4), np.bool_), Grid((4, 4, 4), np.eye(4)), 1.0) is None


def test_a_tube_is_closed_and_looks_outward() -> None:
    straight = tube(np.array([[0.0, 0, 0], [0, 0, 10]]), 2.0)
    assert enclosed(straight) == pytest.approx(np.pi * 4 * 10, rel=0.06)
    bent = tube(np.array([[0.0, 0, 0], [3, 0, 5], [3, 6, 9]]), 0.5)
    edges = np.sort(np.concatenate([bent.faces[:, [0, 1]], bent.faces[:, [1, 2]], bent.faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


@pytest.mark.parametrize("cut", ["coronal", "oblique", "leaving"])
def test_a_picture_shows_the_scan_where_it_lies_with_outlines(planned: Path, cut: str) -> None:
    """Against scipy's own interpolation of the Hounsfield values, off the outlines and the rim of the scan."""
    from planner.loading import load_plan
    from planner.reslice import Cut
    from viewer.planes import PlaneName, orthogonal
    plan = load_plan(planned)
    assert plan.state is PlanState.PROPOSED
    assert plan.volume is not None
    window = Window("all", -1000.0, 1000.0)
    plane = orthogonal(PlaneName.CORONAL, plan.spine.vertebrae[0].body_center + np.array([3.3, 1.7, 2.1]), 90, 70, 0.8)
    if cut != "coronal":
        right = np.array([0.8, 0.36, 0.48])
        down = np.cross(right, [0.0, -0.8, 0.6])
        plane = replace(plane, right=right, down=down / np.linalg.norm(down))
    if cut == "leaving":
        plane = replace(plane, center=to_world(plan.volume.grid, np.zeros(3)), width=300, height=300)
    picture = Slicer(plan.volume, plan.spine).picture(plane, window)
    expected = np.clip((Cut(plane, plan.volume.grid).values(plan.volume) + 1000.0) * 255 / 2000, 0, 255)
    index, last = to_index(plan.volume.grid, plane.points()), np.array(plan.volume.grid.shape[::-1]) - 1.0
    beyond = np.abs(index - np.clip(index, 0, last)).max(axis=2)
    if cut == "leaving":
        assert (beyond > 1).mean() > 0.5
    assert not picture[beyond > 1].any()
    plain = (picture == picture[..., :1]).all(axis=2)
    assert plain.mean() > 0.8
    assert np.abs(picture[..., 0].astype(float) - expected)[plain & (beyond == 0)].max() <= 1.01
    assert not plain.all()


def test_windows_have_a_source_and_a_width() -> None:
    assert list(settings().windows) == ["bone", "soft_tissue", "needle"]
    with pytest.raises(ValueError, match="must exceed"):
        Window("none", 5.0, 5.0)


def test_the_qt_binding_keeps_its_references(qapp: object) -> None:
    """Some builds drop a reference to None at every call and crash the window after some minutes."""
    from qtpy.QtWidgets import QLabel
    label = QLabel()
    before = sys.getrefcount(None)
    for _ in range(2000):
        label.setText("x")
    assert sys.getrefcount(None) > before - 200, "this release of the Qt binding is broken for this Python; use another"


def test_nifti_written_oblique_opens_oblique(tmp_path: Path) -> None:
    volume = oblique(25.0)
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.grid.spacing.tolist())
    image.SetDirection(volume.grid.direction.ravel().tolist())
    image.SetOrigin(volume.grid.origin.tolist())
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    reader = get_reader(str(tmp_path / "scan.nii.gz"))
    assert reader is not None
    ((_, style, _),) = reader(str(tmp_path / "scan.nii.gz"))
    np.testing.assert_allclose(style["affine"], world_affine(volume.grid), atol=1e-4)
