"""Sheared and slightly uneven stacks brought onto an even, orthogonal lattice.

Both work on one slice or one pair of slices at a time and never mix padding into tissue: where padding takes part in an
interpolated value, the value is padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["even_out", "unshear"]

Array = NDArray[np.float64]


def unshear(
    array: NDArray[Any], shift_px: Array, fill: float, padding_below: float | None
) -> tuple[NDArray[Any], tuple[float, float]]:
    """Move every slice sideways to where it lies in the patient (gantry tilt correction, bilinear in the plane).

    Parameters
    ----------
    array : (z, y, x)
        Slices of a sheared stack.
    shift_px : (z, 2) pixels
        Sideways drift of each slice along x and y.
    fill : float
        Value where no slice reaches.
    padding_below : float or None
        Stored values under this are padding.

    Returns
    -------
    (z, y', x') array, (x, y) pixels
        The straightened stack, as wide as the drift makes it, and where its first pixel lies against the drift's zero.
    """
    low = shift_px.min(axis=0)
    relative = shift_px - low
    extra = np.ceil(relative.max(axis=0) - 1e-6).astype(int)
    out = np.full((array.shape[0], array.shape[1] + int(extra[1]), array.shape[2] + int(extra[0])), fill, array.dtype)
    for k in range(array.shape[0]):
        moved, x, y = array[k].astype(np.float32), *(float(v) for v in relative[k])
        padding = None if padding_below is None else moved < padding_below
        moved, padding, row = _shift(moved, padding, y, 0)
        moved, padding, column = _shift(moved, padding, x, 1)
        if padding is not None:
            moved[padding] = fill
        _store(out[k, row : row + moved.shape[0], column : column + moved.shape[1]], moved)
    return out, (float(low[0]), float(low[1]))


def _shift(
    image: NDArray[np.float32], padding: NDArray[np.bool_] | None, amount: float, axis: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, int]:
    """Shift along one axis by a positive amount: the moved image, its padding, and the index where it begins."""
    whole = int(np.floor(amount + 1e-6))
    part = np.float32(max(amount - whole, 0.0))
    if part < 1e-5:
        return image, padding, whole
    before = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
    after = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
    moved = image[after] * (np.float32(1) - part) + image[before] * part
    return moved, None if padding is None else padding[before] | padding[after], whole + 1


def _store(out: NDArray[Any], values: NDArray[np.float32]) -> None:
    if out.dtype.kind == "f":
        out[...] = values
    else:
        np.rint(values, out=values)
        out[...] = values.astype(out.dtype)


def even_out(
    array: NDArray[Any], along_mm: Array, step_mm: float, fill: float, padding_below: float | None
) -> NDArray[Any]:
    """Interpolate linearly along the normal onto even steps.

    Parameters
    ----------
    array : (z, y, x)
        Slices of a stack without shear.
    along_mm : (z,) mm
        Place of each slice, strictly growing from 0.
    step_mm : float
        Step of the result.
    fill, padding_below
        As in `unshear`.

    Returns
    -------
    (z', y, x) array
        Slices at ``0, step, 2 step ...`` up to the last given one.
    """
    count = int(np.floor(along_mm[-1] / step_mm + 1e-3)) + 1
    out = np.empty((count, *array.shape[1:]), array.dtype)
    for k in range(count):
        place = min(k * step_mm, float(along_mm[-1]))
        upper = int(np.clip(np.searchsorted(along_mm, place), 1, len(along_mm) - 1))
        weight = np.float32((place - along_mm[upper - 1]) / (along_mm[upper] - along_mm[upper - 1]))
        if weight < 1e-3 or weight > 1 - 1e-3:
            out[k] = array[upper - 1 if weight < 0.5 else upper]
            continue
        a, b = array[upper - 1].astype(np.float32), array[upper].astype(np.float32)
        values = a * (np.float32(1) - weight) + b * weight
        if padding_below is not None:
            values[(a < padding_below) | (b < padding_below)] = fill
        _store(out[k], values)
    return out
