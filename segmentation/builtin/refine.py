"""From 1.5 mm probabilities to label voxels on the input grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import to_index
from imaging.resample import crop_grid, resample
from imaging.volume import Grid, Volume
from segmentation.builtin.instances import Instance, InstanceFinder
from segmentation.builtin.junction import Sacrum
from segmentation.builtin.lattice import Box, Cube, FloatArray, Points, Slices, bounding_slices, hounsfield
from segmentation.builtin.localise import ClassMap
from segmentation.builtin.settings import settings

__all__ = ["native_block", "paint_labels", "paint_sacrum"]

_GAS_HU = -290.0


def native_block(box: Box, cube: Cube, margin_mm: float = 0.0) -> tuple[Grid, Slices]:
    """The stored voxels (turned axes) that a cube covers: their lattice and the slices that cut them out."""
    size = np.array(cube.shape) * cube.spacing
    ends = np.array([cube.corner, cube.corner + size])
    corners = np.array([[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    return crop_grid(box.grid, box.to_lps(np.clip(corners, 0, box.size)), margin_mm)


def paint_labels(volume: Volume, box: Box, chain: Sequence[Instance], labels: Sequence[int]) -> NDArray[np.uint8]:
    """Label map of a chain on the stored voxels, in turned axes.

    Where two vertebrae claim a voxel the more probable one keeps it.
    """
    out = np.zeros(box.grid.shape, np.uint8)
    best = np.zeros(box.grid.shape, np.uint8)
    array = box.axes.apply(volume.array)
    for vertebra, label in zip(chain, labels, strict=True):
        tight = bounding_slices(np.asarray(vertebra.this) > 0.05, 3)
        if tight is None:
            continue
        cube = vertebra.cube.part(tight)
        grid, cut = native_block(box, cube)
        q = resample(vertebra.this[tight].astype(np.float32), cube.grid(), grid, linear=True, fill=0.0)
        mask = _border(q, hounsfield(array[cut], volume), grid)
        mask = _piece_near(mask, grid, box.to_lps(vertebra.centre))
        share = np.maximum(np.round(q * 255.0), 1.0).astype(np.uint8)  # marrow that the net doubts is claimed too
        wins = mask & (share > best[cut])
        out[cut][wins] = label
        best[cut][wins] = share[wins]
    return out


def _border(q: FloatArray, hu: FloatArray, grid: Grid) -> NDArray[np.bool_]:
    """Inside by probability alone, or by a local threshold within the uncertain rim."""
    limits = settings().refine
    plain = q > limits.plain
    if float(grid.spacing.max()) >= limits.coarse_voxel_mm:
        return _filled(plain)
    calm = ndimage.gaussian_filter(np.clip(hu, -300.0, 800.0), limits.noise_sigma_mm / grid.spacing[::-1])
    middle, contrast = _local_threshold(calm, q, grid)
    banded = (q > limits.sure) | ((q > limits.possible) & (calm > middle))
    mask = np.where(contrast > limits.contrast_hu, banded, plain)
    return _filled(mask | ndimage.binary_closing(mask))


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what a vertebra encloses in any sagittal slice: marrow with an opening elsewhere, never the canal."""
    in_slice = ndimage.generate_binary_structure(3, 1)
    in_slice[1, 1, ::2] = False
    return np.asarray(ndimage.binary_fill_holes(mask, in_slice))


def _local_threshold(hu: FloatArray, q: FloatArray, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Midway between the local bone rim and the local soft tissue, and the difference of the two (HU)."""
    sigma = settings().refine.local_sigma_mm / grid.spacing[::-1]

    def local(where: NDArray[np.bool_]) -> FloatArray:
        weight = ndimage.gaussian_filter(where.astype(np.float32), sigma, truncate=2.5)
        total = ndimage.gaussian_filter(np.where(where, hu, 0).astype(np.float32), sigma, truncate=2.5)
        return np.asarray(total / np.maximum(weight, 1e-4), dtype=np.float32)

    bone, soft = local(q > 0.7), local((q < 0.2) & (hu > _GAS_HU))
    return np.asarray((bone + soft) / 2), np.asarray(bone - soft)


def _piece_near(mask: NDArray[np.bool_], grid: Grid, centre_lps: Points) -> NDArray[np.bool_]:
    """The connected piece that holds the body's centre; the largest when that voxel is empty."""
    pieces, count = ndimage.label(mask)
    if count <= 1:
        return mask
    middle = np.round(to_index(grid, centre_lps)[::-1]).astype(int)
    chosen = int(pieces[tuple(np.clip(middle, 0, np.array(mask.shape) - 1))])
    return np.asarray(pieces == chosen) if chosen else _largest(mask)


def paint_sacrum(labels: NDArray[np.uint8], label: int, classes: ClassMap, sacrum: Sacrum,
                 segments: Sequence[Instance], finder: InstanceFinder) -> None:
    """Add the sacrum to a label map in turned axes, in place, where no vertebra lies.

    The localising net says which bone it is; the instance net, finer, says where bone is.
    """
    limits = settings().refine
    block = bounding_slices(sacrum.mask, 3)
    if block is None:
        return
    cube = classes.cube.part(block)
    kept = np.where(ndimage.binary_dilation(sacrum.mask, iterations=2)[block], classes.of("sacrum")[block], 0)
    grid, cut = native_block(classes.cube.box, cube)
    p = resample(kept.astype(np.float32), cube.grid(), grid, linear=True, fill=0.0)
    for segment in segments:
        this = segment.this.astype(np.float32)
        p = np.maximum(p, resample(this, segment.cube.grid(), grid, linear=True, fill=0.0))
    bone = np.full(p.shape, -1.0, np.float32)
    down = sacrum.points.mean(axis=0) - sacrum.s1_centre
    seen = [(v.cube, v.this.astype(np.float32) + v.other.astype(np.float32)) for v in segments[:1]]
    first = seen or [finder.bone_at(sacrum.s1_centre)]
    for patch, probability in (*first, finder.bone_at(sacrum.s1_centre + down)):
        inner = _inner(patch)
        fine = resample(probability[inner], patch.part(inner).grid(), grid, linear=True, fill=-1.0)
        bone = np.maximum(bone, fine)
    mask = (p > limits.sacrum_plain) | ((bone > limits.plain) & (p > limits.sacrum_possible)) | ((bone < 0) & (p > 0.5))
    mask &= labels[cut] == 0
    labels[cut][_largest(ndimage.binary_fill_holes(mask))] = label


def _inner(cube: Cube) -> Slices:
    z, y, x = (slice(3, n - 3) for n in cube.shape)
    return z, y, x


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == int(sizes.argmax()))
