"""The half-plane (r, z) on which heat and current flow: cells of a body of revolution and the faces between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Faces", "Lattice", "electrode_lattice", "graded_edges"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces between neighbouring cells.

    Attributes
    ----------
    first, second : (f,) int
        Flat cell indices on either side, over an array of shape (nr, nz).
    resist_first, resist_second : (f,) 1/m
        Resistance from the cell's centre to the face for unit conductivity; divide by the cell's own conductivity.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    resist_first: Array
    resist_second: Array


@dataclass(frozen=True, eq=False)
class Lattice:
    """Rings of rectangular section about the axis of the electrode.

    Attributes
    ----------
    r_edges : (nr + 1,) m
        From 0 outward.
    z_edges : (nz + 1,) m
        Along the axis, 0 at the electrode's end, positive beyond it.
    """

    r_edges: Array
    z_edges: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(nr, nz) cells."""
        return len(self.r_edges) - 1, len(self.z_edges) - 1

    @property
    def r(self) -> Array:
        """(nr,) m, cell centres."""
        return np.asarray(0.5 * (self.r_edges[1:] + self.r_edges[:-1]))

    @property
    def z(self) -> Array:
        """(nz,) m, cell centres."""
        return np.asarray(0.5 * (self.z_edges[1:] + self.z_edges[:-1]))

    @property
    def volume(self) -> Array:
        """(nr, nz) m3."""
        return np.outer(np.pi * np.diff(self.r_edges**2), np.diff(self.z_edges))

    def faces(self) -> Faces:
        """Radial faces (exact for a logarithmic profile) and axial faces, as one list."""
        index = np.arange(np.prod(self.shape)).reshape(self.shape)
        dz, ring = np.diff(self.z_edges), np.pi * np.diff(self.r_edges**2)
        inner = np.log(self.r_edges[1:-1] / self.r[:-1])[:, None] / (2 * np.pi * dz[None])
        outer = np.log(self.r[1:] / self.r_edges[1:-1])[:, None] / (2 * np.pi * dz[None])
        half = 0.5 * dz[None] / ring[:, None]
        return Faces(
            np.concatenate((index[:-1].ravel(), index[:, :-1].ravel())),
            np.concatenate((index[1:].ravel(), index[:, 1:].ravel())),
            np.concatenate((inner.ravel(), half[:, :-1].ravel())),
            np.concatenate((outer.ravel(), half[:, 1:].ravel())))


def graded_edges(start: float, first: float, growth: float, largest: float, length: float) -> Array:
    """Edges from `start` over `length`, each cell `growth` times the one before, none above `largest`; all in m."""
    steps: list[float] = []
    size = first
    while sum(steps) < length:
        size = min(size * growth, largest)
        steps.append(size)
    return start + np.concatenate(([0.0], np.cumsum(steps)))


def electrode_lattice(radius: float, active: float, reach: float, cells: int, step: float, growth: float,
                      largest: float) -> Lattice:
    """A lattice fine at the active tip and coarse away from it.

    Parameters
    ----------
    radius, active : m
        Outer radius and length of the active tip, which lies on -active <= z <= 0.
    reach : m
        From the active tip to the outer boundary on every side.
    cells : int
        Cells across the radius.
    step, growth, largest : m, 1, m
        Axial cell along and about the tip; growth per cell away from it, up to the largest.
    """
    fine = 8 * cells * step / 5
    across = np.linspace(0.0, radius, cells + 1)
    r_edges = np.concatenate((across, graded_edges(radius, radius / cells, growth, largest, reach)[1:]))
    count = int(np.ceil((active + 2 * fine) / step))
    # The end of the tip and the end of its insulation both fall on an edge.
    scale = active / (round(active / step) * step)
    middle = np.arange(-count, count + 1) * step * scale
    middle = middle[(middle >= -active - fine) & (middle <= fine)]
    above = graded_edges(middle[-1], step, growth, largest, reach - fine)
    below = 2 * middle[0] - graded_edges(middle[0], step, growth, largest, reach - fine)
    return Lattice(r_edges, np.concatenate((below[:0:-1], middle, above[1:])))
