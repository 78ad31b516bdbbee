"""The engine's constants, read once from ``segmentation/data/engine.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, TypeVar

__all__ = [
    "AgreementSettings", "CanalSettings", "ColumnSettings", "EvidenceSettings", "GapSettings", "LevelPrior",
    "NamingSettings", "RefineSettings", "Settings", "StructureSettings", "TileSettings", "UprightSettings",
    "WalkSettings", "settings",
]

T = TypeVar("T")


@dataclass(frozen=True)
class TileSettings:
    """Tiles of the localising net, voxels of 3 mm."""

    tile_z: int
    tile_y: int
    tile_x: int
    tile_largest: int
    stride_share: float
    sigma_share: float


@dataclass(frozen=True)
class CanalSettings:
    """Classical canal tracking."""

    bone_hu: float
    reach_mm: float
    diameter_low_mm: float
    diameter_high_mm: float
    accept_score: float
    accept_probability: float
    shortest_mm: float
    agree_mm: float


@dataclass(frozen=True)
class ColumnSettings:
    """The column of bodies in front of the canal."""

    search_front_mm: float
    search_back_mm: float
    search_side_mm: float
    search_slack_mm: float
    half_width_mm: float
    depth_mm: float
    probe_radius_mm: float
    peak_smoothing_mm: float
    peak_least: float
    sacrum_probability: float
    sacrum_piece_ml: float
    sacrum_near_mm: float
    sacrum_least_ml: float


@dataclass(frozen=True)
class WalkSettings:
    """The walk along the chain with the instance net."""

    passes: int
    settled_mm: float
    volume_low_ml: float
    volume_high_ml: float
    volume_jump: float
    sacrum_share: float
    sacrum_doubt: float
    sacrum_hint: float
    sacrum_contrast: float
    overlap: float
    step_low: float
    step_high: float
    canal_low_mm: float
    canal_high_mm: float
    support: float
    gap_mm: float
    field_margin_mm: float
    tries: int


@dataclass(frozen=True)
class AgreementSettings:
    """Pooling of neighbouring patches."""

    claim: float
    third_bone: float


@dataclass(frozen=True)
class GapSettings:
    """The border between two bones in a joint space."""

    seen: float
    known_share: float
    bone: float
    sure_bone: float
    bone_least_hu: float
    local_sigma_mm: float
    closed: float
    open: float
    leak: float
    trust: float
    least_trust: float


@dataclass(frozen=True)
class UprightSettings:
    """Whether the column stands on its head."""

    sacrum_ml: float
    sacrum_ratio: float
    sacrum_aside_mm: float
    sacrum_below_mm: float
    steps_least: int
    steps_ratio: float
    steps_head_mm: float


@dataclass(frozen=True)
class EvidenceSettings:
    """Measurements that names rest on."""

    costal_up_mm: float
    costal_back_mm: float
    costal_lateral_mm: float
    rib_probability: float
    rib_near_mm: float
    rib_lateral_mm: float
    rib_root_mm: float
    rib_followed_mm: float
    rib_bridge_mm: float
    rib_gap_mm: float
    rib_head_mm: float
    rib_least_mm: float
    rib_least_voxels: int
    rib_default_slope: float
    rib_view_lateral_mm: float
    sacrum_gap_mm: float
    sacrum_centre_mm: float
    ala_lateral_mm: float
    ala_gap_mm: float
    ala_area_mm2: float
    ala_outer_mm: float
    ala_top_ml: float
    ala_doubt_mm: float
    ala_sacral_mm: float
    sacral_body_ml: float
    dens_mm: float
    axis_volume_ml: float


@dataclass(frozen=True)
class NamingSettings:
    """Naming."""

    rib_length_mm: float
    cap_a: float
    cap_b: float
    cap_c: float
    cap_d: float
    side_weight: float
    shape_weight: float
    spacing_scale_sd: float
    spacing_noise: float
    volume_scale_sd: float
    volume_noise: float
    contact_missed: float
    contact_doubted: float
    sacral_possible: float
    sacral_likely: float
    axis_wrong: float
    trusted_count: int
    miscount: float
    alternate_least: float


@dataclass(frozen=True)
class RefineSettings:
    """The native border of a vertebra."""

    sure: float
    possible: float
    plain: float
    local_sigma_mm: float
    coarse_voxel_mm: float
    contrast_hu: float
    noise_sigma_mm: float
    sacrum_possible: float
    sacrum_plain: float


@dataclass(frozen=True)
class StructureSettings:
    """Plausibility of structures."""

    canal_probability: float
    canal_tube_mm: float
    organ_probability: float
    piece_least_ml: float
    aorta_area_low_mm2: float
    aorta_area_high_mm2: float
    aorta_length_share: float
    vessel_from_mm: float
    vessel_to_mm: float
    iliac_above_mm: float
    vena_cava_area_low_mm2: float
    vena_cava_area_high_mm2: float
    vena_cava_length_share: float
    kidney_low_ml: float
    kidney_high_ml: float
    rib_low_ml: float


@dataclass(frozen=True)
class LevelPrior:
    """Population values of one level.

    Attributes
    ----------
    step_below_mm, step_below_sd_mm : float
        Body centre to the body centre below.
    volume_ml, volume_sd_ml : float
        Whole vertebra.
    """

    level: str
    step_below_mm: float
    step_below_sd_mm: float
    volume_ml: float
    volume_sd_ml: float


@dataclass(frozen=True)
class Settings:
    """Everything in ``engine.toml``."""

    classes: tuple[str, ...]
    tiles: TileSettings
    canal: CanalSettings
    column: ColumnSettings
    walk: WalkSettings
    agreement: AgreementSettings
    gaps: GapSettings
    upright: UprightSettings
    evidence: EvidenceSettings
    naming: NamingSettings
    refine: RefineSettings
    structures: StructureSettings
    levels: dict[str, LevelPrior]
    variants: dict[str, float]
    rib_chances: dict[str, tuple[float, float, float]]


def _section(kind: type[T], table: dict[str, Any]) -> T:
    """Fill a dataclass from ``name = {value = ..., ...}`` entries."""
    return kind(**{field.name: table[field.name]["value"] for field in fields(kind)})  # type: ignore[arg-type]


@cache
def settings() -> Settings:
    """Read the file."""
    data = tomllib.loads(resources.files("segmentation.data").joinpath("engine.toml").read_text(encoding="utf-8"))
    levels = {name: LevelPrior(name, *(float(v) for v in row)) for name, row in data["levels"]["values"].items()}
    chances = {name: (float(a), float(b), float(c)) for name, (a, b, c) in data["rib_chances"]["values"].items()}
    return Settings(
        classes=tuple(data["classes"]),
        tiles=_section(TileSettings, data["tiles"]),
        canal=_section(CanalSettings, data["canal"]),
        column=_section(ColumnSettings, data["column"]),
        walk=_section(WalkSettings, data["walk"]),
        agreement=_section(AgreementSettings, data["agreement"]),
        gaps=_section(GapSettings, data["gaps"]),
        upright=_section(UprightSettings, data["upright"]),
        evidence=_section(EvidenceSettings, data["evidence"]),
        naming=_section(NamingSettings, data["naming"]),
        refine=_section(RefineSettings, data["refine"]),
        structures=_section(StructureSettings, data["structures"]),
        levels=levels,
        variants={name: float(p) for name, p in data["variants"]["values"].items()},
        rib_chances=chances,
    )
