"""The outer surface of one bone at sub-voxel precision: a signed distance field that can be sampled along any axes.

Arrays are worked on after `imaging.geometry.canonical_axes`, so a scan stored with permuted or reversed axes gives the
same field, and every rule is written along the axes of a vertebral frame, so a mirrored patient gives mirrored points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging.geometry import Side, VertebralFrame, canonical_axes, to_index, to_world
from imaging.resample import resample
from imaging.volume import Grid

__all__ = ["BoneField", "FrameBlock", "bone_field", "crossing", "distance_to"]

Array = NDArray[np.float64]
_MARGIN_MM = 9.0
_FAR_MM = 50.0


@dataclass(frozen=True, eq=False)
class BoneField:
    """Signed distance to the surface of one bone mask.

    Attributes
    ----------
    grid : Grid
        Lattice of `distance`: a crop of the input in canonical axes, padded beyond the input where the bone is cut.
    distance : (z, y, x) float32
        mm, negative inside the bone.
    measured : (z, y, x) bool
        False where the lattice lies outside the input (padding): a surface there is the edge of the scan, not bone.
    """

    grid: Grid
    distance: NDArray[np.float32]
    measured: NDArray[np.bool_]

    @property
    def axes(self) -> Array:
        """(3, 3) unit rows: the lattice's own axes, which turn with the patient however the scan is stored."""
        return self.grid.direction.T

    def sample(self, xyz: ArrayLike) -> Array:
        """(..., 3) LPS mm to (...) mm signed distance, trilinear."""
        points = np.asarray(xyz, dtype=np.float64)
        index = to_index(self.grid, points.reshape(-1, 3)).T[::-1]
        values = ndimage.map_coordinates(self.distance, index, order=1, mode="nearest", output=np.float64)
        return np.asarray(values.reshape(points.shape[:-1]))

    def in_view(self, xyz: ArrayLike, margin_mm: float) -> NDArray[np.bool_]:
        """(..., 3) LPS mm to (...) bool: the point lies in the scan, at least `margin_mm` away from its faces."""
        points = np.asarray(xyz, dtype=np.float64)
        index = to_index(self.grid, points)
        low, high = self.view_bounds()
        pad = margin_mm / self.grid.spacing
        return np.asarray(((index >= low + pad - 1e-6) & (index <= high - pad + 1e-6)).all(axis=-1))

    def view_bounds(self) -> tuple[Array, Array]:
        """First and last fractional (i, j, k) of the field's lattice that lie in the scan (voxel faces)."""
        axes = [np.flatnonzero(self.measured.any(axis=tuple(m for m in range(3) if m != n))) for n in (2, 1, 0)]
        return (np.array([a[0] - 0.5 for a in axes]), np.array([a[-1] + 0.5 for a in axes]))

    def corners(self) -> Array:
        """(2, 3) LPS mm: the first and last voxel of the lattice."""
        return to_world(self.grid, np.array([[0.0, 0.0, 0.0], np.array(self.grid.shape[::-1]) - 1.0]))

    def normal(self, xyz: ArrayLike, step_mm: float = 0.75) -> Array:
        """(..., 3) LPS mm to (..., 3) unit outward gradient of the distance."""
        points = np.asarray(xyz, dtype=np.float64)
        values = self.sample(points[..., None, :] + np.concatenate([self.axes, -self.axes]) * step_mm)
        gradient = (values[..., :3] - values[..., 3:]) @ self.axes
        return np.asarray(gradient / np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-9))

    def to_surface(self, xyz: ArrayLike, offset_mm: float = 0.0, steps: int = 8) -> Array:
        """(..., 3) LPS mm moved along the gradient onto the surface `offset_mm` outside the bone."""
        points = np.array(xyz, dtype=np.float64)
        for _ in range(steps):
            points -= self.normal(points) * (self.sample(points) - offset_mm)[..., None] * 0.8
        return points

    def block(self, frame: VertebralFrame, low: ArrayLike, high: ArrayLike, step_mm: float) -> FrameBlock:
        """Sample the field on a lattice along a vertebral frame.

        Parameters
        ----------
        low, high : (3,) mm
            Bounds along (left, posterior, superior) of the frame; multiples of the step are kept.
        """
        axes = [np.arange(np.floor(a / step_mm), np.ceil(b / step_mm) + 1) * step_mm
                for a, b in zip(np.asarray(low, float), np.asarray(high, float), strict=True)]
        affine = np.eye(4)
        affine[:3, :3] = frame.matrix.T * step_mm
        affine[:3, 3] = frame.from_local([axis[0] for axis in axes])
        target = Grid((len(axes[2]), len(axes[1]), len(axes[0])), affine)
        values = resample(self.distance, self.grid, target, linear=True, fill=_FAR_MM)
        return FrameBlock(frame, axes[0], axes[1], axes[2], np.asarray(values, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class FrameBlock:
    """The distance field on a lattice along (left, posterior, superior) of a vertebral frame.

    Attributes
    ----------
    lateral, posterior, superior : (n,) mm
        Coordinates of the lattice along the frame's axes; `lateral` grows to the left, or away from the midline after
        `on_side`.
    distance : (superior, posterior, lateral) float32
        mm, negative inside.
    """

    frame: VertebralFrame
    lateral: Array
    posterior: Array
    superior: Array
    distance: NDArray[np.float32]

    @property
    def step(self) -> float:
        """mm between lattice points."""
        return float(self.lateral[1] - self.lateral[0])

    @property
    def grid(self) -> Grid:
        """The lattice in the world; index order (superior, posterior, left)."""
        affine = np.eye(4)
        affine[:3, :3] = self.frame.matrix.T * self.step
        affine[:3, 3] = self.frame.from_local([self.lateral[0], self.posterior[0], self.superior[0]])
        z, y, x = self.distance.shape
        return Grid((z, y, x), affine)

    def on_side(self, side: Side) -> FrameBlock:
        """The same block with its lateral axis growing away from the midline on `side`."""
        if side is Side.LEFT:
            return self
        return FrameBlock(self.frame, -self.lateral[::-1], self.posterior, self.superior, self.distance[:, :, ::-1])

    def window(self, lateral: tuple[float, float], posterior: tuple[float, float],
               superior: tuple[float, float]) -> FrameBlock:
        """The part of the block between the given bounds, mm."""
        eps = 1e-6
        cuts = [np.flatnonzero((axis >= low - eps) & (axis <= high + eps)) for axis, (low, high) in (
            (self.lateral, lateral), (self.posterior, posterior), (self.superior, superior))]
        x, y, z = (slice(c[0], c[-1] + 1) if c.size else slice(0, 0) for c in cuts)
        return FrameBlock(self.frame, self.lateral[x], self.posterior[y], self.superior[z], self.distance[z, y, x])


def crossing(values: NDArray[Any], coordinates: Array, axis: int) -> tuple[Array, NDArray[np.bool_]]:
    """Where values first rise above zero along an axis, by linear interpolation.

    Parameters
    ----------
    values : (...) signed distances
        Ordered from the start of the search outward.
    coordinates : (n,) mm
        Coordinate of each index along `axis`.

    Returns
    -------
    position : (...) without `axis`, mm
        NaN where there is no crossing or the search starts outside.
    found : (...) bool
    """
    v = np.moveaxis(np.asarray(values, dtype=np.float64), axis, 0)
    outside = v > 0
    first = outside.argmax(axis=0)
    found = outside.any(axis=0) & (first > 0)
    after = np.take_along_axis(v, first[None], axis=0)[0]
    before = np.take_along_axis(v, np.maximum(first - 1, 0)[None], axis=0)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = np.where(found, before / (before - after), 0.0)
    start = coordinates[np.maximum(first - 1, 0)]
    position = start + fraction * (coordinates[first] - start)
    return np.where(found, position, np.nan), found


def distance_to(mask: NDArray[np.bool_], sampling: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance of every voxel to the nearest True one, exact, zero on True ones; about half scipy's time.

    Parameters
    ----------
    mask : (z, y, x) bool
        At least one True voxel.
    sampling : (3,) mm
        Voxel edges along (z, y, x).
    """
    image = sitk.GetImageFromArray(np.asarray(mask, dtype=np.uint8))
    image.SetSpacing([float(v) for v in sampling[::-1]])
    away = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True))
    away[mask] = 0.0
    return np.asarray(away, dtype=np.float32)


def bone_field(mask: NDArray[np.bool_], grid: Grid, smooth_mm: float = 0.6) -> BoneField:
    """Build the distance field of one bone.

    Parameters
    ----------
    mask : (z, y, x) bool
        One bone on the input grid, any stored axes; at least one voxel. A crop (`imaging.resample.crop_grid`) may be
        passed when the bone does not touch the crop's faces, or when those faces are the scan's.
    smooth_mm : float
        Gaussian that takes the voxel staircase off the distance.
    """
    turned = canonical_axes(grid)
    array = turned.apply(mask)
    hit = [np.flatnonzero(array.any(axis=tuple(m for m in range(3) if m != n))) for n in range(3)]
    pad = np.ceil(_MARGIN_MM / turned.grid.spacing[::-1]).astype(int)
    low = [int(h[0] - p) for h, p in zip(hit, pad, strict=True)]
    high = [int(h[-1] + 1 + p) for h, p in zip(hit, pad, strict=True)]
    inner = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, array.shape, strict=True))
    extra = [(max(-a, 0), max(b - n, 0)) for a, b, n in zip(low, high, array.shape, strict=True)]
    solid = ndimage.binary_fill_holes(np.pad(array[inner], extra))
    measured = np.pad(np.ones(array[inner].shape, dtype=bool), extra)
    affine = turned.grid.affine.copy()
    affine[:3, 3] = to_world(turned.grid, np.array(low[::-1], dtype=float))
    sampling = turned.grid.spacing[::-1]
    distance = distance_to(solid, sampling) - distance_to(~solid, sampling)
    sigma = np.minimum(smooth_mm / sampling, 0.8)
    distance = ndimage.gaussian_filter(distance, sigma, mode="nearest")
    shape = tuple(int(n) for n in distance.shape)
    return BoneField(Grid(shape, affine), distance, measured)  # type: ignore[arg-type]
