"""Synthetic series of every kind of stack: the known point must come out at its place in the patient."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, generate_uid
from scipy import ndimage

from imaging.dicom_inspect import choose_series, inspect_folder
from imaging.dicom_load import load_series
from imaging.dicom_series import UnfitReason
from imaging.errors import InputRefusedError, NotFoundError, UsageError
from imaging.findings import FindingCode, Severity
from imaging.geometry import to_world
from imaging.position import depth_words, lying, position_of
from imaging.reading import read_input
from imaging.volume import Volume

Write = Callable[..., Path]
TURN = np.radians(25)


def bright_place(volume: Volume) -> NDArray[np.float64]:
    """(3,) LPS mm: centre of mass of what is much brighter than soft tissue."""
    weight = np.clip(volume.values() - 300.0, 0, None)
    k, j, i = ndimage.center_of_mass(weight)
    return to_world(volume.grid, (i, j, k))


def codes(volume: Volume) -> set[FindingCode]:
    return {finding.code for finding in volume.findings}


STACKS: dict[str, dict[str, Any]] = {
    "axial": {},
    "axial, feet first in the file": {"step": (0, 0, -2.0), "corner": (-20, -70, 86)},
    "sagittal": {"row": (0, 1, 0), "column": (0, 0, -1), "step": (2.0, 0, 0), "corner": (-20, -70, 90)},
    "sagittal, right to left": {"row": (0, 1, 0), "column": (0, 0, -1), "step": (-2.0, 0, 0), "corner": (40, -70, 90)},
    "coronal": {"row": (1, 0, 0), "column": (0, 0, -1), "step": (0, 2.0, 0), "corner": (-20, -65, 90)},
    "oblique": {
        "row": (np.cos(TURN), np.sin(TURN), 0), "column": (-np.sin(TURN), np.cos(TURN), 0), "corner": (-10, -75, 26),
    },
    "double oblique": {
        "row": (np.cos(TURN), 0, -np.sin(TURN)), "column": (0, 1, 0),
        "step": (2 * np.sin(TURN), 0, 2 * np.cos(TURN)), "corner": (-35, -70, 40),
    },
    "prone axes": {"row": (-1, 0, 0), "column": (0, -1, 0), "corner": (50, 0, 26)},
}


@pytest.mark.parametrize("name", STACKS)
def test_a_known_point_lands_in_its_place(
    name: str, write_series: Write, series_spec: Any, mark: NDArray[np.float64]
) -> None:
    volume = read_input(write_series(series_spec(**STACKS[name])))
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)
    assert volume.array.dtype == np.int16
    assert volume.values().max() == pytest.approx(1040, abs=60)
    assert np.linalg.det(volume.grid.direction) == pytest.approx(1.0)
    assert (FindingCode.OBLIQUE_STACK in codes(volume)) == name.startswith(("sagittal", "coronal", "double"))


def test_slice_order_names_and_instance_numbers_do_not_matter(write_series: Write, tmp_path: Path) -> None:
    folder = write_series()
    straight = read_input(folder)
    shuffled = tmp_path / "shuffled" / "deeper"
    shuffled.mkdir(parents=True)
    for n, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        ds = pydicom.dcmread(file)
        ds.InstanceNumber = (n * 7) % 30
        ds.save_as(shuffled / f"{(n * 11) % 30:04d}", enforce_file_format=True)
    again = read_input(shuffled.parent)
    assert (again.array == straight.array).all()
    assert again.grid.same_as(straight.grid)
    assert again.identity.sha256 == straight.identity.sha256
    assert again.identity.instance_uids == straight.identity.instance_uids
    assert len(straight.identity.sha256) == 64


def test_identity_changes_with_one_pixel(write_series: Write) -> None:
    folder = write_series()
    before = read_input(folder).identity.sha256
    file = sorted(folder.iterdir())[5]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    assert read_input(folder).identity.sha256 != before


@pytest.mark.parametrize("tilt", [10.0, -18.5])
def test_gantry_tilt_is_corrected(
    tilt: float, write_series: Write, series_spec: Any, mark: NDArray[np.float64]
) -> None:
    angle = np.radians(tilt)
    spec = series_spec(column=(0, np.cos(angle), -np.sin(angle)), corner=(-20, -70, 30 + 35 * np.sin(angle)))
    volume = read_input(write_series(spec))
    assert bright_place(volume) == pytest.approx(mark, abs=0.15)
    assert FindingCode.GANTRY_TILT_CORRECTED in codes(volume)
    message = next(f.message for f in volume.findings if f.code is FindingCode.GANTRY_TILT_CORRECTED)
    assert f"{abs(tilt):.1f} degrees" in message
    assert volume.grid.shape[1] > 48
    assert volume.values().min() == -2000


def test_a_short_gap_is_bridged_and_said(write_series: Write, series_spec: Any, mark: NDArray[np.float64]) -> None:
    spec = series_spec(step=(0, 0, 1.0), count=60, skip=(31,))
    volume = read_input(write_series(spec))
    assert volume.grid.shape[0] == 60
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)
    assert FindingCode.MISSING_SLICES in codes(volume)


def test_tilt_and_a_short_gap_together(write_series: Write, series_spec: Any, mark: NDArray[np.float64]) -> None:
    angle = np.radians(12)
    spec = series_spec(
        column=(0, np.cos(angle), -np.sin(angle)), step=(0, 0, 1.0), count=60, skip=(33,), corner=(-20, -70, 38)
    )
    volume = read_input(write_series(spec))
    assert bright_place(volume) == pytest.approx(mark, abs=0.15)
    assert {FindingCode.MISSING_SLICES, FindingCode.GANTRY_TILT_CORRECTED} <= codes(volume)


def test_a_wide_gap_is_refused(write_series: Write, series_spec: Any) -> None:
    with pytest.raises(InputRefusedError, match=r"1 missing: steps of 2.00 mm with a gap of 4.00 mm"):
        read_input(write_series(series_spec(skip=(12,))))


def test_slightly_uneven_steps_are_evened_out(write_series: Write, series_spec: Any, mark: NDArray[np.float64]) -> None:
    def jitter(ds: Dataset, n: int) -> None:
        z = 26.0 + 1.0 * n + (0.2 if n % 7 == 3 else 0.0)
        points = np.stack(np.meshgrid(np.arange(40) * 1.75 - 20, np.arange(48) * 1.5 - 70), axis=-1)
        grid = np.concatenate([points, np.full((48, 40, 1), z)], axis=-1)
        ds.ImagePositionPatient = [-20, -70, z]
        ds.PixelData = np.rint(series_spec().values(grid) + 1024).astype(np.int16).tobytes()

    volume = read_input(write_series(series_spec(step=(0, 0, 1.0), count=60, change=jitter)))
    assert FindingCode.UNEVEN_SPACING in codes(volume)
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)


def test_rounded_positions_do_not_add_up(write_series: Write, series_spec: Any, mark: NDArray[np.float64]) -> None:
    def rounded(ds: Dataset, n: int) -> None:
        ds.ImagePositionPatient = [-20, -70, round(26 + 0.625 * n, 2)]

    volume = read_input(write_series(series_spec(step=(0, 0, 0.625), count=96, change=rounded)))
    assert FindingCode.UNEVEN_SPACING not in codes(volume)
    assert volume.grid.spacing[2] == pytest.approx(0.625, abs=1e-3)
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)


def test_uneven_stacks_are_refused(write_series: Write, series_spec: Any) -> None:
    def stretch(ds: Dataset, n: int) -> None:
        ds.ImagePositionPatient = [-20, -70, 4.0 * n if n < 15 else 60 + 7.0 * (n - 15)]

    with pytest.raises(InputRefusedError, match="uneven spacing"):
        read_input(write_series(series_spec(change=stretch)))


def test_copied_files_are_dropped_and_said(write_series: Write, mark: NDArray[np.float64]) -> None:
    folder = write_series()
    for n, file in enumerate(sorted(folder.iterdir())[3:6]):
        shutil.copy(file, folder / f"copy{n}")
    volume = read_input(folder)
    assert volume.grid.shape[0] == 30
    assert FindingCode.DUPLICATE_SLICES in codes(volume)
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)


def test_same_pixels_under_new_identifiers_are_dropped(write_series: Write) -> None:
    folder = write_series()
    ds = pydicom.dcmread(sorted(folder.iterdir())[3])
    ds.SOPInstanceUID = generate_uid()
    ds.save_as(folder / "again", enforce_file_format=True)
    assert FindingCode.DUPLICATE_SLICES in codes(read_input(folder))


def test_two_phases_in_one_series_are_kept_apart(write_series: Write, series_spec: Any) -> None:
    folder = write_series()
    for file in sorted(folder.iterdir()):
        ds = pydicom.dcmread(file)
        ds.AcquisitionNumber = 2
        ds.SOPInstanceUID = generate_uid()
        ds.PixelData = (np.frombuffer(ds.PixelData, np.int16) + 5).tobytes()
        ds.save_as(folder / f"second{file.name}", enforce_file_format=True)
    inspection = inspect_folder(folder)
    assert [len(s.slices) for s in inspection.series] == [30, 30]
    assert read_input(folder).grid.shape[0] == 30


def test_overlapping_stations_are_kept_apart(write_series: Write, series_spec: Any, mark: NDArray[np.float64]) -> None:
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    folder = write_series(series_spec(tags={**uids, "AcquisitionNumber": 1}))
    write_series(series_spec(tags={**uids, "AcquisitionNumber": 2}, corner=(-20, -70, 83.3), count=12), folder)
    volume = read_input(folder)
    assert volume.grid.shape[0] == 30
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)
    assert FindingCode.SERIES_NOT_CHOSEN in codes(volume)


def test_an_index_of_a_disc_is_not_followed(write_series: Write) -> None:
    folder = write_series()
    ds = pydicom.dcmread(sorted(folder.iterdir())[0])
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.save_as(folder / "DICOMDIR")
    inspection = inspect_folder(folder)
    assert "DICOMDIR" in inspection.skipped_words
    assert len(inspection.series[0].slices) == 30


def test_different_images_at_one_place_are_refused(write_series: Write, series_spec: Any) -> None:
    folder = write_series()
    ds = pydicom.dcmread(sorted(folder.iterdir())[3])
    ds.SOPInstanceUID = generate_uid()
    ds.PixelData = (np.frombuffer(ds.PixelData, np.int16) + 5).tobytes()
    ds.save_as(folder / "again", enforce_file_format=True)
    with pytest.raises(InputRefusedError, match="different images share one place"):
        read_input(folder)


def test_empty_uids_are_grouped_by_folder(write_series: Write, series_spec: Any, mark: NDArray[np.float64]) -> None:
    def empty(ds: Dataset, n: int) -> None:
        ds.StudyInstanceUID = ds.SeriesInstanceUID = ds.SOPInstanceUID = ""

    volume = read_input(write_series(series_spec(change=empty)))
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)
    assert FindingCode.EMPTY_UIDS in codes(volume)
    assert volume.identity.instance_uids == ()


def test_run_length_compression_reads_alike(write_series: Write, series_spec: Any) -> None:
    plain = read_input(write_series())

    def compress(ds: Dataset, n: int) -> None:
        ds.compress(RLELossless, generate_instance_uid=False)

    packed = read_input(write_series(series_spec(change=compress), plain_folder(plain, "rle")))
    assert (packed.array == plain.array).all()
    assert packed.grid.same_as(plain.grid)


def plain_folder(volume: Volume, name: str) -> Path:
    return Path(volume.identity.source).parent / name


def test_many_compressed_slices_go_through_workers(
    write_series: Write, series_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imaging import dicom_workers

    plain = read_input(write_series())
    compress = lambda ds, n: ds.compress(RLELossless, generate_instance_uid=False)  # noqa: E731
    folder = write_series(series_spec(change=compress), plain_folder(plain, "rle"))
    records = inspect_folder(folder).series[0].slices
    out = np.zeros_like(plain.array)
    dicom_workers.decode_into(out, [(r.pixels, r.frame) for r in records], workers=2)
    assert (out == plain.array).all()
    file = records[7].pixels.path
    file.write_bytes(file.read_bytes()[: records[7].pixels.offset + 40])
    with pytest.raises(InputRefusedError, match="RLE"):
        dicom_workers.decode_into(out, [(r.pixels, r.frame) for r in records], workers=2)
    monkeypatch.setattr(dicom_workers, "_BASE_SECONDS", 0.0)
    monkeypatch.setattr(dicom_workers, "_SLICE_SECONDS", 0.001)
    with pytest.raises(InputRefusedError, match="the decoder stopped"):
        dicom_workers.decode_into(out, [(r.pixels, r.frame) for r in records[8:]], workers=1)


def test_rescale_that_differs_between_slices_is_applied(
    write_series: Write, series_spec: Any, mark: NDArray[np.float64]
) -> None:
    volume = read_input(write_series(series_spec(rescale=lambda n: (0.1 + 0.01 * n, -1024.0))))
    assert volume.array.dtype == np.float32
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)
    assert np.median(volume.values()) == pytest.approx(40, abs=1)


def test_large_unsigned_values_fit_into_int16(write_series: Write, series_spec: Any) -> None:
    def unsigned(ds: Dataset, n: int) -> None:
        ds.PixelRepresentation = 0
        ds.PixelData = (np.frombuffer(ds.PixelData, np.int16).astype(np.int32) + 40000).astype(np.uint16).tobytes()
        ds.RescaleIntercept = -41024

    volume = read_input(write_series(series_spec(change=unsigned)))
    assert volume.array.dtype == np.int16
    assert np.median(volume.values()) == pytest.approx(40, abs=1)


def test_bits_above_those_stored_are_removed(write_series: Write, series_spec: Any) -> None:
    def overlay(ds: Dataset, n: int) -> None:
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 0, 12, 11
        ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) | 0x8000).tobytes()

    assert np.median(read_input(write_series(series_spec(change=overlay))).values()) == pytest.approx(40, abs=1)


def test_a_ct_without_rescale(write_series: Write, series_spec: Any, tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="no rescale"):
        read_input(write_series(series_spec(rescale=lambda n: None)))
    with_air = series_spec(rescale=lambda n: None, values=lambda p: np.where(p[..., 1] > -30, -1000.0, 40.0))
    volume = read_input(write_series(with_air, tmp_path / "air"))
    assert FindingCode.MISSING_RESCALE in codes(volume)


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"PatientPosition": "HFP"}, FindingCode.UNUSUAL_PATIENT_POSITION),
        ({"PatientPosition": "HFDR"}, FindingCode.UNUSUAL_PATIENT_POSITION),
        ({"BurnedInAnnotation": "YES"}, FindingCode.BURNED_IN_ANNOTATION),
        ({"LossyImageCompression": "01"}, FindingCode.COMPRESSED_LOSSY),
        ({"SliceThickness": "5"}, FindingCode.THICK_SLICES),
    ],
)
def test_headers_that_need_saying_are_said(
    tags: dict[str, Any], code: FindingCode, write_series: Write, series_spec: Any
) -> None:
    assert code in codes(read_input(write_series(series_spec(tags=tags))))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, UnfitReason.LOCALIZER),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, UnfitReason.SECONDARY_CAPTURE),
        ({"Modality": "US"}, UnfitReason.MODALITY),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, UnfitReason.COLOUR),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, UnfitReason.NO_GEOMETRY),
    ],
)
def test_unfit_series_say_why(tags: dict[str, Any], reason: UnfitReason, write_series: Write, series_spec: Any) -> None:
    inspection = inspect_folder(write_series(series_spec(tags=tags)))
    assert reason in {unfit.reason for unfit in inspection.series[0].unfit}
    with pytest.raises(InputRefusedError, match="fit for planning"):
        choose_series(inspection)
    with pytest.raises(InputRefusedError, match="not fit"):
        load_series(inspection.series[0])


def test_missing_positions_are_no_geometry(write_series: Write, series_spec: Any) -> None:
    def strip(ds: Dataset, n: int) -> None:
        del ds.ImagePositionPatient

    inspection = inspect_folder(write_series(series_spec(change=strip)))
    assert inspection.series[0].geometry is None
    assert inspection.series[0].unfit[0].reason is UnfitReason.NO_GEOMETRY


def test_the_best_series_is_chosen_and_the_others_are_explained(write_series: Write, series_spec: Any) -> None:
    folder = write_series(series_spec(count=60, step=(0, 0, 2.0)))
    write_series(series_spec(tags={"Modality": "MR"}), folder)
    write_series(series_spec(count=3), folder)
    sagittal = write_series(
        series_spec(row=(0, 1, 0), column=(0, 0, -1), step=(2, 0, 0), count=60, corner=(-60, -70, 90)), folder
    )
    (folder / "readme.txt").write_text("not an image")
    inspection = inspect_folder(sagittal)
    chosen, why = choose_series(inspection)
    assert (chosen.modality, len(chosen.slices), chosen.geometry and chosen.geometry.plane) == ("CT", 60, "axial")
    assert len(why) == 3
    assert {f.code for f in why} == {FindingCode.SERIES_NOT_CHOSEN}
    words = " ".join(f.message for f in why)
    assert "CT is preferred" in words
    assert "3 slices, at least 8 needed" in words
    assert "axial stack suits planning better" in words
    assert inspection.findings[0].code is FindingCode.FILES_SKIPPED
    other = next(s for s in inspection.series if s.modality == "MR")
    assert read_input(folder, series_uid=other.uid).modality == "MR"
    with pytest.raises(NotFoundError, match="no series"):
        read_input(folder, series_uid="1.2.3")


def test_two_patients_in_one_folder_are_refused(write_series: Write, series_spec: Any) -> None:
    folder = write_series()
    write_series(series_spec(tags={"PatientID": "p2"}), folder)
    with pytest.raises(InputRefusedError, match="2 patients"):
        read_input(folder)
    one = inspect_folder(folder).series[0]
    assert read_input(folder, series_uid=one.uid).grid.shape[0] == 30


def test_two_names_under_one_identity_are_said(write_series: Write, series_spec: Any, tmp_path: Path) -> None:
    def name(ds: Dataset, n: int) -> None:
        ds.PatientName = "Other^One" if n == 11 else "Some^One"

    def case(ds: Dataset, n: int) -> None:
        ds.PatientName = "SOME ONE" if n == 11 else "Some^One"

    assert FindingCode.PATIENT_NAMES_DIFFER in codes(read_input(write_series(series_spec(change=name))))
    same = read_input(write_series(series_spec(change=case), tmp_path / "same"))
    assert FindingCode.PATIENT_NAMES_DIFFER not in codes(same)


def test_two_patients_in_one_series_are_refused(write_series: Write, series_spec: Any) -> None:
    def swap(ds: Dataset, n: int) -> None:
        ds.PatientID = "p2" if n == 11 else "p1"

    folder = write_series(series_spec(change=swap))
    uid = inspect_folder(folder).series[0].uid
    with pytest.raises(InputRefusedError, match="different patients in one series"):
        read_input(folder, series_uid=uid)


def test_no_name_of_a_person_is_said(
    write_series: Write, series_spec: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG")
    tags = {"SeriesDescription": "Secret for Name", "PatientPosition": "HFP"}
    volume = read_input(write_series(series_spec(tags=tags)))
    with pytest.raises(InputRefusedError) as refusal:
        read_input(write_series(series_spec(tags=tags, count=3), tmp_path / "few"))
    said = caplog.text + str(refusal.value) + repr((volume.findings, volume.identity, inspect_folder(tmp_path)))
    assert "Secret" not in said.replace(str(tmp_path), "")


def test_links_may_not_leave_the_folder(write_series: Write, tmp_path: Path) -> None:
    folder = write_series()
    inside = sorted(folder.iterdir())
    outside = tmp_path / "outside.dcm"
    shutil.move(inside[0], outside)
    (folder / "link.dcm").symlink_to(outside)
    inspection = inspect_folder(folder)
    assert len(inspection.series[0].slices) == 29
    assert "leaves the folder" in inspection.skipped_words


def test_inputs_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        read_input(tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputRefusedError, match="empty"):
        read_input(empty)
    text = tmp_path / "note.dcm"
    text.write_text("this is no image " * 20)
    with pytest.raises(InputRefusedError, match="not DICOM"):
        read_input(text)
    with pytest.raises(UsageError, match="orientation"):
        read_input(text, orientation="LPS")


def test_enhanced_multi_frame_is_placed_by_its_groups(
    one_slice: Callable[..., Dataset], series_spec: Any, tmp_path: Path, mark: NDArray[np.float64]
) -> None:
    spec = series_spec()
    slices = [one_slice(spec, n) for n in range(30)]
    order = [(n * 7) % 30 for n in range(30)]
    ds = slices[0]
    ds.NumberOfFrames = 30
    ds.PixelData = b"".join(slices[n].PixelData for n in order)
    shared, frames = Dataset(), []
    measures, turn = Dataset(), Dataset()
    measures.PixelSpacing, turn.ImageOrientationPatient = list(spec.spacing), [*spec.row, *spec.column]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    for n in order:
        item, place = Dataset(), Dataset()
        place.ImagePositionPatient = slices[n].ImagePositionPatient
        item.PlanePositionSequence = [place]
        frames.append(item)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del ds[key]
    file = tmp_path / "enhanced.dcm"
    ds.save_as(file, enforce_file_format=True)
    volume = read_input(file)
    assert volume.grid.shape[0] == 30
    assert bright_place(volume) == pytest.approx(mark, abs=0.1)
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(file, enforce_file_format=True)
    assert (read_input(file).array == volume.array).all()


@pytest.mark.parametrize(("signed", "value"), [(False, 65535), (True, 3000), (True, -1024)])
def test_declared_padding_reads_as_nothing(signed: bool, value: int, write_series: Write, series_spec: Any) -> None:
    """Around the picture only, unless no tissue can have the value: inside the body it is what it says."""
    y, x = np.mgrid[0:48, 0:40]
    ring = ((y - 23.5) / 22) ** 2 + ((x - 19.5) / 18) ** 2 > 1
    inside = (slice(20, 22), slice(15, 17))

    def pad(ds: Dataset, n: int) -> None:
        stored = np.frombuffer(ds.PixelData, np.int16).reshape(48, 40).astype(np.int32)
        stored[ring] = value
        stored[inside] = value
        ds.PixelRepresentation = int(signed)
        ds.PixelData = stored.astype(np.int16 if signed else np.uint16).tobytes()
        ds.add_new(0x00280120, "SS" if signed else "US", value)

    volume = read_input(write_series(series_spec(change=pad)))
    assert volume.array.dtype == np.int16
    assert (volume.values()[:, ring] == (-2000 if value > 0 else value - 1024)).all()
    assert (volume.values()[(slice(None), *inside)] == (-2000 if value == 65535 else value - 1024)).all()


@pytest.mark.parametrize(("tag", "value", "words"), [
    ("FrameOfReferenceUID", "1.2.3.9", "another frame of reference"),
    ("ImageOrientationPatient", ["0.999", "0.0447", "0", "-0.0447", "0.999", "0"], "another tilt or orientation"),
    ("PixelSpacing", ["1.6", "1.75"], "another format or voxel size")])
def test_half_a_stack_left_out_is_a_warning(tag: str, value: Any, words: str, write_series: Write,
                                           series_spec: Any) -> None:
    def other(ds: Dataset, n: int) -> None:
        if n >= 18:
            setattr(ds, tag, value)

    volume = read_input(write_series(series_spec(change=other)))
    said = [f for f in volume.findings if f.code is FindingCode.SLICES_LEFT_OUT]
    assert [f.severity for f in said] == [Severity.WARNING]
    assert f"12 of 30 slices of the series were left out ({words})" in said[0].message
    assert FindingCode.LOCALIZER_EXCLUDED not in codes(volume)


@pytest.mark.parametrize(("stated", "words"), [
    ("HFS", "supine"), ("ffp", "prone"), ("hfdl", "on the left side"), ("FFDR", "on the right side"), ("", ""),
    ("PF", ""), ("HFPX", "")])
def test_how_the_patient_lay(stated: str, words: str, write_series: Write, series_spec: Any) -> None:
    volume = read_input(write_series(series_spec(tags={"PatientPosition": stated})))
    assert lying(position_of(volume)) == lying(stated) == words
    assert depth_words(stated) == f"measured {words or 'in a position that is not known, taken as supine'}"
    usual = stated in ("", "HFS")
    assert (FindingCode.UNUSUAL_PATIENT_POSITION in codes(volume)) != usual
