"""Heating around a temperature-controlled radiofrequency electrode: quasi-static current and Pennes' bioheat equation.

Finite volumes on a body of revolution, implicit Euler in time. Conductivity does not depend on temperature, so the
potential is solved once and only its scale changes; the temperature after a step is then linear in the power, and the
power that puts the sensor on the set curve follows in closed form. In a homogeneous medium the result does not depend
on the conductivity. Not validated against bench data: see ``data.toml``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, diags
from scipy.sparse.linalg import splu

from targeting.lesion.damage import ArrheniusRate, arrhenius_rate, cem43_rate
from targeting.lesion.lattice import Faces, Lattice

__all__ = ["Heating", "Medium", "heat"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Medium:
    """What every cell is made of; all arrays (nr, nz).

    Attributes
    ----------
    conductivity : W/(m K)
    heat_capacity : J/(m3 K)
        Density times specific heat.
    perfusion : W/(m3 K)
        Blood's heat capacity times the perfusion rate.
    sigma : S/m
        Electrical; 0 where no current may flow (the insulated shaft).
    electrode : bool
        The active tip, at the generator's voltage.
    boundary : bool
        Held at body temperature and at ground.
    """

    conductivity: Array
    heat_capacity: Array
    perfusion: Array
    sigma: Array
    electrode: Flags
    boundary: Flags


@dataclass(frozen=True, eq=False)
class Heating:
    """What a heating left behind.

    Attributes
    ----------
    peak, final : (nr, nz) degrees Celsius
        Highest over time, and at the end.
    omega, cem43 : (nr, nz)
        Accumulated Arrhenius damage, and equivalent minutes at 43 degrees.
    power : W
        Delivered at the end.
    dissipated : W
        Joule heat over all cells at the end; equals `power`.
    impedance : ohm
    """

    peak: Array
    final: Array
    omega: Array
    cem43: Array
    power: float
    dissipated: float
    impedance: float


def _conductances(faces: Faces, resistivity: Array) -> Array:
    """(f,) of every face, in series over its halves; 0 between cells that do not resist: they share a potential."""
    flat = resistivity.ravel()
    total = faces.resist_first * flat[faces.first] + faces.resist_second * flat[faces.second]
    return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)


def _laplacian(faces: Faces, conductance: Array, n: int) -> csc_matrix:
    """Symmetric (n, n) matrix whose product with a potential is the flow out of each cell."""
    i, j = faces.first, faces.second
    rows, columns = np.concatenate((i, j, i, j)), np.concatenate((j, i, i, j))
    values = np.concatenate((-conductance, -conductance, conductance, conductance))
    return csc_matrix((values, (rows, columns)), shape=(n, n))


def _joule(faces: Faces, medium: Medium) -> tuple[Array, float]:
    """(n,) W per cell at one volt, and the current in A."""
    n, electrode = medium.sigma.size, medium.electrode.ravel()
    with np.errstate(divide="ignore"):
        resistivity = np.where(medium.electrode, 0.0, 1.0 / medium.sigma)
    conductance = _conductances(faces, resistivity)
    laplacian = _laplacian(faces, conductance, n)
    potential = electrode.astype(np.float64)
    held = electrode | medium.boundary.ravel() | (np.asarray(laplacian.diagonal()) == 0.0)
    free = np.flatnonzero(~held)
    potential[free] = splu(laplacian[free][:, free].tocsc()).solve(-(laplacian @ potential)[free])
    flow = conductance * (potential[faces.first] - potential[faces.second])
    carrying = np.flatnonzero(flow)
    heat_per_cell = np.zeros(n)
    for side, resist in ((faces.first, faces.resist_first), (faces.second, faces.resist_second)):
        cells = side[carrying]
        np.add.at(heat_per_cell, cells, flow[carrying]**2 * resist[carrying] * resistivity.ravel()[cells])
    return heat_per_cell, float((laplacian @ potential)[electrode].sum())


def heat(lattice: Lattice, medium: Medium, sensor: tuple[int, int], set_curve: Callable[[float], float], seconds: float,
         step: float, body: float, rate: ArrheniusRate) -> Heating:
    """Heat until `seconds`, keeping the sensor cell on the set curve.

    Parameters
    ----------
    sensor : (ir, iz)
        Cell of the thermocouple.
    set_curve : callable
        Time in s to the temperature asked for, degrees Celsius.
    seconds, step : s
        Length of the heating and of one implicit step.
    body : degrees Celsius
        Of blood, of the boundary and at the start.

    Raises
    ------
    ValueError
        The sensor cannot be heated: no current reaches the tissue around it.
    """
    faces, shape, n = lattice.faces(), lattice.shape, int(np.prod(lattice.shape))
    source, current = _joule(faces, medium)
    volume = lattice.volume.ravel()
    storage = medium.heat_capacity.ravel() * volume / step
    losses = medium.perfusion.ravel() * volume
    matrix = _laplacian(faces, _conductances(faces, 1.0 / medium.conductivity), n) + diags(storage + losses)
    free = np.flatnonzero(~medium.boundary.ravel())
    solver = splu(matrix.tocsc()[free][:, free].tocsc())
    place = int(np.searchsorted(free, np.ravel_multi_index(sensor, shape)))
    # All in degrees above the body: the boundary's and the blood's temperature are then zero.
    response = solver.solve(source[free])
    if not response[place] > 0.0:
        raise ValueError("the electrode's sensor cannot be heated: no current reaches the tissue around it")
    above, power = np.zeros(len(free)), 0.0
    peak, omega, cem = np.zeros(len(free)), np.zeros(len(free)), np.zeros(len(free))
    for count in range(1, round(seconds / step) + 1):
        coasting = solver.solve(storage[free] * above)
        wanted = set_curve(count * step) - body
        power = max((wanted - float(coasting[place])) / float(response[place]), 0.0)  # volt squared
        above = coasting + power * response
        peak = np.maximum(peak, above)
        omega += step * arrhenius_rate(above + body, rate)
        cem += step * cem43_rate(above + body)

    def spread(values: Array, elsewhere: float) -> Array:
        whole = np.full(n, elsewhere)
        whole[free] = values
        return whole.reshape(shape)

    return Heating(spread(peak + body, body), spread(above + body, body), spread(omega, 0.0), spread(cem, 0.0),
                   power * current, power * float(source.sum()), 1.0 / current)
