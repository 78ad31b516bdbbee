"""The intervertebral foramen in quadrants: between two pedicles, behind the bodies, before the articular process.

A tip ends in the posterior half, beside the modelled spinal nerve and not in it: under the upper pedicle (where it is
allowed), or in front of the lower vertebra's superior articular process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side, to_index, to_world
from segmentation.anatomy import LandmarkName, Level, Nerve, StructureName, carrier_of
from segmentation.landmarks.processes import Pedicle
from segmentation.shape import FrameBlock, crossing
from segmentation.spine import Vertebra
from targeting.model import Target
from targeting.procedures import Procedure
from targeting.procedures.sites import ForamenRule, Quadrant
from targeting.region import tip_region
from targeting.sites.body import pedicle_of
from targeting.sites.common import Anatomy, Doubt, NoSite, flip_to_left, site_target

__all__ = ["Foramen", "bones_of_foramen", "find_foramen", "foramen_target"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_STEP_MM = 0.5
_BEHIND_MM = 32.0
_ABOVE_MM, _BELOW_MM = 4.0, 36.0
_BUNDLE_MM = 3.0
_SACRUM = "S1"


@dataclass(frozen=True, eq=False)
class Foramen:
    """One foramen on the lattice of the upper vertebra's frame, seen from its side.

    Attributes
    ----------
    upper, lower : FrameBlock
        Distance to the two vertebrae, on one lattice (lateral, posterior, superior).
    pedicle : Pedicle
        The upper one.
    top, bottom : float
        Under the upper pedicle and clear of the lower one, mm along superior.
    outer : float
        As far lateral as the nearer of the two pedicles' lateral borders and what the rule allows beyond it, mm.
    front, back : (z,) float64, mm
        The bodies' posterior walls joined, and the first bone behind them, along posterior, at each height of the
        lattice; `back` is NaN where nothing closes the foramen.
    """

    upper: FrameBlock
    lower: FrameBlock
    pedicle: Pedicle
    top: float
    bottom: float
    outer: float
    front: Array
    back: Array

    @property
    def bones(self) -> NDArray[np.float32]:
        """(z, y, x) mm to the nearer of the two vertebrae."""
        return np.minimum(self.upper.distance, self.lower.distance)

    def half(self, quadrant: Quadrant) -> Mask:
        """(z, y, x) lattice points between walls and pedicles in the posterior half, above or below the middle."""
        z, y = self.upper.superior[:, None, None], self.upper.posterior[None, :, None]
        middle = 0.5 * (self.top + self.bottom)
        with np.errstate(invalid="ignore"):
            behind = (y >= 0.5 * (self.front + self.back)[:, None, None]) & (y <= self.back[:, None, None])
        above = z >= middle if quadrant is Quadrant.POSTEROSUPERIOR else z <= middle
        inner = self.upper.lateral[None, None, :] <= self.outer
        return np.asarray(behind & above & inner & (z <= self.top) & (z >= self.bottom) & (self.bones > 0))


def bones_of_foramen(nerve: Nerve) -> tuple[str, str]:
    """The vertebra under whose pedicle a spinal nerve leaves, and the one below it."""
    order = [level.value for level in Level if level not in (Level.T13, Level.L6)]
    upper = carrier_of(nerve).value
    return upper, order[order.index(upper) + 1]


def _bottom(lower: FrameBlock, pedicle: Pedicle, top: float) -> float:
    """Height of the lower bone under the foramen's middle; NaN when it is not met."""
    x, y = float(pedicle.center[0]), float(pedicle.center[1])
    column = lower.window((x - _BUNDLE_MM, x + _BUNDLE_MM), (y - _BUNDLE_MM, y), (float(lower.superior[0]), top))
    height, found = crossing(-column.distance[::-1], column.superior[::-1], 0)
    return float(np.median(height[found])) if found.mean() >= 0.5 else float("nan")


def _pedicle_of(anatomy: Anatomy, vertebra: Vertebra, side: Side, rule: ForamenRule) -> Pedicle:
    """The pedicle's isthmus; `NoSite` where the bone shows it away from where the landmark methods agree it is."""
    pedicle, frame = pedicle_of(anatomy.bone(vertebra), vertebra, side), vertebra.frame
    assert frame is not None
    mark = vertebra.landmarks[LandmarkName(f"pedicle_center_{side.value.lower()}")]
    apart = float(np.linalg.norm(frame.to_side(mark.position, side) - pedicle.center))
    if apart > rule.pedicles_agree.value:
        raise NoSite(f"the {side.value} pedicle of {vertebra.name} is not certain: two ways to find it differ by "
                     f"{apart:.1f} mm, {rule.pedicles_agree.value:.1f} allowed")
    return pedicle


def _border(pedicle: Pedicle) -> float:
    """A pedicle's lateral border, mm: as far from its centre as the medial one, for a process may spring from it."""
    return min(pedicle.lateral_wall, float(2.0 * pedicle.center[0]) - pedicle.medial_wall)


def _beside_lower(anatomy: Anatomy, above: Vertebra, below: Vertebra, side: Side,
                  rule: ForamenRule) -> tuple[float, float]:
    """Upper edge and lateral border of the lower pedicle in the upper frame, mm; no limits over the sacrum."""
    if below.name == _SACRUM:
        return -np.inf, np.inf
    pedicle = _pedicle_of(anatomy, below, side, rule)
    assert above.frame is not None
    assert below.frame is not None
    x, y, _ = pedicle.center
    top = above.frame.to_side(below.frame.from_side((x, y, pedicle.superior_wall), side), side)
    outer = above.frame.to_side(below.frame.from_side((_border(pedicle), y, pedicle.superior_wall), side), side)
    return float(top[2]), float(outer[0])


def _back(block: FrameBlock, bones: NDArray[np.float32], pedicle: Pedicle, front: Array) -> Array:
    """(z,) first bone behind the bodies' wall at each height, median over a bundle of rays; NaN where none is met."""
    x = float(pedicle.center[0])
    columns = np.flatnonzero(np.abs(block.lateral - x) <= _BUNDLE_MM)
    out = np.full(len(block.superior), np.nan)
    for k in range(len(out)):
        rows = np.flatnonzero(block.posterior >= front[k] + _BUNDLE_MM)
        if not len(rows):
            continue
        wall, found = crossing(-bones[k][np.ix_(rows, columns)], block.posterior[rows], 0)
        if found.mean() >= 0.5:
            out[k] = float(np.median(wall[found]))
    # a height between two closed ones is closed too
    known = np.flatnonzero(np.isfinite(out))
    if len(known):
        span = np.arange(known[0], known[-1] + 1)
        out[span] = ndimage.median_filter(np.interp(span, known, out[known]), 5)
    return out


def find_foramen(anatomy: Anatomy, above: Vertebra, below: Vertebra, side: Side, rule: ForamenRule) -> Foramen:
    """Find the walls of a foramen; `NoSite` says which one cannot be told."""
    frame, low_frame = above.frame, below.frame
    assert frame is not None
    assert low_frame is not None
    pedicle = _pedicle_of(anatomy, above, side, rule)
    x, y, top = float(pedicle.center[0]), float(pedicle.center[1]), float(pedicle.inferior_wall)
    low = np.array([x + rule.lateral.low - _BUNDLE_MM, y - 16.0, top - _BELOW_MM])
    high = np.array([x + rule.lateral.high + _BUNDLE_MM, y + _BEHIND_MM, top + _ABOVE_MM])
    corners = np.sort(np.stack([low, high]) * (side.sign, 1.0, 1.0), axis=0)
    upper, lower = (anatomy.bone(v).block(frame, corners[0], corners[1], _STEP_MM).on_side(side)
                    for v in (above, below))
    bottom = _bottom(lower, pedicle, top)
    where = f"the {above.name}/{below.name} foramen on the {side.value}"
    if not rule.height.low <= top - bottom <= rule.height.high:
        raise NoSite(f"{where} has no floor in the masks" if np.isnan(bottom) else
                     f"{where} is {top - bottom:.0f} mm high, {rule.height.low:.0f}-{rule.height.high:.0f} expected")
    edge, border = _beside_lower(anatomy, above, below, side, rule)
    bottom = max(bottom, edge + rule.pedicle_clear.value)
    if bottom >= top:
        raise NoSite(f"the pedicles of {above.name} and {below.name} on the {side.value} leave no room between them")
    outer = min(_border(pedicle), border) + rule.pedicle_beyond.value
    under = frame.to_local(low_frame.origin)
    front = np.interp(-upper.superior, [0.0, -float(under[2])], [0.0, float(under[1])])
    back = _back(upper, np.minimum(upper.distance, lower.distance), pedicle, front)
    if not np.isfinite(back[(upper.superior <= top) & (upper.superior >= bottom)]).any():
        raise NoSite(f"{where} has no posterior wall in the masks")
    return Foramen(upper, lower, pedicle, top, bottom, outer, front, back)


def _from_nerve(anatomy: Anatomy, block: FrameBlock) -> NDArray[np.float32]:
    """(z, y, x) mm from each point of a block along the left axis to the modelled nerves; `NoSite` without them."""
    structure = anatomy.spine.structures.get(StructureName.FORAMEN_CONTENTS)
    if structure is None or structure.mask is None:
        raise NoSite("the spinal nerve in the foramen was not computed")
    grid = block.grid
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)[..., ::-1]
    spine = anatomy.spine
    at = np.rint(to_index(spine.grid, to_world(grid, index.reshape(-1, 3)))).astype(int)
    ok = ((at >= 0) & (at < np.array(spine.grid.shape[::-1]))).all(axis=1)
    inside = np.zeros(len(at), np.bool_)
    inside[ok] = structure.mask[at[ok, 2], at[ok, 1], at[ok, 0]]
    nerve = inside.reshape(grid.shape)
    if not nerve.any():
        raise NoSite("no spinal nerve was laid through this foramen")
    return np.asarray(ndimage.distance_transform_edt(~nerve) * block.step, dtype=np.float32)


def foramen_target(anatomy: Anatomy, procedure: Procedure, nerve: Nerve, side: Side) -> Target:
    """The place beside one spinal nerve in the procedure's quadrant."""
    rule, quadrant = procedure.site_rule, procedure.quadrant
    assert isinstance(rule, ForamenRule)
    assert quadrant is not None
    above, below = (anatomy.whole(name) for name in bones_of_foramen(nerve))
    foramen = find_foramen(anatomy, above, below, side, rule)
    superior = quadrant is Quadrant.POSTEROSUPERIOR
    carrier = above if superior else below
    block = foramen.upper
    beside = foramen.upper.distance if superior else foramen.lower.distance
    away = flip_to_left(_from_nerve(anatomy, block.on_side(side)), side)
    off = block.lateral[None, None, :] - float(foramen.pedicle.center[0])
    allowed = (foramen.half(quadrant) & (foramen.bones >= rule.free.value) & (beside <= rule.off_bone.value)
               & (away >= rule.nerve_gap.value) & (off >= rule.lateral.low) & (off <= rule.lateral.high))
    part = f"{quadrant.value} quadrant of the {above.name}/{below.name} foramen"
    if not allowed.any():
        raise NoSite(f"no place in the {part}, {side.value}, lies {rule.nerve_gap.value:.1f} mm off the modelled nerve "
                     f"and within {rule.off_bone.value:.1f} mm of {carrier.name}")
    k, j, i = np.nonzero(allowed)
    inside = np.column_stack([block.lateral[i], block.posterior[j], block.superior[k]])
    best = inside[int(np.argmin(np.linalg.norm(inside - np.median(inside, axis=0), axis=1)))]
    frame = above.frame
    assert frame is not None
    region = tip_region(block.on_side(side), side, [(part, flip_to_left(allowed, side))], best,
                        np.ascontiguousarray(flip_to_left(foramen.bones, side)), f"the {part}", rule.aim_gap.value,
                        int(rule.aims.value))
    doubts: list[Doubt] = [(rule.modelled.value, "the spinal nerve is a model between the pedicles, not seen in a CT")]
    if side in above.sacralised:
        doubts.append((rule.low_confidence.value, f"{above.name} is joined to the sacrum on the {side.value}"))
    place = f"{'pedicle of ' + above.name if superior else below.name + ' superior articular process'} " \
            f"({quadrant.value} quadrant of the foramen)"
    return site_target(procedure, rule, nerve=nerve, name=nerve.value, carrier=carrier, bones=(above, below), side=side,
                       joints=(), position=frame.from_side(best, side), region=region, place=place, doubts=doubts)
