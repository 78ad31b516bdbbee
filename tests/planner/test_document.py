"""The document of plan.json: the contract's names, finite numbers, rounding, the schema."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from planner.document import to_document
from planner.folder import dump
from planner.schemas import SchemaName, load_schema, validate
from tests.planner import builders


def whole() -> dict[str, object]:
    return {**to_document(builders.plan()), "journal": {"length": 1, "head": "0" * 64}}


def test_it_meets_its_schema_and_holds_the_contract_s_names() -> None:
    document = whole()
    validate(document, SchemaName.PLAN)
    assert document["schema"] == "nerveplan/plan/1"
    assert (document["coordinate_system"], document["units"]) == ("LPS", "mm")
    assert {"findings", "numbering", "levels", "landmarks", "targets", "proposals"} <= document.keys()
    plan = json.loads(dump(document))
    needle = plan["proposals"][0]["placements"][0]["needles"][0]
    assert set(needle["angles"]["carm"]) == {"assumed_position", "words", "primary_deg", "secondary_deg"}
    assert {"in_plane_deg", "out_of_plane_deg", "entry_from_midline_mm", "entry_above_target_mm"} == set(
        needle["angles"]["ct"])
    assert plan["targets"][0]["sentence"].startswith("L3 medial branch at the L4 transverse process, LEFT")


@pytest.mark.parametrize("name", list(SchemaName))
def test_every_schema_is_a_valid_schema_and_closed(name: SchemaName) -> None:
    schema = load_schema(name)
    assert schema["additionalProperties"] is False
    assert schema["$schema"].endswith("2020-12/schema")


def test_an_unknown_or_missing_field_is_refused() -> None:
    document = whole()
    with pytest.raises(ValueError, match="plan"):
        validate({**document, "extra": 1}, SchemaName.PLAN)
    del document["units"]
    with pytest.raises(ValueError, match="units"):
        validate(document, SchemaName.PLAN)


def test_a_number_that_is_not_finite_never_reaches_the_file() -> None:
    plan = builders.plan()
    first = plan.proposals[0]
    broken = replace(first, target=replace(first.target, position=np.array([np.nan, 0, 0])))
    with pytest.raises(ValueError, match="not a finite number"):
        to_document(replace(plan, proposals=(broken,)))
    placement = first.placements[0]
    name = next(iter(placement.clearance_mm))
    infinite = replace(placement, clearance_mm={name: float("inf")}, clearance_reason={name: "none in view"})
    document = to_document(replace(plan, proposals=(replace(first, placements=(infinite,)),)))
    assert document["proposals"][0]["placements"][0]["clearance_mm"] == {name.value: None}


def test_lengths_have_three_decimals_and_no_negative_zero() -> None:
    text = dump(whole()).decode("ascii")
    assert "-0.0," not in text
    plan = json.loads(text)
    for target in plan["targets"]:
        assert target["position"] == [round(v, 3) for v in target["position"]]


def test_nothing_private_and_no_time_is_in_it() -> None:
    text = dump(whole()).decode("ascii")
    for private in ("1.2.3.4", "/somewhere", "ANON", "10:00:0"):
        assert private not in text


def test_the_same_plan_gives_the_same_bytes() -> None:
    assert dump(whole()) == dump(whole())
