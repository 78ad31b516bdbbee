"""The two nets: loaded from the package, checked against their recorded hashes, run by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
import logging
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imaging.errors import AlteredError, NotFoundError
from segmentation.builtin.lattice import FloatArray, bounding_slices
from segmentation.builtin.settings import TileSettings, settings

__all__ = ["THREADS_VARIABLE", "Nets", "OnnxNets", "checked_bytes", "softmax", "tile_corners", "tile_starts"]

logger = logging.getLogger(__name__)

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


def tile_corners(wanted: NDArray[np.bool_], tile: tuple[int, int, int],
                 stride_share: float) -> list[tuple[int, int, int]]:
    """First voxels (z, y, x) of the tiles that cover what is wanted, slab by slab; tiles without any are left out."""
    block = bounding_slices(wanted)
    if block is None:
        return []
    out: list[tuple[int, int, int]] = []
    for z in tile_starts(block[0].start, block[0].stop, tile[0], wanted.shape[0], stride_share):
        slab = wanted[z: z + tile[0]]
        part = bounding_slices(slab)
        if part is None:
            continue
        for y in tile_starts(part[1].start, part[1].stop, tile[1], wanted.shape[1], stride_share):
            for x in tile_starts(part[2].start, part[2].stop, tile[2], wanted.shape[2], stride_share):
                if slab[:, y: y + tile[1], x: x + tile[2]].any():
                    out.append((z, y, x))
    return out


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
        Threads of each net; the environment variable ``NERVEPLAN_THREADS`` or 2 when not given.
    """

    def __init__(self, threads: int | None = None) -> None:
        import onnxruntime

        folder = resources.files(_PACKAGE)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or int(os.environ.get(THREADS_VARIABLE, "2"))
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
        self._tiles: TileSettings = settings().tiles

    def _run(self, name: str, image: FloatArray) -> FloatArray:
        (logits,) = self._sessions[name].run(["logits"], {"image": np.ascontiguousarray(image, dtype=np.float32)})
        return np.asarray(logits[0], dtype=np.float32)

    def instance(self, image: FloatArray) -> FloatArray:
        """See `Nets.instance`."""
        return softmax(self._run("instance", image[None]))

    def localise(self, image: FloatArray, wanted: NDArray[np.bool_]) -> FloatArray:
        """See `Nets.localise`: overlapping tiles, blended with Gaussian weights; unwanted tiles are left out."""
        tile = (self._tiles.tile_z, self._tiles.tile_y, self._tiles.tile_x)
        pad = [(0, max(t - n, 0)) for t, n in zip(tile, image.shape, strict=True)]
        padded = np.pad(image, pad, constant_values=float(image.min()))
        window = _blend_window(tile, self._tiles.sigma_share)
        total = np.zeros((len(settings().classes), *padded.shape), np.float32)
        weight = np.zeros(padded.shape, np.float32)
        tiles = tile_corners(np.pad(wanted, pad), tile, self._tiles.stride_share)
        for z, y, x in tiles:
            at = (slice(z, z + tile[0]), slice(y, y + tile[1]), slice(x, x + tile[2]))
            total[(slice(None), *at)] += softmax(self._run("localise", padded[at][None, None])) * window
            weight[at] += window
        logger.debug("localise: %d tiles of %s", len(tiles), tile)
        total[0][weight == 0] = 1.0
        total /= np.where(weight > 0, weight, np.float32(1))
        depth, height, width = image.shape
        return total[:, :depth, :height, :width]
