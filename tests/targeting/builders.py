"""Spines for the tests: the phantom's exact anatomy as a `Spine`, and ways to mirror, turn and obstruct it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, VertebralFrame, to_world, unit
from imaging.volume import Grid, Volume
from sample_data.phantom import Phantom, PhantomSpec, build_phantom
from segmentation.anatomy import VERSE_LABEL, LandmarkName, Level, Nerve, StructureName, carrier_of
from segmentation.spine import (
    Landmark,
    NerveCourse,
    Numbering,
    NumberingStatus,
    NumberingTier,
    Spine,
    Structure,
    StructureOrigin,
    Vertebra,
)

Array = NDArray[np.float64]
_NAMES = {"aorta": StructureName.AORTA, "vena_cava": StructureName.VENA_CAVA, "kidneys": StructureName.KIDNEYS,
          "bowel": StructureName.BOWEL_GAS, "lungs": StructureName.LUNGS, "hips": StructureName.ILIAC_BONES,
          "ribs": StructureName.RIBS, "canal": StructureName.CANAL}


def tube(grid: Grid, a: Array, b: Array, radius_mm: float) -> NDArray[np.bool_]:
    """(z, y, x) mask of a round rod with ball ends."""
    k, j, i = np.indices(grid.shape, dtype=np.float32)
    points = to_world(grid, np.stack([i, j, k], axis=-1))
    along = np.clip((points - a) @ (b - a) / float((b - a) @ (b - a)), 0, 1)
    return np.asarray(np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1) <= radius_mm)


def _foramina(phantom: Phantom, grid: Grid) -> NDArray[np.bool_]:
    """Exiting nerves: rods under each pedicle, from beside the canal outward, down and forward."""
    out = np.zeros(grid.shape, np.bool_)
    for level in phantom.frames:
        if level in ("T11", "S1"):
            continue
        frame = VertebralFrame(*phantom.frames[level])
        for side in Side:
            pedicle = frame.to_side(phantom.landmarks[level][f"pedicle_center_{side.value.lower()}"], side)
            start, end = frame.from_side(np.add(pedicle, [(-5, 0, -11), (10, -6, -17)]), side)
            low = np.floor(np.min(np.linalg.solve(grid.affine[:3, :3], (np.stack([start, end])
                           - grid.origin).T).T - 8, axis=0)).astype(int)
            low = np.clip(low, 0, np.array(grid.shape[::-1]) - 1)
            high = np.minimum(low + 45, np.array(grid.shape[::-1]))
            affine = grid.affine.copy()
            affine[:3, 3] = to_world(grid, low)
            part = Grid(tuple((high - low)[::-1]), affine)
            out[low[2]:high[2], low[1]:high[1], low[0]:high[0]] |= tube(part, start, end, 3.0)
    return out


def _course(phantom: Phantom, nerve: Nerve, side: Side) -> NerveCourse | None:
    level = carrier_of(nerve).value
    path = phantom.nerves.get((nerve.value, side.value))
    if path is None:
        return None
    mark = side.value.lower()
    junction = phantom.landmarks[level][f"sap_tp_junction_{mark}"]
    notch = phantom.landmarks[level].get(f"mamillo_accessory_notch_{mark}")
    dorsal = path[-4] if notch is None else notch
    ventral = junction + (junction - dorsal) * 0.6
    return NerveCourse(nerve, level, side, path, np.full(len(path), 1.5), np.stack([ventral, dorsal]))


def spine_of(phantom: Phantom) -> Spine:
    """The phantom's truth as a `Spine`."""
    grid = Grid(phantom.labels.shape, phantom.affine)
    vertebrae = []
    for level, centre in phantom.body_centers.items():
        label = VERSE_LABEL[Level(level)]
        if not (phantom.labels == label).any():
            continue
        marks = {LandmarkName(n): Landmark(p, np.eye(3)) for n, p in phantom.landmarks.get(level, {}).items()}
        vertebrae.append(Vertebra(level, label, 0.95, centre, VertebralFrame(*phantom.frames[level]), marks))
    structures = {name: Structure(name, phantom.structures[key], StructureOrigin.COMPUTED)
                  for key, name in _NAMES.items()}
    structures[StructureName.FORAMEN_CONTENTS] = Structure(
        StructureName.FORAMEN_CONTENTS, _foramina(phantom, grid), StructureOrigin.MODELLED)
    structures[StructureName.METAL] = Structure(StructureName.METAL, np.zeros(grid.shape, np.bool_),
                                                StructureOrigin.COMPUTED)
    courses = [_course(phantom, n, s) for n in Nerve for s in Side]
    return Spine(grid, phantom.labels, Numbering(NumberingTier.A, NumberingStatus.NAMED), tuple(vertebrae),
                 tuple(c for c in courses if c is not None), structures, phantom.structures["body"],
                 np.ones(grid.shape, np.bool_))


@cache
def phantom() -> Phantom:
    """L2 to L5 of the phantom, skin in view: carriers of the L1 to L4 medial branches."""
    return build_phantom(PhantomSpec(spacing_mm=(1.5, 1.0, 1.0), levels_in_view=("L2", "L5")))


@cache
def lumbar_spine() -> Spine:
    """The phantom's truth; shared, so never changed in place."""
    return spine_of(phantom())


@cache
def sacral_spine() -> Spine:
    """The truth of the phantom's L4 to sacrum: carriers of the L4 medial branch and the L5 dorsal ramus."""
    return spine_of(build_phantom(PhantomSpec(spacing_mm=(1.5, 1.0, 1.0), levels_in_view=("L4", "S1"))))


def lumbar_volume() -> Volume:
    """The phantom's CT."""
    return Volume(phantom().hu, lumbar_spine().grid)


def with_structure(spine: Spine, name: StructureName, mask: NDArray[np.bool_] | None) -> Spine:
    """The same spine with one structure replaced (None: not computed)."""
    structure = (Structure(name, None, StructureOrigin.NOT_COMPUTED, "left out by the test") if mask is None
                 else Structure(name, mask, StructureOrigin.COMPUTED))
    structures: Mapping[StructureName, Structure] = {**spine.structures, name: structure}
    return replace(spine, structures=structures)


def moved(spine: Spine, rotation: Array, shift: Array) -> Spine:
    """The same voxels and anatomy in another place: every world point p becomes ``rotation @ p + shift``."""
    def point(p: Array) -> Array:
        return np.asarray(p @ rotation.T + shift)

    affine = np.eye(4)
    affine[:3, :3] = rotation @ spine.grid.affine[:3, :3]
    affine[:3, 3] = point(spine.grid.origin)
    vertebrae = []
    for v in spine.vertebrae:
        marks = {n: Landmark(point(m.position), rotation @ m.covariance @ rotation.T) for n, m in v.landmarks.items()}
        assert v.frame is not None
        f = v.frame
        frame = VertebralFrame(point(f.origin), rotation @ f.left, rotation @ f.posterior, rotation @ f.superior)
        vertebrae.append(replace(v, body_center=point(v.body_center), frame=frame, landmarks=marks))
    nerves = tuple(replace(c, path=point(c.path), neck=point(c.neck)) for c in spine.nerves)
    return replace(spine, grid=Grid(spine.grid.shape, affine), vertebrae=tuple(vertebrae), nerves=nerves)


def mirrored(spine: Spine) -> Spine:
    """The patient's mirror image: x becomes -x, left becomes right."""
    flip = np.diag([-1.0, 1.0, 1.0])

    def swap(name: LandmarkName) -> LandmarkName:
        text = name.value
        other = text.replace("_left", "_RIGHT").replace("_right", "_left").replace("_RIGHT", "_right")
        return LandmarkName(other)

    affine = spine.grid.affine.copy()
    affine[0] *= -1.0
    vertebrae = []
    for v in spine.vertebrae:
        assert v.frame is not None
        frame = VertebralFrame.from_axes(flip @ v.frame.origin, flip @ v.frame.posterior, flip @ v.frame.superior)
        marks = {swap(n): Landmark(flip @ m.position, flip @ m.covariance @ flip) for n, m in v.landmarks.items()}
        vertebrae.append(replace(v, body_center=flip @ v.body_center, frame=frame, landmarks=marks))
    nerves = tuple(replace(c, side=c.side.other, path=c.path @ flip, neck=c.neck @ flip) for c in spine.nerves)
    return replace(spine, grid=Grid(spine.grid.shape, affine), vertebrae=tuple(vertebrae), nerves=nerves)


def rotation_about(axis: Array, angle_deg: float) -> Array:
    """(3, 3) rotation matrix."""
    x, y, z = unit(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.radians(angle_deg)
    return np.asarray(np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * cross @ cross)
