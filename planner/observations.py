"""Findings about a plan as a whole: what the person who reads it must know before dialling anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imaging.findings import Finding, FindingCode, Severity
from imaging.position import lying, position_of
from imaging.volume import Volume
from segmentation.spine import NumberingStatus, Spine
from targeting.model import Proposal, ProposalStatus
from targeting.targets import MissingTarget

__all__ = ["PLAN_CODES", "study_findings"]

#: Codes of what is said about a plan as a whole; all others are about the images or the anatomy.
PLAN_CODES = frozenset({
    FindingCode.MODALITY_NOT_PLANNED, FindingCode.SUPINE_SCAN_PRONE_PROCEDURE, FindingCode.LEVEL_UNKNOWN,
    FindingCode.SKIN_NOT_IN_VIEW, FindingCode.NO_ADMISSIBLE_PATH, FindingCode.NO_TARGET})



def study_findings(volume: Volume | None, spine: Spine, proposals: Sequence[Proposal],
                   missing: Sequence[MissingTarget]) -> tuple[Finding, ...]:
    """All findings of a study in reading order, each once: the images', the anatomy's, the plan's."""
    own = [*_modality(volume), *_position(volume, proposals), *_levels(spine), *_skin(proposals),
           *_nothing(proposals), *_missing(missing, proposals)]
    images = volume.findings if volume is not None else ()
    unique: dict[Finding, None] = dict.fromkeys([*images, *spine.findings, *own])
    return tuple(_first_of_code(unique, own))


def _first_of_code(findings: Iterable[Finding], own: Sequence[Finding]) -> list[Finding]:
    """Drop the plan-wide finding where a lower floor already reported the same code."""
    seen = {finding.code for finding in findings if finding not in own}
    return [finding for finding in findings if finding not in own or finding.code not in seen]


def _modality(volume: Volume | None) -> list[Finding]:
    if volume is None or volume.modality == "CT":
        return []
    kind = "MR" if volume.modality == "MR" else "of a kind that was not recognised"
    return [Finding(FindingCode.MODALITY_NOT_PLANNED, Severity.BLOCK,
                    f"The images are {kind}, not CT: needles are not planned on them. With --labels the "
                    "levels, landmarks and nerves are computed from a segmentation made elsewhere.")]


def _position(volume: Volume | None, proposals: Sequence[Proposal]) -> list[Finding]:
    if volume is None or not any(proposal.placements for proposal in proposals):
        return []
    how = lying(position_of(volume))
    if how == "prone":
        return []
    said = (f"The scan was taken {how if how == 'supine' else 'lying ' + how}" if how else
            "The file does not say in which position the scan was taken; it is handled as supine")
    turned = "; the bones and the depth differ from those of a prone patient" if how not in ("", "supine") else ""
    return [Finding(FindingCode.SUPINE_SCAN_PRONE_PROCEDURE, Severity.WARNING,
                    f"{said}, the procedure is done prone. Depths are measured {how or 'supine'}; prone depth is "
                    f"usually greater{turned}.")]


def _levels(spine: Spine) -> list[Finding]:
    if not spine.vertebrae:
        return []
    if spine.numbering.status is NumberingStatus.RELATIVE:
        return [Finding(FindingCode.LEVEL_UNKNOWN, Severity.BLOCK,
                        "The levels could not be established: vertebrae carry their place in the chain only (LLV-0 is "
                        "the lowest seen). No needle is proposed unless a level is stated with --name.")]
    return []


def _skin(proposals: Sequence[Proposal]) -> list[Finding]:
    hidden = [p for p in proposals if p.status is ProposalStatus.DIRECTION_ONLY]
    if not hidden:
        return []
    return [Finding(FindingCode.SKIN_NOT_IN_VIEW, Severity.WARNING,
                    f"The skin over the path is not in the field of view for {len(hidden)} of {len(proposals)} "
                    "targets: tip, direction and angles are given, entry point and length are not.")]


def _nothing(proposals: Sequence[Proposal]) -> list[Finding]:
    closed = [p.target.sentence for p in proposals if p.status is ProposalStatus.NONE and p.rejections]
    if not closed:
        return []
    return [Finding(FindingCode.NO_ADMISSIBLE_PATH, Severity.WARNING,
                    "No path meets every limit for: " + "; ".join(closed) + ".")]


def _missing(missing: Sequence[MissingTarget], proposals: Sequence[Proposal]) -> list[Finding]:
    if proposals or not missing:
        return []
    return [Finding(FindingCode.NO_TARGET, Severity.BLOCK,
                    f"None of the {len(missing)} targets asked for could be placed; the reasons are listed with them.")]
