"""Landmarks of the sacrum: the groove between the S1 superior articular process and the ala, the process's tip.

Readers' definition of the groove: bottom of the valley between the S1 superior articular process root and the ala, at
the front-to-back position of the top of the ala.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, VertebralFrame
from segmentation.constants import constants
from segmentation.landmarks.junction import corner_search
from segmentation.landmarks.processes import articular_front, coronal_plane, extreme, largest_part
from segmentation.landmarks.profile import PlaneSlice, concave_corner
from segmentation.shape import FrameBlock, crossing

__all__ = ["SacralSide", "measure_sacral_side", "working_frame"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SacralSide:
    """Points of one side of the sacrum, (lateral, posterior, superior) mm of the working frame; None where not found.

    Attributes
    ----------
    groove : (3,) or None
    bend, spread_mm : float
        See `segmentation.landmarks.profile.Corner`.
    ventral, dorsal : (3,) or None
        Front and back margin of the root of the articular process beside the groove.
    pedicle : (3,) or None
        Nominal: beside the canal at the depth of the posterior wall.
    """

    articular_tip: Array | None
    groove: Array | None
    bend: float
    spread_mm: float
    ventral: Array | None
    dorsal: Array | None
    pedicle: Array | None


def working_frame(frame: VertebralFrame, upright: Array | None = None) -> VertebralFrame:
    """The sacrum's frame leaned back about its left axis until it stands upright as the patient does.

    Parameters
    ----------
    upright : (3,) LPS, optional
        The lying patient's cranial direction; the usual lean when left out.
    """
    c = constants("landmarks")["sacral_points"]
    lean = float(c["lean_back_deg"])
    if upright is not None:
        lean = math.degrees(math.atan2(float(upright @ frame.posterior), float(upright @ frame.superior)))
        low, high = (float(v) for v in c["lean_back_range_deg"])
        lean = min(max(lean, low), high)
    a = math.radians(lean)
    superior = math.cos(a) * frame.superior + math.sin(a) * frame.posterior
    return VertebralFrame.from_axes(frame.origin, frame.posterior, superior)


def _dome_plane(block: FrameBlock, tip: Array) -> float | None:
    """Front-to-back position of the top of the ala lateral of the articular process, mm."""
    c = constants("landmarks")["sacral_points"]
    low, high = (float(v) for v in c["dome_lateral_of_tip_mm"])
    front, back = (float(tip[1]) + float(v) for v in c["dome_behind_tip_mm"])
    part = block.window((tip[0] + low, tip[0] + high), (front, back), tuple(c["dome_superior_mm"]))
    if part.distance.size == 0:
        return None
    found = []
    for i in range(len(part.lateral)):
        top, hit = crossing(-part.distance[::-1, :, i], part.superior[::-1], 0)
        if hit.any():
            height = np.nan_to_num(top, nan=-np.inf)
            found.append(float(part.posterior[height >= height.max() - float(c["dome_cap_mm"])].mean()))
    return float(np.median(found)) if found else None


def _margins(block: FrameBlock, groove: Array) -> tuple[Array | None, Array | None]:
    """Front and back surface of the articular root just medial of and above the groove."""
    c = constants("landmarks")["sacral_points"]
    i = int(np.argmin(np.abs(block.lateral - (groove[0] - float(c["root_medial_mm"])))))
    k = int(np.argmin(np.abs(block.superior - (groove[2] + float(c["root_rise_mm"])))))
    row = block.distance[k, :, i]
    inside = np.flatnonzero(row < 0)
    if not inside.size:
        return None, None
    start = int(inside[np.argmin(np.abs(block.posterior[inside] - groove[1]))])
    front, ahead = crossing(row[start::-1], block.posterior[start::-1], 0)
    back, behind = crossing(row[start:], block.posterior[start:], 0)
    x, z = float(block.lateral[i]), float(block.superior[k])
    return (np.array([x, float(front), z]) if bool(ahead) else None,
            np.array([x, float(back), z]) if bool(behind) else None)


def _pedicle(block: FrameBlock) -> Array | None:
    """Nominal S1 pedicle: a fixed way lateral of the canal's side wall."""
    c = constants("landmarks")["sacral_points"]
    y, z = float(c["pedicle_posterior_mm"]), float(c["pedicle_superior_mm"])
    part = block.window((0.0, 34.0), tuple(c["canal_wall_posterior_mm"]), (z - 3.0, z + 3.0))
    wall, found = crossing(-part.distance, part.lateral, 2)
    if found.mean() < 0.5:
        return None
    return np.array([float(np.median(wall[found])) + float(c["pedicle_lateral_of_canal_mm"]), y, z])


def measure_sacral_side(block: FrameBlock, side: Side) -> SacralSide:
    """Measure one side of the sacrum on a lattice along its `working_frame`."""
    c = constants("landmarks")["sacral_points"]
    half = block.on_side(side)
    part = half.window(tuple(c["tip_lateral_mm"]), tuple(c["tip_posterior_mm"]), tuple(c["tip_superior_mm"]))
    tip = extreme(part, largest_part(part.distance < 0), 2)
    pedicle = _pedicle(half)
    y = None if tip is None else _dome_plane(half, tip)
    if tip is None or y is None:
        return SacralSide(tip, None, 0.0, math.inf, None, None, pedicle)
    front = articular_front(half, tip)
    y = y if front is None else max(y, front)  # the groove is the articular process's: never ahead of it
    search, low, high = corner_search("groove")
    start = np.array([tip[0] + float(constants("landmarks")["groove"]["lateral_of_tip_mm"]),
                      tip[2] - float(constants("landmarks")["groove"]["below_tip_mm"])])

    def allowed(uv: Array) -> NDArray[np.bool_]:
        return np.asarray((uv[:, 0] >= tip[0] + low) & (uv[:, 0] <= tip[0] + high) & (uv[:, 1] < tip[2]))

    corner = concave_corner(PlaneSlice(half.lateral, half.superior, coronal_plane(half, y)), start, search, allowed)
    if corner is None:
        return SacralSide(tip, None, 0.0, math.inf, None, None, pedicle)
    groove = np.array([corner.point[0], y, corner.point[1]])
    ventral, dorsal = _margins(half, groove)
    return SacralSide(tip, groove, corner.bend, corner.spread_mm, ventral, dorsal, pedicle)
