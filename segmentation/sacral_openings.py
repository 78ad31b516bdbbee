"""What the sacral foramina change in a spine: landmarks, the sacrum's label, the canal and the foramina's own mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from imaging.findings import Finding, FindingCode, Severity
from segmentation.anatomy import VERSE_LABEL, Level, StructureName, foramen_landmark
from segmentation.bones import Bone
from segmentation.labels import IMPORTED_LABELS
from segmentation.sacral_foramina import SacralForamina
from segmentation.spine import Segmentation, Structure, StructureOrigin

__all__ = ["foramen_findings", "foramina_structure", "opened", "with_foramina", "with_sacral_canal"]


def with_foramina(bone: Bone, foramina: SacralForamina) -> Bone:
    """The sacrum with the middles of its openings among its landmarks."""
    if bone.points is None:
        return bone
    marks = dict(bone.points.landmarks)
    for found in foramina.found:
        marks[foramen_landmark("posterior", found.segment, found.side)] = found.posterior
        if found.anterior is not None:
            marks[foramen_landmark("anterior", found.segment, found.side)] = found.anterior
    return replace(bone, points=replace(bone.points, landmarks=marks))


def opened(segmentation: Segmentation, foramina: SacralForamina) -> Segmentation:
    """An engine's sacrum without what the scan shows to be no bone: foramina, canal, soft tissue behind the cortex.

    A file's labels are taken as they are.
    """
    if segmentation.engine.startswith(IMPORTED_LABELS) or not foramina.seen_in_scan:
        return segmentation
    hollow = foramina.on_grid(foramina.tunnels | foramina.canal | foramina.loose, segmentation.grid)
    labels = segmentation.labels.copy()
    labels[hollow & (labels == _sacrum(segmentation.levels))] = 0
    return replace(segmentation, labels=labels)


def _sacrum(levels: Mapping[int, str]) -> int:
    return next((label for label, name in levels.items() if name == Level.S1), VERSE_LABEL[Level.S1])


def with_sacral_canal(canal: Structure, foramina: SacralForamina, segmentation: Segmentation) -> Structure:
    """The canal carried on through the sacrum, clear of every label."""
    sacral = foramina.on_grid(foramina.canal, segmentation.grid) & (segmentation.labels == 0)
    if not sacral.any():
        return canal
    if canal.mask is None:
        return Structure(StructureName.CANAL, sacral, StructureOrigin.COMPUTED, "the sacral canal alone")
    return replace(canal, mask=np.asarray(canal.mask | sacral),
                   reason="; ".join(r for r in (canal.reason, "and the sacral canal") if r))


def foramina_structure(foramina: SacralForamina | None, segmentation: Segmentation) -> Structure:
    """The soft inside of every foramen found, as a structure to keep away from."""
    name = StructureName.SACRAL_FORAMINA
    if foramina is None:
        return Structure(name, None, StructureOrigin.NOT_COMPUTED, "no sacrum with a frame is in view")
    if not foramina.found:
        why = "; ".join(dict.fromkeys(foramina.missing.values()))
        return Structure(name, None, StructureOrigin.NOT_COMPUTED, f"no posterior sacral foramen was found: {why}")
    which = ", ".join(f"{f.segment} {f.side.value}" for f in foramina.found)
    how = "in the scan" if foramina.seen_in_scan else "in the mask alone"
    mask = foramina.on_grid(foramina.tunnels, segmentation.grid) & (segmentation.labels == 0)
    return Structure(name, np.asarray(mask), StructureOrigin.COMPUTED,
                     f"the soft inside of the sacral foramina seen {how}: {which}")


def foramen_findings(foramina: SacralForamina | None) -> list[Finding]:
    """Which posterior openings were not found, and why; one line per reason."""
    if foramina is None:
        return []
    whose: dict[str, list[str]] = {}
    for (segment, side), why in foramina.missing.items():
        whose.setdefault(why, []).append(f"{segment} {side.value}")
    return [Finding(FindingCode.LANDMARK_UNCERTAIN, Severity.INFO,
                    f"S1: posterior sacral foramina not found: {', '.join(names)}: {why}")
            for why, names in whose.items()]
