"""A study as napari layers. napari's world is (z, y, x) in mm: the patient's superior, posterior and left."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.volume import Grid, Volume
from planner.pictures import BONE_COLOR, NERVE_COLOR, SIDE_COLOR, STRUCTURE_COLOR
from planner.plan import Plan
from planner.views import pose_marks
from segmentation.anatomy import StructureName
from targeting.model import NeedlePose, Target
from viewer.meshes import Mesh, brightness, join, mask_surface, tube
from viewer.slices import hex_rgb

__all__ = ["LayerData", "anatomy_layers", "hounsfield", "image_layer", "needles_layer", "to_napari", "world_affine"]

#: What napari's readers hand over: data, keyword arguments, kind of layer.
LayerData = tuple[Any, dict[str, Any], str]
Array = NDArray[np.float64]
AXES = ("superior", "posterior", "left")
_FINE_MM = 1.4
_COARSE_MM = 2.5
_NERVE_MM = 0.9
#: Toward the light: from behind, above and the left.
_LIGHT = np.array([0.3, 0.8, 0.5])
_TIP_COLOR = "#ffffff"
#: Drawn as finely as the vertebrae.
_NEAR = (StructureName.CANAL, StructureName.FORAMEN_CONTENTS, StructureName.SACRAL_FORAMINA)
_BONES = (StructureName.RIBS, StructureName.ILIAC_BONES)


def to_napari(xyz: Array) -> Array:
    """(..., 3) LPS mm to napari's world, and back: the order of the axes is reversed, nothing is mirrored."""
    return np.ascontiguousarray(np.asarray(xyz, dtype=np.float64)[..., ::-1])


def world_affine(grid: Grid) -> Array:
    """(4, 4) from (z, y, x) array indices to napari's world."""
    affine = np.eye(4)
    affine[:3, :3] = grid.affine[:3, :3][::-1, ::-1]
    affine[:3, 3] = grid.affine[:3, 3][::-1]
    return affine


def hounsfield(volume: Volume) -> NDArray[Any]:
    """(z, y, x) values as a person reads them; int16 where they are whole numbers, else float32."""
    whole = volume.array.dtype.kind in "iu" and volume.slope == 1.0 and float(volume.intercept).is_integer()
    if whole and volume.intercept == 0.0:
        return volume.array
    if whole:
        bounds = np.iinfo(np.int16)
        low, high = int(volume.array.min()) + volume.intercept, int(volume.array.max()) + volume.intercept
        if bounds.min <= low and high <= bounds.max:
            return volume.array.astype(np.int16) + np.int16(volume.intercept)
    return volume.values()


def image_layer(volume: Volume, name: str, window: tuple[float, float], **metadata: Any) -> LayerData:
    """The scan with its full affine, so that an oblique or sagittal stack lies where it was measured."""
    return hounsfield(volume), {
        "name": name, "affine": world_affine(volume.grid), "units": ("mm",) * 3, "axis_labels": AXES,
        "contrast_limits": window, "colormap": "gray", "metadata": metadata}, "image"


def _painted(parts: list[tuple[Mesh, str]], name: str, *, lit: bool = True, **style: Any) -> LayerData:
    """Meshes of several colours as one layer, lit from behind and above: napari's own light is dark with this axis."""
    tints = np.repeat([hex_rgb(color) for _, color in parts], [len(mesh.vertices) for mesh, _ in parts], axis=0) / 255.0
    mesh = join([part for part, _ in parts])
    colors = np.ones((len(tints), 4), np.float32)
    colors[:, :3] = tints * brightness(mesh, _LIGHT)[:, None] if lit else tints
    data = (to_napari(mesh.vertices), mesh.faces)
    return data, {"name": name, "units": ("mm",) * 3, "axis_labels": AXES, "shading": "none",
                  "vertex_colors": colors, **style}, "surface"


def anatomy_layers(plan: Plan) -> list[LayerData]:
    """Structures to avoid, bones and nerve tubes of a plan: one layer each, and none for what there is not."""
    spine = plan.spine
    bones: list[tuple[Mesh, str]] = []
    soft: list[tuple[Mesh, str]] = []
    for name, structure in spine.structures.items():
        if structure.mask is not None:
            mesh = mask_surface(structure.mask, spine.grid, _FINE_MM if name in _NEAR else _COARSE_MM)
            if mesh is not None:
                (bones if name in _BONES else soft).append((mesh, STRUCTURE_COLOR[name]))
    vertebrae = mask_surface(spine.labels > 0, spine.grid, _FINE_MM)
    if vertebrae is not None:
        bones.append((vertebrae, BONE_COLOR))
    nerves = [(tube(course.path, _NERVE_MM), NERVE_COLOR) for course in spine.nerves if len(course.path) > 1]
    layers = []
    if soft:
        layers.append(_painted(soft, "structures", opacity=0.5, blending="translucent"))
    if bones:
        layers.append(_painted(bones, "bones", blending="opaque"))
    if nerves:
        layers.append(_painted(nerves, "nerves (modelled)", blending="opaque"))
    return layers


@lru_cache(maxsize=64)  # of all the needles drawn at each move of a drag only one is another
def _needle_parts(pose: NeedlePose, color: str) -> tuple[tuple[Mesh, str], ...]:
    """Shaft and active tip at their true radius."""
    points, radius = pose_marks(pose), pose.needle.diameter_mm / 2
    shaft = tube(np.stack([points.start, points.knee]), radius), color
    if not pose.needle.active_tip_mm:
        return (shaft,)
    return shaft, (tube(np.stack([points.knee, points.tip]), radius), _TIP_COLOR)


def needles_layer(needles: list[tuple[Target, NeedlePose]]) -> LayerData:
    """Needles, at least one, at their true radius: blue LEFT, orange RIGHT, active tips white."""
    parts = [part for target, pose in needles for part in _needle_parts(pose, SIDE_COLOR[target.side])]
    return _painted(parts, "needles", lit=False, blending="opaque")
