"""How likely a nerve is caught, as a curve over the operator's placement error: a model estimate, never one number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from targeting.model import CapturePoint, Target
from targeting.procedures import Procedure, ProcedureKind

__all__ = ["across", "capture_assumptions", "capture_curve", "disc_probability", "radius_holding",
           "reached_assumptions"]

Array = NDArray[np.float64]
_REACHES = {ProcedureKind.BLOCK: "the injected volume", ProcedureKind.RF: "an active tip's lesion",
            ProcedureKind.CRYO: "killing cold", ProcedureKind.STIMULATION: "a lead's stimulation"}
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)


def disc_probability(mean: Array, covariance: Array, radius_mm: float | Array) -> Array:
    """Probability that a 2-D normal point lies within `radius_mm` of the origin.

    Parameters
    ----------
    mean : (2,) mm
    covariance : (..., 2, 2) mm2, positive definite
    radius_mm : float or (...) mm

    Returns
    -------
    (...)
        One for each covariance.

    Notes
    -----
    In the covariance's own axes the integral over one axis is a difference of normal distribution functions; the other
    is done by 128-point Gauss-Legendre quadrature in the angle. Zero mean and equal axes give 1 - exp(-R^2 / 2 s^2).
    """
    variance, axes = np.linalg.eigh(covariance)
    first, second = np.moveaxis(np.sqrt(variance), -1, 0)[..., None]
    x0, y0 = np.moveaxis(mean @ axes, -1, 0)[..., None]
    angle, radius = 0.5 * np.pi * _NODES, np.asarray(radius_mm, np.float64)[..., None]
    x, half = radius * np.sin(angle), radius * np.cos(angle)
    density = np.exp(-0.5 * ((x - x0) / first)**2) / (np.sqrt(2 * np.pi) * first)
    inner = ndtr((half - y0) / second) - ndtr((-half - y0) / second)
    return np.asarray(np.minimum(np.sum(_WEIGHTS * 0.5 * np.pi * half * density * inner, axis=-1), 1.0))


def _ball_probability(sigmas: Array, radius_mm: float) -> float:
    """Probability that a centred 3-D normal point lies within a radius; (3,) mm standard deviations of its axes."""
    angle = 0.5 * np.pi * _NODES
    along, left = radius_mm * np.sin(angle), radius_mm * np.cos(angle)
    density = np.exp(-0.5 * (along / sigmas[2])**2) / (np.sqrt(2 * np.pi) * sigmas[2])
    slices = disc_probability(np.zeros(2), np.broadcast_to(np.diag(sigmas[:2]**2), (len(left), 2, 2)), left)
    return float(np.sum(_WEIGHTS * 0.5 * np.pi * left * density * slices))


def radius_holding(share: float, covariance: Array) -> float:
    """Radius in mm within which a share (0 to 1) of the points of a centred 3-D normal distribution lies.

    Parameters
    ----------
    covariance : (3, 3) mm2, positive definite
    """
    sigmas = np.sqrt(np.linalg.eigvalsh(covariance))
    return float(brentq(lambda r: _ball_probability(sigmas, r) - share, 0.0, 10.0 * sigmas[2], xtol=1e-4))


def across(direction: Array) -> Array:
    """(3, 2) orthonormal columns perpendicular to a unit vector."""
    return np.asarray(np.linalg.svd(direction[None])[2][1:].T)


def _sigma(covariance: Array) -> float:
    """Root mean variance per axis, mm."""
    return float(np.sqrt(np.trace(covariance) / 3.0))


def _caught(target: Target, offset: Array, tangent: Array, radius_mm: float | Array, sigmas: Sequence[float]) -> Array:
    """(m,) probability of capture for placement sigmas, mm, each with a radius of its own or all with one."""
    plane = across(tangent)
    own, shift = plane.T @ target.covariance @ plane, plane.T @ offset
    return disc_probability(shift, own + np.square(sigmas)[:, None, None] * np.eye(2), radius_mm)


def _bounds(target: Target, procedure: Procedure, offset: Array, tangent: Array) -> tuple[float, float]:
    """The probability at a placement sigma of 2 mm with the least and the greatest reach."""
    radii = np.array([procedure.capture.radius_low.value, procedure.capture.radius_high.value])
    low, high = _caught(target, offset, tangent, radii, (2.0, 2.0))
    return float(low), float(high)


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
    p = _caught(target, offset, tangent, procedure.capture.radius.value, sigmas)
    return tuple(CapturePoint(sigma, round(float(value), 6)) for sigma, value in zip(sigmas, p, strict=True))


def capture_assumptions(target: Target, procedure: Procedure, offset: Array, tangent: Array) -> tuple[str, ...]:
    """What the curve rests on, in sentences."""
    rule = procedure.capture
    low, high = _bounds(target, procedure, offset, tangent)
    what = _REACHES.get(procedure.kind, "the needle's effect")
    return (
        "model estimate from unverified assumptions",
        f"the nerve counts as caught within {rule.radius.value:g} mm, the assumed reach of {what}",
        f"at placement sigma 2 mm: {low:.2f} with a reach of {rule.radius_low.value:g} mm, "
        f"{high:.2f} with {rule.radius_high.value:g} mm",
        "nerve, landmark and placement errors are independent and normal; placement error is equal in every direction",
        f"1 sigma per axis of nerve and landmarks together: {_sigma(target.covariance):.1f} mm",
        f"the modelled nerve lies {float(np.linalg.norm(offset)):.1f} mm from the needle",
    )


def reached_assumptions(target: Target, procedure: Procedure, direction: Array) -> tuple[str, ...]:
    """What the curve of a target that is a space rests on, in sentences."""
    rule = procedure.capture
    low, high = _bounds(target, procedure, np.zeros(3), direction)
    return (
        "model estimate from unverified assumptions",
        f"the tip counts as in place within {rule.radius.value:g} mm of where it is planned, across the needle",
        f"at placement sigma 2 mm: {low:.2f} within {rule.radius_low.value:g} mm, "
        f"{high:.2f} within {rule.radius_high.value:g} mm",
        "segmentation and placement errors are independent and normal; placement error is equal in every direction",
    )
