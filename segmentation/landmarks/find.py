"""Landmarks of one bone in world coordinates, and what its nerve courses are built from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, VertebralFrame
from segmentation.anatomy import LandmarkName
from segmentation.constants import constants
from segmentation.frames import FrameFit
from segmentation.landmarks.cortex import Cortex
from segmentation.landmarks.judge import Doubts, landmark, sided
from segmentation.landmarks.measure import SideMeasures, arch_block, measure_presacral
from segmentation.landmarks.processes import Pedicle
from segmentation.landmarks.sacrum import SacralSide, measure_sacral_side, working_frame
from segmentation.spine import Landmark

__all__ = ["BoneLandmarks", "SideAnatomy", "find_presacral", "find_sacral"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SideAnatomy:
    """What a nerve course is built from, one side of one bone.

    Attributes
    ----------
    frame : VertebralFrame
        Axes of the points below.
    junction : (3,) mm
        (lateral, posterior, superior): the junction, or the sacral ala groove.
    ventral, notch : (3,) mm or None
        Front margin of the articular process's neck, and its back margin (mamillo-accessory notch; sacrum: back of the
        articular root).
    """

    side: Side
    frame: VertebralFrame
    junction: Array
    ventral: Array | None
    notch: Array | None
    confidence: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class BoneLandmarks:
    """Everything found on one bone. `missing` says in words which points were looked for in vain."""

    landmarks: Mapping[LandmarkName, Landmark]
    sides: tuple[SideAnatomy, ...]
    missing: tuple[str, ...]
    pedicles: Mapping[Side, Pedicle] = field(default_factory=dict)


def _junction_doubts(fit: FrameFit, measured: SideMeasures) -> Doubts:
    c = constants("landmarks")
    doubts = Doubts()
    junction, neck = measured.junction, measured.neck
    assert junction is not None
    assert neck is not None
    doubts.check("frame", bool(fit.reasons), "; ".join(fit.reasons))
    doubts.check("weak_corner", junction.bend < float(c["confidence"]["min_bend"]),
                 f"shallow crotch (bend {junction.bend:.2f})")
    doubts.check("unsettled", not junction.settled, "crest plane and crotch did not settle")
    doubts.check("above_crest", abs(junction.above_crest_mm) > float(c["confidence"]["above_crest_mm"]),
                 f"{junction.above_crest_mm:.1f} mm from the extrapolated crest of the transverse process")
    low, high = (float(v) for v in c["neck"]["length_mm"])
    if neck.ventral is None or neck.notch is None:
        doubts.check("neck_open", True, "neck of the superior articular process not bounded in front and behind")
    else:
        length = float(neck.notch[1] - neck.ventral[1])
        doubts.check("neck_length", not low <= length <= high,
                     f"neck {length:.0f} mm long, {low:.0f}-{high:.0f} expected")
    low, high = (float(v) for v in c["confidence"]["junction_lateral_of_pedicle_mm"])
    offset = float(junction.point[0] - measured.pedicle.center[0])
    doubts.check("population", not low <= offset <= high,
                 f"{offset:.0f} mm lateral of the pedicle's centre, {low:.0f}-{high:.0f} expected")
    return doubts


def _compare_sides(points: Mapping[Side, Array], doubts: Mapping[Side, Doubts]) -> None:
    """Lower both sides when they disagree; asymmetry is common, so only beyond its usual size.

    Far beyond it one of the two is misplaced, and nothing here says which.
    """
    if len(points) < 2:
        return
    c = constants("landmarks")["confidence"]
    apart = np.abs(points[Side.LEFT] - points[Side.RIGHT])
    for n, word in enumerate(("lateral", "front-to-back", "height")):
        limit = float(c["asymmetry_mm"][n])
        check = "gross_asymmetry" if apart[n] > float(c["gross_asymmetry_ratio"]) * limit else "asymmetry"
        for side in Side:
            doubts[side].check(check, bool(apart[n] > limit),
                               f"left and right differ by {apart[n]:.0f} mm in {word} position")


def _presacral_extras(measured: SideMeasures) -> list[tuple[str, Array | None]]:
    return [("sap_tip", measured.articular_tip), ("tp_tip", measured.transverse_tip),
            ("pedicle_center", measured.pedicle.center),
            ("mamillo_accessory_notch", None if measured.neck is None else measured.neck.notch)]


def find_presacral(fit: FrameFit, certain_only: bool = False, joined: Collection[Side] = (),
                   cortex: Cortex | None = None) -> BoneLandmarks:
    """Landmarks of a thoracic or lumbar vertebra that has a frame.

    Parameters
    ----------
    certain_only : bool
        Leave out a junction that fails a check: the stubs of thoracic transverse processes often have none.
    joined : collection of Side
        Sides on which the transverse process is joined to the sacral ala.
    cortex : Cortex, optional
        The scan: surface points are moved onto the bone's edge in it.
    """
    assert fit.frame is not None
    measures = measure_presacral(fit)
    junctions = {side: m.junction for side, m in measures.sides.items() if m.junction is not None}
    doubts = {side: _junction_doubts(fit, measures.sides[side]) for side in junctions}
    _compare_sides({side: j.point for side, j in junctions.items()}, doubts)
    for side, doubt in doubts.items():
        doubt.check("transitional", side in joined, "transitional: transverse process joined to the sacral ala")
    out: dict[LandmarkName, Landmark] = {}
    sides, missing = [], []
    for side in Side:
        measured = measures.sides.get(side)
        if measured is None:
            missing.append(f"{side.value} pedicle not found")
            continue
        if side in junctions:
            point = landmark(fit, fit.frame, "sap_tp_junction", junctions[side].point, side, doubts[side],
                             0.5 * junctions[side].spread_mm, cortex)
            if point is not None and certain_only and point.confidence < float(
                    constants("landmarks")["confidence"]["certain"]):
                point = None
            if point is not None and measured.neck is not None:
                out[sided("sap_tp_junction", side)] = point
                sides.append(SideAnatomy(side, fit.frame, junctions[side].point, measured.neck.ventral,
                                         measured.neck.notch, point.confidence, point.reasons))
        for kind, local in _presacral_extras(measured):
            found = None if local is None else landmark(fit, fit.frame, kind, local, side, Doubts(), cortex=cortex)
            if found is not None:
                out[sided(kind, side)] = found
        missing += [f"{side.value} {kind.replace('_', ' ')}" for kind in ("sap_tp_junction", "sap_tip", "tp_tip")
                    if sided(kind, side) not in out]
    if measures.spinous_tip is not None:
        tip = landmark(fit, fit.frame, "spinous_tip", measures.spinous_tip, None, Doubts(), cortex=cortex)
        if tip is not None:
            out[LandmarkName.SPINOUS_TIP] = tip
    return BoneLandmarks(out, tuple(sides), tuple(missing), {side: m.pedicle for side, m in measures.sides.items()})


def _groove_doubts(fit: FrameFit, measured: SacralSide) -> Doubts:
    doubts = Doubts()
    doubts.check("frame", bool(fit.reasons), "; ".join(fit.reasons))
    doubts.check("weak_corner", measured.bend < float(constants("landmarks")["confidence"]["min_groove_bend"]),
                 f"shallow valley (bend {measured.bend:.2f})")
    if measured.articular_tip is not None and measured.groove is not None:
        below = float(measured.articular_tip[2] - measured.groove[2])
        low, high = (float(v) for v in constants("landmarks")["confidence"]["groove_below_tip_mm"])
        doubts.check("population", not low <= below <= high,
                     f"groove {below:.0f} mm below the articular tip, {low:.0f}-{high:.0f} expected")
    doubts.check("neck_open", measured.ventral is None or measured.dorsal is None,
                 "root of the S1 superior articular process not bounded in front and behind")
    return doubts


def find_sacral(fit: FrameFit, upright: Array | None = None, joined: Collection[Side] = (),
                cortex: Cortex | None = None) -> BoneLandmarks:
    """Landmarks of the sacrum; its junctions are the ala grooves.

    Parameters
    ----------
    upright : (3,) LPS, optional
        The lying patient's cranial direction.
    joined : collection of Side
        Sides on which the last lumbar transverse process is joined to the ala; they make both grooves doubtful.
    cortex : Cortex, optional
        The scan: surface points are moved onto the bone's edge in it.
    """
    assert fit.frame is not None
    frame = working_frame(fit.frame, upright)
    block = arch_block(replace(fit, frame=frame))
    measured = {side: measure_sacral_side(block, side) for side in Side}
    doubts = {side: _groove_doubts(fit, m) for side, m in measured.items()}
    _compare_sides({side: m.groove for side, m in measured.items() if m.groove is not None}, doubts)
    where = " and ".join(side.value.lower() for side in joined)
    for doubt in doubts.values():
        doubt.check("transitional", bool(joined), f"transitional: last lumbar vertebra joined to the ala, {where}")
    out: dict[LandmarkName, Landmark] = {}
    sides, missing = [], []
    for side, m in measured.items():
        if m.groove is not None:
            point = landmark(fit, frame, "ala_groove", m.groove, side, doubts[side], 0.5 * m.spread_mm, cortex)
            if point is not None:
                out[sided("sap_tp_junction", side)] = point
                sides.append(SideAnatomy(side, frame, m.groove, m.ventral, m.dorsal, point.confidence, point.reasons))
        nominal = Doubts()
        nominal.check("nominal", True, "nominal point: the sacrum has no pedicle isthmus")
        for kind, local, doubt in (("sap_tip", m.articular_tip, Doubts()), ("pedicle_center", m.pedicle, nominal)):
            found = None if local is None else landmark(fit, frame, kind, local, side, doubt, cortex=cortex)
            if found is not None:
                out[sided(kind, side)] = found
        if sided("sap_tp_junction", side) not in out:
            missing.append(f"{side.value} ala groove")
    return BoneLandmarks(out, tuple(sides), tuple(missing))
