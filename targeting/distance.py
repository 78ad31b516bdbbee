"""Exact Euclidean distance maps on anisotropic lattices, capped, in numba.

Distances run from voxel centres to the mask's voxels as full boxes, so a field is 0 on the faces between the mask and
its surroundings and exact at every lattice point; between those it is interpolated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from targeting.compiled import compiled

__all__ = ["distance_to", "ellipsoid_reach", "near_distance", "signed_distance"]

Field = NDArray[np.float32]


@compiled
def _first_axis_sweep(mask: NDArray[np.bool_], step: float, cap: float, out: Field) -> None:
    """Squared distance along x to the nearest box, mm2; at most cap2."""
    nz, ny, nx = mask.shape
    far = cap * cap
    for z in range(nz):
        for y in range(ny):
            d = cap
            for x in range(nx):
                d = -0.5 * step if mask[z, y, x] else min(d + step, cap)
                out[z, y, x] = max(d, 0.0) ** 2
            d = cap
            for x in range(nx - 1, -1, -1):
                d = -0.5 * step if mask[z, y, x] else min(d + step, cap)
                out[z, y, x] = min(out[z, y, x], max(d, 0.0) ** 2, far)


@compiled
def _lower_envelope(column: Field, n: int, step: float, far: float, place: NDArray[np.int64],
                    border: NDArray[np.float64], result: Field) -> bool:
    """Squared distance of one column to boxes; False when nothing is near.

    The lower envelope of parabolas (Felzenszwalb and Huttenlocher) over all q is built once. A box reaches half a step
    to either side, so its near face is met by looking half a step to the left and half a step to the right; both are
    no less than the truth, and one of them, or the column's own value, is the truth.
    """
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
    left, right = 0, 0
    for q in range(n):
        while left < k and border[left + 1] < q - 0.5:
            left += 1
        while right < k and border[right + 1] < q + 0.5:
            right += 1
        a, b = (q - 0.5 - place[left]) * step, (q + 0.5 - place[right]) * step
        result[q] = min(min(a * a + column[place[left]], b * b + column[place[right]]), min(column[q], far))
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
    """Distance of every voxel centre to the nearest mask voxel's box.

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


def _about(mask: NDArray[np.bool_], spacing: NDArray[np.float64], reach_mm: float) -> tuple[slice, slice, slice]:
    """The part of a lattice that holds everything within `reach_mm` of a mask that is not empty."""
    out = []
    for axis in range(3):
        seen = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        pad = math.ceil(reach_mm / float(spacing[2 - axis])) + 1
        out.append(slice(max(int(seen[0]) - pad, 0), int(seen[-1]) + pad + 1))
    return out[0], out[1], out[2]


def near_distance(mask: NDArray[np.bool_], spacing: NDArray[np.float64], cap_mm: float, depth_mm: float
                  ) -> tuple[Field, tuple[slice, slice, slice]]:
    """`signed_distance` where it is less than `cap_mm`, and the (z, y, x) slices that cut it out of the lattice.

    Parameters
    ----------
    mask : (z, y, x) bool
        Not empty.
    spacing : (3,) mm along x, y, z
    """
    near, own = _about(mask, spacing, cap_mm), _about(mask, spacing, 0.0)
    field = distance_to(mask[near], spacing, cap_mm)
    within = tuple(slice(o.start - n.start, o.stop - n.start) for o, n in zip(own, near, strict=True))
    part = mask[own]
    field[within][part] = -distance_to(~part, spacing, depth_mm)[part]
    return field, near


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
    field = np.full(mask.shape, cap_mm, np.float32)
    if mask.any():
        near, cut = near_distance(mask, spacing, cap_mm, depth_mm)
        field[cut] = near
    return field


def ellipsoid_reach(offset_mm: float, half_length_mm: float, half_width_mm: float) -> float:
    """Radius of the largest ball about a point of a long ellipsoid's axis that stays inside it, mm.

    The balls about all axis points together fill the ellipsoid, so "no structure inside" becomes a test of distances.
    """
    a2, b2 = half_length_mm**2, half_width_mm**2
    if abs(offset_mm) * half_length_mm >= a2 - b2:
        return half_length_mm - abs(offset_mm)
    return half_width_mm * math.sqrt(1.0 - offset_mm**2 / (a2 - b2))
