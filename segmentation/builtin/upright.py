"""Signs that a scan's head end is not where its file says: looked for before anything is counted or named."""

from __future__ import annotations

import numpy as np

from segmentation.builtin.instances import Chain
from segmentation.builtin.lattice import Points
from segmentation.builtin.localise import ClassMap
from segmentation.builtin.settings import settings

__all__ = ["sacral_balance_ml", "upside_down"]


def upside_down(chain: Chain, classes: ClassMap) -> str:
    """Words for what shows that the column stands on its head; empty when nothing does.

    Each of the two signs is enough. The sacrum lies at the head end of the chain; or the bodies lie as far apart
    as lumbar ones there and clearly nearer together toward the feet, the reverse of every spine.
    """
    limits = settings().upright
    centres = np.array([v.centre for v in chain.vertebrae])
    above, below = sacral_balance_ml(centres, classes)
    if above > limits.sacrum_ml and above > limits.sacrum_ratio * below:
        return "the sacrum lies at its head end"
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    if len(steps) >= limits.steps_least:
        third = max(len(steps) // 3, 2)
        head, foot = float(steps[-third:].mean()), float(steps[:third].mean())
        if head > limits.steps_head_mm and head > limits.steps_ratio * foot:
            return "the vertebrae lie farther apart toward the head"
    return ""


def sacral_balance_ml(centres: Points, classes: ClassMap) -> tuple[float, float]:
    """Millilitres of sacral bone beside and above the column's highest body, and of that below its middle.

    Parameters
    ----------
    centres : (n, 3)
        Box mm of the bodies, lowest first.
    """
    found = classes.cube.to_box(np.argwhere(classes.of("sacrum") > settings().column.sacrum_probability))
    middle = centres.mean(axis=0)
    near = np.linalg.norm(found[:, 1:] - middle[1:], axis=1) < settings().upright.sacrum_aside_mm
    voxel_ml = classes.cube.spacing**3 / 1000.0
    high, low = found[near, 0] > centres[-1, 0] - settings().upright.sacrum_below_mm, found[near, 0] < middle[0]
    return float(high.sum()) * voxel_ml, float(low.sum()) * voxel_ml
