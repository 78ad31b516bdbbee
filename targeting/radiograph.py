"""Simulated fluoroscopy: attenuation summed along the rays of a beam through a CT.

Every ray is sampled once per slab of voxels along the array axis it runs most along, bilinearly within the slab
(Joseph 1982). Seen from the source, all slabs are scaled copies of one plane of the lattice, so a slab's columns are
interpolated at the same places in every row: the slabs are added up on that plane, row by row, and the sum is then
looked up once per pixel and multiplied by the length of the ray between slabs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import to_index, to_world
from imaging.volume import Grid, Volume
from targeting.compiled import compiled
from targeting.fluoroscope import Beam, fluoroscope

__all__ = ["Attenuation", "as_fluoroscopy", "attenuation", "radiograph"]

Array = NDArray[np.float64]
_THREADS = 2
_AIR_HU = -1000.0
_COARSEST = 0.5  # the base plane is sampled at least twice per voxel
#: How a picture is shown: how slow shading is (share of the height), how coarsely it is sampled, how far contrast is
#: evened (0 fully), grey per local standard deviation, and below which share of the median a ray ran beside the body.
_SLOW, _COARSE, _EVEN, _GAIN, _BESIDE = 0.12, 4, 0.5, 0.3, 0.35


@dataclass(frozen=True, eq=False)
class Attenuation:
    """A CT prepared for simulated fluoroscopy.

    Attributes
    ----------
    array : (z, y, x) uint16
        Attenuation in thousandths of water's: Hounsfield units above air. The outermost voxels are air.
    grid : Grid
    """

    array: NDArray[np.uint16]
    grid: Grid

    @cached_property
    def _sideways(self) -> NDArray[np.uint16]:
        """(x, z, y): slabs across the x axis in one piece of memory, made when first looked at from the side."""
        return np.ascontiguousarray(self.array.transpose(2, 0, 1))

    def slabs(self, axis: int) -> NDArray[np.uint16]:
        """The array with the x (0), y (1) or z (2) array axis first and the other two in falling order."""
        if axis == 2:
            return self.array
        return self.array.transpose(1, 0, 2) if axis == 1 else self._sideways


def attenuation(volume: Volume, body: NDArray[Any] | None = None) -> Attenuation:
    """Prepare a CT.

    Parameters
    ----------
    volume : Volume
        CT; anything else is a ValueError, for its values say nothing about X-rays.
    body : (z, y, x) bool or None
        What lies outside it, such as the scanner's couch, is left out.
    """
    if volume.modality != "CT":
        raise ValueError(f"fluoroscopy can be simulated from CT only, not from {volume.modality}")
    out = np.zeros([n + 2 for n in volume.grid.shape], dtype=np.uint16)
    for k, stored in enumerate(volume.array):  # slice by slice: no float copy of the whole scan
        hu = stored.astype(np.float32) * np.float32(volume.slope) + np.float32(volume.intercept - _AIR_HU)
        np.rint(np.clip(hu, 0.0, 65535.0, out=hu), out=hu)
        out[k + 1, 1:-1, 1:-1] = hu if body is None else np.where(body[k], hu, 0.0)
    affine = volume.grid.affine.copy()
    affine[:3, 3] = to_world(volume.grid, (-1, -1, -1))
    return Attenuation(out, Grid(out.shape, affine))


@compiled
def _stretch(row: NDArray[np.uint16], out: NDArray[np.float32], left: NDArray[np.uint32],
             share: NDArray[np.float32]) -> None:
    """One row of voxels at the base plane's columns; `share` 0 and `left` on air where the row does not reach."""
    for i in range(out.size):
        n = left[i]
        a = np.float32(row[n])
        out[i] = a + share[i] * (np.float32(row[n + np.uint32(1)]) - a)


@compiled
def _add_slabs(
    slabs: NDArray[np.uint16], total: NDArray[np.float32], first: int, last: int, u: Array, v: Array, source: Array,
    base: float,
) -> None:
    """Add every slab onto rows `first` to `last` of the base plane (rows, columns), in thousandths of water.

    `u` and `v` are start and step of the plane's columns and rows, `source` the focal spot, all in (column, row, slab)
    indices; the plane is the slab `base`. The rim of the lattice is air.
    """
    count, rows, columns = slabs.shape
    wide = total.shape[1]
    left, share = np.zeros(wide, dtype=np.uint32), np.zeros(wide, dtype=np.float32)
    above_line, below_line = np.zeros(wide, dtype=np.float32), np.zeros(wide, dtype=np.float32)
    for k in range(count):
        t = (k - source[2]) / (base - source[2])
        if t <= 0.0:
            continue
        for i in range(wide):
            at = (u[0] + i * u[1]) * t + source[0] * (1.0 - t)
            inside = 0.0 <= at < columns - 1
            left[i] = np.uint32(at) if inside else np.uint32(0)
            share[i] = np.float32(at - np.floor(at)) if inside else np.float32(0.0)
        held = -2
        for j in range(first, last):
            at = (v[0] + j * v[1]) * t + source[1] * (1.0 - t)
            above = int(np.floor(at))
            if above < 0 or above >= rows - 1:
                continue
            if above != held:
                if above == held + 1:
                    above_line, below_line = below_line, above_line
                else:
                    _stretch(slabs[k, above], above_line, left, share)
                _stretch(slabs[k, above + 1], below_line, left, share)
                held = above
            down = np.float32(at - above)
            up = np.float32(1.0) - down
            sums = total[j]
            for i in range(wide):
                sums[i] += up * above_line[i] + down * below_line[i]


@compiled
def _look_up(
    total: NDArray[np.float32], image: NDArray[np.float32], first: int, last: int, corner: Array, right: Array,
    down: Array, source: Array, base: float, u: Array, v: Array, spacing: Array,
) -> None:
    """Rows `first` to `last` of the picture: the base plane's sum times the length of the ray between two slabs.

    `corner`, `right` and `down` are the first pixel and the steps to its neighbours in (column, row, slab) indices;
    `spacing` is in mm, times the attenuation of a thousandth of water per mm.
    """
    rows, columns = total.shape
    for y in range(first, last):
        for x in range(image.shape[1]):
            px, py, pz = (corner[0] + x * right[0] + y * down[0], corner[1] + x * right[1] + y * down[1],
                          corner[2] + x * right[2] + y * down[2])
            t = (base - source[2]) / (pz - source[2])
            c = (source[0] + (px - source[0]) * t - u[0]) / u[1]
            r = (source[1] + (py - source[1]) * t - v[0]) / v[1]
            i, j = min(max(int(np.floor(c)), 0), columns - 2), min(max(int(np.floor(r)), 0), rows - 2)
            fc, fr = c - i, r - j
            value = ((1.0 - fr) * ((1.0 - fc) * total[j, i] + fc * total[j, i + 1])
                     + fr * ((1.0 - fc) * total[j + 1, i] + fc * total[j + 1, i + 1]))
            slope_x, slope_y = (px - source[0]) / (pz - source[2]), (py - source[1]) / (pz - source[2])
            image[y, x] = value * np.sqrt((slope_x * spacing[0])**2 + (slope_y * spacing[1])**2 + spacing[2]**2)


def _base_plane(corner: Array, right: Array, down: Array, source: Array, base: float,
                beam: Beam) -> tuple[Array, Array, tuple[int, int]]:
    """Start and step of the base plane's columns and of its rows, and its (rows, columns): as fine as the picture."""
    x, y = beam.width - 1, beam.height - 1
    at = np.array([[0, 0], [x, 0], [0, y], [x, y], [x / 2, y / 2], [x / 2 + 1, y / 2], [x / 2, y / 2 + 1]])
    pixels = corner + at[:, :1] * right + at[:, 1:] * down
    t = (base - source[2]) / (pixels[:, 2] - source[2])
    plane = source[:2] + (pixels[:, :2] - source[:2]) * t[:, None]
    step = np.minimum(np.hypot(plane[5] - plane[4], plane[6] - plane[4]), _COARSEST)
    low, high = plane[:4].min(axis=0), plane[:4].max(axis=0)
    size = np.ceil((high - low) / step).astype(int) + 2
    return np.array([low[0], step[0]]), np.array([low[1], step[1]]), (int(size[1]), int(size[0]))


def radiograph(scan: Attenuation, beam: Beam) -> NDArray[np.float32]:
    """The picture of a beam.

    Returns
    -------
    (rows, columns) float32
        Attenuation integrated along each pixel's ray, without unit: the receptor sees ``exp(-value)`` of the beam.
    """
    inverse = np.linalg.inv(scan.grid.direction * scan.grid.spacing)
    axis = int(np.argmax(np.abs(inverse @ beam.into) * scan.grid.spacing))
    order = [n for n in (0, 1, 2) if n != axis] + [axis]
    slabs = scan.slabs(axis)
    corner, across, below = beam.to_patient([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    places = to_index(scan.grid, np.stack([beam.source, corner, across, below, beam.center]))[:, order]
    source, corner, base = places[0], places[1], float(places[4, 2])
    right, down = places[2] - corner, places[3] - corner
    u, v, size = _base_plane(corner, right, down, source, base, beam)
    total = np.zeros(size, dtype=np.float32)
    image = np.empty((beam.height, beam.width), dtype=np.float32)
    spacing = scan.grid.spacing[order] * (fluoroscope().water_per_mm / 1000.0)
    with ThreadPoolExecutor(_THREADS) as pool:
        bands = np.linspace(0, size[0], _THREADS + 1).astype(int).tolist()
        list(pool.map(lambda n: _add_slabs(slabs, total, bands[n], bands[n + 1], u, v, source, base), range(_THREADS)))
        rows = np.linspace(0, beam.height, _THREADS + 1).astype(int).tolist()
        list(pool.map(lambda n: _look_up(total, image, rows[n], rows[n + 1], corner, right, down, source, base, u, v,
                                         spacing), range(_THREADS)))
    return image


def _enlarged(field: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A coarsely sampled (rows, columns) field at every pixel, linearly between its samples."""
    for axis, count in enumerate(shape):
        at = np.minimum(np.arange(count) / _COARSE, field.shape[axis] - 1)
        low = at.astype(np.intp)
        part = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, field.shape[axis] - 1)
        field = field.take(low, axis) * (1 - part) + field.take(high, axis) * part
    return field


def as_fluoroscopy(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(rows, columns) integrals to (rows, columns) grey values as a C-arm shows them: bone dark, air white.

    Slow shading is taken out and contrast evened, so that bone stays visible from spine to skin.
    """
    body = image > _BESIDE * np.median(image)
    few, there = image[::_COARSE, ::_COARSE], body[::_COARSE, ::_COARSE].astype(np.float32)
    sigma = image.shape[0] * _SLOW / _COARSE
    share = np.maximum(ndimage.gaussian_filter(there, sigma), 1e-3)
    slow = ndimage.gaussian_filter(few * there, sigma) / share
    spread = np.sqrt(ndimage.gaussian_filter((few - slow)**2 * there, sigma) / share)
    spread += np.median(spread) * _EVEN + 1e-6
    grey = 0.5 - _GAIN * (image - _enlarged(slow, image.shape)) / _enlarged(spread, image.shape)
    return np.asarray(np.where(body, np.clip(grey, 0.0, 1.0), 1.0) * 255.0, dtype=np.uint8)
