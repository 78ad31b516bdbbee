"""The generator of training patches, on a small made label map (no torch needed)."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.training import pathology
from segmentation.training.anatomy import CLASS_OF_TISSUE, SACRUM, TISSUE
from segmentation.training.contract import INSTANCE, LOCALISE, centre_heat, intensity
from segmentation.training.fields import smooth_noise, thick_slices
from segmentation.training.generate import Ring
from segmentation.training.paint import paint
from segmentation.training.sources import SPACING, Source, derive
from segmentation.training.synthesis import MAKERS, instance_patch, localise_patch


def made_labels() -> np.ndarray:
    """L2 to L5 as boxes with a body, a canal and a bridge behind it, on a sacrum block; (z, y, x), 1.5 mm."""
    labels = np.zeros((120, 70, 80), np.uint8)
    labels[:, 4:66, 4:76] = 120
    labels[2:20, 26:50, 24:56] = 26
    for k, number in enumerate((27, 28, 29, 30)):
        low = 24 + 24 * k
        labels[low : low + 18, 14:36, 26:54] = number
        labels[low + 4 : low + 16, 36:50, 26:54] = number
        labels[low - 8 : low + 6, 46:50, 30:50] = number
    labels[6:120, 37:46, 34:46] = 79
    return labels


@pytest.fixture(scope="module")
def source() -> Source:
    return derive("made", made_labels())


def test_derive_finds_bodies_arches_and_discs(source: Source) -> None:
    assert sorted(source.centres) == [SACRUM, 27, 28, 29, 30]
    for k, number in enumerate((27, 28, 29, 30)):
        assert source.centres[number] == pytest.approx([24 + 24 * k + 9, 25, 39.5], abs=3.5)
        mine = source.instance == number
        y = np.nonzero(mine & (source.tissue == TISSUE["arch"]))[1]
        assert y.min() in (35, 36, 37)
        assert (source.tissue[mine & (np.indices(mine.shape)[1] < 35)] == TISSUE["body"]).all()
    disc = source.tissue[42:47, 18:32, 32:48]
    assert (disc == TISSUE["disc"]).mean() > 0.9
    assert not (source.instance[source.tissue == TISSUE["disc"]] > 0).any()


def test_depth_is_measured_per_bone(source: Source) -> None:
    """Touching bones each keep their own surface, so that both facets of a joint get a cortex."""
    touching = made_labels()
    touching[42:48] = np.where(touching[42:48] > 0, 27, 0)
    touching[42:48, :14] = 0
    depth = derive("touching", touching).depth / 16.0
    assert depth[47, 25, 40] == pytest.approx(SPACING / 2, abs=0.1)
    assert depth[48, 25, 40] == pytest.approx(SPACING / 2, abs=0.1)
    assert depth[57, 25, 40] > 10.0
    assert (depth[source.instance > 0] > 0).all()


@pytest.mark.parametrize(("name", "spec"), [("localise", LOCALISE), ("instance", INSTANCE)])
def test_patches_repeat_with_the_seed_and_hold_valid_classes(source: Source, name: str, spec: object) -> None:
    first = MAKERS[name](np.random.default_rng(3), source)
    again = MAKERS[name](np.random.default_rng(3), source)
    other = MAKERS[name](np.random.default_rng(4), source)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    for hu, labels in (first, other):
        assert hu.shape == labels.shape == spec.patch
        assert np.isfinite(hu).all()
        assert labels.max() < len(spec.classes)


def test_labels_are_empty_outside_the_field_of_view(source: Source) -> None:
    for seed in range(12):
        hu, labels = localise_patch(np.random.default_rng(seed), source)
        assert (labels[hu == -1000.0] == 0).all()


def test_instance_patch_marks_the_vertebra_at_the_anchor_or_nothing(source: Source) -> None:
    answers = [instance_patch(np.random.default_rng(seed), source)[1] for seed in range(40)]
    with_target = [a for a in answers if (a == 1).any()]
    assert 20 <= len(with_target) < 40
    at_anchor = [a[INSTANCE.anchor] == 1 for a in with_target]
    assert np.mean(at_anchor) > 0.8


def test_cortex_is_brighter_than_marrow(source: Source) -> None:
    box = (slice(20, 84), slice(6, 70), slice(8, 72))
    instance, tissue = source.instance[box], source.tissue[box]
    depth = source.depth[box] / np.float32(16.0)
    hu = paint(np.random.default_rng(0), instance, tissue, depth, np.zeros(depth.shape, bool), SPACING)
    body = tissue == TISSUE["body"]
    assert hu[body & (depth < 1.0)].mean() > hu[body & (depth > 4.0)].mean() + 50.0


def test_gaps_are_carved_only_where_bones_touch() -> None:
    instance = np.zeros((20, 20, 20), np.uint8)
    instance[2:10, 4:16, 4:16] = 28
    instance[10:18, 4:16, 4:16] = 29
    hu = np.where(instance > 0, 900.0, 0.0).astype(np.float32)
    changed = np.zeros(hu.shape, bool)
    for seed in range(10):
        carved = pathology.carve_gaps(np.random.default_rng(seed), hu, instance, np.zeros(hu.shape, bool), 1.5)
        changed |= carved != hu
    assert changed.any()
    assert set(np.nonzero(changed)[0].tolist()) <= {9, 10}
    keep = np.ones(hu.shape, bool)
    assert np.array_equal(pathology.carve_gaps(np.random.default_rng(1), hu, instance, keep, 1.5), hu)


def test_facets_grow_into_free_tissue_and_stay_bone() -> None:
    instance = np.zeros((24, 24, 24), np.uint8)
    instance[2:11, 6:18, 6:18] = 28
    instance[13:22, 6:18, 6:18] = 29
    tissue = np.where(instance > 0, TISSUE["arch"], TISSUE["soft"]).astype(np.uint8)
    depth = np.where(instance > 0, 2.0, 0.0).astype(np.float32)
    before = instance.copy()
    grown = 0
    for seed in range(5):
        pathology.grow_facets(np.random.default_rng(seed), instance, tissue, depth, 1.5)
        grown += int((instance != before).sum())
    assert grown > 0
    assert (instance[before > 0] == before[before > 0]).all()
    assert set(np.unique(instance).tolist()) == {0, 28, 29}
    assert (depth[instance > 0] > 0).all()
    assert (CLASS_OF_TISSUE[tissue[instance > 0]] > 0).all()


def test_intensity_and_heat_follow_the_contract() -> None:
    assert intensity(np.array(40.0)) == 0.0
    assert intensity(np.array(-2000.0)) == pytest.approx(-(1040.0**0.7) / 80.0, rel=1e-5)
    assert intensity(np.array(5000.0)) == pytest.approx(1560.0**0.7 / 80.0, rel=1e-5)
    heat = centre_heat()
    assert heat.shape == INSTANCE.patch
    assert np.unravel_index(heat.argmax(), heat.shape) == (32, 22, 32)
    assert heat[32, 22, 40] == pytest.approx(np.exp(-(12.0**2) / 128.0), rel=1e-5)


def test_thick_slices_keep_a_constant_image_and_noise_is_normalised() -> None:
    flat = np.full((20, 8, 9), 7.0, np.float32)
    for axis in range(3):
        assert np.allclose(thick_slices(flat, axis, 3.0, 2.5, 0.4), 7.0, atol=1e-4)
    noise = smooth_noise(np.random.default_rng(0), (48, 48, 48), 5.0)
    assert abs(float(noise.mean())) < 0.2
    assert 0.6 < float(noise.std()) < 1.6


def test_ring_buffer_returns_what_was_written(tmp_path) -> None:
    ring = Ring(tmp_path, INSTANCE, size=8)
    labels = np.ones(INSTANCE.patch, np.uint8)
    for k in range(9):
        ring.write(np.full(INSTANCE.patch, 100.0 * k, np.float32), labels)
    assert ring.filled == 8
    image, drawn = Ring(tmp_path, INSTANCE, size=8).draw(np.random.default_rng(0))
    assert np.array_equal(drawn, labels)
    assert any(np.allclose(image, intensity(np.array(100.0 * k)), atol=2e-3) for k in range(9))
    assert ring.counters[1] == 1
