"""Label maps made elsewhere: schemes, tidying, tiers, and the checks against the scan."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imaging.errors import InputRefusedError, UsageError
from imaging.findings import FindingCode
from imaging.volume import Grid, Volume
from sample_data.phantom import Phantom
from segmentation.anatomy import VERSE_LABEL, Level, StructureName
from segmentation.label_schemes import label_scheme, scheme_names
from segmentation.labels import import_labels
from segmentation.spine import NumberingStatus, NumberingTier


def column(values: list[int], rib: int | None = None) -> tuple[NDArray[np.uint8], Grid]:
    """Blocks of 10 mm, one above the other from the first value (top) down, at 2 mm voxels."""
    array = np.zeros((len(values) * 7 + 4, 14, 40), dtype=np.uint8)
    for n, value in enumerate(values):
        top = array.shape[0] - 2 - n * 7
        array[top - 5:top, 4:9, 4:9] = value
    if rib is not None:
        array[-6:-3, 2:4, 10:38] = rib
    return array, Grid(array.shape, np.diag([2.0, 2.0, 2.0, 1.0]))


def test_schemes_are_complete() -> None:
    assert set(scheme_names()) == {"totalsegmentator", "verse", "spineps", "tptbox", "dicom-seg"}
    total = label_scheme("totalsegmentator")
    assert {total.levels[v] for v in range(27, 51)} == {lv for lv in Level if lv not in (Level.T13, Level.L6, Level.S1)}
    assert total.levels[25] is total.levels[26] is Level.S1
    assert len(total.structures[StructureName.RIBS]) == 24
    for name in ("verse", "spineps", "tptbox"):
        levels = label_scheme(name).levels
        assert all(levels[VERSE_LABEL[level]] is level for level in Level)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="totalsegmentator"):
        import_labels(column([20]), "nonesuch")


def test_a_map_without_vertebrae_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="no vertebra"):
        import_labels(column([1, 2, 3]), "totalsegmentator")


def test_totalsegmentator_numbers_become_ours() -> None:
    seg = import_labels(column([32, 31, 30, 29, 28, 27, 26, 25], rib=115), "totalsegmentator")
    assert set(seg.levels) == {19, 20, 21, 22, 23, 24, 26}
    assert seg.levels[26] == "S1"
    assert (seg.labels == 26).sum() == 250
    assert seg.numbering.tier is NumberingTier.A
    assert seg.structures[StructureName.RIBS].mask is not None
    assert StructureName.AORTA not in seg.structures


@pytest.mark.parametrize(("values", "rib", "tier", "cap"), [
    ([19, 20, 21, 22, 23, 24, 26], None, NumberingTier.B, 0.8),
    ([20, 21, 22, 23, 24], None, NumberingTier.D, 0.5),
    ([8, 9, 10, 11], None, NumberingTier.A, 0.95),
    ([20, 22, 23, 24, 26], None, NumberingTier.C, 0.7),
    ([20, 21, 22, 23, 24, 25, 26], None, NumberingTier.C, 0.7),
])
def test_tier_follows_what_is_in_view(values: list[int], rib: int | None, tier: NumberingTier, cap: float) -> None:
    seg = import_labels(column(values, rib), "verse")
    assert seg.numbering.tier is tier
    assert seg.numbering.status is NumberingStatus.NAMED
    assert max(seg.confidence.values()) <= cap


def test_loose_voxels_are_dropped_and_told() -> None:
    array, grid = column([23, 24, 26])
    array[0, 0, 30] = 24
    seg = import_labels((array, grid), "verse")
    assert seg.labels[0, 0, 30] == 0
    assert any("L5" in f.message and f.code is FindingCode.LABELS_REFUSED for f in seg.findings)


def test_labels_come_onto_the_grid_of_the_scan(phantom: Phantom, phantom_volume: Volume, phantom_grid: Grid) -> None:
    thin = phantom.labels[::2]
    affine = phantom_grid.affine.copy()
    affine[:3, 2] *= 2
    seg = import_labels((thin, Grid(thin.shape, affine)), "verse", phantom_volume)
    assert seg.grid.same_as(phantom_grid)
    both = (seg.labels > 0) & (phantom.labels > 0)
    assert both.sum() > 0.8 * (phantom.labels > 0).sum()


def test_labels_with_left_and_right_exchanged_are_refused(phantom: Phantom, phantom_volume: Volume,
                                                          phantom_grid: Grid) -> None:
    width = phantom.labels.shape[2]
    shift = 14
    moved = np.zeros_like(phantom.labels)
    moved[:, :, :width - shift] = phantom.labels[:, :, shift:]
    hu = np.full(phantom.hu.shape, -1000, dtype=np.int16)
    hu[:, :, :width - shift] = phantom.hu[:, :, shift:]
    scan = Volume(hu, phantom_grid)
    import_labels((moved, phantom_grid), "verse", scan)
    with pytest.raises(InputRefusedError, match=r"mirrored|do not lie"):
        import_labels((moved[:, :, ::-1], phantom_grid), "verse", scan)


def test_labels_of_another_scan_are_refused(phantom: Phantom, phantom_volume: Volume, phantom_grid: Grid) -> None:
    with pytest.raises(InputRefusedError, match="do not lie"):
        import_labels((np.roll(phantom.labels, 40, axis=1), phantom_grid), "verse", phantom_volume)


def test_exchanged_names_are_refused() -> None:
    with pytest.raises(InputRefusedError, match="order of their names"):
        import_labels(column([20, 21, 23, 22, 24, 26]), "verse")
    with pytest.raises(InputRefusedError, match="order of their names"):
        import_labels(column([20, 19, 21, 22]), "verse")


def test_a_map_of_another_scheme_is_refused_and_the_likely_one_named() -> None:
    total = column([32, 31, 30, 29, 28, 27, 26, 25])
    with pytest.raises(InputRefusedError, match="'totalsegmentator'"):
        import_labels(total, "verse")
    few = column([31, 30, 29, 28, 27, 26])
    few[0][few[0] > 28] = 0
    with pytest.raises(InputRefusedError, match="T13 and the sacrum"):
        import_labels(few, "verse")
    with pytest.raises(InputRefusedError, match="'verse'"):
        import_labels(column([19, 20, 21, 22, 23, 24, 26]), "totalsegmentator")


def test_organs_beside_the_column_do_not_make_it_another_scheme() -> None:
    array, grid = column([31, 30, 29, 28, 27, 26])
    for value in range(1, 25):
        array[(7 * value) % 25 + 1, 10:13, 30:33] = value
    assert len(import_labels((array, grid), "totalsegmentator").levels) == 6


def test_names_that_skip_a_level_between_touching_bones_are_not_taken_over() -> None:
    array, grid = column([19, 20, 21, 22, 23, 26])
    array[9:11, 4:9, 4:9] = 26
    seg = import_labels((array, grid), "verse")
    assert seg.numbering.status is NumberingStatus.RELATIVE
    assert seg.levels == {26: "S1", 101: "LLV-0", 102: "LLV-1", 103: "LLV-2", 104: "LLV-3", 105: "LLV-4"}
    assert seg.alternates["LLV-0"][0].level == "L4"
    assert any(f.code is FindingCode.LEVEL_UNKNOWN and "L4 and S1" in f.message for f in seg.findings)


def test_names_that_skip_a_level_across_a_gap_stay() -> None:
    array, grid = column([19, 20, 21, 22, 23, 24, 26])
    array[array == 22] = 0
    seg = import_labels((array, grid), "verse")
    assert seg.numbering.status is NumberingStatus.NAMED
    assert any("skips L3" in f.message for f in seg.findings)
