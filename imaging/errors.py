"""The error tree of nerveplan: each error is also the built-in kind a caller expects."""

from __future__ import annotations

__all__ = ["AlteredError", "InputRefusedError", "NerveplanError", "NotFoundError", "UsageError"]


class NerveplanError(Exception):
    """Root of every error raised on purpose. The message says what, where and what to do, never a patient's name."""


class InputRefusedError(NerveplanError, ValueError):
    """The input is not fit: hostile, damaged, ambiguous or of a kind that is not planned on. Nothing was written."""


class NotFoundError(NerveplanError, FileNotFoundError):
    """A named file, folder or series does not exist."""


class UsageError(NerveplanError, ValueError):
    """The request itself cannot be understood, such as a bare vertebra where a nerve is meant."""


class AlteredError(NerveplanError, ValueError):
    """A record was changed after it was written."""
