"""Where results go: the place itself, tried before the work, and what the system's refusals mean in words."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from imaging.errors import InputRefusedError

__all__ = ["check_writable", "os_error_words", "resolved"]

_TRIAL_BYTES = 1 << 20
_WORDS = {
    errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "the disk is read-only",
    errno.EACCES: "writing there is not permitted", errno.EPERM: "writing there is not permitted",
    errno.ENOTDIR: "a file stands where a folder is needed", errno.EEXIST: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed", errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its links go round in a circle", errno.EIO: "the disk does not answer as it should",
}


def os_error_words(error: OSError) -> str | None:
    """What an error of the system means, without any file's name; None for an errno that is not about a disk."""
    return _WORDS.get(error.errno or 0)


def resolved(out: Path) -> Path:
    """The folder itself, absolute, links followed: a link to a folder stands for that folder.

    Raises
    ------
    InputRefusedError
        The links go round in a circle.
    """
    try:
        return out.resolve()
    except (OSError, RuntimeError) as error:
        raise InputRefusedError(f"'{out.name}' cannot be written: its links go round in a circle") from error


def check_writable(folder: Path) -> None:
    """Try to write where `folder` is or will be made, before any work is done; nothing is left behind.

    Raises
    ------
    InputRefusedError
        It cannot be made or written there, or there is no room; the message says which.
    """
    place = next(part for part in (folder, *folder.parents) if os.path.lexists(part))
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".nerveplan-") as trial:
            trial.write(bytes(_TRIAL_BYTES))
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        why = os_error_words(error) or "no file can be made there"
        raise InputRefusedError(f"nothing can be written to '{folder.name}': {why}; name another folder") from error
