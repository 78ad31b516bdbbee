"""The sacrum as seen from behind or from the front: its surface as a map of depths, and the pits in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation.constants import constants

__all__ = ["Pit", "SacralView", "find_pits", "sacral_view"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SacralView:
    """What a viewer on one face of the sacrum sees.

    Attributes
    ----------
    lateral, superior : (n,) mm
        Coordinates of the map along the S1 frame.
    toward : (n,) mm
        Coordinates along the line of sight, growing toward the viewer.
    surface : (superior, lateral) float64, mm
        Where along `toward` bone is first met.
    bridged : (superior, lateral) float64, mm
        The same surface with its pits bridged.
    covered : (superior, lateral) bool
        Where the sacrum is, its holes included.
    """

    lateral: Array
    superior: Array
    toward: Array
    surface: Array
    bridged: Array
    covered: Mask

    @property
    def step(self) -> float:
        """mm between places of the map."""
        return float(self.lateral[1] - self.lateral[0])

    @property
    def depth(self) -> Array:
        """(superior, lateral) mm: how deep each place lies under the bridged surface, capped."""
        return np.clip(self.bridged - self.surface, 0.0, float(constants("sacral_foramina")["pit"]["cap_mm"]))

    def mirrored(self) -> SacralView:
        """The same map with its lateral axis turned round."""
        return SacralView(-self.lateral[::-1], self.superior, self.toward, self.surface[:, ::-1],
                          self.bridged[:, ::-1], self.covered[:, ::-1])


@dataclass(frozen=True, eq=False)
class Pit:
    """An opening in the surface.

    Attributes
    ----------
    lateral, superior : float
        Its middle, mm.
    deepest_mm : float
        Smoothed, capped.
    area : (superior, lateral) bool
        The opening on the view's map.
    """

    lateral: float
    superior: float
    deepest_mm: float
    area: Mask


def _disc(radius_mm: float, step_mm: float) -> Mask:
    n = int(radius_mm / step_mm)
    g = np.arange(-n, n + 1) * step_mm
    return np.asarray(g[:, None]**2 + g**2 <= radius_mm**2 + 1e-9)


def sacral_view(solid: Mask, hull: Mask, lateral: Array, toward: Array, superior: Array) -> SacralView:
    """Look at the sacrum from the far end of `toward`.

    Parameters
    ----------
    solid, hull : (superior, toward, lateral) bool
        Bone; and the sacrum with everything its mask holds.
    """
    from_viewer = toward[::-1]
    met = solid[:, ::-1]
    surface = np.where(met.any(axis=1), from_viewer[met.argmax(axis=1)], toward[0])
    covered = ndimage.binary_fill_holes(hull.any(axis=1))
    disc = _disc(float(constants("sacral_foramina")["pit"]["closing_mm"]), float(lateral[1] - lateral[0]))
    # beyond the silhouette nothing holds the bridge up
    inner = np.where(covered, surface, toward[0] - 1e3)
    bridged = np.maximum(ndimage.grey_closing(inner, footprint=disc), surface)
    return SacralView(lateral, superior, toward, np.where(covered, surface, toward[0]),
                      np.where(covered, bridged, toward[0]), covered)


def find_pits(view: SacralView) -> list[Pit]:
    """Pits on the side of the map where `lateral` is positive, head to foot."""
    c = constants("sacral_foramina")["pit"]
    depth, step = view.depth, view.step
    smooth = ndimage.gaussian_filter(depth, float(c["smooth_mm"]) / step)
    x, z = np.meshgrid(view.lateral, view.superior)
    (left, right), (low, high) = c["lateral_mm"], c["superior_mm"]
    peak = ((smooth == ndimage.maximum_filter(smooth, footprint=_disc(float(c["apart_mm"]), step)))
            & (smooth >= float(c["least_mm"])) & (x >= left) & (x <= right) & (z >= low) & (z <= high))
    out: list[Pit] = []
    for j, i in np.argwhere(peak)[::-1]:
        rim = min(max(float(c["rim_share"]) * float(smooth[j, i]), float(c["rim_mm"][0])), float(c["rim_mm"][1]))
        near = (x - x[j, i])**2 + (z - z[j, i])**2 <= float(c["reach_mm"])**2
        parts, _ = ndimage.label((depth > rim) & near)
        if not parts[j, i]:
            continue
        area = parts == parts[j, i]
        size = float(area.sum()) * step**2
        if not float(c["area_mm2"][0]) <= size <= float(c["area_mm2"][1]):
            continue
        weight = depth * area
        out.append(Pit(float((weight * x).sum() / weight.sum()), float((weight * z).sum() / weight.sum()),
                       float(smooth[j, i]), np.asarray(area)))
    return _apart(out, float(c["apart_mm"]))


def _apart(pits: list[Pit], least_mm: float) -> list[Pit]:
    """Pits whose middles differ; of two that agree, the deeper and larger one."""
    kept: list[Pit] = []
    for pit in sorted(pits, key=lambda p: (-p.deepest_mm, -int(p.area.sum()))):
        if all(np.hypot(pit.lateral - k.lateral, pit.superior - k.superior) >= least_mm for k in kept):
            kept.append(pit)
    return sorted(kept, key=lambda p: -p.superior)
