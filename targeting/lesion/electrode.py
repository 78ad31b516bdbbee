"""One electrode in one tissue: from the constants of ``data.toml`` to the surfaces of a lesion."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from targeting.constants import Constant, Numbers, quantity, section
from targeting.lesion.bioheat import Heating, Medium, heat
from targeting.lesion.damage import ArrheniusRate
from targeting.lesion.lattice import Lattice, electrode_lattice
from targeting.model import LesionSetting

__all__ = [
    "Edges", "LesionData", "LesionUse", "ModelRule", "SettingRule", "Tissue", "axial_ends", "heat_setting",
    "homogeneous", "lesion_data", "radial_extent", "setting_lattice",
]

Array = NDArray[np.float64]
_MM = 1e-3


@dataclass(frozen=True)
class ModelRule:
    """How the equation is set up and solved; every constant as in ``data.toml``."""

    body: Constant
    ramp: Constant
    step: Constant
    sensor_depth: Constant
    reach: Constant
    radial_cells: Constant
    axial_cell: Constant
    growth: Constant
    largest_cell: Constant
    arrhenius_frequency: Constant
    arrhenius_energy: Constant
    profile_step: Constant
    profile_reach: Constant


@dataclass(frozen=True)
class Edges:
    """Temperatures whose surfaces are kept, degrees Celsius."""

    spread: Constant
    hot: Constant
    effect_wide: Constant
    effect_narrow: Constant


@dataclass(frozen=True)
class LesionUse:
    """How a surface is compared with the anatomy, mm."""

    spread_allowance: Constant


@dataclass(frozen=True)
class Tissue:
    """Thermal and electrical constants of one material."""

    conductivity: Constant
    density: Constant
    specific_heat: Constant
    sigma: Constant


@dataclass(frozen=True)
class SettingRule:
    """Generator settings and active tips whose surfaces are stored, in every combination."""

    temperatures: Numbers
    seconds: Numbers
    active_tips: Numbers


@dataclass(frozen=True)
class LesionData:
    """Everything in ``data.toml``; `electrodes` maps a gauge to its outer diameter."""

    model: ModelRule
    edges: Edges
    use: LesionUse
    settings: SettingRule
    electrodes: Mapping[int, Constant]
    muscle: Tissue
    cortical_bone: Tissue
    steel: Tissue


@cache
def lesion_data() -> LesionData:
    """The constants that ship; anything amiss in the file is a ValueError that names the place."""
    data = tomllib.loads(resources.files(__package__).joinpath("data.toml").read_text("utf-8"))
    tissues = {name: section(Tissue, table, f"tissue.{name}") for name, table in data["tissue"].items()}
    electrodes = {e["gauge"]: quantity(Constant, e["diameter"], f"electrode {e['gauge']}G") for e in data["electrode"]}
    return LesionData(section(ModelRule, data["model"], "model"), section(Edges, data["edges"], "edges"),
                      section(LesionUse, data["use"], "use"), section(SettingRule, data["settings"], "settings"),
                      electrodes, **tissues)


def homogeneous(lattice: Lattice, setting: LesionSetting, tissue: Tissue, *, perfusion: float = 0.0) -> Medium:
    """A steel needle, insulated above its active tip, in one tissue.

    Parameters
    ----------
    perfusion : 1/s
        Blood volume per tissue volume and second; none is the widest lesion.
    """
    r, z = np.meshgrid(lattice.r, lattice.z, indexing="ij")
    steel = lesion_data().steel
    needle = (r < 0.5 * setting.diameter_mm * _MM) & (z < 0.0)
    active = needle & (z > -setting.active_tip_mm * _MM)
    boundary = np.zeros(lattice.shape, np.bool_)
    boundary[-1] = boundary[:, 0] = boundary[:, -1] = True

    def fill(inside: float, outside: float) -> Array:
        return np.where(needle, inside, outside)

    return Medium(
        fill(steel.conductivity.value, tissue.conductivity.value),
        fill(steel.density.value * steel.specific_heat.value, tissue.density.value * tissue.specific_heat.value),
        # Blood taken as dense and as warm to heat as the tissue it flows in.
        fill(0.0, perfusion * tissue.density.value * tissue.specific_heat.value),
        np.where(active, steel.sigma.value, fill(0.0, tissue.sigma.value)), active, boundary)


def setting_lattice(setting: LesionSetting, *, finer: float = 1.0) -> Lattice:
    """The lattice of the reference set-up, its cells divided by `finer`."""
    rule = lesion_data().model
    return electrode_lattice(
        0.5 * setting.diameter_mm * _MM, setting.active_tip_mm * _MM, rule.reach.value * _MM,
        round(rule.radial_cells.value * finer), rule.axial_cell.value * _MM / finer, rule.growth.value,
        rule.largest_cell.value * _MM)


def heat_setting(setting: LesionSetting, lattice: Lattice, medium: Medium) -> Heating:
    """Ramp to the set temperature, hold it, and say what that did."""
    rule = lesion_data().model
    body, ramp = rule.body.value, rule.ramp.value

    def set_curve(seconds: float) -> float:
        return body + (setting.temperature_c - body) * min(seconds / ramp, 1.0)

    sensor = (0, int(np.argmin(np.abs(lattice.z + rule.sensor_depth.value * _MM))))
    return heat(lattice, medium, sensor, set_curve, ramp + setting.seconds, rule.step.value, body,
                ArrheniusRate(rule.arrhenius_frequency.value, rule.arrhenius_energy.value))


def radial_extent(lattice: Lattice, field: Array, edge: float) -> Array:
    """(nz,) mm, radius at which `field` falls to `edge` on each plane of the lattice; 0 where it stays below.

    Linear between cell centres, outward from the outermost cell at or above the edge.
    """
    radius = np.zeros(lattice.shape[1])
    for iz in np.flatnonzero((field >= edge).any(axis=0)):
        last = int(np.flatnonzero(field[:, iz] >= edge)[-1])
        radius[iz] = _crossing(lattice.r, field[:, iz], last, last + 1, edge)
    return radius


def axial_ends(lattice: Lattice, field: Array, edge: float) -> tuple[float, float] | None:
    """(proximal, distal) mm on the axis where `field` falls to `edge`; None where it never reaches it."""
    reached = np.flatnonzero(field[0] >= edge)
    if not len(reached):
        return None
    first, last = int(reached[0]), int(reached[-1])
    return _crossing(lattice.z, field[0], first, first - 1, edge), _crossing(lattice.z, field[0], last, last + 1, edge)


def _crossing(places: Array, values: Array, above: int, below: int, edge: float) -> float:
    """Where the values fall to `edge` between two neighbouring cells, mm."""
    share = (values[above] - edge) / (values[above] - values[below])
    return float(places[above] + share * (places[below] - places[above])) / _MM
