"""A column that stands on its head is noticed by the distances alone; upright ones of every region are not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from imaging.volume import Grid
from segmentation.builtin.lattice import Cube, box_of
from segmentation.builtin.localise import ClassMap
from segmentation.builtin.settings import settings
from segmentation.builtin.upright import upside_down

ORDER = ["C5", "C6", "C7", *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6))]


def chain(levels: list[str]) -> SimpleNamespace:
    """Bodies of these levels, the last lowest, at the population's distances."""
    heights = np.concatenate([[0.0], np.cumsum([settings().levels[name].step_below_mm for name in levels[-2::-1]])])
    return SimpleNamespace(vertebrae=[SimpleNamespace(centre=np.array([40.0 + h, 90.0, 90.0])) for h in heights])


@pytest.fixture(scope="module")
def empty() -> ClassMap:
    cube = Cube.over(box_of(Grid((200, 60, 60), np.diag([3.0, 3.0, 3.0, 1.0]))), 3.0)
    return ClassMap(cube, np.zeros(cube.shape, np.float32), np.zeros((11, *cube.shape), np.float32))


@pytest.mark.parametrize(("first", "last"), [("C5", "L5"), ("T1", "T12"), ("T1", "T8"), ("T6", "L5"), ("T10", "L5"),
                                              ("C5", "T6")])
def test_upright_columns_are_taken(empty: ClassMap, first: str, last: str) -> None:
    assert upside_down(chain(ORDER[ORDER.index(first):ORDER.index(last) + 1]), empty) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "last"), [("C5", "L5"), ("T1", "L3"), ("T4", "L5")])
def test_turned_columns_are_noticed(empty: ClassMap, first: str, last: str) -> None:
    levels = ORDER[ORDER.index(first):ORDER.index(last) + 1]
    up = [v.centre for v in chain(levels).vertebrae]
    turned = SimpleNamespace(vertebrae=[SimpleNamespace(centre=c * [-1, 1, 1] + [590, 0, 0]) for c in up[::-1]])
    assert "apart" in upside_down(turned, empty)  # type: ignore[arg-type]
