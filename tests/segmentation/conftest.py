"""The phantom at a coarse voxel size, and the `Spine` built from its exact masks, once per session."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.volume import Grid, Volume
from sample_data.phantom import Phantom, PhantomSpec, build_phantom
from segmentation.assemble import build_spine
from segmentation.labels import import_labels
from segmentation.spine import Spine


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec(spacing_mm=(1.5, 1.5, 1.5)))


@pytest.fixture(scope="session")
def phantom_grid(phantom: Phantom) -> Grid:
    return Grid(tuple(phantom.labels.shape), phantom.affine)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def phantom_volume(phantom: Phantom, phantom_grid: Grid) -> Volume:
    return Volume(np.asarray(phantom.hu, dtype=np.int16), phantom_grid)


@pytest.fixture(scope="session")
def phantom_spine(phantom: Phantom, phantom_grid: Grid) -> Spine:
    return build_spine(import_labels((phantom.labels, phantom_grid), "verse"))
