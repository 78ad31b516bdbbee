"""The frame of the sacrum: the plane of the S1 endplate, the mid-sagittal plane, the centre of the S1 body."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import VertebralFrame, canonical_axes, degrees_between, to_index, to_world, unit
from imaging.volume import Grid
from segmentation.constants import constants
from segmentation.frames import BodyMeasures, FrameFit, endplate_points, endplate_scale, fit_plane, wall_distance
from segmentation.shape import BoneField, FrameBlock, bone_field
from segmentation.symmetry import mirror_plane

__all__ = ["sacral_frame"]

Array = NDArray[np.float64]


def _tilted(superior: Array, posterior: Array, degrees: float) -> Array:
    """`superior` leaned forward, away from `posterior`."""
    a = math.radians(degrees)
    return unit(math.cos(a) * superior - math.sin(a) * posterior)


def _thickest_near(field: BoneField, where: Array, radius_mm: float) -> Array:
    """(3,) LPS mm: the deepest place of the bone within a radius, nearer places preferred (the alae are thick too)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in field.grid.shape), indexing="ij"), axis=-1)[..., ::-1]
    away = np.linalg.norm((index - to_index(field.grid, where)) * field.grid.spacing, axis=-1)
    cost = float(constants("landmarks")["sacrum"]["start_cost_per_mm"])
    depth = np.where(away <= radius_mm, -field.distance - cost * away, -np.inf)
    k, j, i = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return to_world(field.grid, np.array([i, j, k], dtype=float))


def _start_below(field: BoneField, above: FrameFit) -> VertebralFrame | None:
    """First guess: below and behind the last lumbar body."""
    c = constants("landmarks")["sacrum"]
    if above.frame is None or above.measures is None:
        return None
    up, behind = above.frame.superior, above.frame.posterior
    drop = 0.5 * above.measures.height + float(c["disc_mm"]) + float(c["body_half_height_mm"])
    where = above.body_center - drop * up + float(c["start_behind_mm"]) * behind
    core = _thickest_near(field, where, float(c["start_radius_mm"]))
    return VertebralFrame.from_axes(core, behind, _tilted(up, behind, float(c["lean_from_lumbar_deg"])))


def _start_alone(field: BoneField, up: Array) -> VertebralFrame | None:
    """First guess from the sacrum's own shape; None when it has no front and back."""
    c = constants("landmarks")["sacrum"]
    k, j, i = np.nonzero(field.distance < 0)
    points = to_world(field.grid, np.column_stack([i, j, k]).astype(float))
    height = points @ up
    upper = points[height >= height.max() - float(c["upper_part_mm"])]
    core = _thickest_near(field, upper.mean(axis=0), float(c["start_radius_mm"]))
    behind = points.mean(axis=0) - core
    behind -= np.dot(behind, up) * up
    if np.linalg.norm(behind) < 1.0:
        return None
    return VertebralFrame.from_axes(core, behind, _tilted(up, unit(behind), float(c["lean_from_world_deg"])))


def _midline(block: FrameBlock, wide: bool) -> tuple[float, float]:
    """Turn (degrees) and lateral shift (mm) of the mid-sagittal plane seen along the superior axis."""
    c = constants("landmarks")["sacrum"]
    low, high = c["symmetry_superior_mm"]
    part = block.window((-60.0, 60.0), (-30.0, 50.0), (float(low), float(high)))
    thick = ndimage.gaussian_filter((part.distance < 0).sum(axis=0).astype(float), 1.0)[::2, ::2]
    lateral, posterior = part.lateral[::2], part.posterior[::2]
    turns, shifts = (np.arange(-15, 15.1, 3), np.arange(-9, 9.1, 1.5)) if wide else (
        np.arange(-4, 4.1, 1), np.arange(-2, 2.1, 0.5))
    turn, shift, _ = mirror_plane(thick, lateral, posterior, turns, shifts)
    return turn, shift


def sacral_frame(mask: NDArray[Any], grid: Grid, above: FrameFit | None = None) -> FrameFit:
    """Fit the frame of the sacrum.

    Parameters
    ----------
    mask : (z, y, x) bool
        Sacrum with S1, any stored axes.
    above : FrameFit, optional
        The vertebra above: gives the start.
    """
    field = bone_field(mask, grid)
    up = np.asarray(canonical_axes(grid).grid.direction[:, 2])
    starts = [None if above is None else _start_below(field, above), _start_alone(field, up)]
    failed = None
    for start in starts:
        if start is None:
            continue
        fit = _refine(field, start, above)
        if fit.frame is not None:
            return fit
        failed = failed or fit
    middle = to_world(field.grid, (np.array(field.grid.shape[::-1]) - 1) / 2.0)
    return failed or FrameFit(field, None, middle, math.inf, None, ("the sacrum's shape gives no front and back",))


def _free_endplate(block: FrameBlock, top: Array, above: FrameFit | None) -> Array:
    """The points of the endplate that the vertebra above does not touch: there the mask bridges the disc.

    All of them where it touches most, in a collapsed disc.
    """
    c = constants("landmarks")["sacrum"]
    if above is None:
        return top
    reach = float(c["contact_voxels"]) * float(above.field.grid.spacing.max())
    free = above.field.sample(block.frame.from_local(top)) >= reach
    return top[free] if free.mean() > float(c["free_min_share"]) else top


def _leans_too_far(frame: VertebralFrame, above: FrameFit | None) -> list[str]:
    """A reason where the S1 endplate leans further from that of the vertebra above than discs are wedged."""
    if above is None or above.frame is None:
        return []
    lean = float(degrees_between(frame.superior, above.frame.superior))
    if lean <= float(constants("landmarks")["sacrum"]["lean_doubt_deg"]):
        return []
    return [f"S1 endplate leans {lean:.0f} degrees from that of the vertebra above"]


def _refine(field: BoneField, frame: VertebralFrame, above: FrameFit | None) -> FrameFit:
    """Alternate between measuring the S1 body in the frame and setting the frame by it."""
    c = constants("landmarks")["sacrum"]
    half = np.array(c["endplate_half_mm"], dtype=float)
    sink = float(c["body_half_height_mm"])
    residual, share, front, back = math.inf, 0.0, math.nan, math.nan
    for turn in range(int(c["rounds"])):
        block = field.block(frame, (-62.0, -32.0, -42.0), (62.0, 52.0, 32.0), 1.0)
        top, share = endplate_points(block, 1, float(half[0]), float(half[1]))
        if share < float(c["endplate_min_hit_share"]):
            return FrameFit(field, None, frame.origin, math.inf, None, ("no whole S1 endplate in the mask",))
        top = _free_endplate(block, top, above)
        normal, coefficients, residual = fit_plane(top, endplate_scale(field), float(c["endplate_tighten"]))
        front, back = -wall_distance(block, 1, -1), wall_distance(block, 1, 1)
        middle_y = 0.0 if math.isnan(front) or math.isnan(back) else 0.5 * (front + back)
        turned, shift = _midline(block, wide=turn < 2)
        level = float(coefficients @ (shift, middle_y, 1.0))
        if turn + 1 < int(c["rounds"]):
            a = math.radians(turned)
            posterior = frame.from_local((math.sin(a), math.cos(a), 0.0)) - frame.origin
            surface = frame.from_local((shift, middle_y, level))
            superior = normal @ frame.matrix
            frame = VertebralFrame.from_axes(surface - sink * superior, posterior, superior)
    return _finish(field, frame, top, front, back, residual, share, _leans_too_far(frame, above))


def _finish(field: BoneField, frame: VertebralFrame, top: Array, front: float, back: float, residual: float,
            share: float, reasons: list[str]) -> FrameFit:
    c = constants("landmarks")["sacrum"]
    if math.isnan(front) or math.isnan(back):
        return FrameFit(field, None, frame.origin, math.inf, None, ("the S1 body is not whole in the mask",))
    if not field.in_view(frame.from_local(top), 0.3 * float(field.grid.spacing.max())).all():
        return FrameFit(field, None, frame.origin, math.inf, None, ("the S1 endplate is cut by the edge of the scan",))
    if residual > float(constants("landmarks")["frame"]["endplate_max_rms_mm"]):
        reasons.append(f"S1 endplate {residual:.1f} mm RMS from flat")
    if share < float(c["endplate_whole_share"]):
        reasons.append(f"only {share:.0%} of the S1 endplate's centre in the mask")
    center = frame.from_local((0.0, 0.5 * (front + back), 0.0))
    size = BodyMeasures(math.nan, back - front, 2 * float(c["body_half_height_mm"]), 0.0)
    final = VertebralFrame(frame.from_local((0.0, back, 0.0)), frame.left, frame.posterior, frame.superior)
    return FrameFit(field, final, center, residual, size, tuple(reasons))
