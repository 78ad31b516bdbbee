"""Turns estimates into landmarks with a position on the bone, a covariance, a confidence and what lowered it."""

from __future__ import annotations

import numpy as np

from imaging.geometry import Side, VertebralFrame
from segmentation.anatomy import LandmarkName
from segmentation.constants import constants
from segmentation.frames import FrameFit
from segmentation.landmarks.cortex import Cortex
from segmentation.landmarks.doubts import Doubts
from segmentation.landmarks.fuse import Estimate
from segmentation.spine import Landmark

__all__ = ["landmark", "sided"]

_INSIDE = "pedicle_center"


def sided(kind: str, side: Side) -> LandmarkName:
    """``("sap_tip", LEFT)`` to the landmark's name."""
    return LandmarkName(f"{kind}_{side.value.lower()}")


def landmark(fit: FrameFit, frame: VertebralFrame, kind: str, estimate: Estimate, side: Side | None, doubts: Doubts,
             cortex: Cortex | None = None) -> Landmark | None:
    """Build one landmark; None when it lies at the edge of the scan, where the bone is cut.

    Parameters
    ----------
    frame : VertebralFrame
        Frame of `estimate`; with a `side` its first coordinate points away from the midline.
    cortex : Cortex, optional
        The scan: a surface point is moved onto the bone's edge in it.
    """
    c = constants("landmarks")
    position = frame.from_local(estimate.point) if side is None else frame.from_side(estimate.point, side)
    if kind != _INSIDE:
        position = fit.field.to_surface(position)
    spacing = float(fit.field.grid.spacing.max())
    if not bool(fit.field.in_view(position, max(float(c["confidence"]["edge_mm"]), 0.75 * spacing))):
        return None
    if cortex is not None and kind != _INSIDE:
        position = cortex.snap(fit.field, position)
    axes = frame.matrix if side is None else frame.matrix * np.array([[side.sign], [1.0], [1.0]])
    lattice = fit.field.grid.direction * fit.field.grid.spacing * float(c["sigma_mm"]["voxel_share"])
    covariance = axes.T @ estimate.covariance @ axes + lattice @ lattice.T
    doubts.check("coarse", spacing > float(c["confidence"]["coarse_mm"]),
                 f"voxels of {spacing:.1f} mm are coarse for this point")
    return Landmark(position, 0.5 * (covariance + covariance.T), doubts.confidence, tuple(doubts.reasons))
