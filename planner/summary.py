"""What a finished plan prints: a table for people, one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imaging.findings import Severity
from imaging.geometry import Side
from planner.console import print_table, say
from planner.document import finding_entry, level_order
from planner.plan import BANNER, Plan
from planner.words import CAPTURE_HEADING, CONFIDENCE_HEADING, DialRow, dial_row

__all__ = ["plan_summary", "print_plan"]

_COLUMNS = ("nerve at bone", "side", "C-arm receptor, prone", "CT in plane", "CT out of plane", "depth", "needle",
            "entry from midline", "smallest clearance", CAPTURE_HEADING, CONFIDENCE_HEADING)
_STYLES = {Side.LEFT.value: "bold blue", Side.RIGHT.value: "bold dark_orange3"}


def plan_summary(plan: Plan, out: Path | None) -> dict[str, Any]:
    """The plan in short as a JSON document."""
    numbering = plan.spine.numbering
    return {
        "exit_code": int(plan.exit_code), "out": None if out is None else str(out), "study_id": plan.study.study_id,
        "planned": plan.planned, "targets": [_row_entry(dial_row(proposal)) for proposal in plan.proposals],
        "missing_targets": [{"name": m.name, "nerve": None if m.nerve is None else m.nerve.value,
                             "carrier": m.carrier, "side": m.side.value, "reason": m.reason}
                            for m in plan.missing_targets],
        "levels": [vertebra.name for vertebra in level_order(plan.spine)],
        "numbering": {"tier": numbering.tier.value, "status": numbering.status.value,
                      "statement": numbering.statement},
        "findings": [finding_entry(finding) for finding in plan.findings],
    }


def _row_entry(row: DialRow) -> dict[str, Any]:
    return {**asdict(row), "side": row.side.value}


def _cells(row: DialRow) -> Sequence[str]:
    name = f"{row.nerve} at {row.bone}"
    sure = f"{row.confidence_word} {row.confidence}"
    if not row.planned:
        return name, row.side.value, "none", "", "", "", "", "", "", "", sure
    return (name, row.side.value, row.carm_short, row.in_plane, row.out_of_plane, row.depth, row.needle, row.midline,
            row.clearance, row.capture, sure)


def print_plan(plan: Plan, out: Path | None) -> None:
    """The first table of the report on the terminal, then what weighs on it."""
    say(BANNER)
    if plan.proposals:
        print_table("", _COLUMNS, [_cells(dial_row(p)) for p in plan.proposals], _STYLES)
    for row in (dial_row(proposal) for proposal in plan.proposals):
        if not row.planned:
            say(f"no path: {row.nerve} at {row.bone}, {row.side.value}: {row.reason}")
    for reason in dict.fromkeys(missing.reason for missing in plan.missing_targets):
        names = [f"{m.name} {m.side.value}" for m in plan.missing_targets if m.reason == reason]
        say(f"not placed: {', '.join(names)}: {reason}")
    for finding in plan.findings:
        if finding.severity is not Severity.INFO:
            say(f"{finding.severity.value}: {finding.message} [{finding.code.value}]")
    numbering = plan.spine.numbering
    said = f", stated by the operator: {numbering.statement}" if numbering.statement else ""
    say(f"levels {', '.join(v.name for v in level_order(plan.spine)) or 'none'} (tier {numbering.tier.value}, "
        f"{numbering.status.value}{said})")
    say(f"{plan.planned} of {len(plan.proposals) + len(plan.missing_targets)} targets planned"
        + ("" if out is None else f"; written to {out}"))
