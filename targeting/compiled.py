"""One typed door to numba: functions compiled once and kept in the cache beside the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled"]

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a numeric function on first use; the machine code is cached on disk. IEEE arithmetic, no fast maths."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))
