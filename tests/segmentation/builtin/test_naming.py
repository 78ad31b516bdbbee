"""Names from evidence: the tiers, transitional anatomy and the doubt each name carries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imaging.findings import FindingCode, Severity
from imaging.geometry import Side
from segmentation.builtin.hypotheses import lowest_is_sacral
from segmentation.builtin.naming import NamedChain, name_chain
from segmentation.builtin.settings import settings
from segmentation.builtin.signs import ChainEvidence, RibEvidence, VertebraEvidence
from segmentation.spine import NumberingStatus, NumberingTier

NONE = RibEvidence(0.0)
LONG = RibEvidence(80.0)
SHORT = RibEvidence(25.0)
SEQUENCE = [f"{part}{n}" for part, count in (("L", 5), ("T", 12), ("C", 7)) for n in range(count, 0, -1)]


def vertebra(level: str, rib: RibEvidence | None, lowest: bool = False) -> VertebraEvidence:
    """A vertebra of average size; `rib` on both sides, None when not in view."""
    prior = settings().levels[level]
    return VertebraEvidence(None if lowest else prior.step_below_mm, prior.volume_ml,
                            {} if rib is None else dict.fromkeys(Side, rib))


def chain(levels: list[str], *, bearing: str = "T", seen: bool = True, sacrum: bool = True) -> ChainEvidence:
    """A chain, lowest first, whose levels starting with `bearing` have long ribs."""
    rows = tuple(vertebra(level, (LONG if level.startswith(bearing) else NONE) if seen else None, n == 0)
                 for n, level in enumerate(levels))
    return ChainEvidence(rows, on_sacrum=sacrum)


def names(result: NamedChain) -> list[str]:
    return [v.name for v in result.vertebrae]


def codes(result: NamedChain) -> set[FindingCode]:
    return {f.code for f in result.findings}


def test_sacrum_and_last_rib_is_tier_a() -> None:
    result = name_chain(chain(SEQUENCE[:8]))
    assert result.numbering.tier is NumberingTier.A
    assert names(result) == SEQUENCE[:8]
    assert min(v.confidence for v in result.vertebrae) > 0.9
    assert not result.findings
    l1 = result.vertebrae[4]
    assert l1.label == 20
    assert l1.evidence[:2] == ("5th free vertebra above the sacrum", "last rib on the vertebra above (T12), both sides")


def test_sacrum_only_is_tier_b() -> None:
    result = name_chain(chain(SEQUENCE[:6], seen=False))
    assert result.numbering.tier is NumberingTier.B
    assert names(result) == SEQUENCE[:6]
    assert all(0.5 < v.confidence <= 0.8 for v in result.vertebrae)
    assert all(v.alternates for v in result.vertebrae)
    assert codes(result) == {FindingCode.LEVEL_FROM_SACRUM_ONLY}


def test_last_rib_only_is_tier_c() -> None:
    result = name_chain(chain(SEQUENCE[2:8], sacrum=False))
    assert result.numbering.tier is NumberingTier.C
    assert names(result) == SEQUENCE[2:8]
    assert all(v.confidence <= 0.7 for v in result.vertebrae)
    assert codes(result) == {FindingCode.LEVEL_FROM_RIB_ONLY}


@pytest.mark.parametrize("levels", [SEQUENCE[1:4], SEQUENCE[5:9], SEQUENCE[2:3]])
def test_neither_is_tier_d(levels: list[str]) -> None:
    result = name_chain(chain(levels, seen=False, sacrum=False))
    assert result.numbering == replace(result.numbering, tier=NumberingTier.D, status=NumberingStatus.RELATIVE)
    assert names(result) == [f"LLV-{n}" for n in range(len(levels))]
    assert [v.label for v in result.vertebrae] == [101 + n for n in range(len(levels))]
    assert all(v.confidence < 0.5 for v in result.vertebrae)
    assert all(sum(a.p for a in v.alternates) <= 1.0 for v in result.vertebrae)
    (finding,) = result.findings
    assert finding.code is FindingCode.LEVEL_UNKNOWN
    assert finding.severity is Severity.BLOCK


def test_ribs_on_every_vertebra_do_not_show_the_last_one() -> None:
    assert name_chain(chain(SEQUENCE[6:10], sacrum=False)).numbering.tier is NumberingTier.D


def test_six_lumbar_lowers_the_tier_and_names_both_readings() -> None:
    base = chain(SEQUENCE[:8])
    extra = replace(base.vertebrae[0], step_below_mm=35.0)
    result = name_chain(replace(base, vertebrae=(base.vertebrae[0], extra, *base.vertebrae[1:])))
    assert result.numbering.tier is NumberingTier.B
    assert names(result)[:7] == ["L6", "L5", "L4", "L3", "L2", "L1", "T12"]
    assert FindingCode.TRANSITIONAL_ANATOMY in codes(result)
    assert result.vertebrae[0].alternates[0].level == "L5"
    assert all(v.confidence <= 0.8 for v in result.vertebrae)
    assert result.vertebrae[0].label == 25


def test_four_lumbar_lowers_the_tier() -> None:
    base = chain(SEQUENCE[:8])
    result = name_chain(replace(base, vertebrae=base.vertebrae[1:]))
    assert result.numbering.tier is NumberingTier.B
    assert names(result)[:5] == ["L4", "L3", "L2", "L1", "T12"]
    assert FindingCode.TRANSITIONAL_ANATOMY in codes(result)


def test_short_last_rib_is_transitional() -> None:
    base = chain(SEQUENCE[:8])
    rows = list(base.vertebrae)
    rows[5] = replace(rows[5], ribs=dict.fromkeys(Side, SHORT))
    result = name_chain(replace(base, vertebrae=tuple(rows)))
    assert FindingCode.TRANSITIONAL_ANATOMY in codes(result)
    assert result.numbering.tier is NumberingTier.B
    assert names(result)[:6] == SEQUENCE[:6]
    assert all(v.confidence <= 0.8 for v in result.vertebrae)


def test_rib_that_leaves_the_field_is_not_short() -> None:
    base = chain(SEQUENCE[:8])
    rows = list(base.vertebrae)
    rows[5] = replace(rows[5], ribs={side: RibEvidence(25.0, complete=False) for side in Side})
    result = name_chain(replace(base, vertebrae=tuple(rows)))
    assert result.numbering.tier is NumberingTier.A
    assert FindingCode.TRANSITIONAL_ANATOMY not in codes(result)


def test_sacralised_side_is_kept_and_lowers_the_tier() -> None:
    base = chain(SEQUENCE[:8])
    rows = (replace(base.vertebrae[0], joined_to_ala=(Side.LEFT,)), *base.vertebrae[1:])
    result = name_chain(replace(base, vertebrae=rows))
    assert result.numbering.tier is NumberingTier.B
    assert result.vertebrae[0].sacralised == (Side.LEFT,)
    assert names(result) == SEQUENCE[:8]
    (finding,) = result.findings
    assert finding.code is FindingCode.TRANSITIONAL_ANATOMY
    assert "LEFT" in finding.message


def test_doubtful_contact_with_the_sacrum_costs_confidence() -> None:
    sure = name_chain(chain(SEQUENCE[:6], seen=False))
    doubted = name_chain(replace(chain(SEQUENCE[:6], seen=False), contact_doubted=True))
    assert doubted.numbering.tier is NumberingTier.C
    assert doubted.vertebrae[0].confidence < sure.vertebrae[0].confidence
    assert all(v.confidence < 0.5 for v in doubted.vertebrae)
    assert doubted.vertebrae[0].alternates[0].level == "L4"


def test_ribs_settle_a_doubtful_contact() -> None:
    result = name_chain(replace(chain(SEQUENCE[:8]), contact_doubted=True))
    assert result.numbering.tier is NumberingTier.A
    assert names(result) == SEQUENCE[:8]


def test_last_rib_on_one_side_alone_names_nothing_without_the_sacrum() -> None:
    base = chain(SEQUENCE[2:8], sacrum=False)
    rows = list(base.vertebrae)
    rows[3] = replace(rows[3], ribs={Side.LEFT: LONG, Side.RIGHT: NONE})
    assert name_chain(replace(base, vertebrae=tuple(rows))).numbering.tier is NumberingTier.D


def test_one_sided_rib_still_names() -> None:
    base = chain(SEQUENCE[:8])
    rows = list(base.vertebrae)
    rows[5] = replace(rows[5], ribs={Side.LEFT: LONG, Side.RIGHT: NONE})
    result = name_chain(replace(base, vertebrae=tuple(rows)))
    assert names(result) == SEQUENCE[:8]
    assert "LEFT side" in " ".join(result.vertebrae[5].evidence)


def test_counted_from_the_first_rib() -> None:
    levels = SEQUENCE[4:20]
    result = name_chain(chain(levels, sacrum=False))
    assert result.numbering.tier is NumberingTier.A
    assert names(result) == levels
    assert "counted from the first rib (T1)" in result.vertebrae[0].evidence


def test_counted_from_the_axis() -> None:
    levels = SEQUENCE[12:23]
    base = chain(levels, seen=False, sacrum=False)
    rows = tuple(replace(v, is_axis=level == "C2") for v, level in zip(base.vertebrae, levels, strict=True))
    result = name_chain(replace(base, vertebrae=rows))
    assert result.numbering.tier is NumberingTier.A
    assert names(result) == levels


def test_a_vertebra_shaped_like_the_axis_among_ribs_counts_for_nothing() -> None:
    for shaped in (5, 10, 16):
        base = chain(SEQUENCE[:18])
        rows = tuple(replace(v, is_axis=n == shaped) for n, v in enumerate(base.vertebrae))
        result = name_chain(replace(base, vertebrae=rows))
        assert names(result) == SEQUENCE[:18]
        assert not any("C2" in said and "made out" not in said for v in result.vertebrae for said in v.evidence)


def test_a_false_axis_in_a_short_view_settles_nothing() -> None:
    base = replace(chain(SEQUENCE[:6], seen=False), contact_doubted=True)
    rows = tuple(replace(v, is_axis=n == 4) for n, v in enumerate(base.vertebrae))
    result = name_chain(replace(base, vertebrae=rows))
    assert result.numbering.tier is not NumberingTier.A
    assert all(v.confidence < 0.5 for v in result.vertebrae)
    assert not any("below C2" in said for v in result.vertebrae for said in v.evidence)


def test_probabilities_are_probabilities() -> None:
    short = chain(SEQUENCE[2:5], seen=False, sacrum=False)
    for evidence in (chain(SEQUENCE[:8]), chain(SEQUENCE[:3], seen=False), short):
        for v in name_chain(evidence).vertebrae:
            assert 0.0 < v.confidence <= 1.0
            own = 0.0 if v.name.startswith("LLV") else v.confidence
            assert own + sum(a.p for a in v.alternates) <= 1.01


def test_longer_than_a_spine_is_still_an_answer() -> None:
    rows = tuple(VertebraEvidence(30.0, 50.0) for _ in range(30))
    assert len(name_chain(ChainEvidence(rows)).vertebrae) == 30


def test_lowest_one_that_may_be_sacral_earns_no_name_above_a_half() -> None:
    result = name_chain(replace(chain(SEQUENCE[:4], seen=False), sacral_chance=settings().naming.sacral_possible))
    assert result.numbering.tier is NumberingTier.C
    assert names(result) == SEQUENCE[:4]
    assert all(v.confidence < 0.5 for v in result.vertebrae)
    assert result.sacrum_confidence < 0.5
    assert result.vertebrae[0].alternates[0].level == "S1"
    assert result.vertebrae[1].alternates[0].level == "L5"
    assert "where the sacrum begins is uncertain" in result.vertebrae[0].evidence[0]


def test_no_alternate_is_likelier_than_a_capped_name() -> None:
    for doubted in (replace(chain(SEQUENCE[:4], seen=False), contact_doubted=True),
                    replace(chain(SEQUENCE[:4], seen=False), sacral_chance=settings().naming.sacral_possible)):
        for v in name_chain(doubted).vertebrae:
            assert all(a.p <= v.confidence for a in v.alternates)


def test_a_bone_between_the_alae_is_sacral_unless_five_below_the_last_rib_include_it() -> None:
    likely = settings().naming.sacral_likely
    assert lowest_is_sacral(chain(SEQUENCE[:4], seen=False)) == 0.0
    assert lowest_is_sacral(replace(chain(SEQUENCE[:4], seen=False), sacral_chance=likely)) > 0.5
    five = replace(chain(SEQUENCE[:8]), sacral_chance=likely)
    assert lowest_is_sacral(five) == 0.0
    assert names(name_chain(five)) == SEQUENCE[:8]
    extra = replace(five.vertebrae[0], step_below_mm=33.0)
    assert lowest_is_sacral(replace(five, vertebrae=(five.vertebrae[0], extra, *five.vertebrae[1:]))) > 0.9
