"""Sentences for what was turned down: how many paths, by which limit, and how near the nearest came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmentation.anatomy import StructureName
from targeting.assess import REASONS, Batch
from targeting.clearance import ClearanceMeter
from targeting.model import Rejection, RejectionReason
from targeting.needles import longest_path
from targeting.procedures import ProcedureKind
from targeting.scene import Scene

__all__ = ["rejections_of", "structure_words"]

_WORDS = {StructureName.FORAMEN_CONTENTS: "the exiting nerve in the foramen", StructureName.VENA_CAVA: "the vena cava",
          StructureName.BOWEL_GAS: "the bowel", StructureName.ILIAC_BONES: "the iliac bone"}


def structure_words(name: StructureName) -> str:
    """A structure in a sentence."""
    return _WORDS.get(name, f"the {name.value}")


def _paths(count: int) -> str:
    return f"{count} path{'' if count == 1 else 's'}"


def _margin(scene: Scene, meter: ClearanceMeter, batch: Batch, rows: NDArray[np.intp]) -> list[Rejection]:
    """One rejection per structure whose margin is the tightest."""
    owners = [scene.fields.owner_at(batch.tips[r] - batch.slack_at[r] * batch.directions[r]) for r in rows]
    out = []
    for name in dict.fromkeys(o for o in owners if o is not None):
        mine = rows[[o is name for o in owners]]
        best = int(mine[int(np.argmax(batch.slack[mine]))])
        limit = scene.procedure.margins[name].value
        boxes = meter.structures.get(name)
        gap = batch.slack[best] + limit if boxes is None else (
            boxes.gap(batch.entries[best], batch.tips[best]) - scene.radius)
        gap = round(float(gap), 3)
        need = f"{limit:.1f} mm needed" if limit > 0 else "it must not be crossed"
        sentence = f"{_paths(len(mine))}: {gap:.1f} mm to {structure_words(name)} at best, {need}"
        out.append(Rejection(RejectionReason.MARGIN, name.value, limit, gap, len(mine), sentence))
    return out


def _plain(scene: Scene, reason: RejectionReason, miss: float, count: int) -> Rejection:
    """A rejection by a limit that is the same for all its paths; `miss` is the smallest excess over it."""
    procedure, electrode = scene.procedure, scene.procedure.electrode
    paths, miss = _paths(count), round(miss, 3)
    limit: float | None
    if reason is RejectionReason.REACH:
        limit = longest_path(procedure)
        return Rejection(reason, None, limit, limit + miss, count,
                         f"{paths}: {limit + miss:.0f} mm deep at best, the longest needle reaches {limit:.0f} mm with "
                         f"{procedure.reach.reserve_hard.value:.0f} mm left outside")
    if reason is RejectionReason.BONE_ON_PATH:
        return Rejection(reason, None, 0.0, -miss, count, f"{paths}: bone lies on the way before the target")
    if reason is RejectionReason.ANGLE_BAND:
        return Rejection(reason, None, 0.0, miss, count,
                         f"{paths}: {max(miss, 0.1):.1f} degrees outside the angle band at best")
    if reason is RejectionReason.SKIN_NOT_IN_VIEW:
        return Rejection(reason, None, None, None, count, f"{paths}: the skin over the path is not in the scan")
    if reason is RejectionReason.ENTRY_SIDE:
        return Rejection(reason, None, 0.0, -miss, count, f"{paths}: the skin entry is not on the target's side")
    if reason is RejectionReason.PARALLELISM and electrode is not None:
        limit = electrode.parallel_limit.value
        return Rejection(reason, None, limit, limit + miss, count,
                         f"{paths}: {limit + miss:.0f} degrees to the nerve at best, {limit:.0f} allowed")
    if reason is RejectionReason.ACTIVE_TIP_DEPTH and electrode is not None:
        limit = electrode.active_depth.value
        return Rejection(reason, None, limit, limit - miss, count,
                         f"{paths}: active tip {limit - miss:.0f} mm under the skin at best, {limit:.0f} needed")
    if reason is RejectionReason.HEATED_NERVE:
        return Rejection(reason, StructureName.FORAMEN_CONTENTS.value, 0.0, -miss, count,
                         f"{paths}: the exiting nerve lies {miss:.1f} mm inside the 50 C zone at best")
    lies = "lie beside bone and nerve" if procedure.kind is ProcedureKind.RF else "rest on the bone at the target"
    return Rejection(reason, None, 0.0, -miss, count,
                     f"{paths}: the tip does not {lies}, {max(miss, 0.1):.1f} mm off at best")


def rejections_of(scene: Scene, meter: ClearanceMeter, batch: Batch) -> tuple[Rejection, ...]:
    """Every class of rejected path, in the order of `RejectionReason`."""
    out: list[Rejection] = []
    for code, reason in enumerate(REASONS):
        rows = np.flatnonzero(batch.reason == code)
        if not len(rows):
            continue
        if reason is RejectionReason.MARGIN:
            out += _margin(scene, meter, batch, rows)
        else:
            out.append(_plain(scene, reason, float(batch.miss[rows].min()), len(rows)))
    return tuple(out)
