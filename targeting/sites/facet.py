"""The facet joint: the space between two articular processes, its posterior opening and its inferior recess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side
from segmentation.anatomy import LandmarkName, carrier_of, nerves_of_joint
from segmentation.shape import FrameBlock
from segmentation.spine import Vertebra
from targeting.model import Target
from targeting.procedures import Procedure
from targeting.procedures.sites import FacetRule
from targeting.region import tip_region
from targeting.sites.common import Anatomy, Doubt, NoSite, flip_to_left, site_target
from targeting.sites.joint_line import joint_sheet

__all__ = ["FacetJoint", "bones_of_joint", "facet_joint", "facet_target"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_STEP_MM = 0.5
_FRONT_TO_BACK_MM = 16.0
_ABOVE_MM = 3.0
_BORDER_MM = 6.0
#: Lattice points of a height that make a line.
_LEAST_LINE = 5


@dataclass(frozen=True, eq=False)
class FacetJoint:
    """One joint on the lattice of the lower vertebra's frame, seen from its side.

    Attributes
    ----------
    upper, lower : FrameBlock
        Distance to the upper and the lower vertebra, on one lattice (lateral, posterior, superior).
    space : (z, y, x) bool
        The middle of the joint space.
    along : (z, y, x) float64, mm
        Place of each lattice point along the joint line of its height: 0 at the posterior edge, growing toward the
        canal; NaN at heights without a joint.
    seen : float
        Share of the joint that the CT shows; 0 where only the masks tell of it.
    line_mm : float
        Mean length of the joint line.
    angle_deg : float
        Of the joint line's posterior part against the sagittal plane, positive when it opens laterally.
    """

    upper: FrameBlock
    lower: FrameBlock
    space: Mask
    along: Array
    seen: float
    line_mm: float
    angle_deg: float

    @property
    def heights(self) -> tuple[float, float]:
        """Lowest and highest place of the joint, mm along superior."""
        rows = self.lower.superior[self.space.any(axis=(1, 2))]
        return float(rows[0]), float(rows[-1])


def bones_of_joint(joint: str) -> tuple[str, str]:
    """The upper and the lower vertebra of a thoracic or lumbar facet joint: the carriers of its two nerves."""
    upper, lower = (carrier_of(nerve).value for nerve in nerves_of_joint(joint))
    return upper, lower


def _blocks(anatomy: Anatomy, above: Vertebra, below: Vertebra, side: Side, rule: FacetRule,
            ) -> tuple[FrameBlock, FrameBlock]:
    """Distance to both bones about the lower vertebra's superior articular process."""
    mark = below.landmarks.get(LandmarkName(f"sap_tip_{side.value.lower()}"))
    if mark is None:
        raise NoSite(f"the {side.value} superior articular process of {below.name} was not found")
    assert below.frame is not None
    tip = below.frame.to_side(mark.position, side)
    low = np.add(tip, (rule.lateral.low, -_FRONT_TO_BACK_MM, -rule.below.value)) - _BORDER_MM
    high = np.add(tip, (rule.lateral.high, _FRONT_TO_BACK_MM, _ABOVE_MM)) + _BORDER_MM
    corners = np.sort(np.stack([low, high]) * (side.sign, 1.0, 1.0), axis=0)
    upper, lower = (anatomy.bone(v).block(below.frame, corners[0], corners[1], _STEP_MM).on_side(side)
                    for v in (above, below))
    return upper, lower


def _border(upper: FrameBlock, lower: FrameBlock, rule: FacetRule) -> Mask:
    """Where the two masks meet: the largest connected part of their gap's middle, away from the lattice's border."""
    gap = upper.distance + lower.distance
    middle = np.abs(upper.distance - lower.distance) <= 2.0 * rule.middle.value
    inner = np.zeros(gap.shape, np.bool_)
    edge = round(_BORDER_MM / _STEP_MM)
    inner[edge:-edge, edge:-edge, edge:-edge] = True
    parts, count = ndimage.label(middle & (gap <= rule.gap.value) & inner, np.ones((3, 3, 3)))
    if not count:
        return np.zeros(gap.shape, np.bool_)
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def _places(block: FrameBlock, mask: Mask) -> Array:
    """(n, 3) mm (lateral, posterior, superior) of a mask's lattice points."""
    k, j, i = np.nonzero(mask)
    return np.column_stack([block.lateral[i], block.posterior[j], block.superior[k]])


def _mask(block: FrameBlock, points: Array) -> Mask:
    """Lattice points nearest to some (n, 3) places of a block."""
    index = np.rint((points - [block.lateral[0], block.posterior[0], block.superior[0]]) / block.step).astype(int)
    index = index[((index >= 0) & (index < np.array(block.distance.shape[::-1]))).all(axis=1)]
    out = np.zeros(block.distance.shape, np.bool_)
    out[index[:, 2], index[:, 1], index[:, 0]] = True
    return out


def _line(points: Array) -> Array:
    """(2,) unit (lateral, posterior): the joint line of one height, toward the back."""
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    return np.asarray(axis if axis[1] >= 0 else -axis)


def facet_joint(anatomy: Anatomy, above: Vertebra, below: Vertebra, side: Side, rule: FacetRule) -> FacetJoint:
    """Find a joint from where the two masks meet and from the CT; `NoSite` says why there is none."""
    upper, lower = _blocks(anatomy, above, below, side, rule)
    border, where = _border(upper, lower, rule), f"{above.name} and {below.name} on the {side.value}"
    volume = float(border.sum()) * _STEP_MM**3
    if volume < rule.volume.value:
        raise NoSite(f"no joint space between {where}: {volume:.0f} mm3 of gap, {rule.volume.value:.0f} expected")
    sheet = joint_sheet(anatomy.volume, lower.frame, side, _places(lower, border), rule.contrast.value)
    space = _mask(lower, sheet.points)
    along = np.full(space.shape, np.nan)
    angles, lengths = [], []
    flat = np.stack(np.meshgrid(lower.lateral, lower.posterior), axis=-1)
    for k in np.flatnonzero(space.sum(axis=(1, 2)) >= _LEAST_LINE):
        points = flat[space[k]]
        axis = _line(points)
        s = points @ axis
        along[k] = s.max() - flat @ axis
        lengths.append(float(np.ptp(s)))
        back = points[s >= s.max() - max(rule.posterior_share.value * float(np.ptp(s)), rule.inside.value)]
        tangent = _line(back) if len(back) >= _LEAST_LINE else axis
        angles.append(float(np.degrees(np.arctan2(tangent[0], tangent[1]))))
    tall = float(np.isfinite(along).any(axis=(1, 2)).sum()) * _STEP_MM
    if tall < rule.height.value:
        raise NoSite(f"the joint space of {where} is only {tall:.0f} mm high, {rule.height.value:.0f} expected")
    return FacetJoint(upper, lower, space, along, sheet.seen, float(np.mean(lengths)), float(np.median(angles)))


def _parts(joint: FacetJoint, summit: float, rule: FacetRule) -> list[tuple[str, Mask]]:
    """Where a tip may end: in the joint just inside its posterior edge, or in the recess at its lower end.

    The joint ends at the tip of the superior articular process, `summit` mm along superior; what the masks leave open
    above it is the superior recess.
    """
    low, high = joint.heights
    high = min(high, summit)
    z = joint.lower.superior[:, None, None]
    share = np.minimum(rule.posterior_share.value * joint.line_mm, rule.inside.value)
    with np.errstate(invalid="ignore"):
        entrance = joint.space & (joint.along <= share) & (z <= high - rule.superior_share.value * (high - low))
    end = joint.space & (z <= low + rule.inferior_share.value * (high - low))
    near = ndimage.distance_transform_edt(~end) * _STEP_MM <= rule.beyond.value
    back = float(np.median(joint.lower.posterior[np.nonzero(end)[1]]))
    free = np.minimum(joint.upper.distance, joint.lower.distance) >= rule.free.value
    below = z <= low + rule.inferior_share.value * (high - low)
    recess = near & free & below & ~joint.space & (joint.lower.posterior[None, :, None] >= back)
    return [("posterior opening of the joint", np.asarray(entrance)), ("inferior recess", np.asarray(recess))]


def facet_target(anatomy: Anatomy, procedure: Procedure, joint_name: str, side: Side) -> Target:
    """The target of one facet joint, on the lower vertebra."""
    rule = procedure.site_rule
    assert isinstance(rule, FacetRule)
    above, below = (anatomy.whole(name) for name in bones_of_joint(joint_name))
    joint = facet_joint(anatomy, above, below, side, rule)
    mark = below.landmarks[LandmarkName(f"sap_tip_{side.value.lower()}")]
    frame = below.frame
    assert frame is not None
    parts = _parts(joint, float(frame.to_side(mark.position, side)[2]), rule)
    entrance = parts[0][1]
    if not entrance.any():
        raise NoSite(f"the {joint_name} joint has no posterior opening on the {side.value}")
    block = joint.lower
    inside = _places(block, entrance)
    best = inside[int(np.argmin(np.linalg.norm(inside - np.median(inside, axis=0), axis=1)))]
    bones = np.minimum(joint.upper.distance, joint.lower.distance)
    left = block.on_side(side)  # turned twice: along the left axis again
    region = tip_region(left, side, [(name, flip_to_left(mask, side)) for name, mask in parts], best,
                        np.ascontiguousarray(flip_to_left(bones, side)), f"the {joint_name} joint",
                        rule.aim_gap.value, int(rule.aims.value))
    doubts: list[Doubt] = [(mark.confidence, "; ".join(mark.reasons) or "superior articular process")]
    if joint.seen < rule.seen.value:
        doubts.append((rule.low_confidence.value, f"only {100 * joint.seen:.0f} percent of the joint space are seen in "
                       "the CT; the rest is where the masks meet"))
    if side in above.sacralised:
        doubts.append((rule.low_confidence.value, f"{above.name} is joined to the sacrum on the {side.value}"))
    return site_target(procedure, rule, nerve=None, name=f"{joint_name} joint", carrier=below, bones=(above, below),
                       side=side, joints=(joint_name,), position=frame.from_side(best, side), region=region,
                       place=f"{below.name} superior articular process", doubts=doubts)
