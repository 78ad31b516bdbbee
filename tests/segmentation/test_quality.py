"""Quality control of a vertebra: each fault lowers the quality and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.findings import FindingCode
from imaging.volume import Grid
from sample_data.phantom import Phantom
from segmentation.anatomy import LandmarkName
from segmentation.bones import Bone, fitted_bones
from segmentation.labels import import_labels
from segmentation.landmarks import find_presacral
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
    quality = judge_bone(bone, False)
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
        quality = judge_bone(faulty, unusual)
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
    assert any("mirror images" in said for said in judge_bone(tilted, False).words)
    few = {LandmarkName.SAP_TIP_LEFT: bone.points.landmarks[LandmarkName.SAP_TIP_LEFT]}
    assert asymmetry_mm(replace(bone, points=replace(bone.points, landmarks=few))) is None


def test_the_quality_reaches_the_vertebra_and_the_findings(phantom_spine: Spine) -> None:
    told = {f.message.split(",", 1)[0]: f.message for f in phantom_spine.findings
            if f.code is FindingCode.VERTEBRA_ATYPICAL and "shape quality" in f.message}
    for vertebra in phantom_spine.vertebrae:
        assert (vertebra.name in told) == (vertebra.quality < 1.0)
