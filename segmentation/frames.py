"""The vertebral frame and the body centre, from the shape of one bone (clinical specification 0.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging.geometry import VertebralFrame, canonical_axes, to_world, unit
from imaging.volume import Grid
from segmentation.constants import constants
from segmentation.shape import BoneField, FrameBlock, bone_field, crossing
from segmentation.symmetry import mirror_plane

__all__ = ["BodyMeasures", "FrameFit", "arch_hole", "endplate_points", "endplate_scale", "fit_plane", "vertebral_frame",
           "wall_distance"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BodyMeasures:
    """Size of the vertebral body along its frame, mm.

    Attributes
    ----------
    width, depth, height : float
        Left to right, front to back and endplate to endplate through the middle.
    pedicle_height : float
        Mean height of the pedicles above the frame's origin along `superior`.
    """

    width: float
    depth: float
    height: float
    pedicle_height: float


@dataclass(frozen=True, eq=False)
class FrameFit:
    """What could be told about one bone.

    Attributes
    ----------
    frame : VertebralFrame or None
        None when the body is not whole enough; `reasons` says why.
    body_center : (3,) LPS mm
        Centre of the body (sacrum: of the S1 body); the best guess when there is no frame.
    residual_mm : float
        Root mean square of the superior endplate about its plane; infinite without a frame.
    """

    field: BoneField
    frame: VertebralFrame | None
    body_center: Array
    residual_mm: float
    measures: BodyMeasures | None
    reasons: tuple[str, ...] = ()


def fit_plane(points: Array, scale_mm: float, tighten: float = 1.0, rounds: int = 12) -> tuple[Array, Array, float]:
    """Robust least-squares height plane z = a x + b y + c.

    Parameters
    ----------
    points : (n, 3) mm
        Along (left, posterior, superior).
    scale_mm : float
        Residual beyond which a point's weight falls (Cauchy weights).
    tighten : float
        Share of `scale_mm` that is left in the last round.

    Returns
    -------
    normal : (3,) unit, superior component positive
    coefficients : (3,)
    rms : float
        Weighted root mean square residual, mm.
    """
    design = np.column_stack([points[:, 0], points[:, 1], np.ones(len(points))])
    weights = np.ones(len(points))
    for scale in np.geomspace(scale_mm, tighten * scale_mm, rounds):
        root = np.sqrt(weights)
        coefficients = np.linalg.lstsq(design * root[:, None], points[:, 2] * root, rcond=None)[0]
        residual = points[:, 2] - design @ coefficients
        weights = 1.0 / (1.0 + (residual / scale) ** 2)
    rms = float(np.sqrt(np.average(residual**2, weights=weights)))
    return unit((-coefficients[0], -coefficients[1], 1.0)), coefficients, rms


@dataclass(frozen=True, eq=False)
class _Walls:
    """Half-way measures of the body seen from its centre, local mm; NaN where a wall was not met."""

    left: float
    right: float
    front: float
    back: float
    top: Array
    bottom: Array
    top_height: float
    bottom_height: float


def endplate_scale(field: BoneField) -> float:
    """Residual at which an endplate's point loses half its weight, mm: beyond the voxels' own terraces."""
    return float(constants("landmarks")["frame"]["endplate_scale_voxels"]) * float(field.grid.spacing.max())


@dataclass(frozen=True, eq=False)
class _Round:
    """What one look along a frame says: local mm, `half` the body's half width and depth, `canal` (left, posterior)."""

    walls: _Walls
    normal: Array
    residual: float
    shift: Array
    half: Array
    pedicle_height: float
    canal: Array | None


def wall_distance(block: FrameBlock, axis: int, sign: int, half: tuple[float, float, float] | None = None) -> float:
    """Median distance from the origin to the first surface along a frame axis, over a bundle of parallel rays.

    Parameters
    ----------
    axis, sign : int
        0 left, 1 posterior, 2 superior; +1 or -1.
    half : (3,) mm, optional
        Half widths of the bundle; the configured square bundle when left out.

    Returns
    -------
    float
        mm, NaN when too few rays meet a surface.
    """
    thin = float(constants("landmarks")["frame"]["ray_bundle_half_mm"])
    lateral, posterior, superior = (thin, thin, thin) if half is None else half
    reach = 60.0
    bounds = [(-lateral, lateral), (-posterior, posterior), (-superior, superior)]
    bounds[axis] = (0.0, reach) if sign > 0 else (-reach, 0.0)
    part = block.window(bounds[0], bounds[1], bounds[2])
    coordinates = (part.lateral, part.posterior, part.superior)[axis]
    values = part.distance if sign > 0 else np.flip(part.distance, 2 - axis)
    hit, found = crossing(values, np.abs(coordinates if sign > 0 else coordinates[::-1]), 2 - axis)
    return float(np.median(hit[found])) if found.sum() >= 0.4 * found.size else math.nan


def endplate_points(block: FrameBlock, sign: int, half_width: float, half_depth: float) -> tuple[Array, float]:
    """(n, 3) local surface points of one endplate over the body's central part, and the share of columns that hit."""
    part = block.window((-half_width, half_width), (-half_depth, half_depth), (0.0, 60.0) if sign > 0 else (-60.0, 0.0))
    x, y = np.meshgrid(part.lateral, part.posterior)
    inside = (x / half_width) ** 2 + (y / half_depth) ** 2 <= 1.0
    heights = part.superior if sign > 0 else -part.superior[::-1]
    values = part.distance if sign > 0 else part.distance[::-1]
    hit, found = crossing(values, heights, 0)
    use = inside & found
    points = np.column_stack([x[use], y[use], sign * hit[use]])
    return points, float(use.sum() / max(inside.sum(), 1))


def _walls(block: FrameBlock, half: Array) -> _Walls:
    c = constants("landmarks")["frame"]
    thin = float(c["ray_bundle_half_mm"])
    left, right = (wall_distance(block, 0, s, (0, 0.35 * half[1], thin)) for s in (1, -1))
    back = wall_distance(block, 1, 1)
    front = wall_distance(block, 1, -1)
    share = float(c["endplate_central_share"])
    top, top_share = endplate_points(block, 1, share * half[0], share * half[1])
    bottom, bottom_share = endplate_points(block, -1, share * half[0], share * half[1])
    need = float(c["endplate_min_hit_share"])
    return _Walls(left, -right, -front, back, top, bottom,
                  float(np.median(top[:, 2])) if top_share >= need else math.nan,
                  float(np.median(bottom[:, 2])) if bottom_share >= need else math.nan)


def _middle(low: float, high: float) -> float:
    return 0.0 if math.isnan(low) or math.isnan(high) else 0.5 * (low + high)


def _core(field: BoneField) -> Array:
    """(3,) LPS mm: middle of the thickest part of the bone."""
    depth = -field.distance
    near = depth >= 0.85 * depth.max()
    groups, count = ndimage.label(near)
    if count > 1:
        near = groups == 1 + int(np.argmax(ndimage.sum_labels(near, groups, np.arange(1, count + 1))))
    k, j, i = np.nonzero(near)
    return to_world(field.grid, np.array([i.mean(), j.mean(), k.mean()]))


def _centroid(field: BoneField) -> Array:
    k, j, i = np.nonzero(field.distance < 0)
    return to_world(field.grid, np.array([i.mean(), j.mean(), k.mean()]))


def _pedicle_height(block: FrameBlock, wall: float) -> float:
    """Middle height of the bone bridges just behind the posterior wall, local mm; NaN when there is none."""
    c = constants("landmarks")["frame"]
    y0, y1 = (wall + float(v) for v in c["pedicle_slab_behind_wall_mm"])
    x0, x1 = (float(v) for v in c["pedicle_lateral_mm"])
    heights = []
    for low, high in ((x0, x1), (-x1, -x0)):
        part = block.window((low, high), (y0, y1), (-25.0, 25.0))
        weight = (part.distance < 0).sum(axis=(1, 2)).astype(float)
        if weight.sum() * block.step**3 >= float(c["pedicle_min_volume_mm3"]):
            heights.append(float(np.average(part.superior, weights=weight)))
    return float(np.mean(heights)) if heights else math.nan


def arch_hole(block: FrameBlock, wall: float, height: float) -> Array | None:
    """The canal as the hole of the arch seen along the superior axis.

    A gap in the arch (defect, coarse mask) is bridged by closing with growing radius until a hole of a canal's size is
    left behind the posterior wall.

    Parameters
    ----------
    wall, height : float
        Posterior wall (posterior mm) and middle height of the pedicles (superior mm) in the block.

    Returns
    -------
    (n, 2) mm or None
        Places (left, posterior) in the hole, one per square lattice step; None when there is none.
    """
    c = constants("landmarks")["frame"]
    low, high = (float(v) for v in c["canal_band_about_pedicle_mm"])
    part = block.window((-32.0, 32.0), (-32.0, 44.0), (height + low, height + high))
    pad = int(np.ceil(max(c["canal_bridge_radii_mm"]) / part.step)) + 1
    seen = np.pad((part.distance < 0).any(axis=0), pad)
    for radius in c["canal_bridge_radii_mm"]:
        closed = seen
        if radius > 0:
            grown = ndimage.distance_transform_edt(~seen) <= radius / part.step
            closed = seen | (ndimage.distance_transform_edt(grown) > radius / part.step)
        holes, count = ndimage.label(ndimage.binary_fill_holes(closed) & ~closed)
        best: Array | None = None
        for n in range(1, count + 1):
            j, i = np.nonzero(holes == n)
            places = np.column_stack([i - pad, j - pad]) * part.step + (part.lateral[0], part.posterior[0])
            big = len(i) * part.step**2 >= float(c["canal_min_area_mm2"])
            if big and 0 < places[:, 1].mean() - wall < 20.0 and (best is None or len(places) > len(best)):
                best = places
        if best is not None:
            return best
    return None


def vertebral_frame(mask: NDArray[Any], grid: Grid, up: ArrayLike | None = None) -> FrameFit:
    """Fit the frame of a presacral vertebra.

    Parameters
    ----------
    mask : (z, y, x) bool
        One vertebra, any stored axes; a crop is fine where the bone does not touch the crop's faces.
    grid : Grid
        The mask's lattice.
    up : (3,) LPS, optional
        Rough cranial direction, such as from the next vertebra below to the next above; the lattice's own most
        superior axis when left out.

    Returns
    -------
    FrameFit
    """
    field = bone_field(mask, grid)
    core = _core(field)
    rough_up = unit(canonical_axes(grid).grid.direction[:, 2] if up is None else up)
    behind = _centroid(field) - core
    behind -= np.dot(behind, rough_up) * rough_up
    if np.linalg.norm(behind) < 1.0:
        return FrameFit(field, None, core, math.inf, None, ("the neural arch is not in the mask",))
    frame = VertebralFrame.from_axes(core, behind, rough_up)
    return _refine(field, frame)


def _mirror_turn(field: BoneField, frame: VertebralFrame) -> tuple[float, float]:
    """Turn (degrees, posterior toward left) that makes the bone most like its mirror image, and the likeness."""
    c = constants("landmarks")["frame"]
    low, high = c["symmetry_superior_mm"]
    block = field.block(frame, (-60.0, -40.0, float(low)), (60.0, 70.0, float(high)), 2.0)
    solid = np.clip(0.5 - block.distance / block.step, 0.0, 1.0)
    thick = ndimage.gaussian_filter(solid.sum(axis=0, dtype=float), 0.5)
    lateral, posterior = block.lateral, block.posterior
    most = float(c["symmetry_turn_deg"])
    turn, shift, _ = mirror_plane(thick, lateral, posterior, np.arange(-most, most + 0.1, 2.0), np.arange(-6, 6.1, 1.0))
    turn, _, likeness = mirror_plane(thick, lateral, posterior, turn + np.arange(-1.5, 1.6, 0.5),
                                     shift + np.arange(-1.0, 1.1, 0.5))
    return turn, likeness


def _believed_turn(field: BoneField, frame: VertebralFrame) -> float | None:
    """Turn to the bone's mirror plane, degrees; None where the bone is too unlike its mirror image to tell."""
    c = constants("landmarks")["frame"]
    turn, likeness = _mirror_turn(field, frame)
    believed = likeness >= float(c["symmetry_min_likeness"]) and abs(turn) <= float(c["symmetry_believed_deg"])
    return turn if believed else None


def _against_canal(frame: VertebralFrame, posterior: Array, canal: Array) -> list[str]:
    """A reason when the posterior axis is turned far from the way body to canal, `canal` (left, posterior) mm."""
    axis = frame.matrix @ posterior
    turn = math.degrees(math.atan2(axis[0], axis[1]) - math.atan2(canal[0], canal[1]))
    if abs(turn) <= float(constants("landmarks")["frame"]["symmetry_doubt_deg"]):
        return []
    return [f"bone turned {abs(turn):.0f} degrees against its canal: asymmetric vertebra"]


def _measure_round(field: BoneField, frame: VertebralFrame, half: Array) -> _Round | None:
    """One look at the body along a frame; None when there is no whole superior endplate."""
    c = constants("landmarks")["frame"]
    block = field.block(frame, (-36.0, -36.0, -32.0), (36.0, 44.0, 32.0), float(c["step_mm"]))
    walls = _walls(block, half)
    if math.isnan(walls.top_height):
        return None
    normal, _, residual = fit_plane(walls.top, endplate_scale(field))
    shift = np.array([_middle(walls.right, walls.left), _middle(walls.front, walls.back),
                      _middle(walls.bottom_height, walls.top_height)])
    sizes = 0.5 * np.array([walls.left - walls.right, walls.back - walls.front])
    wall = half[1] if math.isnan(walls.back) else walls.back
    height = _pedicle_height(block, wall)
    hole = None if math.isnan(height) else arch_hole(block, wall, height)
    return _Round(walls, normal, residual, shift, np.where(np.isnan(sizes), half, sizes), height,
                  None if hole is None else hole.mean(axis=0))


def _refine(field: BoneField, frame: VertebralFrame) -> FrameFit:
    """Alternate between measuring the body in the frame and setting the frame by it.

    The posterior axis is set from the body's centre to the canal's, then by the bone's mirror plane, which is less
    easily led astray: where a transverse process is joined to the ala the body has no side wall on that side, its
    centre is taken too far over, and the line from it to the canal turns further with every round.
    """
    c = constants("landmarks")["frame"]
    half = np.array([18.0, 14.0])
    rounds = int(c["rounds"])
    by_mirror = False
    reasons: list[str] = []
    for n in range(rounds + 1):
        seen = _measure_round(field, frame, half)
        if seen is None:
            break
        half = seen.half
        if n == rounds:
            return _finish(field, frame, seen, reasons)
        turn = _believed_turn(field, frame) if n in (1, rounds - 1) else None
        by_mirror = by_mirror or turn is not None
        posterior = frame.posterior
        if turn is not None:
            a = math.radians(turn)
            posterior = frame.from_local((math.sin(a), math.cos(a), 0.0)) - frame.origin
        elif seen.canal is not None and not by_mirror:
            # The first origin, the body's thickest place, is not led astray by a missing side wall.
            centre = seen.shift[:2] if n else np.zeros(2)
            posterior = frame.from_local((*(seen.canal - centre), 0.0)) - frame.origin
        if n == rounds - 1 and seen.canal is not None:
            reasons += _against_canal(frame, posterior, seen.canal - seen.shift[:2])
        frame = VertebralFrame.from_axes(frame.from_local(seen.shift), posterior, seen.normal @ frame.matrix)
    return FrameFit(field, None, frame.origin, math.inf, None, ("no whole superior endplate in the mask",))


def _finish(field: BoneField, frame: VertebralFrame, seen: _Round, reasons: list[str]) -> FrameFit:
    """Check that the body is whole and move the origin to the posterior wall."""
    c = constants("landmarks")["frame"]
    walls, height, residual = seen.walls, seen.pedicle_height, seen.residual
    center = frame.from_local(seen.shift)
    missing = [word for word, value in (("left wall", walls.left), ("right wall", walls.right),
                                        ("anterior wall", walls.front), ("posterior wall", walls.back),
                                        ("inferior endplate", walls.bottom_height)) if math.isnan(value)]
    if missing:
        return FrameFit(field, None, center, math.inf, None, (f"the body's {missing[0]} is not in the mask",))
    faces = frame.from_local([(walls.left, 0, 0), (walls.right, 0, 0), (0, walls.front, 0), (0, walls.back, 0),
                              (0, 0, walls.top_height), (0, 0, walls.bottom_height)])
    if not field.in_view(faces, 0.3 * float(field.grid.spacing.max())).all():
        return FrameFit(field, None, center, math.inf, None, ("the body is cut by the edge of the scan",))
    if seen.canal is None:
        reasons.append("no canal between body and arch in the mask: rotation from the arch only")
        height = 0.0 if math.isnan(height) else height
    if residual > float(c["endplate_max_rms_mm"]):
        reasons.append(f"superior endplate {residual:.1f} mm RMS from flat")
    local = frame.to_local(center)
    wall_middle = frame.from_local((local[0], walls.back, local[2]))
    size = BodyMeasures(walls.left - walls.right, walls.back - walls.front, walls.top_height - walls.bottom_height,
                        height - float(local[2]))
    final = VertebralFrame(wall_middle, frame.left, frame.posterior, frame.superior)
    return FrameFit(field, final, center, residual, size, tuple(reasons))
