"""The built-in CT engine: localise, walk, measure, name, refine."""

from __future__ import annotations

import logging
import time

import numpy as np

from imaging.findings import Finding, FindingCode, Severity
from imaging.volume import Grid, Volume
from segmentation.anatomy import VERSE_LABEL, Level, StructureName
from segmentation.builtin.agreement import agreed
from segmentation.builtin.evidence import gather
from segmentation.builtin.gaps import parted_at_gaps
from segmentation.builtin.instances import InstanceFinder
from segmentation.builtin.lattice import box_of
from segmentation.builtin.localise import column_of, localise
from segmentation.builtin.models import Nets, OnnxNets
from segmentation.builtin.naming import NamedChain, name_chain
from segmentation.builtin.refine import paint_labels, paint_sacrum
from segmentation.builtin.settings import settings
from segmentation.builtin.structures import canal_structure, organ_structures
from segmentation.builtin.upright import upside_down
from segmentation.engine import Progress
from segmentation.spine import Numbering, NumberingStatus, NumberingTier, Segmentation, Structure, StructureOrigin

__all__ = ["BuiltinEngine"]

logger = logging.getLogger(__name__)

_KNOWN = (StructureName.CANAL, StructureName.AORTA, StructureName.VENA_CAVA, StructureName.KIDNEYS, StructureName.RIBS,
          StructureName.ILIAC_BONES)


class BuiltinEngine:
    """Finds and names vertebrae on CT with the two nets that ship with the package.

    Parameters
    ----------
    nets : Nets, optional
        The nets to ask; the shipped ones when not given (loaded on first use).
    """

    name = "builtin"

    def __init__(self, nets: Nets | None = None) -> None:
        self._nets = nets

    def segment(self, volume: Volume, progress: Progress) -> Segmentation:
        """Segment a CT volume.

        Returns
        -------
        Segmentation
            Without levels, and with a finding, when the volume is not CT, holds no spine or stands on its head.
        """
        if volume.modality != "CT":
            return _nothing(volume.grid, Finding(
                FindingCode.MODALITY_NOT_PLANNED, Severity.BLOCK,
                f"The built-in engine reads CT only; this volume is {volume.modality}. Give a label file made for it."))
        clock = _Clock(progress)
        clock.start("finding the spine", 0.02)
        if self._nets is None:
            self._nets = OnnxNets()
        box = box_of(volume.grid)
        located = localise(volume, box, self._nets)
        classes, canal = located.classes, located.canal
        column = column_of(classes, canal) if canal is not None else None
        if canal is None or column is None:
            return _no_spine(volume.grid)
        clock.start("walking along the vertebrae", 0.4)
        finder = InstanceFinder(volume, classes, column, canal, self._nets)
        chain = finder.walk()
        if not chain.vertebrae:
            return _no_spine(volume.grid)
        turned = upside_down(chain, classes)
        if turned:
            return _upside_down(volume.grid, turned)
        clock.start("naming the levels", 0.75)
        chain, sacrum, evidence = gather(chain, classes, canal)
        logger.debug("evidence %s", evidence)
        named = name_chain(evidence)
        clock.start("drawing the borders", 0.8)
        parted = parted_at_gaps(agreed(chain), finder)
        labels = paint_labels(volume, box, parted.vertebrae, [v.label for v in named.vertebrae])
        if sacrum is not None:
            paint_sacrum(labels, VERSE_LABEL[Level.S1], classes, sacrum, chain.sacral, finder)
        clock.start("structures to avoid", 0.92)
        low, high = float(chain.vertebrae[0].centre[0]), float(chain.vertebrae[-1].centre[0])
        structures, findings = organ_structures(classes, labels, low, high)
        structures[StructureName.CANAL] = canal_structure(classes, canal, labels)
        clock.start("done", 1.0)
        stored = np.ascontiguousarray(box.axes.restore(labels))
        return _assemble(volume.grid, stored, named, sacrum is not None, structures,
                         (*named.findings, *_canal_findings(located.disagreement_mm(low, high)), *findings))


class _Clock:
    """Tells progress and logs how long each stage took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage = ""
        self._since = time.perf_counter()

    def start(self, stage: str, done: float) -> None:
        now = time.perf_counter()
        if self._stage:
            logger.info("%s: %.1f s", self._stage, now - self._since)
        self._stage, self._since = stage, now
        self._progress(stage, done)


def _canal_findings(deviation: float | None) -> tuple[Finding, ...]:
    if deviation is None or deviation <= settings().canal.agree_mm:
        return ()
    return (Finding(FindingCode.CANAL_DISAGREEMENT, Severity.WARNING,
                    f"Two independent ways of finding the spinal canal differ by up to {deviation:.0f} mm; check the "
                    "canal before relying on its clearance."),)


def _assemble(grid: Grid, labels: np.ndarray, named: NamedChain, has_sacrum: bool,
              structures: dict[StructureName, Structure], findings: tuple[Finding, ...]) -> Segmentation:
    levels = {v.label: v.name for v in named.vertebrae}
    confidence = {v.name: v.confidence for v in named.vertebrae}
    evidence = {v.name: v.evidence for v in named.vertebrae}
    if has_sacrum:
        levels[VERSE_LABEL[Level.S1]] = Level.S1.value
        confidence[Level.S1.value] = named.sacrum_confidence
        evidence[Level.S1.value] = ("the sacrum, by its shape",)
    present = set(np.unique(labels).tolist())
    return Segmentation(
        grid=grid, labels=labels, levels={n: name for n, name in sorted(levels.items()) if n in present},
        numbering=named.numbering, confidence=confidence,
        alternates={v.name: v.alternates for v in named.vertebrae}, evidence=evidence, structures=structures,
        sacralised={v.name: v.sacralised for v in named.vertebrae if v.sacralised}, engine=BuiltinEngine.name,
        findings=findings)


def _no_spine(grid: Grid) -> Segmentation:
    return _nothing(grid, Finding(
        FindingCode.NO_SPINE_FOUND, Severity.BLOCK,
        "No thoracic or lumbar spine was found in this volume. Check that it is a CT of the trunk."))


def _upside_down(grid: Grid, why: str) -> Segmentation:
    return _nothing(grid, Finding(
        FindingCode.ORIENTATION_WRONG, Severity.BLOCK,
        f"The spine seems to stand on its head: {why}. The file's orientation is probably wrong, so head and feet, and "
        "perhaps left and right, are exchanged. Nothing is named and nothing is aimed; export the scan again with its "
        "orientation."))


def _nothing(grid: Grid, finding: Finding) -> Segmentation:
    """A result without levels that says why."""
    missing = {name: Structure(name, None, StructureOrigin.NOT_COMPUTED, finding.message) for name in _KNOWN}
    return Segmentation(
        grid=grid, labels=np.zeros(grid.shape, np.uint8), levels={},
        numbering=Numbering(NumberingTier.D, NumberingStatus.RELATIVE), confidence={}, alternates={}, evidence={},
        structures=missing, engine=BuiltinEngine.name, findings=(finding,))
