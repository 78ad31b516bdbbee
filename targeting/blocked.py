"""What forbids a needle at a target before any path is looked at: something not computed, or metal."""

from __future__ import annotations

import numpy as np

from imaging.resample import crop_grid
from imaging.volume import Volume
from segmentation.anatomy import StructureName
from segmentation.spine import Spine
from targeting.clearance import ClearanceMeter
from targeting.limits import structure_words
from targeting.model import Rejection, RejectionReason, Target
from targeting.procedures import Procedure

__all__ = ["blocked_by", "unseen_on_open_path"]


def _missing(structure: str, why: str) -> Rejection:
    return Rejection(RejectionReason.STRUCTURE_NOT_COMPUTED, structure, None, None, 1,
                     f"{structure} is required and was not computed: {why}")


def _bone_seen(name: StructureName, volume: Volume | None) -> bool:
    """Whether a bone without a mask is still avoided because the CT shows it."""
    return name in (StructureName.ILIAC_BONES, StructureName.RIBS) and volume is not None and volume.modality == "CT"


def _required(target: Target, procedure: Procedure, spine: Spine, meter: ClearanceMeter,
              volume: Volume | None) -> list[Rejection]:
    """Required structures that have no mask, or none of it near the target."""
    out, absent = [], set()
    for name in procedure.required_structures(target.nerve):
        structure = spine.structures.get(name)
        if (structure is None or structure.mask is None) and not _bone_seen(name, volume):
            out.append(_missing(name.value, meter.reason_missing(name)))
            absent.add(name)
    within = procedure.search.required_within.value
    for name in procedure.required:
        boxes = meter.structures.get(name)
        gap = float("inf") if boxes is None else boxes.gap(target.position, target.position)
        if gap > within and name not in absent:
            out.append(_missing(name.value, f"none of it lies within {within:.0f} mm of the target"))
    return out


def unseen_on_open_path(target: Target, procedure: Procedure, meter: ClearanceMeter) -> tuple[Rejection, ...]:
    """Required structures of which nothing is in view, for a needle whose path leaves the field before the skin.

    Inside the field such a structure is known not to be crossed; beyond it nothing is known, and what is required must
    be known (clinical specification rules 36 and 47).
    """
    return tuple(
        Rejection(RejectionReason.STRUCTURE_NOT_COMPUTED, name.value, None, None, 1,
                  f"{structure_words(name)} must be known for this target: none of it is in view and the path leaves "
                  "the scan before the skin, so whether it would be crossed was not computed")
        for name in procedure.required_structures(target.nerve) if name not in meter.structures)


def blocked_by(target: Target, procedure: Procedure, spine: Spine, meter: ClearanceMeter,
               volume: Volume | None) -> tuple[Rejection, ...]:
    """Everything that forbids a needle at a target, wherever it enters; empty when nothing does."""
    out: list[Rejection] = []
    if target.withheld:
        out.append(Rejection(RejectionReason.WITHHELD, None, None, None, 1, target.withheld))
    if spine.body is None:
        out.append(_missing("skin", "there is no image to find it in"))
    _, near = crop_grid(spine.grid, target.position[None], procedure.search.required_within.value)
    if not np.any(spine.labels[near] == target.carrier.label):
        out.append(_missing(target.carrier.name, "none of it is labelled near the target"))
    out += _required(target, procedure, spine, meter, volume)
    metal, margin = meter.structures.get(StructureName.METAL), procedure.margins.get(StructureName.METAL)
    if metal is not None and margin is not None:
        gap = metal.gap(target.position, target.position)
        if gap < margin.value:
            out.append(Rejection(RejectionReason.METAL_NEARBY, StructureName.METAL.value, margin.value,
                                 round(gap, 3), 1,
                                 f"metal lies {gap:.0f} mm from the target, {margin.value:.0f} mm needed"))
    return tuple(out)
