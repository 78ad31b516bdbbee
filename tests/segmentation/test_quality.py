"""Quality control of a vertebra: each fault lowers the quality and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.findings import FindingCode
from imaging.geometry import VertebralFrame, to_world
from imaging.volume import Grid
from sample_data.phantom import Phantom
from segmentation.anatomy import LandmarkName
from segmentation.bones import Bone, fitted_bones
from segmentation.frames import vertebral_frame
from segmentation.labels import import_labels
from segmentation.landmarks import find_presacral
from segmentation.population import neighbour_turns
from segmentation.quality import asymmetry_mm, handle_count, judge_bone
from segmentation.spine import Spine


@pytest.fixture(scope="module")
def bone(phantom: Phantom, phantom_grid: Grid) -> Bone:
    labels = np.where(phantom.labels == 22, phantom.labels, 0)
    found = fitted_bones(import_labels((labels, phantom_grid), "verse"))[0]
    assert found.fit is not None
    return replace(found, points=find_presacral(found.fit, "L3"))


def block() -> np.ndarray:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[3:17, 3:17, 3:17] = True
    return mask


def test_ways_through_a_solid_are_counted() -> None:
    mask = block()
    assert handle_count(mask) == 0
    mask[:, 5:8, 5:8] = False
    assert handle_count(mask) == 1
    mask[:, 12:14, 12:14] = False
    assert handle_count(mask) == 2
    mask[9:11, 9:11, 9:11] = False
    assert handle_count(mask) == 1
    assert handle_count(np.ones((4, 4, 4), dtype=bool)) == 0


def test_a_clean_vertebra_has_one_way_through_and_nothing_said(bone: Bone) -> None:
    assert handle_count(bone.mask) == 1
    quality = judge_bone(bone, False, 0.0)
    assert quality.value == 1.0
    assert quality.words == ()


def test_each_fault_is_said(bone: Bone) -> None:
    assert bone.points is not None
    assert bone.fit is not None
    ragged = bone.mask.copy()
    _, j, i = (round(float(v.mean())) for v in np.nonzero(bone.mask))
    ragged[:, j - 14:j + 2:3, i - 9:i + 10:3] = False
    points = bone.points
    apart = replace(points, apart_mm=dict.fromkeys(points.apart_mm, 9.0))
    faults = {
        "apart from the bone": (replace(bone, wholeness=0.9), False), "no vertebral frame":
        (replace(bone, fit=replace(bone.fit, frame=None)), False), "holes through": (replace(bone, mask=ragged), False),
        "population": (bone, True), "two landmark methods": (replace(bone, points=apart), False)}
    for words, (faulty, unusual) in faults.items():
        quality = judge_bone(faulty, unusual, 0.0)
        assert quality.value < 0.95
        assert any(words in said for said in quality.words)


def test_a_side_that_is_misplaced_shows_as_asymmetry(bone: Bone) -> None:
    assert bone.points is not None
    assert bone.fit is not None
    assert bone.fit.frame is not None
    before = asymmetry_mm(bone)
    assert before is not None
    assert before < 3.0
    up = 12.0 * bone.fit.frame.superior
    moved = {name: replace(point, position=point.position + up * name.value.endswith("left"))
             for name, point in bone.points.landmarks.items()}
    tilted = replace(bone, points=replace(bone.points, landmarks=moved))
    near = judge_bone(tilted, False, 0.0)
    assert any("mirror images" in said for said in near.words)
    far = {name: replace(point, position=point.position + 2.0 * (point.position - bone.points.landmarks[name].position))
           for name, point in moved.items()}
    assert judge_bone(replace(bone, points=replace(bone.points, landmarks=far)), False, 0.0).value < 0.6 * near.value
    few = {LandmarkName.SAP_TIP_LEFT: bone.points.landmarks[LandmarkName.SAP_TIP_LEFT]}
    assert asymmetry_mm(replace(bone, points=replace(bone.points, landmarks=few))) is None


def turned(frame: VertebralFrame, degrees: float) -> VertebralFrame:
    a = np.radians(degrees)
    return VertebralFrame.from_axes(frame.origin, np.cos(a) * frame.posterior + np.sin(a) * frame.left, frame.superior)


def test_a_frame_turned_against_its_neighbours_is_doubted(phantom_spine: Spine, bone: Bone) -> None:
    chain = phantom_spine.vertebrae
    straight = neighbour_turns(chain)
    assert max(abs(angle) for angle in straight.values()) < 3.0
    at = next(n for n, v in enumerate(chain) if v.name == "L3")
    frame = chain[at].frame
    assert frame is not None
    for degrees in (-16.0, 16.0):
        found = neighbour_turns([*chain[:at], replace(chain[at], frame=turned(frame, degrees)), *chain[at + 1:]])
        assert found["L3"] - straight["L3"] == pytest.approx(degrees, abs=0.5)
        assert found["L2"] - straight["L2"] == pytest.approx(-degrees / 2, abs=0.5)
        quality = judge_bone(bone, False, found["L3"])
        assert quality.value == 0.5
        assert any("turned 1" in said and "against its neighbours" in said for said in quality.words)
    assert neighbour_turns(chain[at:at + 1]) == {}


def test_a_block_of_bone_on_one_side_that_turns_the_frame_is_told(phantom: Phantom, phantom_grid: Grid,
                                                                   phantom_spine: Spine) -> None:
    true = VertebralFrame(*(np.asarray(part) for part in phantom.frames["L5"]))
    k, j, i = np.indices(phantom.labels.shape)
    local = true.to_local(to_world(phantom_grid, np.stack([i, j, k], -1).astype(float)))
    beside = np.all((local >= (15, -30, -20)) & (local <= (36, 12, 6)), axis=-1)
    fit = vertebral_frame((phantom.labels == 24) | beside, phantom_grid)
    assert fit.frame is not None
    chain = [replace(v, frame=fit.frame) if v.name == "L5" else v for v in phantom_spine.vertebrae]
    assert abs(neighbour_turns(chain)["L5"]) > 10.0


def test_the_quality_reaches_the_vertebra_and_the_findings(phantom_spine: Spine) -> None:
    told = {f.message.split(",", 1)[0]: f.message for f in phantom_spine.findings
            if f.code is FindingCode.VERTEBRA_ATYPICAL and "shape quality" in f.message}
    for vertebra in phantom_spine.vertebrae:
        assert (vertebra.name in told) == (vertebra.quality < 1.0)
