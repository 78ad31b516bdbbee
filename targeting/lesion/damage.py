"""What a temperature over time does to tissue: Arrhenius damage and cumulative equivalent minutes at 43 degrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrheniusRate", "arrhenius_rate", "cem43_rate"]

Array = NDArray[np.float64]
_GAS_CONSTANT = 8.314462618  # J/(mol K), CODATA 2018, exact
_KELVIN = 273.15


@dataclass(frozen=True)
class ArrheniusRate:
    """Frequency factor, 1/s, and activation energy, J/mol, of a first-order damage process."""

    frequency: float
    energy: float


def arrhenius_rate(celsius: Array, rate: ArrheniusRate) -> Array:
    """Damage per second, 1/s; 1 accumulated means that 63 % of the tissue is changed."""
    return np.asarray(rate.frequency * np.exp(-rate.energy / (_GAS_CONSTANT * (np.asarray(celsius) + _KELVIN))))


def cem43_rate(celsius: Array) -> Array:
    """Equivalent minutes at 43 degrees per second of exposure: R is 0.5 above 43 degrees and 0.25 below."""
    celsius = np.asarray(celsius, np.float64)
    return np.asarray(np.where(celsius > 43.0, 0.5, 0.25) ** (43.0 - celsius) / 60.0)
