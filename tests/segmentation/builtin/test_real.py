"""The shipped weights on a small real crop: the middle vertebra is drawn, and no level is claimed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from imaging.resample import from_sitk
from imaging.volume import Volume
from segmentation.builtin import BuiltinEngine
from segmentation.spine import NumberingStatus

SHIPPED = resources.files("segmentation.data").joinpath("models.toml").is_file()


@pytest.mark.data
@pytest.mark.skipif(not SHIPPED, reason="the weights are not in this checkout")
def test_crop_around_l3(data: Path) -> None:
    array, grid = from_sitk(sitk.ReadImage(str(data / "ct" / "tptbox_l3.nii.gz")))
    truth, _ = from_sitk(sitk.ReadImage(str(data / "labels" / "tptbox_l3_vert.nii.gz")))
    seg = BuiltinEngine().segment(Volume(array, grid), lambda stage, done: None)
    values, counts = np.unique(truth[truth > 0], return_counts=True)
    middle = truth == values[counts.argmax()]
    found = seg.labels == np.bincount(seg.labels[middle]).argmax()
    assert 2.0 * (middle & found).sum() / (middle.sum() + found.sum()) > 0.8
    assert seg.numbering.status is NumberingStatus.RELATIVE
    assert all(confidence < 0.5 for confidence in seg.confidence.values())
