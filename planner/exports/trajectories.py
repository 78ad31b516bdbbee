"""``trajectories.csv``: one row per needle of every placement, with where its target stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from planner.exports.standing import PlanFolder, states, watermark
from planner.signoff import hands_in
from planner.tables import write_table

__all__ = ["TRAJECTORIES_FILE", "write_trajectories"]

TRAJECTORIES_FILE = "trajectories.csv"
_COLUMNS = (
    "study", "target_id", "procedure", "nerve", "carrier", "side", "joints", "confidence", "confidence_word", "state",
    "watermark", "status", "reason", "rank", "chosen", "kind", "needle_number", "needle", "gauge", "needle_length_mm",
    "diameter_mm", "active_tip_mm", "coordinate_system", "target_x", "target_y", "target_z", "entry_x", "entry_y",
    "entry_z", "tip_x", "tip_y", "tip_z", "length_mm", "oblique_deg", "tilt_deg", "carm_assumed_position",
    "carm_words", "primary_deg", "secondary_deg", "in_plane_deg", "out_of_plane_deg", "entry_from_midline_mm",
    "entry_above_target_mm", "margins_met", "by_hand")


def _xyz(name: str, point: Any) -> dict[str, object]:
    return {} if point is None else {f"{name}_{axis}": value for axis, value in zip("xyz", point, strict=True)}


def _needle(needle: Mapping[str, Any]) -> dict[str, object]:
    stock, angles = needle["needle"], needle["angles"]
    carm = angles["carm"]
    return {
        "needle": stock["name"], "gauge": stock["gauge"], "needle_length_mm": stock["length_mm"],
        "diameter_mm": stock["diameter_mm"], "active_tip_mm": stock["active_tip_mm"], **_xyz("entry", needle["entry"]),
        **_xyz("tip", needle["tip"]), "length_mm": needle["length_mm"], "oblique_deg": angles["oblique_deg"],
        "tilt_deg": angles["tilt_deg"], "carm_assumed_position": carm["assumed_position"], "carm_words": carm["words"],
        "primary_deg": carm["primary_deg"], "secondary_deg": carm["secondary_deg"], **angles["ct"]}


def _rows(document: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    targets, standing = {target["id"]: target for target in document["targets"]}, states(document)
    for proposal in document["proposals"]:
        target, state = targets[proposal["target_id"]], standing[proposal["target_id"]]
        base: dict[str, object] = {
            "study": document["study"]["study_id"], "target_id": target["id"], "procedure": target["procedure"],
            "nerve": target["nerve"], "carrier": target["carrier"], "side": target["side"],
            "joints": " ".join(target["joints"]), "confidence": target["confidence"],
            "confidence_word": target["confidence_word"], "state": state.value, "watermark": watermark(state),
            "status": proposal["status"], "reason": proposal["reason"],
            "coordinate_system": document["coordinate_system"], **_xyz("target", target["position"]),
            "notice": document["banner"]}
        if not proposal["placements"]:
            yield {**base, "by_hand": hands_in(document, target, None)}
        for placement in proposal["placements"]:
            clearances = {f"clearance_{name}_mm": value for name, value in placement["clearance_mm"].items()}
            for number, needle in enumerate(placement["needles"], start=1):
                yield {**base, "rank": placement["rank"], "chosen": placement["rank"] == proposal["chosen_rank"],
                       "kind": placement["kind"], "needle_number": number, **_needle(needle),
                       "margins_met": placement["margins_met"], "by_hand": hands_in(document, target, placement),
                       **clearances}


def write_trajectories(plan: PlanFolder, folder: Path) -> tuple[Path, ...]:
    """Write the table: one row per needle, a target without a placement in one row of its own.

    Clearances have one column per structure of the plan; an empty cell was not computed.
    """
    document = plan.document
    names = sorted({name for p in document["proposals"] for placement in p["placements"]
                    for name in placement["clearance_mm"]})
    path = folder / TRAJECTORIES_FILE
    write_table(path, (*_COLUMNS, *(f"clearance_{name}_mm" for name in names), "notice"), _rows(document))
    return (path,)
