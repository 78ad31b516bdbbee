"""Single bones: cut out of the label map, completed from the CT, each with its frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import to_world
from imaging.resample import crop_grid
from imaging.volume import Grid, Volume
from segmentation.anatomy import Level, StructureName, is_relative
from segmentation.completion import complete_arch
from segmentation.constants import constants
from segmentation.frames import FrameFit, vertebral_frame
from segmentation.landmarks import BoneLandmarks
from segmentation.sacral_frame import sacral_frame
from segmentation.spine import Segmentation

__all__ = ["BAD_SHAPE", "Bone", "completed_labels", "fitted_bones", "upright_of", "wants_landmarks"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
#: What measuring a bone of an impossible shape may raise.
BAD_SHAPE = (ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError)
_MARGIN_MM = 14.0
_OTHER_BONE = 1000
_LANDMARK_LEVELS = frozenset({Level.T10, Level.T11, Level.T12, Level.T13, Level.L1, Level.L2, Level.L3, Level.L4,
                              Level.L5, Level.L6, Level.S1})


@dataclass(frozen=True, eq=False)
class Bone:
    """One vertebra on its way to a `Vertebra`.

    Attributes
    ----------
    centroid : (3,) LPS mm
    volume_ml : float
    wholeness : float
        Share of the mask in its largest connected part.
    """

    name: str
    label: int
    mask: NDArray[np.bool_]
    grid: Grid
    centroid: Array
    volume_ml: float
    wholeness: float
    touches_edge: bool
    fit: FrameFit | None = None
    points: BoneLandmarks | None = None
    trouble: str = ""


def _bones(segmentation: Segmentation) -> list[Bone]:
    """Cut every vertebra out of the label map, head to foot."""
    found = ndimage.find_objects(segmentation.labels)
    bones = []
    for label, name in segmentation.levels.items():
        if label > len(found) or found[label - 1] is None:
            continue
        bones.append(_cut(segmentation, label, name, found[label - 1]))
    return sorted(bones, key=_place)


def _place(bone: Bone) -> int:
    if is_relative(bone.name):
        return -bone.label
    return list(Level).index(Level(bone.name))


def _cut(segmentation: Segmentation, label: int, name: str, box: tuple[slice, ...]) -> Bone:
    grid = segmentation.grid
    low = np.array([s.start for s in box][::-1], dtype=float)
    high = np.array([s.stop - 1 for s in box][::-1], dtype=float)
    corners = to_world(grid, np.array([low, high]))
    part, cut = crop_grid(grid, corners, _MARGIN_MM)
    mask = np.asarray(segmentation.labels[cut] == label)
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(mask, parts, np.arange(1, count + 1))
    whole = float(sizes.max() / sizes.sum())
    mask = np.asarray(parts == 1 + int(np.argmax(sizes))) if count > 1 else mask
    edge = any(s.start == 0 or s.stop == n for s, n in zip(box, grid.shape, strict=True))
    k, j, i = np.nonzero(mask)
    volume = float(mask.sum()) * float(np.prod(grid.spacing)) / 1000.0
    return Bone(name, label, mask, part, to_world(part, np.array([i.mean(), j.mean(), k.mean()])), volume, whole, edge)


def fitted_bones(segmentation: Segmentation, before: Sequence[Bone] = ()) -> list[Bone]:
    """Every bone with its frame, head to foot; the sacrum starts from the vertebra above it.

    `before` holds the same bones from an earlier round: a bone that has not changed keeps its fit.
    """
    bones = _bones(segmentation)
    old = {bone.label: bone for bone in before}
    out: list[Bone] = []
    for n, bone in enumerate(bones):
        known = old.get(bone.label)
        if known is not None and known.volume_ml == bone.volume_ml:
            out.append(known)
            continue
        try:
            fit = _fit(bone, _upward(bones, n), out[-1].fit if out else None)
            out.append(replace(bone, fit=fit))
        except BAD_SHAPE as error:
            logger.warning("%s has no frame: %s", bone.name, error)
            out.append(replace(bone, trouble=f"its shape could not be measured ({error})"))
    return out


def _fit(bone: Bone, up: Array | None, above: FrameFit | None) -> FrameFit:
    if bone.name == Level.S1:
        return sacral_frame(bone.mask, bone.grid, above)
    return vertebral_frame(bone.mask, bone.grid, up)


def _upward(bones: Sequence[Bone], n: int) -> Array | None:
    """Rough cranial direction at a bone: from the next presacral one below to the next above."""
    spine = [m for m, bone in enumerate(bones) if bone.name != Level.S1]
    if n not in spine or len(spine) < 2:
        return None
    at = spine.index(n)
    above, below = bones[spine[max(at - 1, 0)]], bones[spine[min(at + 1, len(spine) - 1)]]
    return above.centroid - below.centroid


def upright_of(bones: Sequence[Bone]) -> Array | None:
    """The lying patient's cranial direction: along the lowest presacral bodies; None when there are too few."""
    c = constants("landmarks")["sacral_points"]
    fits = [bone.fit for bone in bones if bone.name != Level.S1 and bone.fit is not None and bone.fit.frame is not None]
    if len(fits) < 2:
        return None
    line = fits[-min(len(fits), int(c["upright_bodies"]))].body_center - fits[-1].body_center
    length = float(np.linalg.norm(line))
    return line / length if length >= float(c["upright_min_mm"]) else None


def wants_landmarks(name: str) -> bool:
    """True for the levels on which landmarks are looked for."""
    return is_relative(name) or name in _LANDMARK_LEVELS


def completed_labels(segmentation: Segmentation, bones: Sequence[Bone], volume: Volume) -> NDArray[Any]:
    """The label map with the arches grown into the bright bone that the engine cut short."""
    labels = segmentation.labels.copy()
    others = [s.mask for name, s in segmentation.structures.items()
              if name in (StructureName.RIBS, StructureName.ILIAC_BONES) and s.mask is not None]
    for bone in bones:
        if bone.fit is None or bone.fit.frame is None or not wants_landmarks(bone.name):
            continue
        part, cut = crop_grid(segmentation.grid, bone.fit.field.corners(), 3.0)
        seen = segmentation.labels[cut].astype(np.int16)
        for mask in others:
            seen[mask[cut] & (seen == 0)] = _OTHER_BONE
        hu = volume.array[cut].astype(np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)
        added = complete_arch(seen, bone.label, hu, part, bone.fit.frame, bone.name == Level.S1)
        target = labels[cut]
        target[added & (target == 0)] = bone.label
    return labels
