"""Solid sacrum, iliac wings and ribs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from .implicit import Array, Rod, Vec, difference, union
from .layout import SIDES, Layout, Pose
from .vertebra import Body, Bone, facet_rods, pedicle_rod, superior_articular

__all__ = ["RodChain", "build_hip", "build_ribs", "build_sacrum", "foramen_axis", "sacral_canal"]

_SACRAL_CURVE: tuple[Vec, ...] = (
    (0.0, -13.0, -13.0),
    (0.0, -12.0, -40.0),
    (0.0, -17.0, -62.0),
    (0.0, -27.0, -80.0),
    (0.0, -40.0, -94.0),
)


_FAR = 20.0


def _within(points: Array, box: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
    """Whether points, shape (3, ...), lie in a box widened by a margin, mm."""
    inside = np.ones(points.shape[1:], dtype=bool)
    for i in range(3):
        inside &= (points[i] > float(box[0, i]) - margin) & (points[i] < float(box[1, i]) + margin)
    return inside


@dataclass(frozen=True)
class RodChain:
    """A curved bone made of rods in anatomical coordinates, kept clear of its neighbours.

    The field is exact to 4 mm from the surface and a large constant beyond.

    Attributes
    ----------
    rods : parts, merged in order.
    neighbours : bones kept `gap` millimetres away, or painted over.
    gap : mm.
    """

    rods: tuple[Rod, ...]
    neighbours: tuple[Bone, ...] = ()
    gap: float = 2.0

    def distance(self, points: Array) -> Array:
        """Signed distance, mm, of points in anatomical coordinates, shape (3, ...)."""
        field = np.full(points.shape[1:], _FAR, dtype=points.dtype)
        for rod in self.rods:
            near = _within(points, rod.bounds(), 5.0)
            field[near] = union(field[near], rod.distance(points[:, near]), rod.blend)
        for bone in self.neighbours:
            near = _within(points, bone.bounds(), self.gap) & (field < 4.0)
            clear = bone.distance(bone.pose.to_local(points[:, near])) - self.gap
            field[near] = difference(field[near], clear, 1.0)
        return field

    def bounds(self) -> NDArray[np.float64]:
        """Box in anatomical coordinates, shape (2, 3), mm."""
        boxes = np.stack([rod.bounds() for rod in self.rods])
        return np.stack([boxes[:, 0].min(axis=0) - 2.0, boxes[:, 1].max(axis=0) + 2.0])


def _sacral_bodies() -> list[Rod]:
    widths = ((22.0, 14.0), (17.0, 11.0), (13.5, 8.5), (10.5, 6.5), (8.0, 5.0))
    flat = (1.0, 0.0, 0.0)
    pairs = zip(_SACRAL_CURVE, _SACRAL_CURVE[1:], widths, widths[1:], strict=False)
    return [Rod(a, b, ra, rb, flat, blend=4.0) for a, b, ra, rb in pairs]


def _sacral_wing(sign: float) -> list[Rod]:
    """Ala and lateral mass: a broad upper shelf that dips towards the articular process, narrowing downwards."""
    up = (0.0, 0.0, 1.0)
    return [
        Rod((sign * 14.0, -17.0, 0.0), (sign * 43.0, -10.0, -5.5), (12.0, 11.0), (13.0, 11.0), up, blend=8.0),
        Rod((sign * 22.0, 6.0, -6.5), (sign * 43.0, 7.0, -3.0), (6.5, 8.0), (13.0, 9.0), up, blend=4.5),
        Rod((sign * 40.0, 4.0, -8.0), (sign * 33.0, 6.0, -46.0), (12.0, 13.0), (8.0, 9.0), (sign, 0.0, 0.0), blend=7.0),
        Rod(
            (sign * 33.0, 4.0, -44.0), (sign * 20.0, -16.0, -80.0), (8.0, 8.0), (5.0, 5.0), (sign, 0.0, 0.0), blend=6.0
        ),
        Rod(
            (sign * 31.0, 14.0, -16.0), (sign * 24.0, 13.0, -58.0), (4.0, 4.5), (3.0, 3.5), (sign, 0.0, 0.0), blend=6.0
        ),
        Rod((sign * 12.0, -4.0, -34.5), (sign * 30.0, 6.0, -34.5), (6.6, 11.0), (6.6, 10.0), up, blend=5.0),
        Rod((sign * 10.0, -8.0, -55.5), (sign * 26.0, 4.0, -55.5), (5.6, 9.0), (5.6, 9.0), up, blend=5.0),
        Rod((sign * 8.0, -18.0, -74.0), (sign * 22.0, -8.0, -74.0), (5.6, 7.0), (5.6, 7.0), up, blend=5.0),
    ]


def _sacral_back(layout: Layout) -> list[Rod]:
    """Fused laminae, the intermediate crest and the median crest with its spinous tubercles."""
    size = layout.sizes["S1"]
    back = size.canal_depth + 3.2
    flare = (0.0, -0.1, 1.0)
    rods: list[Rod] = []
    for sign in SIDES.values():
        rods += [
            Rod((sign * 21.0, 12.5, -7.0), (0.0, back, -10.0), (7.5, 3.2), (7.0, 3.4), flare, blend=4.0),
            Rod((sign * 19.0, 13.5, -18.0), (0.0, back, -24.0), (9.0, 3.0), (9.0, 3.0), flare, blend=4.0),
            Rod((sign * 17.0, 10.5, -42.0), (0.0, 12.5, -44.0), (12.0, 2.8), (12.0, 2.8), flare, blend=4.0),
            Rod((sign * 14.0, 3.0, -62.0), (0.0, 4.5, -62.0), (11.0, 2.6), (11.0, 2.6), (0.0, 0.5, 0.8), blend=4.0),
            Rod((sign * 17.0, 14.0, -14.0), (sign * 12.0, 5.0, -64.0), (3.2, 2.8), (2.6, 2.4), blend=4.0),
        ]
    end = back + 1.5 + size.spinous_length
    thick = size.spinous_thickness / 2
    rods += [
        Rod((0.0, back, -10.5), (0.0, end - 3.2, -12.5), (6.0, thick), (4.2, thick * 0.9), blend=4.0),
        Rod((0.0, back, -33.0), (0.0, end - 6.2, -34.0), (6.5, 3.0), (4.5, 3.0), blend=4.0),
        Rod((0.0, back + 1.0, -9.0), (0.0, 7.0, -66.0), (3.4, 2.6), (2.6, 2.2), (0.0, 1.0, 0.0), blend=4.0),
    ]
    return rods


def sacral_canal(layout: Layout) -> tuple[Rod, ...]:
    """Sacral canal, in the S1 frame: triangular above, closing downwards."""
    size = layout.sizes["S1"]
    half_depth = size.canal_depth / 2
    flat = (1.0, 0.0, 0.0)
    return (
        Rod((0.0, half_depth, 22.0), (0.0, half_depth, -12.0), (14.5, half_depth), (12.0, half_depth), flat, 2.0),
        Rod((0.0, half_depth, -12.0), (0.0, 4.0, -44.0), (12.0, half_depth), (8.0, 4.6), flat, 2.0),
        Rod((0.0, 4.0, -44.0), (0.0, -8.0, -74.0), (8.0, 4.6), (4.0, 2.6), flat, 2.0),
    )


_FORAMINA = {"S1": (23.5, -22.0, 4.6), "S2": (20.0, -43.0, 4.0), "S3": (16.5, -63.0, 3.4)}
"""Lateral place, height and half-width of each segment's foramina, mm in the S1 frame."""


def foramen_axis(segment: str, side: str) -> tuple[Vec, Vec]:
    """Front and back end of the axis of a sacral foramen's tunnel, mm in the S1 frame; it runs beyond the bone."""
    lateral, height, _ = _FORAMINA[segment]
    sign = SIDES[side]
    return (sign * (lateral + 2.0), -36.0, height - 2.0), (sign * (lateral - 1.0), 30.0, height - 2.0)


def _foramina() -> list[Rod]:
    """Front-to-back tunnels that open as the anterior and posterior sacral foramina."""
    up = (0.0, 0.0, 1.0)
    rods: list[Rod] = []
    for side, sign in SIDES.items():
        for segment, (lateral, height, size) in _FORAMINA.items():
            front, back = foramen_axis(segment, side)
            rods.append(Rod(front, back, (size + 1.0, size + 1.0), (size * 0.7, size * 0.62), up, blend=2.0))
            inner = (sign * 9.0, 4.0, height + 3.0)
            outer = (sign * lateral, 0.0, height - 2.0)
            rods.append(Rod(inner, outer, (size * 0.8, size * 0.8), (size, size), blend=2.0))
    return rods


def build_sacrum(layout: Layout, seed: int) -> Bone:
    """Solid of the sacrum in the S1 frame.

    Parameters
    ----------
    layout : sizes and frames.
    seed : seed of the surface irregularity.
    """
    size, pose = layout.sizes["S1"], layout.poses["S1"]
    rods = _sacral_bodies()
    for side, sign in SIDES.items():
        rods.append(pedicle_rod(layout, "S1", side))
        rods += _sacral_wing(sign)
    rods += _sacral_back(layout)
    for side in SIDES:
        rods += superior_articular(layout, "S1", side)
    body = Body(
        size.body_width, size.body_depth, size.body_posterior_height, size.body_posterior_height, 0.0, 1.0, taper=0.25
    )
    return Bone(
        level="S1",
        pose=pose,
        body=body,
        rods=tuple(rods),
        hollows=(*sacral_canal(layout), *_foramina()),
        facing=tuple(rod for side in SIDES for rod in facet_rods(layout, "S1", side)),
        gap=size.facet_gap,
        ripple=np.random.default_rng([seed, 203]).uniform(0.0, 2.0 * np.pi, 3),
    )


def _vec(array: NDArray[np.float64]) -> Vec:
    return float(array[0]), float(array[1]), float(array[2])


def _curve(knots: tuple[Vec, ...], count: int) -> NDArray[np.float64]:
    """Evenly spaced points on a smooth curve through the knots, shape (count, 3)."""
    steps = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    place = np.concatenate([[0.0], np.cumsum(steps)])
    curve: NDArray[np.float64] = PchipInterpolator(place, np.asarray(knots))(np.linspace(0.0, place[-1], count))
    return curve


def build_hip(sacrum: Bone, side: str, asymmetry: float) -> RodChain:
    """Iliac wing of one side, kept a joint space away from the sacrum.

    Parameters
    ----------
    sacrum : the sacrum, whose lateral surface shapes the sacroiliac joint.
    side : "left" or "right".
    asymmetry : mm by which the crest of this side stands higher.
    """
    s, up = SIDES[side], asymmetry
    crest = _curve(
        (
            (s * 42.0, 60.0, -46.0),
            (s * 48.0, 56.0, -12.0),
            (s * 60.0, 38.0, 24.0 + up),
            (s * 84.0, 10.0, 42.0 + up),
            (s * 114.0, -22.0, 38.0 + up),
            (s * 130.0, -58.0, 16.0 + up),
            (s * 126.0, -86.0, -14.0 + up),
            (s * 114.0, -98.0, -40.0),
        ),
        19,
    )
    root = _curve(
        ((s * 50.0, 36.0, -62.0), (s * 62.0, 18.0, -66.0), (s * 84.0, -10.0, -72.0), (s * 104.0, -60.0, -78.0)), 19
    )
    rods = [Rod(_vec(a), _vec(b), (5.0, 5.0), (5.0, 5.0), blend=0.8) for a, b in itertools.pairwise(crest)]
    for i in range(1, len(crest) - 1):
        tangent = crest[i + 1] - crest[i - 1] + root[i + 1] - root[i - 1]
        rods.append(Rod(_vec(crest[i]), _vec(root[i]), (8.0, 3.6), (12.0, 4.8), _vec(tangent), blend=2.5))
    rods.append(Rod((s * 54.0, 30.0, -36.0), (s * 98.0, -20.0, -92.0), (14.0, 6.0), (22.0, 14.0), (s, 0.7, 0.2), 8.0))
    return RodChain(tuple(rods), (sacrum,), 2.4)


def build_ribs(pose: Pose, bone: Bone, length: float, seed: int) -> dict[str, RodChain]:
    """Ribs of one level, left and right: from the side of the body backwards, then round the trunk and down.

    Parameters
    ----------
    pose, bone : the vertebra that carries them.
    length : mm along the curve.
    seed : seed of the left-right difference in length.
    """
    rng = np.random.default_rng([seed, 204, round(length)])
    ribs: dict[str, RodChain] = {}
    for side, sign in SIDES.items():
        own = length * float(1.0 + 0.05 * np.clip(rng.normal(), -1.5, 1.5))
        head = pose.to_world((sign * 21.0, -3.0, 5.0))
        knots = [head, pose.to_world((sign * 32.0, 12.0, 3.0))]
        angle = np.radians(24.0)
        while (reach := float(np.linalg.norm(np.diff(knots, axis=0), axis=1).sum())) < own:
            step = min(9.0, own - reach + 0.1)
            fall = 0.55 + 0.35 * min(reach / 90.0, 1.0)
            heading = np.array([sign * np.cos(angle), np.sin(angle), -fall])
            knots.append(knots[-1] + heading * (step / np.linalg.norm(heading)))
            angle -= step / 78.0
        rods = []
        for i, (a, b) in enumerate(itertools.pairwise(knots)):
            size = (5.4, 3.3) if i > 0 else (4.8, 4.0)
            rods.append(Rod(_vec(a), _vec(b), size, size, (0.0, 0.0, 1.0), blend=0.8))
        ribs[side] = RodChain(tuple(rods), (bone,), 1.6)
    return ribs
