"""The catalogue: what ships parses, every number is sourced, and what is amiss is refused."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from imaging.errors import UsageError
from segmentation.anatomy import LUMBAR_NERVES, Nerve, StructureName
from targeting.constants import Constant, Interval, Numbers, Status
from targeting.lesion import lesion_of
from targeting.procedures import ProcedureKind, load_procedure, procedure_names
from targeting.procedures.files import procedure_data, read_table
from targeting.procedures.schema import parse_procedure
from targeting.procedures.sites import Site


def _quantities(thing: Any) -> list[Constant | Interval | Numbers]:
    if isinstance(thing, Constant | Interval | Numbers):
        return [thing]
    if isinstance(thing, dict):
        return [q for value in thing.values() for q in _quantities(value)]
    if isinstance(thing, tuple):
        return [q for value in thing for q in _quantities(value)]
    if is_dataclass(thing):
        return [q for f in fields(thing) for q in _quantities(getattr(thing, f.name))]
    return []


@pytest.mark.parametrize("name", procedure_names())
def test_every_number_has_unit_status_and_source(name: str) -> None:
    found = _quantities(load_procedure(name))
    assert len(found) > 40
    for quantity in found:
        assert quantity.unit
        assert quantity.source
        assert isinstance(quantity.status, Status)


@pytest.mark.parametrize("name", procedure_names())
def test_no_bare_number_hides_in_a_file(name: str) -> None:
    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if set(node) == {"value", "unit", "status", "source"}:
                return
            for key, value in node.items():
                walk(value, f"{path}.{key}")
        elif isinstance(node, list):
            for n, value in enumerate(node):
                walk(value, f"{path}[{n}]")
        else:
            assert isinstance(node, str) or path.endswith(".gauge"), path

    walk(read_table(name), name)


def test_every_ablation_asks_for_the_clinician_s_own_selection() -> None:
    for name in procedure_names():
        if "rf" in name.split("-") or load_procedure(name).kind is ProcedureKind.CRYO:
            assert load_procedure(name).notices[0] == (
                "requires the clinician's own selection; prior block response not known")


def test_every_statement_has_its_standing_and_source() -> None:
    for name in procedure_names():
        for statement in load_procedure(name).statements:
            assert isinstance(statement.status, Status)
            assert statement.source.startswith("clinical specification")
            assert "safe" not in statement.text
    rf, block = (" ".join(s.text for s in load_procedure(f"lumbar-medial-branch-{n}").statements)
                 for n in ("rf", "block"))
    assert "stimulation before each lesion" in rf
    assert "pacemaker" in rf
    assert "volume" not in rf
    assert "mL" in block
    data = copy.deepcopy(procedure_data("lumbar-medial-branch-block"))
    del data["statements"]["volume"]["source"]
    with pytest.raises(ValueError, match=r"statements\.volume"):
        parse_procedure(data)


def test_the_catalogue_names_block_and_ablation() -> None:
    assert {"lumbar-medial-branch-block", "lumbar-medial-branch-rf", "lumbar-medial-branch-rf-parasagittal",
            "l5-dorsal-ramus-block", "l5-dorsal-ramus-rf"} <= set(procedure_names())
    assert load_procedure("lumbar-medial-branch-block").kind is ProcedureKind.BLOCK
    assert load_procedure("lumbar-medial-branch-rf").kind is ProcedureKind.RF


def test_an_unknown_procedure_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"known: .*lumbar-medial-branch-block, "):
        load_procedure("neck")


@pytest.mark.parametrize("name", procedure_names())
def test_margins_needles_and_bands(name: str) -> None:
    procedure = load_procedure(name)
    on_bone = procedure.site is Site.NERVE
    assert not on_bone or set(procedure.nerves) <= set(LUMBAR_NERVES)
    assert bool(procedure.joints) == (procedure.site is Site.FACET_JOINT)
    assert procedure.margins[StructureName.CANAL].value >= (5.0 if on_bone else 2.0)
    assert all(procedure.margins[s].value >= 10.0 for s in (
        StructureName.AORTA, StructureName.VENA_CAVA, StructureName.KIDNEYS, StructureName.LUNGS,
        StructureName.BOWEL_GAS))
    assert procedure.reach.reserve_hard.value == 15.0
    assert procedure.reach.reserve.value == 25.0
    lengths = [n.length_mm for n in procedure.stock]
    assert lengths == sorted(lengths)
    assert not on_bone or StructureName.ILIAC_BONES in procedure.required_structures(Nerve.L5)
    assert StructureName.ILIAC_BONES not in procedure.required_structures(Nerve.L1)
    for aim in (*procedure.nerves, *procedure.joints):
        band = procedure.band(aim)
        assert band.oblique_limit.low <= band.oblique_usual.low <= band.oblique_preferred.value
        assert band.oblique_preferred.value <= band.oblique_usual.high <= band.oblique_limit.high
        assert band.tilt_limit.low <= band.tilt_usual.low <= band.tilt_preferred.value
        assert band.tilt_preferred.value <= band.tilt_usual.high <= band.tilt_limit.high


@pytest.mark.parametrize(("where", "change"), [
    (("margins", "canal", "status"), "X"),
    (("margins", "canal", "source"), ""),
    (("weights", "angle", "value"), 0.9),
    (("angles", "default", "oblique_limit", "value"), [50.0, -5.0]),
    (("reach", "reserve"), None),
    (("nerves",), ["L9 MB"]),
    (("kind",), "rf"),
])
def test_a_damaged_file_is_refused(where: tuple[str, ...], change: Any) -> None:
    data = copy.deepcopy(read_table("lumbar-medial-branch-block"))
    node = data
    for key in where[:-1]:
        node = node[key]
    if change is None:
        del node[where[-1]]
    else:
        node[where[-1]] = change
    with pytest.raises(ValueError):
        parse_procedure(data)


def test_what_a_file_extends_is_taken_over_and_each_number_is_restated_whole() -> None:
    base, own = read_table("lumbar-medial-branch-rf"), read_table("lumbar-medial-branch-rf-parasagittal")
    data = procedure_data("lumbar-medial-branch-rf-parasagittal")
    assert data["margins"] == base["margins"]
    assert data["electrode"] == {**base["electrode"], **own["electrode"]}
    assert data["angles"]["L5 DR"]["tilt_limit"] == base["angles"]["L5 DR"]["tilt_limit"]
    assert (data["name"], "extends" in data) == (own["name"], False)


def _files(**files: dict[str, Any]) -> Any:
    return lambda name: {"name": name, **files[name]}


def test_omitted_sections_and_replaced_weights_and_lists() -> None:
    number = {"value": 1.0, "unit": "mm", "status": "E", "source": "test"}
    read = _files(a={"m": {"x": number, "y": number}, "weights": {"p": 1, "q": 2}, "list": [1, 2], "s": {"z": number}},
                  b={"extends": "a", "omit": ["s", "m.x"], "m": {"y": {**number, "value": 2.0}}, "weights": {"p": 3},
                     "list": [4]},
                  c={"extends": "b"})
    data = procedure_data("c", read)
    assert data == {"name": "c", "m": {"y": {**number, "value": 2.0}}, "weights": {"p": 3}, "list": [4]}


@pytest.mark.parametrize("files", [
    {"a": {"extends": "b"}, "b": {"extends": "a"}}, {"a": {"extends": "b", "omit": ["t"]}, "b": {}},
    {"a": {"extends": "b", "omit": ["m.t"]}, "b": {"m": {}}}])
def test_circles_and_omissions_of_nothing_are_refused(files: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"extends itself|omits"):
        procedure_data("a", _files(**files))


@pytest.mark.parametrize("name", procedure_names())
def test_heat_zones_of_a_procedure_cover_the_lesion_model(name: str) -> None:
    """Rule 33 works with the procedure's own zones; they may not be smaller than what the model says of its needles."""
    procedure = load_procedure(name)
    if procedure.generator is None:
        return
    assert procedure.electrode is not None
    rule, generator = procedure.electrode, procedure.generator
    for needle in procedure.stock:
        assert needle.active_tip_mm is not None
        lesion = lesion_of(needle.gauge, needle.active_tip_mm, generator.temperature.value, generator.seconds.value)
        assert lesion is not None, f"{needle.name}: no lesion was computed for it"
        assert lesion.hot is not None
        assert rule.hot_radius.value >= 0.5 * lesion.hot.width_mm
        assert rule.hot_distal.value >= lesion.hot.distal_mm - 0.05
