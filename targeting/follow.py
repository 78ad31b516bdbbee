"""Following shafts from tip to skin in bundles: which keep every margin, and where the others are stopped.

Neighbours are decided together. A distance field changes by at most what is travelled, so where the middle axis of a
bundle has more room than the bundle is wide, every shaft of it is free there: a few places clear the way through soft
tissue for all of them, and each is followed by itself only where it is narrow, near its tip. A bundle is a run of
consecutive needles that lie close together; candidates come in such runs. The answer for a needle does not depend on
its bundle by more than the shortest step allows (`targeting.kernels.LEAST_STEP`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from targeting.compiled import compiled
from targeting.kernels import CELL_MM, EDGE, LEAST_STEP, turned, within

__all__ = ["find_stop"]

Array = NDArray[np.float64]
Field = NDArray[np.float32]
State = NDArray[np.uint8]
#: How far to look ahead, in units of the room at hand: 2 is where two equal intervals just meet.
_STRIDE = 1.7
#: Most needles of a bundle; how far their tips lie apart across it, mm; and how far they spread, mm per mm.
_MOST, _WIDE_MM, _SPREAD = 16, 1.0, 0.2
#: Shafts that are followed one by one advance together, so many at a time.
_ABREAST = 128
#: A bundle with less room on all sides is measured by the field itself; with less than the second it ends, mm.
_BUNDLE_ROOM, _LEAST_ROOM = 1.0, 0.1


@compiled
def _bundle_end(tips: Array, directions: Array, first: int) -> int:
    """One past the last of the consecutive needles that lie close to the first one."""
    x, y, z = tips[first, 0], tips[first, 1], tips[first, 2]
    u, v, w = directions[first, 0], directions[first, 1], directions[first, 2]
    last = min(first + _MOST, len(tips))
    for n in range(first + 1, last):
        du, dv, dw = directions[n, 0] - u, directions[n, 1] - v, directions[n, 2] - w
        if du * du + dv * dv + dw * dw > _SPREAD * _SPREAD:
            return n
        p, q, r = tips[n, 0] - x, tips[n, 1] - y, tips[n, 2] - z
        a = p * u + q * v + r * w
        if p * p + q * q + r * r - a * a > _WIDE_MM * _WIDE_MM:
            return n
    return last


@compiled
def _middle(tips: Array, directions: Array, lengths: Array, first: int, end: int, ahead: Array,
            axis: Array) -> tuple[float, float, float, float, float]:
    """The middle axis of a bundle and how far its needles lie from it.

    Fills `axis` with a point and a vector, and `ahead` with how far beyond that point each tip lies along it. A needle
    at `s` mm from its tip is then no further than `wide + spread * s` from the axis at `s - ahead`.

    Returns
    -------
    wide, spread, low, high, longest : float
        The bounds above (mm, mm per mm), the least and the greatest `ahead`, and where the longest needle ends, as a
        place on the axis.
    """
    axis[:] = 0.0
    for n in range(first, end):
        for c in range(3):
            axis[c] += tips[n, c]
            axis[3 + c] += directions[n, c]
    for c in range(6):
        axis[c] /= end - first
    u, v, w = axis[3], axis[4], axis[5]
    wide2, spread2, low, high, longest = 0.0, 0.0, 1e9, -1e9, 0.0
    for n in range(first, end):
        p, q, r = tips[n, 0] - axis[0], tips[n, 1] - axis[1], tips[n, 2] - axis[2]
        a = p * u + q * v + r * w
        ahead[n - first] = a
        p, q, r = p - a * u, q - a * v, r - a * w
        wide2 = max(wide2, p * p + q * q + r * r)
        du, dv, dw = directions[n, 0] - u, directions[n, 1] - v, directions[n, 2] - w
        spread2 = max(spread2, du * du + dv * dv + dw * dw)
        low, high, longest = min(low, a), max(high, a), max(longest, lengths[n] - a)
    return math.sqrt(wide2), math.sqrt(spread2), low, high, longest


@compiled
def _holds(shape: tuple[int, int, int], i: float, j: float, k: float) -> bool:
    """Whether a point lies in one of a lattice's cells."""
    return bool(0.0 <= i < shape[2] - 1 and 0.0 <= j < shape[1] - 1 and 0.0 <= k < shape[0] - 1)


@compiled
def _part_within(shape: tuple[int, int, int], i: float, j: float, k: float, di: float, dj: float, dk: float,
                 length: float) -> float:
    """How much of a shaft, from its tip on, a lattice holds, mm; 0 when it does not hold the tip."""
    if not _holds(shape, i, j, k):
        return 0.0
    if _holds(shape, i - length * di, j - length * dj, k - length * dk):
        return length
    out = length
    for place, step, size in ((i, di, shape[2]), (j, dj, shape[1]), (k, dk, shape[0])):
        if step > 0.0:
            out = min(out, place / step)
        elif step < 0.0:
            out = min(out, (place - (size - 1 - EDGE)) / step)
    return max(out, 0.0)


@compiled
def _cleared_from(merged: Field, cells: State, i: float, j: float, k: float, di: float, dj: float, dk: float,
                  end: float, begin: float, wide: float, spread: float) -> float:
    """The place on a bundle's axis from which on all of it is free to `end`; `end` when that is not known of any part.

    `wide` holds the needles' radius; the lattice holds the axis.
    """
    s, cleared = end, end
    while True:
        a, b, c = i - s * di, j - s * dj, k - s * dk
        width = wide + spread * max(s, 0.0)
        room = cells[np.uint64(int(c)), np.uint64(int(a)), np.uint64(int(b))] * CELL_MM - width
        if room < _BUNDLE_ROOM:
            room = within(merged, a, b, c) - width
        reach = room / (1.0 + spread)
        if room < _LEAST_ROOM or s + reach < cleared:
            if s >= cleared:
                return cleared
            s = cleared
            continue
        cleared = s - room
        if cleared <= begin:
            return begin
        s = max(s - _STRIDE * reach, begin)


@compiled
def _bundle_room(merged: Field, combined: Field, cells: State, inverse: Array, origin: Array, tips: Array,
                 directions: Array, lengths: Array, zone: float, radius: float, first: int, last: int, ahead: Array,
                 axis: Array) -> tuple[float, bool]:
    """Where on its axis a bundle begins to be free up to the skin, and whether the zones at its tips are free.

    Fills `ahead` and `axis` as `_middle` does.
    """
    wide, spread, low, high, longest = _middle(tips, directions, lengths, first, last, ahead, axis)
    i, j, k = turned(inverse, axis[0] - origin[0], axis[1] - origin[1], axis[2] - origin[2])
    di, dj, dk = turned(inverse, axis[3], axis[4], axis[5])
    wide += radius + spread * max(high, 0.0)
    middle, half = 0.5 * (zone - low - high), 0.5 * (zone + high - low)
    first_s = min(zone - high, middle)
    if not (_holds(combined.shape, i - longest * di, j - longest * dj, k - longest * dk)
            and _holds(combined.shape, i - first_s * di, j - first_s * dj, k - first_s * dk)):
        return math.inf, False
    free = _cleared_from(merged, cells, i, j, k, di, dj, dk, longest, zone - high, wide, spread)
    room = within(combined, i - middle * di, j - middle * dj, k - middle * dk) - wide - spread * max(middle, 0.0)
    return free, room >= half * (1.0 + spread)


@compiled
def _zone_stop(combined: Field, i: float, j: float, k: float, di: float, dj: float, dk: float, begin: float,
               radius: float) -> float:
    """Where a shaft comes too near to something in the zone at its tip; `begin` when nowhere."""
    s = 0.0
    while s < begin:
        room = within(combined, i - s * di, j - s * dj, k - s * dk) - radius
        if room < 0.0:
            return s
        s += max(room, LEAST_STEP)
    return begin


@compiled
def _advance(merged: Field, cells: State, rays: Array, reached: Array, who: NDArray[np.int64], count: int,
             radius: float, stops: Array) -> None:
    """Follow shafts between the zones at their tips and where their bundles are free; fills `stops`.

    They take their steps in turn, so that the processor works on several at once. Places are taken so that the
    intervals they clear meet. Most are read from the floor of their cell, the narrow ones from the field itself.

    Parameters
    ----------
    rays : (6, m)
        Tips and directions in voxel indices.
    reached : (3, m) mm
        The next place to look at, how far the shaft is cleared, and where to end.
    who : (m,)
        Their rows in `stops`.
    """
    rooms, places = np.empty(_ABREAST), np.empty((3, _ABREAST))
    while count > 0:
        for n in range(count):
            s = reached[0, n]
            a, b, c = rays[0, n] - s * rays[3, n], rays[1, n] - s * rays[4, n], rays[2, n] - s * rays[5, n]
            places[0, n], places[1, n], places[2, n] = a, b, c
            rooms[n] = cells[np.uint64(int(c)), np.uint64(int(a)), np.uint64(int(b))] * CELL_MM - radius
        left = 0
        for n in range(count):
            s, cleared, end, room = reached[0, n], reached[1, n], reached[2, n], rooms[n]
            if room < LEAST_STEP:
                room = within(merged, places[0, n], places[1, n], places[2, n]) - radius
                if room < 0.0:
                    stops[who[n]] = s
                    continue
            if s - room > cleared:
                s = cleared
            else:
                cleared = s + max(room, LEAST_STEP)
                if cleared >= end:
                    if s >= end or room >= LEAST_STEP:
                        continue
                    cleared = end
                s = min(s + _STRIDE * room, end) if room >= LEAST_STEP else cleared
            reached[0, left], reached[1, left], reached[2, left] = s, cleared, end
            if left < n:
                for row in range(6):
                    rays[row, left] = rays[row, n]
                who[left] = who[n]
            left += 1
        count = left


@compiled
def find_stop(merged: Field, combined: Field, cells: State, inverse: Array, origin: Array, tips: Array,
              directions: Array, lengths: Array, zone: float, radius: float) -> Array:
    """Follow each shaft from its tip to its entry or out of the fields, or to where it comes too near to something.

    Between the zone at the tip and the entry `merged` counts, inside the zone only `combined`.

    Parameters
    ----------
    merged, combined : (z, y, x) mm
        Distance less margin, smallest over the structures, with and without bones.
    cells : uint8
        `floor_of_cells` of `merged`.
    lengths : (n,) mm
        Tip to entry.

    Returns
    -------
    (n,) mm
        Distance from the tip at which the shaft is stopped; NaN when it is free all the way.
    """
    stops = np.full(len(tips), np.nan)
    axis, ahead = np.empty(6), np.empty(_MOST)
    rays, reached, who, count = np.empty((6, _ABREAST)), np.empty((3, _ABREAST)), np.empty(_ABREAST, np.int64), 0
    first = 0
    while first < len(tips):
        last = _bundle_end(tips, directions, first)
        free, zone_is_free = math.inf, False
        if last - first > 1:
            free, zone_is_free = _bundle_room(merged, combined, cells, inverse, origin, tips, directions, lengths, zone,
                                              radius, first, last, ahead, axis)
        for n in range(first, last):
            begin = min(zone, lengths[n])
            end = max(min(lengths[n], free + ahead[n - first]), begin) if last - first > 1 else lengths[n]
            if zone_is_free and end == begin and lengths[n] > zone:
                continue
            i, j, k = turned(inverse, tips[n, 0] - origin[0], tips[n, 1] - origin[1], tips[n, 2] - origin[2])
            di, dj, dk = turned(inverse, directions[n, 0], directions[n, 1], directions[n, 2])
            end = _part_within(merged.shape, i, j, k, di, dj, dk, end)
            if end == 0.0:
                continue
            begin = min(begin, end)
            if not zone_is_free:
                stop = _zone_stop(combined, i, j, k, di, dj, dk, begin, radius)
                if stop < begin:
                    stops[n] = stop
                    continue
            rays[0, count], rays[1, count], rays[2, count] = i, j, k
            rays[3, count], rays[4, count], rays[5, count] = di, dj, dk
            reached[0, count], reached[1, count], reached[2, count], who[count] = begin, begin, end, n
            count += 1
        if count + _MOST > _ABREAST:
            _advance(merged, cells, rays, reached, who, count, radius, stops)
            count = 0
        first = last
    _advance(merged, cells, rays, reached, who, count, radius, stops)
    return stops
