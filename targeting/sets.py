"""Two lesions for one nerve: a second needle parallel to the first where one alone is unlikely to catch the nerve.

The lesions are made one after the other, the second place held against the same hard limits and against the first: the
one clearance that a placement tells per structure must hold for either. Their nerve is one and the same, so its error
is shared; each needle has a placement error of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ncx2

from targeting.assess import Batch, assess
from targeting.candidates import Needles
from targeting.clearance import ClearanceMeter
from targeting.confirm import confirm
from targeting.lesion import lesion_of
from targeting.lesion.tables import Surface
from targeting.model import CapturePoint, LesionEffect, MarginCurve, NeedlePose, Placement, PlacementKind
from targeting.placing import make_placement, offset_to_nerve
from targeting.procedures.schema import SecondNeedle
from targeting.ranking import score
from targeting.scene import Scene
from targeting.uncertainty import across

__all__ = ["second_lesion", "set_probability"]

Array = NDArray[np.float64]
#: Places of a second needle about the first, counted from "beside it along the bone".
_TURNS_DEG = (0.0, 180.0, 15.0, 165.0, -15.0, -165.0, 30.0, 150.0, -30.0, -150.0, 45.0, 135.0, -45.0, -135.0)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_SHARED = ("the nerve's error is shared by both needles; each has a placement error of its own, so that an error "
           "common to both catches less")


def set_probability(offsets: Sequence[Array], covariance: Array, sigma_mm: float, radius_mm: float) -> float:
    """Probability that at least one of several needles comes within a radius of a nerve, in the plane across it.

    Parameters
    ----------
    offsets : sequence of (2,) mm
        From the nerve's modelled place to each needle's planned place.
    covariance : (2, 2) mm2
        Of the nerve's own place, shared by all needles.
    sigma_mm : float
        Placement error of each needle per axis, independent of the others.

    Notes
    -----
    For a nerve at n a needle planned at a hits with the non-central chi-square probability of |n - a|; the average
    over n is a 32 by 32 point Gauss-Hermite sum in the covariance's own axes.
    """
    variance, axes = np.linalg.eigh(covariance)
    x, y = np.meshgrid(_NODES * np.sqrt(variance[0]), _NODES * np.sqrt(variance[1]), indexing="ij")
    nerve = np.stack([x.ravel(), y.ravel()], axis=1) @ axes.T
    weight = np.outer(_WEIGHTS, _WEIGHTS).ravel() / (2 * np.pi)
    missed = np.ones(len(nerve))
    for offset in offsets:
        away2 = ((nerve - offset)**2).sum(axis=1) / sigma_mm**2
        missed *= 1.0 - ncx2.cdf((radius_mm / sigma_mm)**2, 2, away2)
    return float(np.clip(1.0 - weight @ missed, 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class _Across:
    """The nerve's plane beside a first needle: what the probability of a set depends on."""

    scene: Scene
    plane: Array
    first: Array

    @classmethod
    def of(cls, scene: Scene, tip: Array, direction: Array) -> _Across:
        """Across the nerve where the needle passes it."""
        offset, tangent = offset_to_nerve(scene, tip, direction)
        plane = across(tangent)
        return cls(scene, plane, -(plane.T @ offset))

    def p(self, offsets: Sequence[Array], sigma_mm: float) -> float:
        """Probability that one of the needles catches the nerve."""
        target = self.scene.target
        covariance = self.plane.T @ target.covariance @ self.plane
        return set_probability(offsets, covariance, sigma_mm, self.scene.procedure.capture.radius.value)

    def place(self, tip: Array, direction: Array) -> Array:
        """(2,) mm: another needle in this plane."""
        offset, _ = offset_to_nerve(self.scene, tip, direction)
        return np.asarray(-(self.plane.T @ offset))


def _beside(scene: Scene, tip: Array, direction: Array, spacing_mm: float) -> Needles:
    """Parallel needles a spacing from the first, along the bone and a little up and down it."""
    normal = scene.bone_normal(tip - 0.5 * scene.active * direction)
    off = normal - (normal @ direction) * direction
    off /= np.linalg.norm(off)
    side = scene.target.side.sign * np.cross(direction, off)
    turns = np.radians(_TURNS_DEG)
    shift = spacing_mm * (np.cos(turns)[:, None] * side + np.sin(turns)[:, None] * off)
    return Needles(tip + shift, np.tile(direction, (len(shift), 1)))


def _second(scene: Scene, meter: ClearanceMeter, first: Placement, beside: Batch, view: _Across,
            rule: SecondNeedle) -> tuple[int, Placement] | None:
    """The second needle that with the first most likely catches the nerve, holds on the masks and passes as it does."""
    left = beside.left()
    gain = [round(view.p((view.first, view.place(beside.tips[n], beside.directions[n])), rule.placement_sigma.value), 6)
            for n in left]
    for row in left[np.argsort(-np.array(gain), kind="stable")] if len(left) else ():
        entry, tip, direction = beside.entries[row], beside.tips[row], beside.directions[row]
        measured = confirm(scene, meter, entry, tip, direction, float(beside.lengths[row]))
        apart = max((abs(value - other) for name, value in measured.clearance.items()
                     if value is not None and (other := first.clearance_mm[name]) is not None), default=0.0)
        if not measured.broken and apart <= rule.alike.value:
            _, scores = score(scene, beside, np.array([row]))
            return int(row), make_placement(scene, beside, int(row), measured,
                                            {name: float(v[0]) for name, v in scores.items()}, 0, False,
                                            meter.structures)
    return None


def _held(surface: Surface | None, scene: Scene, poses: Sequence[NeedlePose]) -> float:
    """Length of the nerve inside the lesions of several needles, mm."""
    if surface is None:
        return 0.0
    held = np.zeros(len(scene.nerve), np.bool_)
    for pose in poses:
        points = scene.nerve - pose.tip
        along = points @ pose.direction
        held |= surface.contains(along, np.linalg.norm(points - along[:, None] * pose.direction, axis=1))
    steps = np.linalg.norm(np.diff(scene.nerve, axis=0), axis=1)
    return float(steps[held[:-1] & held[1:]].sum())


def _lesions(scene: Scene, one: Placement, two: Placement, poses: Sequence[NeedlePose]) -> LesionEffect | None:
    """Both lesions, one after the other: the nerve in either, the nearer heat."""
    if one.lesion is None or two.lesion is None:
        return None
    setting = one.lesion.setting
    lesion = lesion_of(setting.gauge, setting.active_tip_mm, setting.temperature_c, setting.seconds)
    if lesion is None:
        return None
    heat = {name: min(gap, two.lesion.heat_clearance_mm[name]) for name, gap in one.lesion.heat_clearance_mm.items()}
    low, high = (_held(s, scene, poses) for s in (lesion.effect_narrow, lesion.effect_wide))
    return replace(one.lesion, captured_mm=(min(low, high), high), heat_clearance_mm=heat)


def _captured(scene: Scene, poses: Sequence[NeedlePose]) -> float:
    """Length of the wanted part of the nerve within the capture radius of either active tip, mm."""
    wanted, caught = scene.nerve[scene.wanted], np.zeros(int(scene.wanted.sum()), np.bool_)
    for pose in poses:
        back = (pose.tip - wanted) @ pose.direction
        s = np.clip(back, 0.0, scene.active)
        gap = np.linalg.norm(wanted - pose.tip + s[:, None] * pose.direction, axis=1)
        beside = (back >= -scene.past_the_tip) & (back <= scene.active + scene.past_the_tip)
        caught |= beside & (gap <= scene.procedure.capture.radius.value)
    return 0.25 * int(caught.sum())


def second_lesion(scene: Scene, meter: ClearanceMeter, first: Placement, rank: int) -> Placement | None:
    """The first placement with a second needle beside it; None when one is enough or no second one is admitted.

    Parameters
    ----------
    first : Placement
        A straight one with its entry on the skin.
    rank : int
        Of the set among the target's placements.
    """
    rule = scene.procedure.second
    if rule is None or not scene.has_course:
        return None
    pose, sigma = first.needles[0], rule.placement_sigma.value
    view = _Across.of(scene, pose.tip, pose.direction)
    alone = view.p((view.first,), sigma)
    if alone >= rule.capture_goal.value or pose.entry is None:
        return None
    beside = assess(scene, _beside(scene, pose.tip, pose.direction, rule.spacing.value))
    found = _second(scene, meter, first, beside, view, rule)
    if found is None:
        return None
    row, second = found
    offsets = (view.first, view.place(beside.tips[row], beside.directions[row]))
    return _set(scene, first, second, offsets, view, (alone, rank))


def _set(scene: Scene, first: Placement, second: Placement, offsets: Sequence[Array], view: _Across,
         alone_rank: tuple[float, int]) -> Placement:
    """Both needles as one placement: the smaller of every clearance and objective, the capture of the set."""
    rule, (alone, rank) = scene.procedure.second, alone_rank
    assert rule is not None
    poses = (first.needles[0], second.needles[0])
    captured, sigma = _captured(scene, poses), rule.placement_sigma.value
    objectives = {name: min(value, second.objectives[name]) for name, value in first.objectives.items()}
    objectives["captured"] = round(min(captured / scene.electrode.captured_goal.value, 1.0), 6)
    curve = tuple(CapturePoint(s, round(view.p(offsets, s), 6))
                  for s in scene.procedure.capture.placement_sigmas.values)
    lesion = _lesions(scene, first, second, poses)
    radius, spacing = scene.procedure.capture.radius.value, rule.spacing.value
    why = (f"a second lesion after the first with the cannula placed anew, {spacing:.1f} mm beside it and parallel: "
           f"the set is estimated to catch the nerve with {view.p(offsets, sigma):.2f}, one alone with {alone:.2f} "
           f"(placement sigma {sigma:g} mm, "
           f"goal {rule.capture_goal.value:.2f}); {captured:.0f} mm of the nerve run within {radius:g} mm of one "
           "of the two active tips' axes; "
           f"first: {first.why}")
    return replace(
        first, rank=rank, kind=PlacementKind.SET, needles=poses, lesion=lesion, capture=curve, why=why,
        objectives=objectives, margin_curves=_margins(first.margin_curves, second.margin_curves),
        clearance_mm={name: _least(value, second.clearance_mm[name]) for name, value in first.clearance_mm.items()},
        capture_assumptions=(*first.capture_assumptions, _SHARED))


def _margins(one: Sequence[MarginCurve], two: Sequence[MarginCurve]) -> tuple[MarginCurve, ...]:
    """Per structure the less likely of the two needles' curves at each placement error."""
    other = {curve.structure: curve for curve in two}
    out = []
    for curve in one:
        twin = other.pop(curve.structure, curve)
        points = zip(curve.curve, twin.curve, strict=True)
        out.append(replace(curve, curve=tuple(min(a, b, key=lambda point: point.p) for a, b in points)))
    return (*out, *other.values())


def _least(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else min(a, b)
