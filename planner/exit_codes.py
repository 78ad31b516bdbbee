"""The exit codes of the command line, in one place."""

from __future__ import annotations

from enum import IntEnum

from imaging.errors import AlteredError, InputRefusedError, NerveplanError, NotFoundError, UsageError
from planner.destination import os_error_words

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """What a finished command says about itself."""

    OK = 0
    """At least one target planned; for other commands: done, fit, unaltered."""
    USAGE = 2
    """The request could not be understood."""
    REFUSED = 3
    """The input was refused and nothing was written."""
    ABSTAINED = 4
    """Nothing could be planned; everything that could be computed is written."""
    INTERNAL = 5
    """An error of the program."""
    ALTERED = 6
    """A record was changed after it was written."""
    PARTIAL = 7
    """Some studies of a batch failed."""
    INTERRUPTED = 130
    """Stopped by the user; older results are intact."""


_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (UsageError, ExitCode.USAGE),
    (InputRefusedError, ExitCode.REFUSED),
    (NotFoundError, ExitCode.REFUSED),
    (AlteredError, ExitCode.ALTERED),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code an error ends a command with.

    A disk that does not take the results is a refusal; anything else not raised on purpose is an internal error.
    """
    if isinstance(error, OSError) and not isinstance(error, NerveplanError) and os_error_words(error) is not None:
        return ExitCode.REFUSED
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.INTERNAL)
