"""Exports read back by other programs' readers: same places, same sides, and what nobody approved says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import csv as arrow
from typer.testing import CliRunner

from imaging.errors import UsageError
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.exports import ExportFormat, export_plan
from planner.exports.standing import PlanFolder
from planner.folder import read_folder
from planner.plan import BANNER, WATERMARK


@pytest.fixture
def document(written: Path) -> dict[str, Any]:
    return read_folder(written).plan


def of(document: dict[str, Any]) -> PlanFolder:
    return PlanFolder(Path("nowhere"), document)


def approved(document: dict[str, Any], target_id: str) -> dict[str, Any]:
    reviews = [{**r, "state": "approved"} if r["target_id"] == target_id else r for r in document["reviews"]]
    return {**document, "reviews": reviews}


def placed(document: dict[str, Any]) -> dict[str, Any]:
    """The first placement's first needle by target."""
    return {p["target_id"]: p["placements"][0]["needles"][0] for p in document["proposals"] if p["placements"]}


def test_the_table_has_every_needle_where_the_plan_has_it(document: dict[str, Any], tmp_path: Path) -> None:
    (path,) = export_plan(of(document), (ExportFormat.CSV,), tmp_path)
    rows = arrow.read_csv(path).to_pylist()
    needles = sum(len(pl["needles"]) for p in document["proposals"] for pl in p["placements"])
    assert len(rows) == needles + sum(not p["placements"] for p in document["proposals"])
    sides = {t["id"]: t["side"] for t in document["targets"]}
    expected = placed(document)
    assert len(expected) >= 5
    for row in rows:
        assert row["side"] == sides[row["target_id"]]
        assert row["notice"] == BANNER
        assert row["watermark"] == WATERMARK
        assert row["coordinate_system"] == "LPS"
        if row["target_id"] in expected:
            needle = expected[row["target_id"]]
            for name in ("entry", "tip"):
                assert [row[f"{name}_{axis}"] for axis in "xyz"] == pytest.approx(needle[name])
            assert row["carm_words"] == needle["angles"]["carm"]["words"]
            assert row["clearance_canal_mm"] > 0
            assert row["clearance_aorta_mm"] is None
        else:
            assert row["tip_x"] is None
            assert row["reason"]


def test_slicer_gets_every_needle_nerve_and_target_in_lps(document: dict[str, Any], tmp_path: Path) -> None:
    written = export_plan(of(document), (ExportFormat.SLICER,), tmp_path)
    assert len(written) == len(document["targets"])
    expected, targets = placed(document), {t["id"].replace(":", "_").replace(" ", "_"): t for t in document["targets"]}
    for path in written:
        target = targets[path.name.removesuffix(".mrk.json")]
        file = json.loads(path.read_text("utf-8"))
        assert file["@schema"].endswith("/markups-schema-v1.0.3.json#")
        kinds = {m["type"]: m for m in file["markups"]}
        for markup in file["markups"]:
            assert markup["coordinateSystem"] == "LPS"
            assert markup["coordinateUnits"] == "mm"
            assert markup["locked"] is True
            assert target["side"] in markup["name"]
            assert WATERMARK in markup["name"]
            assert all(len(c["position"]) == 3 and c["description"] == BANNER for c in markup["controlPoints"])
        assert kinds["Fiducial"]["controlPoints"][0]["position"] == target["position"]
        np.testing.assert_allclose([c["position"] for c in kinds["Curve"]["controlPoints"]], target["nerve_path"])
        assert ("Line" in kinds) == (target["id"] in expected)
        if "Line" in kinds:
            ends = kinds["Line"]["controlPoints"]
            assert [c["label"] for c in ends] == [f"entry {target['side']}", f"tip {target['side']}"]
            assert [c["position"] for c in ends] == [expected[target["id"]][n] for n in ("entry", "tip")]


def test_a_needle_whose_entry_is_not_in_view_is_a_tip_without_a_line(document: dict[str, Any], tmp_path: Path) -> None:
    changed = json.loads(json.dumps(document))
    proposal = next(p for p in changed["proposals"] if p["placements"])
    proposal["placements"][0]["needles"][0]["entry"] = None
    written = export_plan(of(changed), (ExportFormat.SLICER,), tmp_path)
    name = proposal["target_id"].replace(":", "_").replace(" ", "_")
    file = json.loads(next(p for p in written if p.name.startswith(name)).read_text("utf-8"))
    assert [m["type"] for m in file["markups"]] == ["Fiducial", "Curve", "Fiducial"]
    assert "entry not in view" in file["markups"][0]["controlPoints"][0]["label"]


def test_only_an_approved_target_is_free_of_the_watermark(document: dict[str, Any], tmp_path: Path) -> None:
    chosen = document["targets"][0]["id"]
    written = export_plan(of(approved(document, chosen)), (ExportFormat.CSV, ExportFormat.SLICER), tmp_path)
    for path in written:
        if path.suffix == ".json":
            marked = WATERMARK in path.read_text("utf-8")
            assert marked == (path.name != chosen.replace(":", "_").replace(" ", "_") + ".mrk.json")
        else:
            for row in arrow.read_csv(path).to_pylist():
                assert (row["watermark"] == "") == (row["target_id"] == chosen) == (row["state"] == "approved")


def test_a_plan_folder_is_no_place_for_exports(document: dict[str, Any], written: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(written, tmp_path / "case"))
    before = sorted(p.name for p in copy.rglob("*"))
    with pytest.raises(UsageError, match="plan folder"):
        export_plan(of(document), (ExportFormat.CSV,), copy)
    assert sorted(p.name for p in copy.rglob("*")) == before


def test_the_command_writes_each_format_and_says_what_is_not_approved(written: Path, tmp_path: Path) -> None:
    out = tmp_path / "exports"
    result = CliRunner().invoke(app, ["export", str(written), "--to", "csv", "--to", "slicer", "--out", str(out)])
    assert result.exit_code == ExitCode.OK, result.output
    assert "UNAPPROVED PROPOSAL" in result.output
    assert len(list(out.iterdir())) == 7
    wrong = CliRunner().invoke(app, ["export", str(written), "--to", "word", "--out", str(out)])
    assert wrong.exit_code == ExitCode.USAGE
    assert "/somewhere" not in "".join(p.read_text("utf-8") for p in out.iterdir()), "no path of the scan"


def test_an_altered_plan_is_not_exported(folder: Path, tmp_path: Path) -> None:
    text = (folder / "plan.json").read_text("utf-8")
    (folder / "plan.json").write_text(text.replace('"LEFT"', '"RIGHT"', 1), encoding="utf-8")
    result = CliRunner().invoke(app, ["export", str(folder), "--to", "csv", "--out", str(tmp_path / "exports")])
    assert result.exit_code == ExitCode.ALTERED
    assert not (tmp_path / "exports").exists()
