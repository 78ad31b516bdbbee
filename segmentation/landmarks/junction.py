"""The junction of the superior articular process with the transverse process, its neck and the notch behind it.

Readers' definition of the junction: strongest concavity (middle of the fillet) between the crest of the transverse
process root and the lateral face of the superior articular process, in the coronal plane through the front-to-back
position of the crest 2 to 4 mm lateral of it, on the outer surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.constants import constants
from segmentation.landmarks.processes import Pedicle, articular_front, coronal_plane
from segmentation.landmarks.profile import Corner, CornerSearch, PlaneSlice, concave_corner
from segmentation.shape import FrameBlock, crossing

__all__ = ["Junction", "Neck", "corner_search", "find_junction", "find_neck", "track_crest"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Junction:
    """Where the crest of the transverse process meets the superior articular process.

    Attributes
    ----------
    point : (3,) mm
        (lateral, posterior, superior).
    bend : float
        How sharp the corner is, see `segmentation.landmarks.profile.Corner`.
    spread_mm : float
        Half width of the corner along the outline.
    crest : (n, 3) mm
        The crest of the transverse process, from lateral to medial.
    above_crest_mm : float
        Height of the point above the crest carried on medially as a straight line.
    settled : bool
        The plane and the point agreed with each other.
    """

    point: Array
    bend: float
    spread_mm: float
    crest: Array
    above_crest_mm: float
    settled: bool


@dataclass(frozen=True, eq=False)
class Neck:
    """The lateral neck of the superior articular process.

    Attributes
    ----------
    ventral : (3,) mm
        Its front margin at the junction's height, the back wall of the foramen (t = 0).
    notch : (3,) mm or None
        The mamillo-accessory notch at its back margin (t = 1).
    notch_bend : float
    """

    ventral: Array | None
    notch: Array | None
    notch_bend: float


def _process_middle(block: FrameBlock, column: int, tip: Array) -> tuple[float, float] | None:
    """(posterior, superior) middle of the sagittal section of the transverse process nearest its tip."""
    parts, count = ndimage.label(block.distance[:, :, column] < 0)
    if not count:
        return None
    away = np.hypot(block.superior[:, None] - tip[2], block.posterior[None, :] - tip[1])
    away = np.where(parts > 0, away, np.inf)
    k, j = np.nonzero(parts == parts[np.unravel_index(int(np.argmin(away)), away.shape)])
    return float(block.posterior[j].mean()), float(block.superior[k].mean())


def track_crest(block: FrameBlock, root: float, tip: Array) -> Array | None:
    """Follow the superior border of the transverse process from its middle toward the articular process.

    Parameters
    ----------
    root : float
        Lateral position where the free process begins, mm.
    tip : (3,) mm
        Tip of the transverse process.

    Returns
    -------
    (n, 3) mm or None
        One crest point per lattice column, from lateral to medial.
    """
    c = constants("landmarks")["crest"]
    start = tip[0] - float(c["start_share"]) * (tip[0] - root)
    first = int(np.argmin(np.abs(block.lateral - start)))
    middle = _process_middle(block, first, tip)
    if middle is None:
        return None
    y, z = middle
    points: list[tuple[float, float, float]] = []
    for i in range(first, -1, -1):
        if block.lateral[i] < float(c["stop_share"]) * tip[0]:
            break
        rows = np.flatnonzero(np.abs(block.posterior - y) <= float(c["window_mm"]))
        k = int(np.argmin(np.abs(block.superior - z)))
        top, found = crossing(block.distance[k:, rows, i], block.superior[k:], 0)
        if not found.any():
            break
        height = float(np.nanmax(top))
        y = float(block.posterior[rows[np.nan_to_num(top, nan=-np.inf) >= height - float(c["cap_mm"])]].mean())
        z = height - float(c["inside_mm"])
        points.append((float(block.lateral[i]), y, height))
        if height - min(p[2] for p in points) > float(c["stop_rise_mm"]):
            break
    return np.array(points) if points else None


def _crest_plane(crest: Array, lateral: float, front: float | None) -> float:
    """Front-to-back position of the crest 2 to 4 mm lateral of a point, mm; never ahead of the articular process."""
    y = _crest_position(crest, lateral)
    return y if front is None else max(y, front - float(constants("landmarks")["articular_front"]["slack_mm"]))


def _crest_position(crest: Array, lateral: float) -> float:
    low, high = constants("landmarks")["crest"]["plane_lateral_mm"]
    use = (crest[:, 0] >= lateral + low - 1e-6) & (crest[:, 0] <= lateral + high + 1e-6)
    if use.any():
        return float(crest[use, 1].mean())
    return float(crest[int(np.argmin(np.abs(crest[:, 0] - lateral - low))), 1])


def corner_search(name: str) -> tuple[CornerSearch, float, float]:
    """The search described by a table of ``landmarks.toml`` and its allowed range, mm."""
    c = constants("landmarks")[name]
    angle = math.radians(float(c["direction_deg"]))
    search = CornerSearch((math.cos(angle), math.sin(angle)), tuple(float(a) for a in c["arms_mm"]),
                          float(c["span_mm"]), float(c["depth_mm"]), float(c["step_mm"]),
                          float(c["prior_scale_mm"]), float(c["prior_weight"]))
    low, high = (float(v) for v in c["allowed_mm"])
    return search, low, high


def find_junction(block: FrameBlock, root: float, articular_tip: Array, process_tip: Array) -> Junction | None:
    """Find the junction on the block's side; None when there is no crest or no corner."""
    crest = track_crest(block, root, process_tip)
    if crest is None:
        return None
    search, low, high = corner_search("junction")
    c = constants("landmarks")["junction"]
    short = replace(search, arms_mm=tuple(float(a) for a in c["short_arms_mm"]))
    offset = float(c["lateral_of_tip_mm"])
    expected = float(articular_tip[0]) + offset
    front = articular_front(block, articular_tip)
    point, corner, moved = np.array([expected, 0.0, 0.0]), None, math.inf
    for _ in range(int(c["rounds"])):
        y = _crest_plane(crest, float(point[0]), front)
        height = float(np.interp(expected, crest[::-1, 0], crest[::-1, 2]))
        plane = PlaneSlice(block.lateral, block.superior, coronal_plane(block, y))

        def allowed(uv: Array) -> NDArray[np.bool_]:
            return np.asarray((uv[:, 0] >= articular_tip[0] + low) & (uv[:, 0] <= articular_tip[0] + high)
                              & (uv[:, 1] < articular_tip[2]))

        start = np.array([expected, height])
        corner = concave_corner(plane, start, search, allowed) or concave_corner(plane, start, short, allowed)
        if corner is None:
            return None
        new = np.array([corner.point[0], y, corner.point[1]])
        moved = float(np.linalg.norm(new - point))
        point = new
        if moved < float(c["settled_mm"]):
            break
    assert corner is not None
    settled = moved < 2 * float(c["settled_mm"])
    return Junction(point, corner.bend, corner.spread_mm, crest, _above_crest(crest, point), settled)


def _above_crest(crest: Array, point: Array) -> float:
    """Height of a point over the straight line through the crest 2 to 10 mm lateral of it, mm."""
    use = (crest[:, 0] >= point[0] + 2.0) & (crest[:, 0] <= point[0] + 10.0)
    if use.sum() < 3:
        return 0.0
    slope, level = np.polyfit(crest[use, 0], crest[use, 2], 1)
    return float(point[2] - (slope * point[0] + level))


def find_neck(block: FrameBlock, pedicle: Pedicle, junction: Array, articular_tip: Array) -> Neck:
    """Front margin of the neck and the mamillo-accessory notch on the block's side."""
    notch, bend = _find_notch(block, pedicle, junction)
    return Neck(_ventral_margin(block, pedicle, junction, articular_tip), notch, bend)


def _ventral_margin(block: FrameBlock, pedicle: Pedicle, junction: Array, articular_tip: Array) -> Array | None:
    """Foremost point of the articular process just above the junction, where it is free of the pedicle."""
    c = constants("landmarks")["neck"]
    x = float(junction[0]) - float(c["medial_of_junction_mm"])
    i = int(np.argmin(np.abs(block.lateral - x)))
    start = int(np.argmin(np.abs(block.posterior - junction[1])))
    for z in np.arange(junction[2], min(articular_tip[2], junction[2] + float(c["rise_mm"])), block.step):
        k = int(np.argmin(np.abs(block.superior - z)))
        row = block.distance[k, :start + 4, i][::-1]
        inside = np.flatnonzero(row < 0)
        if not inside.size:
            continue
        front, found = crossing(row[inside[0]:], block.posterior[:start + 4][::-1][inside[0]:], 0)
        if bool(found) and float(front) > pedicle.center[1] - float(c["ahead_of_isthmus_mm"]):
            return np.array([block.lateral[i], float(front), block.superior[k]])
    return None


def _find_notch(block: FrameBlock, pedicle: Pedicle, junction: Array) -> tuple[Array | None, float]:
    """Strongest dorsolateral concavity behind the junction, over the axial planes about the pedicle's middle height.

    It lies lateral of the mamillary process: the cleft medial of that one is the joint.
    """
    c = constants("landmarks")["notch"]
    search, low, high = corner_search("notch")
    best: tuple[float, float, Array] | None = None
    start = np.array([junction[0] + float(c["start_lateral_mm"]), junction[1] + float(c["start_posterior_mm"])])
    side_low, side_high = (junction[0] + float(v) for v in c["lateral_mm"])
    usual = float(pedicle.center[2]) + float(c["usual_height_mm"])
    top = min(float(pedicle.center[2]) + float(c["height_mm"][1]), junction[2] - float(c["min_below_mm"]))
    for height in np.arange(top, float(pedicle.center[2]) + float(c["height_mm"][0]) - 1e-6, -block.step):
        k = int(np.argmin(np.abs(block.superior - height)))
        plane = PlaneSlice(block.lateral, block.posterior, block.distance[k])
        medial = max(side_low, _mamillary(plane, (side_low, side_high), junction[1] + high))

        def allowed(uv: Array, medial: float = medial) -> NDArray[np.bool_]:
            return np.asarray((uv[:, 1] >= junction[1] + low) & (uv[:, 1] <= junction[1] + high)
                              & (uv[:, 0] >= medial) & (uv[:, 0] <= side_high))

        corner: Corner | None = concave_corner(plane, start, search, allowed)
        if corner is None:
            continue
        score = corner.bend - ((height - usual) / float(c["height_scale_mm"])) ** 2
        if best is None or score > best[0]:
            best = (score, corner.bend, np.array([corner.point[0], corner.point[1], block.superior[k]]))
    if best is None:
        return None, 0.0
    return (best[2] if best[1] >= float(c["min_bend"]) else None), best[1]


def _mamillary(plane: PlaneSlice, lateral: tuple[float, float], reach: float) -> float:
    """Lateral position of the bone's hindmost place between two bounds and ahead of `reach`, mm; -inf if none."""
    columns = np.flatnonzero((plane.u >= lateral[0]) & (plane.u <= lateral[1]))
    inside = (plane.distance[:, columns] < 0) & (plane.v <= reach)[:, None]
    if not inside.any():
        return -math.inf
    back = np.where(inside.any(axis=0), len(plane.v) - 1 - inside[::-1].argmax(axis=0), -1)
    return float(plane.u[columns[int(np.argmax(back))]])
