"""A file whose axes or voxel size contradict the anatomy in it is blocked; a patient who merely lies askew is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from imaging.findings import FindingCode, Severity
from imaging.geometry import VertebralFrame
from sample_data.phantom import Phantom
from segmentation.plausibility import plausibility_findings
from segmentation.spine import Spine, Vertebra


def under(spine: Spine, matrix: NDArray[np.float64]) -> list[Vertebra]:
    """The vertebrae as measured where every world point p reads ``matrix @ p``, a rotation or a scaling."""
    scale = float(np.linalg.norm(matrix[0]))
    out = []
    for v in spine.vertebrae:
        f = v.frame
        frame = f and VertebralFrame(matrix @ f.origin, matrix @ f.left / scale, matrix @ f.posterior / scale,
                                     matrix @ f.superior / scale)
        out.append(replace(v, body_center=matrix @ v.body_center, frame=frame))
    return out


@pytest.mark.parametrize(("axes", "words"), [
    ((-1, -1, 1), "back"), ((-1, 1, -1), "head to foot"), ((1, -1, -1), "head to foot"),
])
def test_wrong_axes_are_blocked(phantom_spine: Spine, axes: tuple[int, int, int], words: str) -> None:
    found = plausibility_findings(under(phantom_spine, np.diag(np.array(axes, dtype=float))))
    assert [(f.code, f.severity) for f in found] == [(FindingCode.ORIENTATION_WRONG, Severity.BLOCK)]
    assert words in found[0].message


def test_a_patient_on_the_side_under_supine_tags_is_blocked(phantom_spine: Spine) -> None:
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert plausibility_findings(under(phantom_spine, quarter))


@pytest.mark.parametrize("degrees", [-45.0, 0.0, 45.0])
def test_a_patient_who_lies_askew_is_not(phantom_spine: Spine, phantom: Phantom, degrees: float) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for turn in ([[c, -s, 0], [s, c, 0], [0, 0, 1]], [[c, 0, -s], [0, 1, 0], [s, 0, c]]):
        assert plausibility_findings(under(phantom_spine, np.array(turn))) == []


@pytest.mark.parametrize(("scale", "words"), [(1.45, "far apart"), (0.5, "near together")])
def test_an_impossible_voxel_size_is_blocked(phantom_spine: Spine, scale: float, words: str) -> None:
    found = plausibility_findings(under(phantom_spine, scale * np.eye(3)))
    assert [(f.code, f.severity) for f in found] == [(FindingCode.VOXEL_SIZE_WRONG, Severity.BLOCK)]
    assert words in found[0].message


@pytest.mark.parametrize("scale", [0.85, 1.15])
def test_small_and_tall_patients_are_not(phantom_spine: Spine, scale: float) -> None:
    assert plausibility_findings(under(phantom_spine, scale * np.eye(3))) == []
