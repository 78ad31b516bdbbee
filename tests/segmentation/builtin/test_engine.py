"""The engine's own logic on columns of simple shapes, with nets that answer from known anatomy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.findings import FindingCode, Severity
from imaging.geometry import to_world
from imaging.volume import Grid, Volume
from segmentation.anatomy import StructureName
from segmentation.builtin import BuiltinEngine
from segmentation.engine import Engine
from segmentation.spine import NumberingStatus, NumberingTier, Segmentation, StructureOrigin
from tests.segmentation.builtin.column import ColumnModel, build
from tests.segmentation.builtin.oracle import OracleNets, painted


def run(model: ColumnModel, grid: Grid | None = None, order: tuple[int, ...] = (),
        flip: tuple[int, ...] = ()) -> Segmentation:
    """Segment a model, stored in other axes when asked."""
    grid = grid or model.grid
    instance, tissue = model.instance, model.tissue
    if order:
        instance, tissue = (np.flip(a.transpose(order), flip) for a in (instance, tissue))
    volume = painted(np.ascontiguousarray(instance), np.ascontiguousarray(tissue), grid)
    return BuiltinEngine(OracleNets(np.ascontiguousarray(tissue), grid)).segment(volume, lambda stage, done: None)


@pytest.fixture(scope="module")
def whole() -> tuple[ColumnModel, Segmentation]:
    model = build()
    return model, run(model)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2.0 * float((one & other).sum()) / float(one.sum() + other.sum())


def test_is_an_engine() -> None:
    assert isinstance(BuiltinEngine(), Engine)
    assert BuiltinEngine.name == "builtin"


def test_names_and_masks(whole: tuple[ColumnModel, Segmentation]) -> None:
    model, seg = whole
    assert [seg.levels[n] for n in sorted(seg.levels)] == ["T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1"]
    assert seg.numbering.tier is NumberingTier.A
    for n in range(8):
        label = 24 - n
        assert overlap(seg.labels == label, model.instance == n + 1) > 0.95
    assert seg.confidence["L4"] > 0.9
    assert "2nd free vertebra above the sacrum" in seg.evidence["L4"]
    assert any("last rib" in sentence for sentence in seg.evidence["L1"])
    assert seg.labels.dtype == np.uint8
    assert seg.labels.shape == model.grid.shape


def test_canal_is_whole_and_outside_bone(whole: tuple[ColumnModel, Segmentation]) -> None:
    model, seg = whole
    canal = seg.structures[StructureName.CANAL]
    assert canal.origin is StructureOrigin.COMPUTED
    assert canal.mask is not None
    assert not (canal.mask & (seg.labels > 0)).any()
    span = np.flatnonzero((model.instance > 0).any(axis=(1, 2)))
    assert canal.mask[span[0]: span[-1]].any(axis=(1, 2)).all()


def test_coarse_organs_say_how_far_their_edge_is_uncertain(whole: tuple[ColumnModel, Segmentation]) -> None:
    _, seg = whole
    kidneys = seg.structures[StructureName.KIDNEYS]
    assert kidneys.mask is not None
    assert kidneys.edge_mm == 7.0
    assert seg.structures[StructureName.CANAL].edge_mm == seg.structures[StructureName.RIBS].edge_mm == 0.0


def test_missing_vessels_are_not_computed(whole: tuple[ColumnModel, Segmentation]) -> None:
    _, seg = whole
    aorta = seg.structures[StructureName.AORTA]
    assert aorta.mask is None
    assert "0 %" in aorta.reason
    assert FindingCode.STRUCTURE_NOT_COMPUTED in {f.code for f in seg.findings}


@pytest.mark.parametrize(("options", "tier", "names", "code"), [
    ({"wide": False}, NumberingTier.B, ["L1", "L2", "L3", "L4", "L5"], FindingCode.LEVEL_FROM_SACRUM_ONLY),
    ({"sacrum": False, "vertebrae": 5, "ribless": 3}, NumberingTier.C, ["T11", "T12", "L1", "L2", "L3"],
     FindingCode.LEVEL_FROM_RIB_ONLY),
    ({"sacrum": False, "wide": False}, NumberingTier.D, ["LLV-0", "LLV-1", "LLV-2"], FindingCode.LEVEL_UNKNOWN),
])
def test_tiers(options: dict[str, object], tier: NumberingTier, names: list[str], code: FindingCode) -> None:
    model = build(**{"vertebrae": 5, **options})
    seg = run(model)
    assert seg.numbering.tier is tier
    assert set(names) <= set(seg.levels.values())
    assert code in {f.code for f in seg.findings}
    if tier is NumberingTier.D:
        assert seg.numbering.status is NumberingStatus.RELATIVE
        assert sorted(seg.levels) == [101, 102, 103, 104, 105]
        assert seg.levels[101] == "LLV-0"
        lowest = np.argwhere(seg.labels == 101)[:, 0].mean()
        assert lowest < np.argwhere(seg.labels == 102)[:, 0].mean()


def test_six_ribless_vertebrae_are_transitional() -> None:
    seg = run(build(vertebrae=8, ribless=6))
    assert seg.numbering.tier is NumberingTier.B
    assert FindingCode.TRANSITIONAL_ANATOMY in {f.code for f in seg.findings}
    assert "L6" in seg.levels.values()
    assert all(seg.confidence[name] <= 0.8 for name in seg.levels.values() if name != "S1")
    assert seg.alternates["L5"][0].level == "L4"


def test_short_last_rib_is_measured_as_short() -> None:
    seg = run(build(vertebrae=6, ribless=5, rib_mm=24.0))
    assert FindingCode.TRANSITIONAL_ANATOMY in {f.code for f in seg.findings}
    assert [seg.levels[n] for n in sorted(seg.levels)] == ["T12", "L1", "L2", "L3", "L4", "L5", "S1"]


def test_stored_axes_do_not_matter(whole: tuple[ColumnModel, Segmentation]) -> None:
    model, seg = whole
    order, flip = (1, 2, 0), (0, 2)
    shape = tuple(np.array(model.grid.shape)[list(order)])
    columns = [2 - order[2 - axis] for axis in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = model.grid.affine[:3, columns]
    start = np.zeros(3)
    for axis in flip:
        affine[:3, 2 - axis] *= -1
        start[columns[2 - axis]] = model.grid.shape[order[axis]] - 1
    affine[:3, 3] = to_world(model.grid, start)
    other = run(model, Grid(shape, affine), order, flip)
    assert np.array_equal(np.flip(seg.labels.transpose(order), flip), other.labels)


def test_rotated_affine_gives_the_same_voxels(whole: tuple[ColumnModel, Segmentation]) -> None:
    model, seg = whole
    angle = np.radians(12.0)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    other = run(model, Grid(model.grid.shape, turn @ model.grid.affine))
    assert seg.levels == other.levels
    assert (seg.labels != other.labels).sum() < 0.005 * (seg.labels > 0).sum()


@pytest.mark.parametrize("content", ["air", "noise", "blob"])
def test_no_spine_is_a_value(content: str) -> None:
    shape = (60, 60, 60)
    hu = np.full(shape, -1000.0, np.float32)
    if content == "noise":
        hu = np.random.default_rng(0).normal(0.0, 300.0, shape).astype(np.float32)
    if content == "blob":
        hu[15:45, 15:45, 15:45] = 600.0
    grid = Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0]))
    seg = BuiltinEngine(OracleNets(np.zeros(shape, int), grid)).segment(Volume(hu, grid), lambda stage, done: None)
    assert not seg.levels
    assert not seg.labels.any()
    assert [f.code for f in seg.findings] == [FindingCode.NO_SPINE_FOUND]


def test_other_modality_is_a_value() -> None:
    model = build(vertebrae=3)
    volume = replace(painted(model.instance, model.tissue, model.grid), modality="MR")
    seg = BuiltinEngine().segment(volume, lambda stage, done: None)
    assert [f.code for f in seg.findings] == [FindingCode.MODALITY_NOT_PLANNED]
    assert all(s.origin is StructureOrigin.NOT_COMPUTED for s in seg.structures.values())


def test_progress_ends_at_one() -> None:
    told: list[float] = []
    model = build(vertebrae=3, ribless=3)
    volume = painted(model.instance, model.tissue, model.grid)
    BuiltinEngine(OracleNets(model.tissue, model.grid)).segment(volume, lambda stage, done: told.append(done))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_column_on_its_head_is_said_and_not_named() -> None:
    model = build()
    affine = np.diag([-1.0, 1.0, -1.0, 1.0]) @ model.grid.affine
    seg = run(model, Grid(model.grid.shape, affine))
    assert not seg.levels
    assert [(f.code, f.severity) for f in seg.findings] == [(FindingCode.ORIENTATION_WRONG, Severity.BLOCK)]
    assert "sacrum" in seg.findings[0].message
