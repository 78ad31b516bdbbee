"""Judging needles: hard limits in a fixed order; then what ranks the rest.

A batch of candidates meets the limits one after another and the first that fails counts. A single needle that a person
placed meets the same limits, and every one that fails is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import degrees_between, unit
from segmentation.anatomy import StructureName
from targeting.angles import oblique_tilt
from targeting.candidates import Needles
from targeting.follow import find_stop
from targeting.kernels import OPEN, electrode_along, find_contact, find_dense, find_exit, least_slack
from targeting.limits import BOUND_ROUNDING, Limit
from targeting.model import RejectionReason
from targeting.needles import longest_path
from targeting.procedures import ProcedureKind
from targeting.scene import Scene
from targeting.targets import neck_fraction

__all__ = ["BEYOND_REACH_MM", "Batch", "assess", "judge", "measure_path", "robustness"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]
_CONTACT_START_MM = 9.0
_SIDE_MM = 1.0
#: Bone ahead of a tip is looked for so far, mm.
_SEEN_MM = 15.0
#: Directions in which a needle is misplaced.
_TURNS = 8
#: A path that misses the pedicle altogether is this far from its margin, mm.
_NO_BONE_MM = -99.0
#: Skin is looked for this far beyond the reach of the longest needle, mm.
BEYOND_REACH_MM = 60.0
#: An entry this far from where the line leaves the body is on the skin, beside half a voxel, mm.
_ON_SKIN_MM = 1.0


@dataclass(eq=False)
class Batch:
    """Needles with the verdict on each; arrays have one row per needle.

    Attributes
    ----------
    tips : (n, 3) LPS mm
    lengths : (n,) mm
        Tip to skin, or to the end of what was measured where `open_end`.
    admitted : (n,) bool
        Needles that keep every hard limit so far.
    broken : list of (Limit, (m,) rows, (m,) values)
        The limits that were broken, by which needles, and the value each of them reached.
    every : bool
        Needles that broke a limit go on to the next one; else the first that fails counts.
    slack, slack_at : (n,) mm
        Least distance less margin less radius over the structures, and how far from the tip; NaN until measured.
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
    admitted: Flags
    slack: Array
    slack_at: Array
    bone: Array
    bone_at: Array
    electrode: dict[str, Array] = field(default_factory=dict)
    broken: list[tuple[Limit, Rows, Array]] = field(default_factory=list)
    every: bool = False

    def __len__(self) -> int:
        return len(self.tips)

    @property
    def directions(self) -> Array:
        """(n, 3) unit LPS, entry to tip."""
        return self.needles.directions

    @property
    def entries(self) -> Array:
        """(n, 3) LPS mm on the skin, or the last place measured."""
        return self.entries_of(slice(None))

    def entries_of(self, which: Rows | slice) -> Array:
        """(m, 3) LPS mm: `entries` of some rows."""
        return np.asarray(self.tips[which] - self.lengths[which][:, None] * self.directions[which])

    def reject(self, which: Rows, limit: Limit, values: Array) -> None:
        """Turn down the needles of `which` whose value breaks a limit."""
        bad = (limit.miss(values) > 0) & (self.admitted[which] | self.every)
        if bad.any():
            self.admitted[which[bad]] = False
            self.broken.append((limit, which[bad], values[bad]))

    def take(self, which: Rows) -> Batch:
        """A copy of some rows, without what was turned down."""
        columns = {f.name: getattr(self, f.name)[which].copy() for f in fields(self)
                   if isinstance(getattr(self, f.name), np.ndarray)}
        return Batch(self.needles.take(which), electrode={n: c[which].copy() for n, c in self.electrode.items()},
                     **columns)

    def put(self, rows: Rows, other: Batch, which: Rows) -> None:
        """Overwrite some rows with rows of another batch of the same procedure."""
        for f in fields(self):
            column = getattr(self, f.name)
            if isinstance(column, np.ndarray):
                column[rows] = getattr(other, f.name)[which]
        self.needles.points[rows] = other.needles.points[which]
        self.needles.directions[rows] = other.needles.directions[which]
        for name, column in self.electrode.items():
            column[rows] = other.electrode[name][which]

    def left(self) -> Rows:
        """Needles that the next limit is asked of."""
        return np.arange(len(self)) if self.every else np.flatnonzero(self.admitted)


def _empty_batch(scene: Scene, needles: Needles) -> Batch:
    n = len(needles)
    oblique, tilt = oblique_tilt(scene.frame, scene.target.side, needles.directions)
    nothing = np.full(n, np.nan)
    return Batch(needles, needles.points.copy(), np.zeros(n), np.zeros(n, np.bool_), oblique, tilt,
                 np.ones(n, np.bool_), nothing.copy(), np.zeros(n), nothing.copy(), np.zeros(n))


def _check_angles(scene: Scene, batch: Batch) -> None:
    band = scene.band
    for name, allowed, angle in (("oblique angle", band.oblique_limit, batch.oblique),
                                 ("tilt", band.tilt_limit, batch.tilt)):
        left = batch.left()
        words = f"{name} {{miss:.1f}} degrees outside {allowed.low:.0f} to {allowed.high:.0f} degrees{{best}}"
        excess = np.maximum(allowed.low - angle[left], angle[left] - allowed.high)
        batch.reject(left, Limit(RejectionReason.ANGLE_BAND, 0.0, words), excess)


def _advance_to_bone(scene: Scene, batch: Batch) -> None:
    """Advance each needle of a block to the bone, which it must meet near the target and not before."""
    rule, left = scene.procedure.tip, batch.left()
    aims, directions = batch.needles.points[left], batch.directions[left]
    s, nearest = find_contact(scene.fields.bones, scene.inverse, scene.origin, aims, directions, _CONTACT_START_MM,
                              rule.to_target.value + 1.0, scene.contact_gap)
    touching = np.isfinite(s)
    batch.reject(left, Limit(RejectionReason.TIP_RULE, scene.contact_gap,
                             "the tip does not rest on the bone at the target, {value:.1f} mm off{best}"),
                 np.where(touching, 0.0, np.maximum(nearest, scene.contact_gap + 1e-3)))
    s = np.where(touching, s, 0.0)
    batch.tips[left] = aims - s[:, None] * directions
    away = np.linalg.norm(batch.tips[left] - scene.target.position, axis=1)
    batch.reject(left, Limit(RejectionReason.BONE_ON_PATH, rule.to_target.value,
                             "bone lies on the way, {value:.1f} mm before the target{best}"),
                 np.where(s > 0, away, 0.0))


def _check_block_tip(scene: Scene, batch: Batch) -> None:
    """The tip is near the target and behind the foramen."""
    rule, left = scene.procedure.tip, batch.left()
    away = np.linalg.norm(batch.tips[left] - scene.target.position, axis=1)
    batch.reject(left, Limit(RejectionReason.TIP_RULE, rule.to_target.value,
                             "the tip lies {value:.1f} mm from the target{best}, {bound:.1f} allowed"), away)
    left, scale = batch.left(), scene.neck_length
    if scale > 0 and rule.ventral_gap is not None:
        behind = neck_fraction(scene.target.course, batch.tips[left]) * scale
        batch.reject(left, Limit(
            RejectionReason.TIP_RULE, rule.ventral_gap.value,
            "the tip lies {value:.1f} mm behind the foramen's posterior wall{best}, {bound:.1f} needed", True), behind)
    left = batch.left()
    if rule.to_nerve is not None and scene.has_course and len(left):
        gap = np.linalg.norm(batch.tips[left, None] - scene.nerve, axis=2).min(axis=1)
        batch.reject(left, Limit(RejectionReason.TIP_RULE, rule.to_nerve.value,
                                 "the tip lies {value:.1f} mm from the nerve{best}, {bound:.1f} allowed"), gap)
    _check_seen(scene, batch)


def _check_seen(scene: Scene, batch: Batch) -> None:
    """The scan itself shows the bone that is to stop the tip: a mask may claim bone where there is none."""
    rule, density = scene.procedure.tip, scene.fields.density
    if rule.seen_density is None or rule.seen_ahead is None or density is None:
        return
    left = batch.left()
    ahead = find_dense(density, scene.inverse, scene.origin, batch.tips[left], batch.directions[left],
                       rule.seen_density.value, _SEEN_MM)
    batch.reject(left, Limit(
        RejectionReason.BONE_NOT_SEEN, rule.seen_ahead.value,
        "the scan shows no bone for {value:.1f} mm straight ahead of the tip{best}, {bound:.1f} allowed"), ahead)


def _check_region(scene: Scene, batch: Batch) -> None:
    """The tip ends in the target's space, beside bone and not in it, at the end of its corridor if it has one."""
    region, rule, left = scene.region, scene.procedure.tip, batch.left()
    batch.reject(left, Limit(RejectionReason.TIP_RULE, 0.0, f"the tip lies {{value:.1f}} mm outside {region.words}"
                             "{best}"), region.excess(batch.tips[left]))
    if not batch.every:  # one needle is held against the masks themselves
        left = batch.left()
        batch.reject(left, Limit(RejectionReason.BONE_ON_PATH, scene.radius - rule.bone_overlap.value,
                                 "the end of the needle lies {miss:.1f} mm too deep in bone{best}", True),
                     region.bone_gap(batch.tips[left], batch.directions[left], rule.zone.value))
    if region.standing is not None:
        left = batch.left()
        batch.reject(left, Limit(RejectionReason.ANGLE_BAND, region.standing.limit_deg,
                                 "the needle stands {value:.0f} degrees off the perpendicular to the bone{best}, "
                                 "{bound:.0f} allowed"), region.standing.angles(batch.directions[left]))
    if region.corridor is not None:
        left = batch.left()
        walls = region.corridor.margins(batch.tips[left], batch.directions[left], scene.longest_path) - scene.radius
        for n, (margin, words) in enumerate(region.corridor.limits):
            batch.reject(left, Limit(RejectionReason.CORRIDOR, margin, f"{{value:.1f}} mm of bone {words}{{best}}, "
                                     "{bound:.1f} needed", True), np.maximum(walls[:, n], _NO_BONE_MM))


def _check_electrode(scene: Scene, batch: Batch) -> None:
    """Parallel to the nerve, beside bone and not in it, close to the nerve, no spinal nerve in the 50 C zone."""
    rule = scene.electrode
    if scene.has_course:
        batch.electrode["parallel"] = degrees_between(batch.directions, scene.nerve_middle[1])
        left = batch.left()
        batch.reject(left, Limit(RejectionReason.PARALLELISM, rule.parallel_limit.value,
                                 "{value:.0f} degrees to the nerve{best}, {bound:.0f} allowed"),
                     batch.electrode["parallel"][left])
    left, scale = batch.left(), scene.neck_length
    if scale > 0:
        batch.reject(left, Limit(
            RejectionReason.TIP_RULE, rule.tip_neck.value * scale,
            "the tip lies {value:.1f} mm behind the ventral margin of the articular process{best}, {bound:.1f} needed",
            True), neck_fraction(scene.target.course, batch.tips[left]) * scale)
    left, tip = batch.left(), scene.procedure.tip
    least_near, most_gap = scene.radius - tip.bone_overlap.value, tip.bone_gap.value
    bounds = (-np.inf, np.inf) if batch.every else (least_near - BOUND_ROUNDING, most_gap + BOUND_ROUNDING)
    _measure_electrode(scene, batch, left, bounds)
    found = {name: column[left] for name, column in batch.electrode.items()}
    if not batch.every:  # one needle is held against the masks themselves
        batch.reject(left, Limit(RejectionReason.TIP_RULE, least_near,
                                 "the active tip lies {miss:.1f} mm too deep in bone{best}", True), found["near"])
        batch.reject(left, Limit(RejectionReason.TIP_RULE, most_gap,
                                 "the tip lies {value:.1f} mm off the bone{best}, {bound:.1f} allowed"), found["gap"])
    if scene.has_course:
        batch.reject(left, Limit(
            RejectionReason.TIP_RULE, rule.nerve_gap.value,
            f"{scene.working_words} {{value:.1f}} mm from the nerve{{best}}, {{bound:.1f}} allowed"),
            found["nerve_gap"])
    batch.reject(left, Limit(RejectionReason.HEATED_NERVE, 0.0,
                             f"the exiting nerve lies {{miss:.1f}} mm inside the {rule.hot_words}{{best}}", True,
                             StructureName.FORAMEN_CONTENTS.value), found["hot"])


def _measure_electrode(scene: Scene, batch: Batch, left: Rows, bounds: tuple[float, float]) -> None:
    """Fill `Batch.electrode` for some needles; `bounds` as in `electrode_along`, beyond which they need no more."""
    rule = scene.electrode
    out = electrode_along(
        scene.fields.bones, scene.fields.foramen, scene.inverse, scene.origin, batch.tips[left],
        batch.directions[left], scene.heat_reach, scene.nerve, scene.wanted, 0.25, scene.active,
        scene.procedure.tip.zone.value, scene.procedure.capture.radius.value, scene.past_the_tip,
        scene.radius + rule.contact.value, *bounds)
    ahead, active = scene.working
    if scene.lesion_ahead is not None:
        # the lesion's centre takes the place of the active tip for heat and nerve, bone is still met by the tip
        out[:, 3:] = electrode_along(
            scene.fields.bones, scene.fields.foramen, scene.inverse, scene.origin,
            batch.tips[left] + ahead * batch.directions[left], batch.directions[left], scene.heat_reach, scene.nerve,
            scene.wanted, 0.25, active, 0.0, scene.procedure.capture.radius.value, np.inf, 0.0, -np.inf,
            np.inf)[:, 3:]
    columns = dict(zip(("near", "gap", "contact", "hot", "warm", "nerve_gap", "captured"), out.T, strict=True))
    for name, column in columns.items():
        batch.electrode[name] = np.full(len(batch), np.nan)
        batch.electrode[name][left] = column


def _find_skin(scene: Scene, batch: Batch) -> None:
    """Follow each needle back from its tip to the skin or to the end of what was measured."""
    left = batch.left()
    s, how = find_exit(scene.fields.state, scene.inverse, scene.origin, batch.tips[left], batch.directions[left],
                       longest_path(scene.procedure) + BEYOND_REACH_MM)
    batch.lengths[left], batch.open_end[left] = s, how == OPEN


def _check_skin(scene: Scene, batch: Batch, allow_open: bool) -> None:
    """In view, on the target's side, within reach."""
    left = batch.left()
    if not allow_open:
        batch.reject(left, Limit(RejectionReason.SKIN_NOT_IN_VIEW, None,
                                 "the skin over the path is not in the scan"), batch.open_end[left].astype(np.float64))
    left = batch.left()
    entries = batch.entries_of(left)
    side = (entries - scene.target.carrier.body_center) @ scene.lateral
    batch.reject(left, Limit(RejectionReason.ENTRY_SIDE, _SIDE_MM, "the skin entry is not on the target's side", True),
                 side)
    left, reserve = batch.left(), scene.procedure.reach.reserve_hard.value
    words = ("{value:.0f} mm deep{best}, the " + ("longest " if scene.needle is None else "")
             + f"needle reaches {{bound:.0f}} mm with {reserve:.0f} mm left outside")
    batch.reject(left, Limit(RejectionReason.REACH, scene.longest_path, words), batch.lengths[left])
    depth = scene.procedure.tip.depth
    if depth is not None:
        left = batch.left()
        batch.reject(left, Limit(RejectionReason.TIP_DEPTH, depth.value,
                                 "tip {value:.0f} mm under the skin{best}, {bound:.0f} needed", True),
                     batch.lengths[left])
    if scene.procedure.electrode is not None:
        left = batch.left()
        batch.reject(left, Limit(
            RejectionReason.ACTIVE_TIP_DEPTH, scene.electrode.active_depth.value,
            "active tip {value:.0f} mm under the skin{best}, {bound:.0f} needed", True),
            batch.lengths[left] - scene.active)


def measure_path(scene: Scene, batch: Batch, which: Rows) -> None:
    """Fill the least distances along the shaft for some needles: to what has a margin, and to bone before the zone."""
    _, combined_cells, bone_cells = scene.fields.cells
    slack, slack_at, bone, bone_at = least_slack(
        scene.fields.combined, scene.fields.bones, combined_cells, bone_cells, scene.inverse, scene.origin,
        batch.tips[which], batch.directions[which], batch.lengths[which], scene.procedure.tip.zone.value)
    batch.slack[which], batch.slack_at[which] = slack - scene.radius, slack_at
    batch.bone[which], batch.bone_at[which] = bone - scene.radius, bone_at


def is_free(scene: Scene, tips: Array, directions: Array, lengths: Array) -> Flags:
    """(n,) whether each shaft keeps every margin and meets no bone before the zone at its tip, by the merged field."""
    fields = scene.fields
    stops = find_stop(fields.merged, fields.combined, fields.cells[0], scene.inverse, scene.origin, tips,
                      directions, lengths, scene.procedure.tip.zone.value, scene.radius)
    return np.asarray(np.isnan(stops))


def _check_path(scene: Scene, batch: Batch) -> None:
    """Turn down every shaft that is stopped, by what it comes nearest to; how near is only measured for these."""
    left = batch.left()
    stopped = left[~is_free(scene, batch.tips[left], batch.directions[left], batch.lengths[left])]
    measure_path(scene, batch, stopped)
    nearer = batch.slack[stopped] <= batch.bone[stopped]
    for which, limit, values in (
            (stopped[nearer], Limit(RejectionReason.MARGIN, 0.0, "a margin is missed by {miss:.1f} mm{best}", True),
             batch.slack),
            (stopped[~nearer], Limit(RejectionReason.BONE_ON_PATH, 0.0, "bone lies on the way before the target", True),
             batch.bone)):
        batch.reject(which, limit, np.minimum(values[which], -1e-3))


def assess(scene: Scene, needles: Needles, *, allow_open: bool = False) -> Batch:
    """Judge a batch of candidates.

    Parameters
    ----------
    allow_open : bool
        Admit needles whose path leaves the measured part of the scan before the skin (direction only).
    """
    batch = _empty_batch(scene, needles)
    _check_angles(scene, batch)
    if scene.target.region is not None:
        _check_region(scene, batch)
    elif scene.procedure.kind is ProcedureKind.RF:
        _check_electrode(scene, batch)
    else:
        _advance_to_bone(scene, batch)
        _check_block_tip(scene, batch)
    _find_skin(scene, batch)
    _check_skin(scene, batch, allow_open)
    _check_path(scene, batch)
    return batch


def judge(scene: Scene, tip: Array, direction: Array, length_mm: float | None) -> Batch:
    """Hold one needle against every limit that needs no mask; margins and bone are left to `targeting.confirm`.

    Parameters
    ----------
    tip, direction : (3,) LPS mm, (3,) unit, entry to tip
    length_mm : float or None
        Tip to entry; None follows the path to the skin or to the end of what was measured, and asks for no entry.
    """
    batch = _empty_batch(scene, Needles(tip[None].copy(), direction[None].copy()))
    batch.every = True
    _check_angles(scene, batch)
    if scene.target.region is not None:
        _check_region(scene, batch)
    else:
        (_check_electrode if scene.procedure.kind is ProcedureKind.RF else _check_block_tip)(scene, batch)
    _find_skin(scene, batch)
    if length_mm is not None:
        off = np.array([length_mm - batch.lengths[0]])
        batch.lengths[0] = length_mm
        near = _ON_SKIN_MM + 0.5 * float(np.linalg.norm(scene.fields.grid.spacing))
        if not batch.open_end[0]:
            where = "outside" if off[0] > 0 else "inside"
            batch.reject(np.array([0]), Limit(RejectionReason.ENTRY_OFF_SKIN, near,
                                              f"the entry lies {{value:.1f}} mm {where} the skin"), np.abs(off))
    _check_skin(scene, batch, length_mm is None)
    measure_path(scene, batch, np.array([0]))
    return batch


def robustness(scene: Scene, batch: Batch, which: NDArray[np.intp]) -> Array:
    """(m,) share of misplaced needles that still keep every margin and cross no bone.

    Each needle is turned about its tip so that its entry misses by the procedure's entry and angle errors together,
    in eight directions.
    """
    rule = scene.procedure.search
    tips, lengths = batch.tips[which], batch.lengths[which]
    u = batch.directions[which]
    first = unit(scene.frame.left - (u @ scene.frame.left)[:, None] * u)
    second = np.cross(u, first)
    miss = np.hypot(rule.entry_error.value / np.maximum(lengths, 1.0), np.tan(np.radians(rule.angle_error.value)))
    a = np.linspace(0, 2 * np.pi, _TURNS, endpoint=False)[:, None]
    turned = unit(u[:, None] + miss[:, None, None] * (np.cos(a) * first[:, None] + np.sin(a) * second[:, None]))
    kept = is_free(scene, np.repeat(tips, _TURNS, axis=0), turned.reshape(-1, 3), np.repeat(lengths, _TURNS))
    return np.asarray(kept.reshape(-1, _TURNS).mean(axis=1))
