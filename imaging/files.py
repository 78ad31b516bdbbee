"""NIfTI, NRRD and MetaImage files to a `Volume` or a label map, in LPS, read through a bounded stream."""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.errors import InputRefusedError, NotFoundError, UsageError
from imaging.file_headers import FileHeader, read_header
from imaging.findings import Finding, FindingCode, Severity
from imaging.vetting import DEFAULT_LIMITS, Limits
from imaging.volume import MIN_SLICES, Grid, SeriesIdentity, Volume

__all__ = ["read_image_file", "read_labels"]

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_DIRECTIONS = {
    "L": (1.0, 0.0, 0.0), "R": (-1.0, 0.0, 0.0), "P": (0.0, 1.0, 0.0), "A": (0.0, -1.0, 0.0), "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}
_AIR_HU = -900.0
_FAT_HU = -50.0
_BONE_HU = 200.0
_HIGHEST_HU = 33000.0
_TISSUE_HU = -300.0
#: Of the body's voxels: more without a value inside it forbid planning.
_MISSING_SHARE = 0.001
_WARN_SLICE_MM = 1.6


def read_image_file(
    path: str | os.PathLike[str], *, orientation: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Volume:
    """Read a scan from a NIfTI, NRRD or MetaImage file.

    Parameters
    ----------
    path : path
        The file.
    orientation : str, optional
        Where the x, y and z array axes point, such as ``"LPS"`` (x to the patient's Left, y Posterior, z Superior):
        the operator's word for a file that leaves it open. Refused when the file itself says otherwise.
    limits : Limits
        Budgets.

    Returns
    -------
    Volume
        CT when the values say so, else ``"OTHER"``; a finding tells which and why.

    Raises
    ------
    NotFoundError, UsageError, InputRefusedError
        No such file; an orientation that is none; a file that is damaged or leaves its place open.
    """
    file, header, grid, findings = _open(path, orientation, limits)
    if min(header.size) < MIN_SLICES:
        raise InputRefusedError(f"refused: the {header.kind} file holds {' x '.join(str(n) for n in header.size)} "
                                f"voxels: at least {MIN_SLICES} slices are needed; give the whole scan")
    stored = _read(header, limits)
    digest = _digest(stored, header, grid)
    array, slope, intercept, bad = _as_contract(stored, header)
    low, high = (float(v) * slope + intercept for v in (array.min(), array.max()))
    modality, reason = _modality(min(low, high), max(low, high), bool(array.dtype.kind == "i"))
    severity = Severity.INFO if modality == "CT" else Severity.WARNING
    findings.append(Finding(FindingCode.MODALITY_UNKNOWN, severity, reason))
    if bad is not None:
        findings.append(_missing_values(array, slope, intercept, bad))
    if float(grid.spacing.max()) > _WARN_SLICE_MM:
        message = f"voxels measure up to {float(grid.spacing.max()):.2f} mm, more than 1.5 mm: bone edges are blurred"
        findings.append(Finding(FindingCode.THICK_SLICES, Severity.WARNING, message))
    _LOG.info("loaded a %s volume of %d x %d x %d", header.kind, *array.shape)
    identity = SeriesIdentity(source=str(file), sha256=digest)
    return Volume(array, grid, modality, slope, intercept, identity, tuple(findings))


def read_labels(
    path: str | os.PathLike[str], *, orientation: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> tuple[NDArray[np.integer[Any]], Grid]:
    """Read a label map.

    Parameters
    ----------
    path, orientation, limits
        As for `read_image_file`.

    Returns
    -------
    (z, y, x) integer array, Grid
        Labels in the smallest of uint8, int16 and int32 that holds them, and where they lie.

    Raises
    ------
    NotFoundError, UsageError, InputRefusedError
        As for `read_image_file`; also when the values are not whole numbers.
    """
    _, header, grid, _ = _open(path, orientation, limits)
    stored = _read(header, limits)
    values: NDArray[Any] = stored
    if header.slope != 1.0 or header.intercept != 0.0:
        values = stored.astype(np.float64) * header.slope + header.intercept
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or float(np.abs(values - np.rint(values)).max()) > 1e-3:
            raise InputRefusedError("refused: the label file holds values that are not whole: it is not a label map")
        values = np.rint(values)
    low, high = float(values.min()), float(values.max())
    for kind in (np.uint8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.ascontiguousarray(values, dtype=kind), grid
    raise InputRefusedError("refused: the label file holds values beyond 32 bits; it is not a label map")


def _open(
    path: str | os.PathLike[str], orientation: str | None, limits: Limits
) -> tuple[Path, FileHeader, Grid, list[Finding]]:
    file = Path(path)
    if not file.is_file():
        raise NotFoundError("no such file; check the path")
    header = read_header(file, limits)
    findings: list[Finding] = []
    grid = _place(header, orientation, findings)
    if header.millimetres_assumed:
        message = f"the {header.kind} header names no unit: millimetres were assumed"
        findings.append(Finding(FindingCode.UNITS_ASSUMED, Severity.INFO, message))
    return file, header, grid, findings


def _place(header: FileHeader, orientation: str | None, findings: list[Finding]) -> Grid:
    """The lattice in LPS, from the header or from the operator's word where the header leaves it open."""
    shape = (header.size[2], header.size[1], header.size[0])
    stated = None if orientation is None else _stated_axes(orientation)
    if not header.problem and header.affine is not None:
        grid = Grid(shape, header.affine)
        if stated is not None and not np.array_equal(np.rint(grid.direction), stated):
            raise InputRefusedError(
                f"refused: the {header.kind} header states its orientation and it is not {str(orientation).upper()}; "
                "leave the stated orientation out, or correct the file"
            )
        return grid
    if stated is None:
        raise InputRefusedError(
            f"refused: {header.kind}: {header.problem}; state the orientation (such as LPS: x to the patient's left, "
            "y posterior, z superior), or export the scan again with it"
        )
    affine = np.eye(4)
    affine[:3, :3] = stated * np.array(header.spacing)
    message = f"orientation {str(orientation).upper()} stated by the operator ({header.kind}: {header.problem})"
    findings.append(Finding(FindingCode.ORIENTATION_STATED, Severity.WARNING, message))
    return Grid(shape, affine)


def _stated_axes(orientation: str) -> NDArray[np.float64]:
    """(3, 3) columns: where the x, y and z array axes point."""
    letters = orientation.upper()
    if len(letters) != 3 or any(letter not in _DIRECTIONS for letter in letters):
        raise UsageError(f"orientation {orientation!r} is not three of L/R, P/A, S/I, such as LPS")
    axes = np.array([_DIRECTIONS[letter] for letter in letters]).T
    if abs(float(np.linalg.det(axes))) < 0.5:
        raise UsageError(f"orientation {orientation!r} names one body axis twice; use one each of L/R, P/A, S/I")
    return axes


def _read(header: FileHeader, limits: Limits) -> NDArray[Any]:
    """(z, y, x) stored values in native byte order, not one byte more than the header states."""
    out = np.empty(header.size[::-1], header.dtype)
    target = out.reshape(-1).view(np.uint8).data
    if not 0 <= header.skip <= limits.header_bytes:
        raise InputRefusedError(f"refused: the {header.kind} header states an impossible place of its voxels")
    with header.data.open("rb") as handle:
        if header.compressed:
            skip = header.skip
            if not header.whole:
                handle.seek(skip)
                skip = 0
            filled = _inflate(handle, skip, target, header.kind)
        else:
            handle.seek(header.skip)
            filled = handle.readinto(target)
    if filled != len(target):
        raise InputRefusedError(f"refused: the {header.kind} file is truncated: fewer voxels than its header states")
    return out if out.dtype.isnative else out.astype(out.dtype.newbyteorder("="))


def _inflate(handle: Any, skip: int, target: memoryview, kind: str) -> int:
    """Fill `target` from a gzip or zlib stream (of several members), after `skip` bytes; returns the bytes filled."""
    filled = -skip
    stream, data = zlib.decompressobj(zlib.MAX_WBITS | 32), b""
    try:
        while filled < len(target):
            data = data or handle.read(_CHUNK)
            if not data:
                break
            piece = stream.decompress(data, _CHUNK)
            data = stream.unconsumed_tail
            start = max(-filled, 0)
            useful = piece[start : start + len(target) - max(filled, 0)]
            target[max(filled, 0) : max(filled, 0) + len(useful)] = useful
            filled += len(piece)
            if stream.eof:
                data = stream.unused_data or handle.read(_CHUNK)
                stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    except zlib.error as error:
        raise InputRefusedError(f"refused: the compressed part of the {kind} file is damaged") from error
    return min(filled, len(target))


def _digest(stored: NDArray[Any], header: FileHeader, grid: Grid) -> str:
    """SHA-256 of all that decides the volume: stored values, how they read, and where they lie."""
    digest = hashlib.sha256(stored.data)
    numbers = np.round([*grid.affine.ravel(), header.slope, header.intercept], 9) + 0.0
    digest.update(f"{stored.shape} {stored.dtype.str} {' '.join(f'{n:.9f}' for n in numbers)}".encode())
    return digest.hexdigest()


def _as_contract(stored: NDArray[Any],
                 header: FileHeader) -> tuple[NDArray[Any], float, float, NDArray[np.bool_] | None]:
    """int16 with slope and intercept when the values fit, else float32 values; and where there was no value, if any."""
    if stored.dtype.kind in "iu" and int(stored.max()) <= 32767 and int(stored.min()) >= -32768:
        return stored.astype(np.int16, copy=False), header.slope, header.intercept, None
    values = stored.astype(np.float32)
    if header.slope != 1.0 or header.intercept != 0.0:
        values = values * np.float32(header.slope) + np.float32(header.intercept)
    bad = ~np.isfinite(values)
    if bad.all():
        raise InputRefusedError(f"refused: the {header.kind} file holds no finite value")
    if bad.any():
        values[bad] = values[~bad].min()
    if float(values.min()) >= -32768 and float(values.max()) <= 32767 and bool((values == np.rint(values)).all()):
        return values.astype(np.int16), 1.0, 0.0, bad if bad.any() else None
    return values, 1.0, 0.0, bad if bad.any() else None


def _missing_values(array: NDArray[Any], slope: float, intercept: float, bad: NDArray[np.bool_]) -> Finding:
    """How much of the scan has no value; a block where it lies in the body, with tissue before and behind it."""
    tissue = (array * np.float32(slope) + np.float32(intercept) > _TISSUE_HU) & ~bad
    before = np.logical_or.accumulate(tissue, axis=0)
    inside = bad & before & np.logical_or.accumulate(tissue[::-1], axis=0)[::-1]
    share, within = float(bad.mean()), float(inside.sum()) / max(int(tissue.sum()), 1)
    said = f"{share:.2%} of the voxels hold no number (NaN or infinite); they were read as air"
    if within <= _MISSING_SHARE:
        return Finding(FindingCode.VALUES_MISSING, Severity.WARNING, said)
    return Finding(FindingCode.VALUES_MISSING, Severity.BLOCK,
                   f"{said}, and many of them lie inside the body: what is there is not known and nothing is aimed. "
                   "Export the scan again.")


def _modality(low: float, high: float, whole: bool) -> tuple[str, str]:
    """``CT`` or ``OTHER`` from the range of the values, and the reason."""
    span = f"values from {low:.0f} to {high:.0f}"
    if low <= _AIR_HU and _BONE_HU <= high <= _HIGHEST_HU:
        return "CT", f"modality not named; taken as CT: {span} reach from air to bone"
    if whole and low <= _FAT_HU and _BONE_HU <= high <= _HIGHEST_HU:
        return "CT", f"modality not named; taken as a CT crop without air: {span} reach from fat to bone"
    return "OTHER", f"modality not named, and {span} are not Hounsfield units: not taken as CT"
