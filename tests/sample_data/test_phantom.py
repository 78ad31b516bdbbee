"""The phantom: reproducible, anatomically plausible, exact in its truth, and readable as DICOM."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest

import sample_data
from sample_data.anatomy import Anatomy, build_anatomy
from sample_data.dicom import write_series
from sample_data.implicit import gradient
from sample_data.morphometry import LEVELS
from sample_data.nerves import CARRIERS, SURFACE_OFFSET
from sample_data.phantom import WORLD_ORIGIN, Phantom, PhantomSpec, Variant, build_phantom
from sample_data.rendering import VERSE_LABELS
from sample_data.truth import truth_document, write_masks

COARSE = (3.0, 2.0, 2.0)
LUMBAR = ("L1", "L2", "L3", "L4", "L5")
ON_SURFACE = ("sap_tp_junction", "sap_tip", "tp_tip", "spinous_tip", "mamillo_accessory_notch")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec(spacing_mm=COARSE))


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(0, "standard")


@pytest.fixture(scope="module")
def two_levels() -> Phantom:
    return build_phantom(PhantomSpec(variant=Variant.CROPPED, levels_in_view=("L3", "L4")))


def local(phantom: Phantom, level: str, point: np.ndarray) -> np.ndarray:
    """Point in the vertebral frame, from the frame the phantom states."""
    origin, *axes = phantom.frames[level]
    return np.stack(axes) @ (point - origin)


def voxel(phantom: Phantom, point: np.ndarray) -> tuple[int, int, int]:
    """(z, y, x) index of the voxel that holds an LPS point."""
    i, j, k = np.rint(np.linalg.solve(phantom.affine, [*point, 1.0])[:3]).astype(int)
    return int(k), int(j), int(i)


def test_same_specification_gives_the_same_phantom(two_levels: Phantom) -> None:
    again = build_phantom(two_levels.spec)
    assert np.array_equal(two_levels.hu, again.hu)
    assert np.array_equal(two_levels.labels, again.labels)
    assert truth_document(two_levels) == truth_document(again)


def test_another_seed_gives_another_patient() -> None:
    first, second = build_anatomy(0, "standard").layout, build_anatomy(1, "standard").layout
    assert first.sides != second.sides


def test_arrays_agree(phantom: Phantom) -> None:
    assert phantom.hu.dtype == np.int16
    assert phantom.labels.dtype == np.uint8
    assert phantom.affine.dtype == np.float64
    assert phantom.labels.shape == phantom.hu.shape
    for name in ("canal", "aorta", "vena_cava", "kidneys", "lungs", "bowel", "body", "ribs", "hips"):
        mask = phantom.structures[name]
        assert mask.dtype == bool
        assert mask.shape == phantom.hu.shape
        assert mask.any(), name


def test_every_level_is_labelled_and_holds_its_body_centre(phantom: Phantom) -> None:
    for level, label in VERSE_LABELS.items():
        assert (phantom.labels == label).any()
        assert phantom.labels[voxel(phantom, phantom.body_centers[level])] == label


def test_voxels_and_world_agree(phantom: Phantom) -> None:
    for level in LUMBAR:
        z, y, x = np.nonzero(phantom.labels == VERSE_LABELS[level])
        centroid = (phantom.affine @ [x.mean(), y.mean(), z.mean(), 1.0])[:3]
        lateral, posterior, superior = local(phantom, level, centroid)
        assert abs(lateral) < 2.0
        assert -12.0 < posterior < 8.0
        assert abs(superior) < 10.0


@pytest.mark.parametrize("level", LEVELS)
def test_surface_landmarks_lie_on_the_surface(phantom: Phantom, anatomy: Anatomy, level: str) -> None:
    bone = anatomy.bones[level]
    for name, point in phantom.landmarks[level].items():
        at = bone.pose.to_local((point - WORLD_ORIGIN)[:, None])
        depth = float(bone.distance(at)[0])
        if name.startswith(ON_SURFACE):
            assert abs(depth) < 0.02, name
        else:
            assert depth < -2.0, name


@pytest.mark.parametrize("level", LEVELS)
def test_tips_are_extrema_of_the_surface(phantom: Phantom, anatomy: Anatomy, level: str) -> None:
    bone = anatomy.bones[level]
    offsets = np.random.default_rng(0).uniform(-3.0, 3.0, (3, 4000))
    directions = {"sap_tip": (0, 0, 1), "spinous_tip": (0, 1, 0)}
    directions |= {"tp_tip_left": (1, 0, 0), "tp_tip_right": (-1, 0, 0)}
    for name, point in phantom.landmarks[level].items():
        for key, axis in directions.items():
            if name.startswith(key):
                tip = bone.pose.to_local((point - WORLD_ORIGIN)[:, None])
                around = tip + offsets
                inside = around[:, bone.distance(around) <= 0]
                assert (np.array(axis) @ (inside - tip)).max() < 0.02, name


def test_junction_is_a_concavity_between_process_and_articular_face(phantom: Phantom, anatomy: Anatomy) -> None:
    for level in LUMBAR:
        bone = anatomy.bones[level]
        for side, sign in (("left", 1.0), ("right", -1.0)):
            point = phantom.landmarks[level][f"sap_tp_junction_{side}"]
            at = bone.pose.to_local((point - WORLD_ORIGIN)[:, None])
            normal = gradient(bone, np.asarray(at, dtype=np.float64))[:, 0]
            assert normal[2] > 0.3 * np.linalg.norm(normal)
            assert sign * normal[0] > 0.0
            chord = at + 5.0 * np.array([[0.0, sign * 1.0], [0.0, 0.0], [1.0, 0.0]])
            assert (bone.distance(chord) < bone.distance(chord.mean(axis=1, keepdims=True))).all()


def test_left_is_left(phantom: Phantom) -> None:
    for points in phantom.landmarks.values():
        for name in points:
            if name.endswith("_left") and name.replace("_left", "_right") in points:
                assert points[name][0] > points[name.replace("_left", "_right")][0] + 10.0
    i = np.arange(phantom.hu.shape[2])
    centre = {
        name: (phantom.structures[name].sum(axis=(0, 1)) * i).sum() / phantom.structures[name].sum()
        for name in ("aorta", "vena_cava")
    }
    assert centre["aorta"] > centre["vena_cava"]


def test_the_two_sides_differ(phantom: Phantom) -> None:
    for level in LUMBAR:
        left, right = (local(phantom, level, phantom.landmarks[level][f"tp_tip_{side}"]) for side in ("left", "right"))
        assert 0.1 < np.linalg.norm(left * [1, 1, 1] - right * [-1, 1, 1]) < 8.0


def test_sizes_are_within_the_population(phantom: Phantom) -> None:
    pedicles = {"L1": (25.8, 34.6), "L2": (27.0, 34.7), "L3": (28.7, 37.9), "L4": (31.5, 43.0), "L5": (37.8, 57.7)}
    spans = {"L1": (65, 82), "L2": (72, 92), "L3": (78, 105), "L4": (75, 110), "L5": (80, 116)}
    for level in LUMBAR:
        points = phantom.landmarks[level]
        low, high = pedicles[level]
        assert low < np.linalg.norm(points["pedicle_center_left"] - points["pedicle_center_right"]) < high
        low, high = spans[level]
        assert low < np.linalg.norm(points["tp_tip_left"] - points["tp_tip_right"]) < high
    for upper, lower in itertools.pairwise(LUMBAR):
        gap = np.linalg.norm(phantom.body_centers[upper] - phantom.body_centers[lower])
        assert 29.0 < gap < 43.0


def test_body_width_of_the_voxels(two_levels: Phantom) -> None:
    origin, left, posterior, superior = two_levels.frames["L3"]
    z, y, x = np.nonzero(two_levels.labels == VERSE_LABELS["L3"])
    points = (two_levels.affine[:3, :3] @ np.stack([x, y, z])).T + two_levels.affine[:3, 3] - origin
    body = points @ posterior < -3.0
    assert 39.4 < np.ptp(points[body] @ left) < 58.8
    assert 23.5 < np.percentile(points[body] @ superior, 99) - np.percentile(points[body] @ superior, 1) < 32.3


def test_facet_joints_are_open(two_levels: Phantom) -> None:
    upper, lower = two_levels.labels == VERSE_LABELS["L3"], two_levels.labels == VERSE_LABELS["L4"]
    touching = sum(
        int(
            (
                np.diff(upper.astype(np.int8), axis=axis).astype(bool)
                & np.diff(lower.astype(np.int8), axis=axis).astype(bool)
            ).sum()
        )
        for axis in range(3)
    )
    assert touching <= 5


def test_nerves_run_on_the_right_bone(phantom: Phantom, anatomy: Anatomy) -> None:
    assert set(phantom.nerves) == {(nerve, side) for nerve in CARRIERS for side in ("LEFT", "RIGHT")}
    for (nerve, side), course in phantom.nerves.items():
        level = CARRIERS[nerve]
        bone = anatomy.bones[level]
        at = bone.pose.to_local((course - WORLD_ORIGIN).T)
        assert np.abs(bone.distance(at) - SURFACE_OFFSET).max() < 0.1
        assert np.linalg.norm(np.diff(course, axis=0), axis=1).max() < 1.5
        assert np.linalg.norm(course - phantom.landmarks[level][f"sap_tp_junction_{side.lower()}"], axis=1).min() < 2.0
        assert at[1, -1] > at[1, 0]
        assert at[2, -1] < at[2, 0]
        assert np.all((at[0] > 0) == (side == "LEFT"))


def test_frames_are_right_handed(phantom: Phantom) -> None:
    for _, left, posterior, superior in phantom.frames.values():
        axes = np.stack([left, posterior, superior])
        assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-9)
        assert np.allclose(np.cross(posterior, superior), left, atol=1e-9)


def test_skin_is_behind_the_targets_with_muscle_between(phantom: Phantom) -> None:
    body = phantom.structures["body"]
    for level in LUMBAR:
        k, j, i = voxel(phantom, phantom.landmarks[level]["sap_tp_junction_left"])
        back = int(np.flatnonzero(body[k, :, i]).max())
        assert 40.0 < (back - j) * COARSE[1] < 80.0
        path = phantom.hu[k, j:back, i - 2 : i + 3].max(axis=1)
        assert ((path > 0) & (path < 110)).mean() > 0.3
        assert (phantom.hu[k, back + 2 :, i] < -500).any()


def test_hounsfield_units(phantom: Phantom) -> None:
    inside = phantom.structures["body"]
    assert phantom.hu[~inside].min() >= -1024
    for name, low, high in (("kidneys", 20, 50), ("aorta", 25, 60), ("lungs", -900, -500), ("canal", -40, 60)):
        assert low < np.median(phantom.hu[phantom.structures[name]]) < high, name
    body = phantom.hu[voxel(phantom, phantom.body_centers["L3"])]
    assert 80 < body < 300
    assert 600 < phantom.hu[phantom.labels > 0].max() < 1800


def test_osteoporotic_bone_is_thinner() -> None:
    spec = PhantomSpec(spacing_mm=COARSE, variant=Variant.OSTEOPOROTIC, levels_in_view=("L3", "L3"))
    weak = build_phantom(spec)
    centre = voxel(weak, weak.body_centers["L3"])
    block = tuple(slice(c - 1, c + 2) for c in centre)
    assert 10 < weak.hu[block].mean() < 110


def test_scoliosis_has_a_curve_of_about_twenty_degrees() -> None:
    layout = build_anatomy(0, "scoliosis").layout
    tilts = [np.degrees(np.arctan2(layout.poses[level].axes[2, 0], layout.poses[level].axes[2, 2])) for level in LEVELS]
    assert 16.0 < max(tilts) - min(tilts) < 25.0
    apex = layout.poses["L2"].axes[0]
    assert 8.0 < np.degrees(np.arctan2(apex[1], apex[0])) < 16.0


def test_transitional_vertebra_is_fused_on_the_left_only() -> None:
    spec = PhantomSpec(spacing_mm=(2.0, 1.5, 1.5), variant=Variant.TRANSITIONAL, levels_in_view=("L5", "S1"))
    fused = build_phantom(spec)
    assert fused.findings == {"castellvi": "IIIa", "fused_level": "L5", "fused_side": "LEFT"}
    assert ("L5 DR", "LEFT") not in fused.nerves
    assert ("L5 DR", "RIGHT") in fused.nerves
    assert "tp_tip_left" not in fused.landmarks["L5"]
    five, sacrum = fused.labels == 24, fused.labels == 26
    touching = five[:, :, :-1] & sacrum[:, :, 1:] | five[:, :, 1:] & sacrum[:, :, :-1]
    touching[1:, :, :] |= (five[1:] & sacrum[:-1])[:, :, :-1]
    x = fused.affine[0, 3] + np.nonzero(touching)[2] * fused.affine[0, 0] - fused.body_centers["S1"][0]
    assert (x > 15.0).sum() > 20
    assert (x < -15.0).sum() < 10


def test_cropped_field_of_view_has_no_skin(two_levels: Phantom) -> None:
    assert two_levels.structures["body"].all()
    assert set(np.unique(two_levels.labels)) >= {22, 23}
    assert 26 not in two_levels.labels
    assert not two_levels.structures["ribs"].any()


def test_bad_specifications_are_refused() -> None:
    with pytest.raises(ValueError, match="spacing_mm"):
        PhantomSpec(spacing_mm=(0.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="C2"):
        PhantomSpec(levels_in_view=("C2", "L1"))


@pytest.mark.parametrize("encoding", ["uncompressed", "jpeg-ls"])
def test_dicom_round_trip(two_levels: Phantom, tmp_path: Path, encoding: str) -> None:
    if encoding == "jpeg-ls":
        pytest.importorskip("jpeg_ls")
    paths = write_series(two_levels, tmp_path / "a", encoding)  # type: ignore[arg-type]
    again = write_series(two_levels, tmp_path / "b", encoding)  # type: ignore[arg-type]
    digest = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert digest == [hashlib.sha256(path.read_bytes()).hexdigest() for path in again]
    assert len(set(digest)) == two_levels.hu.shape[0]
    slices = sorted((pydicom.dcmread(path) for path in paths), key=lambda ds: float(ds.ImagePositionPatient[2]))
    assert len({ds.SOPInstanceUID for ds in slices}) == len(slices)
    assert len({(ds.SeriesInstanceUID, ds.FrameOfReferenceUID, ds.PatientID, ds.PatientPosition) for ds in slices}) == 1
    for k, ds in enumerate(slices):
        assert np.allclose(ds.ImageOrientationPatient, [1, 0, 0, 0, 1, 0])
        assert np.allclose(ds.ImagePositionPatient, (two_levels.affine @ [0, 0, k, 1])[:3], atol=1e-5)
        assert np.allclose(ds.PixelSpacing, two_levels.spec.spacing_mm[1:])
        stored = ds.pixel_array.astype(np.int32) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
        assert np.array_equal(stored, two_levels.hu[k])


def test_masks_are_written_on_the_image_grid(two_levels: Phantom, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    paths = write_masks(two_levels, tmp_path)
    assert {path.name for path in paths} >= {"labels.nii.gz", "canal.nii.gz", "body.nii.gz"}
    labels = sitk.ReadImage(str(paths[0]))
    assert np.array_equal(sitk.GetArrayFromImage(labels), two_levels.labels)
    assert np.allclose(labels.GetOrigin(), two_levels.affine[:3, 3], atol=1e-3)


def test_shipped_truth_is_what_the_generator_says(phantom: Phantom) -> None:
    shipped, fresh = sample_data.load_truth(), truth_document(phantom)
    for key in ("schema", "coordinate_system", "units", "generator_version", "morphometry_version", "findings"):
        assert shipped[key] == fresh[key]
    assert set(shipped["landmarks"]) == set(fresh["landmarks"])
    for level, points in fresh["landmarks"].items():
        assert set(points) == set(shipped["landmarks"][level])
        for name, point in points.items():
            assert np.allclose(point, shipped["landmarks"][level][name], atol=0.05), (level, name)
    for ours, theirs in zip(fresh["nerves"], shipped["nerves"], strict=True):
        assert (ours["nerve"], ours["side"], ours["carrier"]) == (theirs["nerve"], theirs["side"], theirs["carrier"])
        assert np.allclose(ours["path"], theirs["path"], atol=0.05)


def test_shipped_series_is_what_its_truth_says() -> None:
    truth, paths = sample_data.load_truth(), sorted(sample_data.lumbar_ct_path().glob("*.dcm"))
    assert len(paths) == truth["image"]["shape_zyx"][0]
    assert sum(path.stat().st_size for path in paths) < 15_000_000
    last = pydicom.dcmread(paths[-1], stop_before_pixels=True)
    assert last.SeriesInstanceUID == truth["image"]["uids"]["series"]
    assert np.allclose(last.ImagePositionPatient, np.array(truth["image"]["affine"])[:3, 3], atol=1e-5)
    label = {entry["level"]: entry for entry in truth["levels"]}
    assert label["L5"]["body_center"][2] < label["L4"]["body_center"][2] < label["T12"]["body_center"][2]
