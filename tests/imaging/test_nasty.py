"""The corpus of broken and hostile real files, each with what it must end in, and the real studies."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from imaging.dicom_headers import read_slices
from imaging.dicom_inspect import inspect_folder
from imaging.dicom_load import load_series
from imaging.dicom_pixels import decode_frames, read_native
from imaging.dicom_series import UnfitReason
from imaging.errors import InputRefusedError, NerveplanError
from imaging.findings import FindingCode
from imaging.geometry import to_world
from imaging.reading import read_input
from imaging.vetting import RefusedFileError, SkipReason

pytestmark = pytest.mark.data

REFUSED = [
    ("ct-ge-tilt18-nonuniform-4-7mm", r"uneven spacing.*gantry tilt 18\.5 degrees"),
    ("dicom2nifti-failing/gantrytilting", r"4 slices.*gantry tilt 14\.0 degrees"),
    ("dicom2nifti-failing/notavolume", "not a volume: all 4 slices lie at one place"),
    ("dicom2nifti-failing/slicecount", "2 slices, at least"),
    ("dicom2nifti-failing/sliceincrement/001", r"1 missing: steps of 5\.00 mm with a gap of 10\.00 mm"),
    ("dicom2nifti-failing/sliceincrement/002", r"slices are missing.*gantry tilt 15\.5 degrees"),
    ("dicom2nifti-failing/sliceorientation", "the series mixes 2 orientations"),
    ("dicom2nifti-failing", "none of 7 series"),
    ("dicom2nifti-rgb", r"secondary capture.*colour or palette images \(RGB\)"),
    ("dicom2nifti-rle", "4 slices, at least"),
    ("ct-all-transfer-syntaxes", "mixes images of"),
    ("nema-wg04-ct-compressed", "mixes images of"),
    ("nema-wg04-ct-compressed/JPLY", "1 slice, at least"),
    ("mixed-patients", "mixes images of"),
    ("charsets-clunie", "mixes images of"),
    ("pydicom-data-misc", "mixes images of"),
    ("siemens-physiolog-nonimage", r"not a volume.*no pixel data"),
    ("siemens-physiolog-nonimage/dcm", "no pixel data"),
    ("siemens-physiolog-nonimage/dcm_ser", "not DICOM"),
    ("made", "nested deeper than the limit"),
]


@pytest.mark.parametrize(("folder", "words"), REFUSED)
def test_folder_is_refused_by_name(folder: str, words: str, data: Path) -> None:
    with pytest.raises(InputRefusedError, match=words):
        read_input(data / "nasty" / folder)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("nest.dcm", SkipReason.TOO_DEEP), ("nest5.dcm", SkipReason.TOO_DEEP), ("vl.dcm", SkipReason.TRUNCATED)],
)
def test_made_files_are_refused_at_once(name: str, expected: SkipReason, data: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(RefusedFileError) as refusal:
        read_slices(data / "nasty" / "made" / name)
    assert refusal.value.reason is expected
    assert time.process_time() - start < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_every_file_of_the_corpus_ends_in_a_verdict(data: Path) -> None:
    """Each file alone: parsed, or refused with a reason; its first frame decoded, or refused."""
    ends: dict[str, int] = {}
    for file in sorted((data / "nasty").rglob("*")):
        if not file.is_file():
            continue
        try:
            record = read_slices(file)[0]
            if record.pixels.samples == 1 and record.pixels.syntax.encapsulated:
                next(decode_frames(record.pixels, [0]))
            end = "read"
        except NerveplanError as error:
            end = str(error).split(":")[1]
        ends[end] = ends.get(end, 0) + 1
    assert ends.pop("read") >= 165
    assert set(ends) >= {" a transfer syntax that is not read", " no pixel data (not an image)", " not DICOM"}


def test_one_slice_in_every_transfer_syntax_decodes_alike(data: Path) -> None:
    folder = data / "nasty" / "ct-all-transfer-syntaxes"
    plain = np.zeros((512, 512), np.int16)
    read_native(read_slices(folder / "CTImage.dcm")[0].pixels, 0, plain)
    seen, refused = set(), []
    for file in sorted(folder.glob("CTImage.dcm_*")):
        try:
            pixels = read_slices(file)[0].pixels
        except RefusedFileError as error:
            refused.append((error.reason, error.detail))
            continue
        out = np.zeros((512, 512), np.int16)
        if pixels.syntax.encapsulated:
            out = next(decode_frames(pixels, [0]))
        else:
            read_native(pixels, 0, out)
        seen.add(pixels.syntax.name)
        if not pixels.syntax.lossy:
            assert (out == plain).all(), file.name
        elif pixels.bits_allocated == 16 and "JPEG Ext" not in pixels.syntax.name:
            assert np.abs(out.astype(int) - plain).mean() < 12, file.name
    assert len(seen) == 13
    syntax = SkipReason.TRANSFER_SYNTAX
    assert refused == [(syntax, "1.2.840.10008.1.2.4.55"), (syntax, "1.2.840.10008.1.2.4.53")]


def test_names_in_any_character_set_are_never_said(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    inspection = inspect_folder(data / "nasty" / "charsets-clunie")
    assert inspection.patients > 10
    said = repr(inspection) + caplog.text + " ".join(f.message for f in inspection.findings)
    for word in ("Buc", "Äneas", "Yamada", "Wang", "Люк", "Dionysios", "Hong"):
        assert word not in said


def test_prone_sagittal_mr_lies_in_its_place(data: Path) -> None:
    volume = read_input(data / "nasty" / "mr-prone-HFP-sag")
    assert volume.modality == "MR"
    assert volume.grid.shape == (35, 256, 256)
    assert {FindingCode.UNUSUAL_PATIENT_POSITION, FindingCode.OBLIQUE_STACK} <= {f.code for f in volume.findings}
    assert to_world(volume.grid, (0, 0, 0)) == pytest.approx((81.6, -130, 130), abs=1e-3)
    assert to_world(volume.grid, (255, 255, 34)) == pytest.approx((-81.6, 128.98, -128.98), abs=1e-2)


def test_a_cd_with_ct_and_mr_gives_the_ct(data: Path) -> None:
    volume = read_input(data / "dicom" / "lumbar_ct_mr_cc0")
    assert (volume.modality, volume.grid.shape) == ("CT", (38, 512, 512))
    codes = [f.code for f in volume.findings]
    assert codes.count(FindingCode.SERIES_NOT_CHOSEN) == 5
    assert FindingCode.LOCALIZER_EXCLUDED in codes
    k, j, i = ndimage.center_of_mass(volume.values() > 250)
    bone = to_world(volume.grid, (i, j, k))
    assert abs(bone[0]) < 40
    assert -1300 < bone[2] < -950
    assert volume.identity.patient_position == "HFS"


def test_the_scout_inside_a_series_is_split_off(data: Path) -> None:
    inspection = inspect_folder(data / "dicom" / "lumbar_ct_mr_cc0")
    sizes = sorted(len(s.slices) for s in inspection.series)
    assert sizes == [1, 1, 1, 15, 15, 38]
    localizers = [s for s in inspection.series if any(u.reason is UnfitReason.LOCALIZER for u in s.unfit)]
    assert len(localizers) == 2


def test_empty_uids_and_jpeg_2000(data: Path) -> None:
    volume = read_input(data / "dicom" / "lumbar_ct_axial_20slices")
    assert volume.grid.shape == (20, 512, 512)
    assert FindingCode.EMPTY_UIDS in {f.code for f in volume.findings}
    assert volume.values().min() == -1024
    assert volume.grid.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))


def test_the_mr_series_of_the_cd_can_be_chosen(data: Path) -> None:
    inspection = inspect_folder(data / "dicom" / "lumbar_ct_mr_cc0")
    series = next(s for s in inspection.series if s.first.series_number == "4001")
    volume = load_series(series)
    assert volume.modality == "MR"
    assert volume.grid.shape == (15, 498, 448)
