"""Needle directions from angles against the squared endplate, and the pose of a needle in words a room can use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import CArmAngles, Side, VertebralFrame, carm_angles, ct_angles, direction_from_carm
from segmentation.anatomy import LandmarkName
from segmentation.spine import Spine
from targeting.model import Needle, NeedlePose, Target
from targeting.procedures import Procedure

__all__ = [
    "DirectionGrid", "against_side", "direction_from_angles", "direction_grid", "frame_of", "make_pose", "midline_x",
    "oblique_tilt",
]

Array = NDArray[np.float64]
#: Directions along either angle that stand together in a grid.
_PATCH = 4
#: A receptor turned farther stands in front of the patient.
_BEHIND_DEG = 90.0


@dataclass(frozen=True, eq=False)
class DirectionGrid:
    """Directions of a target's angle band.

    Attributes
    ----------
    directions : (n, 3) unit LPS, entry to tip
    oblique, tilt : (n,) degrees
    """

    directions: Array
    oblique: Array
    tilt: Array


def frame_of(target: Target) -> VertebralFrame:
    """The carrier's frame; targets are only made on vertebrae that have one."""
    frame = target.carrier.frame
    if frame is None:
        raise ValueError(f"{target.id}: the carrier has no vertebral frame")
    return frame


def direction_from_angles(frame: VertebralFrame, side: Side, oblique_deg: float, tilt_deg: float) -> Array:
    """(3,) unit LPS, entry to tip; inverse of `VertebralFrame.oblique_tilt`."""
    return np.asarray(direction_from_carm(CArmAngles(side.sign * oblique_deg, tilt_deg)) @ frame.matrix)


def oblique_tilt(frame: VertebralFrame, side: Side, directions: Array) -> tuple[Array, Array]:
    """(n,) oblique and (n,) tilt in degrees of (n, 3) directions; the array form of `VertebralFrame.oblique_tilt`."""
    back = -directions @ frame.matrix.T
    oblique = side.sign * np.degrees(np.arctan2(back[:, 0], back[:, 1]))
    return oblique, np.degrees(np.arcsin(np.clip(back[:, 2], -1.0, 1.0)))


def direction_grid(target: Target, procedure: Procedure, step_deg: float) -> DirectionGrid:
    """Every direction of the target's hard angle band, `step_deg` apart, neighbours in patches."""
    band = procedure.band(target.aim)
    axes = []
    for limit in (band.oblique_limit, band.tilt_limit):
        count = max(math.ceil((limit.high - limit.low) / step_deg), 1) + 1
        axes.append(np.linspace(limit.low, limit.high, count))
    row, column = (a.ravel() for a in np.meshgrid(*(np.arange(len(a)) for a in axes), indexing="ij"))
    order = np.lexsort((column, row, column // _PATCH, row // _PATCH))
    oblique, tilt = axes[0][row[order]], axes[1][column[order]]
    theta, phi = np.radians(target.side.sign * oblique), np.radians(tilt)
    local = -np.stack([np.sin(theta) * np.cos(phi), np.cos(theta) * np.cos(phi), np.sin(phi)], axis=1)
    return DirectionGrid(local @ frame_of(target).matrix, oblique, tilt)


def midline_x(spine: Spine, z_mm: float) -> float | None:
    """Left-right position (LPS x, mm) of the spinous line at a height, interpolated between spinous tips.

    Above the highest and below the lowest tip the nearest tip's value holds. None when no spinous tip is known.
    """
    tips = [v.landmarks[LandmarkName.SPINOUS_TIP].position for v in spine.vertebrae
            if LandmarkName.SPINOUS_TIP in v.landmarks]
    if not tips:
        return None
    line = np.array(sorted((float(t[2]), float(t[0])) for t in tips))
    return float(np.interp(z_mm, line[:, 0], line[:, 1]))


def make_pose(spine: Spine, target: Target, needle: Needle, tip: Array, direction: Array,
              entry: Array | None) -> NeedlePose:
    """A needle with its angles; `entry` None leaves out what depends on the skin."""
    oblique, tilt = frame_of(target).oblique_tilt(direction, target.side)
    from_midline = above = length = None
    if entry is not None:
        midline = midline_x(spine, float(entry[2]))
        from_midline = None if midline is None else target.side.sign * (float(entry[0]) - midline)
        above = float(entry[2] - tip[2])
        length = float(np.linalg.norm(tip - entry))
    return NeedlePose(needle, entry, tip, direction, length, oblique, tilt, carm_angles(direction),
                      ct_angles(direction), from_midline, above)


def against_side(needles: Sequence[NeedlePose]) -> bool:
    """True when the words for C-arm and table would send a needle to the other side of the midline or to the front.

    The last check, in the file's axes alone, of what was searched in the vertebra's own.
    """
    return any(abs(needle.carm.rotation_deg) > _BEHIND_DEG
               or (needle.entry_from_midline_mm is not None and needle.entry_from_midline_mm < 0) for needle in needles)
