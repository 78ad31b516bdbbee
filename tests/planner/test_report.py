"""The report: self-contained, sides in words, nothing claimed, hostile text harmless, pictures the right way round."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from imaging.findings import Finding, FindingCode, Severity
from imaging.geometry import CArmAngles, Side, carm_words, whole_degrees
from planner.pictures import overview_picture, prepare, target_pictures
from planner.plan import BANNER, WATERMARK, TargetReview, TargetState
from planner.report import render_report
from planner.words import (
    CAPTURE_HEADING,
    CONFIDENCE_HEADING,
    capture_words,
    carm_short,
    clearance_words,
    dial_row,
    in_plane_words,
    margin_words,
    needle_words,
    out_of_plane_words,
    pedicle_words,
)
from segmentation.anatomy import LandmarkName, StructureName
from segmentation.spine import Landmark, NumberingStatus, Structure, StructureOrigin
from targeting.model import CapturePoint, PlacementKind, ProposalStatus, Rejection, RejectionReason, best_placement
from tests.planner import builders


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(builders.plan(), "cd" * 32)


def without_pictures(html: str) -> str:
    return re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", html)


def test_it_is_one_page_that_fetches_nothing(html: str) -> None:
    text = without_pictures(html)
    assert not re.search(r"(src|href)=\"(?!#|\")", text)
    assert "http" not in text
    assert "<script" not in text
    assert len(html) < 8_000_000


def test_banner_watermark_hash_and_every_target_are_on_it(html: str) -> None:
    text = without_pictures(html)
    assert BANNER in text
    assert WATERMARK in text
    assert "cd" * 32 in text
    for proposal in builders.plan().proposals:
        assert proposal.target.sentence in text
        if proposal.status is ProposalStatus.PROPOSED:
            assert dial_row(proposal).carm.replace("'", "&#39;") in text
    for field in ("Tip, LPS", "Target in the vertebra", "Length left outside the skin", "Depth along the path",
                  "Clearances", "placement error", "Patient position", "sign-off", "Could also be",
                  "Angles to the squared"):
        assert field in text, field


def test_the_table_comes_before_the_pictures(html: str) -> None:
    assert html.index("What to dial") < html.index("data:image")


def test_it_never_claims_to_be_safe_or_recommends(html: str) -> None:
    text = without_pictures(html).lower()
    assert not re.search(r"\bsafe|recommend", text)


def test_a_target_without_a_path_gives_its_reason(html: str) -> None:
    assert "No path is proposed:</b> no admissible path" in html


def test_hostile_text_stays_text() -> None:
    plan = builders.plan()
    finding = Finding(FindingCode.METAL, Severity.BLOCK, "<script>alert(1)</script>")
    page = render_report(replace(plan, findings=(finding,), proposals=plan.proposals[:1]), "cd" * 32)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_study_with_nothing_found_still_has_a_page() -> None:
    plan = builders.plan()
    empty = replace(plan.spine, labels=np.zeros_like(plan.spine.labels), vertebrae=(), nerves=(), structures={},
                    body=None, numbering=replace(plan.spine.numbering, status=NumberingStatus.RELATIVE))
    page = render_report(replace(plan, spine=empty, proposals=(), volume=None), "cd" * 32)
    assert "No target could be placed" in page
    assert "No vertebra was found" in page


def color_columns(jpeg: bytes, rgb: tuple[int, int, int]) -> float:
    """Mean column, 0 left to 1 right, of the pixels near a colour, away from the words at the edges."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    pixels = pixels[70:-70, 75:-75]
    near = np.abs(pixels - np.array(rgb)).sum(axis=-1) < 60
    assert near.sum() > 30
    return float(np.nonzero(near)[1].mean() / near.shape[1])


def word_edge(jpeg: bytes, rgb: tuple[int, int, int]) -> float:
    """Mean column, 0 left to 1 right, of a side's word half way up the picture."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    height = len(pixels)
    band = pixels[height // 2 - 10:height // 2 + 10]
    edges = np.concatenate([band[:, :72], band[:, -72:]], axis=1)
    near = np.abs(edges - np.array(rgb)).sum(axis=-1) < 60
    assert near.sum() > 30, "the word is there"
    return float(np.nonzero(near)[1].mean() / near.shape[1])


COLOR = {Side.LEFT: (86, 180, 233), Side.RIGHT: (230, 159, 0)}


def sum_of(jpeg: bytes, color: tuple[int, int, int]) -> int:
    """Pixels of a colour, away from the words at the edges."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)[70:-70]
    return int((np.abs(pixels - np.array(color)).sum(axis=-1) < 60).sum())


@pytest.mark.parametrize("side", list(Side))
def test_needles_lie_on_the_side_that_the_picture_names(side: Side) -> None:
    plan = builders.plan()
    prepared = prepare(plan)
    proposal = next(p for p in plan.proposals if p.target.side is side)
    _, ap, _, axial, cut, _ = target_pictures(plan, proposal, prepared)
    overview = overview_picture(replace(plan, proposals=(proposal,)), prepared)
    assert overview is not None
    for picture, left_is_right in ((ap, False), (axial, True), (cut, True)):
        where = color_columns(picture.jpeg, COLOR[side])
        assert (where > 0.5) == (left_is_right == (side is Side.LEFT))
        for way in Side:
            assert (word_edge(picture.jpeg, COLOR[way]) > 0.5) == (left_is_right == (way is Side.LEFT))
    nerve = color_columns(overview.jpeg, (225, 212, 80))
    assert nerve < 0.5 if side is Side.LEFT else nerve > 0.5


@pytest.mark.parametrize("side", list(Side))
def test_the_lateral_picture_says_which_side_is_near(side: Side) -> None:
    plan = builders.plan()
    proposal = next(p for p in plan.proposals if p.target.side is side)
    lateral = target_pictures(plan, proposal, prepare(plan))[2]
    assert f"patient's {side.value} 90 degrees" in lateral.caption
    pixels = np.asarray(Image.open(io.BytesIO(lateral.jpeg)).convert("RGB")).astype(int)
    rows = {way: np.nonzero(np.abs(pixels[:50, -110:] - np.array(COLOR[way])).sum(axis=-1) < 60)[0].mean()
            for way in Side}
    assert rows[side] < rows[side.other], "near above far"


def yellow(jpeg: bytes) -> int:
    """Pixels of the watermark's colour where it stands."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    lower = pixels[int(0.88 * len(pixels)):int(0.94 * len(pixels)), -170:]
    return int((np.abs(lower - np.array((255, 210, 77))).sum(axis=-1) < 60).sum())


def test_every_picture_of_an_unapproved_target_is_watermarked_and_no_other() -> None:
    plan = builders.plan()
    prepared, proposal, other = prepare(plan), plan.proposals[0], plan.proposals[1]
    approved = replace(plan, reviews={proposal.target.id: TargetReview(TargetState.APPROVED)})
    before, after = (target_pictures(p, proposal, prepared) for p in (plan, approved))
    assert all(yellow(picture.jpeg) > 40 for picture in before)
    assert not any(yellow(picture.jpeg) > 5 for picture in after)
    assert all(yellow(picture.jpeg) > 40 for picture in target_pictures(approved, other, prepared))
    overview = overview_picture(approved, prepared)
    assert overview is not None
    assert yellow(overview.jpeg) > 40, "the other targets are not approved"


def test_every_needle_of_a_set_is_drawn() -> None:
    plan = builders.plan()
    proposal = plan.proposals[0]
    placement = proposal.placements[0]
    first = placement.needles[0]
    assert first.entry is not None
    higher = np.array([0.0, 0.0, 14.0])
    second = replace(first, tip=first.tip + higher, entry=first.entry + higher)
    pair = replace(proposal, placements=(replace(placement, needles=(first, second)),))
    one, two = (target_pictures(plan, p, prepare(plan))[2] for p in (proposal, pair))
    counts = []
    for picture in (one, two):
        pixels = np.asarray(Image.open(io.BytesIO(picture.jpeg)).convert("RGB")).astype(int)[70:-70]
        counts.append(int((np.abs(pixels - np.array(COLOR[proposal.target.side])).sum(axis=-1) < 60).sum()))
    assert counts[1] > 1.6 * counts[0]


def test_findings_and_rejections_of_a_kind_stand_together() -> None:
    plan = builders.plan()
    findings = tuple(Finding(code, severity, words) for code, severity, words in (
        (FindingCode.METAL, Severity.INFO, "screw one"), (FindingCode.VERTEBRA_CUT, Severity.BLOCK, "cut"),
        (FindingCode.METAL, Severity.INFO, "screw two"), (FindingCode.METAL, Severity.INFO, "screw one")))
    down = tuple(Rejection(reason, name, 5.0, 4.0, count, f"{count} to {name}") for reason, name, count in (
        (RejectionReason.MARGIN, "canal", 3), (RejectionReason.BONE_ON_PATH, None, 12),
        (RejectionReason.MARGIN, "aorta", 4)))
    proposal = replace(plan.proposals[0], rejections=down)
    page = without_pictures(render_report(replace(plan, findings=findings, proposals=(proposal,)), "cd" * 32))
    assert page.count("<code>metal</code>") == 1
    assert page.count("screw one") == 1
    assert page.index("vertebra_cut") < page.index("<code>metal</code>") < page.index("screw two")
    assert page.index("12 to None") < page.index("4 to aorta; 3 to canal")


def test_without_a_ct_there_is_no_simulated_fluoroscopy() -> None:
    plan = builders.plan()
    mr = replace(plan, volume=builders.volume("MR"))
    assert prepare(mr).radiographs is None
    assert len(target_pictures(mr, mr.proposals[0], prepare(mr))) == 3
    bare = replace(plan, volume=None)
    assert len(target_pictures(bare, bare.proposals[0], prepare(bare))) == 1


def test_words_name_side_and_end() -> None:
    assert in_plane_words(12.4) == "12\N{DEGREE SIGN} hub toward LEFT"
    assert in_plane_words(-12.4) == "12\N{DEGREE SIGN} hub toward RIGHT"
    assert out_of_plane_words(18) == "18\N{DEGREE SIGN} tip toward HEAD"
    placement = best_placement(builders.plan().proposals[0])
    assert placement is not None
    assert clearance_words(placement).endswith("mm to canal")
    assert clearance_words(replace(placement, clearance_mm={})) == "not computed"
    told = {met: margin_words(replace(placement, margins_met=met)) for met in (True, False, None)}
    assert told == {True: "", False: "a margin is not met", None: "whether every margin is met is not known"}


def test_the_word_high_stands_beside_the_chance_of_capture(html: str) -> None:
    text = without_pictures(html)
    assert CONFIDENCE_HEADING.capitalize() in text
    assert CAPTURE_HEADING.capitalize() in text
    assert not re.search(r"(HIGH|MEDIUM|LOW) confidence", text)
    proposal = builders.plan().proposals[0]
    assert capture_words(proposal) == "0.81"
    assert f"<td>{capture_words(proposal)}</td>" in text
    one = proposal.placements[0]
    both = replace(one, rank=2, kind=PlacementKind.SET, capture=(CapturePoint(2.0, 0.9),))
    pair = replace(proposal, placements=(one, both),
                   target=replace(proposal.target, procedure="lumbar-medial-branch-rf"))
    assert capture_words(pair) == "0.81 alone; 0.90 for the set of two lesions (rank 2), goal 0.80 at 1.5 mm"
    assert capture_words(replace(pair, chosen=2)).startswith("0.90 for the set")
    assert capture_words(replace(proposal, placements=(replace(one, capture=()),))) == "not known"


def test_a_needle_without_a_known_depth_has_no_length() -> None:
    proposal = builders.plan().proposals[0]
    placement = proposal.placements[0]
    pose = replace(placement.needles[0], entry=None, length_mm=None, entry_from_midline_mm=None,
                   entry_above_target_mm=None, needle=replace(builders.NEEDLE, name="22G spinal", length_mm=None))
    assert needle_words(pose) == "22G spinal, length cannot be told: depth not known"
    unseen = replace(proposal, placements=(replace(placement, needles=(pose,)),), status=ProposalStatus.DIRECTION_ONLY)
    assert dial_row(unseen).needle == needle_words(pose)
    page = without_pictures(render_report(replace(builders.plan(), proposals=(unseen,)), "cd" * 32))
    assert "length cannot be told" in page
    assert "None" not in page
    assert "90 mm" not in page


def test_a_coarse_structure_is_told_in_whole_millimetres_and_how_each_is_known() -> None:
    plan = builders.plan()
    mask = np.zeros(builders.SHAPE, np.bool_)
    mask[0, 0, 0] = True
    kidneys = Structure(StructureName.KIDNEYS, mask, StructureOrigin.COMPUTED, "net", 7.0)
    nerve = Structure(StructureName.FORAMEN_CONTENTS, mask, StructureOrigin.MODELLED, "drawn")
    spine = replace(plan.spine, structures={**plan.spine.structures, kidneys.name: kidneys, nerve.name: nerve})
    proposal = plan.proposals[0]
    placement = replace(proposal.placements[0], clearance_mm={kidneys.name: 31.96, nerve.name: 4.34},
                        clearance_reason={}, margins_mm={kidneys.name: 17.0, nerve.name: 2.0})
    page = without_pictures(render_report(
        replace(plan, spine=spine, proposals=(replace(proposal, placements=(placement,)),)), "cd" * 32))
    assert "its edge uncertain by 7 mm</td><td class=\"num\">31 mm</td><td class=\"num\">17 mm (10 and 7 for" in page
    assert "MODELLED, not seen</td><td class=\"num\">4.3 mm</td>" in page


def test_what_to_know_before_the_procedure_stands_once_before_the_pictures(html: str) -> None:
    text = without_pictures(html)
    for words in ("mamillo-accessory ligament", "ASRA bleeding risk class: low", "0.25 to 0.3 mL", "anticoagulants"):
        assert 0 < text.index(words) < text.index('class="pictures"'), words
    assert text.count("mamillo-accessory ligament may be") == 1


def test_the_entry_is_told_against_the_pedicle() -> None:
    """An entry 40 mm lateral and 25 mm below the pedicle's centre along the vertebra's own axes."""
    proposal = builders.plan().proposals[0]
    target, pose = proposal.target, proposal.placements[0].needles[0]
    frame, side = target.carrier.frame, target.side
    assert frame is not None
    center = frame.from_side(np.array([14.0, 5.0, 3.0]), side)
    marks = {LandmarkName(f"pedicle_center_{side.value.lower()}"): Landmark(center, np.eye(3))}
    carrier = replace(target.carrier, landmarks=marks)
    entry = frame.from_side(np.array([54.0, 80.0, -22.0]), side)
    words = pedicle_words(replace(pose, entry=entry), replace(target, carrier=carrier))
    assert f"40 mm lateral and 25 mm toward the FEET of the pedicle's centre, {side.value}" in words
    assert pedicle_words(replace(pose, entry=None), target) == "not known"


def test_an_angle_read_back_from_a_plan_has_the_same_words() -> None:
    """20.504 degrees are written as 20.5; both are told as 21."""
    for angle in (-20.504, -20.5, 20.496, 0.5, 44.9951):
        raw, written = CArmAngles(angle, angle), CArmAngles(round(angle, 2), round(angle, 2))
        assert carm_words(raw) == carm_words(written)
        assert carm_short(raw) == carm_short(written)
    assert "RIGHT 21 degrees" in carm_words(CArmAngles(-20.504, 0.0))
    assert whole_degrees(-20.5) == 21
    assert whole_degrees(20.49) == 20


def test_a_needle_is_whole_only_within_the_slice() -> None:
    """Along the head-feet axis through an axial slice: 2 mm to each side are whole."""
    plan = builders.plan()
    proposal = plan.proposals[0]
    placement = proposal.placements[0]
    tip, entry = placement.needles[0].tip, placement.needles[0].tip + np.array([30.0, 40.0, -40.0])
    pose = replace(placement.needles[0], entry=entry, direction=(tip - entry) / np.linalg.norm(tip - entry))
    wide = replace(pose, needle=replace(pose.needle, diameter_mm=4.2))
    shown = []
    for needle in (pose, wide):
        steep = replace(proposal, placements=(replace(placement, needles=(needle,)),))
        axial, level = target_pictures(plan, steep, prepare(plan))[3:5]
        shown += [sum_of(picture.jpeg, COLOR[proposal.target.side]) for picture in (axial, level)]
    assert shown[0] < 0.75 * shown[1], "dashed where it is only projected"
    assert shown[3] < 3 * shown[1], "a wide cannula is an outline, not filled"


def test_pictures_are_the_same_every_time() -> None:
    plan = builders.plan()
    first, again = (target_pictures(plan, plan.proposals[0], prepare(plan)) for _ in range(2))
    assert [p.jpeg for p in first] == [p.jpeg for p in again]
