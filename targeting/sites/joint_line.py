"""The joint line as the CT shows it: the dark sheet between two bright plates, near where the masks touch.

Masks of neighbouring vertebrae share the space between their articular processes by guess; on scans of 1.5 mm their
border lies millimetres off. The sheet is a height field over the plane of that border, moved as a whole first and then
bent, place by place, into the darkest valley that its neighbours allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side, VertebralFrame, to_index
from imaging.resample import crop_grid
from imaging.volume import Volume

__all__ = ["JointSheet", "joint_sheet"]

Array = NDArray[np.float64]
_STEP_MM = 0.5
_FINE_MM = 0.25
_HALF_MM = 16.0
_SEARCH_MM = 7.0
_PLATES_MM = 3.0
_MOST_HU = 300.0
_ROUNDS = 20
_TRIMS, _TRIM_MM = 4, 4.0
_BEND_COST, _START_COST = 30.0, 1.0


@dataclass(frozen=True, eq=False)
class JointSheet:
    """The middle of a joint space.

    Attributes
    ----------
    points : (n, 3) mm
        (lateral, posterior, superior) of the side, about 0.25 mm apart.
    seen : float
        Share of the sheet over which the CT shows a valley; 0 without a CT.
    shift_mm : float
        Median distance from the border of the masks.
    """

    points: Array
    seen: float
    shift_mm: float


@dataclass(frozen=True, eq=False)
class _Plane:
    """Axes of a sheet: origin, up, back, normal (lateral positive), all in side coordinates."""

    origin: Array
    axes: Array

    def place(self, up: Array, back: Array, off: Array) -> Array:
        return np.asarray(self.origin + up[..., None] * self.axes[0] + back[..., None] * self.axes[1]
                          + off[..., None] * self.axes[2])


def _flat(points: Array) -> tuple[Array, Array, Array]:
    """The points near their own plane, its middle and its normal: stray gaps of other processes are left out."""
    for _ in range(_TRIMS):
        centre = np.median(points, axis=0)
        normal = np.linalg.svd(points - centre, full_matrices=False)[2][2]
        off = np.abs((points - centre) @ normal)
        points = points[off <= max(_TRIM_MM, float(np.median(off)))]
    centre = points.mean(axis=0)
    return points, centre, np.linalg.svd(points - centre, full_matrices=False)[2][2]


def _plane(centre: Array, normal: Array) -> _Plane:
    normal = normal if normal[0] >= 0 else -normal
    up = np.array([0.0, 0.0, 1.0]) - normal[2] * normal
    up /= np.linalg.norm(up)
    back = np.cross(up, normal)
    return _Plane(centre, np.stack([up, back if back[1] >= 0 else -back, normal]))


def _start(plane: _Plane, points: Array, span: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Height of the masks' border over the plane, (up, back), and where there is one."""
    local = (points - plane.origin) @ plane.axes.T
    index = np.rint((local[:, :2] - span[0]) / _STEP_MM).astype(int)
    ok = ((index >= 0) & (index < len(span))).all(axis=1)
    total, count = np.zeros((len(span), len(span))), np.zeros((len(span), len(span)))
    np.add.at(total, tuple(index[ok].T), local[ok, 2])
    np.add.at(count, tuple(index[ok].T), 1.0)
    smooth = [ndimage.gaussian_filter(a, 3.0) for a in (total, count)]
    return smooth[0] / np.maximum(smooth[1], 1e-6), ndimage.binary_dilation(count > 0, iterations=4)


def _valleys(volume: Volume, frame: VertebralFrame, side: Side, plane: _Plane, span: Array, offsets: Array) -> Array:
    """(up, back, off) HU by which a place is darker than the lower of the brightest places on its two sides."""
    up, back, off = np.meshgrid(span, span, offsets, indexing="ij")
    world = frame.from_side(plane.place(up, back, off).reshape(-1, 3), side)
    grid, cut = crop_grid(volume.grid, world, 3.0)
    hu = volume.array[cut].astype(np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)
    values = ndimage.map_coordinates(hu, to_index(grid, world).T[::-1], order=1, mode="nearest").reshape(up.shape)
    values = ndimage.gaussian_filter(values.astype(np.float64), (1.5, 0.5, 0.8))
    reach = round(_PLATES_MM / _FINE_MM)
    sides = []
    for flipped in (values, values[..., ::-1]):
        ahead = np.full(values.shape, -np.inf)
        for n in range(1, reach + 1):
            ahead[..., :-n] = np.maximum(ahead[..., :-n], flipped[..., n:])
        sides.append(ahead)
    valley = np.minimum(sides[0], sides[1][..., ::-1]) - values
    return np.asarray(np.clip(valley, 0.0, _MOST_HU))


def _bent(valley: Array, offsets: Array, start: Array, support: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The height field in the darkest valley its neighbours allow, and the valley's depth along it."""
    def depth(height: Array) -> Array:
        index = np.clip(np.rint((height - offsets[0]) / _FINE_MM).astype(int), 0, len(offsets) - 1)
        return np.take_along_axis(valley, index[..., None], 2)[..., 0]

    shifts = offsets[np.abs(offsets) <= 0.7 * _SEARCH_MM]
    whole = [float((depth(start + s) * support).sum()) for s in shifts]
    start = start + float(shifts[int(np.argmax(whole))])
    height = start
    for n in range(_ROUNDS):
        bend = _BEND_COST * min(1.0, (n + 1) / 10)
        cost = (bend * (offsets - height[..., None]) ** 2 + _START_COST * (offsets - start[..., None]) ** 2 - valley)
        best = cost.argmin(axis=2)
        weight = np.take_along_axis(valley, best[..., None], 2)[..., 0] * support + 1e-3
        height = ndimage.gaussian_filter(offsets[best] * weight, 2.0) / ndimage.gaussian_filter(weight, 2.0)
    return height, depth(height)


def _dense(plane: _Plane, span: Array, height: Array, keep: NDArray[np.bool_]) -> Array:
    """(n, 3) points of the kept part of a height field, on a twice finer lattice."""
    fine = np.arange(span[0], span[-1] + 1e-9, _FINE_MM)
    at = (fine - span[0]) / _STEP_MM
    index = np.stack(np.meshgrid(at, at, indexing="ij"))
    heights = ndimage.map_coordinates(height, index, order=1)
    kept = ndimage.map_coordinates(keep.astype(np.float64), index, order=1) >= 0.5
    up, back = np.meshgrid(fine, fine, indexing="ij")
    return plane.place(up[kept], back[kept], heights[kept])


def joint_sheet(volume: Volume | None, frame: VertebralFrame, side: Side, border: Array,
                contrast_hu: float) -> JointSheet:
    """Find the joint space from where the masks touch and, with a CT, from its dark sheet.

    Parameters
    ----------
    border : (n, 3) mm
        Middle of the gap between the two masks, (lateral, posterior, superior) of the side.
    contrast_hu : float
        A valley this much darker than the plates on both sides is seen.
    """
    if volume is None or volume.modality != "CT":
        return JointSheet(border, 0.0, 0.0)
    border, centre, normal = _flat(border)
    plane = _plane(centre, normal)
    span = np.arange(-_HALF_MM, _HALF_MM + 1e-9, _STEP_MM)
    offsets = np.arange(-_SEARCH_MM, _SEARCH_MM + 1e-9, _FINE_MM)
    start, support = _start(plane, border, span)
    height, depth = _bent(_valleys(volume, frame, side, plane, span, offsets), offsets, start, support)
    seen = ndimage.binary_opening(support & (depth >= contrast_hu))
    parts, count = ndimage.label(seen)
    if not count:
        return JointSheet(border, 0.0, 0.0)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return JointSheet(_dense(plane, span, height, largest), float(largest.sum() / support.sum()),
                      float(np.median(np.abs(height - start)[largest])))
