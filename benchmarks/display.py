"""A virtual display for the proofs and tests that open the review window."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DisplayMissingError", "virtual_display"]

_SCREEN = "1800x1100x24"


class DisplayMissingError(RuntimeError):
    """There is no Xvfb on this machine."""


@contextmanager
def virtual_display() -> Iterator[str]:
    """An X server of its own, whatever DISPLAY says; Qt and napari started inside use it and read no settings.

    The server lives until this process ends, for the last window does so too.

    Raises
    ------
    DisplayMissingError
    """
    program = shutil.which("Xvfb")
    if program is None:
        raise DisplayMissingError("the review window is driven under Xvfb; install it (Debian package xvfb)")
    read, write = os.pipe()
    server = subprocess.Popen([program, "-displayfd", str(write), "-screen", "0", _SCREEN, "-nolisten", "tcp"],
                              pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(server.terminate)
    os.close(write)
    with os.fdopen(read) as said:
        number = said.readline().strip()
    before = {name: os.environ.get(name) for name in ("DISPLAY", "QT_QPA_PLATFORM", "NAPARI_CONFIG")}
    os.environ.update(DISPLAY=f":{number}", QT_QPA_PLATFORM="xcb", NAPARI_CONFIG="")
    yield os.environ["DISPLAY"]
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
