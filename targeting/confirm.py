"""Confirming a needle on the written masks: exact clearances, bone on the way, the bone it rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.anatomy import StructureName
from targeting.clearance import ClearanceMeter
from targeting.limits import Limit, margin_limit
from targeting.model import Rejection, RejectionReason
from targeting.scene import Scene

__all__ = ["Measured", "confirm"]

Array = NDArray[np.float64]
_BONE_TOLERANCE_MM = 0.25


@dataclass(frozen=True, eq=False)
class Measured:
    """One needle on the masks.

    Attributes
    ----------
    clearance, clearance_reason : dict
        Signed mm from the needle's surface to each structure, None where it was not computed, and why.
    broken : tuple of Rejection
        Margins and rules about bone that do not hold.
    """

    clearance: dict[StructureName, float | None]
    clearance_reason: dict[StructureName, str]
    broken: tuple[Rejection, ...]


def _bone_limits(scene: Scene, meter: ClearanceMeter, entry: Array, tip: Array, direction: Array,
                 length_mm: float) -> list[tuple[Limit, float]]:
    """The rules about bone with the values that one needle reaches."""
    rule, radius = scene.procedure.tip, scene.radius
    last = tip - min(rule.zone.value, 0.9 * length_mm) * direction

    def gap(a: Array, b: Array) -> float:
        return min(meter.bones.gap(a, b), scene.fields.unlabelled.gap(a, b))

    carrier = scene.target.carrier
    nearest = scene.fields.label_at(tip + 0.5 * direction)
    out = [
        (Limit(RejectionReason.BONE_ON_PATH, -_BONE_TOLERANCE_MM, "bone lies on the way before the target", True),
         gap(entry, last) - radius),
        (Limit(RejectionReason.TIP_RULE, -rule.bone_overlap.value - _BONE_TOLERANCE_MM,
               "the end of the needle lies {miss:.1f} mm too deep in bone", True), gap(last, tip) - radius),
        (Limit(RejectionReason.TIP_RULE, rule.bone_gap.value,
               "the tip lies {value:.1f} mm off the bone, {bound:.1f} allowed"), meter.bones.gap(tip, tip)),
    ]
    if nearest:
        out.append((Limit(RejectionReason.TIP_RULE, None, f"the bone at the tip is not {carrier.name}"),
                    float(nearest != carrier.label)))
    return out


def _bones_alone(scene: Scene, meter: ClearanceMeter, entry: Array, tip: Array, direction: Array,
                 length_mm: float) -> list[tuple[Limit, float]]:
    """The rules about bone for a tip that ends in a space: each bone alone, since two masks may touch across it."""
    rule, radius, carrier = scene.procedure.tip, scene.radius, scene.target.carrier
    last = tip - min(rule.zone.value, 0.9 * length_mm) * direction
    before, at_end = [scene.fields.unlabelled.gap(entry, last)], [scene.fields.unlabelled.gap(last, tip)]
    for vertebra in scene.spine.vertebrae:
        if vertebra.label not in scene.fields.crossed:
            before.append(meter.bone(vertebra.label).gap(entry, last))
            at_end.append(meter.bone(vertebra.label).gap(last, tip))
    return [
        (Limit(RejectionReason.BONE_ON_PATH, -_BONE_TOLERANCE_MM, "bone lies on the way before the target", True),
         min(before) - radius),
        (Limit(RejectionReason.TIP_RULE, -rule.bone_overlap.value - _BONE_TOLERANCE_MM,
               "the end of the needle lies {miss:.1f} mm too deep in bone", True), min(at_end) - radius),
        (Limit(RejectionReason.TIP_RULE, rule.bone_gap.value,
               f"the tip lies {{value:.1f}} mm off {carrier.name}, {{bound:.1f}} allowed"),
         meter.bone(carrier.label).gap(tip, tip)),
    ]


def confirm(scene: Scene, meter: ClearanceMeter, entry: Array, tip: Array, direction: Array,
            length_mm: float) -> Measured:
    """Measure a needle on the masks.

    Parameters
    ----------
    entry : (3,) LPS mm
        On the skin, or the last place of the path that was measured.
    tip, direction : (3,) LPS mm, (3,) unit, entry to tip
    """
    clearance, reasons = meter.clearances(entry, tip, scene.radius)
    held: list[tuple[Limit, float]] = []
    for name, margin in scene.procedure.margins.items():
        value = clearance[name]
        if value is not None:
            held.append((margin_limit(name, margin.value), value))
    bones = _bone_limits if scene.target.region is None else _bones_alone
    held += bones(scene, meter, entry, tip, direction, length_mm)
    broken = tuple(limit.broken(value) for limit, value in held if limit.miss(np.array([value]))[0] > 0)
    return Measured(clearance, reasons, broken)
