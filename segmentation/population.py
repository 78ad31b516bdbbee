"""Compares vertebrae with the population and with each other: size, spacing, curve and rotation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import unit
from segmentation.anatomy import Level
from segmentation.constants import constants
from segmentation.spine import Vertebra

__all__ = ["curve_degrees", "neighbour_turns", "rotation_degrees", "shape_findings", "unusual_sizes"]


def shape_findings(vertebrae: Sequence[Vertebra], volume_ml: Mapping[str, float]) -> list[Finding]:
    """What is unusual about a chain of vertebrae, head to foot."""
    said = [words for sentences in unusual_sizes(vertebrae, volume_ml).values() for words in sentences]
    return [*(_atypical(words) for words in dict.fromkeys(said)), *_curve_findings(vertebrae)]


def _atypical(message: str) -> Finding:
    return Finding(FindingCode.VERTEBRA_ATYPICAL, Severity.INFO, message)


def unusual_sizes(vertebrae: Sequence[Vertebra], volume_ml: Mapping[str, float]) -> dict[str, list[str]]:
    """Name of a vertebra to what is unusual about its volume and its distance to the next below."""
    tables = constants("population")
    limit = float(tables["limits"]["standard_deviations"])
    out: dict[str, list[str]] = {}
    for v in vertebrae:
        if v.name in tables["volume_ml"] and not v.touches_edge:
            mean, sd = tables["volume_ml"][v.name]
            if abs(volume_ml[v.name] - mean) > limit * sd:
                out.setdefault(v.name, []).append(
                    f"{v.name} measures {volume_ml[v.name]:.0f} mL, {mean:.0f} +- {sd:.0f} is usual")
    levels = [level.value for level in Level if level not in (Level.T13, Level.L6)]
    for upper, lower in itertools.pairwise(vertebrae):
        if upper.name not in tables["spacing_mm"] or upper.frame is None or lower.frame is None:
            continue
        if levels.index(upper.name) + 1 != (levels.index(lower.name) if lower.name in levels else -1):
            continue
        mean, sd = tables["spacing_mm"][upper.name]
        distance = float(np.linalg.norm(upper.body_center - lower.body_center))
        if abs(distance - mean) > limit * sd:
            said = f"{upper.name} to {lower.name} are {distance:.0f} mm apart, {mean:.0f} +- {sd:.0f} is usual"
            for name in (upper.name, lower.name):
                out.setdefault(name, []).append(said)
    return out


def curve_degrees(vertebrae: Sequence[Vertebra]) -> float:
    """Largest angle between two superior endplates seen from the front, degrees (a Cobb angle of what is seen)."""
    frames = [v.frame for v in vertebrae if v.frame is not None and v.name != Level.S1 and not v.touches_edge]
    if len(frames) < 2:
        return 0.0
    left = unit(np.sum([f.left for f in frames], axis=0))
    up = np.sum([f.superior for f in frames], axis=0)
    up = unit(up - np.dot(up, left) * left)
    lean = [math.degrees(math.atan2(float(f.superior @ left), float(f.superior @ up))) for f in frames]
    return max(lean) - min(lean)


def rotation_degrees(vertebrae: Sequence[Vertebra]) -> dict[str, float]:
    """Axial rotation of each vertebra against the mean of all, degrees, toward the patient's left positive."""
    frames = {v.name: v.frame for v in vertebrae if v.frame is not None and v.name != Level.S1 and not v.touches_edge}
    if len(frames) < 2:
        return {}
    up = unit(np.sum([f.superior for f in frames.values()], axis=0))
    behind = np.sum([f.posterior for f in frames.values()], axis=0)
    behind = unit(behind - np.dot(behind, up) * up)
    left = np.cross(behind, up)
    return {name: math.degrees(math.atan2(float(f.posterior @ left), float(f.posterior @ behind)))
            for name, f in frames.items()}


def neighbour_turns(vertebrae: Sequence[Vertebra]) -> dict[str, float]:
    """Axial rotation of each vertebra against the mean of the next above and below, degrees, toward the left positive.

    One vertebra turned alone is the mark of a frame led astray by one-sided bone; a curve turns its neighbours along.
    """
    frames = [v.frame for v in vertebrae]
    out = {}
    for n, v in enumerate(vertebrae):
        beside = [f for f in (*frames[max(n - 1, 0):n], *frames[n + 1:n + 2]) if f is not None]
        if v.frame is not None and beside:
            behind = np.sum([f.posterior for f in beside], axis=0)
            up = v.frame.superior
            behind = unit(behind - np.dot(behind, up) * up)
            turn = math.atan2(float(v.frame.posterior @ np.cross(behind, up)), float(v.frame.posterior @ behind))
            out[v.name] = math.degrees(turn)
    return out


def _curve_findings(vertebrae: Sequence[Vertebra]) -> list[Finding]:
    limits = constants("population")["limits"]
    out = []
    curve = curve_degrees(vertebrae)
    if curve > float(limits["cobb_deg"]):
        severity = Severity.WARNING if curve > 2 * float(limits["cobb_deg"]) else Severity.INFO
        out.append(Finding(FindingCode.SCOLIOSIS, severity,
                           f"endplates lean by up to {curve:.0f} degrees to each other, seen from the front"))
    turned = {name: angle for name, angle in rotation_degrees(vertebrae).items()
              if abs(angle) > float(limits["rotation_deg"])}
    if turned:
        words = ", ".join(f"{name} {angle:+.0f}" for name, angle in turned.items())
        out.append(Finding(FindingCode.SCOLIOSIS, Severity.WARNING, f"axial rotation in degrees: {words}"))
    return out
