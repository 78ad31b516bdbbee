"""Memory of a plan that was let go, given back to the machine."""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["give_back"]


def give_back() -> None:
    """Free what only cycles of references hold, and hand freed pages back to the system.

    A plan's masks and distance fields are blocks of tens of MB that glibc serves from its heaps once it has freed one
    of them; of what an open plan took, about 600 MB on the sample scan, it keeps nearly all after they are freed, and
    every other opening finds the gaps a little differently. Other C libraries return such blocks by themselves.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
