"""The heat equation against closed forms, conservation and the published reference set-up (clinical rules 48-53)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from targeting.lesion.bioheat import Heating, Medium, heat
from targeting.lesion.damage import ArrheniusRate, arrhenius_rate, cem43_rate
from targeting.lesion.electrode import (
    axial_ends,
    heat_setting,
    homogeneous,
    lesion_data,
    radial_extent,
    setting_lattice,
)
from targeting.lesion.lattice import Lattice
from targeting.model import LesionSetting

#: Clinical specification 3.3: full widths of the 45, 50 and 60 C surfaces, mm, power W and impedance ohm.
REFERENCE = {
    LesionSetting(22, 0.72, 5.0, 80.0, 90.0): (9.9, 7.3, 4.4, 0.8, 162),
    LesionSetting(18, 1.27, 10.0, 80.0, 60.0): (12.1, 9.5, 6.1, 1.8, 82),
    LesionSetting(18, 1.27, 10.0, 80.0, 90.0): (13.4, 10.4, 6.6, 1.7, 82),
    LesionSetting(18, 1.27, 10.0, 90.0, 120.0): (15.8, 12.5, 8.5, 2.0, 82),
    LesionSetting(16, 1.65, 10.0, 80.0, 120.0): (15.6, 12.2, 7.8, 1.9, 74),
}
STANDARD = LesionSetting(18, 1.27, 10.0, 80.0, 90.0)


def run(setting: LesionSetting = STANDARD, *, perfusion: float = 0.0, sigma: float = 1.0, finer: float = 1.0
        ) -> tuple[Lattice, Heating]:
    """Heat one setting in muscle, its conductivity scaled by `sigma`."""
    lattice = setting_lattice(setting, finer=finer)
    medium = homogeneous(lattice, setting, lesion_data().muscle, perfusion=perfusion)
    medium = replace(medium, sigma=np.where(medium.electrode, medium.sigma, sigma * medium.sigma))
    return lattice, heat_setting(setting, lattice, medium)


def width(lattice: Lattice, field: np.ndarray, edge: float) -> float:
    return 2.0 * float(radial_extent(lattice, field, edge).max())


@pytest.mark.parametrize("setting", REFERENCE, ids=str)
def test_the_reference_table_is_reproduced_within_five_percent(setting: LesionSetting) -> None:
    lattice, heating = run(setting)
    said = [width(lattice, heating.peak, edge) for edge in (45.0, 50.0, 60.0)]
    assert said == pytest.approx(REFERENCE[setting][:3], rel=0.05)
    assert heating.power == pytest.approx(REFERENCE[setting][3], abs=0.06)
    assert heating.impedance == pytest.approx(REFERENCE[setting][4], rel=0.05)


def test_a_finer_lattice_gives_the_same_widths() -> None:
    coarse, fine = run(), run(finer=1.8)
    for edge in (45.0, 50.0, 60.0):
        assert width(coarse[0], coarse[1].peak, edge) == pytest.approx(width(fine[0], fine[1].peak, edge), rel=0.01)


def test_joule_heat_equals_the_electrodes_power() -> None:
    _, heating = run()
    assert heating.dissipated == pytest.approx(heating.power, rel=1e-6)


def test_the_conductivity_of_a_homogeneous_medium_does_not_matter() -> None:
    one, other = run()[1], run(sigma=7.0)[1]
    np.testing.assert_allclose(one.peak, other.peak, rtol=1e-3)
    assert other.impedance == pytest.approx(one.impedance / 7.0, rel=1e-6)


def test_blood_flow_narrows_the_lesion_step_by_step() -> None:
    widths = [width(*(lambda lattice, h: (lattice, h.peak))(*run(perfusion=w)), 50.0) for w in (0.0, 1e-3, 3e-3, 1e-2)]
    assert np.all(np.diff(widths) < 0)
    assert widths[2] == pytest.approx(10.2, rel=0.08)  # clinical specification 3.3 for 120 s: 10.2


def test_bone_in_front_of_the_tip_reduces_the_heat_behind_it() -> None:
    data = lesion_data()
    lattice = setting_lattice(STANDARD)
    muscle = homogeneous(lattice, STANDARD, data.muscle)
    plate = np.zeros(lattice.shape, np.bool_)
    plate[:, (lattice.z > 0.001) & (lattice.z < 0.005)] = True
    bone = data.cortical_bone
    mixed = replace(
        muscle, conductivity=np.where(plate, bone.conductivity.value, muscle.conductivity),
        heat_capacity=np.where(plate, bone.density.value * bone.specific_heat.value, muscle.heat_capacity),
        sigma=np.where(plate, bone.sigma.value, muscle.sigma))
    plain, behind = heat_setting(STANDARD, lattice, muscle), heat_setting(STANDARD, lattice, mixed)
    assert np.isfinite(behind.peak).all()
    far = lattice.z > 0.005
    assert behind.peak[0, far].max() < plain.peak[0, far].max()


def sphere_medium(lattice: Lattice, radius: float, outer: float) -> Medium:
    """A ball of steel in muscle inside a grounded ball at body temperature."""
    r, z = np.meshgrid(lattice.r, lattice.z, indexing="ij")
    away, data = np.hypot(r, z), lesion_data()
    ball = away < radius
    return Medium(
        np.where(ball, 1e3, data.muscle.conductivity.value), np.full(lattice.shape, 1e3), np.zeros(lattice.shape),
        np.where(ball, data.steel.sigma.value, data.muscle.sigma.value), ball, away > outer)


def test_a_hot_ball_in_steady_state_has_the_analytic_profile() -> None:
    radius, outer, step = 2e-3, 14e-3, 1e-4
    count = round(outer / step) + 2
    lattice = Lattice(np.arange(count + 1) * step, np.arange(-count, count + 1) * step)
    data = lesion_data()
    rate = ArrheniusRate(data.model.arrhenius_frequency.value, data.model.arrhenius_energy.value)
    heating = heat(lattice, sphere_medium(lattice, radius, outer), (0, count), lambda _: 80.0, 4e7, 1e7, 37.0, rate)
    away = np.hypot(*np.meshgrid(lattice.r, lattice.z, indexing="ij"))
    # With ground and body temperature at `outer`, 1/r becomes 1/r - 1/outer in 2 (a/r) - (a/r)^2.
    share = (1 / away - 1 / outer) / (1 / radius - 1 / outer)
    analytic = 37.0 + 43.0 * (2 * share - share**2)
    where = (away > 1.2 * radius) & (away < 0.9 * outer)
    assert np.abs(heating.final - analytic)[where].max() < 0.02 * 43.0


def test_damage_takes_the_reference_times() -> None:
    rule = lesion_data().model
    rate = ArrheniusRate(rule.arrhenius_frequency.value, rule.arrhenius_energy.value)
    seconds = 1.0 / arrhenius_rate(np.array([45.0, 47.0, 50.0, 55.0, 60.0]), rate)
    np.testing.assert_allclose(seconds, [277.0, 151.0, 61.0, 14.0, 3.5], rtol=0.02)
    np.testing.assert_allclose(240.0 / cem43_rate(np.array([50.0, 55.0])), [112.5, 3.5], rtol=0.01)
    assert cem43_rate(np.array([42.0]))[0] == pytest.approx(0.25 / 60.0)


def test_the_published_ratios_are_met_or_missed_as_documented() -> None:
    """Rule 50: no single edge meets all four of Cosman's ratios; which fail at 54 C is part of what users are told."""
    def at(setting: LesionSetting) -> float:
        lattice, heating = run(setting)
        return width(lattice, heating.peak, 54.0)

    base = LesionSetting(18, 1.27, 10.0, 80.0, 60.0)
    one = at(base)
    assert 1.11 <= at(replace(base, seconds=120.0)) / one <= 1.20
    assert 1.23 <= at(replace(base, seconds=180.0)) / one <= 1.32
    two = replace(base, seconds=120.0)
    assert 2.08 <= at(replace(two, temperature_c=90.0)) / at(replace(two, temperature_c=60.0)) <= 2.52
    gauge = at(LesionSetting(16, 1.65, 10.0, 80.0, 120.0)) / at(LesionSetting(22, 0.72, 10.0, 80.0, 120.0))
    assert gauge == pytest.approx(1.36, abs=0.03), "the bench says 1.58 to 1.65: the model misses it"


def test_an_electrode_that_no_current_leaves_is_an_error() -> None:
    lattice = setting_lattice(STANDARD)
    medium = homogeneous(lattice, STANDARD, lesion_data().muscle)
    sealed = replace(medium, sigma=np.where(medium.electrode, medium.sigma, 0.0))
    with pytest.raises(ValueError, match="cannot be heated"):
        heat_setting(STANDARD, lattice, sealed)


def test_the_surfaces_ends_lie_on_the_axis() -> None:
    lattice, heating = run()
    ends = axial_ends(lattice, heating.peak, 50.0)
    assert ends is not None
    assert ends[1] == pytest.approx(2.9, abs=0.25)
    assert -ends[0] - STANDARD.active_tip_mm == pytest.approx(4.1, abs=0.25)
    assert axial_ends(lattice, heating.peak, 99.0) is None
