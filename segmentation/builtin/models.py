"""The two nets: loaded from the package, checked against their recorded hashes, run by onnxruntime on the CPU.

Each answer is the mean of two: of the image, and of its left-right mirror image turned back. The answer to a mirrored
patient therefore is the mirrored answer.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from imaging.errors import AlteredError, NotFoundError
from segmentation.builtin.lattice import FloatArray, Slices, bounding_slices
from segmentation.builtin.settings import TileSettings, settings

__all__ = ["THREADS_VARIABLE", "Nets", "OnnxNets", "checked_bytes", "softmax", "tile_boxes", "tile_side", "tile_starts"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PACKAGE = "segmentation.data"
#: Environment variable with the number of threads a net may use.
THREADS_VARIABLE = "NERVEPLAN_THREADS"


class Nets(Protocol):
    """What the engine asks of its nets; tests answer from known anatomy."""

    def localise(self, image: FloatArray, wanted: NDArray[np.bool_]) -> FloatArray:
        """Tissue classes at 3 mm.

        Parameters
        ----------
        image : (z, y, x) float32
            Input scale of `lattice.intensity`.
        wanted : (z, y, x) bool
            Where an answer is needed; elsewhere background may be returned.

        Returns
        -------
        (11, z, y, x) float32
            Probabilities.
        """
        ...

    def instance(self, image: FloatArray) -> FloatArray:
        """(2, 64, 64, 64) intensity and centre at 1.5 mm to (3, 64, 64, 64): background, this vertebra, other."""
        ...


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities over axis 0, in place."""
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def checked_bytes(content: bytes, name: str, table: Mapping[str, Any]) -> bytes:
    """The content itself when its SHA-256 is the recorded one, else an AlteredError."""
    expected = str(table.get(name, {}).get("sha256", ""))
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise AlteredError(
            f"the weights {name}.onnx are not the ones recorded in models.toml (SHA-256 {found[:12]}..., expected "
            f"{expected[:12] or 'none'}...); reinstall nerveplan")
    return content


def tile_starts(low: int, high: int, tile: int, size: int, stride_share: float) -> list[int]:
    """First voxels of equal, overlapping tiles that cover `low` to `high` (exclusive) of a line of `size` voxels."""
    length = high - low
    if length <= tile:
        return [int(np.clip(low - (tile - length) // 2, 0, size - tile))]
    count = -(-(length - tile) // round(tile * stride_share)) + 1
    return [low + round(n * (length - tile) / (count - 1)) for n in range(count)]


def tile_side(length: int, tile: int, largest: int, size: int) -> int:
    """Side of the tiles of a line: the usual one, or a larger one (a multiple of 8) where a single tile then does."""
    whole = -(-length // 8) * 8
    return whole if tile < whole <= min(largest, size) else tile


def tile_boxes(wanted: NDArray[np.bool_], tiles: TileSettings) -> list[Slices]:
    """The tiles (z, y, x) that cover what is wanted, slab by slab; tiles without any are left out.

    The array must be at least a tile's size along each axis.
    """
    block = bounding_slices(wanted)
    if block is None:
        return []
    share, largest = tiles.stride_share, tiles.tile_largest
    out: list[Slices] = []
    for z in tile_starts(block[0].start, block[0].stop, tiles.tile_z, wanted.shape[0], share):
        slab = wanted[z: z + tiles.tile_z]
        part = bounding_slices(slab)
        if part is None:
            continue
        rows, columns = part[1], part[2]
        height = tile_side(rows.stop - rows.start, tiles.tile_y, largest, wanted.shape[1])
        width = tile_side(columns.stop - columns.start, tiles.tile_x, largest, wanted.shape[2])
        for y in tile_starts(rows.start, rows.stop, height, wanted.shape[1], share):
            for x in tile_starts(columns.start, columns.stop, width, wanted.shape[2], share):
                if slab[:, y: y + height, x: x + width].any():
                    out.append((slice(z, z + tiles.tile_z), slice(y, y + height), slice(x, x + width)))
    return out


@cache
def _blend_window(shape: tuple[int, int, int], sigma_share: float) -> FloatArray:
    """Gaussian weights of a tile, 1 in the middle."""
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (sigma_share * n)) ** 2) for n in shape]
    window = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return np.asarray(np.maximum(window, 1e-3), dtype=np.float32)


class OnnxNets:
    """The shipped nets.

    Parameters
    ----------
    threads : int, optional
        Threads in all; the environment variable ``NERVEPLAN_THREADS`` or 2 when not given. An image and its mirror
        image are answered side by side where there is more than one.
    """

    def __init__(self, threads: int | None = None) -> None:
        import onnxruntime

        folder = resources.files(_PACKAGE)
        options = onnxruntime.SessionOptions()
        threads = threads or int(os.environ.get(THREADS_VARIABLE, "2"))
        options.intra_op_num_threads = max(threads // 2, 1)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            table = tomllib.loads(folder.joinpath("models.toml").read_text(encoding="utf-8"))
            sessions = {}
            for name in ("localise", "instance"):
                content = checked_bytes(folder.joinpath(f"{name}.onnx").read_bytes(), name, table)
                sessions[name] = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except FileNotFoundError as error:
            raise NotFoundError("the built-in engine's weights are not installed; reinstall nerveplan, or use "
                                "--labels or another --engine") from error
        self._sessions = sessions
        self._pool = ThreadPoolExecutor(min(threads, 2))
        self._tiles: TileSettings = settings().tiles

    def _run(self, name: str, image: FloatArray) -> FloatArray:
        (logits,) = self._sessions[name].run(["logits"], {"image": np.ascontiguousarray(image, dtype=np.float32)})
        return np.asarray(logits[0], dtype=np.float32)

    def instance(self, image: FloatArray) -> FloatArray:
        """See `Nets.instance`.

        The anchor lies one voxel left of the patch's midplane. To mirror the patch about the anchor, its first column
        of voxels, which has no counterpart, is made a copy of the next, and is background in the answer.
        """
        direct = np.array(image, dtype=np.float32)
        direct[0, ..., 0] = direct[0, ..., 1]
        mirrored = direct.copy()
        mirrored[0, ..., 1:] = direct[0, ..., :0:-1]
        mirrored[0, ..., 0] = mirrored[0, ..., 1]
        one, other = self._both(lambda patch: self._run("instance", patch[None]), direct, mirrored)
        one[..., 1:] = (one[..., 1:] + other[..., :0:-1]) / 2
        answer = softmax(one)
        answer[..., 0] = np.array([1, 0, 0], np.float32)[:, None, None]
        return answer

    def localise(self, image: FloatArray, wanted: NDArray[np.bool_]) -> FloatArray:
        """See `Nets.localise`: overlapping tiles, blended with Gaussian weights; unwanted tiles are left out."""
        one, other = self._both(lambda pair: self._localise_once(*pair), (image, wanted),
                                (image[..., ::-1], wanted[..., ::-1]))
        one += other[..., ::-1]
        one /= 2
        return one

    def _both(self, ask: Callable[[T], FloatArray], one: T, other: T) -> tuple[FloatArray, FloatArray]:
        first, second = self._pool.map(ask, (one, other))
        return first, second

    def _localise_once(self, image: FloatArray, wanted: NDArray[np.bool_]) -> FloatArray:
        least = (self._tiles.tile_z, self._tiles.tile_y, self._tiles.tile_x)
        pad = [(0, max(t - n, 0)) for t, n in zip(least, image.shape, strict=True)]
        padded = np.pad(image, pad, constant_values=float(image.min()))
        total = np.zeros((len(settings().classes), *padded.shape), np.float32)
        weight = np.zeros(padded.shape, np.float32)
        tiles = tile_boxes(np.pad(wanted, pad), self._tiles)
        for box in tiles:
            piece = padded[box]
            window = _blend_window(piece.shape, self._tiles.sigma_share)
            total[(slice(None), *box)] += softmax(self._run("localise", piece[None, None])) * window
            weight[box] += window
        logger.debug("localise: %d tiles", len(tiles))
        total[0][weight == 0] = 1.0
        total /= np.where(weight > 0, weight, np.float32(1))
        depth, height, width = image.shape
        return total[:, :depth, :height, :width]
