"""Implicit surfaces: negative inside, positive outside, about one millimetre of value per millimetre of distance.

Points are arrays whose first axis holds the three coordinates, shape (3, ...), millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Field", "Rod", "Vec", "difference", "ellipsoid", "gradient", "intersection", "project", "union"]

Array = NDArray[np.floating]
Vec = tuple[float, float, float]


class Field(Protocol):
    """A solid given by its signed distance."""

    def distance(self, points: Array) -> Array:
        """Signed distance, mm, of points of shape (3, ...)."""


def union(a: Array, b: Array, blend: float) -> Array:
    """Smooth minimum of two fields; `blend` (mm) is the width over which they merge into a fillet."""
    h = np.maximum(blend - np.abs(a - b), 0.0)
    result: Array = np.minimum(a, b) - h * h * (0.25 / blend)
    return result


def intersection(a: Array, b: Array, blend: float) -> Array:
    """Smooth maximum of two fields; `blend` (mm) rounds the edge."""
    return -union(-a, -b, blend)


def difference(a: Array, b: Array, blend: float) -> Array:
    """Field of `a` without `b`; `blend` (mm) rounds the edge."""
    return -union(-a, b, blend)


@dataclass(frozen=True)
class Rod:
    """A straight rod with an elliptical section that may taper, closed by rounded ends.

    Attributes
    ----------
    a, b : (x, y, z) of the ends of the axis, mm.
    ra, rb : half-axes of the section at each end, mm: along `flat`, and across it.
    flat : direction of the first half-axis (made orthogonal to the rod's axis).
    blend : width of the fillet where the rod joins what came before it, mm.
    """

    a: Vec
    b: Vec
    ra: tuple[float, float]
    rb: tuple[float, float]
    flat: Vec = (0.0, 0.0, 1.0)
    blend: float = 3.0

    @cached_property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors, rows: first section axis, second section axis, rod axis."""
        axis = np.subtract(self.b, self.a) / self.length
        first = np.asarray(self.flat) - axis * float(np.dot(self.flat, axis))
        first /= np.linalg.norm(first)
        return np.stack([first, np.cross(axis, first), axis])

    @cached_property
    def _rows(self) -> list[list[float]]:
        rows: list[list[float]] = self.axes.tolist()
        return rows

    @cached_property
    def length(self) -> float:
        """Length of the axis, mm."""
        return float(np.linalg.norm(np.subtract(self.b, self.a)))

    def bounds(self) -> NDArray[np.float64]:
        """Corners of an enclosing box, shape (2, 3)."""
        reach = max(*self.ra, *self.rb)
        ends = np.stack([self.a, self.b])
        return np.stack([ends.min(axis=0) - reach, ends.max(axis=0) + reach])

    def distance(self, points: Array) -> Array:
        """Signed distance (first order), shape of `points` without its first axis."""
        length = self.length
        e1, e2, e3 = self._rows
        q0, q1, q2 = (points[i] - self.a[i] for i in range(3))
        x1 = q0 * e1[0] + q1 * e1[1] + q2 * e1[2]
        x2 = q0 * e2[0] + q1 * e2[1] + q2 * e2[2]
        x3 = q0 * e3[0] + q1 * e3[1] + q2 * e3[2]
        t = np.clip(x3 / length, 0.0, 1.0)
        x3 = x3 - t * length
        i1 = 1.0 / (self.ra[0] + t * (self.rb[0] - self.ra[0]))
        i2 = 1.0 / (self.ra[1] + t * (self.rb[1] - self.ra[1]))
        i3 = np.maximum(i1, i2)
        x1, x2, x3 = x1 * i1, x2 * i2, x3 * i3
        k0 = np.sqrt(x1 * x1 + x2 * x2 + x3 * x3)
        x1, x2, x3 = x1 * i1, x2 * i2, x3 * i3
        k1 = np.sqrt(x1 * x1 + x2 * x2 + x3 * x3)
        result: Array = np.maximum(k0, 1e-5) * (k0 - 1.0) / np.maximum(k1, 1e-5 * i3)
        return result


def ellipsoid(points: Array, centre: Vec, radii: Vec) -> Array:
    """Signed distance (first order) to an ellipsoid along the coordinate axes."""
    scaled = [(points[i] - centre[i]) / radii[i] for i in range(3)]
    k0 = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    k1 = np.sqrt(sum((scaled[i] / radii[i]) ** 2 for i in range(3)))
    result: Array = np.maximum(k0, 1e-5) * (k0 - 1.0) / np.maximum(k1, 1e-5 / min(radii))
    return result


def gradient(field: Field, points: NDArray[np.float64], step: float = 0.05) -> NDArray[np.float64]:
    """Central-difference gradient of a field at points of shape (3, n)."""
    offsets = np.concatenate([np.eye(3), -np.eye(3)]) * step
    values = field.distance(points[:, None, :] + offsets.T[:, :, None])
    return np.asarray((values[:3] - values[3:]) / (2.0 * step), dtype=np.float64)


def project(field: Field, points: NDArray[np.float64], offset: float = 0.0, rounds: int = 12) -> NDArray[np.float64]:
    """Move points along the gradient onto the surface `offset` millimetres outside the solid.

    Parameters
    ----------
    field : the solid.
    points : (3, n) float64, mm.
    offset : value of the field on the wanted surface, mm.
    rounds : Newton steps at most.

    Returns
    -------
    (3, n) float64, mm.
    """
    moved = np.array(points, dtype=np.float64)
    for _ in range(rounds):
        value = np.asarray(field.distance(moved), dtype=np.float64) - offset
        if float(np.abs(value).max()) < 1e-6:
            break
        slope = gradient(field, moved)
        moved = moved - slope * value / np.maximum((slope * slope).sum(axis=0), 0.05)
    return moved
