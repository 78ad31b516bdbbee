"""Hostile and damaged files: each is refused with its reason, at once and in bounded memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from imaging.dicom_headers import read_slices
from imaging.dicom_pixels import read_native
from imaging.errors import NerveplanError
from imaging.reading import read_input
from imaging.vetting import Limits, RefusedFileError, SkipReason, inflate, vet

Make = Callable[..., Dataset]


def save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"SQ", b"OW", b"OB", b"UN", b"UT"):
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def nested(depth: int, defined: bool = True) -> bytes:
    """A sequence in a sequence in a sequence."""
    value = element(0x0008, 0x0100, b"SH", b"CODE")
    for _ in range(depth):
        if defined:
            value = element(0x0040, 0xA730, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value)
        else:
            start = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
            value = start + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + value
            value += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return value


def reason(path: Path, **limits: Any) -> SkipReason:
    with pytest.raises(RefusedFileError) as refusal:
        read_slices(path, Limits(**limits))
    return refusal.value.reason


def inject(ds: Dataset, path: Path, extra: bytes) -> Path:
    """Put raw elements right before the pixels of a saved file."""
    data = save(ds, path).read_bytes()
    at = data.rindex(b"\xe0\x7f\x10\x00")
    path.write_bytes(data[:at] + extra + data[at:])
    return path


@pytest.mark.parametrize("defined", [True, False])
def test_nesting_is_limited(defined: bool, one_slice: Make, tmp_path: Path) -> None:
    assert len(read_slices(inject(one_slice(), tmp_path / "a", nested(20, defined)))) == 1
    assert reason(inject(one_slice(), tmp_path / "b", nested(40, defined))) is SkipReason.TOO_DEEP
    deep = inject(one_slice(), tmp_path / "c", nested(300, defined))
    assert reason(deep) is SkipReason.TOO_DEEP


def test_nesting_inside_unknown_values_is_limited(one_slice: Make, tmp_path: Path) -> None:
    item = nested(1)
    for _ in range(40):
        inner = struct.pack("<HHI", 0x0040, 0xA730, len(item)) + item
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    assert reason(inject(one_slice(), tmp_path / "a", element(0x0041, 0x1010, b"UN", item))) is SkipReason.TOO_DEEP


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (struct.pack("<HH2sHI", 0x0041, 0x1010, b"OB", 0, 0xFFFFFF00), SkipReason.TRUNCATED),
        (struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF), SkipReason.MALFORMED),
        (struct.pack("<HH2sH", 0x0041, 0x1010, b"\0\1", 4) + b"abcd", SkipReason.MALFORMED),
        (element(0x0040, 0xA730, b"SQ", b"not an item here"), SkipReason.MALFORMED),
        (element(0x0040, 0xA730, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 5000)), SkipReason.TRUNCATED),
    ],
)
def test_lengths_must_fit(extra: bytes, expected: SkipReason, one_slice: Make, tmp_path: Path) -> None:
    assert reason(inject(one_slice(), tmp_path / "a", extra)) is expected


def test_pixels_must_be_there(one_slice: Make, tmp_path: Path) -> None:
    whole = save(one_slice(), tmp_path / "a").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-100])
    assert reason(tmp_path / "cut") is SkipReason.TRUNCATED
    ds = one_slice()
    ds.Rows = 4000
    assert reason(save(ds, tmp_path / "b")) is SkipReason.TRUNCATED
    del ds.Rows
    assert reason(save(ds, tmp_path / "c")) is SkipReason.BAD_HEADER
    del ds.PixelData
    assert reason(save(ds, tmp_path / "d")) is SkipReason.NO_PIXELS
    at = whole.rindex(b"\xe0\x7f\x10\x00") + 8
    (tmp_path / "huge").write_bytes(whole[:at] + b"\xf0\xff\xff\xff" + whole[at + 4 :])
    assert reason(tmp_path / "huge") is SkipReason.TRUNCATED


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("PixelSpacing", ["0", "1"], SkipReason.BAD_HEADER),
        ("ImagePositionPatient", ["1", "2"], SkipReason.BAD_HEADER),
        ("NumberOfFrames", "2000000", SkipReason.BAD_HEADER),
        ("NumberOfFrames", "9999", SkipReason.TRUNCATED),
    ],
)
def test_header_values_are_checked(key: str, value: Any, expected: SkipReason, one_slice: Make, tmp_path: Path) -> None:
    ds = one_slice()
    setattr(ds, key, value)
    assert reason(save(ds, tmp_path / "a")) is expected


def test_identifiers_and_syntax_are_checked(one_slice: Make, tmp_path: Path) -> None:
    path = save(one_slice(), tmp_path / "a")
    data = path.read_bytes()
    uid = one_slice().file_meta.TransferSyntaxUID.encode()
    path.write_bytes(data.replace(uid, b"1.2.840.10008.1.2.4"))
    assert reason(path) is SkipReason.TRANSFER_SYNTAX
    series = data.index(b"\x20\x00\x0e\x00UI") + 8
    path.write_bytes(data[:series] + b"../../etc/passwd"[:10] + data[series + 10 :])
    assert reason(path) is SkipReason.BAD_UID


def test_counts_and_sizes_are_limited(one_slice: Make, tmp_path: Path) -> None:
    path = save(one_slice(), tmp_path / "a")
    assert reason(path, elements=10) is SkipReason.TOO_MANY_ELEMENTS
    assert reason(path, frame_bytes=1000) is SkipReason.TOO_LARGE
    big = inject(one_slice(), tmp_path / "b", element(0x0041, 0x1010, b"OB", b"\0" * 100_000))
    assert reason(big, header_bytes=50_000) is SkipReason.TOO_LARGE
    assert len(read_slices(big)) == 1


def test_deflated_data_sets_are_read_up_to_a_limit(one_slice: Make, tmp_path: Path) -> None:
    ds = one_slice()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(ds, tmp_path / "a")
    record = read_slices(path)[0]
    out = np.zeros((48, 40), np.int16)
    read_native(record.pixels, 0, out)
    assert out.tobytes() == ds.PixelData
    assert reason(path, inflated_bytes=4100) is SkipReason.INFLATES_TOO_FAR
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(b"\0" * 100_000_000) + packer.flush()
    tracemalloc.start()
    with pytest.raises(RefusedFileError, match="inflates"):
        inflate(bomb, Limits(inflated_bytes=1 << 20))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_byte_orders_read_alike(syntax: Any, one_slice: Make, tmp_path: Path) -> None:
    ds = one_slice()
    expected = np.frombuffer(ds.PixelData, np.int16).reshape(48, 40)
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax is ExplicitVRBigEndian:
        ds.PixelData = expected.astype(">i2").tobytes()
    implicit = syntax is ImplicitVRLittleEndian
    ds.save_as(tmp_path / "a", implicit_vr=implicit, little_endian=implicit)
    record = read_slices(tmp_path / "a")[0]
    out = np.zeros((48, 40), np.int16)
    read_native(record.pixels, 0, out)
    assert (out == expected).all()
    assert record.spacing == (1.5, 1.75)


def test_eight_bit_values_are_read(one_slice: Make, tmp_path: Path) -> None:
    ds = one_slice()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = bytes(range(240)) * 8
    out = np.zeros((48, 40), np.int16)
    read_native(read_slices(save(ds, tmp_path / "a"))[0].pixels, 0, out)
    assert out.max() == 239
    assert out[0, 5] == 5


def test_a_file_without_preamble_is_read(one_slice: Make, tmp_path: Path) -> None:
    data = save(one_slice(), tmp_path / "a").read_bytes()
    (tmp_path / "bare").write_bytes(data[132:])
    assert read_slices(tmp_path / "bare")[0].pixels.rows == 48
    meta = int.from_bytes(data[140:144], "little")
    (tmp_path / "nometa").write_bytes(data[144 + meta :])
    assert read_slices(tmp_path / "nometa")[0].pixels.rows == 48


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 132 + b"DICM", b"hello " * 100, bytes(range(256)) * 4])
def test_other_content_is_not_dicom(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RefusedFileError):
        read_slices(tmp_path / "a")


def test_damaged_bytes_end_in_a_typed_refusal_or_a_read(one_slice: Make, series_spec: Any, tmp_path: Path) -> None:
    """100 random flips, cuts and insertions of a small multi-slice file: nothing else than a verdict comes out."""
    spec = series_spec(size=(6, 5), count=10)
    whole = []
    uids = one_slice(spec)
    for n in range(10):
        ds = one_slice(spec, n)
        for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(ds, key, getattr(uids, key))
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        whole.append(buffer.getvalue())
    rng = np.random.default_rng(20260102)
    for n, data in enumerate(whole):
        (tmp_path / f"{n}").write_bytes(data)
    ends: set[str] = set()
    start = time.monotonic()
    for _ in range(100):
        damaged = bytearray(whole[4])
        for _ in range(int(rng.integers(1, 6))):
            place = int(rng.integers(128, len(damaged)))
            damaged[place] = int(rng.integers(0, 256))
        if rng.random() < 0.3:
            damaged = damaged[: int(rng.integers(0, len(damaged)))]
        (tmp_path / "4").write_bytes(bytes(damaged))
        try:
            ends.add(read_input(tmp_path).modality)
        except NerveplanError as error:
            ends.add(type(error).__name__)
    assert time.monotonic() - start < 30
    assert ends <= {"CT", "InputRefusedError", "NotFoundError", "RefusedFileError"}
    assert len(ends) > 1


def test_vetting_costs_little(one_slice: Make, tmp_path: Path) -> None:
    ds = one_slice()
    for n in range(200):
        ds.add_new((0x0009, 0x1000 + n), "LO", f"value {n}")
    path = save(ds, tmp_path / "a")
    start = time.process_time()
    for _ in range(50):
        vet(path, {0x00080060})
    assert (time.process_time() - start) / 50 < 0.01
