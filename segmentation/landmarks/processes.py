"""Ends of the processes and the pedicle, one side at a time, in (lateral, posterior, superior) of the frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.constants import constants
from segmentation.shape import FrameBlock, crossing

__all__ = ["Pedicle", "articular_front", "coronal_plane", "extreme", "find_pedicle", "largest_part", "process_root",
           "spinous_tip",
           "superior_articular_tip", "transverse_tip"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pedicle:
    """The isthmus of one pedicle.

    Attributes
    ----------
    center : (3,) mm
        Centroid of the narrowest coronal section between body and arch.
    lateral_wall, medial_wall, superior_wall, inferior_wall : float
        Bounds of that section along lateral and superior, mm.
    area_mm2 : float
    """

    center: Array
    lateral_wall: float
    medial_wall: float
    superior_wall: float
    inferior_wall: float
    area_mm2: float


def largest_part(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The biggest connected part of a mask; all False when it is empty."""
    parts, count = ndimage.label(inside)
    if count <= 1:
        return inside
    sizes = ndimage.sum_labels(inside, parts, np.arange(1, count + 1))
    return np.asarray(parts == 1 + int(np.argmax(sizes)))


def _coordinates(block: FrameBlock, inside: NDArray[np.bool_]) -> Array:
    """(n, 3) (lateral, posterior, superior) mm of the True voxels."""
    k, j, i = np.nonzero(inside)
    return np.column_stack([block.lateral[i], block.posterior[j], block.superior[k]])


def extreme(block: FrameBlock, inside: NDArray[np.bool_], axis: int, sign: float = 1.0) -> Array | None:
    """Outermost point of a part along a frame axis: the middle of its outermost cap, pushed to the surface.

    Parameters
    ----------
    axis : int
        0 lateral, 1 posterior, 2 superior.

    Returns
    -------
    (3,) mm or None
        None when the part is empty.
    """
    if not inside.any():
        return None
    points = _coordinates(block, inside)
    height = sign * points[:, axis]
    top = float(height.max())
    cap = points[height >= top - float(constants("landmarks")["tips"]["cap_mm"])].mean(axis=0)
    cap[axis] = sign * (top + 0.5 * block.step)
    return np.asarray(cap)


def coronal_plane(block: FrameBlock, posterior: float) -> NDArray[np.float64]:
    """(superior, lateral) distance in the coronal plane at `posterior` mm, by linear interpolation."""
    at = float(np.clip((posterior - block.posterior[0]) / block.step, 0, len(block.posterior) - 1.001))
    low = int(at)
    rest = at - low
    return np.asarray(block.distance[:, low] * (1 - rest) + block.distance[:, low + 1] * rest, dtype=np.float64)


def find_pedicle(block: FrameBlock, height: float) -> Pedicle | None:
    """The pedicle's isthmus on the block's side.

    Parameters
    ----------
    height : float
        Rough height of the pedicles, mm along superior.
    """
    c = constants("landmarks")["pedicle"]
    half = float(c["search_half_height_mm"])
    part = block.window(tuple(c["lateral_mm"]), tuple(c["behind_wall_mm"]), (height - half, height + half))
    best: Pedicle | None = None
    before: NDArray[np.bool_] | None = None
    for j, y in enumerate(part.posterior):
        section = _continued(part.distance[:, j] < 0, before)
        area = float(section.sum()) * block.step**2
        if area < float(c["min_area_mm2"]):
            if before is None:
                continue
            break
        if before is not None and (section & before).sum() < float(c["min_overlap"]) * before.sum():
            break
        before = section
        if best is not None and area >= best.area_mm2:
            continue
        k, i = np.nonzero(section)
        x, z = part.lateral[i], part.superior[k]
        best = Pedicle(np.array([x.mean(), y, z.mean()]), float(x.max()), float(x.min()), float(z.max()),
                       float(z.min()), area)
    return best


def _continued(inside: NDArray[np.bool_], before: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The part of a section that goes on from the section before it, else the largest."""
    if before is None:
        return largest_part(inside)
    parts, count = ndimage.label(inside)
    if not count:
        return inside
    shared = np.bincount(parts[before], minlength=count + 1)
    shared[0] = 0
    return np.asarray(parts == int(np.argmax(shared))) if shared.any() else np.zeros_like(inside)


def process_root(pedicle: Pedicle, articular_tip: Array) -> float:
    """Lateral position where the free transverse process begins, mm: pyramidal ones rise from the pedicle itself."""
    offset = float(constants("landmarks")["tips"]["root_lateral_of_tip_mm"])
    return min(pedicle.lateral_wall, float(articular_tip[0]) + offset)


def superior_articular_tip(block: FrameBlock, pedicle: Pedicle) -> Array | None:
    """Most cranial point of the superior articular process.

    A mask fills the joint and often holds the rim of the process behind it, so that its top is a plateau; the process
    itself is the part of it that lies next to the front edge.
    """
    c = constants("landmarks")["tips"]
    part = block.window(tuple(c["sap_lateral_mm"]), tuple(c["sap_behind_wall_mm"]),
                        (float(pedicle.center[2]), float(block.superior[-1])))
    inside = largest_part(part.distance < 0)
    top = extreme(part, inside, 2)
    front = None if top is None else _front_edge(part, top, float(c["sap_edge_below_mm"]))
    if front is None:
        return top
    own = extreme(part, inside & (part.posterior <= front + float(c["sap_depth_mm"]))[None, :, None], 2)
    return top if own is None else own


def _front_edge(block: FrameBlock, tip: Array, below_mm: float) -> float | None:
    """Front edge of the axial section nearest under a tip, mm along posterior."""
    section = block.distance[int(np.argmin(np.abs(block.superior - (tip[2] - below_mm))))]
    parts, count = ndimage.label(section < 0)
    if not count:
        return None
    j, i = np.nonzero(parts)
    nearest = int(np.argmin((block.posterior[j] - tip[1]) ** 2 + (block.lateral[i] - tip[0]) ** 2))
    own = parts == parts[j[nearest], i[nearest]]
    edge, found = crossing(-np.where(own, section, np.abs(section))[:, own.any(axis=0)], block.posterior, 0)
    if not found.any():
        return None
    return float(np.percentile(edge[found], float(constants("landmarks")["articular_front"]["edge_percentile"])))


def articular_front(block: FrameBlock, tip: Array) -> float | None:
    """Front-to-back position of the superior articular process's front edge, mm; None where it cannot be told.

    Seen in axial sections that go down from its tip, while each is the process alone: where a section reaches much
    further forward than the one above, the process has joined the pedicle. A transverse process that springs from
    pedicle and body has its crest far ahead of this edge, and a groove there does not touch the articular process.
    """
    c = constants("landmarks")["articular_front"]
    low, high = (float(v) for v in c["below_tip_mm"])
    front: float | None = None
    for below in np.arange(low, high + 1e-6, block.step):
        here = _front_edge(block, tip, float(below))
        if here is None or (front is not None and here < front - float(c["jump_mm"])):
            break
        front = here
    return front


def transverse_tip(block: FrameBlock, root: float) -> Array | None:
    """Most lateral point of the transverse process; None when nothing reaches beyond its `process_root`."""
    c = constants("landmarks")["tips"]
    part = block.window((root, float(block.lateral[-1])), tuple(c["tp_behind_wall_mm"]),
                        tuple(c["tp_superior_mm"]))
    inside = largest_part(part.distance < 0)
    tip = extreme(part, inside, 0)
    return tip if tip is not None and tip[0] - root >= float(c["tp_min_length_mm"]) else None


def spinous_tip(block: FrameBlock) -> Array | None:
    """Most dorsal point of the spinous process, (left, posterior, superior) mm."""
    c = constants("landmarks")["tips"]
    half = float(c["spinous_half_width_mm"])
    part = block.window((-half, half), (float(c["spinous_behind_wall_mm"]), float(block.posterior[-1])),
                        (float(block.superior[0]), float(block.superior[-1])))
    return extreme(part, largest_part(part.distance < 0), 1)
