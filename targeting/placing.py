"""A `Placement` from a needle that was judged: pose, needle, clearances, capture curve, objectives, one sentence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import carm_tilt, whole_degrees
from imaging.position import depth_words
from segmentation.anatomy import StructureName
from targeting.angles import make_pose
from targeting.assess import Batch
from targeting.clearance import Boxes
from targeting.confirm import Measured
from targeting.lesion import lesion_effect, lesion_of
from targeting.limits import structure_words
from targeting.margins import margin_curves
from targeting.model import CapturePoint, LesionEffect, Needle, Placement, PlacementKind, RejectionReason
from targeting.needles import choose_needle
from targeting.procedures import ProcedureKind
from targeting.scene import Scene
from targeting.targets import neck_fraction
from targeting.uncertainty import capture_assumptions, capture_curve, reached_assumptions

__all__ = ["make_placement", "offset_to_nerve"]

Array = NDArray[np.float64]
_NO_COURSE = "no capture curve: the course of the nerve is not known here"


def offset_to_nerve(scene: Scene, tip: Array, direction: Array) -> tuple[Array, Array]:
    """From the needle's working part to the nearest place of the course, (3,) mm, and the course's tangent there."""
    ahead, active = scene.working
    tip = tip + ahead * direction
    along = np.clip((tip - scene.nerve) @ direction, 0.0, active)
    gaps = scene.nerve - (tip - along[:, None] * direction)
    nearest = int(np.argmin(np.linalg.norm(gaps, axis=1)))
    low, high = max(nearest - 4, 0), min(nearest + 4, len(scene.nerve) - 1)
    tangent = scene.nerve[high] - scene.nerve[low]
    tangent = tangent / np.linalg.norm(tangent)
    gap = gaps[nearest]
    return gap - (gap @ tangent) * tangent, tangent


def _electrode_words(scene: Scene, batch: Batch, row: int) -> list[str]:
    found = {name: float(column[row]) for name, column in batch.electrode.items()}
    parts = []
    if scene.has_course:
        radius = scene.procedure.capture.radius.value
        parts.append(f"{found['parallel']:.0f} degrees to the nerve")
        parts.append(f"{found['captured']:.0f} mm of the nerve run within {radius:g} mm of the active tip's axis")
    if scene.lesion_ahead is None:
        parts.append(f"{100 * found['contact']:.0f} percent of the active tip on bone")
    elif scene.has_course:
        parts.append(f"lesion centre {found['nerve_gap']:.1f} mm from the nerve")
    if scene.has_course and found["parallel"] > scene.electrode.parallel_goal.value:
        parts.append(f"less parallel than the goal of {scene.electrode.parallel_goal.value:.0f} degrees")
    if scene.neck_length > 0 and (neck_fraction(scene.target.course, batch.tips[row])
                                  < scene.electrode.tip_neck_warn.value):
        parts.append("tip close to the ventral margin of the articular process")
    return parts


def _region_words(scene: Scene, tip: Array, direction: Array, length_mm: float) -> list[str]:
    """Where in its space the tip ends, and how much of the pedicle is left beside the needle."""
    region = scene.region
    parts = [f"tip in the {region.place(tip)}"]
    if region.corridor is not None:
        medial, inferior, _ = region.corridor.margins(tip[None], direction[None], length_mm)[0] - scene.radius
        if np.isfinite(medial):
            parts.append(f"{medial:.1f} mm of pedicle left medially and {inferior:.1f} mm below "
                         f"({region.corridor.margin_mm:.1f} needed)")
    return parts


def _captured(scene: Scene, tip: Array, direction: Array) -> tuple[tuple[CapturePoint, ...], tuple[str, ...]]:
    """The capture curve and what it rests on; of a space, that the tip ends where it is planned."""
    if scene.target.region is not None:
        return (capture_curve(scene.target, scene.procedure, np.zeros(3), direction),
                reached_assumptions(scene.target, scene.procedure, direction))
    if not scene.has_course:
        return (), (_NO_COURSE,)
    offset, tangent = offset_to_nerve(scene, tip, direction)
    return (capture_curve(scene.target, scene.procedure, offset, tangent),
            capture_assumptions(scene.target, scene.procedure, offset, tangent))


def _heat_words(lesion: LesionEffect | None, warm_mm: float) -> list[str]:
    """From the lesion model, or from the procedure's own 45 degree zone where its electrode was not modelled."""
    if lesion is not None:
        return _lesion_words(lesion)
    return ["the exiting nerve lies inside the 45 C zone and its allowance"] if warm_mm < 0 else []


def _lesion_words(lesion: LesionEffect) -> list[str]:
    parts = []
    if lesion.captured_mm is not None:
        low, high = lesion.captured_mm
        parts.append(f"heated enough to count, by a separate and uncalibrated lesion model: {low:.0f} to {high:.0f} mm "
                     f"of the nerve's whole modelled course ({lesion.setting})")
    parts += [f"45 °C comes within {max(lesion.heat_clearance_mm[name], 0.0):.1f} mm of {structure_words(name)}, "
              f"{lesion.allowance_mm:.1f} wanted" for name in lesion.warned]
    return parts


def _lesion(scene: Scene, needle: Needle, tip: Array, direction: Array,
            structures: Mapping[StructureName, Boxes]) -> LesionEffect | None:
    """What the procedure's generator would do with this needle; None where it has none or that was not computed."""
    generator = scene.procedure.generator
    if generator is None or needle.active_tip_mm is None:
        return None
    lesion = lesion_of(needle.gauge, needle.active_tip_mm, generator.temperature.value, generator.seconds.value)
    path = scene.target.course.path
    return None if lesion is None else lesion_effect(lesion, tip, direction, path, structures)


def _why(scene: Scene, batch: Batch, row: int, measured: Measured, length_mm: float | None,
         reserve_mm: float | None, lesion: LesionEffect | None) -> str:
    """What speaks for a placement and what must be known about it, in one sentence."""
    oblique, tilt = round(float(batch.oblique[row]), 6), round(float(batch.tilt[row]), 6)
    turn = f"{whole_degrees(oblique)} degrees {'lateral' if oblique >= 0 else 'medial'} of straight posterior"
    parts = [f"{turn}, {whole_degrees(tilt)} degrees toward the {'head' if tilt >= 0 else 'feet'}"]
    if length_mm is not None and reserve_mm is not None:
        short = reserve_mm < scene.procedure.reach.reserve.value
        parts.append(f"{length_mm:.0f} mm deep {depth_words(scene.position)}"
                     + (f", only {reserve_mm:.0f} mm left outside" if short else ""))
    else:
        parts.append(f"depth and with it the needle's length unknown, {float(batch.lengths[row]):.0f} mm of the path "
                     "are in view")
    near = [(value - scene.procedure.margins[name].value, name, value) for name, value in measured.clearance.items()
            if value is not None and name in scene.procedure.margins and scene.procedure.margins[name].value > 0]
    if near:
        _, name, value = min(near)
        parts.append(f"{value:.1f} mm to {structure_words(name)} at the tightest "
                     f"({scene.procedure.margins[name].value:.1f} needed)")
    if scene.target.region is not None:
        parts += _region_words(scene, batch.tips[row], batch.directions[row], float(batch.lengths[row]))
    elif scene.procedure.kind is ProcedureKind.RF:
        parts += _electrode_words(scene, batch, row) + _heat_words(lesion, float(batch.electrode["warm"][row]))
    else:
        parts.append(f"tip {np.linalg.norm(batch.tips[row] - scene.target.position):.1f} mm from the target")
    unusual = scene.band.oblique_usual.excess(oblique) + scene.band.tilt_usual.excess(tilt)
    if unusual > 0.5:
        parts.append("outside the usual angles")
    steep = abs(float(carm_tilt(batch.directions[row])))
    if steep > scene.procedure.search.carm_tilt.value:
        parts.append(f"looking down the needle takes {whole_degrees(steep)} degrees of C-arm tilt, more than most can")
    return "; ".join(parts)


def _needle(scene: Scene, batch: Batch, row: int, open_end: bool) -> Needle:
    """The needle that is meant, else the stocked one that reaches, else the longest; of no length without a depth."""
    if scene.needle is not None:
        return scene.needle
    if open_end:
        return max(scene.procedure.needles, key=lambda kind: kind.lengths.values[-1]).of_any_length
    return choose_needle(scene.procedure, float(batch.lengths[row])) or scene.procedure.stock[-1]


def make_placement(scene: Scene, batch: Batch, row: int, measured: Measured, objectives: dict[str, float],
                   rank: int, open_end: bool, structures: Mapping[StructureName, Boxes]) -> Placement:
    """The placement of one judged needle.

    Parameters
    ----------
    structures : mapping
        Masks ready for measuring, for the reach of heat.
    open_end : bool
        Direction only: no entry and no length.
    """
    tip, direction = batch.tips[row].copy(), batch.directions[row].copy()
    entry = None if open_end else batch.entries[row].copy()
    needle = _needle(scene, batch, row, open_end)
    pose = make_pose(scene.spine, scene.target, needle, tip, direction, entry)
    reserve = None if pose.length_mm is None else needle.shaft_mm - pose.length_mm
    lesion = _lesion(scene, needle, tip, direction, structures)
    margins = {name: c.value for name, c in scene.procedure.margins.items() if measured.clearance[name] is not None}
    capture, assumptions = _captured(scene, tip, direction)
    curves = margin_curves(scene, measured.clearance, batch.entries[row], tip)
    own = scene.target.carrier.name
    may_cross = tuple(own if name == "carrier" else name for name in scene.procedure.may_cross)
    return Placement(
        rank=rank, kind=PlacementKind.STRAIGHT, needles=(pose,), clearance_mm=measured.clearance,
        clearance_reason=measured.clearance_reason, margins_mm=margins,
        margins_met=all(b.reason is not RejectionReason.MARGIN for b in measured.broken),
        capture=capture, capture_assumptions=assumptions,
        objectives={name: round(value, 6) for name, value in objectives.items()},
        why=_why(scene, batch, row, measured, pose.length_mm, reserve, lesion), may_cross=may_cross, lesion=lesion,
        margin_curves=curves)
