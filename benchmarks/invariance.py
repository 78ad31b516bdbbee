"""The four invariance tests: the plan follows the patient, whatever way the scan is stored.

Each makes a second volume out of a first, plans both, and compares landmarks, targets and needles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from imaging.geometry import Side, canonical_axes, to_world
from imaging.resample import resample, to_sitk
from imaging.volume import Grid, Volume
from planner.pipeline import plan_study
from planner.plan import Plan

__all__ = [
    "INVARIANCES", "Invariance", "compare", "crop_to_spine", "mirrored", "plan_of", "resampled",
    "rotated_affine", "stored_otherwise",
]

Array = NDArray[np.float64]
PointMap = Callable[[Array], Array]


def _identity(points: Array) -> Array:
    return points


def stored_otherwise(volume: Volume) -> tuple[Volume, PointMap]:
    """The same voxels stored flipped and permuted, with the affine that says so: nothing may move."""
    affine = volume.grid.affine
    array = volume.array.transpose(1, 2, 0)[::-1, :, ::-1]
    old_k, old_j, old_i = volume.grid.shape
    columns = {"i": affine[:3, 0], "j": affine[:3, 1], "k": affine[:3, 2]}
    turned = np.eye(4)
    turned[:3, 0], turned[:3, 1], turned[:3, 2] = -columns["k"], columns["i"], -columns["j"]
    turned[:3, 3] = affine[:3, 3] + columns["k"] * (old_k - 1) + columns["j"] * (old_j - 1)
    grid = Grid((old_j, old_i, old_k), turned)
    return replace(volume, array=np.ascontiguousarray(array), grid=grid), _identity


def _rotation(degrees: float) -> Array:
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.asarray(about_z @ about_x)


def rotated_affine(volume: Volume) -> tuple[Volume, PointMap]:
    """The same voxels under an affine turned by 10 degrees about two axes: everything turns with it."""
    turn = np.eye(4)
    turn[:3, :3] = _rotation(10)
    grid = Grid(volume.grid.shape, turn @ volume.grid.affine)
    return replace(volume, grid=grid), lambda points: points @ turn[:3, :3].T


def mirrored(volume: Volume) -> tuple[Volume, PointMap]:
    """The patient's mirror image: sides swap, positions reflect."""
    axes = canonical_axes(volume.grid)
    array = np.ascontiguousarray(axes.restore(np.flip(axes.apply(volume.array), 2)))
    ends = to_world(axes.grid, [[0, 0, 0], [axes.grid.shape[2] - 1, 0, 0]])
    normal = axes.grid.direction[:, 0]
    middle = float(ends.mean(axis=0) @ normal)
    return replace(volume, array=array), lambda points: points - 2 * ((points @ normal) - middle)[..., None] * normal


def resampled(volume: Volume, degrees: float = 10.0) -> tuple[Volume, PointMap]:
    """The same patient on a lattice turned about two axes: by 10 degrees nothing may move by more than 1.5 voxels."""
    spacing = volume.grid.spacing
    centre = to_world(volume.grid, (np.array(volume.grid.shape[::-1]) - 1) / 2)
    rotation = _rotation(degrees) @ volume.grid.direction
    size = np.array(volume.grid.shape[::-1])
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((size - 1) / 2)
    grid = Grid(volume.grid.shape, affine)
    pad = float(volume.array.min())
    array = resample(volume.array.astype(np.float32), volume.grid, grid, linear=True, fill=pad)
    return replace(volume, array=np.rint(array).astype(np.int16), grid=grid), _identity


@dataclass(frozen=True)
class Invariance:
    """One test: how the second volume is made, whether sides swap, and how far points may move."""

    name: str
    make: Callable[[Volume], tuple[Volume, PointMap]]
    swaps_sides: bool
    limit_mm: Callable[[Volume], float]


def _voxel(volume: Volume) -> float:
    return float(volume.grid.spacing.max())


INVARIANCES = (
    Invariance("stored flipped and permuted", stored_otherwise, False, lambda v: 0.1),
    Invariance("same voxels, affine turned 10 degrees", rotated_affine, False, lambda v: 0.1),
    Invariance("mirrored patient", mirrored, True, _voxel),
    Invariance("resampled on a grid turned 10 degrees", resampled, False, lambda v: 1.5 * _voxel(v)),
)


def crop_to_spine(volume: Volume, points: Array, above_mm: float = 60.0, below_mm: float = 90.0) -> Volume:
    """Cut a volume to the heights of some body centres and the third sacral foramina, the whole cross-section kept."""
    axes = canonical_axes(volume.grid)
    heights = (points - axes.grid.origin) @ axes.grid.direction[:, 2] / axes.grid.spacing[2]
    above, below = above_mm / axes.grid.spacing[2], below_mm / axes.grid.spacing[2]
    low = max(int(heights.min() - below), 0)
    high = min(int(heights.max() + above) + 1, axes.grid.shape[0])
    affine = axes.grid.affine.copy()
    affine[:3, 3] = to_world(axes.grid, [0, 0, low])
    array = np.ascontiguousarray(axes.apply(volume.array)[low:high])
    return replace(volume, array=array, grid=Grid(array.shape, affine))


def plan_of(volume: Volume) -> Plan:
    """Plan a volume the way a user does: from a file, without the report."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scan.nrrd"
        sitk.WriteImage(to_sitk(volume.values().astype(np.int16), volume.grid), str(path), True, 1)
        return plan_study(path, report=False)


def _points(plan: Plan) -> dict[tuple[str, str], Array]:
    out: dict[tuple[str, str], Array] = {}
    for vertebra in plan.spine.vertebrae:
        out[vertebra.name, "body_center"] = vertebra.body_center
        for name, landmark in vertebra.landmarks.items():
            out[vertebra.name, str(name)] = landmark.position
    for proposal in plan.proposals:
        out[proposal.target.nerve_name, f"target_{proposal.target.side.value.lower()}"] = proposal.target.position
    return out


def _swapped(name: str) -> str:
    for side in Side:
        word = side.value.lower()
        if name.endswith(f"_{word}"):
            return name.removesuffix(word) + side.other.value.lower()
    return name


def compare(first: Plan, second: Plan, test: Invariance, move: PointMap) -> dict[tuple[str, str], float]:
    """Distance in mm between each point of the first plan, moved, and its counterpart in the second.

    A point that only one plan has counts as infinitely far.
    """
    a, b = _points(first), _points(second)
    if test.swaps_sides:
        b = {(level, _swapped(name)): xyz for (level, name), xyz in b.items()}
    return {key: float(np.linalg.norm(move(a[key]) - b[key])) if key in a and key in b else float("inf")
            for key in a.keys() | b.keys()}
