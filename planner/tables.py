"""The tables of a batch: one row per study, one row per target; no cell runs as a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from planner.signoff import hands_in

__all__ = [
    "STUDY_COLUMNS", "TARGET_COLUMNS", "TRAJECTORY_COLUMNS", "guarded", "study_row", "target_rows", "trajectory_rows",
    "write_table",
]

STUDY_COLUMNS = ("study", "status", "exit_code", "targets", "planned", "missing", "tier", "numbering", "levels",
                 "findings", "seconds", "peak_memory_mb", "reason")
TARGET_COLUMNS = (
    "study", "target_id", "procedure", "nerve", "carrier", "side", "joints", "confidence", "confidence_word", "state",
    "status", "reason", "target_x", "target_y", "target_z", "entry_x", "entry_y", "entry_z", "tip_x", "tip_y", "tip_z",
    "length_mm", "needle", "gauge", "needle_length_mm", "oblique_deg", "tilt_deg", "carm_words", "primary_deg",
    "secondary_deg", "in_plane_deg", "out_of_plane_deg", "entry_from_midline_mm", "entry_above_target_mm",
    "smallest_clearance_mm", "smallest_clearance_structure", "margins_met", "by_hand")
TRAJECTORY_COLUMNS = (*TARGET_COLUMNS, "rank", "kind", "needle_number", "chosen", "placed_by", "why")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def guarded(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: words that begin like one get an apostrophe in front.

    Numbers stay numbers; None is empty.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], mode: int = 0o644) -> None:
    """Write a CSV file beside its place and rename it there."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([guarded(row.get(column)) for column in columns])
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as out:
        out.write(stream.getvalue())
    os.replace(fresh, path)


def study_row(study: str, plan: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, object]:
    """One finished study as a row."""
    planned = sum(p["status"] != "none" for p in plan["proposals"])
    return {
        "study": study, "status": "planned" if planned else "abstained", "exit_code": run["exit_code"],
        "targets": len(plan["targets"]), "planned": planned, "missing": len(plan["missing_targets"]),
        "tier": plan["numbering"]["tier"], "numbering": plan["numbering"]["status"],
        "levels": " ".join(level["level"] for level in plan["levels"]),
        "findings": " ".join(sorted({finding["code"] for finding in plan["findings"]})),
        "seconds": run["seconds"], "peak_memory_mb": run["peak_memory_mb"],
        "reason": "" if planned else _why_nothing(plan)}


def _why_nothing(plan: Mapping[str, Any]) -> str:
    reasons = [entry["reason"] for entry in (*plan["proposals"], *plan["missing_targets"]) if entry["reason"]]
    blocks = [finding["message"] for finding in plan["findings"] if finding["severity"] == "block"]
    return "; ".join(dict.fromkeys(reasons or blocks))


def target_rows(study: str, plan: Mapping[str, Any]) -> list[dict[str, object]]:
    """One row per target of a finished study: where it stands, and the first needle of the placement that is shown."""
    targets = {target["id"]: target for target in plan["targets"]}
    states = {review["target_id"]: review["state"] for review in plan["reviews"]}
    return [_target_row(study, states[p["target_id"]], targets[p["target_id"]], p, plan) for p in plan["proposals"]]


def _target_row(study: str, state: str, target: Mapping[str, Any], proposal: Mapping[str, Any],
                plan: Mapping[str, Any]) -> dict[str, object]:
    placement = _shown(proposal)
    row = {**_target_cells(study, state, target, proposal), "by_hand": hands_in(plan, target, placement)}
    return row if placement is None else {**row, **_needle_cells(placement, placement["needles"][0])}


def _target_cells(study: str, state: str, target: Mapping[str, Any], proposal: Mapping[str, Any]) -> dict[str, object]:
    return {
        "study": study, "target_id": target["id"], "procedure": target["procedure"], "nerve": target["nerve"],
        "carrier": target["carrier"], "side": target["side"], "joints": " ".join(target["joints"]),
        "confidence": target["confidence"], "confidence_word": target["confidence_word"], "state": state,
        "status": proposal["status"], "reason": proposal["reason"], **_xyz("target", target["position"])}


def _needle_cells(placement: Mapping[str, Any], needle: Mapping[str, Any]) -> dict[str, object]:
    angles, stock = needle["angles"], needle["needle"]
    known = [(value, name) for name, value in placement["clearance_mm"].items() if value is not None]
    nearest = min(known, default=(None, None))
    return {
        **_xyz("entry", needle["entry"]), **_xyz("tip", needle["tip"]), "length_mm": needle["length_mm"],
        "needle": stock["name"], "gauge": stock["gauge"], "needle_length_mm": stock["length_mm"],
        "oblique_deg": angles["oblique_deg"], "tilt_deg": angles["tilt_deg"], "carm_words": angles["carm"]["words"],
        "primary_deg": angles["carm"]["primary_deg"], "secondary_deg": angles["carm"]["secondary_deg"],
        **angles["ct"], "smallest_clearance_mm": nearest[0], "smallest_clearance_structure": nearest[1],
        "margins_met": placement["margins_met"]}


def trajectory_rows(study: str, plan: Mapping[str, Any]) -> list[dict[str, object]]:
    """One row per needle of every placement of a finished study."""
    targets = {target["id"]: target for target in plan["targets"]}
    states = {review["target_id"]: review["state"] for review in plan["reviews"]}
    out = []
    for proposal in plan["proposals"]:
        target, shown = targets[proposal["target_id"]], _shown(proposal)
        for placement in proposal["placements"]:
            out += [{
                **_needle_cells(placement, needle), **_target_cells(study, states[target["id"]], target, proposal),
                "by_hand": hands_in(plan, target, placement), "rank": placement["rank"], "kind": placement["kind"],
                "needle_number": number,
                "chosen": placement is shown, "placed_by": placement["placed_by"], "why": placement["why"]}
                for number, needle in enumerate(placement["needles"], start=1)]
    return out


def _shown(proposal: Mapping[str, Any]) -> Any:
    """The placement a person chose, else the best-ranked; None without any."""
    return min(proposal["placements"], key=lambda p: (p["rank"] != proposal["chosen_rank"], p["rank"]), default=None)


def _xyz(name: str, point: Sequence[float] | None) -> dict[str, object]:
    return {} if point is None else {f"{name}_{axis}": value for axis, value in zip("xyz", point, strict=True)}
