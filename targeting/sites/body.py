"""The middle of a vertebral body reached through a pedicle: the basivertebral nerve's end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side
from segmentation.anatomy import LandmarkName, Nerve, carrier_of
from segmentation.landmarks.processes import Pedicle, find_pedicle
from segmentation.shape import BoneField, FrameBlock, crossing
from segmentation.spine import Vertebra
from targeting.model import Target
from targeting.procedures import Procedure
from targeting.procedures.sites import BodyRule
from targeting.region import Corridor, tip_region
from targeting.sites.common import Anatomy, Doubt, NoSite, site_target

__all__ = ["BodySpace", "body_space", "body_target", "pedicle_of"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Field = NDArray[np.float32]
_STEP_MM = 0.75
_LATERAL_MM = 33.0
_BEHIND_MM = 27.0
_AHEAD_MM = -48.0
_HALF_HEIGHT_MM = 27.0
_FAR_MM = 1e3


@dataclass(frozen=True, eq=False)
class BodySpace:
    """The body on a lattice along its frame (left, posterior, superior).

    Attributes
    ----------
    allowed : (z, y, x) bool
        Places that keep every limit of the rule.
    depth, height : (z, y, x) float64
        Share of the way from the posterior wall to the anterior one, and from the inferior endplate to the superior
        one, along the frame's axes, by the bone's own walls at each place; NaN outside the body.
    wall_mm, endplate_mm : (z, y, x) float64
        Distance in space to the posterior wall and to the nearer endplate.
    """

    block: FrameBlock
    allowed: Mask
    depth: Array
    height: Array
    wall_mm: Array
    endplate_mm: Array


def _far_from(points: Array, block: FrameBlock) -> Array:
    """(z, y, x) mm to the nearest of some (n, 3) places on the block's lattice."""
    index = np.rint((points - [block.lateral[0], block.posterior[0], block.superior[0]]) / block.step).astype(int)
    size = np.array(block.distance.shape[::-1])
    index = index[((index >= 0) & (index < size)).all(axis=1)]
    mask = np.ones(block.distance.shape, np.bool_)
    mask[index[:, 2], index[:, 1], index[:, 0]] = False
    return np.asarray(ndimage.distance_transform_edt(mask) * block.step)


def _walls(block: FrameBlock, axis: int, start: float) -> tuple[Array, Array]:
    """First surface on either side of a mid plane along an axis of (superior, posterior, lateral): low and high, mm."""
    coordinates = (block.superior, block.posterior, block.lateral)[axis]
    n = int(np.argmin(np.abs(coordinates - start)))
    up = np.take(block.distance, range(n, len(coordinates)), axis=axis)
    down = np.flip(np.take(block.distance, range(n + 1), axis=axis), axis)
    return crossing(down, coordinates[n::-1], axis)[0], crossing(up, coordinates[n:], axis)[0]


def body_space(field: BoneField, vertebra: Vertebra, rule: BodyRule) -> BodySpace:
    """Find where a tip may end in a body; `NoSite` when its walls cannot be told."""
    frame = vertebra.frame
    assert frame is not None
    block = field.block(frame, (-_LATERAL_MM, _AHEAD_MM, -_HALF_HEIGHT_MM), (_LATERAL_MM, _BEHIND_MM, _HALF_HEIGHT_MM),
                        _STEP_MM)
    center = frame.to_local(vertebra.body_center)
    front, back = _walls(block, 1, float(center[1]))
    bottom, top = _walls(block, 0, float(center[2]))
    near = np.abs(block.lateral) <= rule.midline.value + 4 * _STEP_MM
    if np.isfinite(back[:, near]).sum() < 20 or np.isfinite(front[:, near]).sum() < 20:
        raise NoSite(f"the walls of the {vertebra.name} body are not in the mask")
    with np.errstate(invalid="ignore"):
        y, z = block.posterior[None, :, None], block.superior[:, None, None]
        depth = (back[:, None, :] - y) / (back - front)[:, None, :]
        height = (z - bottom[None]) / (top - bottom)[None]
    # only walls over the canal count as posterior wall: behind the pedicles the ray runs on into the arch
    k, i = np.nonzero(np.isfinite(back) & (back <= 0.5 * _BEHIND_MM))
    wall = _far_from(np.column_stack([block.lateral[i], back[k, i], block.superior[k]]), block)
    plates = []
    for surface in (bottom, top):
        j, i = np.nonzero(np.isfinite(surface))
        plates.append(np.column_stack([block.lateral[i], block.posterior[j], surface[j, i]]))
    endplate = _far_from(np.concatenate(plates), block)
    with np.errstate(invalid="ignore"):
        allowed = ((depth >= rule.depth.low) & (depth <= rule.depth.high) & (height >= rule.height.low)
                   & (height <= rule.height.high) & (wall >= rule.wall.value) & (endplate >= rule.endplate.value)
                   & (np.abs(block.lateral) <= rule.midline.value) & (block.distance < 0))
    return BodySpace(block, np.asarray(allowed), depth, height, wall, endplate)


def _reach(inside: Mask, axis: int, sign: int, step_mm: float) -> Field:
    """(z, y, x) mm from each point to where bone ends along an axis; 0 outside bone."""
    run = np.zeros(inside.shape, np.float32)
    ordered = np.moveaxis(inside, axis, 0)[::sign]
    out = np.moveaxis(run, axis, 0)[::sign]
    so_far = np.zeros(ordered.shape[1:], np.float32)
    for n in range(len(ordered) - 1, -1, -1):
        so_far = np.where(ordered[n], so_far + np.float32(step_mm), np.float32(0.0))
        # the surface lies half a step beyond the last point inside
        out[n] = np.maximum(so_far - np.float32(0.5 * step_mm), 0.0)
    return run


def pedicle_of(field: BoneField, vertebra: Vertebra, side: Side) -> Pedicle:
    """The pedicle's isthmus on one side; `NoSite` when the bone shows none."""
    frame = vertebra.frame
    assert frame is not None
    if vertebra.name == "S1":
        raise NoSite("the sacrum has no pedicle isthmus in which a margin to the canal could be measured")
    mark = vertebra.landmarks.get(LandmarkName(f"pedicle_center_{side.value.lower()}"))
    pedicle = None
    if mark is not None:
        block = field.block(frame, (-45.0, -4.0, -_HALF_HEIGHT_MM), (45.0, 27.0, _HALF_HEIGHT_MM), _STEP_MM)
        pedicle = find_pedicle(block.on_side(side), float(frame.to_local(mark.position)[2]))
    if pedicle is None:
        raise NoSite(f"the {side.value} pedicle of {vertebra.name} was not found")
    return pedicle


def _corridor(space: BodySpace, pedicle: Pedicle, side: Side, rule: BodyRule) -> Corridor:
    """The bone about the pedicle, measured toward the midline and the feet."""
    block = space.block
    inside = block.distance < 0
    medial = _reach(inside, 2, -1 if side is Side.LEFT else 1, block.step)
    inferior = _reach(inside, 0, -1, block.step)
    return Corridor(block.grid, medial, inferior, np.ascontiguousarray(-block.distance), rule.cortex.value,
                    block.frame, 0.0, float(pedicle.center[1]) + rule.pedicle_behind.value)


def wall_doubt(target: Target, rule: BodyRule, tip: Array, direction: Array, length_mm: float, radius_mm: float,
               voxel_mm: float) -> Doubt | None:
    """A doubt where a needle leaves less bone medially in the pedicle than voxels of the scan can show."""
    corridor = None if target.region is None else target.region.corridor
    if corridor is None:
        return None
    left = float(corridor.margins(tip[None], direction[None], length_mm)[0, 0]) - radius_mm
    if left >= rule.thin_wall.value * voxel_mm:
        return None
    return (rule.thin_confidence.value, f"{left:.1f} mm of the pedicle's medial wall are left beside the needle, less "
            f"than {rule.thin_wall.value:g} voxels of {voxel_mm:.1f} mm")


def body_target(anatomy: Anatomy, procedure: Procedure, nerve: Nerve, side: Side) -> Target:
    """The end of a basivertebral nerve in its body, approached through the pedicle of `side`."""
    rule = procedure.site_rule
    assert isinstance(rule, BodyRule)
    vertebra = anatomy.whole(carrier_of(nerve).value)
    field = anatomy.bone(vertebra)
    pedicle = pedicle_of(field, vertebra, side)
    space = body_space(field, vertebra, rule)
    if not space.allowed.any():
        raise NoSite(f"no place in the {vertebra.name} body keeps {rule.wall.value:.0f} mm to its posterior wall and "
                     f"{rule.endplate.value:.0f} mm to its endplates within the depth asked for")
    k, j, i = np.nonzero(space.allowed)
    block = space.block
    inside = np.column_stack([side.sign * block.lateral[i], block.posterior[j], block.superior[k]])
    best = inside[int(np.argmin(np.linalg.norm(inside - inside.mean(axis=0), axis=1)))]
    # bone is where this needle belongs: nothing in the region counts as an obstacle
    region = tip_region(block, side, [("middle of the body", space.allowed)], best,
                        np.full(block.distance.shape, _FAR_MM, np.float32), f"the middle of the {vertebra.name} body",
                        rule.aim_gap.value, int(rule.aims.value), _corridor(space, pedicle, side, rule))
    mark = vertebra.landmarks[LandmarkName(f"pedicle_center_{side.value.lower()}")]
    doubts: list[Doubt] = [(mark.confidence, "; ".join(mark.reasons) or "pedicle landmark")]
    return site_target(procedure, rule, nerve=nerve, name=nerve.value, carrier=vertebra, bones=(vertebra,), side=side,
                       joints=(), position=block.frame.from_side(best, side), region=region,
                       place=f"middle of the {vertebra.name} body, through the pedicle", doubts=doubts)
