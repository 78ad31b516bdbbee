"""``plan.json`` read back into the values it was written from: the inverse of `planner.document`.

Figures come back as they were written, rounded; the document of a plan read back is the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import CArmAngles, CtAngles, Side, VertebralFrame
from imaging.volume import Grid
from planner.observations import PLAN_CODES
from planner.plan import PlanRequest, StudyInfo, TargetReview, TargetState
from segmentation.anatomy import LandmarkName, Nerve, StructureName
from segmentation.spine import (
    Alternate,
    Landmark,
    NerveCourse,
    Numbering,
    NumberingStatus,
    NumberingTier,
    Spine,
    Structure,
    StructureOrigin,
    Vertebra,
)
from targeting.model import (
    CapturePoint,
    LesionEffect,
    LesionSetting,
    MarginCurve,
    Needle,
    NeedlePose,
    Placement,
    PlacementKind,
    Proposal,
    ProposalStatus,
    Rejection,
    RejectionReason,
    SetMember,
    Target,
)
from targeting.targets import MissingTarget

__all__ = [
    "Masks", "parse_findings", "parse_grid", "parse_missing", "parse_placement", "parse_proposals", "parse_request",
    "parse_reviews", "parse_spine", "parse_study",
]

Document = Mapping[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of a plan folder, all (z, y, x) on the input grid; what was not computed is None."""

    labels: NDArray[np.uint8]
    body: NDArray[np.bool_] | None
    reconstructed: NDArray[np.bool_] | None
    structures: Mapping[StructureName, NDArray[np.bool_] | None]


def _array(values: Any, shape: tuple[int, ...]) -> Array:
    return np.asarray(values, dtype=np.float64).reshape(shape)


def _nerve(name: str | None) -> Nerve | None:
    """A nerve by its written name; None for a nerve of a vertebra without a name."""
    return next((nerve for nerve in Nerve if nerve.value == name), None)


def parse_grid(document: Document) -> Grid:
    """The input's lattice, its affine to six decimals."""
    z, y, x = document["grid"]["shape_zyx"]
    return Grid((z, y, x), _array(document["grid"]["affine_lps"], (4, 4)))


def parse_study(document: Document) -> StudyInfo:
    """Which images the plan is about."""
    study = document["study"]
    z, y, x = document["grid"]["shape_zyx"]
    a, b, c = study["spacing_mm"]
    return StudyInfo(study["study_id"], study["series_id"], study["frame_of_reference_id"], study["image_sha256"],
                     study["modality"], study["patient_position"], study["date"], (z, y, x), (a, b, c))


def parse_request(document: Document) -> PlanRequest:
    """What was asked for."""
    asked = document["request"]
    return PlanRequest(asked["procedure"], tuple(asked["joints"]), tuple(Nerve(n) for n in asked["nerves"]),
                       tuple(Side(s) for s in asked["sides"]), asked["engine"], asked["scheme"],
                       tuple(asked["statements"]), asked["orientation"])


def parse_findings(document: Document) -> tuple[Finding, ...]:
    """All findings."""
    return tuple(Finding(FindingCode(f["code"]), Severity(f["severity"]), f["message"]) for f in document["findings"])


def parse_missing(document: Document) -> tuple[MissingTarget, ...]:
    """Targets that were asked for and could not be placed."""
    return tuple(MissingTarget(_nerve(m["nerve"]), m["name"], Side(m["side"]), m["carrier"], m["reason"])
                 for m in document["missing_targets"])


def parse_reviews(document: Document) -> dict[str, TargetReview]:
    """What people said about each target."""
    return {r["target_id"]: TargetReview(
        TargetState(r["state"]), r["locked"], r["who"], r["role"], r["when"], r["reason"], r["typed_side"],
        tuple(sorted(r["overrides"].items())), r["content_sha256"]) for r in document["reviews"]}


def _frame(frame: Document | None) -> VertebralFrame | None:
    if frame is None:
        return None
    return VertebralFrame(*(_array(frame[name], (3,)) for name in ("origin", "left", "posterior", "superior")))


def _vertebra(level: Document, points: Document, details: Document) -> Vertebra:
    marks = {LandmarkName(name): Landmark(
        _array(xyz, (3,)), _array(details[name]["covariance_mm2"], (3, 3)), details[name]["confidence"],
        tuple(details[name]["reasons"]), details[name]["placed_by"]) for name, xyz in points.items()}
    return Vertebra(
        level["level"], level["label"], level["confidence"], _array(level["body_center"], (3,)),
        _frame(level["frame"]), marks, tuple(Alternate(a["level"], a["p"]) for a in level["alternates"]),
        tuple(level["evidence"]), level["touches_edge"], tuple(Side(s) for s in level["sacralised"]),
        level["quality"], level["placed_by"])


def _course(c: Document) -> NerveCourse:
    return NerveCourse(_nerve(c["nerve"]), c["carrier"], Side(c["side"]), _array(c["path"], (-1, 3)),
                       _array(c["sigma_mm"], (-1,)), _array(c["neck"], (-1, 3)), c["confidence"], tuple(c["reasons"]))


def _structures(document: Document, masks: Masks) -> dict[StructureName, Structure]:
    out = {}
    for name, entry in document["masks"]["structures"].items():
        key = StructureName(name)
        out[key] = Structure(key, masks.structures.get(key), StructureOrigin(entry["origin"]), entry["reason"],
                             entry.get("edge_mm", 0.0))
    return out


def parse_spine(document: Document, masks: Masks, grid: Grid) -> Spine:
    """The anatomy: levels, frames, landmarks, courses and structures over the masks of the folder."""
    numbering, points = document["numbering"], document["landmarks"]
    vertebrae = tuple(_vertebra(level, points.get(level["level"], {}),
                                document["landmark_details"].get(level["level"], {})) for level in document["levels"])
    return Spine(
        grid, masks.labels,
        Numbering(NumberingTier(numbering["tier"]), NumberingStatus(numbering["status"]), numbering["statement"]),
        vertebrae, tuple(_course(c) for c in document["nerve_courses"]), _structures(document, masks), masks.body,
        masks.reconstructed, document["versions"]["engine"],
        tuple(f for f in parse_findings(document) if f.code not in PLAN_CODES))


def _target(t: Document, spine: Spine) -> Target:
    carrier = spine.vertebra(t["carrier"])
    if carrier is None:
        raise ValueError(f"{t['id']}: its bone {t['carrier']} is not among the levels")
    nerve, side = _nerve(t["nerve"]), Side(t["side"])
    course = NerveCourse(nerve, carrier.name, side, _array(t["nerve_path"], (-1, 3)),
                         _array(t["nerve_sigma_mm"], (-1,)), _array(t["nerve_neck"], (-1, 3)), t["nerve_confidence"],
                         tuple(t["nerve_reasons"]))
    return Target(t["id"], t["procedure"], nerve, t["name"], carrier, side, tuple(t["joints"]),
                  _array(t["position"], (3,)), course, _array(t["covariance_mm2"], (3, 3)), t["confidence"],
                  tuple(t["reasons"]), t["withheld"], t["placed_by"], place=t["place"], member=_member(t.get("set")))


def _member(entry: Document | None) -> SetMember | None:
    return None if entry is None else SetMember(entry["id"], entry["index"], entry["count"])


def _pose(n: Document) -> NeedlePose:
    angles, needle = n["angles"], n["needle"]
    primary = angles["carm"]["primary_deg"]
    carm = CArmAngles((180.0 if primary >= 0 else -180.0) - primary, angles["carm"]["secondary_deg"])
    ct = angles["ct"]
    return NeedlePose(
        Needle(needle["name"], needle["gauge"], needle["length_mm"], needle["diameter_mm"], needle["active_tip_mm"]),
        None if n["entry"] is None else _array(n["entry"], (3,)), _array(n["tip"], (3,)),
        _array(n["direction"], (3,)), n["length_mm"], angles["oblique_deg"], angles["tilt_deg"], carm,
        CtAngles(ct["in_plane_deg"], ct["out_of_plane_deg"]), ct["entry_from_midline_mm"],
        ct["entry_above_target_mm"])


def _curve(points: list[Document]) -> tuple[CapturePoint, ...]:
    return tuple(CapturePoint(c["placement_sigma_mm"], c["p"]) for c in points)


def parse_placement(p: Document) -> Placement:
    """One placement as it is written in ``plan.json`` or a journal entry."""
    capture = p["capture"]
    return Placement(
        p["rank"], PlacementKind(p["kind"]), tuple(_pose(n) for n in p["needles"]),
        {StructureName(name): value for name, value in p["clearance_mm"].items()},
        {StructureName(name): words for name, words in p["clearance_reason"].items()},
        {StructureName(name): value for name, value in p["margins_mm"].items()}, p["margins_met"],
        _curve(capture["curve"]), tuple(capture["assumptions"]),
        {name: float("nan") if value is None else value for name, value in p["objectives"].items()}, p["why"],
        tuple(p["may_cross"]), p["may_cross_midline"], p["placed_by"], _rejections(p["broken"]),
        _lesion(p["lesion"]), tuple(MarginCurve(StructureName(name), entry["margin_mm"], _curve(entry["curve"]))
                                    for name, entry in p["margin_probability"].items()))


def _lesion(entry: Document | None) -> LesionEffect | None:
    if entry is None:
        return None
    s, captured = entry["setting"], entry["captured_mm"]
    setting = LesionSetting(s["gauge"], s["diameter_mm"], s["active_tip_mm"], s["temperature_c"], s["seconds"])
    gaps = {StructureName(name): value for name, value in entry["heat_clearance_mm"].items()}
    return LesionEffect(setting, None if captured is None else (captured[0], captured[1]), gaps, entry["allowance_mm"])


def _rejections(entries: Sequence[Document]) -> tuple[Rejection, ...]:
    return tuple(Rejection(RejectionReason(r["reason"]), r["structure"], r["limit"], r["best"], r["count"],
                           r["sentence"]) for r in entries)


def parse_proposals(document: Document, spine: Spine) -> tuple[Proposal, ...]:
    """The answers, each with its target on the spine's own vertebra."""
    targets = {t["id"]: t for t in document["targets"]}
    return tuple(Proposal(
        _target(targets[p["target_id"]], spine), ProposalStatus(p["status"]), p["reason"],
        tuple(parse_placement(one) for one in p["placements"]), _rejections(p["rejections"]), p["chosen_rank"])
        for p in document["proposals"])
