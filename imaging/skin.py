"""The body inside the skin, and where its edge is skin and where it is only the edge of the picture.

A scan is reconstructed inside a circle or a box; what lies beyond was never seen. The body's mask may end there, yet no
skin does. So three things are kept apart: what was reconstructed, what of it is body, and the places where body meets
true surroundings (air, mattress, table) inside the reconstructed field: only those are skin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging.geometry import canonical_axes, to_index
from imaging.volume import Grid, Volume

__all__ = ["BodyMask", "body_mask"]

_LOG = logging.getLogger(__name__)

Bool = NDArray[np.bool_]

COARSE_MM = 3.0
TISSUE_HU = -250.0
"""Between fat and anything a table, mattress or sheet shows."""
BORDER_HU = -500.0
"""Half way between air and the fat under the skin: where the skin's surface is drawn."""
OPENING_MM = 5.0
"""Radius of the ball that must fit: table shells, tubes and sheets are thinner than twice this."""
SURE_PADDING_HU = -1100.0
"""Nothing real measures less."""
AIR_HU = -1010.0
"""A large constant region between this and `CLIPPED_AIR_HU` is clipped air; one outside that band is padding."""
CLIPPED_AIR_HU = -900.0
PLAIN_AIR_HU = -940.0
GAS_CM3 = 60.0
ENCLOSED_SHARE = 0.6
"""Share of a gas component's faces that must be body, the edge of the picture counting against it."""
BETWEEN_SHARE = 0.8
"""Share of a component between body before and body behind that makes it inside."""
AIR_SHARE = 0.15
"""Share of plain air above which a component is not lung."""
BEHIND_SHARE = 0.2
"""Share of a lung's voxels that must have body behind them."""
CONSTANT_HU = 1.5
MR_SHARE = 0.06
"""Brightness of tissue in an MR, as a share of its bright tissue."""
SMALL_PART = 0.03
"""Share of the largest part of the body that an arm or leg must reach to count."""
SLIVER_VOXELS = 2
"""Width of the interpolated rim along padding, which looks like air and is none."""


@dataclass(frozen=True, eq=False)
class BodyMask:
    """The body in a scan.

    Attributes
    ----------
    grid : Grid
        Of all arrays here, the same as the volume's.
    mask : (z, y, x) bool
        Inside the skin, gas and lung included, table and tubes left out.
    reconstructed : (z, y, x) bool
        Voxels that hold data; false in the padding around the reconstruction circle or box, and in the blurred rim
        along it where that is not body, so that body next to a voxel that is neither body nor unseen is skin.
    skin : (z, y, x) bool
        Outermost body voxels that border true surroundings inside the reconstructed field.
    edge : (z, y, x) bool
        Body voxels that border padding or the end of the array: the body goes on, unseen.
    """

    grid: Grid
    mask: Bool
    reconstructed: Bool
    skin: Bool
    edge: Bool

    @property
    def skin_visible(self) -> bool:
        """True when any patch of skin worth an entry (1 cm2) is in view."""
        spacing = np.sort(self.grid.spacing)
        return float(np.count_nonzero(self.skin)) * float(spacing[0] * spacing[1]) >= 100.0

    def in_view(self, points: ArrayLike) -> Bool:
        """(n, 3) LPS mm to (n,) bool: inside the array and inside what was reconstructed."""
        return self._at(self.reconstructed, points)

    def inside(self, points: ArrayLike) -> Bool:
        """(n, 3) LPS mm to (n,) bool: inside the body as far as it was seen."""
        return self._at(self.mask, points)

    def at_skin(self, points: ArrayLike, within_mm: float = 4.0) -> Bool:
        """Whether surface points lie on skin rather than on the edge of the picture.

        Parameters
        ----------
        points : (n, 3)
            LPS mm, on or near the surface of the mask.
        within_mm : float
            How far to look for the surface.

        Returns
        -------
        (n,) bool
            True where skin lies within reach and nearer than any edge of the picture.
        """
        reach = np.maximum(np.ceil(within_mm / self.grid.spacing).astype(int), 1)
        index = np.rint(to_index(self.grid, np.atleast_2d(np.asarray(points, dtype=np.float64)))).astype(int)
        size = np.array(self.grid.shape[::-1])
        out = np.zeros(len(index), dtype=np.bool_)
        for n, centre in enumerate(index):
            low, high = np.clip(centre - reach, 0, size), np.clip(centre + reach + 1, 0, size)
            cut = tuple(slice(int(low[a]), int(high[a])) for a in (2, 1, 0))
            skin, edge = (self._nearest(part[cut], low, centre) for part in (self.skin, self.edge))
            out[n] = skin <= within_mm and skin < edge
        return out

    def _nearest(self, part: Bool, low: NDArray[np.int_], centre: NDArray[np.int_]) -> float:
        found = np.argwhere(part)[:, ::-1]
        if not len(found):
            return float("inf")
        return float(np.linalg.norm((found + low - centre) * self.grid.spacing, axis=1).min())

    def _at(self, array: Bool, points: ArrayLike) -> Bool:
        index = np.rint(to_index(self.grid, np.atleast_2d(np.asarray(points, dtype=np.float64)))).astype(int)
        size = np.array(self.grid.shape[::-1])
        within = np.asarray(((index >= 0) & (index < size)).all(axis=1))
        out = np.zeros(len(index), dtype=np.bool_)
        x, y, z = index[within].T
        out[within] = array[z, y, x]
        return out


def body_mask(volume: Volume) -> BodyMask:
    """Find the body.

    Parameters
    ----------
    volume : Volume
        A CT; an MR or other scan is thresholded against its own brightness, which is rougher, and holds no padding.

    Returns
    -------
    BodyMask
        In the axes of the volume. A scan without a body gives an empty mask.
    """
    axes = canonical_axes(volume.grid)
    scan = _Scan.of(volume, axes.apply)
    spacing = axes.grid.spacing[::-1]
    factor = tuple(max(1, round(COARSE_MM / float(s))) for s in spacing)
    mean = scan.blocks(factor, "mean")
    is_ct = volume.modality == "CT"
    padding = _padding(scan, factor) if is_ct else np.zeros(scan.stored.shape, dtype=np.bool_)
    padded = _block_reduce(padding, factor, "mean")
    seen = padded < 0.5
    threshold = TISSUE_HU if is_ct else MR_SHARE * float(np.percentile(mean, 98))
    coarse = _coarse_body(mean, seen, spacing * factor, threshold)
    if is_ct:
        coarse |= _cut_gas(mean, coarse, seen, spacing * factor)
    mask = _refine(scan, coarse, factor, BORDER_HU if is_ct else threshold) & ~padding
    rim = _grow(_spread(padded > 0, factor, mask.shape), SLIVER_VOXELS) if padding.any() else padding
    skin, edge = _surface(mask, rim)
    _LOG.debug("body: %d of %d voxels, %d skin, %d edge", mask.sum(), mask.size, skin.sum(), edge.sum())
    parts = (axes.restore(part) for part in (mask, ~padding & (mask | ~rim), skin, edge))
    return BodyMask(volume.grid, *(np.ascontiguousarray(part) for part in parts))


@dataclass(frozen=True, eq=False)
class _Scan:
    """Stored values in canonical axes, compared in Hounsfield units without converting all of them."""

    stored: NDArray[Any]
    slope: float
    intercept: float

    @classmethod
    def of(cls, volume: Volume, turn: Callable[[NDArray[Any]], NDArray[Any]]) -> _Scan:
        if volume.slope > 0:
            return cls(turn(volume.array), volume.slope, volume.intercept)
        return cls(turn(volume.values()), 1.0, 0.0)

    def above(self, value: float) -> Bool:
        """Voxels brighter than `value` in HU."""
        level = (value - self.intercept) / self.slope
        if self.stored.dtype.kind == "f":
            return np.asarray(self.stored > self.stored.dtype.type(level))
        return self._between(np.floor(level) + 1.0, np.inf)

    def near(self, value: float, tolerance: float) -> Bool:
        """Voxels within `tolerance` HU of `value`."""
        low, high = ((value + t - self.intercept) / self.slope for t in (-tolerance, tolerance))
        return self._between(low, high)

    def _between(self, low: float, high: float) -> Bool:
        """Voxels stored from `low` to `high`, both included, which may lie beyond what the array can hold."""
        kind = self.stored.dtype.type
        if self.stored.dtype.kind == "f":
            return np.asarray((self.stored >= kind(low)) & (self.stored <= kind(high)))
        limits = np.iinfo(self.stored.dtype)
        low, high = max(np.ceil(low), limits.min), min(np.floor(high), limits.max)
        if low > high:
            return np.zeros(self.stored.shape, dtype=np.bool_)
        inside = np.asarray(self.stored >= kind(low))
        return inside if high == limits.max else inside & (self.stored <= kind(high))

    def at(self, where: Bool) -> NDArray[np.float32]:
        """(n,) HU of the marked voxels."""
        return self.stored[where].astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)

    def blocks(self, factor: tuple[int, ...], how: str) -> NDArray[np.float32]:
        """Mean, smallest or largest HU of blocks of voxels."""
        return _block_reduce(self.stored, factor, how) * np.float32(self.slope) + np.float32(self.intercept)


def _block_reduce(array: NDArray[Any], factor: tuple[int, ...], how: str) -> NDArray[np.float32]:
    """Reduce blocks of voxels to their mean, smallest or largest value; an incomplete last block repeats its edge."""
    pad = [(0, -n % f) for n, f in zip(array.shape, factor, strict=True)]
    out: NDArray[Any] = np.pad(array, pad, mode="edge") if any(p[1] for p in pad) else array
    if how == "mean" and out.dtype.kind != "f":
        wide: Any = np.int32
    else:
        wide = out.dtype
    reduce = {"mean": np.add, "min": np.minimum, "max": np.maximum}[how]
    for axis, f in enumerate(factor):
        parts = [out[(slice(None),) * axis + (slice(n, None, f),)] for n in range(f)]
        total = parts[0].astype(wide)
        for part in parts[1:]:
            reduce(total, part, out=total)
        out = total
    result = out.astype(np.float32)
    return result / np.float32(np.prod(factor)) if how == "mean" else result


def _spread(coarse: Bool, factor: tuple[int, ...], shape: tuple[int, ...]) -> Bool:
    """Coarse voxels back onto the fine lattice."""
    fine = coarse
    for axis, f in enumerate(factor):
        fine = np.repeat(fine, f, axis=axis)
    return fine[tuple(slice(0, n) for n in shape)]


def _touches_side(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Labels of the components at the four sides (not the top and bottom) of a (z, y, x) array."""
    sides = [labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]]
    found = np.unique(np.concatenate([side.ravel() for side in sides]))
    return found[found > 0]


def _padding(scan: _Scan, factor: tuple[int, ...]) -> Bool:
    """Voxels that hold no data: impossible values, and large constant regions at the sides that cannot be air.

    Air is noisy, or clipped near -1000; a large region of exactly -1024 or 0 was written by a program. When that
    program blanked everything outside the skin, its edge is not trusted as skin either.
    """
    out: Bool = ~scan.above(SURE_PADDING_HU)
    window = tuple(max(2, f) for f in factor)
    low, high = scan.blocks(window, "min"), scan.blocks(window, "max")
    constant = (high - low <= CONSTANT_HU) & (low > SURE_PADDING_HU)
    labels, _ = ndimage.label(constant)
    constant = np.isin(labels, _touches_side(labels))
    if np.count_nonzero(constant) < 1e-3 * constant.size:
        return out
    value = float(np.median(low[constant]))
    if AIR_HU < value < CLIPPED_AIR_HU:
        return out
    constant &= np.abs(low - value) <= CONSTANT_HU
    near = ndimage.binary_dilation(constant, iterations=2)
    return out | (_spread(near, window, scan.stored.shape) & scan.near(value, CONSTANT_HU))


def _grow(mask: Bool, steps: int) -> Bool:
    """Dilate by whole voxels, face by face."""
    for _ in range(steps):
        mask = mask | _beside(mask)
    return mask


def _coarse_body(mean: NDArray[np.float32], seen: Bool, spacing: NDArray[np.float64], threshold: float) -> Bool:
    """The body on the coarse lattice: opened tissue, large parts only, holes filled plane by plane."""
    body = _open((mean > threshold) & seen, spacing, OPENING_MM)
    labels, count = ndimage.label(body)
    if count == 0:
        return body
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = (sizes >= SMALL_PART * sizes.max())[labels]
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def _open(mask: Bool, spacing: NDArray[np.float64], radius_mm: float) -> Bool:
    """Opening by a ball; what lies beyond the array counts as body, so that crops keep their rims."""
    reach = np.floor(radius_mm / spacing).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    ball = np.linalg.norm(offsets * spacing, axis=-1) <= radius_mm
    eroded = ndimage.binary_erosion(mask, ball, border_value=1)
    return np.asarray(ndimage.binary_dilation(eroded, ball) & mask)


def _cut_gas(mean: NDArray[np.float32], body: Bool, seen: Bool, spacing: NDArray[np.float64]) -> Bool:
    """Lung and gas that reach the edge of the picture, which no hole filling can close.

    What lies between body before and body behind is inside. So is lung, which holds hardly any plain air and has body
    behind it, where a mattress has body before it only. Gas is plain air, as the surroundings are: a pocket counts when
    it is small and mostly enclosed.
    """
    labels, _ = ndimage.label(seen & ~body)
    out = np.zeros_like(body)
    behind = np.maximum.accumulate(body[:, ::-1], axis=1)[:, ::-1]
    between = behind & np.maximum.accumulate(body, axis=1)
    voxel_cm3 = float(np.prod(spacing)) / 1000.0
    for n, box in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[box] == n
        volume = float(part.sum()) * voxel_cm3
        if float(between[box][part].mean()) > BETWEEN_SHARE:
            inside = True
        elif float((mean[box][part] < PLAIN_AIR_HU).mean()) < AIR_SHARE:
            inside = float(behind[box][part].mean()) > BEHIND_SHARE
        else:
            inside = volume <= GAS_CM3 and _body_share(labels, n, box, body) > ENCLOSED_SHARE
        if inside:
            out[box] |= part
    return out


def _body_share(labels: NDArray[np.int32], n: int, box: tuple[slice, ...], body: Bool) -> float:
    """Share of the faces of a component, within the (y, x) planes, behind which there is body."""
    plane = (box[0], *(slice(max(s.start - 1, 0), s.stop + 1) for s in box[1:]))
    part = np.pad(labels[plane] == n, ((0, 0), (1, 1), (1, 1)))
    behind = np.pad(body[plane], ((0, 0), (1, 1), (1, 1)))
    faces = found = 0
    for axis in (1, 2):
        for step in (-1, 1):
            moved = np.roll(part, step, axis) & ~part
            faces += int(moved.sum())
            found += int((moved & behind).sum())
    return found / max(faces, 1)


def _refine(scan: _Scan, coarse: Bool, factor: tuple[int, ...], threshold: float) -> Bool:
    """The coarse body with its border redrawn voxel by voxel."""
    shape = scan.stored.shape
    if not coarse.any():
        return np.zeros(shape, dtype=np.bool_)
    inner = ndimage.binary_erosion(coarse, border_value=1)
    outer = ndimage.binary_dilation(coarse)
    return (_spread(outer, factor, shape) & scan.above(threshold)) | _spread(inner, factor, shape)


def _surface(mask: Bool, rim: Bool) -> tuple[Bool, Bool]:
    """Skin and edge of a body mask; in the rim along padding nothing is skin."""
    skin = _beside(~mask & ~rim) & mask
    edge = _beside(rim) & mask
    for axis in range(3):
        for end in (0, -1):
            side = tuple(end if n == axis else slice(None) for n in range(3))
            edge[side] |= mask[side]
    return skin & ~edge, edge


def _beside(mask: Bool) -> Bool:
    """Voxels that share a face with the mask."""
    out = np.zeros_like(mask)
    for axis in range(3):
        low = tuple(slice(None, -1) if n == axis else slice(None) for n in range(3))
        high = tuple(slice(1, None) if n == axis else slice(None) for n in range(3))
        out[low] |= mask[high]
        out[high] |= mask[low]
    return out
