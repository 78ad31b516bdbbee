"""Exact Euclidean distance maps on anisotropic lattices, capped, in numba.

Distances run from voxel centre to the nearest mask voxel's centre. `signed_distance` turns them into a field whose zero
lies on the face between mask and surroundings: half the smallest spacing is taken off on either side.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from targeting.compiled import compiled

__all__ = ["distance_to", "signed_distance"]

Field = NDArray[np.float32]


@compiled
def _first_axis_sweep(mask: NDArray[np.bool_], step: float, cap: float, out: Field) -> None:
    """Squared distance along x, mm2; at most cap2."""
    nz, ny, nx = mask.shape
    far = cap * cap
    for z in range(nz):
        for y in range(ny):
            d = cap
            for x in range(nx):
                d = 0.0 if mask[z, y, x] else min(d + step, cap)
                out[z, y, x] = d * d
            d = cap
            for x in range(nx - 1, -1, -1):
                d = 0.0 if mask[z, y, x] else min(d + step, cap)
                out[z, y, x] = min(out[z, y, x], d * d, far)


@compiled
def _lower_envelope(column: Field, n: int, step: float, far: float, place: NDArray[np.int64],
                    border: NDArray[np.float64], result: Field) -> bool:
    """Squared distance transform of one column (Felzenszwalb and Huttenlocher); False when nothing is near."""
    k = -1
    square = step * step
    for q in range(n):
        if column[q] >= far:
            continue
        s = -np.inf
        while k >= 0:
            p = place[k]
            s = ((column[q] - column[p]) / square + q * q - p * p) / (2.0 * (q - p))
            if s > border[k]:
                break
            k -= 1
        if k < 0:
            s = -np.inf
        k += 1
        place[k] = q
        border[k] = s
    if k < 0:
        return False
    last = k
    k = 0
    for q in range(n):
        while k < last and border[k + 1] < q:
            k += 1
        d = (q - place[k]) * step
        result[q] = min(d * d + column[place[k]], far)
    return True


@compiled
def _sweep(field: Field, axis: int, step: float, far: float) -> None:
    """Second (y) and third (z) pass, in place."""
    nz, ny, nx = field.shape
    n = ny if axis == 1 else nz
    others = nz if axis == 1 else ny
    column, result = np.empty(n, np.float32), np.empty(n, np.float32)
    place, border = np.empty(n + 1, np.int64), np.empty(n + 1, np.float64)
    for o in range(others):
        for x in range(nx):
            if axis == 1:
                for q in range(n):
                    column[q] = field[o, q, x]
            else:
                for q in range(n):
                    column[q] = field[q, o, x]
            if not _lower_envelope(column, n, step, far, place, border, result):
                continue
            if axis == 1:
                for q in range(n):
                    field[o, q, x] = result[q]
            else:
                for q in range(n):
                    field[q, o, x] = result[q]


def distance_to(mask: NDArray[np.bool_], spacing: NDArray[np.float64], cap_mm: float) -> Field:
    """Distance of every voxel centre to the nearest mask voxel's centre.

    Parameters
    ----------
    mask : (z, y, x) bool
    spacing : (3,) mm along x, y, z
    cap_mm : float
        Larger distances are returned as this.

    Returns
    -------
    (z, y, x) float32, mm
        0 inside the mask.
    """
    out = np.empty(mask.shape, np.float32)
    cap = float(cap_mm)
    _first_axis_sweep(np.ascontiguousarray(mask), float(spacing[0]), cap, out)
    _sweep(out, 1, float(spacing[1]), cap * cap)
    _sweep(out, 0, float(spacing[2]), cap * cap)
    return np.sqrt(out, out=out)


def signed_distance(mask: NDArray[np.bool_], spacing: NDArray[np.float64], cap_mm: float, depth_mm: float) -> Field:
    """Field with its zero on the mask's voxel faces: positive outside (to `cap_mm`), negative inside (to `depth_mm`).

    Parameters
    ----------
    mask : (z, y, x) bool
    spacing : (3,) mm along x, y, z

    Returns
    -------
    (z, y, x) float32, mm
    """
    half = np.float32(0.5 * float(np.min(spacing)))
    field = distance_to(mask, spacing, cap_mm) - half
    if mask.any():
        field[mask] = half - distance_to(~mask, spacing, depth_mm)[mask]
    return np.asarray(field, dtype=np.float32)


def ellipsoid_reach(offset_mm: float, half_length_mm: float, half_width_mm: float) -> float:
    """Radius of the largest ball about a point of a long ellipsoid's axis that stays inside it, mm.

    The balls about all axis points together fill the ellipsoid, so "no structure inside" becomes a test of distances.
    """
    a2, b2 = half_length_mm**2, half_width_mm**2
    if abs(offset_mm) * half_length_mm >= a2 - b2:
        return half_length_mm - abs(offset_mm)
    return half_width_mm * math.sqrt(1.0 - offset_mm**2 / (a2 - b2))
