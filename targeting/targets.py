"""Targets: which nerve, on which bone, on which side, and the point on that bone where a needle belongs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from imaging.errors import UsageError
from imaging.geometry import Side, unit
from imaging.volume import Volume
from segmentation.anatomy import LandmarkName, Nerve, carrier_of, joints_of, nerves_of_joint
from segmentation.spine import Landmark, NerveCourse, NumberingStatus, Spine, Vertebra
from targeting.angles import direction_from_angles
from targeting.constants import Interval
from targeting.contact import ContactRule, contact_point
from targeting.model import MissingTarget, Target, TargetList
from targeting.procedures import Procedure, ProcedureKind
from targeting.procedures.schema import TargetRule
from targeting.procedures.sites import Site
from targeting.sites.make import make_site_targets
from targeting.uncertainty import radius_holding

__all__ = ["MissingTarget", "TargetList", "make_targets", "neck_fraction", "nerves_asked", "sample_path"]

Array = NDArray[np.float64]
_PATH_STEP_MM = 0.25
_LAST_LUMBAR = "L5"


@dataclass(frozen=True, eq=False)
class _Site:
    """A place on a course and the landmarks that gave it, with what their errors add up to there, mm2."""

    junction: Array
    on_course: Array
    tangent: Array
    sigma_mm: float
    landmarks: Array
    confidences: tuple[tuple[float, str], ...]


def nerves_asked(procedure: Procedure, nerves: Sequence[Nerve] | None, joints: Sequence[str] | None) -> list[Nerve]:
    """The nerves meant by a request, head to foot, none twice; the procedure's own when nothing is said."""
    if nerves is None and joints is None:
        return list(procedure.nerves)
    wrong = [n.value for n in nerves or () if n not in procedure.nerves]
    if wrong:
        raise UsageError(f"{procedure.name} has no target for {', '.join(wrong)}; it knows "
                         f"{', '.join(n.value for n in procedure.nerves)}")
    wanted = set(nerves or ()) | {n for joint in joints or () for n in nerves_of_joint(joint)}
    return [n for n in Nerve if n in wanted]


def sample_path(path: Array, step_mm: float = _PATH_STEP_MM) -> Array:
    """(m, 3) points about `step_mm` apart along a (n, 3) polyline, ends kept."""
    pieces = [np.linspace(a, b, max(int(np.ceil(np.linalg.norm(b - a) / step_mm - 1e-6)), 1), endpoint=False)
              for a, b in pairwise(path)]
    return np.concatenate([*pieces, path[-1:]])


def neck_fraction(course: NerveCourse, points: Array) -> Array:
    """(n,) place of (n, 3) points along the neck: 0 at its ventral margin (foramen), 1 at the notch."""
    along = course.neck[1] - course.neck[0]
    return np.asarray((points - course.neck[0]) @ along / float(along @ along))


def _place(course: NerveCourse, arc_mm: float) -> tuple[Array, Array, float]:
    """Point, tangent (dorsal to ventral) and cross-track sigma at an arc length of the course."""
    steps = np.linalg.norm(np.diff(course.path, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    point = np.array([np.interp(arc_mm, arc, course.path[:, n]) for n in range(3)])
    low, high = max(arc_mm - 2.0, 0.0), min(arc_mm + 2.0, arc[-1])
    ends = np.array([[np.interp(a, arc, course.path[:, n]) for n in range(3)] for a in (low, high)])
    return point, unit(ends[0] - ends[1]), float(np.interp(arc_mm, arc, course.sigma_mm))


def _arc_nearest(course: NerveCourse, point: Array) -> float:
    """Arc length (mm from the foramen end) of the course's place nearest to a point."""
    dense = sample_path(course.path)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    return float(arc[int(np.argmin(np.linalg.norm(dense - point, axis=1)))])


def _arc_at(course: NerveCourse, t: float) -> float:
    """Arc length (mm from the foramen end) at which a course has come along its neck to `t`, before the notch."""
    dense = sample_path(course.path)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    last = int(np.argmin(np.linalg.norm(dense - course.neck[1], axis=1))) + 1
    return float(arc[int(np.argmin(np.abs(neck_fraction(course, dense[:last]) - t)))])


def _across_groove(course: NerveCourse, groove: Array, point: Array) -> float:
    """Distance of a point from the line through the groove's landmark and the dorsal end of the neck beside it, mm."""
    along, off = unit(course.neck[1] - groove), point - groove
    return float(np.linalg.norm(off - (off @ along) * along))


def _site(vertebra: Vertebra, course: NerveCourse, procedure: Procedure) -> _Site | str:
    """Where on the course the target lies, or why it cannot be said.

    Block of a medial branch: midway between the junction N and the notch. L5 dorsal ramus: in the ala groove, behind
    the ventral third of the S1 articular process. Radiofrequency: the middle of the neck's part to cover.
    """
    side = course.side.value.lower()
    junction = vertebra.landmarks.get(LandmarkName(f"sap_tp_junction_{side}"))
    notch = vertebra.landmarks.get(LandmarkName(f"mamillo_accessory_notch_{side}"))
    if junction is None:
        return f"the {course.side.value} SAP/TP junction of {vertebra.name} was not found"
    near = _arc_nearest(course, junction.position)
    far = _arc_nearest(course, course.neck[1] if notch is None else notch.position)
    confidences = [(junction.confidence, "; ".join(junction.reasons) or "junction landmark")]
    if course.nerve is Nerve.L5:
        arc = _arc_at(course, procedure.target.groove_aim.value)
    elif procedure.kind is ProcedureKind.RF and procedure.electrode is not None:
        neck = procedure.electrode.neck
        arc = _arc_nearest(course, course.neck[0] + 0.5 * (neck.low + neck.high) * (course.neck[1] - course.neck[0]))
    else:
        if notch is not None:
            confidences.append((notch.confidence, "; ".join(notch.reasons) or "notch landmark"))
        arc = 0.5 * (near + far)
    rule = procedure.target
    arc = near + float(np.clip(arc - near, -rule.along_course.value, rule.along_course.value))
    point, tangent, sigma = _place(course, arc)
    gap = _across_groove(course, junction.position, point)
    if course.nerve is Nerve.L5 and gap > rule.from_groove.value:
        return f"the course passes {gap:.1f} mm from the ala groove, more than {rule.from_groove.value:.0f} mm"
    share = 0.0 if notch is None or far <= near else float(np.clip((arc - near) / (far - near), 0.0, 1.0))
    return _Site(junction.position, point, tangent, sigma, _between(junction, notch, share), tuple(confidences))


def _between(junction: Landmark, notch: Landmark | None, share: float) -> Array:
    """(3, 3) mm2: error of a place that lies at a share of the way from the junction to the notch.

    Their errors are taken as independent, as everywhere in the capture curve.
    """
    covariance = (1.0 - share)**2 * junction.covariance
    return np.asarray(covariance if notch is None else covariance + share**2 * notch.covariance)


def _spread(site: _Site, rule: TargetRule) -> Array:
    """(3, 3) mm2: where the nerve may lie, from its own variety and from the landmarks it was laid between."""
    along = np.outer(site.tangent, site.tangent)
    across, lengthwise = (max(sigma**2 - rule.landmark_sigma.value**2, 0.0)
                          for sigma in (site.sigma_mm, rule.along_sigma.value))
    return np.asarray(across * (np.eye(3) - along) + lengthwise * along + site.landmarks)


def _confidence(vertebra: Vertebra, course: NerveCourse, site: _Site, covariance: Array,
                rule: TargetRule) -> tuple[float, tuple[str, ...]]:
    """The lowest check and the reasons of every check below 0.9."""
    checks = [
        (vertebra.confidence, f"{vertebra.name} is named with probability {vertebra.confidence:.2f}"),
        (vertebra.quality, f"shape quality of {vertebra.name} is {vertebra.quality:.2f}"),
        (course.confidence, "; ".join(course.reasons) or "nerve course"),
        *site.confidences,
    ]
    if vertebra.touches_edge:
        checks.append((rule.low_confidence.value, f"{vertebra.name} is cut by the field of view"))
    spread = radius_holding(0.95, covariance)
    if spread > rule.wide.value:
        checks.append((rule.low_confidence.value,
                       f"95 % of the places the nerve may pass lie within {spread:.1f} mm, not {rule.wide.value:g}"))
    return min(c for c, _ in checks), tuple(dict.fromkeys(reason for c, reason in checks if c < 0.9))


def _make(spine: Spine, procedure: Procedure, nerve: Nerve, side: Side) -> Target | str:
    """One target, or the reason it is missing."""
    level = carrier_of(nerve)
    if nerve not in procedure.nerves:
        return f"{procedure.name} has no target for {nerve.value}"
    vertebra = spine.vertebra(level)
    if vertebra is None:
        return f"{level} is not in view"
    if vertebra.frame is None:
        return f"{level} is cut too much for its frame"
    joined = _joined_to_sacrum(spine, side)
    if nerve is Nerve.L5 and joined:
        return _withheld(procedure, nerve, side, vertebra, f"{joined}: there is no ala groove to aim at")
    course = next((c for c in spine.nerves if c.nerve is nerve and c.side is side), None)
    if course is None:
        return _withheld(procedure, nerve, side, vertebra,
                         f"no course of the {nerve.value} on {level}, {side.value}, could be drawn")
    site = _site(vertebra, course, procedure)
    if isinstance(site, str):
        return site
    band = procedure.band(nerve)
    approach = direction_from_angles(vertebra.frame, side, band.oblique_preferred.value, band.tilt_preferred.value)
    rule = ContactRule(procedure.target.off_bone.value, site.junction, procedure.target.from_junction.value)
    position = contact_point(spine, vertebra, site.on_course, approach, rule)
    if position is None:
        return f"the course lies more than {procedure.target.off_bone.value:.0f} mm from the {level} mask"
    if nerve is Nerve.L5 and (wrong := _off_neck(course, position, procedure.target.groove_neck)):
        return wrong
    covariance = _spread(site, procedure.target)
    confidence, reasons = _confidence(vertebra, course, site, covariance, procedure.target)
    if vertebra.name == _LAST_LUMBAR and joined:
        confidence = min(confidence, procedure.target.low_confidence.value)
        reasons = (*reasons, f"{joined}: its landmarks are less certain")
    return Target(_id_of(procedure, nerve, side), procedure.name, nerve, nerve.value, vertebra, side, joints_of(nerve),
                  position, course, covariance, confidence, reasons)


def _off_neck(course: NerveCourse, position: Array, allowed: Interval) -> str:
    """Words for an L5 dorsal ramus target outside its part of the groove; empty for one inside."""
    t = float(neck_fraction(course, position[None])[0])
    return "" if allowed.excess(t) == 0.0 else (
        f"the place open to a needle lies at {t:.2f} of the S1 articular process from its ventral margin, "
        f"{allowed.low:.2f} to {allowed.high:.2f} allowed")


def _id_of(procedure: Procedure, nerve: Nerve, side: Side) -> str:
    return f"{procedure.name}:{nerve.value.replace(' ', '-')}:{carrier_of(nerve)}:{side.value}"


def _joined_to_sacrum(spine: Spine, side: Side) -> str:
    """Words for a transverse process of L5 that is joined to the ala on `side`; empty when it is not."""
    last = spine.vertebra(_LAST_LUMBAR)
    return f"L5 is joined to the sacrum on the {side.value}" if last is not None and side in last.sacralised else ""


def _withheld(procedure: Procedure, nerve: Nerve, side: Side, vertebra: Vertebra, reason: str) -> Target | str:
    """A target that is listed but not aimed at, at its bone's junction; just the reason where that was not found."""
    junction = vertebra.landmarks.get(LandmarkName(f"sap_tp_junction_{side.value.lower()}"))
    if junction is None:
        return reason
    course = NerveCourse(nerve, vertebra.name, side, np.zeros((0, 3)), np.zeros(0), np.tile(junction.position, (2, 1)),
                         0.0, (reason,))
    return Target(_id_of(procedure, nerve, side), procedure.name, nerve, nerve.value, vertebra, side, joints_of(nerve),
                  junction.position, course, junction.covariance, 0.0, (reason,), withheld=reason)


def make_targets(spine: Spine, procedure: Procedure, nerves: Sequence[Nerve] | None = None,
                 joints: Sequence[str] | None = None, sides: Sequence[Side] | None = None,
                 volume: Volume | None = None) -> TargetList:
    """Every target asked for, with a reason for each that cannot be made.

    Parameters
    ----------
    nerves, joints : sequence or None
        Nerves and facet joints asked for (their union, duplicates removed); both None asks for the procedure's own.
    sides : sequence of Side or None
        None asks for both.
    volume : Volume or None
        The scan, where its values may be used: joint spaces are looked for in it.

    Raises
    ------
    UsageError
        A nerve or joint that the procedure does not target.
    """
    if procedure.site is not Site.NERVE:
        return make_site_targets(spine, procedure, nerves, joints, sides, volume)
    asked = nerves_asked(procedure, nerves, joints)
    targets: list[Target] = []
    missing: list[MissingTarget] = []
    for nerve in asked:
        for side in [s for s in Side if sides is None or s in sides]:
            made = (_make(spine, procedure, nerve, side) if spine.numbering.status is NumberingStatus.NAMED
                    else "the levels could not be named, only counted from the lowest seen")
            if isinstance(made, Target):
                targets.append(made)
            else:
                missing.append(MissingTarget(nerve, nerve.value, side, carrier_of(nerve).value, made))
    return TargetList(tuple(targets), tuple(missing))
