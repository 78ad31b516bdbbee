"""Where the spine is: tissue classes at 3 mm, the canal, and the column of bodies in front of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.volume import Volume
from segmentation.builtin.canal import CanalPath, canal_score, deviation_mm, track
from segmentation.builtin.lattice import Box, Cube, FloatArray, Points, intensity, sample
from segmentation.builtin.models import Nets
from segmentation.builtin.settings import settings

__all__ = ["ClassMap", "Column", "Located", "SPACING_MM", "column_of", "localise"]

logger = logging.getLogger(__name__)

SPACING_MM = 3.0
_SKIN_HU = -300.0
_SHORTEST_CURVE_MM = 10


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The localising net's answer.

    Attributes
    ----------
    cube : Cube
        3 mm lattice over the whole field of view.
    hu : (z, y, x) float32
    probability : (11, z, y, x) float32
    """

    cube: Cube
    hu: FloatArray
    probability: FloatArray

    def of(self, name: str) -> FloatArray:
        """(z, y, x) probability of one class."""
        return np.asarray(self.probability[settings().classes.index(name)])

    def at(self, name: str, points: Points) -> FloatArray:
        """(n,) probability of a class at (n, 3) box mm, 0 outside."""
        index = self.cube.to_index(points)
        return np.asarray(ndimage.map_coordinates(self.of(name), index.T, order=1, cval=0.0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Located:
    """Where the spine is.

    Attributes
    ----------
    classes : ClassMap
    by_net, by_density : CanalPath or None
        The canal by the net, and by Hounsfield units alone.
    """

    classes: ClassMap
    by_net: CanalPath | None
    by_density: CanalPath | None

    @property
    def canal(self) -> CanalPath | None:
        """The net's path, the other one where the net has none."""
        return self.by_net or self.by_density

    def disagreement_mm(self, low_mm: float, high_mm: float) -> float | None:
        """95th percentile of the distance of the two paths between two heights (box mm); None when one is missing."""
        if self.by_net is None or self.by_density is None:
            return None
        return deviation_mm(self.by_net, self.by_density, low_mm, high_mm)


@dataclass(frozen=True, eq=False)
class Column:
    """Curve through the vertebral bodies.

    Attributes
    ----------
    curve : (n, 3)
        Box mm, caudal first, 1 mm apart.
    profile : (n,)
        Body minus disc, -1..1, averaged over a small cross-section.
    peaks : (k, 3)
        Box mm, places where the profile says "middle of a body", caudal first.
    strength : (k,)
        How clear each peak is.
    """

    curve: Points
    profile: NDArray[np.float64]
    peaks: Points
    strength: NDArray[np.float64]

    def step_from(self, point: Points, distance_mm: float) -> Points:
        """The point `distance_mm` along the curve from the place nearest to `point`, keeping its offset.

        Positive is cranial; beyond an end the curve goes straight on.
        """
        at = int(np.argmin(np.linalg.norm(self.curve - point, axis=1)))
        offset = point - self.curve[at]
        to = at + round(distance_mm)
        last = len(self.curve) - 1
        reach = min(20, last)
        if to > last:
            slope = (self.curve[last] - self.curve[last - reach]) / max(reach, 1)
            return np.asarray(self.curve[last] + slope * (to - last) + offset)
        if to < 0:
            slope = (self.curve[0] - self.curve[reach]) / max(reach, 1)
            return np.asarray(self.curve[0] - slope * to + offset)
        return np.asarray(self.curve[to] + offset)


def localise(volume: Volume, box: Box, nets: Nets) -> Located:
    """Run the localising net and find the canal.

    The canal tracked by Hounsfield units alone says where to look first; the whole body is searched when the net does
    not confirm it.
    """
    cube = Cube.over(box, SPACING_MM)
    hu = sample(volume, cube)
    by_density = track(canal_score(hu, cube), cube, settings().canal.shortest_mm)
    bone = _largest(hu > _SKIN_HU) & (ndimage.uniform_filter(hu, 3) > settings().canal.bone_hu)
    near_bone = np.asarray(ndimage.maximum_filter(bone, 5))
    if by_density is not None:
        classes = ClassMap(cube, hu, nets.localise(intensity(hu), near_bone & _around(cube, by_density)))
        by_net = _canal_by_net(classes)
        if by_net is not None:
            deviation = deviation_mm(by_net, by_density, *_bodies_extent(classes))
            if deviation is not None and deviation <= settings().column.search_slack_mm:
                return Located(classes, by_net, by_density)
            logger.debug("canal by density not confirmed (%s mm): searching the whole body", deviation)
    classes = ClassMap(cube, hu, nets.localise(intensity(hu), near_bone))
    return Located(classes, _canal_by_net(classes), by_density)


def _canal_by_net(classes: ClassMap) -> CanalPath | None:
    limits = settings().canal
    learned = ndimage.gaussian_filter(classes.of("canal"), 0.7) - np.float32(limits.accept_probability)
    return track(learned, classes.cube, limits.shortest_mm)


def _around(cube: Cube, canal: CanalPath) -> NDArray[np.bool_]:
    """(z, y, x) voxels in a block around the canal, slice by slice, wide enough for kidneys and great vessels."""
    limits = settings().column
    middle = np.array([canal.at(float(z)) for z in cube.to_box(np.arange(cube.shape[0])[:, None] * (1, 0, 0))[:, 0]])
    y = (np.arange(cube.shape[1]) + 0.5) * cube.spacing + cube.corner[1] - middle[:, 1:2]
    x = (np.arange(cube.shape[2]) + 0.5) * cube.spacing + cube.corner[2] - middle[:, 2:3]
    rows = (y > -limits.search_front_mm) & (y < limits.search_back_mm)
    columns = np.abs(x) < limits.search_side_mm
    return np.asarray(rows[:, :, None] & columns[:, None, :])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece after a one-voxel opening (which parts the table from the body)."""
    opened = ndimage.binary_erosion(mask)
    pieces, count = ndimage.label(opened)
    if not count:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_dilation(pieces == int(sizes.argmax()), iterations=2))


def _bodies_extent(classes: ClassMap) -> tuple[float, float]:
    """Heights (box mm) between which the net sees bodies."""
    rows = np.flatnonzero((classes.of("vertebral_body") > 0.5).sum(axis=(1, 2)) > 20)
    if not len(rows):
        return 0.0, 0.0
    z = classes.cube.to_box(np.stack([rows, rows * 0, rows * 0], axis=1))[:, 0]
    return float(z[0]), float(z[-1])


def column_of(classes: ClassMap, canal: CanalPath) -> Column | None:
    """The curve of bodies in front of a canal, with its body/disc profile; None without bodies."""
    centres = _body_centroids(classes, canal)
    if centres is None:
        return None
    curve = _even_curve(centres)
    if len(curve) < _SHORTEST_CURVE_MM:
        return None
    profile = _profile(classes, curve)
    limits = settings().column
    smooth = ndimage.gaussian_filter1d(profile, limits.peak_smoothing_mm)
    slow = ndimage.gaussian_filter1d(profile, 4 * limits.peak_smoothing_mm)
    contrast = smooth - slow
    inner = np.flatnonzero((smooth[1:-1] >= smooth[:-2]) & (smooth[1:-1] > smooth[2:])) + 1
    inner = inner[smooth[inner] > limits.peak_least]
    return Column(curve, profile, curve[inner], contrast[inner] + smooth[inner])


def _body_centroids(classes: ClassMap, canal: CanalPath) -> Points | None:
    """(n, 3) box mm: weighted centroid of the body and disc classes in front of the canal, per slice."""
    limits, cube = settings().column, classes.cube
    weight = classes.of("vertebral_body") + classes.of("disc")
    rows: list[Points] = []
    for z in range(cube.shape[0]):
        height = float(cube.to_box((z, 0, 0))[0])
        if canal.beyond_mm(height) > 30.0:
            continue
        middle = canal.at(height)
        low = np.maximum(np.round(cube.to_index(middle - (0, limits.depth_mm, limits.half_width_mm))), 0).astype(int)
        high = np.round(cube.to_index(middle + np.array([0, 0, limits.half_width_mm]))).astype(int) + 1
        window = weight[z, low[1]: max(high[1], 0), low[2]: max(high[2], 0)]
        if not window.size or window.sum() * cube.spacing**2 < 250.0:
            continue
        y, x = ndimage.center_of_mass(window)
        rows.append(cube.to_box((z, y + low[1], x + low[2])))
    return np.array(rows) if len(rows) >= 5 else None


def _even_curve(centres: Points) -> Points:
    """Longest gapless run of centroids, smoothed, resampled at 1 mm."""
    parts = np.split(centres, np.flatnonzero(np.diff(centres[:, 0]) > 25.0) + 1)
    run = max(parts, key=len)
    sigma = 9.0 / SPACING_MM
    sides = [ndimage.gaussian_filter1d(run[:, n], sigma, mode="nearest") for n in (1, 2)]
    smooth = np.column_stack([run[:, 0], *sides])
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(smooth, axis=0), axis=1))])
    even = np.arange(0.0, arc[-1], 1.0)
    return np.column_stack([np.interp(even, arc, smooth[:, n]) for n in range(3)])


def _profile(classes: ClassMap, curve: Points) -> NDArray[np.float64]:
    """(n,) body minus disc over a disc of the probe radius perpendicular to the curve."""
    tangent = np.gradient(ndimage.gaussian_filter1d(curve, 6.0, axis=0), axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    left = np.cross(tangent, (0.0, 1.0, 0.0))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    back = np.cross(left, tangent)
    radius = settings().column.probe_radius_mm
    total = np.zeros(len(curve))
    spots = [(0.0, 0.0)] + [(r * np.cos(a), r * np.sin(a)) for r in (0.5 * radius, radius)
                            for a in np.arange(8) * np.pi / 4]
    for u, v in spots:
        points = curve + u * left + v * back
        total += classes.at("vertebral_body", points) - classes.at("disc", points)
    return np.asarray(total / len(spots))
