"""The mid-sagittal plane of a bone, by matching it with its own mirror image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["mirror_plane"]

Array = NDArray[np.float64]


def mirror_plane(thickness: Array, lateral: Array, posterior: Array, turns_deg: Array, shifts_mm: Array,
                 ) -> tuple[float, float, float]:
    """Find the turn and shift after which a bone seen along its superior axis is most like its mirror image.

    Parameters
    ----------
    thickness : (posterior, lateral) float
        Amount of bone along superior over each place; empty toward the edges of the map.
    lateral, posterior : (n,) mm
        Coordinates of the map; `lateral` symmetric about zero.
    turns_deg : (n,) degrees
        Candidate turns of the posterior axis toward +lateral.
    shifts_mm : (n,) mm
        Candidate lateral positions of the plane where it crosses posterior = 0.

    Returns
    -------
    turn_deg, shift_mm : float
    likeness : float
        Correlation of the turned map with its mirror image, 0 to 1.
    """
    step = float(lateral[1] - lateral[0])
    total = float((thickness**2).sum())
    x, y = np.meshgrid(lateral, posterior)
    scores = np.empty((len(turns_deg), len(shifts_mm)))
    for n, turn in enumerate(np.radians(turns_deg)):
        u = x * np.cos(turn) + y * np.sin(turn)
        v = -x * np.sin(turn) + y * np.cos(turn)
        for m, shift in enumerate(shifts_mm):
            index = [(v - posterior[0]) / step, (u + shift - lateral[0]) / step]
            turned = ndimage.map_coordinates(thickness, index, order=1, mode="constant")
            scores[n, m] = float((turned * turned[:, ::-1]).sum()) / max(total, 1e-9)
    best_turn, best_shift = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return float(turns_deg[best_turn]), float(shifts_mm[best_shift]), float(scores[best_turn, best_shift])
