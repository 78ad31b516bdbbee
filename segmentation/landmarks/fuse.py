"""Joins the two estimates of a landmark, by bone geometry and by the template, into one with a covariance.

Both see the same mask, so their errors are not independent: the joint covariance is their covariance intersection,
which stays honest under any correlation. A geometric point far from the template's loses its weight smoothly, so that a
corner that flips moves the result little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.constants import constants
from segmentation.landmarks.doubts import Doubts

__all__ = ["Estimate", "fuse"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A landmark in the axes of one side of a frame.

    Attributes
    ----------
    point : (3,) mm
        (lateral, posterior, superior).
    covariance : (3, 3) mm2
        Along the same axes.
    apart_mm : float or None
        Distance between the two methods; None where only one of them had a point.
    """

    point: Array
    covariance: Array
    apart_mm: float | None


def fuse(kind: str, geometry: Array | None, template: Array | None, doubts: Doubts,
         extra_sigma_mm: float = 0.0, template_ratio: float = 1.0) -> Estimate | None:
    """One estimate of two.

    Parameters
    ----------
    kind : str
        Row of the ``sigma_mm`` and ``template_sigma_mm`` tables.
    geometry, template : (3,) mm or None
    doubts : Doubts
        Told when the methods disagree, or when only one of them found the point.
    extra_sigma_mm : float
        Of the geometric point, added in quadrature.
    template_ratio : float
        Multiplies the template's standard deviations.

    Returns
    -------
    Estimate or None
        None when neither method has a point.
    """
    c = constants("landmarks")
    by_geometry = np.array(c["sigma_mm"][kind], dtype=float) ** 2 + extra_sigma_mm**2
    by_template = (template_ratio * np.array(c["template_sigma_mm"][kind], dtype=float)) ** 2
    if geometry is None and template is None:
        return None
    if template is None:
        doubts.check("geometry_only", True, "by bone geometry alone, no template to compare with")
        return Estimate(np.asarray(geometry), np.diag(by_geometry), None)
    if geometry is None:
        doubts.check("template_only", True, "by the template alone, not found by bone geometry")
        return Estimate(template, np.diag(float(c["fusion"]["alone_ratio"]) ** 2 * by_template), None)
    apart = geometry - template
    ratio = float(np.sqrt((apart**2 / (by_geometry + by_template)).sum()))
    distance = float(np.linalg.norm(apart))
    said = f"bone geometry and template {distance:.1f} mm apart"
    doubts.check("methods_differ", ratio > float(c["fusion"]["agree_ratio"]), said)
    doubts.check("methods_disagree", ratio > float(c["fusion"]["disagree_ratio"]), said)
    doubted = float(c["fusion"]["solid_doubt_ratio" if kind == "pedicle_center" else "doubt_ratio"])
    trust = 1.0 / (1.0 + (ratio / doubted) ** 6)
    precision = 0.5 * (trust / by_geometry + (2.0 - trust) / by_template)
    point = 0.5 * (trust * geometry / by_geometry + (2.0 - trust) * template / by_template) / precision
    between = 0.5 * apart * min(1.0, float(c["fusion"]["apart_max_mm"]) / max(distance, 1e-9))
    return Estimate(point, np.diag(1.0 / precision) + np.outer(between, between), distance)
