"""NIfTI, NRRD and MetaImage: where the array lies, and what is refused by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from imaging.errors import InputRefusedError, NotFoundError, UsageError
from imaging.files import read_image_file, read_labels
from imaging.findings import FindingCode, Severity
from imaging.geometry import canonical_axes, to_world
from imaging.reading import read_input
from imaging.vetting import Limits
from imaging.volume import Volume
from planner.inspecting import inspect_path

SHAPE = (8, 9, 10)  # x, y, z of the file
TURN = np.array([[0.0, -0.8, 0.6], [0.0, 0.6, 0.8], [-1.0, 0.0, 0.0]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN * (1.0, 1.5, 2.0)
AFFINE[:3, 3] = (10.0, -20.0, 30.0)


def numbers(dtype: Any = np.int16) -> NDArray[Any]:
    """(x, y, z) values: from air to bone, each one once."""
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 3 - 1000).astype(dtype)


def write_nifti(path: Path, change: Callable[[nib.Nifti1Image], None] = lambda _: None, dtype: Any = np.int16) -> Path:
    image = nib.Nifti1Image(numbers(dtype), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm")
    change(image)
    data = bytearray(image.to_bytes())
    if change is codes_zero:
        data[252:256] = b"\0" * 4
    path.write_bytes(gzip.compress(bytes(data)) if path.suffix == ".gz" else bytes(data))
    return path


def check_places(volume: Volume, affine_ras: NDArray[np.float64]) -> None:
    """Every voxel of the volume lies where nibabel says."""
    assert volume.grid.shape == SHAPE[::-1]
    values = volume.values()
    for i, j, k in ((0, 0, 0), (5, 6, 7), (2, 3, 1)):
        ras = affine_ras @ (i, j, k, 1)
        assert to_world(volume.grid, (i, j, k)) == pytest.approx((-ras[0], -ras[1], ras[2]), abs=1e-4)
        assert values[k, j, i] == numbers()[i, j, k]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float32, np.float64])
def test_nifti_lands_where_nibabel_says(suffix: str, dtype: Any, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / f"scan{suffix}", dtype=np.int16 if dtype is np.uint8 else dtype)
    volume = read_input(path)
    check_places(volume, AFFINE)
    assert volume.modality == "CT"
    assert volume.array.dtype == np.int16
    assert FindingCode.MODALITY_UNKNOWN in {f.code for f in volume.findings}


def test_slope_and_intercept_are_kept(tmp_path: Path) -> None:
    def scale(image: nib.Nifti1Image) -> None:
        image.header.set_slope_inter(2.0, -500.0)

    volume = read_image_file(write_nifti(tmp_path / "a.nii", scale))
    assert np.allclose(volume.values(), nib.load(tmp_path / "a.nii").get_fdata().T, atol=2.1)
    assert volume.slope == 2.0


def codes_zero(image: nib.Nifti1Image) -> None:
    """Both codes are cleared in the written bytes: nibabel sets one of them on saving."""


def forms_disagree(image: nib.Nifti1Image) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 5
    image.set_qform(moved, 1)


def sheared(image: nib.Nifti1Image) -> None:
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[0, 1] = 0.4
    image.set_sform(affine, 1)
    image.header["qform_code"] = 0
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)


def in_metres(image: nib.Nifti1Image) -> None:
    image.header.set_xyzt_units("meter")
    image.header["pixdim"][1:4] /= 1000.0


def spacing_disagrees(image: nib.Nifti1Image) -> None:
    image.header["pixdim"][1:4] = (1.0, 1.0, 1.0)
    image.header["qform_code"] = 0


OPEN = [
    (codes_zero, "both 0"), (forms_disagree, "disagree about the place"), (sheared, "sheared"), (in_metres, "metre"),
    (spacing_disagrees, "voxel spacing disagree"),
]


@pytest.mark.parametrize(("change", "words"), OPEN)
def test_an_open_place_is_refused_by_name_unless_stated(
    change: Callable[[nib.Nifti1Image], None], words: str, tmp_path: Path
) -> None:
    path = write_nifti(tmp_path / "open.nii.gz", change)
    with pytest.raises(InputRefusedError, match=words) as refusal:
        read_input(path)
    assert "state the orientation" in str(refusal.value)
    with pytest.raises(InputRefusedError, match=words):
        read_labels(path)
    volume = read_input(path, orientation="LPS")
    assert np.allclose(volume.grid.direction, np.eye(3))
    assert FindingCode.ORIENTATION_STATED in {f.code for f in volume.findings}
    turned = read_input(path, orientation="ial")
    assert np.allclose(turned.grid.direction, np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]]).T)
    assert canonical_axes(turned.grid).apply(turned.array)[1, 2, 3] == numbers()[7 - 1, 8 - 2, 3]


def test_a_stated_orientation_must_agree_with_the_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbers(), np.diag([-1.0, -1.5, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "lps.nii")
    assert read_image_file(tmp_path / "lps.nii", orientation="LPS").grid.direction == pytest.approx(np.eye(3))
    with pytest.raises(InputRefusedError, match="states its orientation"):
        read_image_file(tmp_path / "lps.nii", orientation="RAS")


@pytest.mark.parametrize("word", ["LP", "LPX", "LRS", "LLL", "upside"])
def test_an_orientation_that_is_none_is_a_usage_error(word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="orientation"):
        read_image_file(write_nifti(tmp_path / "open.nii", codes_zero), orientation=word)


def test_a_fourth_dimension_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), AFFINE), tmp_path / "four.nii")
    with pytest.raises(InputRefusedError, match="fourth dimension"):
        read_image_file(tmp_path / "four.nii", orientation="LPS")
    nib.save(nib.Nifti1Image(numbers()[..., None], AFFINE), tmp_path / "one.nii")
    check_places(read_image_file(tmp_path / "one.nii"), AFFINE)


def test_an_unnamed_unit_is_said(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(numbers(), AFFINE), tmp_path / "plain.nii")
    volume = read_image_file(tmp_path / "plain.nii")
    assert FindingCode.UNITS_ASSUMED in {f.code for f in volume.findings}


def test_modality_is_guessed_and_said(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.abs(numbers()), AFFINE), tmp_path / "mr.nii")
    volume = read_image_file(tmp_path / "mr.nii")
    assert volume.modality == "OTHER"
    assert any("modality not named" in finding.message for finding in volume.findings)
    crop = np.clip(numbers(), -150, 900)
    nib.save(nib.Nifti1Image(crop, AFFINE), tmp_path / "crop.nii")
    assert read_image_file(tmp_path / "crop.nii").modality == "CT"


def test_a_gzip_bomb_is_bounded(tmp_path: Path) -> None:
    write_nifti(tmp_path / "bomb.nii")
    header = bytearray((tmp_path / "bomb.nii").read_bytes()[:352])
    header[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], np.int16).tobytes()
    with gzip.open(tmp_path / "bomb.nii.gz", "wb") as out:
        out.write(bytes(header) + b"\0" * 10_000_000)
    with pytest.raises(InputRefusedError, match="beyond the size limit"):
        read_image_file(tmp_path / "bomb.nii.gz")
    with gzip.open(tmp_path / "long.nii.gz", "wb") as out:
        out.write((tmp_path / "bomb.nii").read_bytes() + b"\0" * 10_000_000)
    check_places(read_image_file(tmp_path / "long.nii.gz"), AFFINE)
    with pytest.raises(InputRefusedError, match="size limit"):
        read_image_file(tmp_path / "long.nii.gz", limits=Limits(volume_bytes=100))


def test_truncated_and_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "whole.nii.gz").read_bytes()
    plain = write_nifti(tmp_path / "whole.nii").read_bytes()
    bad = whole[:150] + b"x" * 200
    for name, data in (("cut.nii", plain[:-10]), ("cut.nii.gz", whole[:-200]), ("bad.nii.gz", bad)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputRefusedError, match=r"truncated|damaged|not DICOM"):
            read_input(tmp_path / name)
    with pytest.raises(NotFoundError):
        read_image_file(tmp_path / "absent.nii")


def test_either_byte_order_is_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(numbers().astype(">i2"), AFFINE, header)
    nib.save(image, tmp_path / "big.nii")
    volume = read_image_file(tmp_path / "big.nii")
    check_places(volume, AFFINE)
    assert volume.array.dtype.isnative
    nib.save(nib.Nifti2Image(numbers(), AFFINE), tmp_path / "second.nii.gz")
    check_places(read_input(tmp_path / "second.nii.gz"), AFFINE)


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    plain = write_nifti(tmp_path / "whole.nii").read_bytes()
    (tmp_path / "two.nii.gz").write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]))
    check_places(read_image_file(tmp_path / "two.nii.gz"), AFFINE)


def itk_image() -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(numbers().T))
    flip = np.diag([-1.0, -1.0, 1.0])
    image.SetSpacing((1.0, 1.5, 2.0))
    image.SetDirection((flip @ TURN).ravel().tolist())
    image.SetOrigin((flip @ AFFINE[:3, 3]).tolist())
    return image


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nii"])
def test_files_written_by_itk_land_where_itk_says(suffix: str, compress: bool, tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(), str(tmp_path / f"scan{suffix}"), compress)
    check_places(read_input(tmp_path / f"scan{suffix}"), AFFINE)


def edit(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    data = path.read_bytes()
    for old, new in changes:
        assert old in data, old
        data = data.replace(old, new, 1)
    path.write_bytes(data)
    return path


def test_nrrd_spaces(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    sitk.WriteImage(itk_image(), str(path))
    lps = read_image_file(path)
    edit(path, (b"space: left-posterior-superior", b"space: right-anterior-superior"))
    ras = read_image_file(path)
    assert ras.grid.affine[:2] == pytest.approx(-lps.grid.affine[:2])
    edit(path, (b"space: right-anterior-superior\n", b"space: scanner-xyz\n"))
    with pytest.raises(InputRefusedError, match="not an anatomical one"):
        read_image_file(path)
    edit(path, (b"space: scanner-xyz\n", b""))
    with pytest.raises(InputRefusedError, match="NRRD: no space is named"):
        read_image_file(path)
    assert read_image_file(path, orientation="LPS").grid.spacing == pytest.approx((1.0, 1.5, 2.0))


def test_a_detached_nrrd_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    sitk.WriteImage(itk_image(), str(path))
    edit(path, (b"encoding: raw", b"encoding: raw\ndata file: /etc/passwd"))
    with pytest.raises(InputRefusedError, match="another file"):
        read_image_file(path)


def test_meta_image_without_orientation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.mha"
    sitk.WriteImage(itk_image(), str(path))
    whole = path.read_bytes()
    start = whole.index(b"AnatomicalOrientation")
    end = whole.index(b"\n", start)
    path.write_bytes(whole[:start] + b"AnatomicalOrientation = ???" + whole[end:])
    with pytest.raises(InputRefusedError, match=r"MetaImage: anatomical orientation unknown"):
        read_image_file(path)
    lines = [line for line in whole[:start].split(b"\n") if not line.startswith(b"TransformMatrix")]
    path.write_bytes(b"\n".join(lines) + whole[end + 1 :])
    with pytest.raises(InputRefusedError, match="no orientation is given"):
        read_image_file(path)
    assert read_image_file(path, orientation="RAS").grid.direction[0, 0] == -1.0


@pytest.mark.parametrize("name", [b"../secret.raw", b"/etc/passwd", b"absent.raw"])
def test_meta_image_voxels_must_lie_beside_the_header(name: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(b"\0" * 4000)
    inner = tmp_path / "inner"
    inner.mkdir()
    sitk.WriteImage(itk_image(), str(inner / "scan.mhd"))
    edit(inner / "scan.mhd", (b"scan.raw", name))
    with pytest.raises(InputRefusedError, match="beside its header"):
        read_image_file(inner / "scan.mhd")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_labels_are_whole_numbers_in_place(dtype: Any, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, dtype)
    labels[2, 3, 4] = 23
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    array, grid = read_labels(tmp_path / "labels.nii.gz")
    assert array.dtype == np.uint8
    assert array[4, 3, 2] == 23
    assert array.sum() == 23
    ras = AFFINE @ (2, 3, 4, 1)
    assert to_world(grid, (2, 3, 4)) == pytest.approx((-ras[0], -ras[1], ras[2]), abs=1e-4)


def test_labels_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.float32)
    labels[2, 3, 4] = 23.4
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    with pytest.raises(InputRefusedError, match="not whole"):
        read_labels(tmp_path / "labels.nii.gz")
    nib.save(nib.Nifti1Image(labels * 0 + 1000, AFFINE), tmp_path / "big.nii.gz")
    assert read_labels(tmp_path / "big.nii.gz")[0].dtype == np.int16


@pytest.mark.data
def test_real_files_and_their_labels_share_a_grid(data: Path) -> None:
    scan = read_input(data / "ct" / "verse014.nii.gz")
    labels, grid = read_labels(data / "labels" / "verse014_verse.nii.gz")
    assert grid.same_as(scan.grid)
    assert sorted(set(np.unique(labels)) - {0}) == [20, 21, 22, 23, 24]
    assert canonical_axes(scan.grid).grid.shape[2] == 40


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slab_of_too_few_slices_is_refused_as_it_is_in_dicom(axis: int, tmp_path: Path) -> None:
    thin = [slice(None)] * 3
    thin[axis] = slice(0, 7)
    nib.save(nib.Nifti1Image(numbers()[tuple(thin)], AFFINE), tmp_path / "thin.nii")
    with pytest.raises(InputRefusedError, match="at least 8 slices"):
        read_image_file(tmp_path / "thin.nii")
    seen = inspect_path(tmp_path / "thin.nii")
    assert not seen.fit
    assert "at least 8 slices" in seen.series[0].reasons


def test_the_hash_of_a_file_covers_place_and_scale(tmp_path: Path) -> None:
    def moved(image: nib.Nifti1Image) -> None:
        affine = AFFINE.copy()
        affine[2, 3] += 1.0
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)

    def mirrored(image: nib.Nifti1Image) -> None:
        affine = np.diag([-1.0, 1, 1, 1]) @ AFFINE
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)

    changes = (lambda _: None, moved, mirrored, lambda i: i.header.set_slope_inter(1.0, 1.0),
               lambda i: i.header.set_slope_inter(1.001, 0.0))
    found = [read_image_file(write_nifti(tmp_path / f"{n}.nii", change)).identity.sha256
             for n, change in enumerate(changes)]
    assert len(set(found)) == len(changes)
    packed = read_image_file(write_nifti(tmp_path / "same.nii.gz")).identity.sha256
    assert packed == found[0]


def holed(path: Path, where: tuple[slice, slice, slice], value: float) -> Volume:
    """A body in air, with a part that has no number."""
    array = np.full((40, 40, 40), -1000.0, np.float32)
    array[8:32, 8:32] = 40.0
    array[18:22, 18:22] = 900.0
    array[where] = value
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return read_image_file(path)


@pytest.mark.parametrize(("where", "value", "severity"), [
    (np.s_[:, :, 18:22], np.nan, Severity.BLOCK), (np.s_[20:24, 20:24, 10:20], np.inf, Severity.BLOCK),
    (np.s_[:4], np.nan, Severity.WARNING), (np.s_[:, :, :5], np.nan, Severity.WARNING),
    (np.s_[20:21, 20:21, 20:21], np.nan, Severity.WARNING),
], ids=["band", "hole", "margin", "end", "one voxel"])
def test_values_that_are_no_numbers_are_said(where: Any, value: float, severity: Severity, tmp_path: Path) -> None:
    volume = holed(tmp_path / "holed.nii", where, value)
    found = [f for f in volume.findings if f.code is FindingCode.VALUES_MISSING]
    assert [f.severity for f in found] == [severity]
    assert "hold no number" in found[0].message


def test_whole_values_raise_no_such_finding(tmp_path: Path) -> None:
    volume = holed(tmp_path / "whole.nii", np.s_[:1, :1, :1], -1000.0)
    assert FindingCode.VALUES_MISSING not in {f.code for f in volume.findings}


NRRD = ("NRRD0004\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 9 10\n"
        "space directions: (1,0,0) (0,1.5,0) (0,0,2)\nendian: little\nencoding: {encoding}\n"
        "space origin: (0,0,0)\n{more}\n")
META = ("ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n{more}DimSize = 8 9 10\n"
        "ElementType = MET_SHORT\nElementDataFile = {data}\n")
SIZE = "ElementSpacing = 1 1.5 2\n"


def voxels(order: str = "<") -> bytes:
    return numbers().T.astype(f"{order}i2").tobytes()


@pytest.mark.parametrize(("more", "between"), [("", 0), ("byte skip: 1000\n", 1000), ("byte skip: -1\n", 777)])
def test_the_bytes_an_nrrd_skips_are_skipped(more: str, between: int, tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(NRRD.format(encoding="raw", more=more).encode() + b"\1" * between + voxels())
    assert (numbers() == read_image_file(path).array.T).all()


@pytest.mark.parametrize(("encoding", "more", "words"), [
    ("raw", "line skip: 1\n", "skips lines"), ("gzip", "byte skip: 5\n", "skips lines, or bytes"),
    ("raw", "byte skip: -2\n", "skips"), ("raw", 'space units: "m" "m" "m"\n', "impossible voxel spacing"),
    ("raw", 'space units: "mm" "mm" "cm"\n', "the unit is cm, not"),
    ("raw", 'space units: "furlong" "mm" "mm"\n', "not lengths")])
def test_what_an_nrrd_header_means_otherwise_is_refused_by_name(encoding: str, more: str, words: str,
                                                                 tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    body = gzip.compress(voxels()) if encoding == "gzip" else voxels()
    path.write_bytes(NRRD.format(encoding=encoding, more=more).encode() + body)
    with pytest.raises(InputRefusedError, match=words):
        read_image_file(path)


def test_other_lengths_of_an_nrrd_are_converted_once_the_orientation_is_stated(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(NRRD.format(encoding="raw", more='space units: "cm" "cm" "cm"\n').encode() + voxels())
    assert read_image_file(path, orientation="LPS").grid.spacing == pytest.approx((10.0, 15.0, 20.0))


@pytest.mark.parametrize(("more", "order", "before"), [
    (SIZE, "<", 0), ("ElementSize = 1 1.5 2\n", "<", 0), (SIZE + "BinaryDataByteOrderMSB = 1\n", ">", 0),
    (SIZE + "BinaryDataByteOrderMSB = True\n", ">", 0), (SIZE + "HeaderSize = 300\n", "<", 300),
    (SIZE + "HeaderSize = -1\n", "<", 300)])
def test_what_a_metaimage_header_says_of_its_voxels(more: str, order: str, before: int, tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text(META.format(more=more, data="a.raw"))
    (tmp_path / "a.raw").write_bytes(b"\5" * before + voxels(order))
    volume = read_image_file(tmp_path / "a.mhd")
    assert (numbers() == volume.array.T).all()
    assert volume.grid.spacing == pytest.approx((1.0, 1.5, 2.0))


@pytest.mark.parametrize(("more", "words"), [
    ("", "no ElementSpacing"), (SIZE + "BinaryData = False\n", "written as text"),
    (SIZE + "HeaderSize = -1\n", "HeaderSize of -1"),
    (SIZE + "CompressedData = 1\nHeaderSize = 5\n", "HeaderSize of 5")])
def test_what_a_metaimage_leaves_out_is_refused_by_name(more: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(META.format(more=more, data="LOCAL").encode() + voxels())
    with pytest.raises(InputRefusedError, match=words):
        read_image_file(tmp_path / "a.mha")
