"""Tissue codes and the derived anatomy of a label map: body/arch split, discs, body centres.

Bones keep one *instance* number each, in the numbering of TotalSegmentator v2: 25 sacrum (S1, number 26, is merged into
it), 27 L5 ... 31 L1, 32 T12 ... 43 T1, 44 C7 ... 50 C1, other bones as they come.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = [
    "CLASS_OF_TISSUE",
    "SACRUM",
    "TISSUE",
    "TISSUE_OF_LABEL",
    "VERTEBRAE",
    "VERSE_TO_LABEL",
    "axes_along_spine",
    "body_centre",
    "closed_disc",
    "inner_distance",
    "posterior_wall",
    "smooth_walls",
]

SACRUM = 25
S1 = 26
VERTEBRAE = tuple(range(27, 51))

TISSUE = {
    name: code
    for code, name in enumerate(
        (
            "air",
            "soft",
            "muscle",
            "organ",
            "lung",
            "bowel",
            "aorta",
            "vena_cava",
            "kidney",
            "vessel",
            "canal",
            "disc",
            "body",
            "arch",
            "sacrum",
            "rib",
            "other_bone",
            "fluid",
            "cartilage",
            "artery",
        )
    )
}

_LABELS = {
    "organ": (1, 4, 5, 7, 8, 9, 15, 17, 22, 23, 24),
    "kidney": (2, 3),
    "bowel": (6, 18, 19, 20),
    "lung": (10, 11, 12, 13, 14, 16),
    "fluid": (21,),
    "sacrum": (25, 26),
    "body": VERTEBRAE,
    "vessel": (51, 53, 59, 60, 61, 62, 64, 67, 68),
    "aorta": (52,),
    "artery": (54, 55, 56, 57, 58, 65, 66),
    "vena_cava": (63,),
    "other_bone": (*range(69, 79), 91, 116),
    "canal": (79,),
    "muscle": tuple(range(80, 90)),
    "rib": tuple(range(92, 116)),
    "cartilage": (117,),
    "soft": (90, 118, 119, 120),
}

TISSUE_OF_LABEL = np.zeros(256, np.uint8)
for _name, _ids in _LABELS.items():
    TISSUE_OF_LABEL[list(_ids)] = TISSUE[_name]

VERSE_TO_LABEL = np.zeros(256, np.uint8)
VERSE_TO_LABEL[1:8] = np.arange(50, 43, -1)
VERSE_TO_LABEL[8:20] = np.arange(43, 31, -1)
VERSE_TO_LABEL[20:25] = np.arange(31, 26, -1)

CLASS_OF_TISSUE = np.zeros(len(TISSUE), np.uint8)
for _class, _tissue in enumerate(
    ("body", "arch", "sacrum", "rib", "other_bone", "canal", "disc", "aorta", "vena_cava", "kidney"), start=1
):
    CLASS_OF_TISSUE[TISSUE[_tissue]] = _class


def inner_distance(mask: np.ndarray, spacing: float) -> np.ndarray:
    """Distance of every voxel of a mask to the mask's surface.

    Returns
    -------
    ndarray, float32
        mm, at least half a voxel inside, 0 outside. The border of the array counts as inside, so a bone cut by the
        field of view gets no cortex there.
    """
    if mask.all():
        return np.full(mask.shape, 99.0, np.float32)
    distance = ndimage.distance_transform_edt(mask, sampling=spacing) - 0.5 * spacing
    return np.where(mask, np.maximum(distance, 0.5 * spacing), 0.0).astype(np.float32)


def body_centre(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Centre of the thick core of a vertebra, which is its body.

    Returns
    -------
    ndarray, float64, (3,)
        (z, y, x) voxels.
    """
    core = mask & (distance > 0.6 * distance.max())
    pieces, count = ndimage.label(core)
    if count > 1:
        sizes = ndimage.sum_labels(core, pieces, np.arange(1, count + 1))
        core = pieces == 1 + int(np.argmax(sizes))
    return np.argwhere(core).mean(axis=0)


def axes_along_spine(
    centres: dict[int, np.ndarray], rear: dict[int, np.ndarray]
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Local axes of each vertebra from the chain of body centres.

    Parameters
    ----------
    centres : dict
        Body centres, (z, y, x) voxels of an isotropic grid, by instance number (a greater number lies higher).
    rear : dict
        For each vertebra some point behind the body in the midline (canal centre or whole-vertebra centroid).

    Returns
    -------
    dict
        Unit vectors (up, posterior, left) in (z, y, x) voxels.
    """
    ids = sorted(centres)
    result = {}
    for position, number in enumerate(ids):
        below, above = ids[max(position - 1, 0)], ids[min(position + 1, len(ids) - 1)]
        up = centres[above] - centres[below] if above != below else np.array([1.0, 0.0, 0.0])
        up = up / np.linalg.norm(up)
        back = rear[number] - centres[number]
        back = back - up * (back @ up)
        back = back / np.linalg.norm(back)
        left = np.cross(back, up)
        result[number] = (up, back, left / np.linalg.norm(left))
    return result


def posterior_wall(
    mask: np.ndarray, centre: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray], spacing: float
) -> float:
    """Distance from the body centre back to the posterior wall, mm.

    The wall is where a central column of the vertebra (5 mm to each side, 6 mm up and down) first empties into the
    canal.
    """
    up, back, left = axes
    offset = (np.argwhere(mask) - centre) * spacing
    height, depth, side = offset @ up, offset @ back, offset @ left
    column = depth[(np.abs(side) < 5.0) & (np.abs(height) < 6.0)]
    bins = np.arange(-12.0, 45.0, spacing)
    counts, _ = np.histogram(column, bins)
    full = counts[(bins[:-1] > -6.0) & (bins[:-1] < 4.0)].mean()
    empty = np.flatnonzero((counts < 0.25 * full) & (bins[:-1] > 3.0))
    return float(bins[empty[0]]) if len(empty) else float("nan")


def smooth_walls(walls: dict[int, float], window: int = 7, tolerance: float = 3.0) -> dict[int, float]:
    """Replace walls that stray from the median of their neighbours by that median (mm)."""
    ids = sorted(walls)
    values = np.array([walls[i] for i in ids])
    half = window // 2
    result = {}
    for k, number in enumerate(ids):
        around = values[max(0, k - half) : k + half + 1]
        median = float(np.nanmedian(around)) if np.isfinite(around).any() else 13.0
        value = float(values[k])
        result[number] = value if np.isfinite(value) and abs(value - median) <= tolerance else median
    return result


def closed_disc(upper: np.ndarray, lower: np.ndarray, spacing: float, radius: float = 7.5) -> np.ndarray:
    """Disc between two bodies: their closing by a ball, near both, minus the bodies.

    Parameters
    ----------
    upper, lower : ndarray, bool
        Body masks on the same grid.
    radius : float
        Ball radius, mm.
    """
    both = upper | lower
    dilated = ndimage.distance_transform_edt(~both, sampling=spacing) <= radius
    closed = ndimage.distance_transform_edt(dilated, sampling=spacing) > radius
    near = radius + 2.0
    to_upper = ndimage.distance_transform_edt(~upper, sampling=spacing)
    to_lower = ndimage.distance_transform_edt(~lower, sampling=spacing)
    return closed & ~both & (to_upper < near) & (to_lower < near)
