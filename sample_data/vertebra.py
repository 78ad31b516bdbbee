"""Solid vertebrae T11 to L5, each in its own frame (lateral left, posterior, superior), millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .implicit import Array, Rod, Vec, difference, intersection, union
from .layout import SIDES, Layout, Pose

__all__ = ["Body", "Bone", "build_vertebra", "facet_rods", "fusion_rod", "pedicle_rod"]


_STRETCH, _MARGIN = 1.25, 7.0


@dataclass(frozen=True)
class Body:
    """A vertebral body: kidney shaped in section, with a waist and dished endplates.

    Attributes
    ----------
    width, depth : mm, at the endplates.
    posterior_height, anterior_height : mm.
    waist : narrowing at mid height, fraction.
    dish : depth of the endplate concavity, mm.
    taper : narrowing from the upper to the lower endplate, fraction.
    """

    width: float
    depth: float
    posterior_height: float
    anterior_height: float
    waist: float = 0.10
    dish: float = 1.6
    taper: float = 0.0

    def distance(self, points: Array) -> Array:
        """Signed distance, mm, of points in the vertebral frame."""
        u, v, w = points[0], points[1], points[2]
        top = 0.5 * self.posterior_height
        bottom = -top + (self.anterior_height - self.posterior_height) * v / self.depth
        s = np.clip((2.0 * w - top - bottom) / (top - bottom), -1.0, 1.0)
        pinch = self.waist * (1.0 - s * s)
        shrink = 1.0 - self.taper * 0.5 * (1.0 - s)
        half_width = 0.5 * self.width * (1.0 - pinch) * shrink
        half_depth = 0.5 * self.depth * (1.0 - 0.75 * pinch) * shrink
        y = v + half_depth
        y = y - np.clip(y / half_depth, 0.0, 1.0) * 1.8 * (1.0 - np.exp(-((u / 9.0) ** 2)))
        power = 2.35
        r = ((np.abs(u) / half_width) ** power + (np.abs(y) / half_depth) ** power + 1e-9) ** (1.0 / power)
        reach = np.sqrt(u * u + y * y + 1e-6)
        side = reach - reach / r
        dish = self.dish * np.maximum(1.0 - r * r, 0.0)
        plates = intersection(w - top + dish, bottom + dish - w, 0.5)
        return intersection(side, plates, 3.0)


@dataclass(frozen=True)
class Bone:
    """One bone as an implicit solid.

    Attributes
    ----------
    level : "T11" to "L5", or "S1" for the sacrum.
    pose : frame of the bone; rods and bodies are in it.
    body : vertebral body, or None.
    rods : parts, merged in order with their own fillets.
    hollows : rods taken away (canal, foramina).
    facing : rods of the neighbour above, in this frame, kept `gap` millimetres away.
    gap : width of the facet joints above, mm.
    ripple : phases of a fine irregularity of the surface, shape (3,).
    """

    level: str
    pose: Pose
    body: Body | None
    rods: tuple[Rod, ...]
    hollows: tuple[Rod, ...]
    facing: tuple[Rod, ...]
    gap: float
    ripple: NDArray[np.float64]

    def distance(self, points: Array) -> Array:
        """Signed distance, mm, of points in the bone's frame, shape (3, ...)."""
        field = self.rods[0].distance(points)
        for rod in self.rods[1:]:
            field = union(field, rod.distance(points), rod.blend)
        if self.body is not None:
            field = union(field, self.body.distance(points), 3.5)
        for hollow in self.hollows:
            field = difference(field, hollow.distance(points), hollow.blend)
        for rod in self.facing:
            field = difference(field, rod.distance(points) - self.gap, 0.8)
        return field + self._irregularity(points)

    def _irregularity(self, points: Array) -> Array:
        u, v, w = points[0], points[1], points[2]
        a, b, c = (float(x) for x in self.ripple)
        wave = np.sin(0.55 * u + 0.31 * w + a) * np.sin(0.47 * v - 0.23 * u + b) + np.sin(0.61 * w + 0.29 * v + c) * 0.5
        result: Array = 0.11 * wave
        return result

    def near(self, centre: NDArray[np.float64], radius: float) -> Bone:
        """The same surface with fewer parts, valid within `radius` (mm) of a point in the bone's frame.

        A part further than its fillet from every surface inside the ball cannot change that surface.
        """
        at = centre.reshape(3, 1)
        reach = radius * _STRETCH + _MARGIN

        def close(parts: tuple[Rod, ...]) -> tuple[Rod, ...]:
            return tuple(part for part in parts if float(part.distance(at)[0]) < reach)

        body = self.body if self.body is not None and float(self.body.distance(at)[0]) < reach else None
        rods = close(self.rods)
        return replace(self, body=body, rods=rods, hollows=close(self.hollows), facing=close(self.facing))

    def bounds(self) -> NDArray[np.float64]:
        """World box of the bone, shape (2, 3), mm."""
        boxes = [rod.bounds() for rod in self.rods]
        if self.body is not None:
            half, height = self.body.width / 2 + 2, self.body.anterior_height / 2 + 4
            boxes.append(np.array([[-half, -self.body.depth - 2, -height], [half, 3.0, height]]))
        low = np.min([box[0] for box in boxes], axis=0) - 2.0
        high = np.max([box[1] for box in boxes], axis=0) + 2.0
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)
        world = self.pose.to_world(corners)
        return np.stack([world.min(axis=1), world.max(axis=1)])


def _vec(array: NDArray[np.floating]) -> Vec:
    return float(array[0]), float(array[1]), float(array[2])


def pedicle_height_position(layout: Layout, level: str, side: str) -> float:
    """Height of the pedicle's centre in the vertebral frame, mm."""
    size = layout.sizes[level]
    below = 3.0 + size.pedicle_height / 2
    return size.body_posterior_height / 2 - below + layout.sides[level, side].pedicle_height


def pedicle_rod(layout: Layout, level: str, side: str) -> Rod:
    """The pedicle: converging forwards, thinnest just behind the body."""
    size, sign = layout.sizes[level], SIDES[side]
    height = pedicle_height_position(layout, level, side)
    slope = float(np.tan(np.radians(size.pedicle_angle)))
    centre = size.pedicle_separation / 2
    half = (size.pedicle_height / 2, size.pedicle_width / 2)
    front = (sign * (centre - 12.0 * slope), -9.0, height)
    back = (sign * (centre + 7.0 * slope), 10.0, height)
    return Rod(front, back, (half[0] + 0.8, half[1] + 0.8), half, blend=4.0)


def facet_rods(layout: Layout, level: str, side: str) -> tuple[Rod, ...]:
    """Inferior articular process of the vertebra above `level`, in the frame of `level`.

    Its surface is the convex side of the joint; the superior articular process of `level` is kept a gap away from it.
    """
    size = layout.sizes[level]
    joint = layout.joint(level, side)
    along, outward = layout.joint_axes(level, side)
    half = 0.5 * size.articular_width
    centre = joint - outward * (size.facet_gap / 2 + 4.3)
    top = centre + np.array([-SIDES[side] * 0.5, 0.5, 9.0])
    tip = centre + np.array([0.0, 0.0, -4.0])
    return (Rod(_vec(top), _vec(tip), (half * 0.85, 4.0), (half * 0.9, 4.3), flat=_vec(along), blend=4.0),)


def _moved(rod: Rod, source: Pose, target: Pose) -> Rod:
    a = target.to_local(source.to_world(rod.a))
    b = target.to_local(source.to_world(rod.b))
    flat = target.axes @ (source.axes.T @ np.asarray(rod.flat))
    return Rod(_vec(a), _vec(b), rod.ra, rod.rb, _vec(flat), rod.blend)


def superior_articular(layout: Layout, level: str, side: str) -> list[Rod]:
    """Superior articular process with the mamillary process on its posterior border."""
    size, sign = layout.sizes[level], SIDES[side]
    along, outward = layout.joint_axes(level, side)
    joint = layout.joint(level, side)
    half = 0.5 * size.articular_width
    thickness = {"S1": 5.2, "T11": 3.4, "T12": 3.4}.get(level, 4.4)
    centre = joint + outward * (size.facet_gap / 2 + thickness - 1.4) - along * 0.8
    base_height = pedicle_height_position(layout, level, side) - 2.0
    top_height = size.body_posterior_height / 2 + size.articular_rise - 3.2 + layout.sides[level, side].facet_height
    base = np.array([centre[0] - sign * 0.5, centre[1] + 0.3, base_height])
    top = np.array([centre[0] + outward[0] * 0.6, centre[1] + outward[1] * 0.6, top_height])
    rods = [Rod(_vec(base), _vec(top), (half, thickness), (half * 0.78, thickness * 0.8), _vec(along), 3.6)]
    if level.startswith("L"):
        knob = joint + along * (half - 1.2) + outward * 4.4
        start = (float(knob[0]), float(knob[1]) - 2.5, float(joint[2]) - 4.5)
        end = (float(knob[0]) + sign * 0.8, float(knob[1]) + 1.6, float(joint[2]) - 2.0)
        rods.append(Rod(start, end, (4.4, 3.4), (3.2, 2.7), blend=3.0))
    return rods


def transverse(layout: Layout, level: str, side: str) -> list[Rod]:
    """Transverse process with the accessory process behind its root; thick and pyramidal at L5."""
    size, own, sign = layout.sizes[level], layout.sides[level, side], SIDES[side]
    height = pedicle_height_position(layout, level, side)
    root = size.pedicle_separation / 2 + 1.0
    thick, tall = size.transverse_thickness / 2, size.transverse_height / 2
    reach = size.transverse_span / 2 + own.transverse_reach - 0.75 * tall
    depth = 9.5 + (0.0 if level != "L5" else -1.0)
    tip = (
        sign * reach,
        depth + size.transverse_retreat + own.transverse_retreat,
        height - 1.5 + size.transverse_rise + own.transverse_rise,
    )
    start = (sign * root, depth, height - 2.2)
    rods = [Rod(start, tip, (tall * 1.05, thick * 1.1), (tall * 0.8, thick * 0.82), blend=4.2)]
    if level == "L5":
        rods.append(
            Rod(
                (sign * (root - 2.0), 0.0, height - 1.0),
                (sign * (root + 12.0), 7.0, height - 0.5),
                (7.2, 6.5),
                (6.6, 6.0),
                blend=5.0,
            )
        )
    if level.startswith("L"):
        base = root + size.pedicle_width * 0.30 + 2.2
        start = (sign * base, depth + 3.0, height - 4.6)
        end = (sign * (base + 0.6), depth + 7.4, height - 7.2)
        rods.append(Rod(start, end, (3.2, 2.8), (2.1, 1.9), blend=2.6))
    return rods


def arch(layout: Layout, level: str, side: str) -> list[Rod]:
    """Pars and lamina of one side."""
    size, sign = layout.sizes[level], SIDES[side]
    height = pedicle_height_position(layout, level, side)
    tall = size.body_posterior_height
    joint = layout.joint(level, side)
    pars_top = (sign * (size.pedicle_separation / 2 - 0.5), 11.0, height - 2.5)
    pars_low = (sign * (abs(float(joint[0])) * 0.86), size.canal_depth + 2.0, -0.28 * tall)
    middle = (0.0, size.canal_depth + 4.4, -0.33 * tall)
    flare = (0.0, -0.32, 0.95)
    return [
        Rod(pars_top, pars_low, (5.2, 4.2), (6.2, 3.8), (float(sign), -0.3, 0.6), blend=4.0),
        Rod(pars_low, middle, (0.34 * tall, 3.3), (0.36 * tall, 3.5), flare, blend=4.0),
    ]


def spinous(layout: Layout, level: str) -> list[Rod]:
    """Hatchet-shaped spinous process: an upper and a lower border, a web, and a thick free edge."""
    size = layout.sizes[level]
    start = size.canal_depth + 4.0
    end = start + 3.4 + size.spinous_length
    middle, half = -0.33 * size.body_posterior_height, size.spinous_height / 2
    thick = size.spinous_thickness / 2
    drop = 3.0 if level.startswith("L") else 9.0
    up, low = middle + half - 4.2, middle - half + 4.2
    edge_up, edge_low = up - drop - 0.5, low - drop * 0.7
    web = Rod(
        (0.0, start, middle),
        (0.0, end - 6.0, middle - drop),
        (half * 0.85, thick * 0.95),
        (half * 0.88, thick * 0.72),
        blend=4.5,
    )
    upper = Rod((0.0, start, up - 0.5), (0.0, end - 5.5, edge_up), (3.6, thick * 0.9), (4.0, thick * 0.8), blend=3.0)
    lower = Rod((0.0, start, low), (0.0, end - 4.0, edge_low), (4.2, thick), (4.4, thick * 0.95), blend=3.0)
    edge = Rod(
        (0.0, end - 4.3, edge_up + 1.0),
        (0.0, end - 3.3, edge_low + 0.5),
        (3.2, thick * 0.95),
        (3.3, thick * 1.2),
        (0.0, 1.0, 0.0),
        3.0,
    )
    return [web, upper, lower, edge]


def canal_hollow(layout: Layout, level: str) -> Rod:
    """Vertebral foramen: a tube along the frame's superior axis, wider than deep."""
    size = layout.sizes[level]
    half_width = (size.pedicle_separation - size.pedicle_width) / 2
    half_depth = size.canal_depth / 2
    reach = size.body_posterior_height
    radii = (half_width, half_depth)
    return Rod((0.0, half_depth, -reach), (0.0, half_depth, reach), radii, radii, (1.0, 0.0, 0.0), blend=2.0)


def fusion_rod(layout: Layout) -> Rod:
    """Bone bridge from the transverse process of L5 into the sacral ala, in the frame of L5."""
    sign = SIDES[str(layout.fused_side)]
    start = (sign * 33.0, 7.0, pedicle_height_position(layout, "L5", str(layout.fused_side)) - 1.0)
    end = layout.poses["L5"].to_local(layout.poses["S1"].to_world((sign * 41.0, 2.0, 7.0)))
    return Rod(start, _vec(end), (10.0, 8.5), (13.0, 9.0), (float(sign), 0.0, 0.2), blend=6.0)


def build_vertebra(layout: Layout, level: str, level_below: str, level_above: str | None, seed: int) -> Bone:
    """Solid of one vertebra.

    Parameters
    ----------
    layout : sizes and frames.
    level, level_below, level_above : names; the neighbour above is None at the top of the phantom.
    seed : seed of the surface irregularity.
    """
    size, pose = layout.sizes[level], layout.poses[level]
    rods: list[Rod] = []
    for side in SIDES:
        rods.append(pedicle_rod(layout, level, side))
        rods += arch(layout, level, side)
        rods += transverse(layout, level, side)
        rods += superior_articular(layout, level, side)
        rods += [_moved(rod, layout.poses[level_below], pose) for rod in facet_rods(layout, level_below, side)]
    rods += spinous(layout, level)
    if level == "L5" and layout.fused_side is not None:
        rods.append(fusion_rod(layout))
    facing = [rod for side in SIDES for rod in facet_rods(layout, level, side)] if level_above else []
    rng = np.random.default_rng([seed, 202, ord(level[0]), int(level[1:])])
    return Bone(
        level=level,
        pose=pose,
        body=Body(size.body_width, size.body_depth, size.body_posterior_height, layout.anterior_height(level)),
        rods=tuple(rods),
        hollows=(canal_hollow(layout, level),),
        facing=tuple(facing),
        gap=size.facet_gap,
        ripple=rng.uniform(0.0, 2.0 * np.pi, 3),
    )
