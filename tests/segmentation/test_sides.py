"""What a disagreement between left and right does to the confidence of both."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.geometry import Side
from segmentation.landmarks.doubts import Doubts
from segmentation.landmarks.find import _compare_sides


@pytest.mark.parametrize(("apart_mm", "word"), [(2.0, "HIGH"), (8.0, "MEDIUM"), (21.0, "LOW")])
def test_the_further_apart_the_sides_the_lower_both(apart_mm: float, word: str) -> None:
    doubts = {side: Doubts() for side in Side}
    points = {Side.LEFT: np.array([20.0, 5.0, 9.0]), Side.RIGHT: np.array([20.0, 5.0 + apart_mm, 9.0])}
    _compare_sides(points, doubts)
    floor, ceiling = {"HIGH": (0.9, 1.0), "MEDIUM": (0.6, 0.89), "LOW": (0.0, 0.59)}[word]
    assert all(floor <= d.confidence <= ceiling for d in doubts.values())
    assert (doubts[Side.LEFT].reasons != []) == (word != "HIGH")
