"""What targeting hands up: targets, placements with clearances, rejections. Lengths in mm, angles in degrees, LPS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import CArmAngles, CtAngles, Side
from segmentation.anatomy import Nerve, StructureName
from segmentation.spine import NerveCourse, Vertebra
from targeting.region import TipRegion

__all__ = [
    "CapturePoint", "ConfidenceWord", "Evaluation", "LesionEffect", "LesionSetting", "MarginCurve", "MissingTarget",
    "Needle", "NeedlePose", "Placement", "PlacementKind", "Proposal", "ProposalStatus", "Rejection",
    "RejectionReason", "SetMember", "Target", "TargetList", "best_placement", "confidence_word",
]

Array = NDArray[np.float64]
_NERVE_WORDS = {"MB": "medial branch", "DR": "dorsal ramus", "SN": "spinal nerve", "BVN": "basivertebral nerve",
                "LB": "lateral branches", "joint": "facet joint"}


class ConfidenceWord(StrEnum):
    """HIGH at 0.9 and above, MEDIUM at 0.6 and above, else LOW."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


def confidence_word(confidence: float) -> ConfidenceWord:
    """The word for a confidence of 0 to 1."""
    if confidence >= 0.9:
        return ConfidenceWord.HIGH
    return ConfidenceWord.MEDIUM if confidence >= 0.6 else ConfidenceWord.LOW


class ProposalStatus(StrEnum):
    """What could be offered for a target."""

    PROPOSED = "proposed"
    DIRECTION_ONLY = "direction_only"
    NONE = "none"


class PlacementKind(StrEnum):
    """Shape of a placement."""

    STRAIGHT = "straight"
    SET = "set"
    CURVED = "curved"
    BEAM = "beam"


class RejectionReason(StrEnum):
    """Why candidate paths were turned down; the first limit that fails counts."""

    MARGIN = "margin"
    BONE_ON_PATH = "bone_on_path"
    REACH = "reach"
    ANGLE_BAND = "angle_band"
    SKIN_NOT_IN_VIEW = "skin_not_in_view"
    ENTRY_SIDE = "entry_side"
    TIP_RULE = "tip_rule"
    ACTIVE_TIP_DEPTH = "active_tip_depth"
    TIP_DEPTH = "tip_depth"
    BONE_NOT_SEEN = "bone_not_seen"
    PARALLELISM = "parallelism"
    HEATED_NERVE = "heated_nerve"
    STRUCTURE_NOT_COMPUTED = "structure_not_computed"
    METAL_NEARBY = "metal_nearby"
    ENTRY_OFF_SKIN = "entry_off_skin"
    OUTSIDE_IMAGE = "outside_image"
    WITHHELD = "withheld"
    CORRIDOR = "corridor"


@dataclass(frozen=True)
class Needle:
    """One stock needle or cannula.

    Attributes
    ----------
    gauge : int
    length_mm : float or None
        Usable shaft length; None where none can be chosen because the depth is not known.
    diameter_mm : float
    active_tip_mm : float or None
        Exposed length of a radiofrequency cannula.
    """

    name: str
    gauge: int
    length_mm: float | None
    diameter_mm: float
    active_tip_mm: float | None = None

    @property
    def shaft_mm(self) -> float:
        """`length_mm` where it is known; ValueError where it is not."""
        if self.length_mm is None:
            raise ValueError(f"no length is chosen for the {self.name}")
        return self.length_mm


@dataclass(frozen=True)
class SetMember:
    """Which needle of a set a target is.

    Attributes
    ----------
    set_id : str
        The same for every target of the set.
    index, count : int
        Place in the set, from 1, and how many it has.
    """

    set_id: str
    index: int
    count: int


@dataclass(frozen=True, eq=False)
class Target:
    """Where a needle's tip or active tip belongs.

    Attributes
    ----------
    id : str
        Unique in a plan, e.g. ``lumbar-medial-branch-block:L4-MB:L5:LEFT``.
    nerve : Nerve or None
        None for a facet joint, and where levels are relative.
    nerve_name : str
        ``"L4 MB"``; for relative levels ``"MB at LLV-1"``; for a facet joint ``"L4/5 joint"``.
    position : (3,) LPS mm
        The tip's goal.
    course : NerveCourse
        Without points where no nerve's course is aimed at.
    covariance : (3, 3) mm2
        Of the nerve's place here: the course's own error and that of the landmarks it was laid between; of a space, the
        procedure's sigma.
    confidence : float
        The lowest of its checks, 0 to 1; not a probability.
    withheld : str
        Why no needle may be aimed at it although the bone is in view; empty when one may. Its course is then empty.
    placed_by : str
        Who placed it by hand, as typed; empty when the program did.
    region : TipRegion or None
        The space the tip must end in; None where it must end on bone or along a nerve.
    place : str
        Where on which bone, in words; empty for the transverse process or the ala.
    member : SetMember or None
        The set of needles it belongs to; each needle of a set is a target of its own.
    """

    id: str
    procedure: str
    nerve: Nerve | None
    nerve_name: str
    carrier: Vertebra
    side: Side
    joints: tuple[str, ...]
    position: Array
    course: NerveCourse
    covariance: Array
    confidence: float
    reasons: tuple[str, ...] = ()
    withheld: str = ""
    placed_by: str = ""
    region: TipRegion | None = None
    place: str = ""
    member: SetMember | None = None

    @property
    def aim(self) -> Nerve | str | None:
        """What a procedure's angle band is looked up by: the nerve, else the joint."""
        return self.nerve if self.nerve is not None or not self.joints else self.joints[0]

    @property
    def bone(self) -> str:
        """The place on the carrier in words."""
        if self.place:
            return self.place
        return "sacral ala (S1)" if self.carrier.name == "S1" else f"{self.carrier.name} transverse process"

    @property
    def sentence(self) -> str:
        """Nerve, bone, side and joints in words; never a bare level."""
        joints = " and ".join(j for j in self.joints if j not in self.nerve_name)
        words = " ".join(_NERVE_WORDS.get(part, part) for part in self.nerve_name.split())
        return f"{words} at the {self.bone}, {self.side.value}" + (
            f" ({joints} joint{'s' if len(self.joints) > 1 else ''})" if joints else "")


@dataclass(frozen=True)
class MissingTarget:
    """A target that was asked for and cannot be made, and why.

    Attributes
    ----------
    nerve : Nerve or None
        None for a facet joint.
    name : str
        ``"L4 MB"`` or ``"L4/5 joint"``.
    """

    nerve: Nerve | None
    name: str
    side: Side
    carrier: str
    reason: str


@dataclass(frozen=True)
class TargetList:
    """What was asked for: made or missing, head to foot, left before right."""

    targets: tuple[Target, ...]
    missing: tuple[MissingTarget, ...]


@dataclass(frozen=True, eq=False)
class NeedlePose:
    """One needle in the patient.

    Attributes
    ----------
    entry : (3,) LPS mm or None
        On the skin; None when the skin is out of view.
    tip : (3,) LPS mm
    direction : (3,) unit LPS
        Entry to tip.
    oblique_deg, tilt_deg : float
        Against the squared endplate of the carrier (see `imaging.geometry.VertebralFrame.oblique_tilt`).
    entry_from_midline_mm : float or None
        Along the skin-side left-right axis from the spinous line, toward the target's side positive.
    entry_above_target_mm : float or None
        Cranial of the tip along the patient's long axis; negative below.
    """

    needle: Needle
    entry: Array | None
    tip: Array
    direction: Array
    length_mm: float | None
    oblique_deg: float
    tilt_deg: float
    carm: CArmAngles
    ct: CtAngles
    entry_from_midline_mm: float | None
    entry_above_target_mm: float | None


@dataclass(frozen=True)
class CapturePoint:
    """A probability (of capture, of a margin) when the operator's placement error per axis is `placement_sigma_mm`."""

    placement_sigma_mm: float
    p: float


@dataclass(frozen=True)
class MarginCurve:
    """Probability that a structure's margin holds, over the operator's placement error (see `targeting.margins`)."""

    structure: StructureName
    margin_mm: float
    curve: tuple[CapturePoint, ...]


@dataclass(frozen=True, order=True)
class LesionSetting:
    """What the operator dials at a radiofrequency generator.

    Attributes
    ----------
    gauge : int
    diameter_mm, active_tip_mm : float
    temperature_c, seconds : float
        Set temperature, and how long it is held after the ramp.
    """

    gauge: int
    diameter_mm: float
    active_tip_mm: float
    temperature_c: float
    seconds: float

    def __str__(self) -> str:
        return (f"{self.gauge}G, {self.active_tip_mm:g} mm active tip, {self.temperature_c:g} °C for "
                f"{self.seconds:g} s")


@dataclass(frozen=True)
class LesionEffect:
    """A lesion where a needle lies: an uncalibrated model estimate.

    Attributes
    ----------
    setting : LesionSetting
    captured_mm : (low, high)
        Length of the modelled nerve inside the narrow and the wide effect surface; None without a course.
    heat_clearance_mm : mapping
        From the 45 degree surface to each structure that heat must spare, mm; negative inside it.
    allowance_mm : float
        Least clearance of that surface; less is a warning.
    """

    setting: LesionSetting
    captured_mm: tuple[float, float] | None
    heat_clearance_mm: Mapping[StructureName, float]
    allowance_mm: float

    @property
    def warned(self) -> tuple[StructureName, ...]:
        """Structures that the 45 degree surface or its allowance reaches."""
        return tuple(name for name, gap in self.heat_clearance_mm.items() if gap < self.allowance_mm)


@dataclass(frozen=True)
class Rejection:
    """A class of candidates that was turned down.

    Attributes
    ----------
    limit, best : float or None
        The limit and the nearest value any candidate of this class reached (mm or degrees); None for a yes or no.
    sentence : str
        For a person, e.g. "no path: 4.1 mm to the canal at best, 5.0 mm needed".
    """

    reason: RejectionReason
    structure: str | None
    limit: float | None
    best: float | None
    count: int
    sentence: str


@dataclass(frozen=True, eq=False)
class Placement:
    """One way to reach a target.

    Attributes
    ----------
    clearance_mm : mapping
        Signed distance from each structure to the nearest needle's surface; None when not computed.
    clearance_reason : mapping
        Why a clearance is None.
    margins_mm : mapping
        What the procedure requires.
    margins_met : bool or None
        None when no measured margin is missed but a required structure was not computed, or an end lies where nothing
        was measured: whether every margin holds is then not known.
    objectives : mapping
        Soft objectives, 0 to 1, 1 best.
    placed_by : str
        Who placed it by hand, as typed; empty when the search did.
    broken : tuple of Rejection
        Hard limits it does not keep, margins included; only a placement by hand can have any.
    margin_curves : tuple of MarginCurve
        How likely the tightest margins still hold when the needle is misplaced.
    lesion : LesionEffect or None
        What the heat would do there; None for a procedure without, or an electrode and setting that was not computed.
    """

    rank: int
    kind: PlacementKind
    needles: tuple[NeedlePose, ...]
    clearance_mm: Mapping[StructureName, float | None]
    clearance_reason: Mapping[StructureName, str]
    margins_mm: Mapping[StructureName, float]
    margins_met: bool | None
    capture: tuple[CapturePoint, ...]
    capture_assumptions: tuple[str, ...]
    objectives: Mapping[str, float]
    why: str
    may_cross: tuple[str, ...] = ()
    may_cross_midline: bool = False
    placed_by: str = ""
    broken: tuple[Rejection, ...] = ()
    lesion: LesionEffect | None = None
    margin_curves: tuple[MarginCurve, ...] = ()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The judgement of one needle wherever a person put it.

    Attributes
    ----------
    status : ProposalStatus
        PROPOSED with an entry on the skin, DIRECTION_ONLY without; NONE when a hard limit is broken.
    placement : Placement
        Its pose, clearances, capture curve and objectives; `Placement.broken` holds every hard limit it breaks, not
        only the first, with the value it reaches as `Rejection.best`.
    """

    target: Target
    status: ProposalStatus
    placement: Placement


@dataclass(frozen=True, eq=False)
class Proposal:
    """The answer for one target.

    Attributes
    ----------
    chosen : int or None
        Rank of the placement that a person chose; None leaves the best-ranked one.
    """

    target: Target
    status: ProposalStatus
    reason: str
    placements: tuple[Placement, ...] = ()
    rejections: tuple[Rejection, ...] = field(default=())
    chosen: int | None = None


def best_placement(proposal: Proposal) -> Placement | None:
    """The placement a person chose, else that of the lowest rank, or None where nothing is proposed."""
    if proposal.status is ProposalStatus.NONE or not proposal.placements:
        return None
    return min(proposal.placements, key=lambda p: (p.rank != proposal.chosen, p.rank))
