"""Builds the `Spine`: frames, landmarks, nerve courses and structures from a segmentation, whatever made it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import Side, to_world
from imaging.volume import Grid, Volume
from segmentation.anatomy import Level, StructureName, is_relative
from segmentation.bones import BAD_SHAPE, Bone, completed_labels, fitted_bones, upright_of, wants_landmarks
from segmentation.canal import canal_mask, canal_station, sacral_station
from segmentation.constants import constants
from segmentation.engine import Progress
from segmentation.foramina import root_model, roots_mask
from segmentation.frames import FrameFit
from segmentation.labels import IMPORTED_LABELS
from segmentation.landmarks import BoneLandmarks, Cortex, find_presacral, find_sacral
from segmentation.nerves import ala_course, carried_nerve, medial_branch_course
from segmentation.plausibility import plausibility_findings
from segmentation.population import neighbour_turns, shape_findings, unusual_sizes
from segmentation.quality import Quality, judge_bone
from segmentation.sacral_foramina import SacralForamina, find_sacral_foramina
from segmentation.sacral_openings import (
    foramen_findings,
    foramina_structure,
    opened,
    with_foramina,
    with_sacral_canal,
)
from segmentation.spine import (
    NerveCourse,
    Segmentation,
    Spine,
    Structure,
    StructureOrigin,
    Vertebra,
)
from segmentation.structures import air_structures, complete, metal_structure

__all__ = ["build_spine"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
_THORACIC_LEVELS = frozenset({Level.T10, Level.T11, Level.T12, Level.T13})
_CARRIER_LEVELS = frozenset({Level.L1, Level.L2, Level.L3, Level.L4, Level.L5, Level.L6})


def _silent(stage: str, fraction: float) -> None:
    """Progress that nobody watches."""


def build_spine(segmentation: Segmentation, volume: Volume | None = None, body: NDArray[np.bool_] | None = None,
                reconstructed: NDArray[np.bool_] | None = None, progress: Progress = _silent) -> Spine:
    """Find frames, landmarks, nerve courses and structures.

    Parameters
    ----------
    segmentation : Segmentation
        From an engine or a label file.
    volume : Volume, optional
        The scan on the same grid: metal, lungs and gas come from it.
    body, reconstructed : (z, y, x) bool, optional
        Inside the skin; voxels that hold measured data.
    progress : callable
        Called with the stage's words and the fraction done.

    Returns
    -------
    Spine
        Vertebrae head to foot; an engine's arches are completed from the CT first, so its labels may gain voxels. One
        vertebra that cannot be measured never stops the others.
    """
    progress("vertebral frames", 0.0)
    bones = fitted_bones(segmentation)
    if volume is not None and volume.modality == "CT" and not segmentation.engine.startswith(IMPORTED_LABELS):
        progress("neural arches", 0.25)
        segmentation = replace(segmentation, labels=completed_labels(segmentation, bones, volume))
        bones = fitted_bones(segmentation, bones)
    cortex = None if volume is None or volume.modality != "CT" else Cortex(volume)
    bones = _with_points(segmentation, bones, progress, cortex)
    foramina = _sacral_foramina(bones, cortex)
    if foramina is not None:
        bones = [with_foramina(bone, foramina) if bone.name == Level.S1 else bone for bone in bones]
        segmentation = opened(segmentation, foramina)
    progress("nerve courses", 0.7)
    nerves = _nerves(segmentation, bones)
    progress("structures", 0.75)
    structures = _structures(segmentation, bones, volume, body, foramina)
    vertebrae = tuple(_vertebra(segmentation, bone) for bone in bones)
    unusual = unusual_sizes(vertebrae, _volumes(bones))
    turns = neighbour_turns(vertebrae)
    quality = {bone.name: judge_bone(bone, bone.name in unusual, turns.get(bone.name, 0.0)) for bone in bones}
    vertebrae = tuple(replace(v, quality=quality[v.name].value) for v in vertebrae)
    findings = (*segmentation.findings, *plausibility_findings(vertebrae), *_bone_findings(bones),
                *shape_findings(vertebrae, _volumes(bones)),
                *_quality_findings(quality),
                *_nerve_findings(segmentation, bones), *foramen_findings(foramina),
                *_structure_findings(segmentation, structures),
                *_metal_findings(segmentation.grid, structures[StructureName.METAL], bones))
    progress("spine", 1.0)
    return Spine(segmentation.grid, segmentation.labels, segmentation.numbering, vertebrae, nerves, structures, body,
                 reconstructed, segmentation.engine, findings)


def _volumes(bones: Sequence[Bone]) -> dict[str, float]:
    return {bone.name: bone.volume_ml for bone in bones}


def _with_points(segmentation: Segmentation, bones: Sequence[Bone], progress: Progress,
                 cortex: Cortex | None) -> list[Bone]:
    out = []
    upright = upright_of(bones)
    for n, bone in enumerate(bones):
        progress(f"landmarks of {bone.name}", 0.4 + 0.3 * n / max(len(bones), 1))
        sides = _sacralised(segmentation) if bone.name == Level.S1 else segmentation.sacralised.get(bone.name, ())
        try:
            points = None if bone.fit is None else _points(bone, bone.fit, upright, sides, cortex)
            out.append(replace(bone, points=points))
        except BAD_SHAPE as error:
            logger.warning("no landmarks on %s: %s", bone.name, error)
            out.append(replace(bone, trouble=f"its shape could not be measured ({error})"))
    return out


def _points(bone: Bone, fit: FrameFit, upright: Array | None, joined: Sequence[Side],
            cortex: Cortex | None) -> BoneLandmarks | None:
    if fit.frame is None or not wants_landmarks(bone.name):
        return None
    if bone.name == Level.S1:
        return find_sacral(fit, upright, joined, cortex)
    return find_presacral(fit, bone.name, bone.name in _THORACIC_LEVELS, joined, cortex)


def _sacral_foramina(bones: Sequence[Bone], cortex: Cortex | None) -> SacralForamina | None:
    """The foramina of a sacrum that has a frame."""
    sacrum = next((bone for bone in bones if bone.name == Level.S1), None)
    if sacrum is None or sacrum.fit is None or sacrum.fit.frame is None:
        return None
    try:
        return find_sacral_foramina(sacrum.fit, cortex)
    except BAD_SHAPE as error:
        logger.warning("no sacral foramina: %s", error)
        return None


def _vertebra(segmentation: Segmentation, bone: Bone) -> Vertebra:
    name, fit = bone.name, bone.fit
    return Vertebra(
        name, bone.label, float(segmentation.confidence.get(name, 0.5)),
        bone.centroid if fit is None else fit.body_center, None if fit is None else fit.frame,
        {} if bone.points is None else dict(bone.points.landmarks), segmentation.alternates.get(name, ()),
        segmentation.evidence.get(name, ()), bone.touches_edge, segmentation.sacralised.get(name, ()))


def _sacralised(segmentation: Segmentation) -> tuple[Side, ...]:
    """Sides on which the last lumbar vertebra is joined to the sacrum."""
    return tuple(side for side in Side if any(side in sides for sides in segmentation.sacralised.values()))


def _nerves(segmentation: Segmentation, bones: Sequence[Bone]) -> tuple[NerveCourse, ...]:
    joined = _sacralised(segmentation)
    six = any(bone.name == Level.L6 for bone in bones)
    courses = []
    for bone in bones:
        if bone.points is None or bone.fit is None:
            continue
        for anatomy in bone.points.sides:
            try:
                if bone.name == Level.S1:
                    if anatomy.side not in joined:
                        courses.append(ala_course(bone.fit.field, anatomy, None if six else carried_nerve(bone.name)))
                elif is_relative(bone.name) or bone.name in _CARRIER_LEVELS:
                    courses.append(medial_branch_course(bone.fit.field, anatomy, carried_nerve(bone.name), bone.name))
            except BAD_SHAPE as error:
                logger.warning("no nerve course at %s %s: %s", bone.name, anatomy.side.value, error)
    return tuple(courses)


def _structures(segmentation: Segmentation, bones: Sequence[Bone], volume: Volume | None,
                body: NDArray[np.bool_] | None, foramina: SacralForamina | None) -> dict[StructureName, Structure]:
    known = dict(segmentation.structures)
    own = known.get(StructureName.CANAL)
    canal = _canal(segmentation, bones) if own is None or own.mask is None else own
    known[StructureName.CANAL] = canal if foramina is None else with_sacral_canal(canal, foramina, segmentation)
    found: dict[StructureName, Structure] = {
        StructureName.SACRAL_FORAMINA: foramina_structure(foramina, segmentation)}
    found[StructureName.FORAMEN_CONTENTS] = _foramina(segmentation, bones)
    found[StructureName.METAL] = metal_structure(volume)
    found.update(air_structures(volume, body, known.get(StructureName.LUNGS)))
    return complete(known, found)


def _canal(segmentation: Segmentation, bones: Sequence[Bone]) -> Structure:
    stations = []
    for bone in bones:
        if bone.fit is None or bone.fit.frame is None:
            continue
        station = sacral_station(bone.fit) if bone.name == Level.S1 else canal_station(bone.fit)
        if station is not None:
            stations.append(station)
    if not stations:
        return Structure(StructureName.CANAL, None, StructureOrigin.NOT_COMPUTED,
                         "no vertebra with a closed arch to lay the canal through")
    mask = canal_mask(stations, segmentation.grid, segmentation.labels)
    return Structure(StructureName.CANAL, mask, StructureOrigin.COMPUTED,
                     f"the holes of {len(stations)} vertebral arches, joined along the spine")


def _foramina(segmentation: Segmentation, bones: Sequence[Bone]) -> Structure:
    roots, walls = [], []
    for bone, below in zip_longest(bones, bones[1:]):
        if bone.fit is None or bone.points is None or bone.name == Level.S1:
            continue
        station = canal_station(bone.fit)
        for side, pedicle in bone.points.pedicles.items():
            width = pedicle.medial_wall if station is None else station.half_width
            roots.append(root_model(bone.fit, bone.name, side, pedicle, width))
            sides = () if below is None or below.points is None else below.points.sides
            walls.append(next((s for s in sides if s.side is side), None))
    if not roots:
        return Structure(StructureName.FORAMEN_CONTENTS, None, StructureOrigin.NOT_COMPUTED,
                         "no vertebra with pedicles to lay the nerves below")
    mask = roots_mask(roots, walls, segmentation.grid, segmentation.labels)
    return Structure(StructureName.FORAMEN_CONTENTS, mask, StructureOrigin.MODELLED,
                     f"{len(roots)} spinal nerves with their ganglia, modelled below the pedicles, not seen")


def _bone_findings(bones: Sequence[Bone]) -> list[Finding]:
    out = []
    for bone in bones:
        bare = bone.fit is None or bone.fit.frame is None
        why = bone.trouble or ("; ".join(bone.fit.reasons) if bone.fit is not None else "")
        if bone.touches_edge:
            out.append(Finding(FindingCode.VERTEBRA_CUT, Severity.WARNING if bare else Severity.INFO,
                               f"{bone.name} is cut by the edge of the scan" + (f": {why}" if bare and why else "")))
        elif bare:
            out.append(Finding(FindingCode.LANDMARK_UNCERTAIN, Severity.WARNING, f"{bone.name} has no frame: {why}"))
        elif why:
            out.append(Finding(FindingCode.LANDMARK_UNCERTAIN, Severity.INFO, f"{bone.name}: {why}"))
        if bone.points is not None:
            out += _point_findings(bone)
    return out


def _point_findings(bone: Bone) -> list[Finding]:
    assert bone.points is not None
    out = []
    carries = is_relative(bone.name) or bone.name in _CARRIER_LEVELS or bone.name == Level.S1
    if bone.points.missing:
        out.append(Finding(FindingCode.LANDMARK_UNCERTAIN, Severity.WARNING if carries else Severity.INFO,
                           f"{bone.name}: not found: {', '.join(bone.points.missing)}"))
    for name, point in bone.points.landmarks.items():
        if name.value.startswith("sap_tp_junction") and point.confidence < 0.6:
            words = name.value.replace("_", " ")
            out.append(Finding(FindingCode.LANDMARK_UNCERTAIN, Severity.WARNING,
                               f"{bone.name} {words}: {'; '.join(point.reasons)}"))
    return out


def _quality_findings(quality: Mapping[str, Quality]) -> list[Finding]:
    """What quality control found, one line per vertebra."""
    return [Finding(FindingCode.VERTEBRA_ATYPICAL, Severity.INFO,
                    f"{name}, shape quality {q.value:.2f}: {'; '.join(q.words)}")
            for name, q in quality.items() if q.words]


def _nerve_findings(segmentation: Segmentation, bones: Sequence[Bone]) -> list[Finding]:
    joined = _sacralised(segmentation)
    if not joined or not any(bone.name == Level.S1 for bone in bones):
        return []
    sides = " and ".join(side.value for side in joined)
    return [Finding(FindingCode.TRANSITIONAL_ANATOMY, Severity.WARNING,
                    f"last lumbar transverse process joined to the sacrum, {sides}: no L5 dorsal ramus course there")]


def _structure_findings(segmentation: Segmentation, structures: Mapping[StructureName, Structure]) -> list[Finding]:
    out = []
    told = {f.message.split(":", 1)[0] for f in segmentation.findings if f.code is FindingCode.STRUCTURE_NOT_COMPUTED}
    for name, structure in structures.items():
        if structure.mask is None and name.value not in told:
            out.append(Finding(FindingCode.STRUCTURE_NOT_COMPUTED, Severity.WARNING,
                               f"{name.value}: {structure.reason}"))
    return out


def _metal_findings(grid: Grid, metal: Structure, bones: Sequence[Bone]) -> list[Finding]:
    """Where metal lies near a bone with landmarks, else that there is some elsewhere."""
    if metal.mask is None or not metal.mask.any():
        return []
    k, j, i = np.nonzero(metal.mask)
    points = to_world(grid, np.column_stack([i, j, k]).astype(float))
    reach = float(constants("structures")["metal"]["near_mm"])
    near = [bone.name for bone in bones if bone.points is not None
            and float(np.linalg.norm(points - bone.centroid, axis=1).min()) < reach]
    if not near:
        return [Finding(FindingCode.METAL, Severity.INFO, "metal in the scan, away from the vertebrae planned on")]
    return [Finding(FindingCode.METAL, Severity.WARNING,
                    f"metal near {', '.join(near)}: landmarks and nerves there are doubtful")]
