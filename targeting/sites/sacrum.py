"""The back of the sacrum and the openings of its posterior foramina, as needles are aimed beside or into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side
from imaging.resample import resample
from segmentation.anatomy import StructureName, foramen_landmark
from segmentation.constants import constants
from segmentation.landmarks.processes import largest_part
from segmentation.sacral_view import SacralView, sacral_view
from segmentation.shape import FrameBlock
from segmentation.spine import Landmark, Vertebra
from targeting.procedures.sites import SacralRule
from targeting.sites.common import Anatomy, NoSite

__all__ = ["Opening", "SacralBack", "find_opening", "sacral_back"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SacralBack:
    """One side of the sacrum on a lattice along its frame (lateral, posterior, superior).

    Attributes
    ----------
    block : FrameBlock
        Distance to its bone, lateral growing away from the midline.
    tunnels : (superior, posterior, lateral) bool
        The soft inside of its foramina.
    view : SacralView
        From behind; its bridged surface is the dorsal cortex.
    """

    side: Side
    vertebra: Vertebra
    block: FrameBlock
    tunnels: Mask
    view: SacralView

    def place(self, lateral: float, superior: float) -> tuple[int, int]:
        """(row, column) of the view nearest to a place, mm."""
        return (int(np.argmin(np.abs(self.view.superior - superior))),
                int(np.argmin(np.abs(self.view.lateral - lateral))))

    def under(self) -> Array:
        """(superior, posterior, lateral) mm: how far each place lies under the dorsal surface."""
        return np.asarray(self.view.bridged[:, None] - self.block.posterior[None, :, None])


@dataclass(frozen=True, eq=False)
class Opening:
    """One posterior foramen seen from behind.

    Attributes
    ----------
    segment : str
    landmark : Landmark
        Its middle.
    middle : (3,) mm
        The same along (lateral, posterior, superior) of the side.
    area : (superior, lateral) bool
    """

    segment: str
    landmark: Landmark
    middle: Array
    area: Mask

    def edges(self, view: SacralView) -> tuple[float, float, float]:
        """Lateral, lower and upper edge of the opening, mm."""
        j, i = np.nonzero(self.area)
        return float(view.lateral[i].max()), float(view.superior[j].min()), float(view.superior[j].max())


def sacral_back(anatomy: Anatomy, vertebra: Vertebra, side: Side) -> SacralBack:
    """The sacrum from behind; `NoSite` when its foramina were not found."""
    frame = vertebra.frame
    assert frame is not None
    structure = anatomy.spine.structures.get(StructureName.SACRAL_FORAMINA)
    if structure is None or structure.mask is None:
        raise NoSite("the posterior sacral foramina were not found" + (
            "" if structure is None else f": {structure.reason}"))
    c = constants("sacral_foramina")["view"]
    half, (front, back), (low, high) = float(c["lateral_mm"]), c["posterior_mm"], c["superior_mm"]
    block = anatomy.bone(vertebra).block(frame, (-half, front, low), (half, back, high), float(c["step_mm"]))
    tunnels = np.asarray(resample(structure.mask, anatomy.spine.grid, block.grid, linear=False, fill=0))
    block, tunnels = block.on_side(side), tunnels if side is Side.LEFT else tunnels[:, :, ::-1]
    bone = np.asarray(block.distance < 0)
    view = sacral_view(bone, bone | tunnels, block.lateral, block.posterior, block.superior)
    return SacralBack(side, vertebra, block, tunnels, view)


def find_opening(back: SacralBack, segment: str, rule: SacralRule) -> Opening:
    """The opening of one posterior foramen; `NoSite` says what is missing."""
    frame = back.vertebra.frame
    assert frame is not None
    where = f"the posterior {segment} foramen on the {back.side.value}"
    mark = back.vertebra.landmarks.get(foramen_landmark("posterior", segment, back.side))
    if mark is None:
        raise NoSite(f"{where} was not found")
    middle = frame.to_side(mark.position, back.side)
    under = back.under()
    look = (under >= 0) & (under <= rule.look_depth.value)
    soft, held = (back.tunnels & look).sum(axis=1), ((back.tunnels | (back.block.distance < 0)) & look).sum(axis=1)
    x, z = np.meshgrid(back.view.lateral, back.view.superior)
    near = (x - middle[0])**2 + (z - middle[2])**2 <= rule.reach.value**2
    opening = largest_part((soft > 0) & (soft >= rule.open_share.value * held) & near)
    if not opening.any():
        raise NoSite(f"{where} is closed in the masks")
    return Opening(segment, mark, middle, opening)
