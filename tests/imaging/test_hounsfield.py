"""Whether values can be Hounsfield units: shifted, scaled and proper ones, and real scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imaging.findings import FindingCode, Severity
from imaging.hounsfield import hounsfield_findings
from imaging.reading import read_input
from imaging.volume import Volume
from planner.pipeline import why_no_needles
from sample_data import lumbar_ct_path
from segmentation.spine import Numbering, NumberingStatus, NumberingTier, Spine


@pytest.fixture(scope="module")
def phantom() -> Volume:
    return read_input(lumbar_ct_path())


def test_a_proper_scan_is_taken_as_it_is(phantom: Volume) -> None:
    assert hounsfield_findings(phantom) == []
    assert hounsfield_findings(replace(phantom, modality="MR", intercept=9000.0)) == []


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 1024.0), (1.0, -1024.0), (2.0, 0.0), (0.3, -700.0)])
def test_values_that_are_no_hounsfield_units_block_the_needles(slope: float, intercept: float,
                                                               phantom: Volume) -> None:
    """Slope and intercept of the values that a proper scan would have, as a lost rescale leaves them."""
    raw = 1024.0 * (slope == 2.0)
    wrong = replace(phantom, slope=phantom.slope * slope,
                    intercept=phantom.intercept * slope + intercept + raw * (slope - 1.0))
    (finding,) = hounsfield_findings(wrong)
    assert (finding.code, finding.severity) == (FindingCode.IMPLAUSIBLE_VALUES, Severity.BLOCK)
    spine = Spine(wrong.grid, np.zeros(wrong.grid.shape, np.uint8),
                  Numbering(NumberingTier.A, NumberingStatus.NAMED), (), (), {}, None, None, "none")
    assert why_no_needles(phantom, spine) == ""
    assert "Hounsfield" in why_no_needles(replace(wrong, findings=(finding,)), spine)


@pytest.mark.data
def test_no_real_scan_is_doubted(data: Path) -> None:
    scans = sorted((data / "ct").glob("*.nii.gz"))
    assert scans
    for path in scans[:4]:
        assert FindingCode.IMPLAUSIBLE_VALUES not in {f.code for f in read_input(path).findings}, path.name
