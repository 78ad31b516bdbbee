"""Quality control of one vertebra: the mask's shape, its size in the population, symmetry, the two landmark methods.

Each check that fails lowers the vertebra's quality to its own value and says so; the quality is the lowest of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side
from segmentation.anatomy import LandmarkName, Level
from segmentation.bones import Bone
from segmentation.constants import constants

__all__ = ["Quality", "asymmetry_mm", "handle_count", "judge_bone"]

_SIDED = ("sap_tip", "tp_tip", "pedicle_center", "sap_tp_junction")


@dataclass(frozen=True)
class Quality:
    """How far a vertebra's mask and landmarks can be relied on.

    Attributes
    ----------
    value : float
        0 to 1, the lowest of the checks.
    words : tuple of str
        One sentence per check that failed.
    """

    value: float
    words: tuple[str, ...]


def handle_count(mask: NDArray[np.bool_]) -> int:
    """Handles of a bone's surface (ways through it), less its cavities; a vertebra with a closed arch has one.

    Counted from the Euler number of the voxels as closed cubes. The mask is one connected part.
    """
    solid = np.pad(np.asarray(mask, dtype=bool), 1)
    euler = -int(solid.sum())
    for axes, sign in (((0,), 1), ((1,), 1), ((2,), 1), ((0, 1), -1), ((0, 2), -1), ((1, 2), -1), ((0, 1, 2), 1)):
        cells = solid
        for axis in axes:
            low, high = [slice(None)] * 3, [slice(None)] * 3
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            cells = cells[tuple(low)] | cells[tuple(high)]
        euler += sign * int(cells.sum())
    return 1 - euler


def asymmetry_mm(bone: Bone) -> float | None:
    """Median distance between left landmarks and mirrored right ones; None with fewer than two pairs."""
    if bone.points is None or bone.fit is None or bone.fit.frame is None:
        return None
    frame, points = bone.fit.frame, bone.points.landmarks
    apart = []
    for kind in _SIDED:
        pair = [points.get(LandmarkName(f"{kind}_{side.value.lower()}")) for side in Side]
        if all(p is not None for p in pair):
            left, right = (frame.to_side(p.position, side) for p, side in zip(pair, Side, strict=True) if p is not None)
            apart.append(float(np.linalg.norm(left - right)))
    return float(np.median(apart)) if len(apart) > 1 else None


def _apart(points: Mapping[LandmarkName, float]) -> float | None:
    return float(np.median(list(points.values()))) if len(points) > 1 else None


def judge_bone(bone: Bone, unusual: bool, turned_deg: float) -> Quality:
    """Check one vertebra.

    Parameters
    ----------
    unusual : bool
        Its size or its spacing lies outside the population (`segmentation.population` says by how much).
    turned_deg : float
        Axial rotation against its neighbours, degrees; 0 without any.
    """
    c = constants("population")["quality"]
    failed: list[tuple[float, str]] = []
    fit = bone.fit
    if bone.wholeness < float(c["whole_share"]):
        failed.append((bone.wholeness, f"{1 - bone.wholeness:.0%} of the mask lies apart from the bone"))
    if fit is None or fit.frame is None:
        failed.append((0.5 * bone.wholeness, "no vertebral frame"))
    elif fit.reasons:
        failed.append((float(c["frame"]), "; ".join(fit.reasons)))
    handles = 0 if bone.name == Level.S1 else handle_count(bone.mask)
    if handles > int(c["handles_max"]):
        failed.append((float(c["handles"]), f"{handles} holes through the mask, 1 is usual: ragged bone or mask"))
    if unusual:
        failed.append((float(c["unusual"]), "size or spacing outside the population"))
    if abs(turned_deg) > float(c["turned_max_deg"]):
        failed.append((float(c["turned"]), f"frame turned {abs(turned_deg):.0f} degrees against its neighbours"))
    apart = asymmetry_mm(bone)
    most = float(c["asymmetry_max_mm"])
    if apart is not None and apart > most:
        failed.append((float(c["asymmetry"]) * most / apart,
                       f"left and right landmarks {apart:.0f} mm from mirror images"))
    methods = None if bone.points is None else _apart(bone.points.apart_mm)
    if methods is not None and methods > float(c["methods_max_mm"]):
        failed.append((float(c["methods"]), f"the two landmark methods {methods:.1f} mm apart (median)"))
    return Quality(min([1.0, *(value for value, _ in failed)]), tuple(words for _, words in failed))
