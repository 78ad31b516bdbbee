"""Findings: what was noticed about an input or a result, as values that travel with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FILE_DOUBTED", "Finding", "FindingCode", "Severity"]


class Severity(StrEnum):
    """How much a finding weighs."""

    INFO = "info"
    WARNING = "warning"
    BLOCK = "block"


class FindingCode(StrEnum):
    """Every finding nerveplan can report. The value is the code written to ``plan.json``."""

    # the file and its headers
    EMPTY_UIDS = "empty_uids"
    DUPLICATE_SLICES = "duplicate_slices"
    MISSING_SLICES = "missing_slices"
    UNEVEN_SPACING = "uneven_spacing"
    GANTRY_TILT_CORRECTED = "gantry_tilt_corrected"
    LOCALIZER_EXCLUDED = "localizer_excluded"
    FILES_SKIPPED = "files_skipped"
    SLICES_LEFT_OUT = "slices_left_out"
    SERIES_NOT_CHOSEN = "series_not_chosen"
    MISSING_RESCALE = "missing_rescale"
    COMPRESSED_LOSSY = "compressed_lossy"
    UNUSUAL_PATIENT_POSITION = "unusual_patient_position"
    OBLIQUE_STACK = "oblique_stack"
    THICK_SLICES = "thick_slices"
    ORIENTATION_STATED = "orientation_stated"
    UNITS_ASSUMED = "units_assumed"
    MODALITY_UNKNOWN = "modality_unknown"
    IMPLAUSIBLE_VALUES = "implausible_values"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    STALE_SCAN = "stale_scan"
    SCAN_AGE_UNKNOWN = "scan_age_unknown"
    VALUES_MISSING = "values_missing"
    PATIENT_NAMES_DIFFER = "patient_names_differ"
    # the anatomy
    NO_SPINE_FOUND = "no_spine_found"
    LEVEL_FROM_SACRUM_ONLY = "level_from_sacrum_only"
    LEVEL_FROM_RIB_ONLY = "level_from_rib_only"
    LEVEL_UNKNOWN = "level_unknown"
    LEVEL_STATED_BY_OPERATOR = "level_stated_by_operator"
    TRANSITIONAL_ANATOMY = "transitional_anatomy"
    LANDMARK_UNCERTAIN = "landmark_uncertain"
    VERTEBRA_CUT = "vertebra_cut"
    VERTEBRA_ATYPICAL = "vertebra_atypical"
    METAL = "metal"
    SCOLIOSIS = "scoliosis"
    LOW_BONE_DENSITY = "low_bone_density"
    STRUCTURE_NOT_COMPUTED = "structure_not_computed"
    CANAL_DISAGREEMENT = "canal_disagreement"
    LABELS_REFUSED = "labels_refused"
    ORIENTATION_WRONG = "orientation_wrong"
    VOXEL_SIZE_WRONG = "voxel_size_wrong"
    # the plan
    SKIN_NOT_IN_VIEW = "skin_not_in_view"
    SUPINE_SCAN_PRONE_PROCEDURE = "supine_scan_prone_procedure"
    NO_TARGET = "no_target"
    NO_ADMISSIBLE_PATH = "no_admissible_path"
    MODALITY_NOT_PLANNED = "modality_not_planned"
    CLINICIAN_SELECTION_REQUIRED = "clinician_selection_required"


#: Blocking, these say that the file itself is wrong: no needle is planned on it whatever else is known.
FILE_DOUBTED = frozenset({FindingCode.ORIENTATION_WRONG, FindingCode.VOXEL_SIZE_WRONG, FindingCode.VALUES_MISSING,
                          FindingCode.IMPLAUSIBLE_VALUES})


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes
    ----------
    code : FindingCode
        Stable machine-readable code.
    severity : Severity
        ``block`` means nothing may be planned from what it concerns.
    message : str
        A sentence for a person: what, where, what to do. No patient names, no file paths with names.
    """

    code: FindingCode
    severity: Severity
    message: str
