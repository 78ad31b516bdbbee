"""Which bone is the first of the sacrum: what stands beside and beneath the lowest one decides, not a net alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from benchmarks.levels import crop, known_centres
from imaging.geometry import Side
from imaging.resample import from_sitk
from imaging.volume import Volume
from segmentation.builtin import BuiltinEngine
from segmentation.builtin.settings import settings
from segmentation.spine import NumberingTier, Segmentation
from tests.segmentation.builtin.column import SPACING, ColumnModel, build
from tests.segmentation.builtin.oracle import OracleNets, painted

BOTH = tuple(Side)


def with_alae(model: ColumnModel, rise_mm: float, sides: tuple[Side, ...] = BOTH) -> ColumnModel:
    """The model with sacral bone beside its lowest vertebra, up to `rise_mm` above the middle of the body."""
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) * SPACING for n in model.tissue.shape], indexing="ij", sparse=True)
    left = model.grid.affine[0, 3] - SPACING / 2 + x
    middle = float(model.centres[0, 2])
    high = (z > middle - 34.0) & (z < middle + rise_mm) & (y > 50.0) & (y < 90.0)
    ala = np.zeros(model.tissue.shape, bool)
    for side in sides:
        ala |= high & (side.sign * left > 31.0) & (side.sign * left < 50.0)
    tissue = model.tissue.copy()
    tissue[ala & (model.instance == 0)] = settings().classes.index("sacrum")
    return replace(model, tissue=tissue)


def segmented(model: ColumnModel) -> Segmentation:
    volume = painted(model.instance, model.tissue, model.grid)
    return BuiltinEngine(OracleNets(model.tissue, model.grid)).segment(volume, lambda stage, done: None)


def free(seg: Segmentation) -> list[str]:
    return [name for _, name in sorted(seg.levels.items(), reverse=True) if name != "S1"]


def lowest_label(seg: Segmentation, model: ColumnModel, number: int) -> int:
    values = seg.labels[model.instance == number]
    return int(np.bincount(values).argmax())


def test_alae_below_the_disc_leave_the_lowest_one_free() -> None:
    model = with_alae(build(4, ribless=4), -17.0)
    seg = segmented(model)
    assert seg.levels[lowest_label(seg, model, 1)] == "L5"
    assert seg.numbering.tier is NumberingTier.B
    assert min(seg.confidence[name] for name in free(seg)) > 0.5


def test_a_bone_between_high_alae_goes_to_the_sacrum_and_no_name_is_above_a_half() -> None:
    model = with_alae(build(4, ribless=4), 14.0)
    seg = segmented(model)
    assert lowest_label(seg, model, 1) not in seg.levels or seg.levels[lowest_label(seg, model, 1)] == "S1"
    assert seg.levels[lowest_label(seg, model, 2)] == "L5"
    assert len(free(seg)) == 3
    assert max(seg.confidence.values()) < 0.5


def test_ribs_that_count_five_keep_a_sacralised_fifth_lumbar_vertebra() -> None:
    model = with_alae(build(8, ribless=5), 14.0)
    seg = segmented(model)
    assert seg.levels[lowest_label(seg, model, 1)] == "L5"
    assert "S1" in {a.level for a in seg.alternates["L5"]}


def test_between_the_two_it_is_a_doubt() -> None:
    seg = segmented(with_alae(build(4, ribless=4), 8.0))
    assert len(free(seg)) == 4
    assert max(seg.confidence.values()) < 0.5
    assert seg.alternates["L5"][0].level == "S1"


def test_one_high_side_alone_does_not_make_it_sacral() -> None:
    assert len(free(segmented(with_alae(build(4, ribless=4), 24.0, (Side.LEFT,))))) == 4


def test_a_sacrum_without_a_body_in_view_is_a_doubt() -> None:
    model = with_alae(build(4, ribless=4), -17.0)
    sacrum = settings().classes.index("sacrum")
    y = (np.arange(model.tissue.shape[1]) + 0.5) * SPACING - 54.0
    body = (model.tissue == sacrum) & (y < 26.0)[None, :, None]
    x = np.abs((np.arange(model.tissue.shape[2]) + 0.5) * SPACING + model.grid.affine[0, 3])
    tissue = np.where(body & (x < 26.0), 0, model.tissue)
    seg = segmented(replace(model, tissue=tissue))
    assert max(seg.confidence[name] for name in free(seg)) < 0.5


@pytest.mark.data
def test_first_sacral_segment_of_a_cut_sacrum_is_not_called_l5(data: Path) -> None:
    """Only the upper 40 mm of the sacrum in view: both nets take S1 for a lumbar vertebra."""
    volume = Volume(*from_sitk(sitk.ReadImage(str(data / "ct" / "s0015.nii.gz"))))
    known = known_centres("s0015")
    seg = BuiltinEngine().segment(crop(volume, known["L5"], 100.0, 120.0), lambda stage, done: None)
    for level in ("L5", "L4"):
        k, j, i = (round(n) for n in (np.linalg.inv(seg.grid.affine) @ [*known[level], 1.0])[2::-1])
        assert seg.levels[int(seg.labels[k, j, i])] == level
    assert max(seg.confidence.values()) < 0.5
