"""A row of needles beside the posterior sacral foramina S1 to S3: every needle a target of its own, linked by a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side, unit
from segmentation.anatomy import Nerve, carrier_of
from segmentation.sacral_chain import SEGMENTS
from segmentation.shape import FrameBlock
from targeting.model import SetMember, Target
from targeting.procedures import Procedure
from targeting.procedures.sites import PalisadeRule
from targeting.region import Standing, TipRegion, tip_region
from targeting.sites.common import Anatomy, Doubt, NoSite, flip_to_left, site_target
from targeting.sites.sacrum import Opening, SacralBack, find_opening, sacral_back

__all__ = ["Station", "palisade_targets", "row_of_stations"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_WINDOW_MM = 9.0
_BEHIND_MM = 16.0
#: Half height of the part of the dorsal surface that gives its normal, and the places it must hold.
_PATCH_MM = 9.0
_LEAST_PLACES = 40
_SMOOTH_MM = 3.0
#: Degree of the curve that the row's height follows.
_BENDS = 3


@dataclass(frozen=True, eq=False)
class Station:
    """Where one needle of the row belongs.

    Attributes
    ----------
    point : (3,) mm
        On the dorsal surface, along (lateral, posterior, superior) of the side.
    along : (3,) unit
        The row there, toward the feet.
    rim : float
        Lateral edge of the foramina there, between two of them by interpolation, mm.
    rim_height : float
        How far back the dorsal surface lies at that edge, mm.
    normal : (3,) unit
        Of the dorsal surface, away from the bone.
    beside : str
        ``"beside S2"`` or ``"between S2 and S3"``.
    """

    point: Array
    along: Array
    rim: float
    rim_height: float
    normal: Array
    beside: str


def _surface(back: SacralBack) -> Array:
    """(superior, lateral) mm: the dorsal surface without its roughness."""
    return np.asarray(ndimage.gaussian_filter(back.view.bridged, _SMOOTH_MM / back.view.step))


def _normal(back: SacralBack, rim: tuple[float, float], superior: float, rule: PalisadeRule) -> Array:
    """(3,) unit (lateral, posterior, superior): of the plane through the strip from the rim to the row.

    Parameters
    ----------
    rim : (lateral, posterior) mm
        Places much in front of or behind the rim's height belong to the sacrum's edge or to the iliac bone.
    """
    x, z = np.meshgrid(back.view.lateral, back.view.superior)
    height = back.view.bridged
    near = ((x >= rim[0]) & (x <= rim[0] + rule.beside.high) & (np.abs(z - superior) <= _PATCH_MM)
            & back.view.covered & (np.abs(height - rim[1]) <= rule.rise.value))
    if int(near.sum()) < _LEAST_PLACES:
        return np.array([0.0, 1.0, 0.0])
    table = np.column_stack([x[near], z[near], np.ones(int(near.sum()))])
    slope = np.linalg.lstsq(table, height[near], rcond=None)[0]
    return unit(np.array([-slope[0], 1.0, -slope[1]]))


def _beside(openings: Sequence[Opening], back: SacralBack, superior: float) -> str:
    for opening in openings:
        _, low, high = opening.edges(back.view)
        if low <= superior <= high:
            return f"beside {opening.segment}"
    above = [o.segment for o in openings if o.middle[2] > superior]
    below = [o.segment for o in openings if o.middle[2] <= superior]
    return f"between {above[-1]} and {below[0]}" if above and below else f"beside {(above or below)[0]}"


def row_of_stations(back: SacralBack, openings: Sequence[Opening], rule: PalisadeRule) -> tuple[Station, ...]:
    """Stations from the upper edge of the S1 opening to the lower edge of the S3 one, equally far from each other.

    Parameters
    ----------
    openings : sequence of Opening
        S1 to S3, head to foot.
    """
    edges = [(max(lateral, float(o.middle[0]) + rule.least_radius.value), low, high)
             for o in openings for lateral, low, high in (o.edges(back.view),)]
    heights = np.array([edges[0][2], *(o.middle[2] for o in openings), edges[-1][1]])[::-1]
    rims = np.array([edges[0][0], *(e[0] for e in edges), edges[-1][0]])[::-1]
    z = np.arange(heights[-1], heights[0] - 1e-6, -0.5 * back.view.step)
    rim = np.interp(z, heights, rims)
    x, surface = rim + rule.beside_goal.value, _surface(back)
    rows = np.array([back.place(a, b) for a, b in zip(x, z, strict=True)])
    edge_rows = np.array([back.place(a, b) for a, b in zip(rim, z, strict=True)])
    # an iliac bone that stands behind the row, and the sacrum's edge, add nothing to its length
    beside = surface[edge_rows[:, 0], edge_rows[:, 1]]
    height = np.clip(surface[rows[:, 0], rows[:, 1]], beside - rule.rise.value, beside + rule.rise.value)
    # the back of the sacrum bends evenly; what is left is roughness, which would make the row longer than it is
    height = Polynomial.fit(z, height, _BENDS)(z)
    line = np.column_stack([x, height, z])
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    count = max(int(np.ceil(arc[-1] / rule.spacing_most.value)), 1) + 1
    out = []
    for at in np.linspace(0.0, arc[-1], count):
        point = np.array([np.interp(at, arc, line[:, n]) for n in range(3)])
        ends = [np.array([np.interp(a, arc, line[:, n]) for n in range(3)])
                for a in (max(at - 3.0, 0.0), min(at + 3.0, arc[-1]))]
        n = int(np.argmin(np.abs(arc - at)))
        edge = float(rim[n]), float(surface[edge_rows[n, 0], edge_rows[n, 1]])
        out.append(Station(point, unit(ends[1] - ends[0]), *edge, _normal(back, edge, float(point[2]), rule),
                           _beside(openings, back, float(point[2]))))
    return _evened(out)


def _evened(stations: Sequence[Station]) -> tuple[Station, ...]:
    """Stations whose normals turn evenly along the row, so that neighbours stand alike."""
    last = len(stations) - 1
    return tuple(replace(s, normal=unit(stations[max(n - 1, 0)].normal + 2 * s.normal
                                        + stations[min(n + 1, last)].normal)) for n, s in enumerate(stations))


@dataclass(frozen=True, eq=False)
class _Places:
    """The lattice about a station: where the tip may end, and each place in mm (lateral, posterior, superior)."""

    part: FrameBlock
    allowed: Mask
    places: Array


def _allowed(back: SacralBack, station: Station, rule: PalisadeRule) -> tuple[_Places, str]:
    """Where the tip of one needle may end, or why nowhere."""
    p = station.point
    part = back.block.window((p[0] - _WINDOW_MM, p[0] + _WINDOW_MM), (p[1] - _BEHIND_MM, p[1] + _BEHIND_MM),
                             (p[2] - _WINDOW_MM, p[2] + _WINDOW_MM))
    z, y, x = np.meshgrid(part.superior, part.posterior, part.lateral, indexing="ij")
    off = np.stack([x, y, z], axis=-1) - p
    beside = x - station.rim
    on_bone = (part.distance >= rule.on_bone.low) & (part.distance <= rule.on_bone.high)
    near = on_bone & (np.abs(off @ station.along) <= rule.along.value)
    within = near & (beside >= rule.beside.low) & (beside <= rule.beside.high)
    allowed = within & (y - station.rim_height <= rule.rise.value)
    why = ""
    if not within.any():
        why = f"no bone {rule.beside.low:.0f} to {rule.beside.high:.0f} mm lateral of the foramina's rim"
    elif not allowed.any():
        why = (f"{rule.beside.low:.0f} to {rule.beside.high:.0f} mm lateral of the foramina's rim the bone stands "
               f"{float((y[within] - station.rim_height).min()):.0f} mm behind it, {rule.rise.value:.0f} at most: the "
               "iliac bone covers it")
    return _Places(part, np.asarray(allowed), np.stack([x, y, z], axis=-1)), why


def _region(back: SacralBack, station: Station, found: _Places, rule: PalisadeRule, words: str) -> TipRegion | None:
    """The places one tip may end in, with the perpendicular it must stand by."""
    frame = back.vertebra.frame
    assert frame is not None
    goal = np.array([station.rim + rule.beside_goal.value, station.point[1], station.point[2]])
    inside = found.places[found.allowed]
    best = inside[int(np.argmin(np.linalg.norm(inside - goal, axis=1)))]
    left = found.part.on_side(back.side)
    bones = np.ascontiguousarray(flip_to_left(found.part.distance, back.side))
    region = tip_region(left, back.side, [(words, flip_to_left(found.allowed, back.side))], best, bones,
                        f"the {words}", rule.aim_gap.value, int(rule.aims.value))
    normal = frame.from_side(station.normal, back.side) - frame.from_side(np.zeros(3), back.side)
    return None if region is None else replace(region, standing=Standing(unit(normal), rule.off_perpendicular.value))


def _target(anatomy: Anatomy, procedure: Procedure, nerve: Nerve, back: SacralBack, station: Station,
            openings: Sequence[Opening], member: SetMember) -> Target:
    """One needle of the row."""
    rule = procedure.site_rule
    assert isinstance(rule, PalisadeRule)
    vertebra, side = back.vertebra, back.side
    frame = vertebra.frame
    assert frame is not None
    place = f"dorsal sacrum {station.beside} (needle {member.index} of {member.count})"
    found, why = _allowed(back, station, rule)
    region = None if why else _region(back, station, found, rule, f"strip {station.beside} on the dorsal sacrum")
    doubts: list[Doubt] = [(o.landmark.confidence, f"{o.segment} foramen: {'; '.join(o.landmark.reasons)}")
                           for o in openings if o.segment in station.beside]
    position = station.point if region is None else frame.to_side(region.aims[0], side)
    made = site_target(procedure, rule, nerve=nerve, name=nerve.value, carrier=vertebra, bones=(vertebra,), side=side,
                       joints=(), position=frame.from_side(position, side), region=region, place=place, doubts=doubts)
    made = replace(made, id=f"{made.id}:{member.index}", member=member)
    return replace(made, withheld=why, confidence=0.0, reasons=(why,)) if why else made


def palisade_targets(anatomy: Anatomy, procedure: Procedure, nerve: Nerve, side: Side) -> tuple[Target, ...]:
    """The row of one side, head to foot; `NoSite` when a foramen that it must pass was not found."""
    rule = procedure.site_rule
    assert isinstance(rule, PalisadeRule)
    back = sacral_back(anatomy, anatomy.whole(carrier_of(nerve).value), side)
    openings = [find_opening(back, segment, rule) for segment in SEGMENTS]
    stations = row_of_stations(back, openings, rule)
    if len(stations) < len(SEGMENTS):
        raise NoSite(f"the row beside the foramina on the {side.value} is too short for a needle beside each")
    name = f"{procedure.name}:{side.value}"
    return tuple(_target(anatomy, procedure, nerve, back, station, openings, SetMember(name, n + 1, len(stations)))
                 for n, station in enumerate(stations))
