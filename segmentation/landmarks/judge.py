"""Turns measured points into landmarks with a covariance, a confidence and the reasons that lowered it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, VertebralFrame
from segmentation.anatomy import LandmarkName
from segmentation.constants import constants
from segmentation.frames import FrameFit
from segmentation.landmarks.cortex import Cortex
from segmentation.spine import Landmark

__all__ = ["Doubts", "landmark", "sided"]

Array = NDArray[np.float64]
_INSIDE = "pedicle_center"


@dataclass
class Doubts:
    """What lowers the confidence of one point; the confidence is the lowest of its checks."""

    confidence: float = 1.0
    reasons: list[str] = field(default_factory=list)

    def add(self, confidence: float, reason: str) -> None:
        """Record one failed check."""
        self.confidence = min(self.confidence, confidence)
        if reason not in self.reasons:
            self.reasons.append(reason)

    def check(self, name: str, failed: bool, reason: str) -> None:
        """Record a check of the ``confidence`` table when it failed."""
        if failed:
            self.add(float(constants("landmarks")["confidence"][name]), reason)


def sided(kind: str, side: Side) -> LandmarkName:
    """``("sap_tip", LEFT)`` to the landmark's name."""
    return LandmarkName(f"{kind}_{side.value.lower()}")


def landmark(fit: FrameFit, frame: VertebralFrame, kind: str, local: Array, side: Side | None, doubts: Doubts,
             extra_sigma_mm: float = 0.0, cortex: Cortex | None = None) -> Landmark | None:
    """Build one landmark; None when it lies at the edge of the scan, where the bone is cut.

    Parameters
    ----------
    frame : VertebralFrame
        Frame of `local`; with a `side` its first coordinate points away from the midline.
    local : (3,) mm
    extra_sigma_mm : float
        Added in quadrature to the kind's own standard deviation.
    cortex : Cortex, optional
        The scan: a surface point is moved onto the bone's edge in it.
    """
    c = constants("landmarks")
    position = frame.from_local(local) if side is None else frame.from_side(local, side)
    spacing = float(fit.field.grid.spacing.max())
    if not bool(fit.field.in_view(position, max(float(c["confidence"]["edge_mm"]), 0.75 * spacing))):
        return None
    if cortex is not None and kind != _INSIDE:
        position = cortex.snap(fit.field, position)
    sigma = np.array(c["sigma_mm"][kind], dtype=float)
    voxel = fit.field.grid.spacing
    variance = np.diag(sigma**2 + extra_sigma_mm**2)
    lattice = fit.field.grid.direction * voxel * float(c["sigma_mm"]["voxel_share"])
    covariance = frame.matrix.T @ variance @ frame.matrix + lattice @ lattice.T
    doubts.check("coarse", spacing > float(c["confidence"]["coarse_mm"]),
                 f"voxels of {spacing:.1f} mm are coarse for this point")
    return Landmark(position, 0.5 * (covariance + covariance.T), doubts.confidence, tuple(doubts.reasons))
