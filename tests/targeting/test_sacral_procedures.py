"""Sacral lateral branch palisades and the S1 transforaminal injection on the phantom, held against its masks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from imaging.geometry import Side
from imaging.volume import Grid, Volume
from sample_data.phantom import Phantom, PhantomSpec, build_phantom
from segmentation.anatomy import LandmarkName, StructureName
from segmentation.assemble import build_spine
from segmentation.labels import import_labels
from segmentation.spine import Spine
from targeting.evaluation import Evaluator
from targeting.model import Proposal, ProposalStatus
from targeting.needle_sets import keep_sets, needle_sets, shaft_distance
from targeting.planning import propose
from targeting.procedures import load_procedure
from targeting.targets import make_targets
from tests.targeting.builders import mirrored, with_structure
from tests.targeting.oracle import Voxels, faults

SHORT, LONG = "sacral-lateral-branch-palisade-short-tip", "sacral-lateral-branch-palisade"
S1 = "s1-transforaminal"


@cache
def _phantom() -> Phantom:
    return build_phantom(PhantomSpec(spacing_mm=(1.5, 1.5, 1.5)))


@cache
def _volume() -> Volume:
    """The phantom's scan up to the top of L5: enough for the sacrum, and quick."""
    phantom = _phantom()
    hu = np.asarray(phantom.hu[:np.nonzero(phantom.labels == 24)[0].max() + 3], dtype=np.int16)
    return Volume(hu, Grid(tuple(hu.shape), phantom.affine))


@cache
def _spine() -> Spine:
    """The anatomy found on the phantom's true labels and its scan."""
    grid = _volume().grid
    rows = slice(0, grid.shape[0])
    labels = np.where(np.isin(_phantom().labels[rows], (24, 26)), _phantom().labels[rows], 0)
    seg = import_labels((labels.astype(np.uint8), grid), "verse")
    return build_spine(seg, _volume(), _phantom().structures["body"][rows], np.ones(grid.shape, np.bool_))


def _plan(spine: Spine, name: str, side: Side) -> tuple[Proposal, ...]:
    procedure = load_procedure(name)
    found = make_targets(spine, procedure, sides=[side], volume=_volume())
    assert not found.missing
    return propose(spine, found.targets, procedure, volume=_volume())


@cache
def _row(side: Side) -> tuple[Proposal, ...]:
    return _plan(_spine(), SHORT, side)


def test_every_needle_of_a_palisade_is_a_target_that_holds_on_the_masks() -> None:
    side = Side.LEFT
    spine, procedure, row = _spine(), load_procedure(SHORT), _row(side)
    assert len(row) >= 6
    assert {p.status for p in row} == {ProposalStatus.PROPOSED}
    assert [p.target.member.index for p in row] == list(range(1, len(row) + 1))
    assert len({p.target.id for p in row}) == len(row)
    assert len({p.target.member.set_id for p in row}) == 1
    assert faults(spine, procedure, row) == []
    for proposal in row:
        placement = proposal.placements[0]
        pose = placement.needles[0]
        assert len(proposal.placements) == len(placement.needles) == 1
        assert side.value in proposal.target.sentence
        # rule 44, and the row stands on its own side
        assert pose.length_mm - pose.needle.active_tip_mm >= 15.0 - 1e-6
        assert spine.vertebra("S1").frame.to_side(pose.tip, side)[0] > 10.0
        assert proposal.target.region.standing.angles(pose.direction[None])[0] <= 20.0 + 1e-6


def test_no_needle_of_a_palisade_enters_a_foramen_or_the_canal() -> None:
    side = Side.LEFT
    spine = _spine()
    for name, least in ((StructureName.SACRAL_FORAMINA, 5.0), (StructureName.CANAL, 5.0)):
        mask = Voxels(spine.structures[name].mask, spine.grid)
        for proposal in _row(side):
            pose = proposal.placements[0].needles[0]
            path = pose.tip - np.arange(0.0, pose.length_mm, 0.25)[:, None] * pose.direction
            true = float(mask.signed(path).min()) - pose.needle.diameter_mm / 2
            said = proposal.placements[0].clearance_mm[name]
            assert true >= least - mask.half
            assert said == pytest.approx(true, abs=mask.half + 0.25)


def test_tips_of_a_palisade_cover_s1_to_s3_with_no_gap_beyond_12_mm() -> None:
    side = Side.LEFT
    row, sacrum = _row(side), _spine().vertebra("S1")
    tips = np.array([p.placements[0].needles[0].tip for p in row])
    spacing = np.linalg.norm(np.diff(tips, axis=0), axis=1)
    assert spacing.min() >= 8.0 - 1e-6
    assert spacing.max() <= 12.0 + 1e-6
    heights = sacrum.frame.to_local(tips)[:, 2]
    middles = [sacrum.frame.to_local(sacrum.landmarks[LandmarkName(
        f"posterior_foramen_{s}_{side.value.lower()}")].position)[2] for s in ("s1", "s2", "s3")]
    assert heights.max() >= middles[0] - 1.0
    assert heights.min() <= middles[2] + 1.0
    (judged,) = needle_sets(row)
    assert judged.broken == ()
    assert judged.spacing_mm == pytest.approx(tuple(spacing), abs=1e-6)


def test_neighbouring_shafts_keep_apart_by_dense_sampling() -> None:
    row = _row(Side.LEFT)
    (judged,) = needle_sets(row)
    poses = [p.placements[0].needles[0] for p in row]
    for (one, two), said in zip(pairwise(poses), judged.shaft_gap_mm, strict=True):
        a, b = (p.tip - np.linspace(0.0, p.length_mm, 300)[:, None] * p.direction for p in (one, two))
        true = float(np.linalg.norm(a[:, None] - b, axis=2).min()) - 0.5 * (
            one.needle.diameter_mm + two.needle.diameter_mm)
        assert said == pytest.approx(true, abs=0.1)
        assert said >= 2.0


def test_shaft_distance_of_crossing_parallel_and_end_on_segments() -> None:
    o, x, y, z = np.zeros(3), *np.eye(3)
    assert shaft_distance((-x, x), (-y + 3 * z, y + 3 * z)) == pytest.approx(3.0)
    assert shaft_distance((o, 10 * z), (2 * x, 2 * x + 10 * z)) == pytest.approx(2.0)
    assert shaft_distance((o, z), (4 * z, 6 * z)) == pytest.approx(3.0)


def test_long_active_tips_are_refused_whole_where_the_skin_is_too_near() -> None:
    thin = replace(_spine(), body=ndimage.binary_erosion(_spine().body, iterations=5))
    row = _plan(thin, LONG, Side.LEFT)
    assert {p.status for p in row} == {ProposalStatus.NONE}
    assert any("under the skin" in p.reason and "15 needed" in p.reason for p in row)
    assert all(not p.placements for p in row)
    assert all("not whole" in p.reason or "no path" in p.reason for p in row)


def test_a_set_with_a_needle_moved_away_or_missing_is_no_longer_whole() -> None:
    row = list(_row(Side.LEFT))
    placed = row[2].placements[0]
    pose = replace(placed.needles[0], tip=placed.needles[0].tip + 5.0 * _spine().vertebra("S1").frame.superior)
    moved = [*row[:2], replace(row[2], placements=(replace(placed, needles=(pose,)),)), *row[3:]]
    assert any("needles 2 and 3" in b or "needles 3 and 4" in b for b in needle_sets(moved)[0].broken)
    gone = [*row[:2], Proposal(row[2].target, ProposalStatus.NONE, "taken out"), *row[3:]]
    assert any("needle 3" in b and "taken out" in b for b in needle_sets(gone)[0].broken)
    assert {p.status for p in keep_sets(gone)} == {ProposalStatus.NONE}
    assert "only" in needle_sets(row[1:])[0].broken[0]


def test_a_palisade_needs_each_of_its_foramina() -> None:
    spine = _spine()
    sacrum = spine.vertebra("S1")
    marks = {n: m for n, m in sacrum.landmarks.items() if n is not LandmarkName.POSTERIOR_FORAMEN_S2_LEFT}
    less = replace(spine, vertebrae=tuple(replace(v, landmarks=marks) if v.name == "S1" else v
                                          for v in spine.vertebrae))
    found = make_targets(less, load_procedure(LONG))
    assert [(m.side, m.reason) for m in found.missing] == [
        (Side.LEFT, "the posterior S2 foramen on the LEFT was not found")]
    assert {t.side for t in found.targets} == {Side.RIGHT}
    none = make_targets(with_structure(spine, StructureName.SACRAL_FORAMINA, None), load_procedure(LONG))
    assert not none.targets
    assert all("were not found" in m.reason for m in none.missing)


@pytest.mark.parametrize("side", list(Side))
def test_an_s1_tip_ends_in_its_tunnel_short_of_the_front(side: Side) -> None:
    spine, procedure = _spine(), load_procedure(S1)
    (proposal,) = _plan(spine, S1, side)
    assert proposal.status is ProposalStatus.PROPOSED
    assert faults(spine, procedure, (proposal,)) == []
    sacrum = spine.vertebra("S1")
    tunnels = Voxels(spine.structures[StructureName.SACRAL_FORAMINA].mask, spine.grid)
    canal = Voxels(spine.structures[StructureName.CANAL].mask, spine.grid)
    middle, front = (sacrum.frame.to_side(sacrum.landmarks[LandmarkName(
        f"{face}_foramen_s1_{side.value.lower()}")].position, side) for face in ("posterior", "anterior"))
    for placement in proposal.placements:
        pose = placement.needles[0]
        tip = sacrum.frame.to_side(pose.tip, side)
        assert tunnels.signed(pose.tip[None])[0] <= tunnels.half
        assert canal.signed(pose.tip[None])[0] >= 3.0
        assert tip[1] >= front[1] + 6.0 - 0.8
        assert tip[0] >= middle[0] - 1.8
        assert tip[2] >= middle[2] - 1.8


@pytest.mark.parametrize("name", [S1, SHORT])
def test_a_mirrored_patient_mirrors_them(name: str) -> None:
    flip = np.array([-1.0, 1.0, 1.0])
    procedure, spine = load_procedure(name), _spine()
    one = make_targets(spine, procedure, sides=[Side.LEFT]).targets
    other = make_targets(mirrored(spine), procedure, sides=[Side.RIGHT]).targets
    assert len(one) == len(other)
    for p, q in zip(one, other, strict=True):
        assert q.position == pytest.approx(p.position * flip, abs=0.8)
        assert len(p.region.aims) == len(q.region.aims)


def test_a_needle_of_a_set_is_judged_alone_by_hand_as_by_the_search() -> None:
    proposal = _row(Side.LEFT)[1]
    pose = proposal.placements[0].needles[0]
    judged = Evaluator(_spine(), load_procedure(SHORT), volume=_volume()).evaluate(
        proposal.target, pose.entry, pose.tip, pose.needle)
    assert judged.status is ProposalStatus.PROPOSED
    deeper = Evaluator(_spine(), load_procedure(SHORT), volume=_volume()).evaluate(
        proposal.target, pose.entry, pose.tip + 6.0 * pose.direction, pose.needle)
    assert deeper.status is ProposalStatus.NONE
    assert any("bone" in broken.sentence for broken in deeper.placement.broken)
