"""Frames, landmarks and nerve courses on the phantom's exact masks, and how they behave when the patient is turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.findings import FindingCode
from imaging.geometry import Side, to_index
from imaging.volume import Grid, Volume
from sample_data.phantom import Phantom
from segmentation.anatomy import LandmarkName, Level, Nerve, StructureName, carrier_of
from segmentation.assemble import build_spine
from segmentation.labels import import_labels
from segmentation.shape import bone_field
from segmentation.spine import Spine, StructureOrigin

LUMBAR = ("L1", "L2", "L3", "L4", "L5")
KINDS = ("sap_tp_junction", "sap_tip", "tp_tip", "pedicle_center")
LOW, HIGH = 21, 23


def errors(spine: Spine, phantom: Phantom, kind: str, levels: tuple[str, ...]) -> np.ndarray:
    out = []
    for level in levels:
        vertebra = spine.vertebra(level)
        assert vertebra is not None
        for side in ("left", "right"):
            point = vertebra.landmarks[LandmarkName(f"{kind}_{side}")]
            out.append(np.linalg.norm(point.position - phantom.landmarks[level][f"{kind}_{side}"]))
    return np.array(out)


@pytest.fixture(scope="module")
def part(phantom: Phantom, phantom_grid: Grid) -> tuple[np.ndarray, Grid]:
    """L2 to L4 alone, cropped: for the properties."""
    kept = np.where((phantom.labels >= LOW) & (phantom.labels <= HIGH), phantom.labels, 0)
    k, j, i = np.nonzero(kept)
    low = np.maximum(np.array([k.min(), j.min(), i.min()]) - 4, 0)
    high = np.array([k.max(), j.max(), i.max()]) + 5
    affine = phantom_grid.affine.copy()
    affine[:3, 3] = affine[:3, :3] @ low[::-1] + affine[:3, 3]
    cut = kept[low[0]:high[0], low[1]:high[1], low[2]:high[2]]
    return cut, Grid(cut.shape, affine)


@pytest.fixture(scope="module")
def part_spine(part: tuple[np.ndarray, Grid]) -> Spine:
    return build_spine(import_labels(part, "verse"))


def test_frames_agree_with_the_truth(phantom: Phantom, phantom_spine: Spine) -> None:
    for level in (*LUMBAR, "S1"):
        vertebra = phantom_spine.vertebra(level)
        assert vertebra is not None
        assert vertebra.frame is not None
        _, left, _, superior = phantom.frames[level]
        assert np.degrees(np.arccos(vertebra.frame.superior @ superior)) < 5.0
        assert np.degrees(np.arccos(vertebra.frame.left @ left)) < 3.0
        assert np.linalg.norm(vertebra.body_center - phantom.body_centers[level]) < (3.5 if level == "S1" else 2.0)


@pytest.mark.parametrize(("kind", "mean", "worst"), [
    ("sap_tp_junction", 1.2, 3.5), ("sap_tip", 1.0, 2.0), ("tp_tip", 1.0, 2.0), ("pedicle_center", 1.2, 3.0)])
def test_landmarks_agree_with_the_truth(phantom: Phantom, phantom_spine: Spine, kind: str, mean: float,
                                        worst: float) -> None:
    d = errors(phantom_spine, phantom, kind, LUMBAR)
    assert d.mean() <= mean
    assert d.max() <= worst


def test_junctions_above_the_last_level_are_within_a_millimetre(phantom: Phantom, phantom_spine: Spine) -> None:
    assert errors(phantom_spine, phantom, "sap_tp_junction", LUMBAR[:4]).mean() <= 1.0


def test_ala_groove_lies_where_it_should(phantom: Phantom, phantom_spine: Spine) -> None:
    assert errors(phantom_spine, phantom, "sap_tp_junction", ("S1",)).max() < 2.0


def test_landmarks_carry_a_covariance_and_a_confidence(phantom_spine: Spine) -> None:
    for vertebra in phantom_spine.vertebrae:
        for point in vertebra.landmarks.values():
            assert np.linalg.eigvalsh(point.covariance).min() > 0.2
            assert 0.0 < point.confidence <= 1.0
            assert (point.confidence == 1.0) == (not point.reasons)


def test_twelve_lumbar_courses_lie_on_their_bones(phantom_spine: Spine, phantom: Phantom, phantom_grid: Grid) -> None:
    assert len(phantom_spine.nerves) == 12
    seen = set()
    for course in phantom_spine.nerves:
        assert course.nerve is not None
        assert carrier_of(course.nerve).value == course.carrier
        seen.add((course.nerve, course.side))
        vertebra = phantom_spine.vertebra(course.carrier)
        assert vertebra is not None
        junction = vertebra.landmarks[LandmarkName(f"sap_tp_junction_{course.side.value.lower()}")].position
        field = bone_field(phantom.labels == vertebra.label, phantom_grid)
        away = field.sample(course.path)
        assert np.linalg.norm(course.path[1] - junction) < 2.0
        assert away.min() > 0.2
        assert away[1:].max() < 2.0
        assert np.abs(field.sample(course.neck)).max() < 1.0
        assert len(course.sigma_mm) == len(course.path)
        assert vertebra.frame is not None
        local = vertebra.frame.to_side(course.path, course.side)
        assert local[0, 1] < local[1, 1] < local[4, 1]
        assert local[-1, 2] < local[1, 2]
    assert len(seen) == 12


def test_a_joined_side_has_no_dorsal_ramus(phantom: Phantom, phantom_grid: Grid) -> None:
    seg = replace(import_labels((phantom.labels, phantom_grid), "verse"), sacralised={"L5": (Side.LEFT,)})
    keep = np.isin(seg.labels, (24, 26))
    spine = build_spine(replace(seg, labels=np.where(keep, seg.labels, 0)))
    assert [(c.nerve, c.side) for c in spine.nerves if c.carrier == "S1"] == [(Nerve.L5, Side.RIGHT)]
    assert any(f.code is FindingCode.TRANSITIONAL_ANATOMY for f in spine.findings)
    for level, side, doubtful in (("L5", "left", True), ("L5", "right", False), ("S1", "left", True),
                                  ("S1", "right", True)):
        vertebra = spine.vertebra(level)
        assert vertebra is not None
        point = vertebra.landmarks[LandmarkName(f"sap_tp_junction_{side}")]
        assert (point.confidence < 0.6) == doubtful
        assert any(reason.startswith("transitional") for reason in point.reasons) == doubtful


def test_stored_axes_do_not_matter(part: tuple[np.ndarray, Grid], part_spine: Spine) -> None:
    array, grid = part
    turned = np.flip(array.transpose(2, 0, 1), axis=0)
    affine = np.eye(4)
    affine[:3, 2] = -grid.affine[:3, 0]
    affine[:3, 1] = grid.affine[:3, 2]
    affine[:3, 0] = grid.affine[:3, 1]
    affine[:3, 3] = grid.affine[:3, 3] + grid.affine[:3, 0] * (array.shape[2] - 1)
    other = build_spine(import_labels((turned, Grid(turned.shape, affine)), "verse"))
    same_points(part_spine, other, np.eye(3), 0.1)


def test_the_whole_patient_may_be_turned(part: tuple[np.ndarray, Grid], part_spine: Spine) -> None:
    array, grid = part
    a, b = np.radians((8.0, 12.0))
    turn = (np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
            @ np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]]))
    affine = np.eye(4)
    affine[:3, :3] = turn @ grid.affine[:3, :3]
    affine[:3, 3] = turn @ grid.affine[:3, 3]
    other = build_spine(import_labels((array, Grid(array.shape, affine)), "verse"))
    same_points(part_spine, other, turn, 0.1)


def test_the_mirrored_patient_has_mirrored_landmarks(part: tuple[np.ndarray, Grid], part_spine: Spine) -> None:
    array, grid = part
    mirror = np.diag([-1.0, 1.0, 1.0])
    affine = grid.affine.copy()
    affine[:3, 3] = mirror @ (grid.affine[:3, 3] + grid.affine[:3, 0] * (array.shape[2] - 1))
    other = build_spine(import_labels((array[:, :, ::-1], Grid(array.shape, affine)), "verse"))
    for vertebra in part_spine.vertebrae:
        twin = other.vertebra(vertebra.name)
        assert twin is not None
        assert set(twin.landmarks) == {exchanged(name) for name in vertebra.landmarks}
        for name, point in vertebra.landmarks.items():
            assert np.linalg.norm(twin.landmarks[exchanged(name)].position - mirror @ point.position) < 1.5


def exchanged(name: LandmarkName) -> LandmarkName:
    text = name.value
    for one, two in (("_left", "_right"), ("_right", "_left")):
        if text.endswith(one):
            return LandmarkName(text.removesuffix(one) + two)
    return name


def same_points(one: Spine, two: Spine, turn: np.ndarray, within: float) -> None:
    for vertebra in one.vertebrae:
        twin = two.vertebra(vertebra.name)
        assert twin is not None
        assert set(twin.landmarks) == set(vertebra.landmarks)
        assert np.linalg.norm(turn @ vertebra.body_center - twin.body_center) < within
        for name, point in vertebra.landmarks.items():
            assert np.linalg.norm(turn @ point.position - twin.landmarks[name].position) < within


def test_a_broken_vertebra_does_not_stop_the_others(part: tuple[np.ndarray, Grid]) -> None:
    array, grid = part[0].copy(), part[1]
    k, j, i = np.nonzero(array == 22)
    gone = (array == 22)
    gone[int(np.median(k)):int(np.median(k)) + 3, int(np.median(j)), int(np.median(i))] = False
    array[gone] = 0
    array[int(np.median(k)):int(np.median(k)) + 3, int(np.median(j)), int(np.median(i))] = 22
    seg = import_labels((array, grid), "verse")
    spine = build_spine(replace(seg, labels=array, levels={**seg.levels, 22: "L3"}))
    broken = spine.vertebra("L3")
    assert broken is not None
    assert broken.frame is None
    for name in ("L2", "L4"):
        good = spine.vertebra(name)
        assert good is not None
        assert LandmarkName.SAP_TP_JUNCTION_LEFT in good.landmarks
    assert any(f.code is FindingCode.LANDMARK_UNCERTAIN and "L3" in f.message for f in spine.findings)


def test_a_transverse_process_cut_by_the_scan_has_no_tip(part: tuple[np.ndarray, Grid]) -> None:
    array, grid = part
    where = np.flatnonzero((array > 0).any(axis=(0, 1)))
    cut = array[:, :, :where[-1] - 9]
    spine = build_spine(import_labels((cut, Grid(cut.shape, grid.affine)), "verse"))
    vertebra = spine.vertebra("L3")
    assert vertebra is not None
    assert vertebra.touches_edge
    assert LandmarkName.TP_TIP_LEFT not in vertebra.landmarks
    assert LandmarkName.TP_TIP_RIGHT in vertebra.landmarks
    assert LandmarkName.SAP_TP_JUNCTION_LEFT in vertebra.landmarks
    assert any(f.code is FindingCode.VERTEBRA_CUT for f in spine.findings)


def test_canal_and_foramina_are_laid_between_the_bones(phantom: Phantom, phantom_spine: Spine) -> None:
    canal = phantom_spine.structures[StructureName.CANAL]
    roots = phantom_spine.structures[StructureName.FORAMEN_CONTENTS]
    assert canal.origin is StructureOrigin.COMPUTED
    assert roots.origin is StructureOrigin.MODELLED
    assert canal.mask is not None
    assert roots.mask is not None
    assert not (canal.mask & (phantom.labels > 0)).any()
    assert not (roots.mask & (phantom.labels > 0)).any()
    for course in phantom_spine.nerves:
        index = np.round(to_index(phantom_spine.grid, course.path[2:])).astype(int)
        assert not canal.mask[tuple(index.T[::-1])].any()
        assert not roots.mask[tuple(index.T[::-1])].any()
    for level in LUMBAR:
        vertebra = phantom_spine.vertebra(level)
        assert vertebra is not None
        assert vertebra.frame is not None
        i, j, k = np.round(to_index(phantom_spine.grid, vertebra.frame.from_local((0.0, 7.0, 0.0)))).astype(int)
        assert canal.mask[k, j, i]


def test_what_cannot_be_computed_says_why(phantom_spine: Spine) -> None:
    assert set(phantom_spine.structures) == set(StructureName)
    for structure in phantom_spine.structures.values():
        assert structure.mask is not None or structure.reason
    told = " ".join(f.message for f in phantom_spine.findings if f.code is FindingCode.STRUCTURE_NOT_COMPUTED)
    assert "metal" in told
    assert "aorta" in told


def test_levels_come_head_to_foot(phantom_spine: Spine) -> None:
    names = [v.name for v in phantom_spine.vertebrae]
    order = [level.value for level in Level]
    assert names == sorted(names, key=order.index)
    assert phantom_spine.numbering.tier.value in "ABCD"


def test_without_a_vertebra_there_is_still_a_spine(part: tuple[np.ndarray, Grid]) -> None:
    array, grid = part
    seg = import_labels((array, grid), "verse")
    bare = replace(seg, labels=np.zeros_like(seg.labels), levels={}, confidence={})
    spine = build_spine(bare, Volume(np.full(grid.shape, 40, np.int16), grid))
    assert spine.vertebrae == ()
    assert spine.structures[StructureName.FORAMEN_CONTENTS].mask is None
    assert "no vertebra with pedicles" in spine.structures[StructureName.FORAMEN_CONTENTS].reason
