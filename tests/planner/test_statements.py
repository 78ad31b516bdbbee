"""The operator's word on levels renames the whole chain or is refused with what does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.errors import UsageError
from imaging.findings import FindingCode
from imaging.geometry import Side
from planner.statements import apply_statements, parse_statement
from segmentation.anatomy import VERSE_LABEL, Level
from segmentation.spine import Alternate, Numbering, NumberingStatus, NumberingTier, Segmentation
from tests.planner import builders


def say(segmentation: Segmentation, *texts: str) -> Segmentation:
    return apply_statements(segmentation, tuple(parse_statement(text) for text in texts))


def named() -> Segmentation:
    labels = builders.labels()
    levels = {VERSE_LABEL[Level(name)]: name for name in ("L4", "L5", "S1")}
    return replace(builders.segmentation(), labels=labels, levels=levels, sacralised={"L5": (Side.LEFT,)},
                   numbering=Numbering(NumberingTier.B, NumberingStatus.NAMED),
                   confidence=dict.fromkeys(levels.values(), 0.7), evidence={}, alternates={})


def test_neighbours_follow_and_labels_take_verse_numbers() -> None:
    before = builders.segmentation()
    after = say(before, "LLV-1=L4")
    assert after.levels == {24: "L5", 23: "L4"}
    assert (after.labels == 23).sum() == (before.labels == 102).sum()
    assert set(np.unique(after.labels)) == {0, 23, 24}
    assert (after.numbering.status, after.numbering.statement) == (NumberingStatus.NAMED, "LLV-1=L4")
    assert after.numbering.tier is NumberingTier.D
    assert FindingCode.LEVEL_STATED_BY_OPERATOR in {finding.code for finding in after.findings}
    assert after.evidence["L5"][0] == "stated by the operator: LLV-1=L4"
    assert "found as LLV-0 with confidence 0.40" in after.evidence["L5"]


def test_a_named_chain_moves_with_the_sacrum_in_place() -> None:
    after = say(named(), "L5=L4")
    assert sorted(after.levels.values()) == ["L3", "L4", "S1"]
    assert after.sacralised == {"L4": (Side.LEFT,)}
    assert (after.labels == VERSE_LABEL[Level.S1]).any()


def test_a_level_below_l5_becomes_l6() -> None:
    assert sorted(say(named(), "L4=L5").levels.values()) == ["L5", "L6", "S1"]


def test_agreeing_statements_are_one_and_no_statement_changes_nothing() -> None:
    assert say(builders.segmentation(), "LLV-1=L2", "LLV-0=L3").levels == {21: "L2", 22: "L3"}
    before = builders.segmentation()
    assert say(before) is before


def test_t13_is_named_between_t12_and_l1() -> None:
    assert say(builders.segmentation(), "LLV-1=T13").levels == {28: "T13", 20: "L1"}


@pytest.mark.parametrize(("texts", "words"), [
    (("LLV-1=L4", "LLV-0=L4"), "contradict"), (("LLV-7=L4",), "no vertebra LLV-7"), (("LLV-0=C1",), "C1"),
])
def test_what_does_not_fit_is_refused(texts: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        say(builders.segmentation(), *texts)


@pytest.mark.parametrize("text", ["L4", "LLV-1=", "LLV-1=X9", "LLV-1=S1", "=L4", "a=b=c"])
def test_what_is_no_statement_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="does not state a level"):
        parse_statement(text)


def test_an_upper_lumbar_vertebra_cannot_stand_on_the_sacrum() -> None:
    on_sacrum = named()
    k = np.argwhere(on_sacrum.labels == VERSE_LABEL[Level.L5])[:, 0]
    labels = on_sacrum.labels.copy()
    labels[labels == VERSE_LABEL[Level.S1]] = 0
    labels[k.min() - 2:k.min(), 1:4, 1:4] = VERSE_LABEL[Level.S1]
    j, i = np.argwhere(on_sacrum.labels == VERSE_LABEL[Level.L5])[0, 1:]
    labels[k.min() - 1, j, i] = VERSE_LABEL[Level.S1]
    touching = replace(on_sacrum, labels=labels)
    with pytest.raises(UsageError, match="L3 directly on the sacrum"):
        say(touching, "L5=L3")
    assert "L4" in say(touching, "L5=L4").levels.values()


def test_a_statement_against_the_images_keeps_their_reading() -> None:
    sure = replace(named(), confidence=dict.fromkeys(named().confidence, 0.97), evidence={"L5": ("last rib on T12",)})
    after = say(sure, "L5=L4")
    assert after.confidence["L4"] == pytest.approx(0.03)
    assert (after.alternates["L4"][0].level, after.alternates["L4"][0].p) == ("L5", 0.97)
    told = next(f.message for f in after.findings if f.code is FindingCode.LEVEL_STATED_BY_OPERATOR)
    assert "L4 was found as L5 with probability 0.97 (last rib on T12)" in told
    assert say(sure, "L5=L5").confidence["L5"] == 0.97


def test_a_stated_name_is_never_certain() -> None:
    after = say(replace(builders.segmentation(), alternates={"LLV-0": (Alternate("L5", 0.4), Alternate("L4", 0.4))}),
                "LLV-0=L5")
    assert after.confidence["L5"] == 0.8
    assert [(a.level, a.p) for a in after.alternates["L5"]] == [("L4", 0.2)]
