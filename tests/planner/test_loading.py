"""A plan folder read back: the same document, the same masks, the right scan or none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from imaging.errors import AlteredError, NotFoundError
from imaging.resample import to_sitk
from planner.document import to_document
from planner.folder import dump, read_folder, write_folder
from planner.loading import SourceMissingError, load_plan
from planner.plan import Plan
from planner.words import dial_row
from targeting.model import Placement, best_placement
from tests.planner import builders


def as_read(document: dict[str, object]) -> bytes:
    return dump({name: value for name, value in document.items() if name != "journal"})


def test_a_plan_read_back_is_written_the_same(written: Path) -> None:
    loaded = load_plan(written)
    assert as_read(to_document(loaded)) == as_read(read_folder(written).plan)


def test_figures_on_every_rounding_edge_are_written_the_same(scanned_plan: Plan, tmp_path: Path) -> None:
    """Random figures, so that what is derived from a rounded one is met on both sides of its own rounding."""
    rng = np.random.default_rng(3)
    proposals = []
    for proposal in scanned_plan.proposals[:4]:
        placement = proposal.placements[0]
        many = []
        for rank in range(1, 60):
            shift = rng.normal(0, 5, 3)
            pose = builders.pose(placement.needles[0].tip + shift, proposal.target.side, proposal.target.carrier)
            turned = replace(pose.carm, rotation_deg=pose.carm.rotation_deg + rng.choice([0.4949, 0.50001, 3e-3]))
            many.append(replace(placement, rank=rank, needles=(replace(pose, carm=turned),)))
        target = replace(proposal.target, position=proposal.target.position + rng.normal(0, 3, 3), confidence=0.899996)
        proposals.append(replace(proposal, target=target, placements=tuple(many), chosen=7))
    out = tmp_path / "case"
    write_folder(replace(scanned_plan, proposals=tuple(proposals)), out, overwrite=False, report=None)
    assert as_read(to_document(load_plan(out))) == as_read(read_folder(out).plan)


def test_masks_frames_landmarks_and_courses_come_back(scanned_plan: Plan, written: Path) -> None:
    loaded = load_plan(written, volume=False)
    assert loaded.volume is None
    assert (loaded.spine.labels == scanned_plan.spine.labels).all()
    assert (loaded.spine.body == scanned_plan.spine.body).all()
    assert (loaded.spine.reconstructed == scanned_plan.spine.reconstructed).all()
    for name, structure in scanned_plan.spine.structures.items():
        found = loaded.spine.structures[name]
        assert (found.origin, found.reason, found.edge_mm) == (structure.origin, structure.reason, structure.edge_mm)
        assert found.mask is None if structure.mask is None else (found.mask == structure.mask).all()
    for was in scanned_plan.spine.vertebrae:
        now = loaded.spine.vertebra(was.name)
        assert now is not None
        assert now.frame is not None
        assert was.frame is not None
        np.testing.assert_allclose(now.frame.matrix, was.frame.matrix, atol=1e-8)
        assert now.landmarks.keys() == was.landmarks.keys()
    np.testing.assert_allclose(loaded.spine.nerves[0].sigma_mm, scanned_plan.spine.nerves[0].sigma_mm)
    for was, now in zip(scanned_plan.proposals, loaded.proposals, strict=True):
        assert now.target.carrier is loaded.spine.vertebra(was.target.carrier.name)
        np.testing.assert_allclose(now.target.course.neck, was.target.course.neck, atol=5e-4)
        assert dial_row(now) == dial_row(was)


def test_the_scan_is_the_one_planned_on(scanned_plan: Plan, written: Path) -> None:
    volume = load_plan(written).volume
    assert volume is not None
    assert scanned_plan.volume is not None
    assert (volume.values() == scanned_plan.volume.values()).all()


def test_a_scan_that_moved_is_asked_for_and_found(written: Path, scan: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.nii.gz"
    shutil.copy(scan, moved)
    lost = tmp_path / "case"
    shutil.copytree(written, lost)
    source = json.loads((lost / "source.json").read_text())
    source["image"]["path"] = str(tmp_path / "gone.nii.gz")
    (lost / "source.json").write_text(json.dumps(source))
    with pytest.raises(SourceMissingError, match="--source"):
        load_plan(lost)
    assert load_plan(lost, source=moved).volume is not None
    (lost / "source.json").unlink()
    with pytest.raises(SourceMissingError, match="--source"):
        load_plan(lost)
    assert load_plan(lost, volume=False).proposals


def test_another_scan_is_refused(written: Path, tmp_path: Path) -> None:
    made = builders.volume()
    array = made.array.copy()
    array[0, 0, 0] += 1
    other = tmp_path / "other.nii.gz"
    sitk.WriteImage(to_sitk(array, made.grid), str(other))
    with pytest.raises(AlteredError, match="not the one"):
        load_plan(written, source=other)


def test_what_is_missing_or_broken_is_said(written: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        load_plan(tmp_path / "nowhere")
    broken = tmp_path / "case"
    shutil.copytree(written, broken)
    (broken / "structures" / "canal.nii.gz").unlink()
    with pytest.raises(AlteredError, match=r"canal\.nii\.gz"):
        load_plan(broken, volume=False)


def test_the_placement_a_person_chose_is_the_one_that_is_shown(scanned_plan: Plan) -> None:
    first: Placement = scanned_plan.proposals[0].placements[0]
    second = replace(first, rank=2, why="chosen")
    proposal = replace(scanned_plan.proposals[0], placements=(first, second))
    assert best_placement(proposal) is first
    assert best_placement(replace(proposal, chosen=2)) is second
