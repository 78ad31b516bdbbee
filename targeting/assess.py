"""Judging a batch of needles: hard limits in a fixed order, the first that fails counts; then what ranks the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from targeting.angles import oblique_tilt
from targeting.candidates import Needles
from targeting.kernels import OPEN, electrode_along, find_contact, find_exit, least_slack
from targeting.model import RejectionReason
from targeting.needles import longest_path
from targeting.procedures import ProcedureKind
from targeting.scene import Scene
from targeting.targets import neck_fraction

__all__ = ["ADMITTED", "Batch", "assess", "robustness"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: `Batch.reason` of a needle that keeps every hard limit; others index `REASONS`.
ADMITTED = -1
REASONS = tuple(RejectionReason)
_CONTACT_START_MM = 9.0
_CONTACT_GAP_MM = 0.1
_SIDE_MM = 1.0


@dataclass(eq=False)
class Batch:
    """Needles with the verdict on each; arrays have one row per needle.

    Attributes
    ----------
    tips : (n, 3) LPS mm
    lengths : (n,) mm
        Tip to skin, or to the end of what was measured where `open_end`.
    reason : (n,) int
        ADMITTED or an index into `REASONS`.
    miss : (n,) float
        How far a rejected needle is from its limit, in the limit's unit, larger is worse.
    slack, slack_at : (n,) mm
        Least distance less margin less radius over the structures, and how far from the tip.
    bone, bone_at : (n,) mm
        Least distance from the needle's surface to bone before the tip zone.
    contact, captured, parallel, warm, nerve_gap : (n,)
        Electrodes only: share on bone, captured length mm, angle to the nerve deg, slack of the 45 C zone mm, axis to
        nerve mm.
    """

    needles: Needles
    tips: Array
    lengths: Array
    open_end: Flags
    oblique: Array
    tilt: Array
    reason: NDArray[np.int64]
    miss: Array
    slack: Array
    slack_at: Array
    bone: Array
    bone_at: Array
    electrode: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tips)

    @property
    def directions(self) -> Array:
        """(n, 3) unit LPS, entry to tip."""
        return self.needles.directions

    @property
    def entries(self) -> Array:
        """(n, 3) LPS mm on the skin, or the last place measured."""
        return self.tips - self.lengths[:, None] * self.directions

    @property
    def admitted(self) -> Flags:
        """(n,) needles that keep every hard limit."""
        return np.asarray(self.reason == ADMITTED)

    def reject(self, which: NDArray[np.intp], reason: RejectionReason, miss: Array) -> None:
        """Turn down the needles of `which` whose `miss` is positive."""
        bad = miss > 0
        self.reason[which[bad]] = REASONS.index(reason)
        self.miss[which[bad]] = miss[bad]

    def left(self) -> NDArray[np.intp]:
        """Needles not turned down so far."""
        return np.flatnonzero(self.admitted)


def _empty_batch(scene: Scene, needles: Needles) -> Batch:
    n = len(needles)
    oblique, tilt = oblique_tilt(scene.frame, scene.target.side, needles.directions)
    nothing = np.full(n, np.nan)
    return Batch(needles, needles.points.copy(), np.zeros(n), np.zeros(n, np.bool_), oblique, tilt,
                 np.full(n, ADMITTED, np.int64), np.zeros(n), nothing.copy(), np.zeros(n), nothing.copy(), np.zeros(n))


def _check_angles(scene: Scene, batch: Batch) -> None:
    band = scene.band
    excess = np.zeros(len(batch))
    for limit, values in ((band.oblique_limit, batch.oblique), (band.tilt_limit, batch.tilt)):
        excess = np.maximum(excess, np.maximum(limit.low - values, values - limit.high))
    batch.reject(np.arange(len(batch)), RejectionReason.ANGLE_BAND, excess - 1e-6)


def _check_block_tip(scene: Scene, batch: Batch) -> None:
    """Advance each needle to the bone: it must touch near the target, behind the foramen, and nothing before."""
    rule, left = scene.procedure.tip, batch.left()
    aims, directions = batch.needles.points[left], batch.directions[left]
    s, nearest = find_contact(scene.fields.bones, scene.inverse, scene.origin, aims, directions, _CONTACT_START_MM,
                              rule.to_target.value + 1.0, _CONTACT_GAP_MM)
    touching = np.isfinite(s)
    s = np.where(touching, s, 0.0)
    tips = aims - s[:, None] * directions
    batch.tips[left] = tips
    away = np.linalg.norm(tips - scene.target.position, axis=1) - rule.to_target.value
    batch.reject(left, RejectionReason.BONE_ON_PATH, np.where(touching & (s > 0), away, 0.0))
    batch.reject(left, RejectionReason.TIP_RULE, np.where(touching & (s <= 0), away, 0.0))
    batch.reject(left, RejectionReason.TIP_RULE, np.where(touching, 0.0, np.maximum(nearest, 1e-3)))
    ventral, dorsal = scene.target.course.neck
    behind = neck_fraction(scene.target.course, tips) * float(np.linalg.norm(dorsal - ventral))
    still = batch.left()
    batch.reject(still, RejectionReason.TIP_RULE, rule.ventral_gap.value - behind[np.isin(left, still)])


def _check_electrode(scene: Scene, batch: Batch) -> None:
    """Parallel to the nerve, beside bone and not in it, close to the nerve, no spinal nerve in the 50 C zone."""
    rule, tip = scene.electrode, scene.procedure.tip
    along = scene.nerve_middle[1]
    angle = np.degrees(np.arccos(np.clip(batch.directions @ along, -1.0, 1.0)))
    left = batch.left()
    batch.reject(left, RejectionReason.PARALLELISM, angle[left] - rule.parallel_limit.value - 1e-6)
    left = batch.left()
    t = neck_fraction(scene.target.course, batch.tips[left])
    scale = float(np.linalg.norm(scene.target.course.neck[1] - scene.target.course.neck[0]))
    batch.reject(left, RejectionReason.TIP_RULE, (rule.tip_neck.value - t) * scale)
    left = batch.left()
    out = electrode_along(
        scene.fields.bones, scene.fields.foramen, scene.inverse, scene.origin, batch.tips[left],
        batch.directions[left], scene.heat_reach, scene.nerve, scene.wanted, 0.25, scene.active, tip.zone.value,
        scene.procedure.capture.radius.value, scene.radius + rule.contact.value)
    n = len(batch)
    columns = dict(zip(("near", "gap", "contact", "hot", "warm", "nerve_gap", "captured"), out.T, strict=True))
    for name, column in columns.items():
        batch.electrode[name] = np.full(n, np.nan)
        batch.electrode[name][left] = column
    batch.electrode["parallel"] = angle
    for reason, miss in (
            (RejectionReason.TIP_RULE, scene.radius - tip.bone_overlap.value - columns["near"]),
            (RejectionReason.TIP_RULE, columns["gap"] - tip.bone_gap.value),
            (RejectionReason.TIP_RULE, columns["nerve_gap"] - rule.nerve_gap.value),
            (RejectionReason.HEATED_NERVE, -columns["hot"])):
        batch.reject(left, reason, np.where(batch.admitted[left], miss, 0.0))


def _check_skin(scene: Scene, batch: Batch, allow_open: bool) -> None:
    """On the skin, in view, on the target's side, within reach."""
    left, limit = batch.left(), longest_path(scene.procedure)
    s, how = find_exit(scene.fields.state, scene.inverse, scene.origin, batch.tips[left], batch.directions[left],
                       limit + 60.0)
    batch.lengths[left] = s
    batch.open_end[left] = how == OPEN
    if not allow_open:
        batch.reject(left, RejectionReason.SKIN_NOT_IN_VIEW, (how == OPEN).astype(np.float64))
    left = batch.left()
    entries = batch.tips[left] - batch.lengths[left, None] * batch.directions[left]
    side = (entries - scene.target.carrier.body_center) @ scene.lateral
    batch.reject(left, RejectionReason.ENTRY_SIDE, _SIDE_MM - side)
    left = batch.left()
    batch.reject(left, RejectionReason.REACH, batch.lengths[left] - limit)
    if scene.procedure.electrode is not None:
        left = batch.left()
        depth = batch.lengths[left] - scene.active
        batch.reject(left, RejectionReason.ACTIVE_TIP_DEPTH, scene.electrode.active_depth.value - depth)


def _check_path(scene: Scene, batch: Batch) -> None:
    """Margins along the whole needle, bone before the tip zone."""
    left = batch.left()
    slack, slack_at, bone, bone_at = least_slack(
        scene.fields.combined, scene.fields.bones, scene.inverse, scene.origin, batch.tips[left],
        batch.directions[left], batch.lengths[left], scene.procedure.tip.zone.value)
    batch.slack[left], batch.slack_at[left] = slack - scene.radius, slack_at
    batch.bone[left], batch.bone_at[left] = bone - scene.radius, bone_at
    batch.reject(left, RejectionReason.MARGIN, -batch.slack[left])
    left = batch.left()
    batch.reject(left, RejectionReason.BONE_ON_PATH, -batch.bone[left])


def assess(scene: Scene, needles: Needles, *, allow_open: bool = False) -> Batch:
    """Judge a batch.

    Parameters
    ----------
    allow_open : bool
        Admit needles whose path leaves the measured part of the scan before the skin (direction only).
    """
    batch = _empty_batch(scene, needles)
    _check_angles(scene, batch)
    if scene.procedure.kind is ProcedureKind.RF:
        _check_electrode(scene, batch)
    else:
        _check_block_tip(scene, batch)
    _check_skin(scene, batch, allow_open)
    _check_path(scene, batch)
    return batch


def robustness(scene: Scene, batch: Batch, which: NDArray[np.intp]) -> Array:
    """(m,) share of misplaced needles that still keep every margin and cross no bone.

    Each needle is turned about its tip so that its entry misses by the procedure's entry and angle errors together,
    in eight directions.
    """
    rule = scene.procedure.search
    kept = np.zeros(len(which))
    tips, lengths = batch.tips[which], batch.lengths[which]
    u = batch.directions[which]
    first = scene.frame.left - (u @ scene.frame.left)[:, None] * u
    first /= np.linalg.norm(first, axis=1)[:, None]
    second = np.cross(u, first)
    miss = np.hypot(rule.entry_error.value / np.maximum(lengths, 1.0), np.tan(np.radians(rule.angle_error.value)))
    for a in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        turned = u + miss[:, None] * (np.cos(a) * first + np.sin(a) * second)
        turned /= np.linalg.norm(turned, axis=1)[:, None]
        slack, _, bone, _ = least_slack(scene.fields.combined, scene.fields.bones, scene.inverse, scene.origin, tips,
                                        np.ascontiguousarray(turned), lengths, scene.procedure.tip.zone.value)
        kept += (slack >= scene.radius) & (bone >= scene.radius)
    return kept / 8.0
