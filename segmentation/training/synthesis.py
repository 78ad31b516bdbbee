"""Training patches from sources: where to look, what to label, how to make the image.

Classes of the patches are those of :mod:`segmentation.training.contract`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segmentation.training import degrade, pathology
from segmentation.training.anatomy import CLASS_OF_TISSUE, SACRUM, TISSUE
from segmentation.training.contract import INSTANCE, LOCALISE, NetSpec
from segmentation.training.fields import sample_linear, sample_nearest, sampling_grid
from segmentation.training.paint import paint
from segmentation.training.sources import SPACING, Source

__all__ = ["MAKERS", "instance_patch", "localise_patch", "pick_source", "render"]


def pick_source(rng: np.random.Generator, sources: list[Source], net: str) -> Source:
    """Draw a source by its weight for a net."""
    weights = np.array([s.weights.get(net, 1.0) for s in sources])
    return sources[int(rng.choice(len(sources), p=weights / weights.sum()))]


def render(
    rng: np.random.Generator, source: Source, spec: NetSpec, centre: np.ndarray, *, outside: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample, edit, paint and degrade one patch.

    Parameters
    ----------
    centre : ndarray, (3,)
        Source voxel (z, y, x) to put on the anchor of the patch.
    outside : bool
        True to cut the anchor out of the field of view.

    Returns
    -------
    hu : ndarray, float32, (z, y, x)
        Hounsfield units, -1000 outside the field of view.
    instance, tissue : ndarray, uint8, (z, y, x)
        Labels, 0 outside the field of view.
    """
    real = source.hu is not None and rng.random() < 0.5
    grid = sampling_grid(rng, spec.patch, spec.anchor, spec.spacing, centre, SPACING, strength=0.6 if real else 1.0)
    (instance, tissue), inside = sample_nearest([source.instance, source.tissue], grid)
    if real:
        hu = sample_linear(source.hu, grid, -1000.0)
        hu = hu * rng.uniform(0.9, 1.1) + rng.normal(0.0, 15.0)
    else:
        depth = sample_linear(source.depth, grid, 0.0) / np.float32(16.0)
        depth = np.where(instance > 0, np.maximum(depth, 0.3 * SPACING), 0.0).astype(np.float32)
        joint = np.zeros(spec.patch, bool)
        if rng.random() < 0.3:
            joint = pathology.grow_facets(rng, instance, tissue, depth, spec.spacing)
        if rng.random() < 0.25:
            pathology.grow_osteophytes(rng, instance, tissue, depth, spec.spacing)
        if rng.random() < 0.06:
            pathology.fuse_ala(rng, instance, tissue, depth, spec.spacing)
        fused = joint if rng.random() < 0.6 else np.zeros_like(joint)
        hu = paint(rng, instance, tissue, depth, joint, spec.spacing)
        hu = pathology.carve_gaps(rng, hu, instance, fused, spec.spacing)
        if rng.random() < 0.4:
            degrade.add_table(rng, hu, tissue == TISSUE["air"], spec.spacing)
        if rng.random() < 0.06:
            degrade.add_metal(rng, hu, instance > 0, spec.spacing)
        hu = degrade.degrade(rng, hu, spec.spacing)
    inside &= degrade.field_of_view(rng, spec.patch, spec.anchor, spec.spacing, outside=outside)
    hu = np.where(inside, hu, np.float32(-1000.0))
    return hu, np.where(inside, instance, 0).astype(np.uint8), np.where(inside, tissue, 0).astype(np.uint8)


def _lumbar_first(rng: np.random.Generator, source: Source) -> int:
    """Draw a vertebra: lumbar 3.0, T9-T12 1.2, higher thoracic .5, cervical .15."""
    numbers = [n for n in sorted(source.centres) if n != SACRUM]
    weight = np.array([3.0 if n < 32 else 1.2 if n < 36 else 0.5 if n < 44 else 0.15 for n in numbers])
    return int(rng.choice(numbers, p=weight / weight.sum()))


def localise_patch(rng: np.random.Generator, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """One patch for the localising net.

    Returns
    -------
    hu : ndarray, float32, (80, 64, 64)
    labels : ndarray, uint8, (80, 64, 64)
        Indices into ``LOCALISE.classes``.
    """
    where = rng.random()
    if where < 0.25 and SACRUM in source.centres:
        spread = (14.0, 12.0, 12.0) if rng.random() < 0.6 else (24.0, 20.0, 40.0)
        centre = source.centres[SACRUM] + rng.normal(0.0, 1.0, 3) * spread
    elif where < 0.9:
        centre = source.centres[_lumbar_first(rng, source)] + rng.normal(0.0, 22.0, 3) * (0.7, 1.0, 1.0)
    else:
        centre = rng.uniform(0.1, 0.9, 3) * source.instance.shape
    hu, _, tissue = render(rng, source, LOCALISE, centre)
    return hu, CLASS_OF_TISSUE[tissue]


def instance_patch(rng: np.random.Generator, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """One patch for the instance net; about one in seven has a centre on no vertebra and an empty answer.

    Returns
    -------
    hu : ndarray, float32, (64, 64, 64)
    labels : ndarray, uint8, (64, 64, 64)
        Indices into ``INSTANCE.classes``.
    """
    kind = rng.random()
    target, outside = 0, False
    if kind < 0.05 and SACRUM in source.centres:
        centre = source.centres[SACRUM] + rng.normal(0.0, 4.0, 3) - (rng.uniform(0.0, 40.0), 0.0, 0.0)
    elif kind < 0.09:
        near = source.centres[_lumbar_first(rng, source)]
        side = rng.choice([-1.0, 1.0]) * rng.uniform(25.0, 60.0)
        centre = near + np.array([rng.uniform(-15.0, 15.0), rng.uniform(-40.0, 10.0), side])
    else:
        outside = kind < 0.14
        target = _lumbar_first(rng, source)
        centre = _jittered(rng, source, target)
    hu, instance, tissue = render(rng, source, INSTANCE, centre, outside=outside)
    spine = np.isin(tissue, [TISSUE["body"], TISSUE["arch"], TISSUE["sacrum"]])
    labels = np.where(spine, 2, 0).astype(np.uint8)
    if target and not outside:
        labels[instance == target] = 1
    return hu, labels


def _jittered(rng: np.random.Generator, source: Source, number: int) -> np.ndarray:
    """A centre as the engine may give it: mostly near the true one, sometimes well along the spine."""
    centre = source.centres[number]
    offset = rng.normal(0.0, 2.2, 3)
    if rng.random() < 0.3:
        neighbours = [source.centres[n] for n in (number - 1, number + 1) if n in source.centres and n != SACRUM]
        if neighbours:
            toward = neighbours[int(rng.integers(len(neighbours)))] - centre
            offset = offset * 0.7 + toward * rng.uniform(0.0, 0.36)
    limit = 7.0
    length = np.linalg.norm(offset)
    return centre + offset * min(1.0, limit / max(length, 1e-6))


MAKERS: dict[str, Callable[[np.random.Generator, Source], tuple[np.ndarray, np.ndarray]]] = {
    LOCALISE.name: localise_patch,
    INSTANCE.name: instance_patch,
}
