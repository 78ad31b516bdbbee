"""What is meant where nothing is said, in one place."""

from __future__ import annotations

__all__ = ["DEFAULT_ENGINE", "DEFAULT_PROCEDURE", "NO_PROCEDURE"]

DEFAULT_PROCEDURE = "lumbar-medial-branch-block"
DEFAULT_ENGINE = "builtin"
#: Stands in a plan that only segments.
NO_PROCEDURE = "none"
