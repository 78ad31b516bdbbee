"""How likely a nerve is caught, as a curve over the operator's placement error: a model estimate, never one number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from segmentation.anatomy import LandmarkName
from targeting.model import CapturePoint, Target
from targeting.procedures import Procedure, ProcedureKind

__all__ = ["across", "capture_assumptions", "capture_curve", "disc_probability", "landmark_covariance",
           "reached_assumptions"]

Array = NDArray[np.float64]
_REACHES = {ProcedureKind.BLOCK: "the injected volume", ProcedureKind.RF: "an active tip's lesion",
            ProcedureKind.CRYO: "killing cold", ProcedureKind.STIMULATION: "a lead's stimulation"}
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)


def disc_probability(mean: Array, covariance: Array, radius_mm: float) -> float:
    """Probability that a 2-D normal point lies within `radius_mm` of the origin.

    Parameters
    ----------
    mean : (2,) mm
    covariance : (2, 2) mm2, positive definite

    Notes
    -----
    In the covariance's own axes the integral over one axis is a difference of normal distribution functions; the other
    is done by 128-point Gauss-Legendre quadrature in the angle. Zero mean and equal axes give 1 - exp(-R^2 / 2 s^2).
    """
    variance, axes = np.linalg.eigh(covariance)
    sigma, centre = np.sqrt(variance), mean @ axes
    angle = 0.5 * np.pi * _NODES
    x, half = radius_mm * np.sin(angle), radius_mm * np.cos(angle)
    density = np.exp(-0.5 * ((x - centre[0]) / sigma[0])**2) / (np.sqrt(2 * np.pi) * sigma[0])
    inner = ndtr((half - centre[1]) / sigma[1]) - ndtr((-half - centre[1]) / sigma[1])
    return float(min(np.sum(_WEIGHTS * 0.5 * np.pi * half * density * inner), 1.0))


def across(direction: Array) -> Array:
    """(3, 2) orthonormal columns perpendicular to a unit vector."""
    return np.asarray(np.linalg.svd(direction[None])[2][1:].T)


def _sigma(covariance: Array) -> float:
    """Root mean variance per axis, mm."""
    return float(np.sqrt(np.trace(covariance) / 3.0))


def landmark_covariance(target: Target) -> Array:
    """(3, 3) mm2 of the junction the target was measured from; 0 where there is none, as of a target placed by hand."""
    mark = target.carrier.landmarks.get(LandmarkName(f"sap_tp_junction_{target.side.value.lower()}"))
    return np.zeros((3, 3)) if mark is None or target.placed_by else np.asarray(mark.covariance)


def _curve(target: Target, offset: Array, tangent: Array, radius_mm: float, sigmas: tuple[float, ...]) -> list[float]:
    plane = across(tangent)
    own, shift = plane.T @ (target.covariance + landmark_covariance(target)) @ plane, plane.T @ offset
    return [disc_probability(shift, own + sigma**2 * np.eye(2), radius_mm) for sigma in sigmas]


def capture_curve(target: Target, procedure: Procedure, offset: Array, tangent: Array) -> tuple[CapturePoint, ...]:
    """Probability of capture for each placement sigma of the procedure.

    Parameters
    ----------
    offset : (3,) mm
        From the needle (tip of a block, axis of an active tip) to the nearest place of the modelled nerve.
    tangent : (3,) unit
        Along the nerve there; only errors across it count.
    """
    sigmas = procedure.capture.placement_sigmas.values
    p = _curve(target, offset, tangent, procedure.capture.radius.value, sigmas)
    return tuple(CapturePoint(sigma, round(value, 6)) for sigma, value in zip(sigmas, p, strict=True))


def capture_assumptions(target: Target, procedure: Procedure, offset: Array, tangent: Array) -> tuple[str, ...]:
    """What the curve rests on, in sentences."""
    rule = procedure.capture
    low, high = (_curve(target, offset, tangent, r.value, (2.0,))[0] for r in (rule.radius_low, rule.radius_high))
    what = _REACHES.get(procedure.kind, "the needle's effect")
    return (
        "model estimate from unverified assumptions",
        f"the nerve counts as caught within {rule.radius.value:g} mm, the assumed reach of {what}",
        f"at placement sigma 2 mm: {low:.2f} with a reach of {rule.radius_low.value:g} mm, "
        f"{high:.2f} with {rule.radius_high.value:g} mm",
        "nerve, landmark and placement errors are independent and normal; placement error is equal in every direction",
        f"1 sigma per axis: nerve {_sigma(target.covariance):.1f} mm, "
        f"landmark {_sigma(landmark_covariance(target)):.1f} mm",
        f"the modelled nerve lies {float(np.linalg.norm(offset)):.1f} mm from the needle",
    )


def reached_assumptions(target: Target, procedure: Procedure, direction: Array) -> tuple[str, ...]:
    """What the curve of a target that is a space rests on, in sentences."""
    rule = procedure.capture
    planned = np.zeros(3)
    low, high = (_curve(target, planned, direction, r.value, (2.0,))[0] for r in (rule.radius_low, rule.radius_high))
    return (
        "model estimate from unverified assumptions",
        f"the tip counts as in place within {rule.radius.value:g} mm of where it is planned, across the needle",
        f"at placement sigma 2 mm: {low:.2f} within {rule.radius_low.value:g} mm, "
        f"{high:.2f} within {rule.radius_high.value:g} mm",
        "segmentation and placement errors are independent and normal; placement error is equal in every direction",
    )
