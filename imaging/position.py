"""How the patient lay in the scanner, in words, from PatientPosition."""

from __future__ import annotations

import re

from imaging.volume import Volume

__all__ = ["depth_words", "lying", "position_of"]

_POSITION = re.compile(r"(?:HF|FF|LF|RF)([SP])|(?:HF|FF|AF|PF)D([RL])")
_WORDS = {"S": "supine", "P": "prone", "R": "on the right side", "L": "on the left side"}


def lying(position: str) -> str:
    """``supine``, ``prone``, ``on the right side``, ``on the left side``; empty where the code says nothing.

    Parameters
    ----------
    position : str
        PatientPosition (0018,5100), such as ``HFS``; small letters count too.
    """
    found = _POSITION.fullmatch(position.strip().upper())
    return _WORDS[found[1] or found[2]] if found else ""


def depth_words(position: str) -> str:
    """In which position a depth was measured, as it stands beside every depth."""
    how = lying(position)
    return f"measured {how}" if how else "measured in a position that is not known, taken as supine"


def position_of(volume: Volume | None) -> str:
    """PatientPosition of a scan; empty where there is none or it does not say."""
    return "" if volume is None else volume.identity.patient_position
