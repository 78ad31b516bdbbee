"""The template vertebrae: what ships, how they are laid on a bone, and how their points meet those of bone geometry."""

from __future__ import annotations

import io
from importlib import resources

import numpy as np
import pytest

from imaging.errors import AlteredError
from imaging.geometry import Side
from imaging.volume import Grid
from sample_data.phantom import Phantom
from segmentation.anatomy import LandmarkName
from segmentation.constants import constants
from segmentation.frames import FrameFit, vertebral_frame
from segmentation.landmarks import atlas
from segmentation.landmarks.doubts import Doubts
from segmentation.landmarks.fuse import fuse
from segmentation.landmarks.measure import arch_block
from segmentation.landmarks.warp import Surface, register
from segmentation.spine import Spine

LEVELS = ("T12", "L1", "L2", "L3", "L4", "L5", "S1")


@pytest.fixture(scope="module")
def l3(phantom: Phantom, phantom_grid: Grid) -> FrameFit:
    return vertebral_frame(phantom.labels == 22, phantom_grid)


def test_every_level_has_a_symmetric_template() -> None:
    for level in LEVELS:
        template = atlas.template_of(level)
        assert template is not None
        half = len(template.surface.points) // 2
        assert (template.surface.points[half:] == template.surface.points[:half] * (-1, 1, 1)).all()
        assert np.allclose(np.linalg.norm(template.surface.normals, axis=1), 1.0, atol=1e-3)
        for kind, point in template.landmarks.items():
            away = np.linalg.norm(template.surface.points - point, axis=1).min()
            assert away < (12.0 if kind == "pedicle_center" else 4.0)


def test_the_order_of_the_processes_is_that_of_a_lumbar_vertebra() -> None:
    for level in ("L1", "L2", "L3", "L4", "L5"):
        template = atlas.template_of(level)
        assert template is not None
        p = template.landmarks
        assert p["pedicle_center"][0] < p["sap_tp_junction"][0] < p["tp_tip"][0]
        assert p["mamillo_accessory_notch"][2] < p["sap_tp_junction"][2] < p["sap_tip"][2]
        assert p["ventral"][1] < p["sap_tp_junction"][1] < p["mamillo_accessory_notch"][1] < p["spinous_tip"][1]


@pytest.mark.parametrize(("name", "level"), [("LLV-0", "L5"), ("LLV-3", "L2"), ("L6", "L5"), ("T13", "T12")])
def test_names_without_a_template_of_their_own_borrow_one(name: str, level: str) -> None:
    assert atlas.template_of(name) is atlas.template_of(level)


@pytest.mark.parametrize("name", ["C5", "T7", "LLV-9"])
def test_other_levels_have_none(name: str) -> None:
    assert atlas.template_of(name) is None


def test_an_altered_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**constants("landmarks"), "template": {**constants("landmarks")["template"], "sha256": "0" * 64}}
    monkeypatch.setattr(atlas, "constants", lambda name: table)
    with pytest.raises(AlteredError, match="templates"):
        atlas._shipped.__wrapped__()


def test_the_file_holds_no_pickles() -> None:
    content = resources.files("segmentation.data").joinpath(atlas.FILE_NAME).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as data:
        assert {str(level) for level in data["levels"]} == set(LEVELS)
        assert all(data[key].dtype.kind in "fU" for key in data.files)


def test_a_known_bend_is_found_again() -> None:
    template = atlas.template_of("L3")
    assert template is not None

    def bent(points: np.ndarray) -> np.ndarray:
        x, y, z = points.T
        return np.column_stack([1.06 * x, 0.95 * y + 0.0008 * x**2, z + 3.0 * np.sin(x / 25.0)])

    bone = Surface(bent(template.surface.points), template.surface.normals)
    warp = register(template.surface, template.basis, bone, np.ones(3))
    points = np.array([p * (s, 1, 1) for k, p in template.landmarks.items() if k != "pedicle_center" for s in (1, -1)])
    assert np.linalg.norm(warp.move(points) - bent(points), axis=1).mean() < 1.0
    assert np.abs(warp.pull(warp.move(points)) - points).max() < 1e-3


def test_the_mirrored_bone_gets_the_mirrored_warp(l3: FrameFit) -> None:
    template = atlas.template_of("L3")
    assert template is not None
    bone = atlas.level_surface(arch_block(l3), template.level)
    other = Surface(bone.points * (-1, 1, 1), bone.normals * (-1, 1, 1))
    one, two = (register(template.surface, template.basis, s, np.ones(3)) for s in (bone, other))
    points = template.surface.points
    assert np.abs(two.move(points * (-1, 1, 1)) - one.move(points) * (-1, 1, 1)).max() < 0.05


def test_points_of_the_template_lie_near_the_truth(phantom: Phantom, l3: FrameFit) -> None:
    laid = atlas.template_points(arch_block(l3), "L3", l3.measures)
    assert laid is not None
    assert l3.frame is not None
    for side in Side:
        for kind, limit in (("sap_tp_junction", 3.5), ("sap_tip", 3.0), ("tp_tip", 3.0), ("pedicle_center", 4.0)):
            truth = phantom.landmarks["L3"][f"{kind}_{side.value.lower()}"]
            assert np.linalg.norm(l3.frame.from_side(laid.sides[side][kind], side) - truth) < limit


def test_a_bone_of_another_shape_gets_no_points(phantom_grid: Grid, l3: FrameFit) -> None:
    block = arch_block(l3)
    z, y, x = np.meshgrid(block.superior, block.posterior, block.lateral, indexing="ij")
    ball = np.sqrt(x**2 + (y - 20) ** 2 + z**2) - 25.0
    block.distance[:] = ball.astype(np.float32)
    assert atlas.template_points(block, "L3", l3.measures) is None


def test_two_estimates_that_agree_meet_between_and_stay_sure() -> None:
    doubts = Doubts()
    fused = fuse("sap_tp_junction", np.array([20.0, 5.0, 9.0]), np.array([21.0, 5.5, 9.0]), doubts)
    assert fused is not None
    assert 20.0 < fused.point[0] < 20.5
    assert doubts.confidence == 1.0
    assert fused.apart_mm == pytest.approx(1.118, abs=1e-3)


@pytest.mark.parametrize(("apart", "low", "high"), [(3.0, 0.9, 1.0), (9.0, 0.6, 0.89), (16.0, 0.0, 0.59)])
def test_the_further_the_methods_lie_apart_the_lower_the_word(apart: float, low: float, high: float) -> None:
    doubts = Doubts()
    fused = fuse("sap_tp_junction", np.array([20.0, 5.0 + apart, 9.0]), np.array([20.0, 5.0, 9.0]), doubts)
    assert fused is not None
    assert low <= doubts.confidence <= high
    assert bool(doubts.reasons) == (doubts.confidence < 1.0)
    assert fused.covariance[1, 1] >= min(0.25 * apart**2, 16.0)
    assert np.linalg.eigvalsh(fused.covariance).min() > 0


def test_a_corner_that_flips_hardly_moves_the_result() -> None:
    template = np.array([22.0, 20.0, 4.0])
    steady = fuse("mamillo_accessory_notch", template + 0.5, template, Doubts())
    flipped = fuse("mamillo_accessory_notch", template + np.array([6.0, -7.0, 8.0]), template, Doubts())
    assert steady is not None
    assert flipped is not None
    assert np.linalg.norm(steady.point - flipped.point) < 1.5


def test_one_method_alone_is_never_high_and_says_so() -> None:
    point = np.array([20.0, 5.0, 9.0])
    for geometry, template, word in ((point, None, "geometry alone"), (None, point, "template alone")):
        doubts = Doubts()
        fused = fuse("tp_tip", geometry, template, doubts)
        assert fused is not None
        assert (fused.point == point).all()
        assert doubts.confidence < 0.9
        assert word in doubts.reasons[0]
    assert fuse("tp_tip", None, None, Doubts()) is None


def test_a_thoracic_transverse_process_has_no_end_to_name(phantom_spine: Spine) -> None:
    vertebra = phantom_spine.vertebra("T12")
    assert vertebra is not None
    assert LandmarkName.SAP_TIP_LEFT in vertebra.landmarks
    assert LandmarkName.TP_TIP_LEFT not in vertebra.landmarks
