"""Measuring what names rest on: what the chain stands on, the ribs beside it, distances and volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from imaging.geometry import Side
from segmentation.builtin.canal import CanalPath
from segmentation.builtin.hypotheses import lowest_is_sacral
from segmentation.builtin.instances import Chain, Instance
from segmentation.builtin.junction import Sacrum, find_sacrum, judge_junction
from segmentation.builtin.localise import ClassMap
from segmentation.builtin.ribs import Axes, rib_evidence
from segmentation.builtin.settings import settings
from segmentation.builtin.signs import ChainEvidence, RibEvidence, VertebraEvidence

__all__ = ["chain_axes", "gather", "measure"]

logger = logging.getLogger(__name__)


def chain_axes(chain: Sequence[Instance], canal: CanalPath) -> list[Axes]:
    """Axes of each vertebra from its neighbours and the canal."""
    centres = [v.centre for v in chain]
    out: list[Axes] = []
    for n, centre in enumerate(centres):
        above, below = centres[min(n + 1, len(centres) - 1)], centres[max(n - 1, 0)]
        up = above - below if len(centres) > 1 else np.array([1.0, 0.0, 0.0])
        up = up / np.linalg.norm(up)
        back = canal.at(float(centre[0])) - centre
        back = back - up * (back @ up)
        back = back / max(float(np.linalg.norm(back)), 1e-6)
        left = np.cross(back, up)
        out.append(Axes(centre, up, back, left if left[2] >= 0 else -left))
    return out


def gather(found: Chain, classes: ClassMap, canal: CanalPath) -> tuple[Chain, Sacrum | None, ChainEvidence]:
    """The chain as far as it is free, the sacrum, and all evidence on the names.

    A lowest vertebra that is more likely than not the first sacral segment is handed to the sacrum; that it was taken
    for a free one leaves a doubt (`Chain.sacrum_doubted`).
    """
    sacrum = find_sacrum(classes, canal, found)
    evidence = measure(found, classes, canal, sacrum)
    if len(found.vertebrae) < 2 or lowest_is_sacral(evidence) <= 0.5:
        return found, sacrum, evidence
    logger.debug("the lowest bone is taken for the first sacral segment")
    free = Chain(found.vertebrae[1:], (found.vertebrae[0], *found.sacral), sacrum_doubted=True)
    sacrum = find_sacrum(classes, canal, free)
    return free, sacrum, measure(free, classes, canal, sacrum)


def measure(found: Chain, classes: ClassMap, canal: CanalPath, sacrum: Sacrum | None) -> ChainEvidence:
    """All evidence on a chain, lowest vertebra first."""
    chain = found.vertebrae
    axes = chain_axes(chain, canal)
    ribs = rib_evidence(axes, classes)
    junction = judge_junction(found, axes[0], classes, canal, sacrum)
    vertebrae = tuple(
        VertebraEvidence(
            step_below_mm=float(np.linalg.norm(v.centre - chain[n - 1].centre)) if n else None,
            volume_ml=None if v.cut else v.volume_ml, ribs=_certain(ribs[n], v.cut),
            joined_to_ala=junction.joined if n == 0 else (), is_axis=n + 2 >= len(chain) and _has_dens(v, axes[n]))
        for n, v in enumerate(chain))
    return ChainEvidence(vertebrae, junction.contact, junction.doubted, junction.sacral_chance)


def _certain(ribs: dict[Side, RibEvidence], cut: bool) -> dict[Side, RibEvidence]:
    """Of a vertebra cut by the field of view, only the ribs that were seen count, not those that were not."""
    return {side: rib for side, rib in ribs.items() if rib.length_mm > 0 or not cut}


def _has_dens(vertebra: Instance, frame: Axes) -> bool:
    """True for a small whole vertebra whose body carries a peg in the midline: C2."""
    limits = settings().evidence
    if vertebra.cut or vertebra.volume_ml > limits.axis_volume_ml:
        return False
    offset = vertebra.points() - vertebra.centre
    midline = (np.abs(offset @ frame.left) < 4.0) & (np.abs(offset @ frame.back) < 8.0)
    return bool((offset[midline] @ frame.up).max(initial=0.0) > limits.dens_mm)
