"""How far heat reaches around a radiofrequency electrode: a bioheat model, its stored surfaces, and what they touch."""

from __future__ import annotations

from targeting.lesion.effect import lesion_effect
from targeting.lesion.tables import UNCALIBRATED, Lesion, Surface, lesion_of, stored_settings

__all__ = ["UNCALIBRATED", "Lesion", "Surface", "lesion_effect", "lesion_of", "stored_settings"]
