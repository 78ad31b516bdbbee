"""The search finds what brute force finds: a quick twin, on the phantom, of ``benchmarks.brute_force``."""

from __future__ import annotations

import pytest

from benchmarks.brute_force import compare
from imaging.geometry import Side
from segmentation.anatomy import Nerve
from targeting.procedures import load_procedure
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine


@pytest.mark.parametrize(("nerve", "side"), [(Nerve.L2, Side.LEFT), (Nerve.L3, Side.RIGHT)])
def test_no_entry_is_missed_and_the_best_is_no_worse(nerve: Nerve, side: Side) -> None:
    spine, procedure = lumbar_spine(), load_procedure("lumbar-medial-branch-block")
    target = make_targets(spine, procedure, nerves=[nerve], sides=[side]).targets[0]
    found = compare(spine, procedure, target, None, stride=17)
    assert found.entries > 100
    assert found.feasible > 30
    assert found.missed == 0
    assert found.shortfall < 0.02
