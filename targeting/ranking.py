"""Ranking admitted needles: soft objectives, what beats what, and what counts as a different choice."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from targeting.assess import Batch, measure_path, robustness
from targeting.procedures import ProcedureKind
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


def score(scene: Scene, batch: Batch, which: NDArray[np.intp], *, quick: bool = False) -> tuple[Array, Scores]:
    """(m,) weighted score and each objective of the needles of `which`; `quick` takes their robustness for granted."""
    measure_path(scene, batch, which[np.isnan(batch.slack[which])])
    procedure = scene.procedure
    longest = procedure.stock[-1].length_mm
    comfort, usual = _angle_comfort(scene, batch.oblique[which], batch.tilt[which])
    saturation = procedure.search.clearance_saturation.value
    scores: Scores = {
        "clearance": np.clip(batch.slack[which] / saturation, 0.0, 1.0),
        "robustness": np.ones(len(which)) if quick else robustness(scene, batch, which),
        "angle": comfort,
        "length": np.clip(1.0 - batch.lengths[which] / longest, 0.0, 1.0),
    }
    if procedure.kind is ProcedureKind.RF:
        rule, found = scene.electrode, batch.electrode
        if scene.has_course:
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
    return np.asarray(np.round(total, 6), dtype=np.float64), scores


def beats(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether one needle is at least as good as another in every objective, to 3 decimals, and better in one."""
    ahead = [round(value, 3) - round(other[name], 3) for name, value in one.items()]
    return min(ahead) >= 0 and max(ahead) > 0


def differs(scene: Scene, batch: Batch, a: int, other: Batch, b: int) -> bool:
    """Whether two needles are different choices: by angle, or by where they enter the skin."""
    rule = scene.procedure.search
    angle = math.degrees(math.acos(min(max(float(batch.directions[a] @ other.directions[b]), -1.0), 1.0)))
    apart = math.dist(batch.entries_of(np.array([a]))[0], other.entries_of(np.array([b]))[0])
    return bool(angle > rule.different_angle.value or apart > rule.different_entry.value)
