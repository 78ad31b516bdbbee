"""The first sacral nerve through its posterior foramen: a place in the upper lateral part of the tunnel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side
from segmentation.anatomy import Nerve, carrier_of, foramen_landmark
from targeting.model import Target
from targeting.procedures import Procedure
from targeting.procedures.sites import SacralForamenRule
from targeting.region import tip_region
from targeting.sites.common import Anatomy, Doubt, NoSite, flip_to_left, site_target
from targeting.sites.sacrum import SacralBack, find_opening, sacral_back

__all__ = ["sacral_foramen_target"]

Array = NDArray[np.float64]
_WINDOW_MM = 16.0
_FRONT_MM = 36.0


def _front(back: SacralBack, segment: str) -> float:
    """How far back the anterior opening lies, mm along posterior; `NoSite` when it was not found."""
    frame, side = back.vertebra.frame, back.side
    assert frame is not None
    mark = back.vertebra.landmarks.get(foramen_landmark("anterior", segment, side))
    if mark is None:
        raise NoSite(f"the anterior {segment} foramen on the {side.value} was not found: the tip's depth has no limit")
    return float(frame.to_side(mark.position, side)[1])


def sacral_foramen_target(anatomy: Anatomy, procedure: Procedure, nerve: Nerve, side: Side) -> Target:
    """The place beside one sacral spinal nerve in its tunnel."""
    rule = procedure.site_rule
    assert isinstance(rule, SacralForamenRule)
    vertebra = anatomy.whole(carrier_of(nerve).value)
    frame = vertebra.frame
    assert frame is not None
    back = sacral_back(anatomy, vertebra, side)
    segment = nerve.value.split()[0]
    opening, front = find_opening(back, segment, rule), _front(back, segment)
    x, y, z = opening.middle
    part = back.block.window((x - _WINDOW_MM, x + _WINDOW_MM), (y - _FRONT_MM, y + _WINDOW_MM),
                             (z - _WINDOW_MM, z + _WINDOW_MM))
    cut = _cut(back, part.superior, part.posterior, part.lateral)
    under, tunnels = back.under()[cut], back.tunnels[cut]
    zs, ys, xs = np.meshgrid(part.superior, part.posterior, part.lateral, indexing="ij")
    allowed = (tunnels & (under >= rule.depth.low) & (under <= rule.depth.high)
               & (ys >= front + rule.front_gap.value) & (xs >= x - rule.lateral.value)
               & (zs >= z - rule.superior.value) & (part.distance >= rule.free.value)
               & (part.distance <= rule.off_bone.value))
    words = f"upper lateral part of the posterior {segment} foramen"
    if not allowed.any():
        raise NoSite(f"no place in the {words} on the {side.value} lies {rule.depth.low:.0f} to "
                     f"{rule.depth.high:.0f} mm deep, {rule.front_gap.value:.0f} mm short of the anterior opening and "
                     f"{rule.free.value:.1f} to {rule.off_bone.value:.1f} mm off bone")
    inside = np.column_stack([xs[allowed], ys[allowed], zs[allowed]])
    best = inside[int(np.argmin(np.linalg.norm(inside - np.median(inside, axis=0), axis=1)))]
    region = tip_region(part.on_side(side), side, [(words, flip_to_left(allowed, side))], best,
                        np.ascontiguousarray(flip_to_left(part.distance, side)), f"the {words}", rule.aim_gap.value,
                        int(rule.aims.value))
    doubts: list[Doubt] = [
        (rule.unseen.value, f"the {segment} nerve in its tunnel is not seen in a CT"),
        (opening.landmark.confidence, f"{segment} foramen: {'; '.join(opening.landmark.reasons)}")]
    return site_target(procedure, rule, nerve=nerve, name=nerve.value, carrier=vertebra, bones=(vertebra,), side=side,
                       joints=(), position=frame.from_side(best, side), region=region,
                       place=f"posterior {segment} foramen of the sacrum", doubts=doubts)


def _cut(back: SacralBack, superior: Array, posterior: Array, lateral: Array) -> tuple[slice, slice, slice]:
    """Where a window lies in the whole lattice."""
    out = []
    for whole, part in ((back.block.superior, superior), (back.block.posterior, posterior),
                        (back.block.lateral, lateral)):
        start = int(np.argmin(np.abs(whole - part[0])))
        out.append(slice(start, start + len(part)))
    return out[0], out[1], out[2]
