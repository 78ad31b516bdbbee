"""The numba kernels that walk needles through the fields.

Everything is in LPS mm; `inverse` (3, 3) and `origin` (3,) turn a point into fractional voxel indices (i, j, k) of the
fields' lattice. A needle is given by its tip and the unit direction `u` from entry to tip; `s` is the distance from the
tip back toward the skin.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from targeting.compiled import compiled

__all__ = [
    "AIR", "CELL_MM", "EDGE", "INSIDE", "LEAST_STEP", "OPEN", "electrode_along", "find_contact", "find_dense",
    "find_exit", "floor_of_cells", "least_slack", "sample_many", "trilinear", "turned", "within",
]

Array = NDArray[np.float64]
Field = NDArray[np.float32]
State = NDArray[np.uint8]

#: Values of a body state field: air that was measured, inside the skin, not measured.
AIR, INSIDE, OPEN = 0, 1, 2
_SKIN_STEP = 1.0
#: Air this thin before the end of what was measured is the rim of a cropped body, not skin, mm.
_RIM_MM = 5
#: Shortest step along a shaft, and toward bone, mm.
LEAST_STEP, _CONTACT_STEP = 0.5, 0.25
#: Unit of the floors of cells, mm.
CELL_MM = 0.1
#: Beyond a lattice its border counts: the last place in its last cell, in voxels before the last voxel.
EDGE = 1e-9


@compiled
def within(field: Field, i: float, j: float, k: float) -> float:
    """Value of a field at fractional voxel indices, which must lie in one of its cells, mm.

    That is, each at least 0 and less than that of the last voxel. Unsigned indices spare a test for negative ones.
    """
    a, b, c = np.uint64(int(i)), np.uint64(int(j)), np.uint64(int(k))
    a1, b1, c1 = a + np.uint64(1), b + np.uint64(1), c + np.uint64(1)
    u, v, w = i - int(i), j - int(j), k - int(k)
    low = ((field[c, b, a] * (1 - u) + field[c, b, a1] * u) * (1 - v)
           + (field[c, b1, a] * (1 - u) + field[c, b1, a1] * u) * v)
    high = ((field[c1, b, a] * (1 - u) + field[c1, b, a1] * u) * (1 - v)
            + (field[c1, b1, a] * (1 - u) + field[c1, b1, a1] * u) * v)
    return float(low * (1 - w) + high * w)


@compiled
def turned(inverse: Array, x: float, y: float, z: float) -> tuple[float, float, float]:
    """A step in mm as steps along the lattice's axes."""
    return (inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] * z,
            inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] * z,
            inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2] * z)


@compiled
def trilinear(field: Field, inverse: Array, origin: Array, x: float, y: float, z: float) -> float:
    """Value of a field at one point, mm; the border value beyond the lattice."""
    nz, ny, nx = field.shape
    i, j, k = turned(inverse, x - origin[0], y - origin[1], z - origin[2])
    return within(field, min(max(i, 0.0), nx - 1 - EDGE), min(max(j, 0.0), ny - 1 - EDGE),
                  min(max(k, 0.0), nz - 1 - EDGE))


@compiled
def sample_many(field: Field, inverse: Array, origin: Array, points: Array) -> Array:
    """(n,) values of a field at (n, 3) points."""
    out = np.empty(len(points))
    for n in range(len(points)):
        out[n] = trilinear(field, inverse, origin, points[n, 0], points[n, 1], points[n, 2])
    return out


@compiled
def find_dense(field: Field, inverse: Array, origin: Array, tips: Array, directions: Array, level: float,
               reach: float) -> Array:
    """(n,) mm ahead of each tip at which a field first comes to `level`, looked for every 0.25 mm; `reach` if it never
    does.
    """
    out = np.full(len(tips), reach)
    for n in range(len(tips)):
        for m in range(int(4.0 * reach)):
            s = 0.25 * m
            if trilinear(field, inverse, origin, tips[n, 0] + s * directions[n, 0], tips[n, 1] + s * directions[n, 1],
                         tips[n, 2] + s * directions[n, 2]) >= level:
                out[n] = s
                break
    return out


@compiled
def _state(state: State, inverse: Array, origin: Array, x: float, y: float, z: float) -> int:
    """Nearest value of a body state field; OPEN beyond the lattice."""
    nz, ny, nx = state.shape
    dx, dy, dz = x - origin[0], y - origin[1], z - origin[2]
    i = math.floor(inverse[0, 0] * dx + inverse[0, 1] * dy + inverse[0, 2] * dz + 0.5)
    j = math.floor(inverse[1, 0] * dx + inverse[1, 1] * dy + inverse[1, 2] * dz + 0.5)
    k = math.floor(inverse[2, 0] * dx + inverse[2, 1] * dy + inverse[2, 2] * dz + 0.5)
    if i < 0 or j < 0 or k < 0 or i >= nx or j >= ny or k >= nz:
        return OPEN
    return int(state[k, j, i])


@compiled
def find_exit(state: State, inverse: Array, origin: Array, tips: Array, directions: Array,
              limit: float) -> tuple[Array, NDArray[np.int64]]:
    """Where each needle, followed back from its tip, leaves the body.

    Returns
    -------
    s : (n,) mm
        Last place inside, to 0.01 mm; `limit` when the needle is still inside there.
    how : (n,) int
        AIR at the skin, OPEN where nothing was measured, INSIDE when `limit` was reached.
    """
    s_out, how = np.empty(len(tips)), np.empty(len(tips), np.int64)
    for n in range(len(tips)):
        x, y, z = tips[n, 0], tips[n, 1], tips[n, 2]
        u, v, w = directions[n, 0], directions[n, 1], directions[n, 2]
        s, found = 0.0, INSIDE
        while found == INSIDE and s < limit:
            s += _SKIN_STEP
            found = _state(state, inverse, origin, x - s * u, y - s * v, z - s * w)
        if found == INSIDE:
            s_out[n], how[n] = limit, INSIDE
            continue
        how[n] = found
        for rim in range(1, _RIM_MM + 1):
            t = s + rim
            if _state(state, inverse, origin, x - t * u, y - t * v, z - t * w) == OPEN:
                how[n] = OPEN
        low, high = s - _SKIN_STEP, s
        while high - low > 0.01:
            mid = 0.5 * (low + high)
            if _state(state, inverse, origin, x - mid * u, y - mid * v, z - mid * w) == INSIDE:
                low = mid
            else:
                high = mid
        s_out[n] = low
    return s_out, how


@compiled
def find_contact(bones: Field, inverse: Array, origin: Array, aims: Array, directions: Array, start: float,
                 beyond: float, gap: float) -> tuple[Array, Array]:
    """Where needles aimed at a point first come within `gap` of bone, from `start` mm before it to `beyond` mm after.

    Returns
    -------
    s : (n,) mm
        Contact, counted back from the aim (negative beyond it); NaN without contact; `start` when already in bone.
    nearest : (n,) mm
        Least distance to bone that was met.
    """
    s_out, nearest = np.empty(len(aims)), np.empty(len(aims))
    for n in range(len(aims)):
        s, least, before, step = start, 1e9, 1e9, _CONTACT_STEP
        s_out[n] = np.nan
        while s >= -beyond:
            d = trilinear(bones, inverse, origin, aims[n, 0] - s * directions[n, 0],
                          aims[n, 1] - s * directions[n, 1], aims[n, 2] - s * directions[n, 2])
            least = min(least, d)
            if d <= gap:
                # the field is nearly linear over one step: land on the level by interpolation
                s_out[n] = s if before > 1e8 else s + step * (gap - d) / (before - d)
                break
            before = d
            # half of what is left to bone can be taken at once; places stay on one raster
            step = _CONTACT_STEP * max(math.floor(0.5 * (d - gap) / _CONTACT_STEP), 1.0)
            s -= step
        nearest[n] = least
    return s_out, nearest


@compiled
def floor_of_cells(field: Field) -> State:
    """(z - 1, x - 1, y - 1) uint8: the least a field can be inside each cell of its lattice, in units of `CELL_MM`.

    Rounded down, 0 for anything negative. y runs along the rows, because needles run along y: a shaft then stays in
    few cache lines.
    """
    nz, ny, nx = field.shape
    out = np.empty((nz - 1, nx - 1, ny - 1), np.uint8)
    for k in range(nz - 1):
        for j in range(ny - 1):
            for i in range(nx - 1):
                least = field[k, j, i]
                for corner in range(1, 8):
                    least = min(least, field[k + corner // 4, j + corner // 2 % 2, i + corner % 2])
                out[k, i, j] = int(min(max(math.floor(least / CELL_MM), 0.0), 255.0))
    return out


@compiled
def least_slack(combined: Field, bones: Field, combined_cells: State, bone_cells: State, inverse: Array,
                origin: Array, tips: Array, directions: Array, lengths: Array,
                zone: float) -> tuple[Array, Array, Array, Array]:
    """Smallest value of two fields along each needle's axis, by steps no longer than the fields allow.

    Parameters
    ----------
    combined : (z, y, x)
        Distance less margin, smallest over the structures.
    bones : (z, y, x)
        Distance to bone; only considered farther than `zone` from the tip.
    combined_cells, bone_cells : uint8
        `floor_of_cells` of both.
    lengths : (n,) mm
        Tip to entry.

    Returns
    -------
    slack, slack_at, bone, bone_at : (n,) mm
        The least values and where (distance from the tip).
    """
    count = len(tips)
    slack, slack_at, bone, bone_at = np.empty(count), np.zeros(count), np.empty(count), np.zeros(count)
    nz, nx, ny = combined_cells.shape
    last_i, last_j, last_k = nx - EDGE, ny - EDGE, nz - EDGE
    for n in range(count):
        i, j, k = turned(inverse, tips[n, 0] - origin[0], tips[n, 1] - origin[1], tips[n, 2] - origin[2])
        di, dj, dk = turned(inverse, directions[n, 0], directions[n, 1], directions[n, 2])
        s, least, least_bone, end = 0.0, 1e9, 1e9, lengths[n]
        while True:
            a, b, c = (min(max(i - s * di, 0.0), last_i), min(max(j - s * dj, 0.0), last_j),
                       min(max(k - s * dk, 0.0), last_k))
            free = combined_cells[int(c), int(a), int(b)] * CELL_MM - least
            if free < LEAST_STEP:
                value = within(combined, a, b, c)
                if value < least:
                    least, slack_at[n] = value, s
                free = value - least
            if s >= zone:
                room = bone_cells[int(c), int(a), int(b)] * CELL_MM - least_bone
                if room < LEAST_STEP:
                    value = within(bones, a, b, c)
                    if value < least_bone:
                        least_bone, bone_at[n] = value, s
                    room = value - least_bone
                free = min(free, room)
            if s >= end:
                break
            ahead = min(s + max(free, LEAST_STEP), end)
            s = min(ahead, zone) if s < zone <= end else ahead
        slack[n], bone[n] = least, least_bone
    return slack, slack_at, bone, bone_at


@compiled
def electrode_along(bones: Field, foramen: Field, inverse: Array, origin: Array, tips: Array, directions: Array,
                    reach: Array, nerve: Array, wanted: NDArray[np.bool_], step: float, active: float, zone: float,
                    capture: float, beyond: float, contact: float, least_near: float, most_gap: float) -> Array:
    """How active tips lie beside bone, spinal nerve and medial branch.

    Parameters
    ----------
    reach : (m, 3) mm
        Offsets from the tip back along the axis, and the radii of the 50 C and 45 C zones there (from the axis).
    nerve, wanted : (k, 3) mm, (k,) bool
        Dense points of the course, `step` apart, and whether they lie on the part of the neck to cover.
    active, zone : float
        Length of the active tip, and of the part of the needle that may graze bone, mm.
    capture, beyond : float
        Distance from the axis at which the nerve counts as caught, and how far past either end of the active tip, mm.
    contact : float
        Distance at which the axis counts as lying on bone, mm.
    least_near, most_gap : float
        Limits of the first two columns, mm; a needle that breaks one of them is NaN in those that follow.

    Returns
    -------
    (n, 7) float64
        Least distance axis to bone in the zone; distance tip to bone; share of the active tip on bone; least slack of
        the hot and of the warm zone to the spinal nerve; least distance to the nerve; captured length of the nerve.
    """
    out = np.empty((len(tips), 7))
    samples = math.ceil(zone / 0.5) + 1
    for n in range(len(tips)):
        x, y, z = tips[n, 0], tips[n, 1], tips[n, 2]
        u, v, w = directions[n, 0], directions[n, 1], directions[n, 2]
        near_bone, on_bone, along = 1e9, 0, 0
        for m in range(samples):
            s = min(0.5 * m, zone)
            b = trilinear(bones, inverse, origin, x - s * u, y - s * v, z - s * w)
            near_bone = min(near_bone, b)
            if s <= active:
                along += 1
                on_bone += 1 if b <= contact else 0
        out[n, 0] = near_bone
        out[n, 1] = trilinear(bones, inverse, origin, x, y, z)
        if near_bone < least_near or out[n, 1] > most_gap:
            out[n, 2:] = np.nan
            continue
        out[n, 2] = on_bone / along
        hot, warm = 1e9, 1e9
        for m in range(len(reach)):
            s = reach[m, 0]
            d = trilinear(foramen, inverse, origin, x - s * u, y - s * v, z - s * w)
            hot, warm = min(hot, d - reach[m, 1]), min(warm, d - reach[m, 2])
        out[n, 3], out[n, 4] = hot, warm
        closest, caught = 1e18, 0
        for k in range(len(nerve)):
            p, q, r = nerve[k, 0] - x, nerve[k, 1] - y, nerve[k, 2] - z
            back = -(p * u + q * v + r * w)
            s = min(max(back, 0.0), active)
            d2 = (p + s * u) ** 2 + (q + s * v) ** 2 + (r + s * w) ** 2
            closest = min(closest, d2)
            if wanted[k] and d2 <= capture * capture and -beyond <= back <= active + beyond:
                caught += 1
        out[n, 5], out[n, 6] = math.sqrt(closest), caught * step
    return out
