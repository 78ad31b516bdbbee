"""Vetting of DICOM files: a bounded walk over the elements before anything else may touch a file.

A file is hostile until the walk has ended: every element must fit in what holds it, sequences nest at most
`Limits.depth` deep, there are at most `Limits.elements` elements, the transfer syntax is on a list, identifiers look
like identifiers, and a deflated data set may inflate only so far. The walk keeps the raw bytes of the few elements that
planning needs and the place of the pixels; it never looks inside the pixels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import DicomDictionary

from imaging.errors import InputRefusedError

__all__ = [
    "DEFAULT_LIMITS", "TRANSFER_SYNTAXES", "Limits", "RefusedFileError", "SkipReason", "TransferSyntax", "VettedFile",
    "inflate", "vet",
]


class SkipReason(StrEnum):
    """Why a file was left out. The value is the sentence part that a person reads."""

    NOT_DICOM = "not DICOM"
    DICOMDIR = "a DICOMDIR index, which is not followed"
    OUTSIDE = "a link that leaves the folder"
    TOO_LARGE = "larger than the size limit"
    TRUNCATED = "an element claims more bytes than the file holds (truncated or hostile)"
    TOO_DEEP = "sequences nested deeper than the limit"
    TOO_MANY_ELEMENTS = "more elements than the limit"
    MALFORMED = "malformed elements"
    INFLATES_TOO_FAR = "a deflated data set that inflates beyond the limit"
    TRANSFER_SYNTAX = "a transfer syntax that is not read"
    BAD_UID = "an identifier that is not a UID"
    BAD_HEADER = "values in the header that cannot be read"
    NO_PIXELS = "no pixel data (not an image)"


class RefusedFileError(InputRefusedError):
    """One file is not fit; `reason` says why in a word a program can count."""

    def __init__(self, reason: SkipReason, detail: str = "") -> None:
        super().__init__(f"refused: {reason.value}{': ' + detail if detail else ''}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """Budgets that bound what a hostile file can cost.

    Attributes
    ----------
    depth : int
        Deepest nesting of sequences.
    elements : int
        Elements in one file, nested ones included.
    header_bytes : int
        Bytes read while looking for the pixels.
    file_bytes : int
        Largest file that is opened at all.
    inflated_bytes : int
        Largest inflated size of a deflated data set.
    frame_bytes : int
        Largest decoded size of one frame.
    volume_bytes : int
        Largest decoded size of one volume, float32 included.
    files : int
        Files looked at in one folder.
    """

    depth: int = 32
    elements: int = 500_000
    header_bytes: int = 1 << 26
    file_bytes: int = 1 << 32
    inflated_bytes: int = 1 << 26
    frame_bytes: int = 1 << 27
    volume_bytes: int = 1 << 32
    files: int = 50_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class TransferSyntax:
    """How the data set and the pixels of a file are written."""

    uid: str
    name: str
    implicit: bool = False
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = False
    lossy: bool = False


IMPLICIT = TransferSyntax("1.2.840.10008.1.2", "Implicit VR Little Endian", implicit=True)
EXPLICIT = TransferSyntax("1.2.840.10008.1.2.1", "Explicit VR Little Endian")
BIG_ENDIAN = TransferSyntax("1.2.840.10008.1.2.2", "Explicit VR Big Endian", big_endian=True)
DEFLATED = TransferSyntax("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", deflated=True)


def _encapsulated(suffix: str, name: str, lossy: bool = False) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.{suffix}", name, encapsulated=True, lossy=lossy)


TRANSFER_SYNTAXES: dict[str, TransferSyntax] = {
    syntax.uid: syntax
    for syntax in (
        IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED,
        _encapsulated("5", "RLE Lossless"),
        _encapsulated("4.50", "JPEG Baseline (Process 1)", lossy=True),
        _encapsulated("4.51", "JPEG Extended (Process 2 and 4)", lossy=True),
        _encapsulated("4.57", "JPEG Lossless (Process 14)"),
        _encapsulated("4.70", "JPEG Lossless (Process 14, Selection Value 1)"),
        _encapsulated("4.80", "JPEG-LS Lossless"),
        _encapsulated("4.81", "JPEG-LS Near-Lossless", lossy=True),
        _encapsulated("4.90", "JPEG 2000 Lossless"),
        _encapsulated("4.91", "JPEG 2000", lossy=True),
        _encapsulated("4.201", "High-Throughput JPEG 2000 Lossless"),
        _encapsulated("4.202", "High-Throughput JPEG 2000 with RPCL Lossless"),
        _encapsulated("4.203", "High-Throughput JPEG 2000", lossy=True),
    )
}
"""The transfer syntaxes that are read; every other one is refused by its UID."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_LONG_VR = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SEQUENCE_TAGS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_UID = re.compile(r"[0-9.]{1,64}\Z")
_FIRST_READ = 1 << 14
_VALUE_BYTES = 1 << 16


@dataclass(frozen=True)
class VettedFile:
    """A file that passed the walk.

    Attributes
    ----------
    path : Path
        The file.
    size : int
        Bytes on disk.
    syntax : TransferSyntax
        How it is written.
    dataset_offset : int
        Where the data set begins, after the preamble and the file meta information.
    values : dict of int to bytes
        Raw value bytes of the wanted top-level elements, by tag ``0xGGGGEEEE``.
    pixel_tag : int or None
        Which pixel data element it holds; None when it holds no pixels.
    pixel_offset : int
        Where the value of that element begins (in the inflated data set when the syntax is deflated).
    pixel_length : int or None
        Its length in bytes; None for encapsulated pixels, which run to their delimiter.
    """

    path: Path
    size: int
    syntax: TransferSyntax
    dataset_offset: int
    values: dict[int, bytes]
    pixel_tag: int | None
    pixel_offset: int
    pixel_length: int | None

    def text(self, tag: int) -> str:
        """An element as text without its padding; empty when absent."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0\t\r\n")

    def short(self, tag: int) -> int | None:
        """An unsigned short, or None when absent or of another length."""
        raw = self.values.get(tag, b"")
        if len(raw) < 2:
            return None
        return int.from_bytes(raw[:2], "big" if self.syntax.big_endian else "little")

    def uid(self, tag: int) -> str:
        """A UID, checked against its pattern; empty when absent or empty."""
        value = self.text(tag)
        if value and not _UID.match(value):
            raise RefusedFileError(SkipReason.BAD_UID, f"element ({tag >> 16:04X},{tag & 0xFFFF:04X})")
        return value


class _Walk:
    """One bounded pass over a data set held in a growing buffer."""

    def __init__(
        self, handle: BinaryIO | None, data: bytes, total: int, wanted: Collection[int], limits: Limits
    ) -> None:
        self.handle = handle
        self.data = data
        self.total = total
        self.wanted = wanted
        self.limits = limits
        self.left = limits.elements
        self.values: dict[int, bytes] = {}
        self.pixel: tuple[int, int, int] | None = None
        self.order = "<"

    def need(self, end: int) -> bytes:
        """Make the buffer reach `end`, which lies inside the file, and return it."""
        if end > self.total:
            raise RefusedFileError(SkipReason.TRUNCATED)
        if end > len(self.data):
            if end > self.limits.header_bytes:
                raise RefusedFileError(SkipReason.TOO_LARGE, "the part before the pixels")
            if self.handle is not None:
                more = max(end - len(self.data), len(self.data))
                self.data += self.handle.read(min(more, self.limits.header_bytes))
            if end > len(self.data):
                raise RefusedFileError(SkipReason.TRUNCATED)
        return self.data

    def element(self, position: int, implicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty when implicit), length and value position of the element at `position`."""
        self.left -= 1
        if self.left < 0:
            raise RefusedFileError(SkipReason.TOO_MANY_ELEMENTS)
        data = self.data if position + 12 <= len(self.data) else self.need(min(position + 12, self.total))
        if position + 8 > len(data):
            raise RefusedFileError(SkipReason.TRUNCATED)
        if implicit:
            group, number, length = struct.unpack_from(self.order + "HHI", data, position)
            return group << 16 | number, b"", length, position + 8
        group, number, vr, length = struct.unpack_from(self.order + "HH2sH", data, position)
        if group == 0xFFFE:
            return group << 16 | number, b"", struct.unpack_from(self.order + "I", data, position + 4)[0], position + 8
        if vr in _LONG_VR:
            if position + 12 > len(data):
                raise RefusedFileError(SkipReason.TRUNCATED)
            return group << 16 | number, vr, struct.unpack_from(self.order + "I", data, position + 8)[0], position + 12
        if not (vr.isalpha() and vr.isupper()):
            raise RefusedFileError(SkipReason.MALFORMED, f"value representation of ({group:04X},{number:04X})")
        return group << 16 | number, vr, length, position + 8

    def top(self, position: int, implicit: bool) -> None:
        """Walk the data set from `position` to its pixels or its end."""
        wanted, total = self.wanted, self.total
        while position + 8 <= total:
            tag, vr, length, at = self.element(position, implicit)
            if tag in _PIXELS:
                self.pixel = (tag, at, length)
                if length != _UNDEFINED and at + length > total:
                    raise RefusedFileError(SkipReason.TRUNCATED, "the pixel data")
                return
            if length == _UNDEFINED:
                position = self.sequence(at, None, implicit or vr == b"UN", 1)
                continue
            end = at + length
            if end > total:
                raise RefusedFileError(SkipReason.TRUNCATED, f"element ({tag >> 16:04X},{tag & 0xFFFF:04X})")
            if tag in wanted and length <= _VALUE_BYTES:
                self.values[tag] = self.need(end)[at:end]
            elif length:
                self.inside(tag, vr, at, end, implicit, 1)
            position = end

    def inside(self, tag: int, vr: bytes, at: int, end: int, implicit: bool, depth: int) -> None:
        """Walk the value of a defined length when it is a sequence."""
        if vr == b"SQ" or (not vr and tag in _SEQUENCE_TAGS):
            self.sequence(at, end, implicit, depth)
        elif vr in (b"UN", b"") and end - at >= 8 and self.need(end)[at : at + 4] == b"\xfe\xff\x00\xe0":
            try:
                self.sequence(at, end, True, depth)
            except RefusedFileError as error:
                if error.reason in (SkipReason.TOO_DEEP, SkipReason.TOO_MANY_ELEMENTS):
                    raise

    def sequence(self, position: int, end: int | None, implicit: bool, depth: int) -> int:
        """Walk the items of a sequence; returns the position after it. `end` is None for an undefined length."""
        if depth > self.limits.depth:
            raise RefusedFileError(SkipReason.TOO_DEEP, f"{self.limits.depth} levels")
        stop = self.total if end is None else end
        while position < stop:
            tag, _, length, at = self.element(position, True)
            if tag == _SEQUENCE_END and end is None:
                return at
            if tag != _ITEM:
                raise RefusedFileError(SkipReason.MALFORMED, "a sequence holds something that is not an item")
            if length == _UNDEFINED:
                position = self.item(at, None, stop, implicit, depth)
            elif at + length > stop:
                raise RefusedFileError(SkipReason.TRUNCATED, "an item of a sequence")
            else:
                position = self.item(at, at + length, stop, implicit, depth)
        if end is None:
            raise RefusedFileError(SkipReason.TRUNCATED, "a sequence without an end")
        return stop

    def item(self, position: int, end: int | None, limit: int, implicit: bool, depth: int) -> int:
        """Walk the elements of one item; returns the position after it."""
        stop = limit if end is None else end
        while position < stop:
            tag, vr, length, at = self.element(position, implicit)
            if tag == _ITEM_END and end is None:
                return at
            if length == _UNDEFINED:
                position = self.sequence(at, None, implicit or vr == b"UN", depth + 1)
                continue
            if at + length > stop:
                raise RefusedFileError(SkipReason.TRUNCATED, "an element inside a sequence")
            if length:
                self.inside(tag, vr, at, at + length, implicit, depth + 1)
            position = at + length
        if end is None:
            raise RefusedFileError(SkipReason.TRUNCATED, "an item without an end")
        return stop


def _looks_like_dataset(data: bytes) -> bool:
    """True when bytes without a preamble begin like the group 0002 or 0008 of a data set."""
    if len(data) < 16:
        return False
    group, number = struct.unpack_from("<HH", data)
    if group not in (0x0002, 0x0008) or number > 0x1000:
        return False
    vr, length = data[4:6], struct.unpack_from("<I", data, 4)[0]
    return (vr.isalpha() and vr.isupper()) or length <= 256


def _read_meta(walk: _Walk, position: int) -> tuple[str, int]:
    """Transfer syntax UID and the position after group 0002 (always explicit little endian)."""
    uid = ""
    while position + 8 <= walk.total:
        data = walk.need(min(position + 12, walk.total))
        if data[position : position + 2] != b"\x02\x00":
            break
        tag, _, length, at = walk.element(position, False)
        if length == _UNDEFINED or at + length > walk.total:
            raise RefusedFileError(SkipReason.TRUNCATED, "the file meta information")
        if tag == 0x00020010:
            uid = walk.need(at + length)[at : at + length].decode("latin-1").strip(" \0")
        if tag == 0x00020002 and walk.need(at + length)[at : at + length].rstrip(b" \0") == b"1.2.840.10008.1.3.10":
            raise RefusedFileError(SkipReason.DICOMDIR)
        position = at + length
    return uid, position


def _guess_syntax(data: bytes, position: int) -> TransferSyntax:
    """Uncompressed syntax of a data set that does not say, judged from its first element."""
    vr = data[position + 4 : position + 6]
    return EXPLICIT if vr.isalpha() and vr.isupper() else IMPLICIT


def inflate(data: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """A deflated data set in full, or a refusal when it passes `Limits.inflated_bytes`."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        out = stream.decompress(data, limits.inflated_bytes)
    except zlib.error as error:
        raise RefusedFileError(SkipReason.MALFORMED, "the deflated data set is damaged") from error
    if stream.unconsumed_tail:
        raise RefusedFileError(SkipReason.INFLATES_TOO_FAR, f"{limits.inflated_bytes >> 20} MiB")
    if not stream.eof:
        raise RefusedFileError(SkipReason.TRUNCATED, "the deflated data set")
    return out


def vet(path: Path, wanted: Collection[int], limits: Limits = DEFAULT_LIMITS) -> VettedFile:
    """Walk one file.

    Parameters
    ----------
    path : Path
        An existing regular file.
    wanted : collection of int
        Tags ``0xGGGGEEEE`` whose top-level values are kept (values over 64 KiB are not).
    limits : Limits
        Budgets.

    Returns
    -------
    VettedFile

    Raises
    ------
    RefusedFileError
        With the reason, at the first thing that is out of bounds.
    """
    with path.open("rb", buffering=0) as handle:
        data = handle.read(_FIRST_READ) or b""
        size = len(data) if len(data) < _FIRST_READ else path.stat().st_size
        preamble = data[128:132] == b"DICM"
        if not preamble and not _looks_like_dataset(data):
            raise RefusedFileError(SkipReason.NOT_DICOM)
        if size > limits.file_bytes:
            raise RefusedFileError(SkipReason.TOO_LARGE)
        walk = _Walk(handle, data, size, wanted, limits)
        uid, start = _read_meta(walk, 132 if preamble else 0)
        if uid and uid not in TRANSFER_SYNTAXES:
            raise RefusedFileError(SkipReason.TRANSFER_SYNTAX, uid if _UID.match(uid) else "not a UID")
        syntax = TRANSFER_SYNTAXES[uid] if uid else _guess_syntax(walk.data, start)
        if syntax.deflated:
            if size > limits.inflated_bytes:
                raise RefusedFileError(SkipReason.TOO_LARGE, "a deflated data set")
            whole = inflate(walk.data[start:] + handle.read(), limits)
            walk = _Walk(None, whole, len(whole), wanted, limits)
        walk.order = ">" if syntax.big_endian else "<"
        walk.top(0 if syntax.deflated else start, syntax.implicit)
    tag, offset, length = walk.pixel or (None, 0, 0)
    if (length == _UNDEFINED) != syntax.encapsulated and tag is not None:
        raise RefusedFileError(SkipReason.MALFORMED, f"pixel data that does not suit {syntax.name}")
    return VettedFile(path, size, syntax, start, walk.values, tag, offset, None if length == _UNDEFINED else length)
