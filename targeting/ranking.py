"""Ranking admitted needles: soft objectives, what beats what, and what counts as a different choice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import carm_tilt, degrees_between
from targeting.assess import Batch, measure_path, robustness
from targeting.procedures import ProcedureKind
from targeting.region import Standing
from targeting.scene import Scene

__all__ = ["Scores", "beats", "differs", "score"]

Array = NDArray[np.float64]
#: Angles closer than this are one angle: candidates stand exactly on a band's limit.
_SAME_DEG = 1e-6
#: Objective name -> (n,) values, 0 to 1, 1 best; those of a nerve whose course is not known are left out.
Scores = dict[str, Array]


def _angle_comfort(scene: Scene, oblique: Array, tilt: Array) -> tuple[Array, NDArray[np.bool_]]:
    """1 at the preferred angles, falling off around them; and whether both angles are usual."""
    band = scene.band
    off = np.hypot(oblique - band.oblique_preferred.value, tilt - band.tilt_preferred.value)
    usual = np.ones(len(oblique), np.bool_)
    for limit, values in ((band.oblique_usual, oblique), (band.tilt_usual, tilt)):
        usual &= (values >= limit.low - _SAME_DEG) & (values <= limit.high + _SAME_DEG)
    return np.exp(-0.5 * (off / scene.procedure.search.angle_scale.value)**2), usual


def _uprightness(scene: Scene, standing: Standing, directions: Array) -> Array:
    """1 at right angles to the bone, falling off around it: there the perpendicular is the preferred angle."""
    return np.asarray(np.exp(-0.5 * (standing.angles(directions) / scene.procedure.search.angle_scale.value)**2))


def score(scene: Scene, batch: Batch, which: NDArray[np.intp], *,
          granted: tuple[str, ...] = ()) -> tuple[Array, Scores]:
    """(m,) weighted score and each objective of some needles.

    Parameters
    ----------
    which : (m,)
        Rows of the batch.
    granted : tuple of str
        Of ``"clearance"`` and ``"robustness"``, the objectives that are not measured but taken as 1: the score is then
        the most it can be.
    """
    if "clearance" not in granted:
        measure_path(scene, batch, which[np.isnan(batch.slack[which])])
    procedure = scene.procedure
    longest = procedure.stock[-1].shaft_mm
    comfort, usual = _angle_comfort(scene, batch.oblique[which], batch.tilt[which])
    if scene.target.region is not None and scene.target.region.standing is not None:
        comfort = _uprightness(scene, scene.target.region.standing, batch.directions[which])
    saturation = procedure.search.clearance_saturation.value
    best = np.ones(len(which))
    scores: Scores = {
        "clearance": best if "clearance" in granted else np.clip(batch.slack[which] / saturation, 0.0, 1.0),
        "robustness": best if "robustness" in granted else robustness(scene, batch, which),
        "angle": comfort,
        "length": np.clip(1.0 - batch.lengths[which] / longest, 0.0, 1.0),
    }
    if procedure.kind is ProcedureKind.RF and scene.target.region is None:
        rule, found = scene.electrode, batch.electrode
        if scene.has_course:
            scores["catch"] = scene.caught(found["nerve_gap"][which])
            scores["captured"] = np.clip(found["captured"][which] / rule.captured_goal.value, 0.0, 1.0)
            scores["parallel"] = np.clip(1.0 - found["parallel"][which] / rule.parallel_limit.value, 0.0, 1.0)
        scores["contact"] = np.clip(found["contact"][which] / rule.contact_share.value, 0.0, 1.0)
    else:
        # a needle is a body: the target touched by any part of its tip is met
        away = np.linalg.norm(batch.tips[which] - scene.target.position, axis=1) - scene.radius
        scores["on_target"] = np.clip(1.0 - away / procedure.tip.to_target.value, 0.0, 1.0)
    total = np.zeros(len(which))
    for name, weight in procedure.weights.items():
        total += weight.value * scores.get(name, np.zeros(len(which)))
    # rounded, so that equal choices stay equal in whatever way the patient lies and the first of them is taken
    total = np.where(usual, total, procedure.search.unusual_share.value * total)
    beyond = np.abs(carm_tilt(batch.directions[which])) > procedure.search.carm_tilt.value
    total = np.where(beyond, procedure.search.beyond_carm_share.value * total, total)
    return np.asarray(np.round(total, 6), dtype=np.float64), scores


def beats(one: Mapping[str, float], others: Scores) -> NDArray[np.bool_]:
    """(n,) whether one needle is at least as good as others in every objective, to 3 decimals, and better in one."""
    ahead = np.array([np.round(value, 3) - np.round(others[name], 3) for name, value in one.items()])
    return np.asarray((ahead.min(axis=0) >= 0) & (ahead.max(axis=0) > 0))


def differs(scene: Scene, direction: Array, entry: Array, directions: Array, entries: Array) -> NDArray[np.bool_]:
    """(n,) whether a needle is another choice than others: by angle, or by where it enters the skin.

    Parameters
    ----------
    direction, directions : (3,) and (n, 3) unit
    entry, entries : (3,) and (n, 3) LPS mm
    """
    rule = scene.procedure.search
    angle = degrees_between(directions, direction)
    apart = np.linalg.norm(entries - entry, axis=1)
    return np.asarray((angle > rule.different_angle.value) | (apart > rule.different_entry.value))
