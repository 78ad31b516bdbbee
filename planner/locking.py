"""One writer at a time in a plan folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imaging.errors import NerveplanError

__all__ = ["LOCK_FILE", "BusyError", "ConflictError", "folder_lock"]

LOCK_FILE = ".lock"
_POLL_S = 0.01


class BusyError(NerveplanError, TimeoutError):
    """Another program keeps writing in the folder; try again."""


class ConflictError(NerveplanError, RuntimeError):
    """Somebody else saved in between: nothing was written; reload, look, and do it again."""


def _try(descriptor: int) -> bool:
    """Take the lock if it is free. It falls when its process ends, however it ends."""
    if os.name == "nt":
        import msvcrt
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    import fcntl
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _current(descriptor: int, path: Path) -> bool:
    """Whether the file locked is still the folder's: the folder may have been replaced while we waited."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """Take the lock file away while the lock is held; whoever waits on it sees that and begins again."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path, wait_s: float = 10.0) -> Iterator[None]:
    """Hold the folder's lock for a block; its file is there only as long.

    Parameters
    ----------
    wait_s : float
        How long to wait for another writer, in seconds.

    Raises
    ------
    BusyError
        The other writer did not finish in time.
    """
    path, end = folder / LOCK_FILE, time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _try(descriptor) and _current(descriptor, path):
                try:
                    yield
                finally:
                    _remove(path)
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > end:
            raise BusyError(f"another program is writing in '{folder.name}'; try again when it is done")
        time.sleep(_POLL_S)
