"""A bone that one patch doubts goes to the vertebra that the other patch is sure of."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.volume import Grid
from segmentation.builtin.agreement import agreed
from segmentation.builtin.instances import PATCH, SPACING_MM, Chain, Instance
from segmentation.builtin.lattice import Box, Cube, box_of

SHIFT = 20
FACET = (slice(30, 34), slice(40, 44), slice(20, 24))


@pytest.fixture
def box() -> Box:
    return box_of(Grid((120, 90, 90), np.diag([SPACING_MM] * 3 + [1.0])))


def instance(box: Box, low: int, this: float, other: float, body: slice) -> Instance:
    """A vertebra whose patch begins `low` voxels up, with an opinion on the facet between the two."""
    arrays = np.zeros((2, *PATCH), np.float16)
    arrays[0, body, 10:30, 20:44] = 0.97
    z, y, x = FACET
    arrays[:, z.start - low: z.stop - low, y, x] = np.array([this, other])[:, None, None, None]
    corner = np.array([low, 0, 0]) * SPACING_MM
    return Instance(corner, Cube(box, SPACING_MM, corner, PATCH), arrays[0], arrays[1], arrays[0] > 0.5, 50.0, False,
                    0.0, 1.0)


@pytest.mark.parametrize(("lower", "upper", "owner"), [
    ((0.55, 0.40), (0.95, 0.04), 1),  # the lower one leans to itself, the upper one is sure
    ((0.40, 0.55), (0.04, 0.95), 0),
    ((0.95, 0.04), (0.04, 0.95), 0),
])
def test_the_surer_patch_decides(box: Box, lower: tuple[float, float], upper: tuple[float, float], owner: int) -> None:
    chain = Chain((instance(box, 0, *lower, slice(15, 30)), instance(box, SHIFT, *upper, slice(20, 35))))
    after = agreed(chain).vertebrae
    z, y, x = FACET
    p = [float(v.this[z.start - low, y.start, x.start]) for v, low in zip(after, (0, SHIFT), strict=True)]
    assert p[owner] > 0.5 > p[1 - owner]
    for old, new in zip(chain.vertebrae, after, strict=True):
        assert np.array_equal(old.this[:, 10:30], new.this[:, 10:30]), "bodies that nobody else claims stay"


def test_a_lone_vertebra_stays(box: Box) -> None:
    chain = Chain((instance(box, 0, 0.6, 0.3, slice(15, 30)),))
    assert np.array_equal(agreed(chain).vertebrae[0].this, chain.vertebrae[0].this)
