"""The generator process: keeps a ring buffer of synthetic patches on disk ahead of the trainers.

Run ``python -m segmentation.training.generate --cache CACHE``. It idles while the trainers have not yet used what is
there ``--reuse`` times, so it costs little; restart it at will, trainers do not notice.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from segmentation.training.contract import SPECS, NetSpec, intensity
from segmentation.training.sources import load_sources
from segmentation.training.synthesis import MAKERS, pick_source

__all__ = ["Ring"]


class Ring:
    """Patches of one net in memory-mapped files shared between processes.

    Attributes
    ----------
    images : memmap, float16, (n, z, y, x)
        Transformed intensities.
    labels : memmap, uint8, (n, z, y, x)
        Class indices.
    counters : memmap, int64, (2,)
        Patches written, patches used.
    """

    def __init__(self, cache: Path, spec: NetSpec, size: int = 256) -> None:
        folder = Path(cache) / "ring" / spec.name
        folder.mkdir(parents=True, exist_ok=True)
        self.images = self._open(folder / "images.f16", np.float16, (size, *spec.patch))
        self.labels = self._open(folder / "labels.u8", np.uint8, (size, *spec.patch))
        self.counters = self._open(folder / "counters.i64", np.int64, (2,))
        self.size = size

    @staticmethod
    def _open(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
        length = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not path.exists() or path.stat().st_size != length:
            with open(path, "wb") as handle:
                handle.truncate(length)
        return np.memmap(path, dtype, "r+", shape=shape)

    @property
    def filled(self) -> int:
        """Patches that can be read."""
        return int(min(self.counters[0], self.size))

    def lag(self, reuse: float) -> float:
        """How many patches the generator is behind; not above zero when it may rest."""
        return float(self.size + self.counters[1] / reuse - self.counters[0])

    def write(self, hu: np.ndarray, labels: np.ndarray) -> None:
        """Put a patch at the oldest place."""
        slot = int(self.counters[0] % self.size)
        self.images[slot] = intensity(hu)
        self.labels[slot] = labels
        self.counters[0] += 1

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Copy a random patch out; waits for the first 8."""
        while self.filled < 8:
            time.sleep(1.0)
        slot = int(rng.integers(self.filled))
        self.counters[1] += 1
        return np.array(self.images[slot], np.float32), np.array(self.labels[slot])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--reuse", type=float, default=3.0, help="times each patch is used on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nets", nargs="*", default=list(SPECS))
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    sources = load_sources(args.cache)
    rings = {name: Ring(args.cache, SPECS[name]) for name in args.nets}
    while True:
        name = max(rings, key=lambda n: rings[n].lag(args.reuse))
        if rings[name].lag(args.reuse) <= 0.0:
            time.sleep(0.5)
            continue
        rings[name].write(*MAKERS[name](rng, pick_source(rng, sources, name)))


if __name__ == "__main__":
    main()
