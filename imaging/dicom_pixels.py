"""Second pass: the pixels of one vetted slice into an array the caller owns.

Uncompressed values are read straight into place. Compressed ones are decoded by pydicom, after the matrix that the
code stream itself declares was checked against the vetted header.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder

from imaging.dicom_headers import PixelFormat, inflated
from imaging.errors import InputRefusedError
from imaging.vetting import DEFAULT_LIMITS, Limits

__all__ = ["decode_frames", "pixel_digest", "read_native"]

logging.getLogger("pydicom").addHandler(logging.NullHandler())
_RLE, _JPEG_LS = "1.2.840.10008.1.2.5", ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")


def read_native(pixels: PixelFormat, frame: int, out: NDArray[np.int16], limits: Limits = DEFAULT_LIMITS) -> None:
    """Read one uncompressed frame.

    Parameters
    ----------
    pixels : PixelFormat
        Of an uncompressed (or deflated) file with one value of 8 or 16 bits per pixel.
    frame : int
        Frame number from 0.
    out : (y, x) int16, C-contiguous
        Filled with the stored values; unsigned 16-bit values above 32767 come out as their bit pattern.
    """
    start = pixels.offset + frame * pixels.frame_bytes
    if pixels.bits_allocated == 16 and not pixels.syntax.deflated:
        with pixels.path.open("rb", buffering=0) as handle:
            handle.seek(start)
            got = handle.readinto(out.data.cast("B"))
        if got != pixels.frame_bytes:
            raise InputRefusedError("refused: a file became shorter while it was read; copy the study again")
        if pixels.syntax.big_endian:
            out.byteswap(inplace=True)
    else:
        raw = inflated(pixels, limits) if pixels.syntax.deflated else _read(pixels.path, start, pixels.frame_bytes)
        if pixels.syntax.deflated:
            raw = raw[start : start + pixels.frame_bytes]
        kind = np.dtype(np.uint8 if pixels.bits_allocated == 8 else np.int16)
        if pixels.syntax.big_endian:
            kind = kind.newbyteorder(">")
        if pixels.bits_allocated == 8 and pixels.signed:
            kind = np.dtype(np.int8)
        out[...] = np.frombuffer(raw, kind).reshape(pixels.rows, pixels.columns)
    clean_unused_bits(pixels, out)


def clean_unused_bits(pixels: PixelFormat, out: NDArray[np.int16]) -> None:
    """Remove whatever lies above BitsStored (overlays, rubbish) and carry the sign down from there; in place."""
    unused = 16 - pixels.bits_stored
    if unused == 0 or pixels.bits_allocated != 16:
        return
    if pixels.signed:
        np.left_shift(out, unused, out=out)
        np.right_shift(out, unused, out=out)
    else:
        np.bitwise_and(out, np.int16((1 << pixels.bits_stored) - 1), out=out)


def _read(path: Path, offset: int, size: int | None) -> bytes:
    """Bytes of a file from `offset` on: `size` of them, or all that follow."""
    try:
        with path.open("rb") as handle:
            handle.seek(offset)
            data = handle.read(-1 if size is None else size)
    except OSError as error:
        raise InputRefusedError("refused: a file of the series can no longer be read") from error
    if size is not None and len(data) != size:
        raise InputRefusedError("refused: a file became shorter while it was read; copy the study again")
    return data


def decode_frames(pixels: PixelFormat, frames: Sequence[int]) -> Iterator[NDArray[np.int16]]:
    """Decode compressed frames of one file, which is read once.

    Parameters
    ----------
    pixels : PixelFormat
        Of a file with encapsulated pixels.
    frames : sequence of int
        Ascending frame numbers from 0.

    Yields
    ------
    (y, x) int16
        Stored values; unsigned 16-bit values above 32767 come out as their bit pattern.

    Raises
    ------
    InputRefusedError
        When the code stream is damaged or declares another matrix than the header.
    """
    name = pixels.syntax.name
    damaged = f"refused: a {name} image cannot be decoded; fetch the study again"
    data = _read(pixels.path, pixels.offset, None)
    wanted = iter(frames)
    next_one = next(wanted, None)
    try:
        for n, stream in enumerate(generate_frames(data, number_of_frames=pixels.frames)):
            if n == next_one:
                yield _decode(pixels, stream)
                next_one = next(wanted, None)
            if next_one is None:
                return
    except (ValueError, EOFError, IndexError, struct.error, StopIteration, RuntimeError) as error:
        if isinstance(error, InputRefusedError):
            raise
        raise InputRefusedError(damaged) from error
    raise InputRefusedError(f"refused: a {name} file holds fewer frames than its header states; fetch the study again")


def _decode(pixels: PixelFormat, stream: bytes) -> NDArray[np.int16]:
    name, uid = pixels.syntax.name, pixels.syntax.uid
    plugin = "pydicom" if uid == _RLE else "pyjpegls" if uid in _JPEG_LS else "pylibjpeg"
    declared = _declared_matrix(stream)
    if declared is not None and declared != (pixels.rows, pixels.columns):
        raise InputRefusedError(f"refused: a {name} image holds another matrix than its header states")
    try:
        array, _ = get_decoder(uid).as_array(
            _encapsulate(stream), index=0, raw=True, decoding_plugin=plugin, **_options(pixels)
        )
    except (ValueError, RuntimeError, TypeError, AttributeError, LookupError, OSError, OverflowError, struct.error,
            MemoryError) as error:
        raise InputRefusedError(f"refused: a {name} image cannot be decoded; fetch the study again") from error
    if array.shape != (pixels.rows, pixels.columns) or array.dtype.itemsize > 2:
        raise InputRefusedError(f"refused: a {name} image decodes to another matrix than its header states")
    out: NDArray[np.int16] = np.array(array, order="C").astype(np.int16, casting="unsafe")
    clean_unused_bits(pixels, out)
    return out


def _options(pixels: PixelFormat) -> dict[str, Any]:
    return {
        "rows": pixels.rows, "columns": pixels.columns, "number_of_frames": 1, "samples_per_pixel": 1,
        "photometric_interpretation": pixels.photometric, "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored, "pixel_representation": int(pixels.signed), "pixel_keyword": "PixelData",
    }


def _encapsulate(stream: bytes) -> bytes:
    """One frame as encapsulated pixel data: an empty offset table, one fragment, the delimiter."""
    padded = stream + b"\0" * (len(stream) % 2)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(padded))
    return struct.pack("<HHI", 0xFFFE, 0xE000, 0) + item + padded + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _declared_matrix(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 code stream declares; None where it has no such header."""
    if stream[:4] == b"\xff\x4f\xff\x51":
        width, height, left, top = struct.unpack_from(">4I", stream, 8)
        return height - top, width - left
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(stream):
        marker, kind = stream[at], stream[at + 1]
        if marker != 0xFF:
            return None
        if kind == 0xF7 or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack_from(">HH", stream, at + 5)
            return rows, columns
        at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0]) if kind != 0xFF else 1
    return None


def pixel_digest(pixels: PixelFormat) -> str:
    """Digest of the pixel data of a file as stored, to tell whether two files hold the same image."""
    start = pixels.dataset_offset if pixels.syntax.deflated else pixels.offset
    size = None if pixels.syntax.deflated else pixels.length
    return hashlib.sha256(_read(pixels.path, start, size)).hexdigest()
