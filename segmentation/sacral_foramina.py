"""The sacral foramina S1 to S3 with their tunnels, and the sacral canal: found in the scan, else in the mask.

Seen from behind and from the front a foramen is a pit in the sacrum's surface. With a CT the surface is that of bright
bone about the mask, because masks often run across foramina; without one it is the mask's own, and a mask that closes
them hides them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import Side, VertebralFrame, to_world
from imaging.resample import crop_grid, resample
from imaging.volume import Grid
from segmentation.constants import constants
from segmentation.frames import FrameFit
from segmentation.landmarks.cortex import Cortex
from segmentation.landmarks.doubts import Doubts
from segmentation.landmarks.processes import largest_part
from segmentation.sacral_chain import SEGMENTS, ForamenPair, likeliest_chains
from segmentation.sacral_view import Pit, SacralView, find_pits, sacral_view
from segmentation.shape import FrameBlock
from segmentation.spine import Landmark

__all__ = ["SacralForamen", "SacralForamina", "find_sacral_foramina"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SacralForamen:
    """One foramen.

    Attributes
    ----------
    segment : str
        ``"S1"`` to ``"S3"``.
    posterior : Landmark
        Middle of the posterior opening, on the surface that bridges it.
    rim : (n, 3) LPS mm
        Places of the bridged surface that the posterior opening takes up.
    anterior : Landmark or None
        Middle of the anterior opening; None where none was found.
    """

    segment: str
    side: Side
    posterior: Landmark
    rim: Array
    anterior: Landmark | None


@dataclass(frozen=True, eq=False)
class SacralForamina:
    """Everything found on one sacrum.

    Attributes
    ----------
    missing : mapping of (segment, side) to str
        Why a posterior opening was not found.
    tunnels, canal, loose : (z, y, x) bool
        On `grid`: the soft inside of the foramina found; the sacral canal; and soft places of the mask behind the
        dorsal cortex that the scan shows.
    back : SacralView
        The sacrum from behind, in `frame`; its bridged surface is the dorsal cortex.
    """

    frame: VertebralFrame
    found: tuple[SacralForamen, ...]
    missing: Mapping[tuple[str, Side], str]
    grid: Grid
    tunnels: Mask
    canal: Mask
    loose: Mask
    back: SacralView
    seen_in_scan: bool

    def foramen(self, segment: str, side: Side) -> SacralForamen | None:
        """The foramen of a segment on a side, or None."""
        return next((f for f in self.found if f.segment == segment and f.side is side), None)

    def on_grid(self, mask: Mask, grid: Grid) -> Mask:
        """`tunnels` or `canal` on another lattice, by the nearest place."""
        out = np.zeros(grid.shape, np.bool_)
        ends = np.array(list(product(*((0.0, n - 1.0) for n in self.grid.shape[::-1]))))
        part, cut = crop_grid(grid, to_world(self.grid, ends), 1.0)
        out[cut] = resample(mask, self.grid, part, linear=False, fill=0)
        return out


@dataclass(frozen=True, eq=False)
class _Lattice:
    """The sacrum on a lattice along its frame.

    Attributes
    ----------
    hull, solid, soft : (superior, posterior, lateral) bool
        Inside the mask; bone; and what is surely none, which in a scan leaves out marrow poor in lime.
    """

    block: FrameBlock
    hull: Mask
    solid: Mask
    soft: Mask

    def view(self, behind: bool) -> SacralView:
        """From behind, or from the front."""
        b = self.block
        if behind:
            return sacral_view(self.solid, self.hull, b.lateral, b.posterior, b.superior)
        return sacral_view(self.solid[:, ::-1], self.hull[:, ::-1], b.lateral, -b.posterior[::-1], b.superior)


def _bone_limit(hull: Mask, values: Array, block: FrameBlock) -> float:
    """Hounsfield units above which a place is bone, by this sacrum's own dorsal cortex."""
    c = constants("sacral_foramina")["bone"]
    inside = hull[:, ::-1].cumsum(axis=1) * block.step
    peak = np.where((inside > 0) & (inside <= float(c["peak_depth_mm"])), values[:, ::-1], -np.inf).max(axis=1)
    part = np.isfinite(peak) & (block.superior < 0)[:, None] & (np.abs(block.lateral) < 34.0)
    if not part.any():
        return float(c["limit_hu"][1])
    cortex = float(np.median(peak[part]))
    return float(np.clip(float(c["soft_hu"]) + float(c["share"]) * (cortex - float(c["soft_hu"])), *c["limit_hu"]))


def _lattice(fit: FrameFit, cortex: Cortex | None) -> _Lattice:
    assert fit.frame is not None
    c = constants("sacral_foramina")["view"]
    half, (front, back), (low, high) = float(c["lateral_mm"]), c["posterior_mm"], c["superior_mm"]
    block = fit.field.block(fit.frame, (-half, front, low), (half, back, high), float(c["step_mm"]))
    hull = np.asarray(block.distance < 0)
    if cortex is None:
        return _Lattice(block, hull, hull, ~hull)
    values = cortex.sample(to_world(block.grid, _indices(block.grid)))
    near = np.asarray(block.distance <= float(c["near_mask_mm"]))
    limit = _bone_limit(hull, values, block)
    smooth = ndimage.gaussian_filter(values, float(constants("sacral_foramina")["bone"]["soft_smooth_mm"]) / block.step)
    return _Lattice(block, hull, near & (values > limit),
                    smooth < float(constants("sacral_foramina")["bone"]["soft_below_hu"]))


def _indices(grid: Grid) -> Array:
    """(z, y, x, 3) float64: every (i, j, k) of a lattice."""
    return np.stack(np.meshgrid(*(np.arange(float(n)) for n in grid.shape), indexing="ij"), axis=-1)[..., ::-1]


def _pits(view: SacralView) -> dict[Side, list[Pit]]:
    """Of both sides, each with its lateral axis growing away from the midline."""
    return {Side.LEFT: find_pits(view), Side.RIGHT: find_pits(view.mirrored())}


def _place(view: SacralView, pit: Pit, behind: bool) -> Array:
    """(3,) mm: the pit's middle on the bridged surface, on the map's own side."""
    i = int(np.argmin(np.abs(view.lateral - pit.lateral)))
    j = int(np.argmin(np.abs(view.superior - pit.superior)))
    height = float(view.bridged[j, i])
    return np.array([pit.lateral, height if behind else -height, pit.superior])


def _mark(fit: FrameFit, side: Side, place: Array, doubts: Doubts) -> Landmark:
    assert fit.frame is not None
    sigma = float(constants("sacral_foramina")["confidence"]["sigma_mm"])
    half = 0.5 * fit.field.grid.direction * fit.field.grid.spacing
    return Landmark(fit.frame.from_side(place, side), sigma**2 * np.eye(3) + half @ half.T, doubts.confidence,
                    tuple(doubts.reasons))


def _doubts(fit: FrameFit, n: int, chain: Sequence[ForamenPair], other: ForamenPair, in_scan: bool,
            step_mm: float) -> Doubts:
    """What speaks against the foramen of the chain's segment `n`."""
    c = constants("sacral_foramina")["confidence"]
    segment, pair = SEGMENTS[n], chain[n]
    doubts, down, low = Doubts(), float(c["marked_down"]), float(c["low"])
    if not in_scan:
        doubts.add(down, "seen in the mask alone, no scan to look in")
    if fit.reasons:
        doubts.add(down, "; ".join(fit.reasons))
    if pair.front is None:
        doubts.add(down, "no anterior opening found in front of it")
    if pair.deviation > float(c["deviation"]):
        doubts.add(low, f"{pair.deviation:.1f} standard deviations from where {segment} is expected")
    if not any(p.behind is not None for p in (*chain[:n], *chain[n + 1:])):
        doubts.add(down, f"the only one found on its side: that it is {segment} rests on its height alone")
    if pair.behind is not None and float(pair.behind.area.sum()) * step_mm**2 > float(c["wide_mm2"]):
        doubts.add(down, "its opening is wide: the rim is doubtful")
    if other.behind is None:
        doubts.add(down, f"no {segment} foramen found on the other side to compare with")
    elif pair.behind is not None and abs(pair.behind.superior - other.behind.superior) > float(c["sides_mm"]):
        doubts.add(low, f"left and right {segment} lie "
                        f"{abs(pair.behind.superior - other.behind.superior):.0f} mm apart in height")
    if float(fit.field.grid.spacing.max()) > float(c["coarse_mm"]):
        doubts.add(down, f"voxels of {float(fit.field.grid.spacing.max()):.1f} mm do not show its rim")
    return doubts


def _expected(chain: Sequence[ForamenPair], n: int) -> tuple[float, float]:
    """(lateral, superior) mm where a foramen that was not found should be."""
    c = constants("sacral_foramina")["prior"]
    gaps = [0.0, *np.cumsum([float(v) for v in c["gap_mm"]])]
    known = [(pair.height + gaps[m], abs(m - n)) for m, pair in enumerate(chain) if pair.height is not None]
    first = min(known, key=lambda t: t[1])[0] if known else float(c["first_mm"])
    return float(c["lateral_mm"][n]), first - gaps[n]


def _why_missing(fit: FrameFit, lattice: _Lattice, view: SacralView, side: Side, place: tuple[float, float],
                 in_scan: bool) -> str:
    assert fit.frame is not None
    j = int(np.argmin(np.abs(view.superior - place[1])))
    i = int(np.argmin(np.abs(view.lateral - side.sign * place[0])))
    point = fit.frame.from_side((place[0], float(view.bridged[j, i]), place[1]), side)
    if not bool(fit.field.in_view(point, 0.0)):
        return "its place lies beyond the edge of the scan"
    if not view.covered[j, i]:
        return "the sacrum's mask does not reach its place"
    return ("no opening in the dorsal cortex where it is expected" if in_scan else
            "the mask shows no opening where it is expected, and there is no scan to look in")


def _open_share(lattice: _Lattice, behind: Array, ahead: Array) -> float:
    """Share of the straight way between two openings, (3,) mm along (left, posterior, superior), that is no bone."""
    b = lattice.block
    way = behind + np.linspace(0.05, 0.95, 40)[:, None] * (ahead - behind)
    i, j, k = np.rint((way - (b.lateral[0], b.posterior[0], b.superior[0])) / b.step).astype(int).T
    return float(lattice.soft[k, j, i].mean())


def _tunnel(lattice: _Lattice, n: int, behind: Array, ahead: Array) -> Mask:
    """The soft places about the line between two openings of segment `n`, (3,) mm along (left, posterior, superior)."""
    c = constants("sacral_foramina")["tunnel"]
    b = lattice.block
    z, y, x = np.meshgrid(b.superior, b.posterior, b.lateral, indexing="ij", sparse=True)
    line = ahead - behind
    length = float(np.linalg.norm(line))
    u = line / length
    along = (x - behind[0]) * u[0] + (y - behind[1]) * u[1] + (z - behind[2]) * u[2]
    away2 = (x - behind[0])**2 + (y - behind[1])**2 + (z - behind[2])**2 - along**2
    beyond = float(c["ahead_mm"])
    inside = (away2 <= float(c["radius_mm"][n])**2) & (along >= -beyond) & (along <= length + beyond)
    return np.asarray(inside & lattice.soft)


def _between(lattice: _Lattice, back: SacralView, front: SacralView) -> Mask:
    """(z, y, x): under both bridged surfaces."""
    y = lattice.block.posterior[None, :, None]
    return np.asarray((y <= back.bridged[:, None]) & (y >= -front.bridged[:, None]) & back.covered[:, None])


def _canal(lattice: _Lattice, back: SacralView, between: Mask) -> Mask:
    """The soft places under the median crest, in one piece."""
    c = constants("sacral_foramina")["canal"]
    b = lattice.block
    down = np.clip(-b.superior / float(c["below_mm"]), 0.0, 1.0)
    wide, narrow = (float(v) for v in c["half_width_mm"])
    least, deep = (float(v) for v in c["depth_mm"])
    half = (wide + (narrow - wide) * down)[:, None, None]
    deepest = (deep + (float(c["depth_low_mm"]) - deep) * down)[:, None, None]
    under = back.bridged[:, None] - b.posterior[None, :, None]
    region = (between & lattice.soft & (np.abs(b.lateral) <= half) & (under >= least) & (under <= deepest)
              & (b.superior <= float(c["top_mm"]))[:, None, None]
              & (b.superior >= -float(c["below_mm"]))[:, None, None])
    return largest_part(np.asarray(region))


def _loose(lattice: _Lattice, back: SacralView) -> Mask:
    """Soft places of the mask behind the cortex, over the part of the back that carries the foramina."""
    c = constants("sacral_foramina")["loose"]
    b = lattice.block
    low, high = (float(v) for v in c["superior_mm"])
    part = (np.abs(b.lateral) <= float(c["lateral_mm"])) & ((b.superior >= low) & (b.superior <= high))[:, None]
    behind = b.posterior[None, :, None] - back.bridged[:, None]
    return np.asarray(lattice.hull & lattice.soft & (behind > 0) & (behind <= float(c["thick_mm"])) & part[:, None])


def find_sacral_foramina(fit: FrameFit, cortex: Cortex | None = None) -> SacralForamina:
    """Look for the foramina S1 to S3.

    Parameters
    ----------
    fit : FrameFit
        The sacrum, with a frame.
    cortex : Cortex, optional
        The scan. Without it an opening is only seen where the mask leaves it open.
    """
    assert fit.frame is not None
    lattice = _lattice(fit, cortex)
    back, front = lattice.view(True), lattice.view(False)
    chains = likeliest_chains(_pits(back), _pits(front))
    between = _between(lattice, back, front)
    tunnels = np.zeros(between.shape, np.bool_)
    found: list[SacralForamen] = []
    missing: dict[tuple[str, Side], str] = {}
    for n, segment in enumerate(SEGMENTS):
        for side in Side:
            pair = chains[side][n]
            own = back if side is Side.LEFT else back.mirrored()
            place = None if pair.behind is None else _place(own, pair.behind, True)
            edge = float(constants("sacral_foramina")["view"]["edge_mm"])
            if place is None or not bool(fit.field.in_view(fit.frame.from_side(place, side), edge)):
                missing[segment, side] = ("it lies at the edge of the scan" if place is not None else _why_missing(
                    fit, lattice, back, side, _expected(chains[side], n), cortex is not None))
                continue
            doubts = _doubts(fit, n, chains[side], chains[side.other][n], cortex is not None, back.step)
            made, ahead = _foramen(fit, lattice, (back, front), segment, side, pair, place, doubts)
            sign = np.array([side.sign, 1.0, 1.0])
            through = _open_share(lattice, sign * place, sign * ahead)
            if cortex is None and through < float(constants("sacral_foramina")["tunnel"]["mask_open_share"]):
                missing[segment, side] = "the mask is closed behind its pit, and there is no scan to look in"
                continue
            found.append(made)
            tunnels |= _tunnel(lattice, n, sign * place, sign * ahead)
    canal = _canal(lattice, back, between)
    return SacralForamina(fit.frame, tuple(found), missing, lattice.block.grid, tunnels & between, canal,
                          _loose(lattice, back), back, cortex is not None)


def _foramen(fit: FrameFit, lattice: _Lattice, views: tuple[SacralView, SacralView], segment: str, side: Side,
             pair: ForamenPair, place: Array, doubts: Doubts) -> tuple[SacralForamen, Array]:
    """One foramen, and where its tunnel ends in front, (3,) mm along (lateral, posterior, superior) of the side."""
    assert fit.frame is not None
    assert pair.behind is not None
    back, front = (view if side is Side.LEFT else view.mirrored() for view in views)
    j, i = np.nonzero(pair.behind.area)
    rim = np.column_stack([back.lateral[i], back.bridged[j, i], back.superior[j]])
    anterior, ahead = None, place - (0.0, float(constants("sacral_foramina")["tunnel"]["alone_mm"]), 0.0)
    if pair.front is not None:
        ahead = _place(front, pair.front, False)
        anterior = _mark(fit, side, ahead, doubts)
    return SacralForamen(segment, side, _mark(fit, side, place, doubts), fit.frame.from_side(rim, side),
                         anterior), ahead
