"""Weights are checked before use; tiles cover what is wanted."""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources

import numpy as np
import pytest

from imaging.errors import AlteredError
from segmentation.builtin.models import OnnxNets, checked_bytes, softmax, tile_boxes, tile_side, tile_starts
from segmentation.builtin.settings import settings

SHIPPED = resources.files("segmentation.data").joinpath("models.toml").is_file()


def test_altered_weights_are_refused() -> None:
    content = b"weights"
    table = {"localise": {"sha256": hashlib.sha256(content).hexdigest()}}
    assert checked_bytes(content, "localise", table) == content
    with pytest.raises(AlteredError, match=r"localise\.onnx"):
        checked_bytes(content + b"!", "localise", table)
    with pytest.raises(AlteredError):
        checked_bytes(content, "instance", table)


@pytest.mark.skipif(not SHIPPED, reason="the weights are not in this checkout")
def test_shipped_nets_keep_the_contract() -> None:
    table = tomllib.loads(resources.files("segmentation.data").joinpath("models.toml").read_text(encoding="utf-8"))
    assert tuple(table["localise"]["classes"]) == settings().classes
    nets = OnnxNets(threads=1)
    answer = nets.instance(np.zeros((2, 64, 64, 64), np.float32))
    assert answer.shape == (3, 64, 64, 64)
    assert np.allclose(answer.sum(axis=0), 1.0, atol=1e-4)
    wanted = np.zeros((40, 70, 50), bool)
    wanted[10:20, 30:40, 20:30] = True
    classes = nets.localise(np.zeros(wanted.shape, np.float32), wanted)
    assert classes.shape == (len(settings().classes), *wanted.shape)
    assert np.allclose(classes.sum(axis=0), 1.0, atol=1e-4)


def test_nothing_wanted_is_background_without_a_run() -> None:
    assert tile_boxes(np.zeros((90, 90, 90), bool), settings().tiles) == []


@pytest.mark.parametrize(("low", "high", "size"), [
    (0, 64, 64), (10, 30, 99), (95, 100, 100), (0, 200, 200), (3, 131, 140)])
def test_tiles_cover_the_line(low: int, high: int, size: int) -> None:
    starts = tile_starts(low, high, 64, size, 0.75)
    covered = np.zeros(size, bool)
    for start in starts:
        assert 0 <= start <= size - 64
        covered[start: start + 64] = True
    assert covered[low:high].all()


def test_tiles_cover_every_wanted_voxel() -> None:
    rng = np.random.default_rng(3)
    wanted = np.zeros((200, 150, 160), bool)
    wanted[20:190, 40:120, 30:140] = rng.random((170, 80, 110)) < 0.01
    covered = np.zeros_like(wanted)
    for box in tile_boxes(wanted, settings().tiles):
        assert not covered[box].all(), "each tile covers something new"
        assert all(side.stop - side.start == covered[box].shape[n] for n, side in enumerate(box))
        covered[box] = True
    assert covered[wanted].all()


@pytest.mark.parametrize(("length", "side"), [(30, 64), (64, 64), (65, 72), (91, 96), (97, 64)])
def test_one_larger_tile_rather_than_two(length: int, side: int) -> None:
    assert tile_side(length, 64, 96, 200) == side


def test_softmax_sums_to_one() -> None:
    logits = np.random.default_rng(0).normal(0.0, 50.0, (4, 3, 3, 3)).astype(np.float32)
    assert np.allclose(softmax(logits).sum(axis=0), 1.0, atol=1e-5)
