"""A small hand-made study: a body, three vertebrae, six targets with straight needles. Everything is known exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import Side, VertebralFrame, carm_angles, ct_angles, to_world, unit
from imaging.volume import Grid, SeriesIdentity, Volume
from planner.plan import InputHash, Plan, PlanRequest, RunInfo, StageTime, StudyInfo
from segmentation.anatomy import VERSE_LABEL, LandmarkName, Level, Nerve, StructureName, carrier_of, joints_of
from segmentation.spine import (
    Alternate,
    Landmark,
    NerveCourse,
    Numbering,
    NumberingStatus,
    NumberingTier,
    Segmentation,
    Spine,
    Structure,
    StructureOrigin,
    Vertebra,
)
from targeting.model import (
    CapturePoint,
    Needle,
    NeedlePose,
    Placement,
    PlacementKind,
    Proposal,
    ProposalStatus,
    Rejection,
    RejectionReason,
    Target,
)

SPACING = 2.0
SHAPE = (80, 90, 120)
ORIGIN = np.array([-119.0, -89.0, 0.0])
CENTERS = {"L4": np.array([0.0, 0.0, 120.0]), "L5": np.array([0.0, 0.0, 85.0]), "S1": np.array([0.0, 0.0, 50.0])}
NEEDLE = Needle("22G 90 mm spinal", 22, 90.0, 0.72)
NERVES = (Nerve.L3, Nerve.L4, Nerve.L5)


def grid() -> Grid:
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    return Grid(SHAPE, affine)


def world() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """LPS coordinates of every voxel, three (z, y, x) arrays."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    xyz = to_world(grid(), np.stack([i, j, k], axis=-1))
    return xyz[..., 0], xyz[..., 1], xyz[..., 2]


def labels() -> NDArray[np.uint8]:
    x, y, z = world()
    out = np.zeros(SHAPE, np.uint8)
    for name, c in CENTERS.items():
        dx, dy, dz = x - c[0], y - c[1], z - c[2]
        bone = (np.hypot(dx, dy) < 22) & (np.abs(dz) < 13)
        bone |= (np.abs(dx) < 42) & (np.abs(dy - 30) < 5) & (np.abs(dz) < 6)
        bone |= (np.abs(dx) < 4) & (dy > 34) & (dy < 55) & (np.abs(dz) < 9)
        bone |= (np.abs(np.abs(dx) - 18) < 5) & (dy > 10) & (dy < 34) & (np.abs(dz) < 8)
        out[bone] = VERSE_LABEL[Level(name)]
    out[canal()] = 0
    return out


def canal() -> NDArray[np.bool_]:
    x, y, _ = world()
    return np.hypot(x, y - 26) < 8


def body() -> NDArray[np.bool_]:
    x, y, _ = world()
    return (x / 110) ** 2 + (y / 82) ** 2 < 1


def volume(modality: str = "CT") -> Volume:
    noise = np.random.default_rng(7).normal(0, 15, SHAPE)
    hu = np.where(body(), 40.0, -1000.0) + np.where(body(), noise, 0)
    hu[labels() > 0] = 450
    hu[canal()] = 25
    identity = SeriesIdentity(source="/somewhere/ANON/ct", study_uid="1.2.3.4", series_uid="1.2.3.4.5",
                              frame_of_reference_uid="1.2.3.4.9", patient_position="HFS", study_date="20260102",
                              description="lumbar", sha256="ab" * 32, instance_uids=("1.2.3.4.5.1", "1.2.3.4.5.2"))
    return Volume(hu.astype(np.int16), grid(), modality, 1.0, 0.0, identity)


def junction(carrier: str, side: Side) -> NDArray[np.float64]:
    return np.asarray(CENTERS[carrier] + np.array([side.sign * 24.0, 36.0, 0.0]))


def vertebrae() -> tuple[Vertebra, ...]:
    out = []
    for name, c in CENTERS.items():
        marks = {LandmarkName(f"sap_tp_junction_{side.value.lower()}"):
                 Landmark(junction(name, side), np.eye(3) * 1.5, 0.95) for side in Side}
        marks[LandmarkName.SPINOUS_TIP] = Landmark(np.add(c, (0, 55, 0)), np.eye(3) * 2, 0.9)
        frame = VertebralFrame.from_axes(np.add(c, (0, 22, 0)), (0, 1, 0), (0, 0.1, 1))
        out.append(Vertebra(name, VERSE_LABEL[Level(name)], 0.95, c, frame, marks, (Alternate("L5", 0.05),),
                            ("fifth above the sacrum",)))
    return tuple(out)


def course(nerve: Nerve, side: Side) -> NerveCourse:
    carrier = carrier_of(nerve).value
    at = junction(carrier, side)
    steps = np.array([[4.0, -12, 6], [2, -6, 4], [0, 0, 0], [-3, 3, -5], [-7, 5, -10]]) * (side.sign, 1, 1)
    return NerveCourse(nerve, carrier, side, at + steps, np.full(5, 1.4), at + steps[1:3], 0.92)


def spine() -> Spine:
    empty = np.zeros(SHAPE, np.bool_)
    structures = {
        StructureName.CANAL: Structure(StructureName.CANAL, canal(), StructureOrigin.COMPUTED, "tracked"),
        StructureName.METAL: Structure(StructureName.METAL, empty, StructureOrigin.COMPUTED, "looked for"),
        StructureName.AORTA: Structure(StructureName.AORTA, None, StructureOrigin.NOT_COMPUTED, "engine has none")}
    return Spine(grid(), labels(), Numbering(NumberingTier.A, NumberingStatus.NAMED), vertebrae(),
                 tuple(course(nerve, side) for nerve in NERVES for side in Side), structures, body(),
                 np.ones(SHAPE, np.bool_), "hand")


def segmentation() -> Segmentation:
    """The same labels as an engine that could not name the levels would hand them over."""
    verse = labels()
    out = np.zeros_like(verse)
    out[verse == VERSE_LABEL[Level.L5]], out[verse == VERSE_LABEL[Level.L4]] = 101, 102
    return Segmentation(grid(), out, {101: "LLV-0", 102: "LLV-1"},
                        Numbering(NumberingTier.D, NumberingStatus.RELATIVE), {"LLV-0": 0.4, "LLV-1": 0.4},
                        {"LLV-0": (Alternate("L5", 0.5),), "LLV-1": ()}, {"LLV-0": ("lowest seen",), "LLV-1": ()}, {})


def pose(at: NDArray[np.float64], side: Side, carrier: Vertebra) -> NeedlePose:
    direction = unit((-0.25 * side.sign, -0.95, 0.18))
    entry = at.copy()
    while (entry[0] / 110) ** 2 + (entry[1] / 82) ** 2 < 1:
        entry = entry - 0.05 * direction
    assert carrier.frame is not None
    oblique, tilt = carrier.frame.oblique_tilt(direction, side)
    return NeedlePose(NEEDLE, entry, at, direction, float(np.linalg.norm(entry - at)), oblique, tilt,
                      carm_angles(direction), ct_angles(direction), abs(float(entry[0])), float(entry[2] - at[2]))


def clearance_to_canal(needle: NeedlePose) -> float:
    assert needle.entry is not None
    points = needle.entry + (needle.tip - needle.entry) * np.linspace(0, 1, 400)[:, None]
    index = np.argwhere(canal())[:, ::-1]
    inside = to_world(grid(), index)
    near = inside[np.abs(inside[:, 2] - needle.tip[2]) < 15]
    return float(np.min([np.linalg.norm(near - p, axis=1).min() for p in points])) - NEEDLE.diameter_mm / 2


def proposals(anatomy: Spine) -> tuple[Proposal, ...]:
    out = []
    for nerve_course in anatomy.nerves:
        carrier = anatomy.vertebra(nerve_course.carrier)
        assert carrier is not None
        assert nerve_course.nerve is not None
        nerve, side = nerve_course.nerve, nerve_course.side
        at = junction(carrier.name, side)
        target = Target(f"lumbar-medial-branch-block:{nerve.value.replace(' ', '-')}:{carrier.name}:{side.value}",
                        "lumbar-medial-branch-block", nerve, nerve.value, carrier, side, joints_of(nerve), at,
                        nerve_course, np.diag([1.5, 2.0, 2.5]), 0.92 if side is Side.LEFT else 0.7,
                        () if side is Side.LEFT else ("landmark estimates differ by 2.4 mm",))
        needle = pose(at, side, carrier)
        placement = Placement(
            1, PlacementKind.STRAIGHT, (needle,),
            {StructureName.CANAL: clearance_to_canal(needle), StructureName.METAL: None, StructureName.AORTA: None},
            {StructureName.METAL: "none in view", StructureName.AORTA: "engine has none"},
            {StructureName.CANAL: 5.0}, True,
            tuple(CapturePoint(s, p) for s, p in ((0.0, 0.99), (1.0, 0.95), (2.0, 0.81), (3.0, 0.62), (4.0, 0.45))),
            ("model estimate from unverified assumptions",), {"path_length": 0.8, "clearance": 0.9}, "shortest path")
        rejection = Rejection(RejectionReason.MARGIN, "canal", 5.0, 4.1, 12,
                              "12 paths: 4.1 mm to the canal at best, 5.0 mm needed")
        out.append(Proposal(target, ProposalStatus.PROPOSED, "", (placement,), (rejection,)))
    none = replace(out[-1], status=ProposalStatus.NONE, placements=(), reason="no admissible path")
    return (*out[:-1], none)


@cache
def plan() -> Plan:
    anatomy, scan = spine(), volume()
    run = RunInfo("2026-11-01T10:00:00+00:00", "2026-11-01T10:00:05+00:00", {"nerveplan": "0.1.0"},
                  (InputHash("image", scan.identity.sha256),), (StageTime("read", 0.5), StageTime("search", 1.25)),
                  321.0)
    findings = (Finding(FindingCode.SUPINE_SCAN_PRONE_PROCEDURE, Severity.WARNING,
                        "Depths are measured supine; prone depth is usually greater."),)
    return Plan(StudyInfo.of(scan), scan.identity, PlanRequest("lumbar-medial-branch-block"), anatomy,
                proposals(anatomy), findings, run, scan, version="0.1.0")
