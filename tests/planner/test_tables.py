"""Batch tables hold no formulas; studies are found whatever lies about."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

import pytest

from imaging.errors import NotFoundError
from planner.document import to_document
from planner.studies import find_studies
from planner.tables import (
    STUDY_COLUMNS,
    TARGET_COLUMNS,
    TRAJECTORY_COLUMNS,
    guarded,
    study_row,
    target_rows,
    trajectory_rows,
    write_table,
)
from tests.planner import builders


@pytest.mark.parametrize(("value", "cell"), [
    ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"), ("+1", "'+1"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"),
    (-3.5, "-3.5"), (None, ""), (True, "true"), ("L4 MB", "L4 MB"),
])
def test_a_cell_is_never_a_formula(value: object, cell: str) -> None:
    assert guarded(value) == cell


def test_rows_carry_the_plan(tmp_path: Path) -> None:
    plan = to_document(builders.plan())
    run = {"exit_code": 0, "seconds": 1.5, "peak_memory_mb": 300.0}
    write_table(tmp_path / "t.csv", TARGET_COLUMNS, target_rows("a", plan))
    write_table(tmp_path / "s.csv", STUDY_COLUMNS, [study_row("a", plan, run)], 0o600)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["side"] for row in rows[:2]] == ["LEFT", "RIGHT"]
    assert rows[0]["status"] == "proposed"
    assert rows[-1]["status"] == "none"
    assert rows[-1]["tip_x"] == ""
    assert float(rows[0]["smallest_clearance_mm"]) > 5
    study = next(csv.DictReader((tmp_path / "s.csv").open()))
    assert (study["planned"], study["targets"], study["status"]) == ("5", "6", "planned")
    assert stat.S_IMODE((tmp_path / "s.csv").stat().st_mode) == 0o600


def test_every_needle_of_every_placement_is_a_row() -> None:
    plan = to_document(builders.plan())
    found = trajectory_rows("a", plan)
    assert len(found) == sum(len(p["needles"]) for q in plan["proposals"] for p in q["placements"])
    assert [row["chosen"] for row in found] == [True] * len(found)
    assert set(found[0]) <= set(TRAJECTORY_COLUMNS)
    first = plan["proposals"][0]["placements"][0]
    plan["proposals"][0]["placements"].append({**first, "rank": 2, "placed_by": "A. Reader", "margins_met": False})
    plan["proposals"][0]["chosen_rank"] = 2
    mine = [row for row in trajectory_rows("a", plan) if row["target_id"] == plan["proposals"][0]["target_id"]]
    assert [(row["rank"], row["chosen"], row["placed_by"]) for row in mine] == [(1, False, ""), (2, True, "A. Reader")]
    assert target_rows("a", plan)[0]["margins_met"] is False


def test_studies_are_found_and_label_maps_left_alone(tmp_path: Path) -> None:
    for name in ("a/ct.nii.gz", "a/segmentations/liver.nii.gz", "b_seg.nii.gz", "c.mha", "notes.txt", ".hidden/x.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "out" / "x").mkdir(parents=True)
    (tmp_path / "out" / "x" / "labels.nii.gz").write_bytes(b"")
    found = find_studies(tmp_path, leave_out=tmp_path / "out")
    assert [study.place for study in found] == ["a/ct.nii.gz", "c.mha"]
    assert len({study.id for study in found}) == 2
    assert [s.id for s in find_studies(tmp_path, leave_out=tmp_path / "out")] == [s.id for s in found]
    with pytest.raises(NotFoundError):
        find_studies(tmp_path / "nowhere")
