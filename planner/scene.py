"""Three-dimensional pictures of bones, nerve and needle without a graphics driver: rays cast through the label map.

Every ray is walked through the smoothed label map to its first surface, which is shaded from the depth's own slope. The
picture is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging.geometry import Side, to_index, to_world, unit
from imaging.resample import crop_grid
from imaging.volume import Grid
from targeting.compiled import compiled

__all__ = ["Bones", "Camera", "Rod", "bones_of", "posterior_camera", "posterior_oblique_camera", "render"]

Array = NDArray[np.float64]
_BACKGROUND = np.array([16.0, 20.0, 26.0])
_BONE = np.array([226.0, 214.0, 190.0])
_OTHER_BONE = np.array([158.0, 160.0, 164.0])
_SMOOTH_MM = 0.8
_RAY_STEP_MM = 0.8


@dataclass(frozen=True, eq=False)
class Camera:
    """A parallel projection.

    Attributes
    ----------
    center : (3,) LPS mm
        The middle of the picture and of the depth range.
    right, down, into : (3,) unit LPS
        Screen axes and the viewing direction.
    width_mm, height_mm, depth_mm : float
        The box that is looked at.
    step_mm : float
        Pixel size; samples along a ray lie `_RAY_STEP_MM` apart.
    """

    center: Array
    right: Array
    down: Array
    into: Array
    width_mm: float
    height_mm: float
    depth_mm: float
    step_mm: float

    @property
    def grid(self) -> Grid:
        """The camera's lattice: x to the right, y down, z away from the eye."""
        axes = np.stack([self.right, self.down, self.into], axis=1)
        step = np.array([self.step_mm, self.step_mm, _RAY_STEP_MM])
        size = np.rint(np.array([self.width_mm, self.height_mm, self.depth_mm]) / step)
        affine = np.eye(4)
        affine[:3, :3] = axes * step
        affine[:3, 3] = self.center - axes @ ((size - 1) / 2 * step)
        return Grid((int(size[2]), int(size[1]), int(size[0])), affine)

    def project(self, xyz: ArrayLike) -> Array:
        """(n, 3) LPS mm to (n, 3): column and row in pixels, depth in samples."""
        return to_index(self.grid, np.atleast_2d(np.asarray(xyz, dtype=np.float64)))


@dataclass(frozen=True, eq=False)
class Rod:
    """A thick line: a needle or a nerve.

    Attributes
    ----------
    path : (n, 3) LPS mm
    color : (3,) 0 to 255
    """

    path: Array
    radius_mm: float
    color: tuple[int, int, int]


def _camera(center: Array, into: ArrayLike, width_mm: float, height_mm: float, depth_mm: float,
            step_mm: float) -> Camera:
    forward = unit(into)
    up = np.array([0.0, 0.0, 1.0])
    right = unit(np.cross(forward, up))
    return Camera(center, right, np.cross(forward, right), forward, width_mm, height_mm, depth_mm, step_mm)


def posterior_oblique_camera(center: Array, side: Side, size_mm: float, step_mm: float) -> Camera:
    """From behind, turned 60 degrees to the target's side and 20 degrees from above: the neck of the superior articular
    process in profile and the needle at full length."""
    turn, tilt = np.radians(60.0) * side.sign, np.radians(20.0)
    into = (-np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), -np.sin(tilt))
    return _camera(center, into, size_mm, size_mm, size_mm * 1.2, step_mm)


def posterior_camera(points: Array, margin_mm: ArrayLike, step_mm: float) -> Camera:
    """From straight behind, wide enough for some points (n, 3) with a margin; the patient's LEFT on the left."""
    low, high = points.min(axis=0) - np.asarray(margin_mm), points.max(axis=0) + np.asarray(margin_mm)
    return _camera((low + high) / 2, (0.0, -1.0, 0.0), high[0] - low[0], high[2] - low[2], high[1] - low[1], step_mm)


@dataclass(frozen=True, eq=False)
class Bones:
    """Bones prepared for `render`.

    Attributes
    ----------
    density : (z, y, x) float32
        Smoothed share of bone, 0 to 1; its surface lies at one half.
    labels : (z, y, x)
        Vertebra instances.
    grid : Grid
        Of both.
    """

    density: NDArray[np.float32]
    labels: NDArray[Any]
    grid: Grid

    @property
    def depth_range(self) -> tuple[float, float]:
        """Lowest and highest LPS y, mm, of the lattice: front and back."""
        ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        y = to_world(self.grid, ends * (np.array(self.grid.shape[::-1]) - 1.0))[:, 1]
        return float(y.min()), float(y.max())


def bones_of(labels: NDArray[Any], grid: Grid) -> Bones | None:
    """Prepare the bones of a label map (z, y, x), every value above 0; None where there is none."""
    found = ndimage.find_objects((labels > 0).view(np.uint8))
    if not found:
        return None
    reach = np.array([[cut.start, cut.stop - 1] for cut in found[0]], dtype=np.float64)[::-1].T
    cropped, cut = crop_grid(grid, to_world(grid, reach), 4.0)
    density = ndimage.gaussian_filter((labels[cut] > 0).astype(np.float32), _SMOOTH_MM / cropped.spacing[::-1],
                                      mode="nearest")
    return Bones(density, labels[cut], cropped)


@compiled
def _first_surface(density: NDArray[np.float32], start: Array, right: Array, down: Array, into: Array, count: int,
                   depth: Array) -> None:
    """Walk along every ray to where the density first reaches one half; fills `depth` with samples, inf for never.

    `start` and the three steps are (x, y, z) voxel indices. Outside the lattice there is no bone.
    """
    nz, ny, nx = density.shape
    for r in range(depth.shape[0]):
        for c in range(depth.shape[1]):
            depth[r, c] = np.inf
            before = 0.0
            for n in range(count):
                x = start[0] + c * right[0] + r * down[0] + n * into[0]
                y = start[1] + c * right[1] + r * down[1] + n * into[1]
                z = start[2] + c * right[2] + r * down[2] + n * into[2]
                here = 0.0
                if 0.0 <= x < nx - 1 and 0.0 <= y < ny - 1 and 0.0 <= z < nz - 1:
                    i, j, k = int(x), int(y), int(z)
                    fx, fy, fz = x - i, y - j, z - k
                    low = ((1 - fy) * ((1 - fx) * density[k, j, i] + fx * density[k, j, i + 1])
                           + fy * ((1 - fx) * density[k, j + 1, i] + fx * density[k, j + 1, i + 1]))
                    high = ((1 - fy) * ((1 - fx) * density[k + 1, j, i] + fx * density[k + 1, j, i + 1])
                            + fy * ((1 - fx) * density[k + 1, j + 1, i] + fx * density[k + 1, j + 1, i + 1]))
                    here = (1 - fz) * low + fz * high
                if here >= 0.5:
                    depth[r, c] = n - (here - 0.5) / max(here - before, 1e-6) if n else 0.0
                    break
                before = here


def _depth(bones: Bones, camera: Camera) -> Array:
    """(rows, columns) depth in mm of the first bone along every ray; inf where there is none."""
    lattice = camera.grid
    ends = to_index(bones.grid, to_world(lattice, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    depth = np.empty(lattice.shape[1:], dtype=np.float64)
    _first_surface(bones.density, ends[0], ends[1] - ends[0], ends[2] - ends[0], ends[3] - ends[0], lattice.shape[0],
                   depth)
    return depth * _RAY_STEP_MM


def _shade(depth: Array, step_mm: float) -> Array:
    """(rows, columns) brightness 0 to 1 from the slope of the depth: a light above the left shoulder of the eye."""
    solid = np.isfinite(depth)
    filled = np.where(solid, depth, np.max(depth[solid], initial=0.0))
    calm = ndimage.gaussian_filter(filled, 0.8)
    down, right = np.gradient(calm, step_mm)
    normal = np.stack([right, down, -np.ones_like(calm)])
    normal /= np.linalg.norm(normal, axis=0)
    lambert = np.clip(np.tensordot(unit((-0.35, -0.55, -0.78)), normal, axes=1), 0.0, 1.0)
    hollow = np.clip((ndimage.gaussian_filter(filled, 4.0 / step_mm) - calm) / 12.0, -0.35, 0.2)
    return np.asarray(np.clip(0.25 + 0.75 * lambert + hollow, 0.0, 1.1))


def _color_bones(bones: Bones, camera: Camera, depth: Array, carrier: int | None) -> Array:
    """(rows, columns, 3) base colour: the carrier is ivory, its neighbours grey."""
    rows, columns = np.nonzero(np.isfinite(depth))
    image = np.broadcast_to(_BONE if carrier is None else _OTHER_BONE, (*depth.shape, 3)).copy()
    if carrier is None or not len(rows):
        return image
    samples = (depth[rows, columns] + 0.4) / _RAY_STEP_MM
    index = to_index(bones.grid, to_world(camera.grid, np.stack([columns, rows, samples], axis=-1)))
    mask = ndimage.map_coordinates((bones.labels == carrier).astype(np.float32), index[:, ::-1].T, order=1)
    weight = np.clip(mask * 2.0, 0.0, 1.0)[:, None]
    image[rows, columns] = weight * _BONE + (1 - weight) * _OTHER_BONE
    return image


def _draw_rod(image: Array, depth: Array, camera: Camera, rod: Rod) -> None:
    """Draw a rod into the picture; what lies behind bone shines through faintly."""
    dense = _densify(rod.path, 0.4 * camera.step_mm)
    columns, rows, depths = camera.project(dense).T
    radius = max(rod.radius_mm / camera.step_mm, 1.4)
    reach = int(np.ceil(radius))
    span = np.arange(-reach, reach + 1)
    dy, dx = (a.ravel() for a in np.meshgrid(span, span, indexing="ij"))
    r = np.rint(rows)[:, None].astype(int) + dy
    c = np.rint(columns)[:, None].astype(int) + dx
    away = np.hypot(r - rows[:, None], c - columns[:, None])
    front = depths[:, None] * _RAY_STEP_MM - np.sqrt(np.maximum(radius**2 - away**2, 0.0)) * camera.step_mm
    keep = (away <= radius) & (r >= 0) & (c >= 0) & (r < depth.shape[0]) & (c < depth.shape[1])
    order = np.argsort(-front[keep], kind="stable")
    r, c, away, front = (a[keep][order] for a in (r, c, away, front))
    bright = (1.0 - 0.3 * (away / radius) ** 2)[:, None] * np.array(rod.color, dtype=np.float64)
    seen = front <= depth[r, c] + 0.3
    hidden = ~seen
    image[r[hidden], c[hidden]] = 0.4 * image[r[hidden], c[hidden]] + 0.6 * bright[hidden]
    image[r[seen], c[seen]] = bright[seen]
    depth[r[seen], c[seen]] = np.minimum(depth[r[seen], c[seen]], front[seen])


def _densify(path: Array, step_mm: float) -> Array:
    parts = [path[:1]]
    for a, b in pairwise(path):
        count = max(int(np.ceil(np.linalg.norm(b - a) / step_mm)), 1)
        parts.append(a + (b - a) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(parts)


def render(bones: Bones | None, camera: Camera, rods: Sequence[Rod], carrier: int | None = None) -> NDArray[np.uint8]:
    """Look at the bones and some rods.

    Parameters
    ----------
    bones : Bones or None
        From `bones_of`.
    carrier : int or None
        The label that stands out from its neighbours.

    Returns
    -------
    (rows, columns, 3) uint8
        One pixel per `camera.step_mm`.
    """
    if bones is None:
        depth = np.full(camera.grid.shape[1:], np.inf)
        image = np.broadcast_to(_BACKGROUND, (*depth.shape, 3)).copy()
    else:
        depth = _depth(bones, camera)
        shade = _shade(depth, camera.step_mm)[..., None]
        image = np.where(np.isfinite(depth)[..., None], _color_bones(bones, camera, depth, carrier) * shade,
                         _BACKGROUND)
    for rod in rods:
        _draw_rod(image, depth, camera, rod)
    return np.asarray(np.clip(image, 0, 255), dtype=np.uint8)
