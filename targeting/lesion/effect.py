"""What a lesion does at its place: how much of the nerve it holds, how near its heat comes to what must be spared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from segmentation.anatomy import StructureName
from targeting.clearance import Boxes
from targeting.lesion.electrode import lesion_data
from targeting.lesion.tables import Lesion, Surface
from targeting.model import LesionEffect

__all__ = ["captured_length", "heat_clearance", "lesion_effect"]

Array = NDArray[np.float64]
_SAMPLE_MM = 0.1
#: What heat must spare besides the nerve aimed at: the exiting nerve with its ganglion, and the dura.
_SPARED = (StructureName.FORAMEN_CONTENTS, StructureName.CANAL)


def captured_length(surface: Surface | None, tip: Array, direction: Array, path: Array) -> float:
    """Length of a nerve inside a surface, mm.

    Parameters
    ----------
    tip : (3,) LPS mm
    direction : (3,) unit LPS
        Entry to tip.
    path : (n, 3) LPS mm
        The nerve, in order.
    """
    if surface is None:
        return 0.0
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    total = float(steps.sum())
    along_path = np.concatenate(([0.0], np.cumsum(steps)))
    samples = (np.arange(max(round(total / _SAMPLE_MM), 1)) + 0.5) * _SAMPLE_MM
    points = np.stack([np.interp(samples, along_path, path[:, axis]) for axis in range(3)], axis=1) - tip
    along = points @ direction
    across = np.linalg.norm(points - along[:, None] * direction, axis=1)
    return float(np.count_nonzero(surface.contains(along, across)) * total / len(samples))


def heat_clearance(surface: Surface, tip: Array, direction: Array, boxes: Boxes) -> float:
    """Distance from a surface to a mask, mm; negative by how deep the mask reaches into it; inf for an empty mask."""
    along, radius = surface.balls()
    return boxes.gap_to_balls(tip + along[:, None] * direction, radius)


def lesion_effect(lesion: Lesion, tip: Array, direction: Array, path: Array,
                  structures: Mapping[StructureName, Boxes]) -> LesionEffect:
    """The effect of one lesion on the modelled nerve and on the structures that heat must spare.

    Parameters
    ----------
    tip, direction : (3,) LPS mm, (3,) unit, entry to tip
    path : (n, 3) LPS mm
        The course of the nerve; fewer than two points stand for a course that is not known.
    structures : mapping
        Masks ready for measuring; what was not computed is left out.
    """
    captured = None
    if len(path) > 1:
        captured = (captured_length(lesion.effect_narrow, tip, direction, path),
                    captured_length(lesion.effect_wide, tip, direction, path))
    gaps = {} if lesion.spread is None else {
        name: heat_clearance(lesion.spread, tip, direction, structures[name]) for name in _SPARED if name in structures}
    return LesionEffect(lesion.setting, captured, gaps, lesion_data().use.spread_allowance.value)
