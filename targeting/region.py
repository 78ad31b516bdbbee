"""Where a tip may end when the target is a space and not a point: a region on a small lattice, and a bony corridor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side, VertebralFrame, degrees_between, to_index
from imaging.volume import Grid
from segmentation.shape import FrameBlock

__all__ = ["Corridor", "Standing", "TipRegion", "spread", "tip_region"]

Array = NDArray[np.float64]
Field = NDArray[np.float32]
#: A tip is inside when all eight lattice points about it are: the interpolated distance is then zero.
_INSIDE_MM = 1e-3
_PATH_STEP_MM = 0.5


def _sample(field: Field, grid: Grid, points: Array, outside: float) -> Array:
    """(n,) trilinear values of a field at (n, 3) LPS mm; `outside` beyond the lattice."""
    index = to_index(grid, points).T[::-1]
    return np.asarray(ndimage.map_coordinates(field, index, order=1, mode="constant", cval=outside, output=np.float64))


@dataclass(frozen=True, eq=False)
class Corridor:
    """A way through bone that leaves a cortical margin on its medial and inferior side.

    Attributes
    ----------
    grid : Grid
        Lattice of the fields, in canonical order of the frame (superior, posterior, left).
    medial, inferior : (z, y, x) float32, mm
        How far bone reaches from each point toward the midline and toward the feet; 0 outside bone.
    depth : (z, y, x) float32, mm
        Distance to the bone's surface inside it, negative outside.
    margin_mm : float
        Asked for beyond the needle's surface, medially and inferiorly; elsewhere the needle must stay in bone.
    frame, ahead_mm, behind_mm
        The pedicle lies between these two posterior coordinates of the frame; only there the margins are asked for.
    """

    grid: Grid
    medial: Field
    inferior: Field
    depth: Field
    margin_mm: float
    frame: VertebralFrame
    ahead_mm: float
    behind_mm: float

    @property
    def limits(self) -> tuple[tuple[float, str], ...]:
        """What is asked beside the needle's surface, mm, and where, for each column of `margins`."""
        return ((self.margin_mm, "medially in the pedicle"), (self.margin_mm, "inferiorly in the pedicle"),
                (0.0, "about the needle in the pedicle"))

    def margins(self, tips: Array, directions: Array, length_mm: float) -> Array:
        """(n, 3) mm: least medial and inferior bone from each needle's axis, and least depth in bone, in the pedicle.

        -inf where a needle never runs through the pedicle's range.
        """
        start, slope = self.frame.to_local(tips)[:, 1], directions @ self.frame.posterior
        out = np.full((len(tips), 3), -np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = (start[:, None] - [self.ahead_mm, self.behind_mm]) / slope[:, None]
        first, last = np.clip(np.sort(ends, axis=1), 0.0, length_mm).T
        through = np.flatnonzero(np.isfinite(ends).all(axis=1) & (last > first))
        if not len(through):
            return out
        steps = int(np.ceil((last - first)[through].max() / _PATH_STEP_MM)) + 1
        back = first[through, None] + (last - first)[through, None] * np.linspace(0.0, 1.0, steps)
        points = tips[through, None] - back[..., None] * directions[through, None]
        for n, field in enumerate((self.medial, self.inferior, self.depth)):
            values = _sample(field, self.grid, points.reshape(-1, 3), 0.0)
            out[through, n] = values.reshape(len(through), steps).min(axis=1)
        return out


@dataclass(frozen=True, eq=False)
class Standing:
    """How a needle must stand on the bone.

    Attributes
    ----------
    normal : (3,) unit LPS
        Away from the bone.
    limit_deg : float
        Largest angle of the needle to it.
    """

    normal: Array
    limit_deg: float

    def angles(self, directions: Array) -> Array:
        """(n,) degrees between (n, 3) unit directions, entry to tip, and the perpendicular."""
        return degrees_between(directions, -self.normal)


@dataclass(frozen=True, eq=False)
class TipRegion:
    """The places a tip may end in.

    Attributes
    ----------
    grid : Grid
        Lattice of the fields.
    outside : (z, y, x) float32, mm
        Distance to the nearest allowed lattice point, 0 on them.
    bones : (z, y, x) float32, mm
        Distance to the nearest bone, each bone taken alone: the gap between two touching masks stays a gap.
    aims : (n, 3) LPS mm
        Places to aim at, spread over the region, the best first.
    places : tuple of str
        Which part of the region each aim belongs to.
    words : str
        What the region is, for a sentence.
    corridor : Corridor or None
        The bony way to it.
    standing : Standing or None
        How the needle must stand on the bone there.
    """

    grid: Grid
    outside: Field
    bones: Field
    aims: Array
    places: tuple[str, ...]
    words: str
    corridor: Corridor | None = None
    standing: Standing | None = None

    def excess(self, tips: Array) -> Array:
        """(n,) mm by which (n, 3) tips lie outside; 0 inside."""
        gap = _sample(self.outside, self.grid, tips, 1e3)
        return np.asarray(np.where(gap <= _INSIDE_MM, 0.0, gap))

    def bone_gap(self, tips: Array, directions: Array, zone_mm: float) -> Array:
        """(n,) mm from the axis to the nearest bone over the last `zone_mm` of needles, as far as the lattice goes."""
        back = np.arange(0.0, zone_mm + 1e-6, _PATH_STEP_MM)
        points = tips[:, None] - back[:, None] * directions[:, None]
        values = _sample(self.bones, self.grid, points.reshape(-1, 3), 1e3)
        return np.asarray(values.reshape(len(tips), len(back)).min(axis=1))

    def place(self, tip: Array) -> str:
        """The part of the region a tip lies in."""
        return self.places[int(np.argmin(np.linalg.norm(self.aims - tip, axis=1)))]


def spread(points: Array, first: int, gap_mm: float, most: int) -> list[int]:
    """Indices of points at least `gap_mm` apart, taken in order from the one at `first`, at most `most` of them."""
    chosen = [first]
    for n in range(len(points)):
        if len(chosen) >= most:
            break
        if np.linalg.norm(points[chosen] - points[n], axis=1).min() >= gap_mm:
            chosen.append(n)
    return chosen


def tip_region(block: FrameBlock, side: Side, parts: Sequence[tuple[str, NDArray[np.bool_]]], best: Array,
               bones: Field, words: str, gap_mm: float, most: int, corridor: Corridor | None = None,
               ) -> TipRegion | None:
    """Build a region from the parts of a block.

    Parameters
    ----------
    block : FrameBlock
        Along (left, posterior, superior) of its frame; gives the lattice.
    parts : sequence of (str, (z, y, x) bool)
        Name and allowed lattice points of each part.
    best : (3,) mm
        (lateral, posterior, superior) of the side: aims are ordered from here outward.
    bones : (z, y, x) float32, mm
    gap_mm, most : float, int
        Least distance between aims and their greatest number.

    Returns
    -------
    TipRegion or None
        None when nothing is allowed.
    """
    allowed = np.any([mask for _, mask in parts], axis=0)
    if not allowed.any():
        return None
    outside = ndimage.distance_transform_edt(~allowed).astype(np.float32) * np.float32(block.step)
    aims, places = [], []
    for name, mask in parts:
        # aims keep one lattice step from the region's edge where the part is wide enough
        core = ndimage.binary_erosion(mask)
        k, j, i = np.nonzero(core if core.any() else mask)
        if not len(k):
            continue
        # along the side's own axes and on the lattice itself, so that a mirrored patient gives mirrored aims
        local = np.column_stack([side.sign * block.lateral[i], block.posterior[j], block.superior[k]])
        local = local[_outward(local, best)]
        chosen = local[spread(local, 0, gap_mm, most)]
        aims.append(chosen)
        places += [name] * len(chosen)
    points = np.concatenate(aims)
    order = _outward(points, best)
    return TipRegion(block.grid, outside, bones, block.frame.from_side(points[order], side),
                     tuple(places[n] for n in order), words, corridor)


def _outward(points: Array, best: Array) -> NDArray[np.intp]:
    """The order of (n, 3) lattice points from `best` outward, ties by their coordinates."""
    away = points - best
    return np.lexsort((away[:, 0], away[:, 1], away[:, 2], np.round((away**2).sum(axis=1), 6)))
