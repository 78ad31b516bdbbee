"""Compressed slices decoded in worker processes.

A worker is a fresh interpreter that runs `serve`: it shares nothing with the caller, so it starts from scripts,
notebooks, threads and daemonic processes alike. Its memory and its time are capped, and a codec that crashes on a
hostile stream takes the worker down and not the caller.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from imaging.dicom_headers import PixelFormat
from imaging.dicom_pixels import decode_frames
from imaging.errors import InputRefusedError

__all__ = ["decode_into", "serve"]

_MANY = 64
"""Fewer slices are decoded by one worker, or in the calling process when no foreign codec is needed."""
_MAX_WORKERS = 8
_WORKER_BYTES = 1 << 32
_BASE_SECONDS, _SLICE_SECONDS = 20.0, 1.0
"""A worker may take this long, and this long more per slice (usual: 0.01 to 0.1 s); damaged JPEG-LS can take hours."""
_RUN_LENGTH = "1.2.840.10008.1.2.5"
_DEAD = "refused: the decoder stopped on a compressed image; the file is damaged or hostile, fetch the study again"


def decode_into(out: NDArray[np.int16], jobs: Sequence[tuple[PixelFormat, int]], workers: int | None = None) -> None:
    """Decode compressed slices into the array of a volume.

    Parameters
    ----------
    out : (z, y, x) int16, C-contiguous
        Slice ``n`` receives ``jobs[n]``.
    jobs : sequence of (PixelFormat, int)
        File and frame of each slice.
    workers : int, optional
        Processes. By default one per available core for many slices, one for a few, none for a few that are
        run-length coded (no foreign code is involved).

    Raises
    ------
    InputRefusedError
        When a slice cannot be decoded.
    """
    runs = _runs(jobs)
    if workers is None:
        many = min(_MAX_WORKERS, _cores(), len(runs)) if len(jobs) >= _MANY else 1
        workers = 0 if many == 1 and all(pixels.syntax.uid == _RUN_LENGTH for pixels, _ in jobs) else many
    if workers == 0 or getattr(sys, "frozen", False):
        for pixels, places, frames in runs:
            for place, array in zip(places, decode_frames(pixels, frames), strict=True):
                out[place] = array
        return
    with ThreadPoolExecutor(workers) as threads:
        for done in [threads.submit(_feed, out, runs[n::workers]) for n in range(workers)]:
            done.result()


_Run = tuple[PixelFormat, list[int], list[int]]


def _runs(jobs: Sequence[tuple[PixelFormat, int]]) -> list[_Run]:
    """(file, slice numbers, frame numbers) with the frames of one file together, ascending, at most 64 at a time."""
    order = sorted(range(len(jobs)), key=lambda n: (str(jobs[n][0].path), jobs[n][1]))
    runs: list[_Run] = []
    for _, group in groupby(order, key=lambda n: str(jobs[n][0].path)):
        places = list(group)
        for start in range(0, len(places), _MANY):
            part = places[start : start + _MANY]
            runs.append((jobs[part[0]][0], part, [jobs[n][1] for n in part]))
    return runs


def _feed(out: NDArray[np.int16], runs: Sequence[_Run]) -> None:
    """Run one worker over its share and put what it returns in place."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    command = [sys.executable, "-c", "from imaging.dicom_workers import serve; serve()"]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        clock = threading.Timer(_BASE_SECONDS + _SLICE_SECONDS * sum(len(run[1]) for run in runs), worker.kill)
        clock.start()
        try:
            with worker.stdin as stdin:
                pickle.dump([(pixels, frames) for pixels, _, frames in runs], stdin)
            for _, places, _ in runs:
                for place in places:
                    _receive(worker.stdout, out[place])
        except BrokenPipeError as error:
            raise InputRefusedError(_DEAD) from error
        finally:
            clock.cancel()
            worker.kill()


def _receive(stream: IO[bytes], out: NDArray[np.int16]) -> None:
    """One answer: a byte 1 and the slice, or a byte 0 and the reason of a refusal."""
    status = stream.read(1)
    if status == b"\1":
        view = out.data.cast("B")
        if stream.readinto(view) == len(view):  # type: ignore[attr-defined]
            return
    elif status == b"\0":
        raise InputRefusedError(stream.read(500).decode("utf-8", "replace"))
    raise InputRefusedError(_DEAD)


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cap_memory() -> None:
    """Limit this process's memory where the system can."""
    if sys.platform != "win32":
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_WORKER_BYTES, _WORKER_BYTES))


def serve() -> None:
    """The worker: frames to decode come in on standard input, decoded slices go out on standard output."""
    _cap_memory()
    tasks: list[tuple[PixelFormat, list[int]]] = pickle.load(sys.stdin.buffer)
    answer: Any = sys.stdout.buffer
    try:
        for pixels, frames in tasks:
            for array in decode_frames(pixels, frames):
                answer.write(b"\1")
                answer.write(array.data)
    except InputRefusedError as error:
        answer.write(b"\0" + str(error).encode()[:500])
    answer.flush()
