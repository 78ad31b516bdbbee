"""3D Slicer markups: one ``.mrk.json`` per target with its needles, nerve course and target point, locked.

Positions are written as they are, LPS mm, and the file says so; Slicer turns them into its own RAS scene.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from planner.exports.standing import PlanFolder, chosen_placement, states, watermark
from planner.replace import replace_file
from planner.signoff import hands_in

__all__ = ["write_markups"]

_SCHEMA = ("https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
           "markups-schema-v1.0.3.json#")
_COLOR = {"LEFT": [0.337, 0.706, 0.914], "RIGHT": [0.902, 0.624, 0.0]}
_NERVE = [0.941, 0.894, 0.259]


def _markup(kind: str, name: str, points: Sequence[tuple[str, Sequence[float]]], color: list[float],
            banner: str) -> dict[str, Any]:
    """One markup; `points` are labels with LPS positions in mm, `banner` is what each of them says."""
    return {
        "type": kind, "name": name, "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": True,
        "fixedNumberOfControlPoints": True,
        "controlPoints": [
            {"id": str(n), "label": label, "description": banner, "position": [float(v) for v in position],
             "selected": True, "locked": True, "visibility": True, "positionStatus": "defined"}
            for n, (label, position) in enumerate(points, start=1)],
        "display": {"visibility": True, "color": color, "selectedColor": color, "pointLabelsVisibility": True,
                    "propertiesLabelVisibility": True}}


def _markups(target: Mapping[str, Any], placement: Mapping[str, Any] | None, mark: str,
             banner: str) -> Iterator[dict[str, Any]]:
    side = target["side"]
    what = f"{target['nerve']} at {target['carrier']} {side}" + (f" {mark}" if mark else "")
    needles = () if placement is None else placement["needles"]
    for number, needle in enumerate(needles, start=1):
        name = f"needle {number} {what}" if len(needles) > 1 else f"needle {what}"
        if needle["entry"] is None:
            yield _markup("Fiducial", name, [(f"tip, entry not in view: {what}", needle["tip"])], _COLOR[side], banner)
            continue
        ends = [(f"entry {side}", needle["entry"]), (f"tip {side}", needle["tip"])]
        yield _markup("Line", name, ends, _COLOR[side], banner)
    if target["nerve_path"]:
        course = [(f"nerve {side} {n}", point) for n, point in enumerate(target["nerve_path"], start=1)]
        yield _markup("Curve", f"likely nerve {what}", course, _NERVE, banner)
    yield _markup("Fiducial", f"target {what}", [(what, target["position"])], _COLOR[side], banner)


def write_markups(plan: PlanFolder, folder: Path) -> tuple[Path, ...]:
    """Write one file per target; a target without a needle keeps its nerve and its point."""
    document = plan.document
    targets, standing = {target["id"]: target for target in document["targets"]}, states(document)
    written = []
    for proposal in document["proposals"]:
        target = targets[proposal["target_id"]]
        placement = chosen_placement(proposal)
        hands = hands_in(document, target, placement)
        said = f"{document['banner']} By hand: {hands}." if hands else document["banner"]
        found = _markups(target, placement, watermark(standing[target["id"]]), said)
        name = re.sub(r"[^A-Za-z0-9-]+", "_", target["id"])
        text = json.dumps({"@schema": _SCHEMA, "markups": list(found)}, indent=1, allow_nan=False)
        written.append(folder / f"{name}.mrk.json")
        replace_file(written[-1], text.encode("utf-8"))
    return tuple(written)
