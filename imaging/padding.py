"""Declared padding of a CT that reads like tissue or metal, made to read like nothing at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["declared_padding"]

Bool = NDArray[np.bool_]


def declared_padding(array: NDArray[np.int16], padding: tuple[int, int], signed: bool, anywhere: bool) -> Bool:
    """Voxels that hold the padding value.

    Some files declare a value that real tissue has too: then only what is joined to the sides of the slices is padding.

    Parameters
    ----------
    array : (z, y, x) int16
        Stored values; of unsigned files the bit pattern.
    padding : (low, high)
        Declared stored values, both included.
    signed : bool
        Whether the stored values are signed.
    anywhere : bool
        No tissue has the value, so it is padding wherever it lies.

    Returns
    -------
    (z, y, x) bool
    """
    values: NDArray[Any] = array if signed else array.view(np.uint16)
    found = np.asarray((values >= padding[0]) & (values <= padding[1]))
    if anywhere or not found.any():
        return found
    return np.stack([_joined_to_side(plane) for plane in found])


def _joined_to_side(plane: Bool) -> Bool:
    """The parts of a (y, x) mask that reach its border."""
    labels, count = ndimage.label(plane)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    keep = np.zeros(count + 1, dtype=np.bool_)
    keep[border] = True
    keep[0] = False
    return np.asarray(keep[labels])
