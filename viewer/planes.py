"""The axial, sagittal and coronal planes of the linked views, along the patient's own axes."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from planner.reslice import Plane

__all__ = ["PlaneName", "orthogonal", "through"]

Array = NDArray[np.float64]


class PlaneName(StrEnum):
    """The linked views."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


_AXES: dict[PlaneName, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    PlaneName.AXIAL: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    PlaneName.SAGITTAL: ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    PlaneName.CORONAL: ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
}


def orthogonal(name: PlaneName, center: Array, width: int, height: int, step_mm: float) -> Plane:
    """An axial (from the feet), sagittal (from the patient's LEFT) or coronal (from the front) view."""
    right, down = _AXES[name]
    return Plane(center, np.array(right), np.array(down), width, height, step_mm)


def through(plane: Plane, point: Array) -> Array:
    """(3,) LPS mm: the plane's centre moved along the line of sight until the plane holds a point."""
    return np.asarray(plane.center + np.dot(point - plane.center, plane.into) * plane.into)
