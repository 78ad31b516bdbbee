"""Landmarks of one bone in world coordinates, and what its nerve courses are built from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, VertebralFrame
from segmentation.anatomy import LandmarkName, Level
from segmentation.constants import constants
from segmentation.frames import FrameFit
from segmentation.landmarks.atlas import template_points
from segmentation.landmarks.cortex import Cortex
from segmentation.landmarks.doubts import Doubts
from segmentation.landmarks.fuse import Estimate, fuse
from segmentation.landmarks.judge import landmark, sided
from segmentation.landmarks.measure import SideMeasures, arch_block, measure_presacral
from segmentation.landmarks.processes import Pedicle
from segmentation.landmarks.sacrum import SacralSide, measure_sacral_side, working_frame
from segmentation.spine import Landmark

__all__ = ["BoneLandmarks", "SideAnatomy", "find_presacral", "find_sacral"]

Array = NDArray[np.float64]
_SIDED_KINDS = ("sap_tp_junction", "sap_tip", "tp_tip", "pedicle_center", "mamillo_accessory_notch")


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
    """Everything found on one bone.

    Attributes
    ----------
    missing : tuple of str
        In words, which points were looked for in vain.
    apart_mm : mapping of LandmarkName to float
        Distance between the two methods where both had the point.
    """

    landmarks: Mapping[LandmarkName, Landmark]
    sides: tuple[SideAnatomy, ...]
    missing: tuple[str, ...]
    pedicles: Mapping[Side, Pedicle] = field(default_factory=dict)
    apart_mm: Mapping[LandmarkName, float] = field(default_factory=dict)


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


def _by_geometry(measured: SideMeasures | None) -> dict[str, Array | None]:
    """What bone geometry found on one side of a presacral vertebra."""
    if measured is None:
        return dict.fromkeys(_SIDED_KINDS)
    junction, neck = measured.junction, measured.neck
    return {"sap_tp_junction": None if junction is None else junction.point, "sap_tip": measured.articular_tip,
            "tp_tip": measured.transverse_tip, "pedicle_center": measured.pedicle.center,
            "mamillo_accessory_notch": None if neck is None else neck.notch}


def _spread(corner_mm: float, joined: bool = False) -> float:
    """Standard deviation that a geometric corner has over the kind's own, mm: its rule presumes a free process."""
    c = constants("landmarks")["fusion"]
    return float(np.hypot(float(c["spread_share"]) * corner_mm, float(c["joined_sigma_mm"]) * joined))


def _junction(fit: FrameFit, measured: SideMeasures | None, template: Mapping[str, Array], ratio: float,
              joined: bool) -> tuple[Estimate | None, Doubts]:
    """The junction of one side with what speaks against it."""
    doubts = Doubts()
    point, spread = None, 0.0
    if measured is not None and measured.junction is not None:
        doubts = _junction_doubts(fit, measured)
        point, spread = measured.junction.point, _spread(measured.junction.spread_mm, joined)
    else:
        doubts.check("frame", bool(fit.reasons), "; ".join(fit.reasons))
    return fuse("sap_tp_junction", point, template.get("sap_tp_junction"), doubts, spread, ratio), doubts


def find_presacral(fit: FrameFit, name: str, thoracic: bool = False, joined: Collection[Side] = (),
                   cortex: Cortex | None = None) -> BoneLandmarks:
    """Landmarks of a thoracic or lumbar vertebra that has a frame.

    Parameters
    ----------
    name : str
        Its level, which chooses the template.
    thoracic : bool
        Its joints lie across and its transverse processes are stubs: a junction that fails a check is left out, and the
        articular tip rests on the template, since masks there often run on into the process above.
    joined : collection of Side
        Sides on which the transverse process is joined to the sacral ala.
    cortex : Cortex, optional
        The scan: surface points are moved onto the bone's edge in it.
    """
    assert fit.frame is not None
    block = arch_block(fit)
    measures = measure_presacral(fit, block)
    template = template_points(block, name, fit.measures)
    ratio = 1.0 if template is None else template.sigma_ratio
    laid: dict[Side, Mapping[str, Array]] = {s: {} if template is None else template.sides[s] for s in Side}
    junctions = {side: _junction(fit, measures.sides.get(side), laid[side], ratio, side in joined) for side in Side}
    doubts = {side: d for side, (_, d) in junctions.items()}
    _compare_sides({side: j.point for side, (j, _) in junctions.items() if j is not None}, doubts)
    out: dict[LandmarkName, Landmark] = {}
    apart: dict[LandmarkName, float] = {}
    sides, missing = [], []
    for side in Side:
        measured = measures.sides.get(side)
        doubts[side].check("transitional", side in joined, "transitional: transverse process joined to the sacral ala")
        pairs = {"sap_tp_junction": junctions[side]}
        for kind, local in _by_geometry(measured).items():
            if kind not in pairs:
                check = Doubts()
                leaky = kind == "sap_tip" and thoracic
                check.check("thoracic_tip", leaky, "a mask runs on into the process above where the joint lies across")
                spread = float(constants("landmarks")["fusion"]["thoracic_tip_sigma_mm"]) if leaky else 0.0
                pairs[kind] = fuse(kind, local, laid[side].get(kind), check, spread, ratio), check
        # Kinds that a level's template leaves out have no stable place on that level.
        wanted = pairs if template is None else {k: p for k, p in pairs.items() if k in laid[side]}
        found = _landmarks(fit, side, wanted, cortex)
        junction = sided("sap_tp_junction", side)
        if thoracic and junction in found and found[junction].confidence < float(
                constants("landmarks")["confidence"]["certain"]):
            del found[junction]
        out |= found
        apart |= _apart(side, wanted)
        if junction in found:
            sides.append(_anatomy(fit.frame, side, measured, laid[side], pairs, found[junction]))
        missing += [f"{side.value} {kind.replace('_', ' ')}" for kind in ("sap_tp_junction", "sap_tip", "tp_tip")
                    if sided(kind, side) not in out]
    check = Doubts()
    tip = fuse("spinous_tip", measures.spinous_tip, None if template is None else template.spinous_tip, check,
               0.0, ratio)
    point = None if tip is None else landmark(fit, fit.frame, "spinous_tip", tip, None, check, cortex)
    if point is not None:
        out[LandmarkName.SPINOUS_TIP] = point
    return BoneLandmarks(out, tuple(sides), tuple(missing), {side: m.pedicle for side, m in measures.sides.items()},
                         apart)


def _apart(side: Side, pairs: Mapping[str, tuple[Estimate | None, Doubts]]) -> dict[LandmarkName, float]:
    """How far the two methods lie apart, where both had a point."""
    return {sided(kind, side): e.apart_mm for kind, (e, _) in pairs.items() if e is not None and e.apart_mm is not None}


def _landmarks(fit: FrameFit, side: Side, pairs: Mapping[str, tuple[Estimate | None, Doubts]],
               cortex: Cortex | None) -> dict[LandmarkName, Landmark]:
    """The landmarks of one side that lie in the scan."""
    assert fit.frame is not None
    out = {}
    for kind, (estimate, doubts) in pairs.items():
        found = None if estimate is None else landmark(fit, fit.frame, kind, estimate, side, doubts, cortex)
        if found is not None:
            out[sided(kind, side)] = found
    return out


def _anatomy(frame: VertebralFrame, side: Side, measured: SideMeasures | None, template: Mapping[str, Array],
             pairs: Mapping[str, tuple[Estimate | None, Doubts]], point: Landmark) -> SideAnatomy:
    """What the nerve course of one side is built from."""
    junction, notch = pairs["sap_tp_junction"][0], pairs["mamillo_accessory_notch"][0]
    assert junction is not None
    ventral = None if measured is None or measured.neck is None else measured.neck.ventral
    return SideAnatomy(side, frame, junction.point, template.get("ventral") if ventral is None else ventral,
                       None if notch is None else notch.point, point.confidence, point.reasons)


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
    template = template_points(block, Level.S1, None)
    laid: dict[Side, Mapping[str, Array]] = {s: {} if template is None else template.sides[s] for s in Side}
    doubts = {side: _groove_doubts(fit, m) for side, m in measured.items()}
    ratio = 1.0 if template is None else template.sigma_ratio
    # A joined transverse process meets the ala lateral of the groove, whose valley stays; but no template is like the
    # small S1 articular process that such a joint goes with.
    grooves = {side: fuse("ala_groove", m.groove, laid[side].get("ala_groove"), doubts[side],
                          0.0 if m.groove is None else _spread(m.spread_mm), ratio)
               for side, m in measured.items()}
    _compare_sides({side: groove.point for side, groove in grooves.items() if groove is not None}, doubts)
    where = " and ".join(side.value.lower() for side in joined)
    for doubt in doubts.values():
        doubt.check("transitional", bool(joined), f"transitional: last lumbar vertebra joined to the ala, {where}")
    out: dict[LandmarkName, Landmark] = {}
    apart: dict[LandmarkName, float] = {}
    sides, missing = [], []
    for side, m in measured.items():
        groove = grooves[side]
        point = None if groove is None else landmark(fit, frame, "ala_groove", groove, side, doubts[side], cortex)
        if point is not None and groove is not None:
            out[sided("sap_tp_junction", side)] = point
            ventral = laid[side].get("ventral") if m.ventral is None else m.ventral
            dorsal = laid[side].get("dorsal") if m.dorsal is None else m.dorsal
            sides.append(SideAnatomy(side, frame, groove.point, ventral, dorsal, point.confidence, point.reasons))
        else:
            missing.append(f"{side.value} ala groove")
        apart |= _apart(side, {"sap_tp_junction": (groove, doubts[side])})
        tip, nominal = Doubts(), Doubts()
        nominal.check("nominal", True, "nominal point: the sacrum has no pedicle isthmus")
        tip.check("sacral_tip", True, "the tip of the S1 articular process is hard to tell from the joint above")
        for kind, row, local, doubt in (("sap_tip", "sacral_tip", m.articular_tip, tip),
                                        ("pedicle_center", "pedicle_center", m.pedicle, nominal)):
            estimate = fuse(row, local, laid[side].get(kind), doubt, 0.0, ratio)
            apart |= _apart(side, {kind: (estimate, doubt)})
            found = None if estimate is None else landmark(fit, frame, kind, estimate, side, doubt, cortex)
            if found is not None:
                out[sided(kind, side)] = found
    return BoneLandmarks(out, tuple(sides), tuple(missing), apart_mm=apart)
