"""The fields that needles are walked through: distance less margin, distance to bone, body state.

They cover the part of the scan that holds every admissible path and a border wide enough for every margin, on the
input's own lattice, thinned to about 1 mm where it is finer. Values are distances to the faces of the written masks'
voxels, interpolated linearly; finalists are confirmed without them (`targeting.clearance`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import canonical_axes, to_index, to_world
from imaging.resample import crop_grid
from imaging.volume import Grid, Volume
from segmentation.anatomy import StructureName
from segmentation.spine import Spine
from targeting.angles import direction_grid
from targeting.clearance import Boxes, boxes_of
from targeting.distance import near_distance, signed_distance
from targeting.kernels import INSIDE, OPEN, find_exit, floor_of_cells
from targeting.model import Target
from targeting.procedures import Procedure
from targeting.procedures.schema import UnlabelledBone

__all__ = ["PathFields", "body_state", "build_fields", "crossed_by", "path_hull"]

_log = logging.getLogger(__name__)
Array = NDArray[np.float64]
#: Distances beyond this are not told apart, mm; also the border around the paths.
FIELD_CAP_MM = 24.0
_DEPTH_CAP_MM = 6.0
_FINEST_MM = 0.65
_HULL_STEP_DEG = 5.0
_THREADS = min(os.cpu_count() or 1, 4)


@dataclass(frozen=True, eq=False)
class NearField:
    """Signed distance to one structure, cut out of the lattice where it is less than `FIELD_CAP_MM`.

    Attributes
    ----------
    distance : (z, y, x) float32, mm
    cut : (z, y, x) slices
    """

    distance: NDArray[np.float32]
    cut: tuple[slice, slice, slice]

    @property
    def low(self) -> Array:
        """(3,) i, j, k on the lattice of the first value here."""
        return np.array([float(c.start) for c in self.cut[::-1]])


@dataclass(frozen=True, eq=False)
class PathFields:
    """Fields on one lattice.

    Attributes
    ----------
    grid : Grid
        Lattice of every array here; a thinned part of the input's.
    combined : (z, y, x) float32, mm
        Distance less margin, smallest over the structures; what a needle's radius is compared with.
    owner : (z, y, x) uint8
        Index into `structures` of the one that sets `combined`.
    structures : tuple of StructureName
        Those that have a mask and a margin.
    bones : (z, y, x) float32, mm
        Signed distance to every labelled vertebra and the sacrum but those that may be crossed, and to bone that only
        the CT shows.
    foramen : (z, y, x) float32, mm
        Signed distance to the contents of the foramina.
    near : mapping
        Signed distance to each of `structures` that has a voxel here.
    unlabelled : Boxes
        Bone that only the CT shows.
    state : (z, y, x) uint8
        AIR, INSIDE or OPEN (not measured).
    labels : (z, y, x)
        Vertebra labels.
    crossed : frozenset of int
        Labels of the bones that a needle may enter.
    density : (z, y, x) float32, HU, or None
        The CT itself; None without one.
    """

    grid: Grid
    combined: NDArray[np.float32]
    owner: NDArray[np.uint8]
    structures: tuple[StructureName, ...]
    bones: NDArray[np.float32]
    foramen: NDArray[np.float32]
    near: Mapping[StructureName, NearField]
    unlabelled: Boxes
    state: NDArray[np.uint8]
    labels: NDArray[Any]
    crossed: frozenset[int] = frozenset()
    density: NDArray[np.float32] | None = None

    @cached_property
    def merged(self) -> NDArray[np.float32]:
        """(z, y, x) float32, mm: the lesser of `combined` and `bones`."""
        return np.minimum(self.combined, self.bones)

    @cached_property
    def cells(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """The floors of the cells of `merged`, `combined` and `bones` (`targeting.kernels.floor_of_cells`)."""
        return floor_of_cells(self.merged), floor_of_cells(self.combined), floor_of_cells(self.bones)

    def ready(self) -> PathFields:
        """These fields with what is made of them on first use, so that threads may share them."""
        _ = self.cells
        return self

    @property
    def inverse(self) -> Array:
        """(3, 3) mm to voxel indices."""
        return np.ascontiguousarray(np.linalg.inv(self.grid.affine[:3, :3]))

    @property
    def origin(self) -> Array:
        """(3,) LPS mm of voxel 0, 0, 0."""
        return np.ascontiguousarray(self.grid.origin)

    def owner_at(self, point: Array) -> StructureName | None:
        """The structure whose margin is tightest at a point; None when all are beyond the fields' cap."""
        i, j, k = np.clip(np.rint(to_index(self.grid, point)), 0, np.array(self.grid.shape[::-1]) - 1).astype(int)
        index = int(self.owner[k, j, i])
        return self.structures[index] if index < len(self.structures) else None

    def label_at(self, point: Array) -> int:
        """Label of the labelled voxel nearest to a point, 0 when none lies within 3 mm and half a voxel."""
        reach_mm = 3.0 + 0.5 * float(np.linalg.norm(self.grid.spacing))
        grid, cut = crop_grid(self.grid, np.atleast_2d(point), reach_mm)
        part = self.labels[cut]
        k, j, i = np.nonzero(part)
        if not len(k):
            return 0
        gap = np.linalg.norm(to_world(grid, np.stack([i, j, k], axis=1)) - point, axis=1)
        nearest = int(np.argmin(gap))
        return int(part[k[nearest], j[nearest], i[nearest]]) if gap[nearest] <= reach_mm else 0


def body_state(spine: Spine) -> NDArray[np.uint8]:
    """(z, y, x) AIR, INSIDE or OPEN from the body mask and the part of the scan that was measured.

    Without a body mask nothing is known to be air: paths run to the end of the scan.
    """
    state = np.ones(spine.grid.shape, np.uint8) if spine.body is None else spine.body.astype(np.uint8)
    if spine.reconstructed is not None:
        state[~spine.reconstructed & ((state != INSIDE) | (spine.body is None))] = OPEN
    return state


def path_hull(spine: Spine, targets: Sequence[Target], procedure: Procedure, state: NDArray[np.uint8]) -> Array:
    """(n, 3) LPS mm: the targets and where straight paths at every angle of their bands leave the body or the scan."""
    inverse = np.asarray(np.linalg.inv(spine.grid.affine[:3, :3]), dtype=np.float64)
    origin = np.array(spine.grid.origin)
    longest = max(needle.shaft_mm for needle in procedure.stock)
    points = [np.array([t.position for t in targets])]
    for target in targets:
        directions = direction_grid(target, procedure, _HULL_STEP_DEG).directions
        tips = np.broadcast_to(target.position, directions.shape).copy()
        s, _ = find_exit(state, inverse, origin, tips, directions, longest)
        points.append(tips - s[:, None] * directions)
    return np.concatenate(points)


def crossed_by(target: Target, procedure: Procedure) -> frozenset[int]:
    """Labels of the bones that a needle for a target may enter."""
    return frozenset([target.carrier.label] if "carrier" in procedure.may_cross else [])


def _thinning(grid: Grid) -> tuple[int, int, int]:
    """Stride along (z, y, x) that brings a fine lattice near 1 mm."""
    stride = np.maximum(np.floor(2 * _FINEST_MM / grid.spacing[::-1]), 1).astype(int)
    return int(stride[0]), int(stride[1]), int(stride[2])


def _measure(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32] | None:
    """Signed distance to a mask; None when it is empty here."""
    return signed_distance(mask, grid.spacing, FIELD_CAP_MM, _DEPTH_CAP_MM) if mask.any() else None


def _measure_near(mask: NDArray[np.bool_], grid: Grid) -> NearField | None:
    """Signed distance about a mask; None when it is empty here."""
    return NearField(*near_distance(mask, grid.spacing, FIELD_CAP_MM, _DEPTH_CAP_MM)) if mask.any() else None


def _combine(near: Mapping[StructureName, NearField], names: Sequence[StructureName], shape: tuple[int, int, int],
             procedure: Procedure) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """`PathFields.combined` and `PathFields.owner`."""
    margins = {name: np.float32(procedure.margins[name].value) for name in near}
    # beyond the cap nothing is known but that every structure is at least so far away
    combined = np.full(shape, FIELD_CAP_MM - max(margins.values(), default=0.0), np.float32)
    owner = np.full(shape, 255, np.uint8)
    for name, field in near.items():
        slack, least, mine = field.distance - margins[name], combined[field.cut], owner[field.cut]
        closer = slack < least
        least[closer], mine[closer] = slack[closer], names.index(name)
    return combined, owner


def _unlabelled_bone(values: NDArray[np.float32], bones: NDArray[np.float32], state: NDArray[np.uint8],
                     rule: UnlabelledBone, voxel_mm3: float) -> NDArray[np.bool_]:
    """Dense matter inside the body that no label holds: iliac bones and ribs of an engine that only knows vertebrae."""
    dense = (values > rule.density.value) & (bones > rule.gap.value) & (state == INSIDE)
    parts, _ = ndimage.label(dense)
    large = np.bincount(parts.ravel()) * voxel_mm3 >= rule.volume.value
    large[0] = False
    return np.asarray(large[parts])


def build_fields(spine: Spine, targets: Sequence[Target], procedure: Procedure,
                 volume: Volume | None = None, also: Array | None = None) -> PathFields:
    """Crop, thin and measure: one field per structure in reach, merged into distance less margin.

    Besides every admissible path the fields cover the points of `also`, (n, 3) LPS mm. Structures without a mask are
    left out here; `targeting.blocked` says what that forbids. With the CT at hand, dense matter that no label holds
    counts as bone too. Targets must agree on the bones their needles may enter (`crossed_by`).
    """
    crossed = crossed_by(targets[0], procedure)
    if any(crossed_by(target, procedure) != crossed for target in targets):
        raise ValueError(f"{procedure.name}: these targets may not share fields, each may enter its own carrier")
    state = body_state(spine)
    # turned to the nearest anatomical axes first, so that the order in which a scan is stored changes nothing
    axes = canonical_axes(spine.grid)
    hull = path_hull(spine, targets, procedure, state)
    hull = hull if also is None else np.concatenate([hull, also])
    cropped, cut = crop_grid(axes.grid, hull, FIELD_CAP_MM)
    stride = _thinning(cropped)
    affine = cropped.affine.copy()
    affine[:3, :3] *= stride[::-1]
    thin = tuple(slice(c.start, c.stop, n) for c, n in zip(cut, stride, strict=True))
    labels = np.ascontiguousarray(axes.apply(spine.labels)[thin])
    grid = Grid(labels.shape, affine)
    masks = {name: spine.structures[name].mask for name in procedure.margins if name in spine.structures}
    known = {name: axes.apply(mask)[thin] for name, mask in masks.items() if mask is not None}
    names = tuple(known)
    with ThreadPoolExecutor(_THREADS) as pool:
        later = pool.submit(_measure, labels > 0, grid)
        passed = pool.submit(_measure, (labels > 0) & ~np.isin(labels, list(crossed)), grid) if crossed else later
        measured_near = zip(names, pool.map(lambda part: _measure_near(part, grid), known.values()), strict=True)
        near = {name: field for name, field in measured_near if field is not None}
        everything, measured = later.result(), passed.result()
    combined, owner = _combine(near, names, grid.shape, procedure)
    nothing = np.full(grid.shape, FIELD_CAP_MM, np.float32)
    foramen = nothing.copy()
    if StructureName.FORAMEN_CONTENTS in near:
        contents = near[StructureName.FORAMEN_CONTENTS]
        foramen[contents.cut] = contents.distance
    bones = nothing.copy() if measured is None else measured
    state = np.ascontiguousarray(axes.apply(state)[thin])
    other, density = np.zeros(grid.shape, np.bool_), None
    if volume is not None and volume.modality == "CT":
        density = np.ascontiguousarray(axes.apply(volume.array)[thin] * np.float32(volume.slope)
                                       + np.float32(volume.intercept))
        known_bone = nothing if everything is None else everything
        other = _unlabelled_bone(density, known_bone, state, procedure.unlabelled_bone, float(np.prod(grid.spacing)))
        if other.any():
            np.minimum(bones, signed_distance(other, grid.spacing, FIELD_CAP_MM, _DEPTH_CAP_MM), out=bones)
    _log.info("fields on %s voxels of %s mm", grid.shape, np.round(grid.spacing, 2).tolist())
    return PathFields(grid, combined, owner, names, bones, foramen, near, boxes_of(other, grid), state, labels,
                      crossed, density)
