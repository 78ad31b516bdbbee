"""Where the views of a plan look at first, and which vertebra lies at a place. No window toolkit in here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import to_index, to_world
from planner.plan import Plan
from segmentation.spine import Spine, Vertebra
from viewer.settings import Window, settings

__all__ = ["first_window", "middle", "vertebra_at"]

Array = NDArray[np.float64]


def vertebra_at(spine: Spine, xyz: Array) -> Vertebra | None:
    """The vertebra at a place, (3,) LPS mm, else the one whose body is nearest; None where there is none."""
    if not spine.vertebrae:
        return None
    x, y, z = np.rint(to_index(spine.grid, xyz)).astype(int)
    inside = all(0 <= n < size for n, size in zip((z, y, x), spine.grid.shape, strict=True))
    label = int(spine.labels[z, y, x]) if inside else 0
    under = next((v for v in spine.vertebrae if v.label == label), None)
    return under or min(spine.vertebrae, key=lambda v: float(np.linalg.norm(v.body_center - xyz)))


def first_window(plan: Plan) -> Window:
    """The planning preset for CT; for other modalities the range that most values lie in."""
    volume = plan.volume
    if volume is None or volume.modality == "CT":
        return settings().windows["needle"]
    stored = volume.array[:: max(volume.array.shape[0] // 32, 1), ::4, ::4]
    low, high = np.percentile(stored, (1.0, 99.5)) * volume.slope + volume.intercept
    return Window("Whole range", float(low), float(max(high, low + 1.0)))


def middle(plan: Plan) -> Array:
    """(3,) LPS mm: the middle of the scan."""
    size = np.array(plan.spine.grid.shape[::-1], dtype=np.float64)
    return to_world(plan.spine.grid, (size - 1) / 2)
