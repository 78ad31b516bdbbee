"""Template vertebrae with landmarks on them: the second way to a landmark, by the shape of the whole arch.

One template per level, mirror-symmetric, in the axes of its vertebral frame. ``segmentation/data/templates.npz`` holds
them; ``segmentation.training.templates`` makes it and `docs/landmarks.md` says from what.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from imaging.errors import AlteredError
from imaging.geometry import Side
from segmentation.anatomy import RELATIVE_PREFIX, Level, is_relative
from segmentation.constants import constants
from segmentation.frames import BodyMeasures
from segmentation.landmarks.warp import Surface, WarpBasis, register, surface_of
from segmentation.shape import FrameBlock

__all__ = ["FILE_NAME", "MIDLINE_KINDS", "Template", "TemplatePoints", "level_surface", "load_templates",
           "mirrored_pairs", "template_of", "template_points"]

Array = NDArray[np.float64]
FILE_NAME = "templates.npz"
MIDLINE_KINDS = ("spinous_tip",)
_RELATIVE = (Level.L5, Level.L4, Level.L3, Level.L2, Level.L1, Level.T12)
_LIKE = {Level.L6: Level.L5, Level.T13: Level.T12}


@dataclass(frozen=True, eq=False)
class Template:
    """One level.

    Attributes
    ----------
    surface : Surface
        Both halves, each point with its mirror image.
    size : (3,) mm or None
        Width, depth and height of its body; None for the sacrum.
    landmarks : mapping of kind to (3,) mm
        (lateral, posterior, superior), the same on both sides.
    spread_mm : mapping of kind to float
        Median distance of the bones it learned from, after registration, to its own point.
    """

    level: Level
    surface: Surface
    basis: WarpBasis
    size: Array | None
    landmarks: Mapping[str, Array]
    spread_mm: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class TemplatePoints:
    """A template's landmarks laid on one bone.

    Attributes
    ----------
    sides : mapping of Side to mapping of kind to (3,) mm
        (lateral, posterior, superior).
    spinous_tip : (3,) mm or None
        (left, posterior, superior).
    residual_mm : float
        Mean distance between the warped template and the bone.
    sigma_ratio : float
        At least 1: how much wider than usual the points' standard deviations are, since the template fits worse.
    """

    sides: Mapping[Side, Mapping[str, Array]]
    spinous_tip: Array | None
    residual_mm: float
    sigma_ratio: float


def mirrored_pairs(half: Array) -> Array:
    """(n, 3) of one half to (2 n, 3): the half, then its mirror image."""
    return np.vstack([half, half * (-1.0, 1.0, 1.0)])


def load_templates(content: bytes) -> dict[Level, Template]:
    """Read the templates from the bytes of an npz file."""
    out = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as data:
        for name in data["levels"]:
            points = mirrored_pairs(data[f"{name}/points"].astype(np.float64))
            normals = mirrored_pairs(data[f"{name}/normals"].astype(np.float64))
            controls = mirrored_pairs(data[f"{name}/controls"].astype(np.float64))
            size = data[f"{name}/size"].astype(np.float64)
            kinds = [str(k) for k in data[f"{name}/kinds"]]
            places = data[f"{name}/landmarks"].astype(np.float64)
            spread = data[f"{name}/spread_mm"]
            out[Level(str(name))] = Template(
                Level(str(name)), Surface(points, normals), WarpBasis.build(points, controls),
                None if np.isnan(size).any() else size, dict(zip(kinds, places, strict=True)),
                {k: float(s) for k, s in zip(kinds, spread, strict=True)})
    return out


@cache
def _shipped() -> dict[Level, Template]:
    content = resources.files("segmentation.data").joinpath(FILE_NAME).read_bytes()
    expected = str(constants("landmarks")["template"]["sha256"])
    if hashlib.sha256(content).hexdigest() != expected:
        raise AlteredError(f"{FILE_NAME} is not the file recorded in landmarks.toml; reinstall nerveplan")
    return load_templates(content)


def template_of(name: str) -> Template | None:
    """The template for a vertebra's name; None where there is none.

    A relative name is read as if five lumbar vertebrae were above the sacrum: neighbours differ little.
    """
    if is_relative(name):
        steps = re.sub("[^0-9]", "", name.removeprefix(RELATIVE_PREFIX))
        level = _RELATIVE[int(steps)] if steps and int(steps) < len(_RELATIVE) else None
    else:
        level = _LIKE.get(Level(name), Level(name))
    return None if level is None else _shipped().get(level)


def level_surface(block: FrameBlock, level: Level) -> Surface:
    """The part of a bone that its level's template is matched with."""
    c = constants("landmarks")["template"]
    which = "sacrum_" if level is Level.S1 else ""
    low, high = (np.array(c[f"{which}{end}_mm"], dtype=float) for end in ("low", "high"))
    return surface_of(block, low, high, float(c[f"{which}lattice_mm"]))


def template_points(block: FrameBlock, name: str, measures: BodyMeasures | None) -> TemplatePoints | None:
    """Lay the level's template on a bone.

    Parameters
    ----------
    block : FrameBlock
        Lattice along the bone's frame (sacrum: its working frame), both sides.
    measures : BodyMeasures or None
        The bone's body: the scale to begin with.

    Returns
    -------
    TemplatePoints or None
        None when there is no template or it does not come to fit the bone.
    """
    template = template_of(name)
    if template is None:
        return None
    bone = level_surface(block, template.level)
    start = np.ones(3)
    if template.size is not None and measures is not None:
        start = np.array([measures.width, measures.depth, measures.height]) / template.size
    if len(bone.points) < len(template.surface.points) // 4:
        return None
    warp = register(template.surface, template.basis, bone, start)
    c = constants("landmarks")["template"]
    misfit = warp.residual_mm / float(c["residual_mm" if template.level is not Level.S1 else "sacrum_residual_mm"])
    if not misfit <= float(c["misfit_max"]):
        return None
    kinds = [k for k in template.landmarks if k not in MIDLINE_KINDS]
    places = np.array([template.landmarks[k] for k in kinds])
    sides = {}
    for side in Side:
        moved = warp.move(places * (side.sign, 1.0, 1.0)) * (side.sign, 1.0, 1.0)
        sides[side] = dict(zip(kinds, moved, strict=True))
    tip = template.landmarks.get("spinous_tip")
    return TemplatePoints(sides, None if tip is None else warp.move(tip)[0], warp.residual_mm,
                          max(1.0, misfit) ** 2)
