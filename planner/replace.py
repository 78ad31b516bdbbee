"""Putting a finished folder or file in its place in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path

__all__ = [
    "exchange", "is_unfinished", "link_others", "partial_path", "put_staged", "remove_leftovers", "remove_unfinished",
    "replace_file", "stage_file", "staged_path",
]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_PARTIAL = ".partial-"
_UNFINISHED = ".unfinished"


def partial_path(out: Path) -> Path:
    """Where a folder is built before it takes its place: hidden, beside it, with this process's number."""
    return out.with_name(f".{out.name}{_PARTIAL}{os.getpid()}")


def remove_leftovers(out: Path) -> None:
    """Clean up after killed processes: their half-built folders go, a folder that stepped aside comes back."""
    aside = _aside(out)
    if aside.exists():
        if out.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, out)
    for path in out.parent.glob(f".{out.name}{_PARTIAL}*"):
        number = path.name.rpartition("-")[2]
        if number.isdigit() and (int(number) == os.getpid() or not _alive(int(number))):
            shutil.rmtree(path, ignore_errors=True)


def _aside(out: Path) -> Path:
    """Where an existing folder steps aside on systems that cannot swap."""
    return out.with_name(f".{out.name}.before")


def _alive(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file beside its place and rename it there: whatever stops the program, the old or the new one, whole."""
    stage_file(path, data, mode)
    put_staged(path)


def staged_path(path: Path) -> Path:
    """Where a file waits, written whole, until it takes its place."""
    return path.with_name(f".{path.name}{_UNFINISHED}")


def put_staged(path: Path) -> None:
    """Rename the file that waits for this place to it."""
    os.replace(staged_path(path), path)
    _sync_folder(path.parent)


def stage_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file beside its place, where it waits for `put_staged`."""
    fresh = staged_path(path)
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def link_others(source: Path, target: Path) -> None:
    """Give `target` every file of `source` that it does not have itself, as another name of the same file."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif not place.exists() and not is_unfinished(path.name):
            os.link(path, place)


def is_unfinished(name: str) -> bool:
    """Whether a file name is that of a `replace_file` that was killed."""
    return name.endswith(_UNFINISHED)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed `replace_file` left in a folder; nobody else may be writing there."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(a: Path, b: Path) -> bool:
    """Swap two folders in one step where the system can; False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(b))


def exchange(fresh: Path, out: Path) -> None:
    """Move `fresh` to `out`; what was there before ends up at `fresh` or is gone.

    On Linux an existing folder is swapped in one step. Elsewhere it steps aside first, and a process killed between the
    two renames leaves it whole beside its place, from where the next run brings it back.
    """
    _sync_folder(fresh)
    if out.is_dir() and any(out.iterdir()):
        if not _swap(fresh, out):
            aside = _aside(out)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(out, aside)
            os.rename(fresh, out)
            shutil.rmtree(aside, ignore_errors=True)
    else:
        os.rename(fresh, out)
    _sync_folder(out.parent)
