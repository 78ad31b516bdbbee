"""The plan as the document that is written to ``plan.json`` (design section 4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imaging.findings import Finding
from imaging.geometry import CArmAngles, VertebralFrame, carm_words, dicom_positioner_angles
from imaging.volume import Grid
from planner.plan import BANNER, Plan, PlanRequest
from planner.versions import PLAN_SCHEMA
from segmentation.spine import NerveCourse, Spine, Vertebra
from targeting.lesion import UNCALIBRATED
from targeting.model import (
    CapturePoint,
    LesionEffect,
    NeedlePose,
    Placement,
    Proposal,
    Rejection,
    Target,
    confidence_word,
)
from targeting.needle_sets import NeedleSet, needle_sets

__all__ = ["finding_entry", "level_order", "placement_document", "request_document", "to_document"]

_LENGTH_DECIMALS = 3
_ANGLE_DECIMALS = 2
_SHARE_DECIMALS = 4
_AXIS_DECIMALS = 9  # frames read back are orthonormal again


def _number(value: float | None, decimals: int) -> float | None:
    """A finite number rounded; None stays None, and so does what is not finite. Never -0.0."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), decimals) + 0.0


def _required(value: float, decimals: int, what: str) -> float:
    number = _number(value, decimals)
    if number is None:
        raise ValueError(f"{what} is not a finite number")
    return number


def _point(xyz: ArrayLike, what: str) -> list[float]:
    return [_required(v, _LENGTH_DECIMALS, what) for v in np.asarray(xyz, dtype=np.float64).ravel().tolist()]


def _points(path: ArrayLike, what: str) -> list[list[float]]:
    return [_point(p, what) for p in np.asarray(path, dtype=np.float64)]


def _matrix(rows: ArrayLike, decimals: int, what: str) -> list[list[float]]:
    return [[_required(v, decimals, what) for v in row] for row in np.asarray(rows, dtype=np.float64).tolist()]


def _share(value: float, what: str) -> float:
    return _required(value, _SHARE_DECIMALS, what)


def finding_entry(finding: Finding) -> dict[str, str]:
    """One finding as it is written."""
    return {"code": finding.code.value, "severity": finding.severity.value, "message": finding.message}


def level_order(spine: Spine) -> tuple[Vertebra, ...]:
    """The vertebrae from head to foot."""
    return tuple(sorted(spine.vertebrae, key=lambda v: (-float(v.body_center[2]), v.name)))


def _frame(frame: VertebralFrame | None) -> dict[str, Any] | None:
    if frame is None:
        return None
    return {"origin": _point(frame.origin, "frame origin"), "left": _axis(frame.left),
            "posterior": _axis(frame.posterior), "superior": _axis(frame.superior)}


def _axis(vector: ArrayLike) -> list[float]:
    return [_required(v, _AXIS_DECIMALS, "axis") for v in np.asarray(vector, dtype=np.float64).tolist()]


def _level(vertebra: Vertebra) -> dict[str, Any]:
    what = f"level {vertebra.name}"
    return {
        "level": vertebra.name, "label": int(vertebra.label), "confidence": _share(vertebra.confidence, what),
        "alternates": [{"level": a.level, "p": _share(a.p, what)} for a in vertebra.alternates],
        "evidence": list(vertebra.evidence), "body_center": _point(vertebra.body_center, what),
        "frame": _frame(vertebra.frame), "touches_edge": bool(vertebra.touches_edge),
        "sacralised": sorted(side.value for side in vertebra.sacralised),
        "quality": _share(vertebra.quality, what), "placed_by": vertebra.placed_by,
    }


def _landmarks(vertebrae: Iterable[Vertebra]) -> tuple[dict[str, Any], dict[str, Any]]:
    points: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for vertebra in vertebrae:
        named = sorted(vertebra.landmarks.items(), key=lambda item: item[0].value)
        points[vertebra.name] = {name.value: _point(mark.position, name.value) for name, mark in named}
        details[vertebra.name] = {
            name.value: {"confidence": _share(mark.confidence, name.value), "reasons": list(mark.reasons),
                         "placed_by": mark.placed_by,
                         "covariance_mm2": _matrix(mark.covariance, _SHARE_DECIMALS, name.value)}
            for name, mark in named}
    return points, details


def _local(position: list[float], frame: VertebralFrame | None) -> list[float] | None:
    """A written position in the frame as it is written, so that a plan read back gives the same figures."""
    written = _frame(frame)
    if written is None:
        return None
    away = np.subtract(position, written["origin"])
    return _point([np.dot(away, written[axis]) for axis in ("left", "posterior", "superior")], "local position")


def _course(course: NerveCourse) -> dict[str, Any]:
    what = f"course on {course.carrier} {course.side.value}"
    return {"nerve": None if course.nerve is None else course.nerve.value, "carrier": course.carrier,
            "side": course.side.value, "path": _points(course.path, what), "sigma_mm": _point(course.sigma_mm, what),
            "neck": _points(course.neck, what), "confidence": _share(course.confidence, what),
            "reasons": list(course.reasons)}


def _target(target: Target) -> dict[str, Any]:
    confidence, position = _share(target.confidence, target.id), _point(target.position, target.id)
    return {
        "id": target.id, "procedure": target.procedure, "name": target.nerve_name,
        "nerve": None if target.nerve_name.endswith(" joint") else target.nerve_name, "carrier": target.carrier.name,
        "side": target.side.value, "joints": list(target.joints), "place": target.place, "sentence": target.sentence,
        "position": position, "position_in_vertebral_frame": _local(position, target.carrier.frame),
        "nerve_path": _points(target.course.path, target.id),
        "nerve_sigma_mm": _point(target.course.sigma_mm, target.id),
        "covariance_mm2": _matrix(target.covariance, _SHARE_DECIMALS, target.id),
        "nerve_neck": _points(target.course.neck, target.id),
        "nerve_confidence": _share(target.course.confidence, target.id),
        "nerve_reasons": list(target.course.reasons),
        "confidence": confidence, "confidence_word": confidence_word(confidence).value,
        "reasons": list(target.reasons), "withheld": target.withheld, "placed_by": target.placed_by,
        **({} if target.member is None else {"set": {
            "id": target.member.set_id, "index": target.member.index, "count": target.member.count}}),
    }


def _set(found: NeedleSet) -> dict[str, Any]:
    """A set of needles as they stand now."""
    return {"id": found.set_id, "side": found.side.value, "target_ids": list(found.target_ids),
            "spacing_mm": [_number(v, _LENGTH_DECIMALS) for v in found.spacing_mm],
            "shaft_gap_mm": [_number(v, _LENGTH_DECIMALS) for v in found.shaft_gap_mm],
            "angle_deg": [_number(v, _ANGLE_DECIMALS) for v in found.angle_deg],
            "whole": not found.broken, "broken": list(found.broken)}


def _needle(pose: NeedlePose, assumed_position: str) -> dict[str, Any]:
    what = pose.needle.name
    carm = CArmAngles(_required(pose.carm.rotation_deg, _ANGLE_DECIMALS, what),
                      _required(pose.carm.tilt_deg, _ANGLE_DECIMALS, what))
    primary, secondary = dicom_positioner_angles(carm)
    length = _number(pose.length_mm, _LENGTH_DECIMALS)
    return {
        "entry": None if pose.entry is None else _point(pose.entry, what), "tip": _point(pose.tip, what),
        "direction": _axis(pose.direction), "length_mm": length,
        "remaining_length_mm": None if length is None else _number(pose.needle.shaft_mm - length, _LENGTH_DECIMALS),
        "needle": {"name": what, "gauge": int(pose.needle.gauge),
                   "length_mm": _number(pose.needle.length_mm, _LENGTH_DECIMALS),
                   "diameter_mm": _number(pose.needle.diameter_mm, _LENGTH_DECIMALS),
                   "active_tip_mm": _number(pose.needle.active_tip_mm, _LENGTH_DECIMALS)},
        "angles": {
            "oblique_deg": _number(pose.oblique_deg, _ANGLE_DECIMALS),
            "tilt_deg": _number(pose.tilt_deg, _ANGLE_DECIMALS),
            "carm": {"assumed_position": assumed_position, "words": carm_words(carm),
                     "primary_deg": _number(primary, _ANGLE_DECIMALS),
                     "secondary_deg": _number(secondary, _ANGLE_DECIMALS)},
            "ct": {"in_plane_deg": _number(pose.ct.in_plane_deg, _ANGLE_DECIMALS),
                   "out_of_plane_deg": _number(pose.ct.out_of_plane_deg, _ANGLE_DECIMALS),
                   "entry_from_midline_mm": _number(pose.entry_from_midline_mm, _LENGTH_DECIMALS),
                   "entry_above_target_mm": _number(pose.entry_above_target_mm, _LENGTH_DECIMALS)}},
    }


def _by_name(values: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    return sorted((str(name.value), value) for name, value in values.items())


def _lesion(lesion: LesionEffect) -> dict[str, Any]:
    setting, captured = lesion.setting, lesion.captured_mm
    return {
        "model": UNCALIBRATED,
        "setting": {"gauge": setting.gauge, "diameter_mm": _number(setting.diameter_mm, _LENGTH_DECIMALS),
                    "active_tip_mm": _number(setting.active_tip_mm, _LENGTH_DECIMALS),
                    "temperature_c": _number(setting.temperature_c, _LENGTH_DECIMALS),
                    "seconds": _number(setting.seconds, _LENGTH_DECIMALS)},
        "captured_mm": None if captured is None else [_number(value, _LENGTH_DECIMALS) for value in captured],
        "heat_clearance_mm": {name: _number(value, _LENGTH_DECIMALS)
                              for name, value in _by_name(lesion.heat_clearance_mm)},
        "allowance_mm": _number(lesion.allowance_mm, _LENGTH_DECIMALS),
    }


def _curve(points: Iterable[CapturePoint]) -> list[dict[str, Any]]:
    return [{"placement_sigma_mm": _number(point.placement_sigma_mm, _LENGTH_DECIMALS), "p": _share(point.p, "curve")}
            for point in points]


def placement_document(placement: Placement) -> dict[str, Any]:
    """One placement as it is written in ``plan.json`` and in a journal entry."""
    return {
        "rank": int(placement.rank), "kind": placement.kind.value,
        "needles": [_needle(pose, "prone, head first") for pose in placement.needles],
        "clearance_mm": {name: _number(value, _LENGTH_DECIMALS)
                         for name, value in _by_name(placement.clearance_mm)},
        "clearance_reason": dict(_by_name(placement.clearance_reason)),
        "margins_mm": {name: _number(value, _LENGTH_DECIMALS) for name, value in _by_name(placement.margins_mm)},
        "margins_met": None if placement.margins_met is None else bool(placement.margins_met),
        "may_cross": sorted(placement.may_cross),
        "may_cross_midline": bool(placement.may_cross_midline),
        "capture": {"curve": _curve(placement.capture), "assumptions": list(placement.capture_assumptions)},
        "objectives": {str(name): _number(value, _SHARE_DECIMALS)
                       for name, value in sorted(placement.objectives.items())},
        "margin_probability": {
            str(c.structure.value): {"margin_mm": _number(c.margin_mm, _LENGTH_DECIMALS), "curve": _curve(c.curve)}
            for c in placement.margin_curves},
        "lesion": None if placement.lesion is None else _lesion(placement.lesion),
        "why": placement.why, "placed_by": placement.placed_by,
        "broken": [_rejection(r) for r in placement.broken],
    }


def _rejection(rejection: Rejection) -> dict[str, Any]:
    return {"reason": rejection.reason.value, "structure": rejection.structure,
            "limit": _number(rejection.limit, _LENGTH_DECIMALS), "best": _number(rejection.best, _LENGTH_DECIMALS),
            "count": int(rejection.count), "sentence": rejection.sentence}


def _proposal(proposal: Proposal) -> dict[str, Any]:
    return {
        "target_id": proposal.target.id, "status": proposal.status.value, "reason": proposal.reason,
        "chosen_rank": proposal.chosen,
        "placements": [placement_document(p) for p in sorted(proposal.placements, key=lambda p: p.rank)],
        "rejections": [_rejection(r) for r in proposal.rejections],
    }


def _review(plan: Plan, target_id: str) -> dict[str, Any]:
    review = plan.review(target_id)
    return {"target_id": target_id, "state": review.state.value, "locked": review.locked, "who": review.who,
            "role": review.role, "when": review.when, "reason": review.reason, "typed_side": review.typed_side,
            "overrides": dict(review.overrides), "content_sha256": review.content_sha256}


def _grid(grid: Grid) -> dict[str, Any]:
    return {"shape_zyx": list(grid.shape), "affine_lps": _matrix(grid.affine, 6, "affine")}


def request_document(request: PlanRequest) -> dict[str, Any]:
    """What was asked for, as it is written."""
    return {"procedure": request.procedure, "joints": list(request.joints),
            "nerves": [nerve.value for nerve in request.nerves], "sides": [side.value for side in request.sides],
            "engine": request.engine, "scheme": request.scheme, "statements": list(request.statements),
            "orientation": request.orientation}


def _masks(spine: Spine) -> dict[str, Any]:
    structures = {}
    for name, structure in sorted(spine.structures.items(), key=lambda item: item[0].value):
        written = structure.mask is not None
        structures[name.value] = {
            "origin": structure.origin.value, "reason": structure.reason,
            "edge_mm": _number(structure.edge_mm, _LENGTH_DECIMALS),
            "file": f"structures/{name.value}.nii.gz" if written else None,
            "in_view": bool(structure.mask.any()) if structure.mask is not None else None}
    return {"structures": structures,
            "body": {"file": "body.nii.gz", "computed": spine.body is not None,
                     "reason": "" if spine.body is not None else "skin not computed: the file is empty"},
            "reconstructed": {"file": None if spine.reconstructed is None else "reconstructed.nii.gz"}}


def to_document(plan: Plan) -> dict[str, Any]:
    """The whole of ``plan.json`` but its ``journal`` field.

    The document depends on the input and the configuration alone: no time, host or path is in it, so that the same
    input and configuration give the same bytes.
    """
    vertebrae = level_order(plan.spine)
    points, details = _landmarks(vertebrae)
    numbering = plan.spine.numbering
    study = plan.study
    sets = [_set(found) for found in needle_sets(plan.proposals)]  # a plan without any is written as ever
    return {
        "schema": PLAN_SCHEMA, "coordinate_system": "LPS", "units": "mm", "banner": BANNER,
        "state": plan.state.value, "versions": {"nerveplan": plan.version, "engine": plan.spine.engine},
        "study": {"study_id": study.study_id, "series_id": study.series_id,
                  "frame_of_reference_id": study.frame_of_reference_id, "image_sha256": study.image_sha256,
                  "modality": study.modality, "patient_position": study.patient_position, "date": study.date,
                  "spacing_mm": _point(study.spacing_mm, "spacing")},
        "grid": _grid(plan.spine.grid),
        "request": request_document(plan.request),
        "notices": list(plan.notices),
        "findings": [finding_entry(finding) for finding in plan.findings],
        "numbering": {"tier": numbering.tier.value, "status": numbering.status.value,
                      "statement": numbering.statement},
        "levels": [_level(vertebra) for vertebra in vertebrae],
        "landmarks": points, "landmark_details": details,
        "nerve_courses": [_course(course) for course in plan.spine.nerves],
        "targets": [_target(proposal.target) for proposal in plan.proposals],
        "missing_targets": [{"name": m.name, "nerve": None if m.nerve is None else m.nerve.value,
                             "carrier": m.carrier, "side": m.side.value, "reason": m.reason}
                            for m in plan.missing_targets],
        "proposals": [_proposal(proposal) for proposal in plan.proposals],
        **({"sets": sets} if sets else {}),
        "reviews": [_review(plan, proposal.target.id) for proposal in plan.proposals],
        "masks": _masks(plan.spine),
    }
