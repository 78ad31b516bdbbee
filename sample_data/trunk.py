"""Soft tissue of the trunk: skin, fat, muscles, vessels, kidneys, bowel, lungs and the scanner table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Mask, Window
from .implicit import Array, Rod, ellipsoid, union
from .layout import SIDES, Layout

__all__ = ["SpineCurve", "Trunk", "paint_organs", "paint_trunk"]

FAT, MUSCLE, SKIN = -104.0, 56.0, 18.0

_CONTOUR_Z = (-110.0, -60.0, -10.0, 35.0, 94.0, 160.0, 230.0, 260.0)
_CONTOUR_BACK = (87.0, 87.0, 81.0, 75.0, 72.0, 75.0, 79.0, 80.0)
_CONTOUR_FRONT = (-112.0, -116.0, -122.0, -126.0, -124.0, -120.0, -116.0, -114.0)
_CONTOUR_HALF = (166.0, 165.0, 160.0, 153.0, 149.0, 150.0, 153.0, 154.0)


@dataclass(frozen=True)
class SpineCurve:
    """The posterior wall of the bodies as a curve over height; muscles and vessels follow it.

    Attributes
    ----------
    z, x, y : knots, mm, z increasing.
    """

    z: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @classmethod
    def of(cls, layout: Layout) -> SpineCurve:
        """Curve of a layout, continued down the back of the sacrum."""
        points = [layout.poses["S1"].to_world((0.0, 4.0, -60.0)), layout.poses["S1"].to_world((0.0, 0.0, -30.0))]
        points += [layout.poses[level].origin for level in reversed(layout.poses) if level != "S1"]
        points.insert(2, layout.poses["S1"].origin)
        stack = np.stack(points)
        stack = stack[np.argsort(stack[:, 2])]
        return cls(stack[:, 2], stack[:, 0], stack[:, 1])

    def at(self, z: Array) -> tuple[Array, Array]:
        """Coordinates (x, y) of the curve at heights `z`, float32."""
        x = np.interp(z, self.z, self.x).astype(np.float32)
        return x, np.interp(z, self.z, self.y).astype(np.float32)


@dataclass(frozen=True)
class Muscle:
    """A muscle as an ellipse whose size and place change with height.

    Each knot is (z, lateral offset from the spine, offset behind the posterior wall, half width, half depth, tilt in
    degrees turning the lateral end forwards), mm.
    """

    name: str
    knots: tuple[tuple[float, float, float, float, float, float], ...]

    def distance(self, window: Window, curve: SpineCurve, sign: float) -> Array:
        """Signed distance, mm, over a window."""
        table = np.asarray(self.knots)
        z = window.z[:, 0, 0]
        lateral, back, rx, ry, tilt = (np.interp(z, table[:, 0], table[:, i]).astype(np.float32) for i in range(1, 6))
        cx, cy = curve.at(z)
        turn = np.radians(tilt) * sign

        def up(a: Array) -> Array:
            return a[:, None, None]

        dx, dy = window.x - up(cx + sign * lateral), window.y - up(cy + back)
        along = (dx * up(np.cos(turn)) - dy * up(np.sin(turn))) / up(rx)
        across = (dx * up(np.sin(turn)) + dy * up(np.cos(turn))) / up(ry)
        k0 = np.sqrt(along**2 + across**2) + np.float32(1e-4)
        k1 = np.sqrt((along / up(rx)) ** 2 + (across / up(ry)) ** 2) + np.float32(1e-5)
        side = k0 * (k0 - 1.0) / k1
        ends = np.maximum(table[0, 0] - z, z - table[-1, 0]).astype(np.float32)
        return np.asarray(np.maximum(side, up(ends)))


MUSCLES: tuple[Muscle, ...] = (
    Muscle(
        "psoas",
        (
            (-90.0, 56.0, -86.0, 15.0, 17.0, 0.0),
            (-20.0, 50.0, -52.0, 19.0, 20.0, 0.0),
            (30.0, 43.0, -24.0, 19.0, 21.0, 0.0),
            (62.0, 39.0, -15.0, 16.0, 20.0, 0.0),
            (95.0, 35.0, -13.0, 12.5, 18.0, 0.0),
            (130.0, 30.0, -12.0, 8.0, 14.0, 0.0),
            (168.0, 26.0, -11.0, 3.0, 7.0, 0.0),
        ),
    ),
    Muscle(
        "quadratus",
        (
            (30.0, 74.0, 8.0, 22.0, 9.0, -8.0),
            (95.0, 62.0, 6.0, 18.0, 8.5, 8.0),
            (172.0, 48.0, 6.0, 12.0, 5.0, 15.0),
        ),
    ),
    Muscle(
        "gluteus",
        (
            (-110.0, 84.0, 24.0, 52.0, 30.0, -25.0),
            (-50.0, 90.0, 10.0, 46.0, 26.0, -38.0),
            (0.0, 104.0, 8.0, 28.0, 13.0, -45.0),
            (32.0, 112.0, -10.0, 12.0, 6.0, -50.0),
        ),
    ),
    Muscle(
        "iliacus",
        (
            (-90.0, 84.0, -78.0, 22.0, 18.0, -50.0),
            (-30.0, 86.0, -52.0, 34.0, 12.0, -58.0),
            (20.0, 93.0, -36.0, 26.0, 6.0, -56.0),
        ),
    ),
    Muscle(
        "multifidus",
        (
            (-75.0, 10.0, 27.0, 6.0, 6.0, 0.0),
            (-30.0, 14.0, 29.0, 11.0, 9.0, 0.0),
            (15.0, 18.0, 34.0, 16.0, 13.0, 0.0),
            (60.0, 16.5, 37.0, 14.5, 16.5, 0.0),
            (130.0, 14.0, 38.0, 11.5, 15.5, 0.0),
            (245.0, 11.0, 34.0, 9.0, 12.0, 0.0),
        ),
    ),
    Muscle(
        "longissimus",
        (
            (-50.0, 24.0, 34.0, 6.0, 4.0, 0.0),
            (5.0, 33.0, 40.0, 14.0, 8.0, 0.0),
            (40.0, 38.0, 38.0, 17.0, 15.0, 12.0),
            (95.0, 37.0, 36.0, 17.5, 20.0, 12.0),
            (150.0, 33.0, 34.0, 17.0, 19.0, 12.0),
            (245.0, 29.0, 30.0, 16.0, 15.0, 10.0),
        ),
    ),
    Muscle(
        "iliocostalis",
        (
            (12.0, 54.0, 36.0, 6.0, 5.0, 20.0),
            (50.0, 61.0, 32.0, 14.0, 13.0, 25.0),
            (110.0, 62.0, 31.0, 15.0, 16.0, 28.0),
            (160.0, 59.0, 30.0, 15.0, 14.0, 25.0),
            (245.0, 56.0, 25.0, 15.0, 9.0, 22.0),
        ),
    ),
    Muscle(
        "intertransverse",
        (
            (-5.0, 34.0, 12.0, 9.0, 7.0, 0.0),
            (95.0, 31.0, 13.0, 10.0, 6.0, 0.0),
            (170.0, 25.0, 13.0, 8.0, 5.0, 0.0),
        ),
    ),
)

_PARASPINAL = 4


class Trunk:
    """Outer contour of the body over a canvas.

    Attributes
    ----------
    depth : (z, y, x) float32, mm under the skin (negative outside).
    """

    def __init__(self, canvas: Canvas, curve: SpineCurve):
        window = canvas.window()
        z = window.z[:, 0, 0]
        back, front, half = (
            np.interp(z, _CONTOUR_Z, row).astype(np.float32)[:, None, None]
            for row in (_CONTOUR_BACK, _CONTOUR_FRONT, _CONTOUR_HALF)
        )
        sway = curve.at(z)[0][:, None, None] * np.float32(0.35)
        furrow = 4.0 * np.exp(-(((window.x - sway) / 13.0) ** 2)) * np.clip((window.z + 40.0) / 50.0, 0.0, 1.0)
        centre, radius = (back + front) / 2, (back - front) / 2
        u = np.abs(window.x - sway * 0.3) / half
        v = np.abs(window.y + furrow * (window.y > 0) - centre) / radius
        r = (u**2.5 + v**2.5 + np.float32(1e-6)) ** np.float32(0.4)
        slope = np.sqrt((u / r) ** 3 / half**2 + (v / r) ** 3 / radius**2) + np.float32(1e-6)
        self.depth: Array = (1.0 - r) / slope
        self.window = window


def _fat_thickness(window: Window) -> Array:
    """Subcutaneous fat, mm: thicker at the flanks and the front, thinner over the back."""
    angle = np.arctan2(window.y + 25.0, np.abs(window.x))
    result: Array = (14.0 + 5.0 * np.cos(2.0 * angle) + 2.5 * (angle < 0) * np.abs(np.sin(angle))).astype(np.float32)
    return result


def _half(
    sign: float, bottom: float, top: float, front: float = -200.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of a box over one half of the body, mm."""
    left, right = (-10.0, 170.0) if sign > 0 else (-170.0, 10.0)
    return np.array([left, front, bottom]), np.array([right, 200.0, top])


def _paint_paraspinal(canvas: Canvas, trunk: Trunk, curve: SpineCurve, sign: float) -> None:
    """Paint the muscles behind the transverse processes as one bulk with thin fatty septa between them."""
    muscles = MUSCLES[_PARASPINAL:]
    bottom, top = min(m.knots[0][0] for m in muscles), max(m.knots[-1][0] for m in muscles)
    box = canvas.window(*_half(sign, bottom, top, -12.0))
    first = muscles[0].distance(box, curve, sign)
    bulk, second = first, np.full_like(first, 50.0)
    for muscle in muscles[1:]:
        own = muscle.distance(box, curve, sign)
        bulk = union(bulk, own, 9.0)
        second = np.minimum(second, np.maximum(first, own))
        first = np.minimum(first, own)
    under = 9.5 - trunk.depth[box.index]
    canvas.paint(box, np.maximum(bulk, under), MUSCLE, edge=0.5)
    septum = np.maximum(0.5 * (second - first) - 0.45, first - 2.5)
    canvas.paint(box, np.maximum(septum, under + 1.0), FAT * 0.4, edge=0.4)


def paint_trunk(canvas: Canvas, trunk: Trunk, curve: SpineCurve) -> Mask:
    """Paint table, skin, fat, the muscular wall and the muscles along the spine.

    Returns
    -------
    (z, y, x) bool, the body inside the skin.
    """
    window = trunk.window
    table = np.abs(window.y - 96.5 + 0.0006 * window.x**2) - 5.0 + 0.0 * (window.x + window.z)
    canvas.paint(window, table, -860.0)
    canvas.paint(window, np.abs(table + 0.7) - 0.7, -180.0)
    canvas.paint(window, -trunk.depth, FAT)
    canvas.paint(window, np.abs(trunk.depth - 1.0) - 1.0, SKIN)
    inner = trunk.depth - _fat_thickness(window)
    wall = np.maximum(-inner, inner - 13.0)
    canvas.paint(window, wall, MUSCLE, edge=0.6)
    for layer in (4.2, 8.8):
        canvas.paint(window, np.abs(inner - layer) - 0.5, FAT * 0.6)
    flank = np.maximum(np.float32(62.0) - np.abs(window.x), np.float32(0.0))
    back = np.minimum(trunk.depth - 11.0, (window.y - curve.at(window.z[:, 0, 0])[1][:, None, None] - 4.0))
    canvas.paint(window, np.maximum(-back, 0.05 - flank), FAT, edge=0.5)
    for sign in SIDES.values():
        for muscle in MUSCLES[:_PARASPINAL]:
            box = canvas.window(*_half(sign, muscle.knots[0][0] - 3.0, muscle.knots[-1][0] + 3.0))
            own = np.maximum(muscle.distance(box, curve, sign), 9.0 - trunk.depth[box.index])
            canvas.paint(box, own, MUSCLE, edge=0.5)
        _paint_paraspinal(canvas, trunk, curve, sign)
    return np.asarray(trunk.depth > 0)


def _tube(
    canvas: Canvas, knots: list[tuple[float, float, float]], radii: list[tuple[float, float]], value: float
) -> Mask:
    """Paint a vessel through knots with half-axes (lateral, front to back); return its mask."""
    mask = np.zeros(canvas.shape, dtype=bool)
    for a, b, ra, rb in zip(knots, knots[1:], radii, radii[1:], strict=False):
        rod = Rod(a, b, ra, rb, (1.0, 0.0, 0.0))
        box = rod.bounds()
        mask |= canvas.solid(box[0] - 2, box[1] + 2, lambda w, rod=rod: rod.distance(w.points()), value)  # type: ignore[misc]
    return mask


def _vessels(canvas: Canvas, layout: Layout) -> dict[str, Mask]:
    """Aorta left of the midline, vena cava right of it, both dividing above the sacrum."""
    front = [layout.poses[lv].to_world((0.0, -layout.sizes[lv].body_depth, 0.0)) for lv in ("T11", "L1", "L3", "L4")]
    aorta = [(float(p[0]) + 9.0, float(p[1]) - 11.5, float(p[2])) for p in front]
    aorta[0] = (aorta[0][0], aorta[0][1], aorta[0][2] + 30.0)
    cava = [(float(p[0]) - 17.0, float(p[1]) - 9.5, float(p[2])) for p in front]
    cava[0] = (cava[0][0] - 4.0, cava[0][1] - 10.0, cava[0][2] + 30.0)
    ends = {1.0: (46.0, -48.0, -70.0), -1.0: (-48.0, -46.0, -70.0)}
    red = _tube(canvas, aorta, [(10.5, 10.5), (10.0, 10.0), (9.0, 9.0), (8.4, 8.0)], 44.0)
    blue = _tube(canvas, cava, [(13.0, 9.5), (12.5, 9.0), (12.0, 8.4), (11.5, 7.6)], 38.0)
    for sign, end in ends.items():
        red |= _tube(
            canvas,
            [aorta[-1], (sign * 24.0, aorta[-1][1] + 2.0, 22.0), end],
            [(7.0, 7.0), (5.8, 5.8), (5.4, 5.4)],
            44.0,
        )
        blue |= _tube(
            canvas,
            [cava[-1], (sign * 25.0, cava[-1][1] + 12.0, 14.0), (end[0], end[1] + 14.0, end[2])],
            [(8.0, 7.0), (7.0, 6.2), (6.6, 6.0)],
            38.0,
        )
    return {"aorta": red, "vena_cava": blue & ~red}


def _kidneys(canvas: Canvas) -> Mask:
    """Kidneys with a fatty sinus; the right one lower."""
    both = np.zeros(canvas.shape, dtype=bool)
    radii = (27.0, 24.0, 53.0)
    for centre in ((62.0, -22.0, 158.0), (-66.0, -24.0, 138.0)):
        sign = float(np.sign(centre[0]))

        def shape(w: Window, centre: tuple[float, float, float] = centre, sign: float = sign) -> Array:
            lean = np.float32(0.18) * sign * (w.z - centre[2])
            points = np.stack(np.broadcast_arrays(w.x + lean, w.y, w.z))
            sinus = ellipsoid(points, (centre[0] - sign * 17.0, centre[1] - 6.0, centre[2]), (15.0, 9.0, 22.0))
            return np.asarray(np.maximum(ellipsoid(points, centre, radii), -sinus))

        reach = np.array([42.0, 30.0, 58.0])
        both |= canvas.solid(np.array(centre) - reach, np.array(centre) + reach, shape, 33.0)
    return both


def _solid_organs(canvas: Canvas) -> None:
    """Liver on the right, spleen on the left."""
    for centre, radii, value in (
        ((-78.0, -42.0, 236.0), (58.0, 66.0, 92.0), 60.0),
        ((96.0, -2.0, 232.0), (27.0, 40.0, 48.0), 50.0),
    ):
        reach = np.array(radii) + 2.0
        canvas.solid(
            np.array(centre) - reach,
            np.array(centre) + reach,
            lambda w, c=centre, r=radii: ellipsoid(w.points(), c, r),  # type: ignore[misc]
            value,
        )


def _bowel(canvas: Canvas, rng: np.random.Generator) -> Mask:
    """Colon on both flanks and loops in front, some with gas."""
    loops: list[tuple[tuple[float, float, float], tuple[float, float, float], float]] = []
    for z in np.arange(-40.0, 130.0, 22.0):
        loops.append(((-104.0, -42.0, float(z)), (21.0, 22.0, 17.0), 0.75))
        loops.append(((110.0, -34.0, float(z) + 20.0), (15.0, 16.0, 17.0), 0.55))
    for z in np.arange(-70.0, 200.0, 30.0):
        for x in np.arange(-66.0, 84.0, 30.0):
            jitter = rng.uniform(-7.0, 7.0, 3)
            size = rng.uniform(13.0, 18.0, 3)
            centre = (float(x + jitter[0]), float(-86.0 + jitter[1]), float(z + jitter[2]))
            loops.append((centre, (float(size[0]), float(size[1]) * 0.9, float(size[2])), float(rng.uniform(0.0, 0.8))))
    mask = np.zeros(canvas.shape, dtype=bool)
    for centre, radii, gas in loops:
        reach = np.array(radii) + 2.0
        window = canvas.window(np.array(centre) - reach, np.array(centre) + reach)
        distance = ellipsoid(window.points(), centre, radii)
        canvas.paint(window, distance, 42.0)
        canvas.paint(window, distance + 2.5, 22.0)
        if gas > 0.45:
            level = window.y - (centre[1] + (gas - 0.75) * 2.0 * radii[1])
            canvas.paint(window, np.maximum(distance + 2.5, level), -930.0)
        mask[window.index] |= distance < 0
    return mask


def _lungs(canvas: Canvas, trunk: Trunk, curve: SpineCurve) -> Mask:
    """Posterior recesses of both lungs behind liver and spleen, thinning out downwards."""
    window = canvas.window(np.array([-200.0, -60.0, 180.0]), np.array([200.0, 90.0, 400.0]))
    depth = trunk.depth[window.index] - _fat_thickness(window) - 13.0
    cx, cy = curve.at(window.z[:, 0, 0])
    forward = np.clip((window.y - cy[:, None, None] + 40.0) / 40.0, 0.0, 1.0)
    thickness = (
        0.62 * (window.z - 192.0) * forward * np.clip((np.abs(window.x - cx[:, None, None]) - 38.0) / 25.0, 0.0, 1.0)
    )
    beside = 46.0 - np.abs(window.x - cx[:, None, None])
    front = cy[:, None, None] - 34.0 - window.y
    wall = np.maximum(-depth, depth - thickness)
    distance = np.maximum(np.maximum(wall, beside * 0.8), front)
    canvas.paint(window, distance, -845.0)
    return canvas.mask(window, distance < 0)


def paint_organs(canvas: Canvas, trunk: Trunk, curve: SpineCurve, layout: Layout, seed: int) -> dict[str, Mask]:
    """Paint the organs in front of the spine.

    Returns
    -------
    dict of str to (z, y, x) bool
        "aorta", "vena_cava", "kidneys", "bowel" and "lungs".
    """
    rng = np.random.default_rng([seed, 301])
    _solid_organs(canvas)
    bowel = _bowel(canvas, rng)
    kidneys = _kidneys(canvas)
    lungs = _lungs(canvas, trunk, curve)
    vessels = _vessels(canvas, layout)
    return {**vessels, "kidneys": kidneys, "bowel": bowel & ~kidneys, "lungs": lungs}
