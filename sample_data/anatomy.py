"""The whole bony phantom of one patient, and the canal and discs between the bones."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .girdle import RodChain, build_hip, build_ribs, build_sacrum, sacral_canal
from .implicit import Rod, Vec
from .layout import SIDES, Layout, Pose, build_layout
from .morphometry import LEVELS
from .vertebra import Body, Bone, build_vertebra, pedicle_height_position

__all__ = ["Anatomy", "Disc", "build_anatomy", "canal_chain", "nerve_roots"]


@dataclass(frozen=True)
class Disc:
    """An intervertebral disc as a body in its own frame."""

    pose: Pose
    body: Body


@dataclass(frozen=True)
class Anatomy:
    """Solids of one patient, in anatomical coordinates (origin at the centre of the S1 endplate), mm.

    Attributes
    ----------
    layout : sizes and frames.
    bones : level to vertebra; "S1" is the sacrum.
    discs : from T11/12 to L5/S1.
    ribs : (level, side) to rib.
    hips : side to iliac wing.
    """

    layout: Layout
    bones: dict[str, Bone]
    discs: tuple[Disc, ...]
    ribs: dict[tuple[str, str], RodChain]
    hips: dict[str, RodChain]


def _vec(array: NDArray[np.float64]) -> Vec:
    return float(array[0]), float(array[1]), float(array[2])


def _disc(layout: Layout, upper: str, lower: str) -> Disc:
    above, below = layout.sizes[upper], layout.sizes[lower]
    top = layout.poses[upper].to_world((0.0, -above.body_depth / 2, -layout.anterior_height(upper) / 2))
    bottom = layout.poses[lower].to_world((0.0, -below.body_depth / 2, below.body_posterior_height / 2))
    axes = layout.poses[upper].axes + layout.poses[lower].axes
    left, _, right = np.linalg.svd(axes)
    axes = left @ right
    depth = (above.body_depth + below.body_depth) / 2
    height = above.disc_height + 7.0
    pose = Pose((top + bottom) / 2 + axes.T @ np.array([0.0, depth / 2, 0.0]), axes)
    return Disc(pose, Body((above.body_width + below.body_width) / 2 + 1.0, depth + 1.0, height, height, -0.02, 0.0))


def build_anatomy(seed: int, variant: str) -> Anatomy:
    """Build every solid of one patient.

    Parameters
    ----------
    seed : seed of the individual differences.
    variant : name of the anatomy, see `layout.build_layout`.
    """
    layout = build_layout(seed, variant)
    bones: dict[str, Bone] = {}
    for i, level in enumerate(LEVELS[:-1]):
        bones[level] = build_vertebra(layout, level, LEVELS[i + 1], LEVELS[i - 1] if i else None, seed)
    bones["S1"] = build_sacrum(layout, seed)
    discs = tuple(_disc(layout, upper, lower) for upper, lower in itertools.pairwise(LEVELS))
    ribs = {}
    for level, length in (("T11", 190.0), ("T12", 128.0)):
        for side, rib in build_ribs(layout.poses[level], bones[level], length, seed).items():
            ribs[level, side] = rib
    shift = float(np.clip(np.random.default_rng([seed, 205]).normal(), -1.5, 1.5)) * 2.0
    hips = {side: build_hip(bones["S1"], side, shift * sign) for side, sign in SIDES.items()}
    return Anatomy(layout, bones, discs, ribs, hips)


def canal_chain(layout: Layout) -> RodChain:
    """Vertebral canal as one tube in anatomical coordinates, from above T11 down into the sacrum."""
    knots: list[Vec] = []
    radii: list[tuple[float, float]] = []
    top = layout.poses["T11"]
    for level in LEVELS[:-1]:
        size = layout.sizes[level]
        half = ((size.pedicle_separation - size.pedicle_width) / 2, size.canal_depth / 2)
        if level == "T11":
            knots.append(_vec(top.to_world((0.0, half[1], 40.0))))
            radii.append(half)
        knots.append(_vec(layout.poses[level].to_world((0.0, half[1], 0.0))))
        radii.append(half)
    pose = layout.poses["S1"]
    sacral = sacral_canal(layout)
    for rod in sacral[1:]:
        knots.append(_vec(pose.to_world(rod.a)))
        radii.append(rod.ra)
    last = sacral[-1]
    knots.append(_vec(pose.to_world(last.b)))
    radii.append(last.rb)
    left = (1.0, 0.0, 0.0)
    spans = zip(knots, knots[1:], radii, radii[1:], strict=False)
    return RodChain(tuple(Rod(a, b, ra, rb, left, blend=1.0) for a, b, ra, rb in spans))


def nerve_roots(layout: Layout) -> list[Rod]:
    """Spinal nerves T12 to L5 with their ganglia, leaving under the pedicles, in anatomical coordinates."""
    rods: list[Rod] = []
    for level in LEVELS[1:-1]:
        size, pose = layout.sizes[level], layout.poses[level]
        for side, sign in SIDES.items():
            half = size.pedicle_separation / 2
            under = pedicle_height_position(layout, level, side) - size.pedicle_height / 2 - 4.5
            path = (
                (sign * (half - size.pedicle_width / 2 - 3.0), size.canal_depth * 0.45, under + 9.0),
                (sign * (half - 2.0), 5.0, under),
                (sign * (half + 5.0), 1.5, under - 5.0),
                (sign * (half + 16.0), -6.0, under - 20.0),
            )
            sizes = (1.6, 2.6, 3.0, 2.1)
            points = [_vec(pose.to_world(p)) for p in path]
            for a, b, ra, rb in zip(points, points[1:], sizes, sizes[1:], strict=False):
                rods.append(Rod(a, b, (ra, ra), (rb, rb), (1.0, 0.3, 0.1), blend=1.0))
    return rods
