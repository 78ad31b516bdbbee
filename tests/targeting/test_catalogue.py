"""Every procedure along a nerve plans on the phantom's truth, holds on the masks and mirrors with the patient."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from imaging.geometry import Side
from segmentation.anatomy import Nerve
from segmentation.spine import Spine
from targeting.model import Proposal, ProposalStatus
from targeting.planning import propose
from targeting.procedures import load_procedure
from targeting.targets import make_targets
from tests.targeting.builders import lumbar_spine, mirrored, sacral_spine
from tests.targeting.oracle import faults

ALONG_THE_NERVE = (
    "l5-dorsal-ramus-block", "l5-dorsal-ramus-rf", "lumbar-medial-branch-block", "lumbar-medial-branch-rf",
    "lumbar-medial-branch-rf-parasagittal")
FLIP = np.array([-1.0, 1.0, 1.0])


def _spine(name: str) -> Spine:
    return sacral_spine() if name.startswith("l5") else lumbar_spine()


def _nerve(name: str) -> Nerve:
    return Nerve.L5 if name.startswith("l5") else Nerve.L2


def _plan(spine: Spine, name: str, side: Side) -> Proposal:
    procedure = load_procedure(name)
    targets = make_targets(spine, procedure, nerves=[_nerve(name)], sides=[side]).targets
    return propose(spine, targets, procedure)[0]


@cache
def usual(name: str) -> Proposal:
    """The left target of a procedure."""
    return _plan(_spine(name), name, Side.LEFT)


@pytest.mark.parametrize("name", ALONG_THE_NERVE)
def test_it_is_planned_and_holds_on_the_masks(name: str) -> None:
    proposal, procedure = usual(name), load_procedure(name)
    assert proposal.status is ProposalStatus.PROPOSED
    assert proposal.target.id.startswith(f"{name}:")
    assert faults(_spine(name), procedure, (proposal,)) == []
    band = procedure.band(proposal.target.nerve)
    for placement in proposal.placements:
        for pose in placement.needles:
            assert band.oblique_limit.excess(pose.oblique_deg) < 1e-6
            assert band.tilt_limit.excess(pose.tilt_deg) < 1e-6


@pytest.mark.parametrize("name", ALONG_THE_NERVE)
def test_a_mirrored_patient_mirrors_it(name: str) -> None:
    one, other = usual(name), _plan(mirrored(_spine(name)), name, Side.RIGHT)
    assert len(one.placements) == len(other.placements)
    for p, q in zip(one.placements, other.placements, strict=True):
        assert p.kind is q.kind
        for m, n in zip(p.needles, q.needles, strict=True):
            assert n.tip == pytest.approx(m.tip * FLIP, abs=0.1)
            assert n.entry == pytest.approx(m.entry * FLIP, abs=0.1)
            assert (n.oblique_deg, n.tilt_deg) == pytest.approx((m.oblique_deg, m.tilt_deg), abs=0.05)


def test_the_posterior_half_is_reached_from_farther_below_and_nearer_the_parasagittal_plane() -> None:
    behind = usual("lumbar-medial-branch-rf-parasagittal").placements[0].needles[0]
    middle = usual("lumbar-medial-branch-rf").placements[0].needles[0]
    neck = usual("lumbar-medial-branch-rf").target.course.neck
    along = (neck[1] - neck[0]) / float((neck[1] - neck[0]) @ (neck[1] - neck[0]))
    assert (behind.tip - neck[0]) @ along > (middle.tip - neck[0]) @ along
    assert behind.oblique_deg < middle.oblique_deg
    assert behind.tilt_deg < middle.tilt_deg
