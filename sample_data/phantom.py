"""The lumbar CT phantom: what to build, and what was built with its exact truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy, build_anatomy
from .canvas import Canvas, Mask
from .landmarks import find_landmarks
from .morphometry import LEVELS
from .nerves import nerve_courses
from .rendering import BoneQuality, render

__all__ = ["GENERATOR_VERSION", "Frame", "Phantom", "PhantomSpec", "Variant", "build_phantom"]

GENERATOR_VERSION = "1.0.0"
"""Changes whenever the same specification gives another phantom."""

WORLD_ORIGIN = np.array([3.5, -128.0, -412.0])
"""LPS position of the centre of the S1 endplate, mm."""

_FIELD_LOW, _FIELD_HIGH = np.array([-172.0, -134.0, -66.0]), np.array([172.0, 104.0, 230.0])
_CROPPED_LOW, _CROPPED_HIGH = np.array([-74.0, -84.0, -66.0]), np.array([74.0, 60.0, 230.0])

Point = NDArray[np.float64]
Frame = tuple[Point, Point, Point, Point]


class Variant(StrEnum):
    """Anatomy or acquisition of the phantom."""

    STANDARD = "standard"
    SCOLIOSIS = "scoliosis"
    TRANSITIONAL = "transitional"
    CROPPED = "cropped"
    OSTEOPOROTIC = "osteoporotic"


@dataclass(frozen=True)
class PhantomSpec:
    """Everything that decides a phantom.

    Attributes
    ----------
    seed : seed of the individual differences, textures and noise.
    spacing_mm : voxel size along (z, y, x), mm.
    variant : anatomy or acquisition.
    levels_in_view : (upper, lower) level names to cut the field of view to, from the top of the upper body to the
        bottom of the lower one (for example ("L2", "L4"): neither ribs nor sacrum); None keeps T11 to the sacrum.
    noise_hu : standard deviation of the noise in soft tissue, HU.
    """

    seed: int = 0
    spacing_mm: tuple[float, float, float] = (1.5, 0.9, 0.9)
    variant: Variant = Variant.STANDARD
    levels_in_view: tuple[str, str] | None = None
    noise_hu: float = 9.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", Variant(self.variant))
        if len(self.spacing_mm) != 3 or min(self.spacing_mm) <= 0:
            raise ValueError(f"spacing_mm must be three positive numbers (z, y, x), not {self.spacing_mm}")
        for level in self.levels_in_view or ():
            if level not in LEVELS:
                raise ValueError(f"levels_in_view: {level!r} is not one of {', '.join(LEVELS)}")


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT with its truth. World coordinates are DICOM LPS, mm.

    Attributes
    ----------
    spec : what was asked for.
    hu : (z, y, x) int16, Hounsfield units.
    affine : (4, 4) float64, voxel (i along x, j along y, k along z) to LPS mm.
    labels : (z, y, x) uint8, VerSe numbers (18 T11, 19 T12, 20-24 L1-L5, 26 sacrum).
    structures : name to (z, y, x) bool: "body", "canal", "aorta", "vena_cava", "kidneys", "bowel", "lungs", "ribs",
        "hips".
    landmarks : level to name to (3,) LPS mm.
    body_centers : level to (3,) LPS mm.
    frames : level to (origin, e_lateral_left, e_posterior, e_superior).
    nerves : (nerve, "LEFT" or "RIGHT") to (n, 3) LPS mm, from the foramen to the lamina.
    findings : facts about the anatomy beyond the normal, for example "castellvi" and "fused_side".
    """

    spec: PhantomSpec
    hu: NDArray[np.int16]
    affine: NDArray[np.float64]
    labels: NDArray[np.uint8]
    structures: dict[str, Mask]
    landmarks: dict[str, dict[str, NDArray[np.float64]]]
    body_centers: dict[str, NDArray[np.float64]]
    frames: dict[str, Frame]
    nerves: dict[tuple[str, str], NDArray[np.float64]]
    findings: dict[str, str]


def _canvas(spec: PhantomSpec, anatomy: Anatomy) -> Canvas:
    cropped = spec.variant is Variant.CROPPED
    low, high = (
        (np.array(_CROPPED_LOW), np.array(_CROPPED_HIGH)) if cropped else (_FIELD_LOW.copy(), _FIELD_HIGH.copy())
    )
    if spec.levels_in_view is not None:
        upper, lower = spec.levels_in_view
        half = anatomy.layout.sizes[upper].body_posterior_height / 2 + 2.0
        high[2] = min(high[2], anatomy.layout.poses[upper].origin[2] + half)
        low[2] = max(low[2], anatomy.layout.poses[lower].origin[2] - anatomy.layout.anterior_height(lower) / 2 - 2.0)
    shape = [int(np.floor((high[2 - i] - low[2 - i]) / spec.spacing_mm[i])) + 1 for i in range(3)]
    return Canvas((float(low[0]), float(low[1]), float(low[2])), spec.spacing_mm, (shape[0], shape[1], shape[2]))


def _affine(canvas: Canvas, spec: PhantomSpec) -> NDArray[np.float64]:
    affine = np.diag([*spec.spacing_mm[::-1], 1.0]).astype(np.float64)
    affine[:3, 3] = [round(float(canvas.axes[2 - i][0]) + float(WORLD_ORIGIN[i]), 6) for i in range(3)]
    return affine


def _shape(spec: PhantomSpec) -> str:
    """Name of the anatomy of a specification; variants of the acquisition or the density share the standard one."""
    bent = (Variant.SCOLIOSIS, Variant.TRANSITIONAL)
    return spec.variant.value if spec.variant in bent else Variant.STANDARD.value


@lru_cache(maxsize=8)
def _truth(seed: int, variant: str) -> tuple[dict[str, dict[str, Point]], dict[tuple[str, str], Point]]:
    """Landmarks and nerve courses in anatomical coordinates; they do not depend on the voxels."""
    anatomy = build_anatomy(seed, variant)
    found = find_landmarks(anatomy)
    return found, nerve_courses(anatomy, found)


def build_phantom(spec: PhantomSpec) -> Phantom:
    """Build a phantom.

    Parameters
    ----------
    spec : what to build; the same specification always gives the same phantom.
    """
    anatomy = build_anatomy(spec.seed, _shape(spec))
    canvas = _canvas(spec, anatomy)
    quality = BoneQuality()
    if spec.variant is Variant.OSTEOPOROTIC:
        quality = replace(quality, trabecular=52.0, arch=140.0, cortex=640.0, shell=0.55, arch_shell=1.2)
    rendered = render(canvas, anatomy, quality, spec.spacing_mm, spec.seed, spec.noise_hu)
    found, courses = _truth(spec.seed, _shape(spec))
    layout = anatomy.layout
    centres = {}
    for level in LEVELS:
        size = layout.sizes[level]
        height = (size.body_posterior_height - layout.anterior_height(level)) / 4
        centres[level] = layout.poses[level].to_world((0.0, -size.body_depth / 2, height)) + WORLD_ORIGIN
    findings = {}
    if layout.fused_side is not None:
        findings = {"castellvi": "IIIa", "fused_level": "L5", "fused_side": layout.fused_side.upper()}
    return Phantom(
        spec=spec,
        hu=rendered.hu,
        affine=_affine(canvas, spec),
        labels=rendered.labels,
        structures=rendered.structures,
        landmarks={lv: {n: p + WORLD_ORIGIN for n, p in points.items()} for lv, points in found.items()},
        body_centers=centres,
        frames={lv: (p.origin + WORLD_ORIGIN, *p.axes.copy()) for lv, p in layout.poses.items()},
        nerves={key: course + WORLD_ORIGIN for key, course in courses.items()},
        findings=findings,
    )
