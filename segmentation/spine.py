"""`Spine`: what is known about the patient's column and the structures around it.

Every mask lies on the input grid, in stored axes. "Not computed" is a value: a `Structure` without a mask has a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.findings import Finding
from imaging.geometry import Side, VertebralFrame
from imaging.volume import Grid
from segmentation.anatomy import LandmarkName, Nerve, StructureName

__all__ = [
    "Alternate", "Landmark", "NerveCourse", "Numbering", "NumberingStatus", "NumberingTier", "Segmentation", "Spine",
    "Structure", "StructureOrigin", "Vertebra",
]

Array = NDArray[np.float64]


class NumberingTier(StrEnum):
    """How the levels were established (design section 4)."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


class NumberingStatus(StrEnum):
    """Whether vertebrae carry names or only their place in the chain."""

    NAMED = "named"
    RELATIVE = "relative"


@dataclass(frozen=True)
class Numbering:
    """The verdict on levels. `statement` is the operator's word when one was given."""

    tier: NumberingTier
    status: NumberingStatus
    statement: str | None = None


class StructureOrigin(StrEnum):
    """Where a structure's mask comes from."""

    IMPORTED = "imported"
    COMPUTED = "computed"
    MODELLED = "modelled"
    NOT_COMPUTED = "not_computed"


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure to keep away from.

    Attributes
    ----------
    mask : (z, y, x) bool or None
        On the input grid. None when it was not computed; an empty mask means it was looked for and is not in view.
    reason : str
        Why it was not computed, or how it was.
    edge_mm : float
        How far the true edge may lie outside a coarse mask; every margin is wider by it.
    """

    name: StructureName
    mask: NDArray[np.bool_] | None
    origin: StructureOrigin
    reason: str = ""
    edge_mm: float = 0.0

    def __post_init__(self) -> None:
        if (self.mask is None) != (self.origin is StructureOrigin.NOT_COMPUTED):
            raise ValueError(f"structure {self.name}: a mask is missing exactly when it was not computed")
        if self.mask is None and not self.reason:
            raise ValueError(f"structure {self.name}: say why it was not computed")


@dataclass(frozen=True, eq=False)
class Landmark:
    """A point on a bone.

    Attributes
    ----------
    position : (3,) LPS mm
    covariance : (3, 3) mm2, LPS
    confidence : float
        0 to 1, the lowest of its checks.
    reasons : tuple of str
        What lowered the confidence.
    placed_by : str
        Who placed it by hand, as typed; empty when the program found it.
    """

    position: Array
    covariance: Array
    confidence: float = 1.0
    reasons: tuple[str, ...] = ()
    placed_by: str = ""


@dataclass(frozen=True)
class Alternate:
    """Another name a vertebra may deserve, with its probability."""

    level: str
    p: float


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One vertebra (or the sacrum, level S1).

    Attributes
    ----------
    name : str
        A `segmentation.anatomy.Level` value, or ``LLV-n`` when levels are unknown.
    label : int
        Its value in the label map.
    confidence : float
        Probability that the name is right.
    body_center : (3,) LPS mm
    frame : VertebralFrame or None
        None when the vertebra is cut too much for a frame.
    touches_edge : bool
        The bone is cut by the field of view.
    sacralised : tuple of Side
        Sides on which its transverse process is fused or joined to the ala.
    quality : float
        0 to 1 shape quality of the mask.
    placed_by : str
        Who named or placed it by hand, as typed; empty when the program did.
    """

    name: str
    label: int
    confidence: float
    body_center: Array
    frame: VertebralFrame | None
    landmarks: Mapping[LandmarkName, Landmark] = field(default_factory=dict)
    alternates: tuple[Alternate, ...] = ()
    evidence: tuple[str, ...] = ()
    touches_edge: bool = False
    sacralised: tuple[Side, ...] = ()
    quality: float = 1.0
    placed_by: str = ""


@dataclass(frozen=True, eq=False)
class NerveCourse:
    """Where a medial branch (or the L5 dorsal ramus) likely runs.

    Attributes
    ----------
    nerve : Nerve or None
        None when levels are relative.
    carrier : str
        Name of the vertebra it lies on.
    path : (n, 3) LPS mm
        From the foramen (P0) over the neck of the superior articular process to the lamina (P5).
    sigma_mm : (n,) float64
        Cross-track standard deviation at each point.
    neck : (2, 3) LPS mm
        The neck of the superior articular process: t=0 (ventral margin, foramen) and t=1 (notch).
    """

    nerve: Nerve | None
    carrier: str
    side: Side
    path: Array
    sigma_mm: Array
    neck: Array
    confidence: float = 1.0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What an engine or a label file says, before frames, landmarks and nerves.

    Attributes
    ----------
    grid : Grid
        The input's lattice.
    labels : (z, y, x) uint8
        Vertebra instances; `levels` names each value (a `Level` value or ``LLV-n``).
    structures : mapping
        Structures the engine or file knows.
    evidence : mapping of str
        Level name -> sentences.
    """

    grid: Grid
    labels: NDArray[Any]
    levels: Mapping[int, str]
    numbering: Numbering
    confidence: Mapping[str, float]
    alternates: Mapping[str, tuple[Alternate, ...]]
    evidence: Mapping[str, tuple[str, ...]]
    structures: Mapping[StructureName, Structure]
    sacralised: Mapping[str, tuple[Side, ...]] = field(default_factory=dict)
    engine: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class Spine:
    """Everything the planner needs to know about the anatomy, on the input grid.

    Attributes
    ----------
    labels : (z, y, x) uint8
        VerSe numbering when named, 101 upward from the lowest when relative.
    body : (z, y, x) bool or None
        Inside the skin; None without an image.
    reconstructed : (z, y, x) bool or None
        Voxels that hold measured data: skin is only skin where the body ends inside it.
    """

    grid: Grid
    labels: NDArray[Any]
    numbering: Numbering
    vertebrae: tuple[Vertebra, ...]
    nerves: tuple[NerveCourse, ...]
    structures: Mapping[StructureName, Structure]
    body: NDArray[np.bool_] | None
    reconstructed: NDArray[np.bool_] | None
    engine: str = ""
    findings: tuple[Finding, ...] = ()

    def vertebra(self, name: str) -> Vertebra | None:
        """The vertebra of that name, or None."""
        return next((v for v in self.vertebrae if v.name == name), None)
