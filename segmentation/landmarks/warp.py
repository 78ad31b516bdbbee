"""Registers a template's surface points to the surface of a bone: affine first, then a smooth Gaussian-process warp.

Non-rigid iterative closest points. Every round pairs the template's points with the bone's, by place and by the way the
surface faces and in both directions, and explains the pairs by the smoothest field that does: a Gaussian process with
broad, middle and fine kernels, whose noise falls from round to round. Points and lattice are mirror-symmetric, so that
a mirrored bone gives the mirrored warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from threadpoolctl import ThreadpoolController

from segmentation.constants import constants
from segmentation.shape import FrameBlock

__all__ = ["Surface", "Warp", "WarpBasis", "register", "surface_of"]

Array = NDArray[np.float64]
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Surface:
    """Points of a surface.

    Attributes
    ----------
    points : (n, 3) mm
        (left, posterior, superior) of a vertebral frame.
    normals : (n, 3) unit, outward
    """

    points: Array
    normals: Array

    def keyed(self, per_normal_mm: float) -> Array:
        """(n, 6): places, and normals scaled so that opposite faces lie far from each other."""
        return np.hstack([self.points, per_normal_mm * self.normals])


def surface_of(block: FrameBlock, low: Array, high: Array, lattice_mm: float) -> Surface:
    """Sample the bone's surface on a lattice: every crossing of a lattice edge, with the field's slope.

    Parameters
    ----------
    low, high : (3,) mm
        The part of the block that is sampled, (left, posterior, superior).
    lattice_mm : float
        Edge of the lattice.
    """
    stride = max(1, round(lattice_mm / block.step))
    part = block.window(*((float(a), float(b)) for a, b in zip(low, high, strict=True)))
    axes = [_strided(a, stride, block.step) for a in (part.superior, part.posterior, part.lateral)]
    field = part.distance[np.ix_(*axes)].astype(np.float64)
    coordinates = [a[i] for a, i in zip((part.superior, part.posterior, part.lateral), axes, strict=True)]
    slope = np.stack(list(np.gradient(field, stride * block.step)), axis=-1)[..., ::-1]
    points, normals = [], []
    for axis in range(3):
        near = [slice(None)] * 3
        far = [slice(None)] * 3
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        a, b = field[tuple(near)], field[tuple(far)]
        where = np.nonzero((a < 0) != (b < 0))
        share = (a[where] / (a[where] - b[where]))[:, None]
        index = np.stack(where, axis=-1)
        start = np.column_stack([c[index[:, n]] for n, c in enumerate(coordinates)])[:, ::-1]
        step = np.zeros(3)
        step[2 - axis] = stride * block.step
        points.append(start + share * step)
        normals.append((1 - share) * slope[tuple(near)][where] + share * slope[tuple(far)][where])
    normal = np.vstack(normals)
    return Surface(np.vstack(points), normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9))


def _strided(coordinates: Array, stride: int, step: float) -> NDArray[np.intp]:
    """Every `stride`-th place, counted from zero, so that the choice is symmetric about the midline."""
    return np.flatnonzero(np.round(coordinates / step).astype(int) % stride == 0)


@dataclass(frozen=True, eq=False)
class WarpBasis:
    """The smooth fields a template may be warped by: kernels about its control points.

    Attributes
    ----------
    controls : (m, 3) mm
    at_points : (n, m)
        Kernel between the template's points and the control points.
    between : (m, m)
        Kernel between control points.
    """

    controls: Array
    at_points: Array
    between: Array

    @classmethod
    def build(cls, points: Array, controls: Array) -> WarpBasis:
        """Basis of a template with these points and control points, mm."""
        return cls(controls, kernel(points, controls), kernel(controls, controls) + 1e-3 * np.eye(len(controls)))


def kernel(a: Array, b: Array) -> Array:
    """(n, m) mm2: prior covariance of the displacements of two sets of points."""
    c = constants("landmarks")["template"]
    squared = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)
    total = np.zeros(squared.shape)
    for length, amplitude in zip(c["kernel_length_mm"], c["kernel_amplitude_mm"], strict=True):
        total += float(amplitude) ** 2 * np.exp(-0.5 * squared / float(length) ** 2)
    return total


@dataclass(frozen=True, eq=False)
class Warp:
    """Where a template's points lie on one bone.

    Attributes
    ----------
    matrix, offset : (3, 3) and (3,)
        Affine part: ``matrix @ point + offset``.
    controls, weights : (m, 3)
        Smooth part: sum of kernels about the control points.
    residual_mm : float
        Mean distance between the warped template and the bone where they were paired.
    """

    matrix: Array
    offset: Array
    controls: Array
    weights: Array
    residual_mm: float

    def move(self, points: Array) -> Array:
        """(n, 3) template mm to (n, 3) mm on the bone."""
        p = np.atleast_2d(np.asarray(points, dtype=np.float64))
        return np.asarray(p @ self.matrix.T + self.offset + kernel(p, self.controls) @ self.weights)

    def pull(self, points: Array, rounds: int = 12) -> Array:
        """(n, 3) mm on the bone to (n, 3) template mm, by fixed-point iteration."""
        p = np.atleast_2d(np.asarray(points, dtype=np.float64))
        inverse = np.linalg.inv(self.matrix)
        place = (p - self.offset) @ inverse.T
        for _ in range(rounds):
            place = place - (self.move(place) - p) @ inverse.T
        return np.asarray(place)


class _Pairs:
    """Pairs of the template's points with a bone's surface, both ways."""

    def __init__(self, bone: Surface) -> None:
        c = constants("landmarks")["template"]
        self.bone = bone
        self.per_normal = float(c["normal_mm"])
        self.slide = float(c["slide_share"])
        keyed = bone.keyed(self.per_normal)
        self.keyed = keyed.astype(np.float32)
        self.minus_twice = np.ascontiguousarray(-2.0 * self.keyed.T)
        self.squared = (keyed**2).sum(axis=1).astype(np.float32)

    def match(self, now: Surface, scale_mm: float) -> tuple[Array, Array, float]:
        """Wanted places (n, 3), weights (n,) and mean distance of the pairs at one round."""
        j, ahead, i, back = self._nearest(now.keyed(self.per_normal).astype(np.float32))
        weight = 1.0 / (1.0 + ahead / scale_mm**2) ** 2
        total = weight[:, None] * self._aim(now.points, j)
        w = 1.0 / (1.0 + back / scale_mm**2) ** 2
        aim = now.points[i] + self._slid(self.bone.points - now.points[i], self.bone.normals)
        for axis in range(3):
            total[:, axis] += np.bincount(i, w * aim[:, axis], len(weight))
        both = weight + np.bincount(i, w, len(weight))
        gap = np.abs(((self.bone.points[j] - now.points) * self.bone.normals[j]).sum(axis=1))
        return total / np.maximum(both, 1e-9)[:, None], both, float(np.average(gap, weights=weight))

    def _nearest(self, keyed: NDArray[np.float32]) -> tuple[NDArray[np.intp], Array, NDArray[np.intp], Array]:
        """Nearest bone point of each template point and the other way round, with squared distances, mm2.

        Block by block, so that a block of distances stays in the processor's cache.
        """
        j, ahead = np.empty(len(keyed), dtype=np.intp), np.empty(len(keyed))
        i, back = np.zeros(len(self.keyed), dtype=np.intp), np.full(len(self.keyed), np.inf, dtype=np.float32)
        columns = np.arange(len(self.keyed))
        for first in range(0, len(keyed), _BLOCK):
            rows = keyed[first:first + _BLOCK]
            apart = rows @ self.minus_twice
            apart += self.squared
            apart += (rows**2).sum(axis=1, keepdims=True)
            nearest = apart.argmin(axis=1)
            j[first:first + len(rows)] = nearest
            ahead[first:first + len(rows)] = apart[np.arange(len(rows)), nearest]
            row = apart.argmin(axis=0)
            least = apart[row, columns]
            closer = least < back
            i[closer], back[closer] = row[closer] + first, least[closer]
        return j, ahead, i, back.astype(np.float64)

    def _aim(self, points: Array, j: NDArray[Any]) -> Array:
        return points + self._slid(self.bone.points[j] - points, self.bone.normals[j])

    def _slid(self, step: Array, normals: Array) -> Array:
        """Most of a step along the surface is left out: points may slide."""
        along = (step * normals).sum(axis=1, keepdims=True) * normals
        return np.asarray(along + self.slide * (step - along))


def register(template: Surface, basis: WarpBasis, bone: Surface, start: Array) -> Warp:
    """Warp a template onto a bone.

    Parameters
    ----------
    start : (3,)
        Scale along (left, posterior, superior) to begin with.
    """
    # The matrices are small: threads of the linear algebra only wait for each other, the longer the busier the machine.
    with _linear_algebra().limit(limits=1, user_api="blas"):
        return _register(template, basis, bone, start)


@cache
def _linear_algebra() -> ThreadpoolController:
    """The libraries that are loaded, looked up once."""
    return ThreadpoolController()


def _register(template: Surface, basis: WarpBasis, bone: Surface, start: Array) -> Warp:
    c = constants("landmarks")["template"]
    pairs = _Pairs(bone)
    matrix, offset = np.diag(np.asarray(start, dtype=np.float64)), np.zeros(3)
    weights = np.zeros_like(basis.controls)
    design = np.column_stack([template.points, np.ones(len(template.points))])

    def now(smooth: Array) -> Surface:
        normals = template.normals @ np.linalg.inv(matrix)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return Surface(template.points @ matrix.T + offset + smooth, normals)

    for scale in _annealed(c["affine_scale_mm"], int(c["affine_rounds"])):
        wanted, weight, _ = pairs.match(now(np.zeros_like(template.points)), scale)
        matrix, offset = _affine(design, wanted, weight, matrix, offset)
    smooth = np.zeros_like(template.points)
    residual = 0.0
    rounds = int(c["warp_rounds"])
    for scale, noise in zip(_annealed(c["warp_scale_mm"], rounds), _annealed(c["noise_mm"], rounds), strict=True):
        wanted, weight, residual = pairs.match(now(smooth), scale)
        gain = basis.at_points.T * (weight / noise**2)
        left = gain @ basis.at_points + basis.between
        weights = linalg.solve(left, gain @ (wanted - now(np.zeros_like(smooth)).points), assume_a="pos")
        smooth = basis.at_points @ weights
    return Warp(matrix, offset, basis.controls, weights, residual)


def _annealed(ends: Sequence[float], rounds: int) -> list[float]:
    """From the first value to the second in equal ratios."""
    first, last = (float(v) for v in ends)
    return [first * (last / first) ** (n / (rounds - 1)) for n in range(rounds)]


def _affine(design: Array, wanted: Array, weight: Array, matrix: Array, offset: Array) -> tuple[Array, Array]:
    """Weighted affine fit, drawn toward the one before it."""
    hold = float(constants("landmarks")["template"]["affine_hold"])
    before = np.vstack([matrix.T, offset])
    spread = np.array([1.0, 1.0, 1.0, 0.0]) * hold * float(weight.sum())
    gram = design.T @ (design * weight[:, None]) + np.diag(spread)
    right = design.T @ (wanted * weight[:, None]) + spread[:, None] * before
    fit = linalg.solve(gram, right, assume_a="pos")
    return np.asarray(fit[:3].T), np.asarray(fit[3])

