"""Flat pictures of a study on any plane: grey values, and the outlines of bones and structures over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import to_index
from imaging.volume import Grid, Volume
from planner.pictures import BONE_COLOR, STRUCTURE_COLOR
from planner.reslice import Plane
from segmentation.anatomy import StructureName
from segmentation.spine import Spine
from targeting.compiled import compiled
from viewer.settings import Window

__all__ = ["Slicer", "hex_rgb"]


def hex_rgb(color: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers of 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


@compiled
def _span(first: float, step: float, last: float, count: int) -> tuple[int, int]:
    """Half-open range of the columns, of `count`, whose index ``first + column * step`` lies within 0 and `last`."""
    if step == 0.0:
        return (0, count) if 0.0 <= first <= last else (0, 0)
    ends = -first / step, (last - first) / step
    low, high = max(min(ends), 0.0), min(max(ends), count - 1.0)
    if low > high:
        return 0, 0
    start, stop = int(np.ceil(low)), int(np.floor(high)) + 1
    while start < stop and not 0.0 <= first + start * step <= last:  # the division may have rounded outward
        start += 1
    while stop > start and not 0.0 <= first + (stop - 1) * step <= last:
        stop -= 1
    return start, stop


@compiled
def _inside(steps: NDArray[np.float64], row: int, shape: tuple[int, int, int], rim: float,
            count: int) -> tuple[int, int, float, float, float]:
    """Columns of a row that lie in an array, `rim` beyond its voxels' centres, and the indices of the row's start."""
    x = steps[0, 0] + row * steps[2, 0] + rim
    y = steps[0, 1] + row * steps[2, 1] + rim
    z = steps[0, 2] + row * steps[2, 2] + rim
    a, b = _span(x, steps[1, 0], _last(shape[2], rim), count)
    c, d = _span(y, steps[1, 1], _last(shape[1], rim), count)
    e, f = _span(z, steps[1, 2], _last(shape[0], rim), count)
    return max(a, c, e), min(b, d, f), x, y, z


@compiled
def _last(size: int, rim: float) -> float:
    """The largest index inside: the last centre, or just short of the rim beyond it."""
    return size - 1.0 if rim == 0.0 else np.nextafter(float(size), 0.0)


@compiled
def _grey(stored: NDArray[Any], steps: NDArray[np.float64], scale: float, shift: float,
          out: NDArray[np.uint8]) -> None:
    """Trilinear values as grey, (rows, columns, 3); black outside. `steps` (i, j, k): first pixel, per column, row.

    Unsigned indices and ranges found per row, because signs and bounds asked per pixel cost a third of the time.
    """
    nz, ny, nx = stored.shape
    last_i, last_j, last_k = max(nx - 2, 0), max(ny - 2, 0), max(nz - 2, 0)
    next_i, next_j, next_k = np.uintp(min(nx - 1, 1)), np.uintp(min(ny - 1, 1)), np.uintp(min(nz - 1, 1))
    for row in range(out.shape[0]):
        start, stop, x0, y0, z0 = _inside(steps, row, stored.shape, 0.0, out.shape[1])
        for column in range(start, stop):
            x, y, z = x0 + column * steps[1, 0], y0 + column * steps[1, 1], z0 + column * steps[1, 2]
            i, j, k = np.uintp(min(int(x), last_i)), np.uintp(min(int(y), last_j)), np.uintp(min(int(z), last_k))
            i1, j1, k1 = i + next_i, j + next_j, k + next_k
            a, b, c = x - i, y - j, z - k
            low = ((stored[k, j, i] * (1 - a) + stored[k, j, i1] * a) * (1 - b)
                   + (stored[k, j1, i] * (1 - a) + stored[k, j1, i1] * a) * b)
            high = ((stored[k1, j, i] * (1 - a) + stored[k1, j, i1] * a) * (1 - b)
                    + (stored[k1, j1, i] * (1 - a) + stored[k1, j1, i1] * a) * b)
            value = min(max((low * (1 - c) + high * c) * scale + shift, 0.0), 255.0)
            out[row, column, 0] = out[row, column, 1] = out[row, column, 2] = np.uint8(value)


@compiled
def _nearest(labels: NDArray[np.uint8], bits: NDArray[np.uint16], steps: NDArray[np.float64],
             out: NDArray[np.uint32]) -> None:
    """(rows, columns) label in the low byte and structure bits above it; what lies outside stays as it is."""
    for row in range(out.shape[0]):
        start, stop, x0, y0, z0 = _inside(steps, row, labels.shape, 0.5, out.shape[1])
        for column in range(start, stop):
            i, j = np.uintp(x0 + column * steps[1, 0]), np.uintp(y0 + column * steps[1, 1])
            k = np.uintp(z0 + column * steps[1, 2])
            out[row, column] = np.uint32(labels[k, j, i]) | (np.uint32(bits[k, j, i]) << np.uint32(8))


@compiled
def _outline(held: NDArray[np.uint32], colors: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    """Colour the pixels at the rim of each label (``colors[0]``) and of each structure bit (``colors[1 + bit]``)."""
    rows, columns = held.shape
    for row in range(rows):
        for column in range(columns):
            here = held[row, column]
            if here == 0:
                continue
            changed = np.uint32(0)
            for step in range(4):
                r = row + (1 if step == 0 else -1 if step == 1 else 0)
                c = column + (1 if step == 2 else -1 if step == 3 else 0)
                if 0 <= r < rows and 0 <= c < columns:
                    changed |= here ^ held[r, c]
            rim = changed & here
            if changed & np.uint32(255) and here & np.uint32(255):
                image[row, column] = colors[0]
            for bit in range(len(colors) - 1):
                if (rim >> np.uint32(8 + bit)) & np.uint32(1):
                    image[row, column] = colors[1 + bit]


@dataclass(frozen=True, eq=False)
class Slicer:
    """Cuts pictures out of a study.

    Attributes
    ----------
    volume : Volume or None
        None shows the anatomy alone.
    """

    volume: Volume | None
    spine: Spine

    def with_spine(self, spine: Spine) -> Slicer:
        """The same scan under another reading of the anatomy; what both share is not made again."""
        out = Slicer(self.volume, spine)
        if spine.structures.keys() == self.spine.structures.keys() and all(
                spine.structures[name].mask is s.mask for name, s in self.spine.structures.items()):
            out.__dict__["_bits"] = self._bits
        return out

    @cached_property
    def masked(self) -> tuple[StructureName, ...]:
        """Structures that have a mask, in the order of their bits."""
        return tuple(name for name, s in self.spine.structures.items() if s.mask is not None)

    @cached_property
    def _bits(self) -> NDArray[np.uint16]:
        """(z, y, x) one bit per structure, so that all outlines cost one look-up."""
        out = np.zeros(self.spine.grid.shape, np.uint16)
        for bit, name in enumerate(self.masked):
            mask = self.spine.structures[name].mask
            assert mask is not None
            out |= mask.astype(np.uint16) << bit
        return out

    @cached_property
    def _colors(self) -> NDArray[np.uint8]:
        return np.array([hex_rgb(BONE_COLOR), *(hex_rgb(STRUCTURE_COLOR[name]) for name in self.masked)], np.uint8)

    def picture(self, plane: Plane, window: Window) -> NDArray[np.uint8]:
        """(rows, columns, 3) grey values of the window with outlines one pixel wide; black outside the scan."""
        image = np.zeros((plane.height, plane.width, 3), np.uint8)
        volume = self.volume
        if volume is not None:
            width = window.high - window.low
            _grey(volume.array, _steps(volume.grid, plane), 255.0 * volume.slope / width,
                  255.0 * (volume.intercept - window.low) / width, image)
        held = np.zeros((plane.height, plane.width), np.uint32)
        _nearest(self.spine.labels, self._bits, _steps(self.spine.grid, plane), held)
        _outline(held, self._colors, image)
        return image


def _steps(grid: Grid, plane: Plane) -> NDArray[np.float64]:
    """(3, 3) voxel indices (i, j, k): of the first pixel, per column, per row."""
    corner, across, below = to_index(grid, plane.to_patient([[0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    return np.stack([corner, across - corner, below - corner])
