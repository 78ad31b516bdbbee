"""Compute ``tables.json`` anew: ``python -m targeting.lesion.compute``, about two minutes on one core."""

from __future__ import annotations

import json
from dataclasses import astuple, fields
from itertools import product
from pathlib import Path

import numpy as np

from targeting.lesion.electrode import (
    Edges,
    axial_ends,
    heat_setting,
    homogeneous,
    lesion_data,
    radial_extent,
    setting_lattice,
)
from targeting.lesion.tables import Lesion, Surface
from targeting.model import LesionSetting

__all__ = ["all_settings", "compute_lesion"]


def all_settings() -> tuple[LesionSetting, ...]:
    """Every combination of ``data.toml``."""
    data = lesion_data()
    rule = data.settings
    dialled = product(data.electrodes.items(), rule.active_tips.values, rule.temperatures.values, rule.seconds.values)
    return tuple(LesionSetting(gauge, diameter.value, tip, temperature, seconds)
                 for (gauge, diameter), tip, temperature, seconds in dialled)


def compute_lesion(setting: LesionSetting) -> Lesion:
    """Solve one heating and keep its surfaces, rounded as they are stored."""
    data = lesion_data()
    lattice = setting_lattice(setting)
    heating = heat_setting(setting, lattice, homogeneous(lattice, setting, data.muscle))
    step, reach = data.model.profile_step.value, data.model.profile_reach.value
    planes = np.arange(-setting.active_tip_mm - reach, reach + step, step)
    surfaces: dict[str, Surface | None] = {}
    for edge in fields(Edges):
        temperature = getattr(data.edges, edge.name).value
        ends = axial_ends(lattice, heating.peak, temperature)
        if ends is None:
            surfaces[edge.name] = None
            continue
        near, far = np.round(ends, 2)
        inner = planes[(planes > near) & (planes < far)]
        radius = np.interp(inner, lattice.z * 1e3, radial_extent(lattice, heating.peak, temperature))
        surfaces[edge.name] = Surface(np.concatenate(([near], inner, [far])),
                                      np.concatenate(([0.0], np.round(radius, 2), [0.0])))
    return Lesion(setting, **surfaces)


def _stored(surface: Surface | None) -> list[list[float]] | None:
    return None if surface is None else [surface.z.tolist(), surface.radius.tolist()]


def main() -> None:
    """Write the tables beside this module."""
    lines = []
    for setting in all_settings():
        lesion = compute_lesion(setting)
        surfaces = {edge.name: _stored(getattr(lesion, edge.name)) for edge in fields(Edges)}
        lines.append(json.dumps({"setting": astuple(setting), "surfaces": surfaces}, separators=(",", ":")))
    text = '{"made_by":"python -m targeting.lesion.compute","lesions":[\n' + ",\n".join(lines) + "\n]}\n"
    path = Path(__file__).with_name("tables.json")
    temporary = path.with_suffix(".new")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
