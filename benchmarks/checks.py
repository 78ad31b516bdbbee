"""One claim of the proofs, kept as a row of a page."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """One claim: what was run, whether it holds, and what it said."""

    claim: str
    holds: bool
    said: str

    @property
    def last_line(self) -> str:
        """The last line of what was said."""
        return self.said.strip().splitlines()[-1] if self.said.strip() else ""

    @property
    def cell(self) -> str:
        """What was said, fit for a table cell."""
        return self.said.strip().replace("|", "/").replace("\n", "<br>")
