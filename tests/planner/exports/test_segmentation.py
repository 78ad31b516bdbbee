"""The exported DICOM Segmentation: the plan's label map voxel by voxel, read by pydicom and by the importer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from typer.testing import CliRunner

from imaging.dicom_seg import read_dicom_segmentation
from imaging.errors import AlteredError, UsageError
from imaging.geometry import to_world
from imaging.resample import grid_of, to_sitk
from imaging.volume import Grid
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.exports import ExportFormat, export_plan
from planner.exports.standing import PlanFolder
from planner.plan import WATERMARK
from planner.review import Review
from sample_data.dicom import write_series
from sample_data.phantom import Phantom


@pytest.fixture(scope="module")
def dicom_plan(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan on the phantom's DICOM series with its own label map."""
    base = tmp_path_factory.mktemp("dicom")
    write_series(small_phantom, base / "ct")
    grid = Grid(small_phantom.hu.shape, small_phantom.affine)
    sitk.WriteImage(to_sitk(small_phantom.labels, grid), str(base / "labels.nii.gz"))
    result = CliRunner().invoke(app, [
        "plan", str(base / "ct"), "--labels", str(base / "labels.nii.gz"), "--scheme", "verse", "--name", "L5=L5",
        "--out", str(base / "case"), "--joint", "L4/5", "--side", "left"])
    assert result.exit_code in (ExitCode.OK, ExitCode.ABSTAINED), result.output
    return base / "case"


@pytest.fixture(scope="module")
def exported(dicom_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = export_plan(PlanFolder.read(dicom_plan), (ExportFormat.SEG,), tmp_path_factory.mktemp("seg"))
    return path


def voxels(dataset: pydicom.Dataset, label: int, spacing: float) -> set[tuple[int, int, int]]:
    """LPS places, in whole steps, of one segment's voxels, from the attributes alone."""
    frames = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    size = dataset.Rows * dataset.Columns
    row, column = np.array_split(np.array(dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
                                          .ImageOrientationPatient, dtype=float), 2)
    step = [float(v) for v in dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing]
    found: set[tuple[int, int, int]] = set()
    for n, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        if int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber) != label:
            continue
        j, i = np.nonzero(frames[n * size:(n + 1) * size].reshape(dataset.Rows, dataset.Columns))
        at = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        points: NDArray[np.float64] = at + i[:, None] * step[1] * row + j[:, None] * step[0] * column
        found |= set(map(tuple, np.rint(points / spacing).astype(int).tolist()))
    return found


def test_pydicom_finds_every_vertebra_where_the_label_map_has_it(exported: Path, dicom_plan: Path) -> None:
    dataset = pydicom.dcmread(exported)
    assert dataset.Modality == "SEG"
    plan = PlanFolder.read(dicom_plan).document
    image = sitk.ReadImage(str(dicom_plan / "labels.nii.gz"))
    labels, grid = sitk.GetArrayFromImage(image), grid_of(image)
    segments = {int(s.SegmentNumber): s for s in dataset.SegmentSequence}
    assert len(segments) == len(plan["levels"]) >= 4
    for number, level in enumerate(plan["levels"], start=1):
        assert segments[number].SegmentLabel.startswith(f"{level['level']} (confidence")
        index = np.argwhere(labels == level["label"])[:, ::-1]
        expected = set(map(tuple, np.rint(to_world(grid, index) / 0.25).astype(int).tolist()))
        assert voxels(dataset, number, 0.25) == expected
    types = {s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in segments.values()}
    assert len(types) == len(segments), "every level has its own concept"


def test_it_points_at_the_images_and_says_what_it_is(exported: Path, dicom_plan: Path, small_phantom: Phantom) -> None:
    dataset = pydicom.dcmread(exported)
    one = pydicom.dcmread(next((dicom_plan.parent / "ct").iterdir()), stop_before_pixels=True)
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert getattr(dataset, name) == getattr(one, name)
    assert dataset.SeriesInstanceUID != one.SeriesInstanceUID
    (referenced,) = dataset.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == one.SeriesInstanceUID
    assert WATERMARK in dataset.ContentDescription
    assert WATERMARK in dataset.SeriesDescription
    assert len(referenced.ReferencedInstanceSequence) == small_phantom.hu.shape[0]


def test_the_importer_reads_the_same_levels_back(exported: Path, dicom_plan: Path) -> None:
    found = read_dicom_segmentation(exported)
    plan = PlanFolder.read(dicom_plan).document
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(dicom_plan / "labels.nii.gz")))
    assert [found.segments[n].label.split(" ")[0] for n in sorted(found.segments)] == \
        [level["level"] for level in plan["levels"]]
    assert int((found.array > 0).sum()) == int((labels > 0).sum())


def test_a_vertebra_placed_by_hand_is_a_segment_without_voxels_that_says_whose_hand_it_was(
        dicom_plan: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dicom_plan, tmp_path / "case"))
    review = Review.open(folder)
    bone = review.plan.spine.vertebra("L3")
    assert bone is not None
    assert bone.frame is not None
    up = 72.0 * bone.frame.superior
    above = replace(bone.frame, origin=bone.frame.origin + up)
    review.place_vertebra("L1", above, bone.body_center + up, "Dr A. Example")
    review.place_vertebra("L3", bone.frame, bone.body_center, "Dr A. Example")
    (path,) = export_plan(PlanFolder.read(folder), (ExportFormat.SEG,), tmp_path / "out")
    dataset = pydicom.dcmread(path)
    placed = {s.SegmentLabel: s for s in dataset.SegmentSequence if "placed by" in s.SegmentLabel}
    assert list(placed) == ["L1 (no mask) placed by Dr A. Example", "L3 (frame) placed by Dr A. Example"]
    bare, framed = placed.values()
    assert (bare.SegmentAlgorithmType, framed.SegmentAlgorithmType) == ("MANUAL", "AUTOMATIC")
    assert voxels(dataset, int(bare.SegmentNumber), 0.25) == set()
    assert voxels(dataset, int(framed.SegmentNumber), 0.25)
    assert len(dataset.SegmentSequence) == len(review.plan.spine.vertebrae)


def test_other_images_and_other_kinds_of_file_are_refused(dicom_plan: Path, written: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another kind of file"):
        export_plan(PlanFolder.read(written), (ExportFormat.SEG,), tmp_path / "a")
    less = Path(shutil.copytree(dicom_plan.parent / "ct", tmp_path / "ct"))
    sorted(less.iterdir())[-1].unlink()
    with pytest.raises(AlteredError, match="not those"):
        export_plan(PlanFolder.read(dicom_plan, less), (ExportFormat.SEG,), tmp_path / "b")
    assert not list((tmp_path / "b").iterdir())
