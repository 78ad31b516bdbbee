"""Which nerve lies on which bone and serves which joint: the tables whole, and how names are parsed."""

from __future__ import annotations

import pytest

from imaging.errors import UsageError
from segmentation.anatomy import (
    LUMBAR_NERVES,
    VERSE_LABEL,
    Level,
    Nerve,
    carrier_of,
    joint_names,
    joints_of,
    nerves_of_joint,
    parse_joint,
    parse_nerve,
)

CARRIERS = {
    "TON": "C3", "C3 MB": "C3", "C4 MB": "C4", "C5 MB": "C5", "C6 MB": "C6", "C7 MB": "C7", "C8 MB": "T1",
    "T1 MB": "T2", "T2 MB": "T3", "T3 MB": "T4", "T4 MB": "T5", "T5 MB": "T6", "T6 MB": "T7", "T7 MB": "T8",
    "T8 MB": "T9", "T9 MB": "T10", "T10 MB": "T11", "T11 MB": "T12", "T12 MB": "L1", "L1 MB": "L2", "L2 MB": "L3",
    "L3 MB": "L4", "L4 MB": "L5", "L5 DR": "S1",
    "T12 SN": "T12", "L1 SN": "L1", "L2 SN": "L2", "L3 SN": "L3", "L4 SN": "L4", "L5 SN": "L5", "S1 SN": "S1",
    "L3 BVN": "L3", "L4 BVN": "L4", "L5 BVN": "L5", "S1 BVN": "S1", "S1-S3 LB": "S1"}
JOINTS = {
    "C2/3": ["TON"], "C3/4": ["C3 MB", "C4 MB"], "C4/5": ["C4 MB", "C5 MB"], "C5/6": ["C5 MB", "C6 MB"],
    "C6/7": ["C6 MB", "C7 MB"], "C7/T1": ["C7 MB", "C8 MB"], "T1/2": ["C8 MB", "T1 MB"], "T2/3": ["T1 MB", "T2 MB"],
    "T3/4": ["T2 MB", "T3 MB"], "T4/5": ["T3 MB", "T4 MB"], "T5/6": ["T4 MB", "T5 MB"], "T6/7": ["T5 MB", "T6 MB"],
    "T7/8": ["T6 MB", "T7 MB"], "T8/9": ["T7 MB", "T8 MB"], "T9/10": ["T8 MB", "T9 MB"], "T10/11": ["T9 MB", "T10 MB"],
    "T11/12": ["T10 MB", "T11 MB"], "T12/L1": ["T11 MB", "T12 MB"], "L1/2": ["T12 MB", "L1 MB"],
    "L2/3": ["L1 MB", "L2 MB"], "L3/4": ["L2 MB", "L3 MB"], "L4/5": ["L3 MB", "L4 MB"], "L5/S1": ["L4 MB", "L5 DR"]}


def test_every_nerve_lies_on_its_bone() -> None:
    assert {nerve.value: carrier_of(nerve).value for nerve in Nerve} == CARRIERS


def test_every_joint_has_its_nerves() -> None:
    assert {joint: [n.value for n in nerves_of_joint(joint)] for joint in joint_names()} == JOINTS


def test_joints_of_a_nerve_are_the_table_read_the_other_way() -> None:
    for nerve in Nerve:
        assert list(joints_of(nerve)) == [joint for joint, nerves in JOINTS.items() if nerve.value in nerves]


def test_lumbar_medial_branches_lie_on_the_bone_below() -> None:
    order = list(Level)
    for nerve in LUMBAR_NERVES[1:-1]:
        own = Level(nerve.value.split()[0])
        assert order.index(carrier_of(nerve)) == order.index(own) + 1
    assert carrier_of(Nerve.L5) is Level.S1


def test_two_neighbouring_joints_share_one_nerve() -> None:
    both = dict.fromkeys([*nerves_of_joint("L4/5"), *nerves_of_joint("L5/S1")])
    assert [n.value for n in both] == ["L3 MB", "L4 MB", "L5 DR"]


def test_labels_are_verse_numbers() -> None:
    assert VERSE_LABEL[Level.C1] == 1
    assert VERSE_LABEL[Level.T12] == 19
    assert [VERSE_LABEL[level] for level in (Level.L1, Level.L5, Level.L6, Level.S1, Level.T13)] == [20, 24, 25, 26, 28]
    assert len(set(VERSE_LABEL.values())) == len(Level)


@pytest.mark.parametrize("text", ["L4/5", "L4-5", "l4/l5", "L4 - L5"])
def test_a_joint_may_be_written_in_many_ways(text: str) -> None:
    assert parse_joint(text) == "L4/5"


def test_a_bare_vertebra_is_refused_with_its_three_readings() -> None:
    with pytest.raises(UsageError, match=r"nerve .*bone .*joint") as refused:
        parse_nerve("L4")
    assert "L4 MB" in str(refused.value)
    assert "L4/5" in str(refused.value)
