"""What the spaces have in common: the bone's shape, the confidence of a place, the target made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, to_world
from imaging.resample import crop_grid
from imaging.volume import Volume
from segmentation.anatomy import Nerve
from segmentation.shape import BoneField, bone_field
from segmentation.spine import NerveCourse, Spine, Vertebra
from targeting.model import Target
from targeting.procedures import Procedure
from targeting.procedures.sites import SiteRule
from targeting.region import TipRegion

__all__ = ["Anatomy", "Doubt", "NoSite", "flip_to_left", "site_target"]

Array = NDArray[np.float64]
#: A check: the confidence it allows, and why it is below 0.9.
Doubt = tuple[float, str]
_MARGIN_MM = 14.0
#: 95 % of a chi-square with 3 degrees of freedom.
_CHI2_95 = 7.815


class NoSite(Exception):
    """The anatomy that a target needs cannot be established on this scan; the message says why."""


class Anatomy:
    """A spine with its scan, and the surfaces of its bones, each made on first use.

    Attributes
    ----------
    volume : Volume or None
        The scan, where its values may be used.
    """

    def __init__(self, spine: Spine, volume: Volume | None = None) -> None:
        self.spine, self.volume = spine, volume
        self._bones: dict[int, BoneField] = {}

    def whole(self, name: str) -> Vertebra:
        """The vertebra of that name with its frame; `NoSite` when it is not in view or cut."""
        vertebra = self.spine.vertebra(name)
        if vertebra is None:
            raise NoSite(f"{name} is not in view")
        if vertebra.frame is None:
            raise NoSite(f"{name} is cut too much for its frame")
        return vertebra

    def bone(self, vertebra: Vertebra) -> BoneField:
        """The surface of one vertebra's mask; `NoSite` when the mask is empty."""
        if vertebra.label not in self._bones:
            self._bones[vertebra.label] = self._measure(vertebra)
        return self._bones[vertebra.label]

    def _measure(self, vertebra: Vertebra) -> BoneField:
        k, j, i = np.nonzero(self.spine.labels == vertebra.label)
        if not len(k):
            raise NoSite(f"the mask of {vertebra.name} is empty")
        low, high = np.array([i.min(), j.min(), k.min()]), np.array([i.max(), j.max(), k.max()])
        corners = to_world(self.spine.grid, np.array([low, high], dtype=float))
        grid, cut = crop_grid(self.spine.grid, corners, _MARGIN_MM)
        return bone_field(self.spine.labels[cut] == vertebra.label, grid)


def flip_to_left(array: NDArray[Any], side: Side) -> NDArray[Any]:
    """An array of a block's side (see `FrameBlock.on_side`) back on the lattice along the left axis."""
    return array if side is Side.LEFT else array[:, :, ::-1]


def site_target(procedure: Procedure, rule: SiteRule, *, nerve: Nerve | None, name: str, carrier: Vertebra,
                bones: Sequence[Vertebra], side: Side, joints: tuple[str, ...], position: Array,
                region: TipRegion | None, place: str, doubts: Sequence[Doubt]) -> Target:
    """A target with the lowest of its checks as confidence.

    Parameters
    ----------
    bones : sequence of Vertebra
        Every vertebra whose shape gave the place.
    position : (3,) LPS mm
    doubts : sequence of Doubt
        The site's own checks.
    """
    checks: list[Doubt] = list(doubts)
    for bone in bones:
        checks += [(bone.confidence, f"{bone.name} is named with probability {bone.confidence:.2f}"),
                   (bone.quality, f"shape quality of {bone.name} is {bone.quality:.2f}")]
        if bone.touches_edge:
            checks.append((rule.low_confidence.value, f"{bone.name} is cut by the field of view"))
    spread = rule.sigma.value * float(np.sqrt(_CHI2_95))
    if spread > rule.wide.value:
        checks.append((rule.low_confidence.value, f"the target's 95 % region reaches {spread:.1f} mm"))
    course = NerveCourse(nerve, carrier.name, side, np.zeros((0, 3)), np.zeros(0), np.tile(position, (2, 1)), 0.0,
                         ("no nerve course is aimed at",))
    words = name.replace(" ", "-").replace("/", "-")
    return Target(
        f"{procedure.name}:{words}:{carrier.name}:{side.value}", procedure.name, nerve, name, carrier, side, joints,
        position, course, rule.sigma.value**2 * np.eye(3), min(c for c, _ in checks),
        tuple(dict.fromkeys(reason for c, reason in checks if c < 0.9)), region=region, place=place)
