"""What lowers the confidence of one point."""

from __future__ import annotations

from dataclasses import dataclass, field

from segmentation.constants import constants

__all__ = ["Doubts"]


@dataclass
class Doubts:
    """What lowers the confidence of one point; the confidence is the lowest of its checks."""

    confidence: float = 1.0
    reasons: list[str] = field(default_factory=list)

    def add(self, confidence: float, reason: str) -> None:
        """Record one failed check."""
        self.confidence = min(self.confidence, confidence)
        if reason not in self.reasons:
            self.reasons.append(reason)

    def check(self, name: str, failed: bool, reason: str) -> None:
        """Record a check of the ``confidence`` table when it failed."""
        if failed:
            self.add(float(constants("landmarks")["confidence"][name]), reason)
