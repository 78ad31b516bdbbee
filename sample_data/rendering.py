"""From solids to Hounsfield units: bones with cortex and marrow, discs, canal, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Anatomy, canal_chain, nerve_roots
from .canvas import Canvas, Mask, Window
from .girdle import RodChain
from .implicit import Array
from .trunk import SpineCurve, Trunk, paint_organs, paint_trunk
from .vertebra import fusion_rod

__all__ = ["BoneQuality", "Rendered", "render"]

VERSE_LABELS = {"T11": 18, "T12": 19, "L1": 20, "L2": 21, "L3": 22, "L4": 23, "L5": 24, "S1": 26}


@dataclass(frozen=True)
class BoneQuality:
    """Density of the skeleton.

    Attributes
    ----------
    trabecular : HU of the marrow space of the bodies.
    arch : HU of the marrow space of the posterior elements.
    cortex : HU of compact bone.
    shell : thickness of the cortex of the bodies, mm.
    arch_shell : thickness of the cortex of the posterior elements, mm.
    """

    trabecular: float = 165.0
    arch: float = 330.0
    cortex: float = 980.0
    shell: float = 0.8
    arch_shell: float = 1.9


@dataclass(frozen=True)
class Rendered:
    """Painted volume and its masks, arrays (z, y, x)."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    structures: dict[str, Mask]


def _texture(shape: tuple[int, ...], spacing: tuple[float, float, float], size: float, seed: list[int]) -> Array:
    """Smooth random field of unit variance with features of `size` millimetres."""
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, [size / s for s in spacing], mode="wrap", truncate=2.5)
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def _paint_bone(
    canvas: Canvas, window: Window, distance: Array, behind: Array, quality: BoneQuality, grain: Array
) -> None:
    """Paint periosteum, cortex and marrow; `behind` is 0 in bodies and 1 in posterior elements."""
    shell = quality.shell + (quality.arch_shell - quality.shell) * behind
    marrow = quality.trabecular + (quality.arch - quality.trabecular) * behind
    marrow = marrow * (1.0 + 0.16 * grain[window.index])
    cortex = quality.cortex * (0.72 + 0.28 * behind)
    canvas.paint(window, distance - 1.3, 48.0)
    canvas.paint(window, distance, cortex)
    canvas.paint(window, distance + shell, marrow, edge=0.9)


def _paint_vertebrae(canvas: Canvas, anatomy: Anatomy, quality: BoneQuality, grain: Array) -> NDArray[np.uint8]:
    labels = np.zeros(canvas.shape, dtype=np.uint8)
    for level, bone in anatomy.bones.items():
        window = canvas.window(*bone.bounds())
        if 0 in window.points().shape:
            continue
        local = bone.pose.to_local(window.points())
        distance = bone.distance(local)
        behind = np.clip((local[1] + 1.0) / 6.0, 0.0, 1.0) * (0.45 if level == "S1" else 1.0)
        _paint_bone(canvas, window, distance, behind, quality, grain)
        region = labels[window.index]
        region[(distance < 0) & (region == 0)] = VERSE_LABELS[level]
    if anatomy.layout.fused_side is not None:
        _paint_fusion(canvas, anatomy, quality)
    return labels


def _paint_fusion(canvas: Canvas, anatomy: Anatomy, quality: BoneQuality) -> None:
    """Let the marrow of a fused transverse process run on into the sacral ala."""
    pose, rod = anatomy.layout.poses["L5"], fusion_rod(anatomy.layout)
    reach = np.full(3, 40.0)
    middle = pose.to_world((np.asarray(rod.a) + np.asarray(rod.b)) / 2)
    window = canvas.window(middle - reach, middle + reach)
    if 0 not in window.points().shape:
        distance = rod.distance(pose.to_local(window.points()))
        canvas.paint(window, distance + 3.0, 0.5 * (quality.trabecular + quality.arch), edge=1.0)


def _paint_chains(canvas: Canvas, chains: list[RodChain], quality: BoneQuality, grain: Array) -> Mask:
    mask = np.zeros(canvas.shape, dtype=bool)
    for chain in chains:
        window = canvas.window(*chain.bounds())
        points = window.points()
        if 0 in points.shape:
            continue
        distance = chain.distance(points)
        _paint_bone(canvas, window, distance, np.full_like(distance, 0.5), quality, grain)
        mask[window.index] |= distance < 0
    return mask


def _paint_discs_and_canal(canvas: Canvas, anatomy: Anatomy) -> Mask:
    """Paint discs, epidural fat, dural sac and roots; return the canal's tube."""
    for disc in anatomy.discs:
        centre, reach = disc.pose.origin, np.array([40.0, 50.0, 25.0])
        window = canvas.window(centre - reach, centre + reach)
        canvas.paint(window, disc.body.distance(disc.pose.to_local(window.points())), 88.0)
    chain = canal_chain(anatomy.layout)
    window = canvas.window(*chain.bounds())
    distance = chain.distance(window.points())
    canvas.paint(window, distance - 1.0, 62.0)
    canvas.paint(window, distance, -70.0)
    canvas.paint(window, distance + 1.9, 26.0)
    canvas.paint(window, distance + 4.4, 38.0, edge=1.0)
    for rod in nerve_roots(anatomy.layout):
        box = rod.bounds()
        near = canvas.window(box[0] - 6.0, box[1] + 6.0)
        if 0 not in near.points().shape:
            away = rod.distance(near.points())
            canvas.paint(near, away - 2.2, -85.0, edge=0.8)
            canvas.paint(near, away, 36.0)
    return canvas.mask(window, distance < 0)


def _acquire(canvas: Canvas, spacing: tuple[float, float, float], seed: int, noise: float) -> NDArray[np.int16]:
    """Blur by the scanner's point spread and add correlated noise; HU rounded to int16."""
    psf = [0.45 / spacing[0], 0.50 / spacing[1], 0.50 / spacing[2]]
    hu = ndimage.gaussian_filter(canvas.hu, psf, truncate=3.0)
    rng = np.random.default_rng([seed, 401])
    grain = rng.standard_normal(canvas.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(grain, [0.35, 0.95, 0.95], mode="wrap", truncate=3.0)
    hu += grain * (noise / grain.std()) * np.clip((hu + 1050.0) / 700.0, 0.25, 1.0)
    return np.asarray(np.clip(np.rint(hu), -1024, 3071), dtype=np.int16)


def render(
    canvas: Canvas, anatomy: Anatomy, quality: BoneQuality, spacing: tuple[float, float, float], seed: int, noise: float
) -> Rendered:
    """Paint a patient into a canvas.

    Parameters
    ----------
    canvas : empty volume.
    anatomy : solids.
    quality : bone density.
    spacing : (z, y, x), mm.
    seed : seed of textures and noise.
    noise : standard deviation of the noise in soft tissue, HU.
    """
    curve = SpineCurve.of(anatomy.layout)
    trunk = Trunk(canvas, curve)
    body = paint_trunk(canvas, trunk, curve)
    structures = {"body": body}
    structures |= paint_organs(canvas, trunk, curve, anatomy.layout, seed)
    streaks = _texture(canvas.shape, spacing, 1.6, [seed, 402])
    muscle = (canvas.hu > 40.0) & (canvas.hu < 60.0)
    canvas.hu -= muscle * np.clip(streaks - 1.1, 0.0, 1.0) * 95.0
    fat = (canvas.hu < -80.0) & (canvas.hu > -130.0)
    canvas.hu += fat * np.clip(streaks - 1.2, 0.0, 1.0) * 55.0
    tube = _paint_discs_and_canal(canvas, anatomy)
    grain = _texture(canvas.shape, spacing, 0.9, [seed, 403])
    hips = _paint_chains(canvas, list(anatomy.hips.values()), quality, grain)
    ribs = _paint_chains(canvas, list(anatomy.ribs.values()), quality, grain)
    labels = _paint_vertebrae(canvas, anatomy, quality, grain)
    bone = labels > 0
    structures |= {"hips": hips & ~bone, "ribs": ribs & ~bone, "canal": tube & ~bone}
    for name in ("aorta", "vena_cava", "kidneys", "bowel", "lungs"):
        structures[name] &= body & ~(bone | hips | ribs)
    return Rendered(_acquire(canvas, spacing, seed, noise), labels, structures)
