"""Headers of NIfTI, NRRD and MetaImage files: what they say about place, and by name what they leave open.

A header that does not settle where the array lies in the patient yields a `problem`; only the operator can settle it.
Nothing here trusts a size before it was checked against `Limits`.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from imaging.errors import InputRefusedError
from imaging.vetting import DEFAULT_LIMITS, Limits

__all__ = ["FileHeader", "file_kind", "read_header"]

Array = NDArray[np.float64]

_HEAD_BYTES = 1 << 16
_SAME_MM = 0.2
"""Farthest two statements of one header may put the same corner apart."""
_SHEAR = 1e-3
_NRRD_TYPES = {
    "int8": "i1", "signed char": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2", "int": "i4", "signed int": "i4",
    "int32": "i4", "int32_t": "i4", "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
    "float": "f4", "double": "f8",
}
_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}
_NRRD_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}
_UNITS_MM = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}
_NIFTI_TYPES = frozenset({"i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"})


@dataclass(frozen=True, eq=False)
class FileHeader:
    """What a header states.

    Attributes
    ----------
    kind : str
        ``NIfTI``, ``NRRD`` or ``MetaImage``.
    size : (x, y, z)
        Voxels along the three array axes; x varies fastest in the file.
    dtype : numpy dtype
        Of the stored values, byte order included.
    spacing : (3,) mm
        Along x, y, z.
    affine : (4, 4) or None
        Voxel (i, j, k) to LPS mm; None when `problem` is not empty.
    problem : str
        Why the place in the patient is open; empty when it is settled.
    slope, intercept : float
        ``value = stored * slope + intercept``.
    data : Path
        File that holds the voxels.
    skip : int
        Bytes before them (counted after decompression when the whole file is compressed).
    compressed : bool
        True when the voxels are a gzip or zlib stream.
    whole : bool
        True when that stream is the whole file, header included.
    millimetres_assumed : bool
        True when the header does not name its unit.
    """

    kind: str
    size: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    spacing: tuple[float, float, float]
    affine: Array | None
    problem: str
    data: Path
    skip: int
    compressed: bool
    whole: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    millimetres_assumed: bool = False


def file_kind(path: Path) -> str | None:
    """``NIfTI``, ``NRRD``, ``MetaImage`` by content, or None for anything else."""
    head = _start(path, 400)
    if head[:4] == b"NRRD":
        return "NRRD"
    if (len(head) >= 348 and head[344:347] in (b"n+1", b"ni1")) or head[4:7] in (b"n+2", b"ni2"):
        return "NIfTI"
    if b"ObjectType" in head[:200] or b"NDims" in head[:200]:
        return "MetaImage"
    return None


def read_header(path: Path, limits: Limits = DEFAULT_LIMITS) -> FileHeader:
    """Parse the header of a NIfTI, NRRD or MetaImage file.

    Raises
    ------
    InputRefusedError
        When it is none of them, damaged, of an unsupported kind, or larger than the limits.
    """
    kind = file_kind(path)
    if kind is None:
        raise InputRefusedError("refused: the file is not a NIfTI, NRRD or MetaImage file")
    try:
        header = {"NIfTI": _nifti, "NRRD": _nrrd, "MetaImage": _meta}[kind](path)
    except (ValueError, LookupError, OverflowError, TypeError, OSError, HeaderDataError, HeaderTypeError,
            WrapStructError) as error:
        if isinstance(error, InputRefusedError):
            raise
        raise InputRefusedError(f"refused: the {kind} header is damaged; export the scan again") from error
    voxels = math.prod(header.size)
    if not all(0 < n <= 1 << 15 for n in header.size) or voxels * max(header.dtype.itemsize, 4) > limits.volume_bytes:
        raise InputRefusedError(f"refused: the {kind} header states {header.size} voxels, beyond the size limit")
    if not all(math.isfinite(s) and 1e-3 < s < 1e3 for s in header.spacing):
        raise InputRefusedError(f"refused: the {kind} header states an impossible voxel spacing")
    return header


def _head(path: Path) -> bytes:
    """The first bytes of a file as they are."""
    try:
        with path.open("rb") as handle:
            return handle.read(_HEAD_BYTES)
    except OSError as error:
        raise InputRefusedError("refused: the file cannot be opened; check its permissions") from error


def _start(path: Path, count: int) -> bytes:
    """The first bytes of a file, decompressed when it is gzip."""
    head = _head(path)
    if head[:2] != b"\x1f\x8b":
        return head[:count]
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, count)
    except zlib.error:
        return b""


def _judge(affine: Array, spacing: Sequence[float] | Array, what: str) -> str:
    """Why an affine is not a grid: not finite, sheared, or of another spacing than the header states elsewhere."""
    matrix = affine[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(affine).all() or float(lengths.min()) < 1e-6:
        return f"{what} is not a usable matrix"
    if not np.allclose((matrix / lengths).T @ (matrix / lengths), np.eye(3), atol=_SHEAR):
        return f"{what} is sheared"
    if not np.allclose(lengths, spacing, rtol=0.01):
        return f"{what} and the voxel spacing disagree"
    return ""


def _nifti(path: Path) -> FileHeader:
    head = _start(path, 560)
    second = head[4:7] in (b"n+2", b"ni2")
    maker = nib.Nifti2Header if second else nib.Nifti1Header
    header = maker(head[: maker.template_dtype.itemsize], check=False)
    if header["magic"].item()[:2] != b"n+":
        raise InputRefusedError("refused: a NIfTI header without its image file; give the single-file form (.nii)")
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise InputRefusedError(f"refused: the NIfTI file has a fourth dimension or too few {shape}; give one volume")
    dtype = np.dtype(header.get_data_dtype())
    if dtype.str[1:] not in _NIFTI_TYPES:
        raise InputRefusedError(f"refused: the NIfTI file stores {dtype} values, which are not scan values")
    pixdim = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    unit = int(header["xyzt_units"]) & 7
    factor = {1: 1000.0, 3: 0.001}.get(unit, 1.0)
    affine, problem = _nifti_place(header, shape[:3], pixdim)
    if factor != 1.0:
        problem = f"the unit is the {'metre' if unit == 1 else 'micrometre'}, not the millimetre"
    slope, intercept = (float(np.float64(header[key])) for key in ("scl_slope", "scl_inter"))
    if not math.isfinite(slope) or slope == 0.0:
        slope, intercept = 1.0, 0.0
    spacing = pixdim * factor
    return FileHeader(
        "NIfTI", (shape[0], shape[1], shape[2]), dtype, (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        None if problem else affine, problem, path, max(int(header["vox_offset"]), maker.template_dtype.itemsize + 4),
        _head(path)[:2] == b"\x1f\x8b", True, slope, intercept if math.isfinite(intercept) else 0.0, unit == 0,
    )


def _nifti_place(header: nib.Nifti1Header, shape: Sequence[int], pixdim: Array) -> tuple[Array, str]:
    """The affine in LPS and what is wrong with it."""
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    if not sform and not qform:
        return np.eye(4), "sform and qform codes are both 0: the file does not say where the patient's sides are"
    affines = ([flip @ header.get_sform()] if sform else []) + ([flip @ header.get_qform()] if qform else [])
    for affine, what in zip(affines, (["sform"] if sform else []) + ["qform"], strict=False):
        problem = _judge(affine, pixdim, what)
        if problem:
            return affine, problem
    ends = [(0, n - 1) for n in shape]
    corners = np.array([[i, j, k, 1.0] for i in ends[0] for j in ends[1] for k in ends[2]])
    if len(affines) == 2 and float(np.abs(corners @ (affines[0] - affines[1]).T).max()) > _SAME_MM:
        return affines[0], "sform and qform disagree about the place"
    return affines[0], ""


def _nrrd(path: Path) -> FileHeader:
    text = _head(path)
    ends = [place + length for mark, length in ((b"\n\n", 2), (b"\r\n\r\n", 4)) if (place := text.find(mark)) >= 0]
    if not ends:
        raise InputRefusedError("refused: the NRRD header has no end")
    fields: dict[str, str] = {}
    for line in text[: min(ends)].decode("latin-1").splitlines()[1:]:
        if not line.startswith("#") and ": " in line:
            key, value = line.split(": ", 1)
            fields[key.strip().lower()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise InputRefusedError("refused: the voxels of the NRRD are in another file; give the single-file form")
    if fields["dimension"] != "3":
        raise InputRefusedError("refused: the NRRD file has not three dimensions; give one volume")
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise InputRefusedError(f"refused: the NRRD encoding {encoding[:20]} is not read; save it as raw or gzip")
    size = [int(n) for n in fields["sizes"].split()]
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    dtype = np.dtype(order + _NRRD_TYPES[fields["type"].lower()])
    affine, spacing, problem = _nrrd_place(fields)
    return FileHeader(
        "NRRD", (size[0], size[1], size[2]), dtype, spacing, None if problem else affine, problem, path,
        min(ends) + _nrrd_skip(path, fields, encoding, min(ends), math.prod(size) * dtype.itemsize), encoding != "raw",
    )


def _nrrd_skip(path: Path, fields: dict[str, str], encoding: str, header: int, needed: int) -> int:
    """Bytes between the header and the voxels, as the file states them."""
    lines, count = (int(fields.get(f"{what} skip", fields.get(f"{what}skip", "0"))) for what in ("line", "byte"))
    if lines or count < -1 or (count and encoding != "raw"):
        raise InputRefusedError("refused: the NRRD header skips lines, or bytes of compressed voxels, which is not "
                                "read; save it again without 'line skip' and 'byte skip'")
    return count if count >= 0 else path.stat().st_size - needed - header


def _nrrd_units(fields: dict[str, str]) -> tuple[Array, str]:
    """(3,) millimetres of one unit along each axis, and what is wrong with the units."""
    names = re.findall(r'"([^"]*)"', fields.get("space units", "")) or re.findall(r'"([^"]*)"', fields.get("units", ""))
    named = [name.strip().lower() or "mm" for name in names] or ["mm"] * 3
    if len(named) != 3 or any(name not in _UNITS_MM for name in named):
        raise InputRefusedError(f"refused: the NRRD header states units that are not lengths: {str(named)[:60]}")
    factors = np.array([_UNITS_MM[name] for name in named])
    other = next((name for name in named if _UNITS_MM[name] != 1.0), "")
    return factors, f"the unit is {other}, not the millimetre" if other else ""


def _nrrd_place(fields: dict[str, str]) -> tuple[Array, tuple[float, float, float], str]:
    affine = np.eye(4)
    signs = _NRRD_SPACES.get(fields.get("space", "").lower())
    if "space directions" in fields:
        vectors = [v.strip(" ()") for v in fields["space directions"].split(") ")]
        affine[:3, :3] = np.array([[float(n) for n in vector.split(",")] for vector in vectors]).T
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    else:
        spacing = np.array([float(n) for n in fields.get("spacings", "1 1 1").split()])
    if "space origin" in fields:
        affine[:3, 3] = [float(n) for n in fields["space origin"].strip(" ()").split(",")]
    factors, unit_problem = _nrrd_units(fields)
    spacing = spacing * factors
    place = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    if unit_problem:
        return affine, place, unit_problem
    if "space" not in fields:
        return affine, place, "no space is named: the file does not say where the patient's sides are"
    if signs is None:
        return affine, place, "the named space is not an anatomical one"
    if "space directions" not in fields:
        return affine, place, "no space directions are given"
    affine = np.diag([*(float(s) for s in signs), 1.0]) @ affine
    return affine, place, _judge(affine, place, "space directions")


def _meta(path: Path) -> FileHeader:
    text = _head(path)
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = text.index(b"\n", position)
        key, _, value = text[position:end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        position = end + 1
    if fields["NDims"] != "3" or fields.get("ElementNumberOfChannels", "1") != "1":
        raise InputRefusedError("refused: the MetaImage is not one volume of three dimensions and one value per voxel")
    if not _is_true(fields.get("BinaryData", "True")):
        raise InputRefusedError("refused: the voxels of the MetaImage are written as text; save it with BinaryData")
    stated = fields.get("ElementSpacing", fields.get("ElementSize"))
    if stated is None:
        raise InputRefusedError("refused: the MetaImage states no ElementSpacing: its size is not known")
    big = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    dtype = np.dtype((">" if big else "<") + _META_TYPES[fields["ElementType"]])
    size = [int(n) for n in fields["DimSize"].split()]
    spacing = [abs(float(n)) for n in stated.split()]
    affine, problem = _meta_place(fields, spacing)
    data, skip = _meta_data(path, fields, position, math.prod(size) * dtype.itemsize)
    return FileHeader(
        "MetaImage", (size[0], size[1], size[2]), dtype, (spacing[0], spacing[1], spacing[2]),
        None if problem else affine, problem, data, skip, _is_true(fields.get("CompressedData", "False")),
    )


def _is_true(text: str) -> bool:
    """Whether a MetaImage flag is set; its own library looks at the first letter only."""
    return text[:1] in ("T", "t", "1")


def _meta_data(path: Path, fields: dict[str, str], position: int, needed: int) -> tuple[Path, int]:
    """The file that holds the voxels and the bytes before them; a HeaderSize of -1 counts from the file's end."""
    name, skip = fields["ElementDataFile"], int(fields.get("HeaderSize", "0"))
    if skip < -1 or (skip and (name == "LOCAL" or _is_true(fields.get("CompressedData", "False")))):
        raise InputRefusedError(f"refused: the MetaImage header states a HeaderSize of {skip}, which is not read here; "
                                "save it again")
    if name == "LOCAL":
        return path, position
    data = path.parent / name
    if Path(name).name != name or not data.is_file() or data.resolve().parent != path.parent.resolve():
        raise InputRefusedError("refused: the voxels of the MetaImage are not in a file beside its header")
    return data, skip if skip >= 0 else data.stat().st_size - needed


def _meta_place(fields: dict[str, str], spacing: Sequence[float]) -> tuple[Array, str]:
    affine = np.eye(4)
    matrix = next((fields[key] for key in ("TransformMatrix", "Rotation", "Orientation") if key in fields), "")
    origin = next((fields[key] for key in ("Offset", "Position", "Origin") if key in fields), "0 0 0")
    if "?" in fields.get("AnatomicalOrientation", ""):
        return affine, "anatomical orientation unknown (???): the file does not say where the patient's sides are"
    if not matrix:
        return affine, "no orientation is given: the file does not say where the patient's sides are"
    affine[:3, :3] = np.array([float(n) for n in matrix.split()]).reshape(3, 3).T * np.array(spacing)
    affine[:3, 3] = [float(n) for n in origin.split()]
    return affine, _judge(affine, spacing, "the transform matrix")
