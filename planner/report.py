"""``report.html``: one self-contained page that a clinician reads, prints and signs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from imaging.findings import Finding, Severity
from imaging.geometry import Side, dicom_positioner_angles, whole_degrees
from imaging.position import depth_words, lying
from planner.age import scan_age
from planner.document import level_order
from planner.folder import parameters, parameters_sha256
from planner.history import HistoryLine
from planner.pictures import (
    BONE_COLOR,
    NERVE_COLOR,
    SIDE_COLOR,
    STRUCTURE_COLOR,
    Picture,
    Prepared,
    overview_picture,
    prepare,
    target_pictures,
)
from planner.plan import BANNER, Plan
from planner.signoff import NOT_AN_IDENTITY, SignOff, change_log, sign_off
from planner.words import (
    CAPTURE_HEADING,
    CONFIDENCE_HEADING,
    dial_row,
    entry_words,
    midline_words,
    needle_words,
    pedicle_words,
)
from segmentation.engine import Progress
from segmentation.spine import Spine, Structure, StructureOrigin
from targeting.model import CapturePoint, NeedlePose, Placement, Proposal, Rejection, RejectionReason, best_placement
from targeting.procedures import load_procedure, procedure_names
from targeting.procedures.schema import Statement
from targeting.uncertainty import radius_holding

__all__ = ["render_report"]

_PLOT = (220.0, 90.0)


@dataclass(frozen=True)
class _Clearance:
    """One line of the clearance table."""

    structure: str
    how: str
    measured: str
    needed: str
    verdict: str


@dataclass(frozen=True)
class _Section:
    """One target's part of the page."""

    anchor: str
    row: Any
    signed: SignOff
    sentence: str
    pictures: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    clearances: tuple[_Clearance, ...]
    curve: tuple[CapturePoint, ...]
    curve_points: str
    assumptions: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    rejections: tuple[str, ...]
    reasons: tuple[str, ...]
    why: str


def _data_uri(picture: Picture) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture.jpeg).decode("ascii")


def _xyz(point: Any, decimals: int = 1) -> str:
    return ", ".join(f"{round(v, decimals) + 0.0:.{decimals}f}" for v in np.asarray(point, dtype=np.float64).tolist())


def _spread(covariance: Any) -> str:
    """One standard deviation along the principal axes, and the radius that holds 95 %."""
    values = np.linalg.eigvalsh(np.asarray(covariance, dtype=np.float64))[::-1]
    sigmas = np.sqrt(np.maximum(values, 0.0))
    return (" \N{MULTIPLICATION SIGN} ".join(f"{s:.1f}" for s in sigmas)
            + f" mm (1 sigma), 95 % within {radius_holding(0.95, np.asarray(covariance)):.1f} mm")


def _target_facts(proposal: Proposal) -> list[tuple[str, str]]:
    target, frame = proposal.target, proposal.target.carrier.frame
    local = "not known: the vertebra is cut" if frame is None else _xyz(frame.to_local(target.position)) + " mm"
    alike = "" if len(target.course.path) or target.placed_by else ", assumed alike for every place of this procedure"
    return [("Procedure", target.procedure), ("Target, LPS", _xyz(target.position) + " mm"),
            ("Target in the vertebra (left, posterior, superior)", local),
            ("Uncertainty of the place", _spread(target.covariance) + alike)]


def _needle_facts(plan: Plan, proposal: Proposal, pose: NeedlePose, number: str) -> list[tuple[str, str]]:
    side = proposal.target.side
    primary, secondary = dicom_positioner_angles(pose.carm)
    needle = pose.needle
    active = f", active tip {needle.active_tip_mm:g} mm" if needle.active_tip_mm else ""
    facts = [
        (f"Needle{number}", f"{needle_words(pose)}: {needle.gauge} gauge, "
                            + ("" if needle.length_mm is None else f"{needle.length_mm:g} mm, ")
                            + f"diameter {needle.diameter_mm:g} mm{active}"),
        ("Tip, LPS", _xyz(pose.tip) + " mm"),
        ("Angles to the squared endplate", f"oblique {whole_degrees(pose.oblique_deg)}\N{DEGREE SIGN} toward "
         f"{(side if pose.oblique_deg >= 0 else side.other).value}, "
         f"tilt {whole_degrees(pose.tilt_deg)}\N{DEGREE SIGN} toward {'HEAD' if pose.tilt_deg >= 0 else 'FEET'}"),
        ("C-arm positioner (patient prone, head first)",
         f"primary {primary:.0f}\N{DEGREE SIGN}, secondary {secondary:.0f}\N{DEGREE SIGN} (DICOM); a console that "
         "takes the patient for supine mirrors them"),
    ]
    if pose.entry is None or pose.length_mm is None:
        return [*facts, ("Entry", "the skin over the path is not in the field of view")]
    depth = abs(float(pose.entry[1] - pose.tip[1]))
    return [*facts, ("Entry, LPS", _xyz(pose.entry) + " mm"),
            ("Entry on the skin", f"{midline_words(pose, side)} of the midline; from the tip: {entry_words(pose)}"),
            ("Entry by fluoroscopy", pedicle_words(pose, proposal.target)),
            ("Depth along the path", f"{pose.length_mm:.1f} mm ({depth:.1f} mm straight down), {_measured(plan)}"),
            ("Length left outside the skin", f"{needle.shaft_mm - pose.length_mm:.1f} mm")]


def _measured(plan: Plan) -> str:
    position = plan.study.patient_position
    more = "" if lying(position) == "prone" else "; prone depth is usually greater"
    return depth_words(position) + more


_HOW = {StructureOrigin.IMPORTED: "from the label file", StructureOrigin.COMPUTED: "found on the scan",
        StructureOrigin.MODELLED: "MODELLED, not seen", StructureOrigin.NOT_COMPUTED: "not computed"}


def _how(structure: Structure | None) -> str:
    """Where a structure's mask comes from, in few words."""
    if structure is None:
        return _HOW[StructureOrigin.NOT_COMPUTED]
    if structure.edge_mm > 0:
        return f"coarse mask of the engine, its edge uncertain by {structure.edge_mm:g} mm"
    return _HOW[structure.origin]


def _clearances(placement: Placement, spine: Spine) -> tuple[_Clearance, ...]:
    """Every structure; whole millimetres where its mask is coarse."""
    out = []
    for name in sorted(placement.clearance_mm, key=lambda n: n.value):
        value, need = placement.clearance_mm[name], placement.margins_mm.get(name)
        structure, words = spine.structures.get(name), name.value.replace("_", " ")
        edge = 0.0 if structure is None else structure.edge_mm
        needed = "-" if need is None else f"{need:.1f} mm" if edge == 0 else (
            f"{need:.0f} mm ({need - edge:g} and {edge:g} for the edge)")
        if value is None:
            reason = placement.clearance_reason.get(name, "not computed")
            out.append(_Clearance(words, _how(structure), "-", needed, reason))
            continue
        verdict = "no limit" if need is None else "met" if value >= need else "NOT MET"
        out.append(_Clearance(words, _how(structure), f"{np.floor(value):.0f} mm" if edge > 0 else f"{value:.1f} mm",
                              needed, verdict))
    return tuple(out)


def _curve_points(curve: tuple[CapturePoint, ...]) -> str:
    """The capture curve as the points of an SVG polyline."""
    if len(curve) < 2:
        return ""
    width, height = _PLOT
    end = max(point.placement_sigma_mm for point in curve) or 1.0
    return " ".join(f"{point.placement_sigma_mm / end * width:.1f},{(1 - point.p) * height:.1f}" for point in curve)


def _other(placement: Placement, side: Side) -> tuple[str, ...]:
    pose = placement.needles[0]
    depth = "-" if pose.length_mm is None else f"{pose.length_mm:.0f} mm"
    nearest = [v for v in placement.clearance_mm.values() if v is not None]
    turn, tilt = (f"{'-' if angle < 0 else ''}{whole_degrees(angle)}\N{DEGREE SIGN}"
                  for angle in (pose.oblique_deg, pose.tilt_deg))
    return (str(placement.rank), f"{turn} / {tilt}", depth,
            midline_words(pose, side), f"{min(nearest):.1f} mm" if nearest else "-", placement.why)


def _section(plan: Plan, proposal: Proposal, number: int, prepared: Prepared) -> _Section:
    target, placement = proposal.target, best_placement(proposal)
    pictures = tuple((_data_uri(p), p.caption) for p in target_pictures(plan, proposal, prepared))
    facts = _target_facts(proposal)
    curve: tuple[CapturePoint, ...] = ()
    if placement is not None:
        several = len(placement.needles) > 1
        for n, pose in enumerate(placement.needles, start=1):
            facts += _needle_facts(plan, proposal, pose, f" {n}" if several else "")
        if placement.may_cross_midline:
            facts.append(("Midline", "the path may cross the midline"))
        curve = placement.capture
    others = tuple(_other(p, target.side) for p in sorted(proposal.placements, key=lambda p: p.rank)
                   if p is not placement)
    return _Section(
        f"t{number}", dial_row(proposal), sign_off(plan, target.id), target.sentence, pictures, tuple(facts),
        () if placement is None else _clearances(placement, plan.spine), curve, _curve_points(curve),
        () if placement is None else placement.capture_assumptions, others,
        _turned_down(proposal), target.reasons, "" if placement is None else placement.why)


def _study_facts(plan: Plan, plan_sha256: str, now: datetime) -> tuple[tuple[str, str], ...]:
    study, grid = plan.study, plan.spine.grid
    extent = grid.spacing * np.array(grid.shape[::-1])
    tilt = next((f.message for f in plan.findings if f.code.value == "gantry_tilt_corrected"), "none reported")
    return (
        ("Study (pseudonym)", study.study_id), ("Series (pseudonym)", study.series_id),
        ("Patient", "not read: compare the study with the patient before use"),
        ("Scan date", scan_age(plan.study.date, now).sentence),
        ("Modality", study.modality if plan.volume is not None else "label map only"),
        ("Patient position", study.patient_position or "not stated"), ("Gantry tilt", tilt),
        ("Spacing x, y, z", _xyz(study.spacing_mm, 2) + " mm"), ("Field of view", _xyz(extent, 0) + " mm"),
        ("State", plan.state.value.upper()), ("nerveplan", plan.version), ("Engine", plan.spine.engine),
        ("Proposed", plan.run.finished), ("Report drawn", now.isoformat()), ("Image SHA-256", study.image_sha256),
        ("Plan SHA-256", plan_sha256),
        ("Configuration SHA-256", parameters_sha256(parameters(plan.request, plan.version))),
    )


def _levels(plan: Plan) -> tuple[tuple[str, str, str, str], ...]:
    rows = []
    for vertebra in level_order(plan.spine):
        others = ", ".join(f"{a.level} ({a.p:.2f})" for a in vertebra.alternates) or "-"
        notes = list(vertebra.evidence)
        notes += ["cut by the field of view"] if vertebra.touches_edge else []
        notes += [f"joined to the sacrum on the {side.value}" for side in vertebra.sacralised]
        rows.append((vertebra.name, f"{vertebra.confidence:.2f}", others, "; ".join(notes) or "-"))
    return tuple(rows)


@dataclass(frozen=True)
class _FindingGroup:
    """Findings of one kind and severity, once each."""

    severity: str
    code: str
    messages: tuple[str, ...]


def _grouped(findings: tuple[Finding, ...]) -> tuple[_FindingGroup, ...]:
    """Findings of the same kind together, the gravest first."""
    order = (Severity.BLOCK, Severity.WARNING, Severity.INFO)
    groups: dict[tuple[int, str], dict[str, None]] = {}
    for finding in findings:
        groups.setdefault((order.index(finding.severity), finding.code.value), {})[finding.message] = None
    ranked = sorted(groups.items(), key=lambda item: item[0][0])
    return tuple(_FindingGroup(order[rank].value, code, tuple(messages)) for (rank, code), messages in ranked)


def _turned_down(proposal: Proposal) -> tuple[str, ...]:
    """What was rejected, one line per kind of limit, most candidates first."""
    kinds: dict[RejectionReason, list[Rejection]] = {}
    for rejection in proposal.rejections:
        kinds.setdefault(rejection.reason, []).append(rejection)
    ranked = sorted(kinds.values(), key=lambda group: -sum(r.count for r in group))
    return tuple("; ".join(r.sentence for r in sorted(group, key=lambda r: -r.count)) for group in ranked)


def _legend(plan: Plan) -> tuple[tuple[str, str], ...]:
    shown = [(color, name.value.replace("_", " ")) for name, color in STRUCTURE_COLOR.items()
             if (s := plan.spine.structures.get(name)) is not None and s.mask is not None and s.mask.any()]
    return ((SIDE_COLOR[Side.LEFT], "needle, LEFT"), (SIDE_COLOR[Side.RIGHT], "needle, RIGHT"),
            ("#ffffff", "tip and active tip"), (NERVE_COLOR, "likely nerve; ring: target, 1 sigma"),
            (BONE_COLOR, "bone"), *shown)


def _title(procedure: str) -> str:
    """The procedure's own title, or its name where the catalogue does not hold it."""
    return load_procedure(procedure).title if procedure in procedure_names() else procedure


def _statements(procedure: str) -> tuple[Statement, ...]:
    """What a person should know or ask before it."""
    return load_procedure(procedure).statements if procedure in procedure_names() else ()


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = resources.files("planner.templates").joinpath("report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True).from_string(text)


def render_report(plan: Plan, plan_sha256: str, progress: Progress | None = None, *,
                  history: Sequence[HistoryLine] = (), now: datetime | None = None) -> str:
    """The report as one HTML page with its pictures inside.

    Parameters
    ----------
    plan : Plan
    plan_sha256 : str
        Of the ``plan.json`` this report belongs to; printed on it.
    history : sequence of HistoryLine
        What people did; empty for a plan that was just proposed.
    now : datetime or None
        Judges the scan's age; the end of the run when None.
    """
    sections, prepared = [], prepare(plan)
    for number, proposal in enumerate(plan.proposals, start=1):
        if progress is not None:
            progress("drawing", number / (len(plan.proposals) + 1))
        sections.append(_section(plan, proposal, number, prepared))
    overview = overview_picture(plan, prepared)
    html: str = _template().render(
        banner=BANNER, watermark=plan.watermark(), sections=sections, numbering=plan.spine.numbering,
        levels=_levels(plan), log=change_log(plan, history), not_an_identity=NOT_AN_IDENTITY,
        findings=_grouped(plan.findings), missing=plan.missing_targets,
        overview=None if overview is None else (_data_uri(overview), overview.caption), legend=_legend(plan),
        study=_study_facts(plan, plan_sha256, now or datetime.fromisoformat(plan.run.finished)),
        measured=_measured(plan), plan_sha256=plan_sha256, plot=_PLOT,
        confidence_heading=CONFIDENCE_HEADING, capture_heading=CAPTURE_HEADING,
        statements=_statements(plan.request.procedure), title=_title(plan.request.procedure),
        notices=plan.notices, versions=sorted(plan.run.versions.items()))
    return html
