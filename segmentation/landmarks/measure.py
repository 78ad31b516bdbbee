"""Measures both sides of one bone along its frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side
from segmentation.constants import constants
from segmentation.frames import FrameFit
from segmentation.landmarks.junction import Junction, Neck, find_junction, find_neck
from segmentation.landmarks.processes import (
    Pedicle,
    find_pedicle,
    process_root,
    spinous_tip,
    superior_articular_tip,
    transverse_tip,
)
from segmentation.shape import FrameBlock

__all__ = ["PresacralMeasures", "SideMeasures", "arch_block", "measure_presacral"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SideMeasures:
    """Points of one side, (lateral, posterior, superior) mm; None where not found."""

    pedicle: Pedicle
    articular_tip: Array | None
    transverse_tip: Array | None
    junction: Junction | None
    neck: Neck | None


@dataclass(frozen=True, eq=False)
class PresacralMeasures:
    """Points of a presacral vertebra; `spinous_tip` in (left, posterior, superior) mm."""

    sides: Mapping[Side, SideMeasures]
    spinous_tip: Array | None


def arch_block(fit: FrameFit) -> FrameBlock:
    """The smoothed lattice that corners and tips are measured on."""
    c = constants("landmarks")["block"]
    assert fit.frame is not None
    step = float(c["step_mm"])
    block = fit.field.block(fit.frame, c["low_mm"], c["high_mm"], step)
    smooth = ndimage.gaussian_filter(block.distance, float(c["smooth_mm"]) / step, mode="nearest")
    return replace(block, distance=smooth)


def _measure_side(block: FrameBlock, height: float) -> SideMeasures | None:
    pedicle = find_pedicle(block, height)
    if pedicle is None:
        return None
    articular = superior_articular_tip(block, pedicle)
    if articular is None:
        return SideMeasures(pedicle, None, None, None, None)
    root = process_root(pedicle, articular)
    transverse = transverse_tip(block, root)
    if transverse is None:
        return SideMeasures(pedicle, articular, None, None, None)
    junction = find_junction(block, root, articular, transverse)
    neck = None if junction is None else find_neck(block, pedicle, junction.point, articular)
    return SideMeasures(pedicle, articular, transverse, junction, neck)


def measure_presacral(fit: FrameFit, block: FrameBlock) -> PresacralMeasures:
    """Measure a presacral vertebra that has a frame on its `arch_block`."""
    assert fit.measures is not None
    sides = {}
    for side in Side:
        measured = _measure_side(block.on_side(side), fit.measures.pedicle_height)
        if measured is not None:
            sides[side] = measured
    return PresacralMeasures(sides, spinous_tip(block))
