"""DICOM segmentations written by highdicom on the phantom's own series, read back and imported as label maps."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from imaging.dicom_seg import is_dicom_segmentation, read_dicom_segmentation
from imaging.errors import InputRefusedError, NotFoundError, UsageError
from imaging.reading import read_input
from imaging.volume import Volume
from sample_data.dicom import write_series
from sample_data.phantom import Phantom
from segmentation.anatomy import VERSE_LABEL, Level
from segmentation.constants import constants
from segmentation.labels import import_labels

LUMBAR = (Level.L1, Level.L2, Level.L3, Level.L4, Level.L5, Level.S1)


def code_of(level: Level) -> str:
    return next(code for code, name in constants("label_schemes")["dicom-seg"]["levels"].items() if name == level.value)


def describe(number: int, level: Level, code: str | None = None) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        number, f"segment {number}", codes.SCT.AnatomicalStructure, Code(code or code_of(level), "SCT", level.value),
        hd.seg.SegmentAlgorithmTypeValues.MANUAL)


def write_seg(path: Path, series: list[Path], masks: np.ndarray, descriptions: list[hd.seg.SegmentDescription],
              kind: str = "BINARY") -> Path:
    """`masks` is (frames, rows, columns) of segment numbers, or with a last axis of one mask per segment."""
    images = [pydicom.dcmread(file) for file in series]
    hd.seg.Segmentation(
        images, masks, kind, descriptions, hd.UID(), 1, hd.UID(), 1, "nerveplan", "test", "0", "0",
        transfer_syntax_uid=pydicom.uid.ExplicitVRLittleEndian).save_as(path)
    return path


@pytest.fixture(scope="module")
def series(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files from the head down."""
    return write_series(phantom, tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def volume(series: list[Path]) -> Volume:
    return read_input(series[0].parent)


@pytest.fixture(scope="module")
def numbered(phantom: Phantom) -> np.ndarray:
    """Segment numbers from the head down, in an order that is not the spine's."""
    out = np.zeros(phantom.labels.shape, np.uint8)
    for number, level in enumerate(reversed(LUMBAR), start=1):
        out[phantom.labels == VERSE_LABEL[level]] = number
    return np.ascontiguousarray(out[::-1])


@pytest.fixture(scope="module")
def segmentation(series: list[Path], numbered: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    descriptions = [describe(n, level) for n, level in enumerate(reversed(LUMBAR), start=1)]
    return write_seg(tmp_path_factory.mktemp("seg") / "spine.dcm", series, numbered, descriptions)


def test_the_codes_name_the_levels_whatever_the_numbers(segmentation: Path, volume: Volume, phantom: Phantom) -> None:
    found = import_labels(segmentation, "dicom-seg", volume)
    assert set(found.levels.values()) == {level.value for level in LUMBAR}
    turned = import_labels((phantom.labels, volume.grid), "verse", volume) if volume.grid.affine[2, 2] > 0 else None
    assert turned is not None, "the reader stacks from the feet up"
    wanted = np.where(turned.labels >= VERSE_LABEL[Level.L1], turned.labels, 0)
    np.testing.assert_array_equal(found.labels, wanted)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_both_kinds_of_object_and_a_stack_stored_the_other_way(
        kind: str, series: list[Path], numbered: np.ndarray, tmp_path: Path, segmentation: Path) -> None:
    descriptions = [describe(n, level) for n, level in enumerate(reversed(LUMBAR), start=1)]
    other = read_dicom_segmentation(write_seg(tmp_path / "other.dcm", series[::-1], numbered[::-1], descriptions, kind))
    one = read_dicom_segmentation(segmentation)
    def places(found: object) -> np.ndarray:
        k, j, i = np.nonzero(found.array == 2)
        ijk = np.stack([i, j, k, np.ones_like(i)])
        return np.sort((found.grid.affine @ ijk)[2])
    np.testing.assert_allclose(places(one), places(other), atol=1e-3)
    assert one.segments == other.segments


def test_codes_that_are_no_vertebra_are_left_out(series: list[Path], numbered: np.ndarray, tmp_path: Path,
                                                 volume: Volume) -> None:
    descriptions = [describe(n, level, "10200004" if n == 6 else None)
                    for n, level in enumerate(reversed(LUMBAR), start=1)]
    found = import_labels(write_seg(tmp_path / "liver.dcm", series, numbered, descriptions), "dicom-seg", volume)
    assert "L1" not in found.levels.values()


def test_another_frame_of_reference_is_refused(series: list[Path], numbered: np.ndarray, tmp_path: Path,
                                               segmentation: Path, volume: Volume) -> None:
    stored = pydicom.dcmread(segmentation)
    stored.FrameOfReferenceUID = pydicom.uid.generate_uid()
    stored.save_as(tmp_path / "elsewhere.dcm")
    with pytest.raises(InputRefusedError, match="another frame of reference"):
        import_labels(tmp_path / "elsewhere.dcm", "dicom-seg", volume)


def test_overlapping_segments_are_refused(series: list[Path], numbered: np.ndarray, tmp_path: Path) -> None:
    masks = np.stack([numbered > 0, numbered > 0], axis=-1)
    descriptions = [describe(1, Level.L1), describe(2, Level.L2)]
    with pytest.raises(InputRefusedError, match="overlap"):
        read_dicom_segmentation(write_seg(tmp_path / "twice.dcm", series, masks, descriptions))


def test_what_is_no_segmentation_is_refused(series: list[Path], tmp_path: Path, segmentation: Path) -> None:
    assert is_dicom_segmentation(segmentation)
    assert not is_dicom_segmentation(series[0])
    with pytest.raises(InputRefusedError, match="no DICOM segmentation"):
        read_dicom_segmentation(series[0])
    with pytest.raises(NotFoundError):
        read_dicom_segmentation(tmp_path / "absent.dcm")
    (tmp_path / "text.dcm").write_text("not DICOM")
    assert not is_dicom_segmentation(tmp_path / "text.dcm")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(segmentation.read_bytes()[:200_000])
    with pytest.raises(InputRefusedError):
        read_dicom_segmentation(cut)


def test_the_wrong_scheme_for_the_file_says_which(segmentation: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--scheme dicom-seg"):
        import_labels(segmentation, "verse")


def test_a_frame_count_beyond_the_limit_is_refused_before_decoding(segmentation: Path, tmp_path: Path) -> None:
    stored = pydicom.dcmread(segmentation)
    stored.NumberOfFrames = 2_000_000_000
    stored.save_as(tmp_path / "huge.dcm")
    with pytest.raises(InputRefusedError, match="outside the limit"):
        read_dicom_segmentation(tmp_path / "huge.dcm")
