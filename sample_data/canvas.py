"""A CT volume being painted: soft-edged solids on a regular grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .implicit import Array

__all__ = ["Canvas", "Window"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """A box of the grid with its coordinates.

    Attributes
    ----------
    index : slices along (z, y, x).
    x, y, z : float32 coordinates, mm, shaped to broadcast over the box.
    """

    index: tuple[slice, slice, slice]
    x: Array
    y: Array
    z: Array

    def points(self) -> Array:
        """Coordinates of every voxel of the box, shape (3, z, y, x)."""
        return np.stack(np.broadcast_arrays(self.x, self.y, self.z))


class Canvas:
    """Hounsfield units on a grid in anatomical coordinates.

    Parameters
    ----------
    low : (x, y, z) of the first voxel's centre, mm.
    spacing : (z, y, x), mm.
    shape : voxels along (z, y, x).
    """

    def __init__(
        self, low: tuple[float, float, float], spacing: tuple[float, float, float], shape: tuple[int, int, int]
    ):
        self.shape = shape
        self.axes: tuple[Array, Array, Array] = tuple(  # type: ignore[assignment]
            (low[2 - i] + spacing[i] * np.arange(shape[i])).astype(np.float32) for i in range(3)
        )
        self.hu = np.full(shape, -1000.0, dtype=np.float32)
        self.soft = float(np.mean(spacing))

    def window(self, low: NDArray[np.float64] | None = None, high: NDArray[np.float64] | None = None) -> Window:
        """Box between two corners (x, y, z), mm; the whole grid without them."""
        index = []
        for i in range(3):
            axis = self.axes[i]
            first = 0 if low is None else int(np.searchsorted(axis, low[2 - i]))
            last = len(axis) if high is None else int(np.searchsorted(axis, high[2 - i], side="right"))
            index.append(slice(first, max(first, last)))
        z, y, x = (self.axes[i][index[i]] for i in range(3))
        return Window((index[0], index[1], index[2]), x[None, None, :], y[None, :, None], z[:, None, None])

    def paint(self, window: Window, distance: Array, value: float | Array, edge: float = 0.0) -> None:
        """Blend a solid into the volume.

        Parameters
        ----------
        window : box of the solid.
        distance : signed distance, mm, over the box.
        value : Hounsfield units of the solid.
        edge : additional softness of the border, mm.
        """
        share = np.clip(0.5 - distance / (self.soft + edge), 0.0, 1.0)
        region = self.hu[window.index]
        region += share * (value - region)

    def mask(self, window: Window, inside: Mask) -> Mask:
        """Full-size mask from a mask over a box."""
        full = np.zeros(self.shape, dtype=bool)
        full[window.index] = inside
        return full

    def solid(
        self, low: NDArray[np.float64], high: NDArray[np.float64], shape: Callable[[Window], Array], value: float
    ) -> Mask:
        """Paint one solid given as a function of the window; return its full-size mask."""
        window = self.window(low, high)
        distance = shape(window)
        self.paint(window, distance, value)
        return self.mask(window, distance < 0)
