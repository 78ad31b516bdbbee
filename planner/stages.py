"""Stages of a run: each timed, each with its share of one progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from planner.plan import StageTime, package_version
from segmentation.engine import Progress

__all__ = ["Stages", "library_versions", "peak_memory_mb"]

_LIBRARIES = ("numpy", "scipy", "SimpleITK", "pydicom", "onnxruntime", "numba", "vtk")


class Stages:
    """Times the stages of a run and turns their own fractions into one, 0 to 1."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done = 0.0
        self._times: list[StageTime] = []

    @property
    def times(self) -> tuple[StageTime, ...]:
        """The finished stages in order."""
        return tuple(self._times)

    @contextmanager
    def stage(self, name: str, share: float) -> Iterator[Progress]:
        """Time a block; it reports its own 0 to 1, which is `share` of the whole."""
        base = self._done

        def report(words: str, fraction: float) -> None:
            if self._progress is not None:
                self._progress(words, min(base + share * min(max(fraction, 0.0), 1.0), 1.0))

        report(name, 0.0)
        begin = time.perf_counter()
        yield report
        self._times.append(StageTime(name, time.perf_counter() - begin))
        self._done = base + share
        report(name, 1.0)


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in 10^6 bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6


def library_versions() -> dict[str, str]:
    """Versions of nerveplan, Python and the libraries that compute."""
    found = {"nerveplan": package_version(), "python": ".".join(map(str, sys.version_info[:3]))}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
