"""Where nothing was found: a vertebra, its landmarks, a target and a needle by hand, in a real window."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog

from benchmarks.hand import Hand
from benchmarks.stage import Stage
from imaging.geometry import Side, to_world
from planner.exports.slicer import write_markups
from planner.exports.standing import PlanFolder
from planner.exports.trajectories import write_trajectories
from planner.folder import read_folder
from planner.pipeline import plan_study
from planner.plan import TargetState
from planner.verifying import verify_folder
from segmentation.anatomy import LandmarkName
from segmentation.spine import Vertebra
from targeting.model import ProposalStatus
from tests.viewer.conftest import WAIT_MS
from tests.viewer.test_anatomy import settled, vertebra
from tests.viewer.test_window import press, shoot
from viewer.anatomy_words import landmark_title
from viewer.app import ReviewPanel
from viewer.confirm import ConfirmDialog
from viewer.marking import BodyPoint
from viewer.planes import PlaneName

Array = NDArray[np.float64]
NAME = "Dr A. Example"
JUNCTION = LandmarkName.SAP_TP_JUNCTION_LEFT


def idle(panel: ReviewPanel, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not panel.strip.busy and not panel.editor.busy, timeout=WAIT_MS)


def open_here(window: ReviewPanel, folder: Path, qtbot: QtBot) -> Hand:
    """Open a plan that may have no targets, and sign in."""
    hand = Hand(window.viewer.window._qt_window)
    window.open_path(folder)
    qtbot.waitUntil(lambda: window.session.folder == folder and not window.strip.busy, timeout=WAIT_MS)
    Stage(window, hand).sign_in(NAME, "radiologist")
    hand.open_tab(window.tabs, window.anatomy)
    return hand


def yes(hand: Hand, seen: list[str]) -> None:
    """Mean the next question, and keep its words."""
    def act(dialog: QDialog) -> None:
        assert isinstance(dialog, ConfirmDialog)
        seen.append(dialog.words.text())
        hand.click(dialog.act_button)

    hand.answer(ConfirmDialog, act)


def place_vertebra(panel: ReviewPanel, hand: Hand, level: str, points: dict[BodyPoint, Array], seen: list[str]) -> None:
    """Set the three points and ask for the vertebra, by mouse and keys; the slice is set as the wheel would."""
    tab, axial = panel.anatomy.placing, panel.flat.ortho.views[PlaneName.AXIAL]
    hand.choose(tab.level, level)
    for which in BodyPoint:
        assert tab.point.currentText() == which.value, "the next point to set is offered"
        panel.session.look_at(points[which] * (0, 0, 1) + panel.session.crosshair * (1, 1, 0))
        hand.point(axial, points[which])
        np.testing.assert_allclose(panel.session.crosshair, points[which], atol=0.6)
        hand.click(tab.point_button)
    yes(hand, seen)
    hand.click(tab.place_button)


def points_of(middle: Array, depth: float = 34.0, height: float = 13.0) -> dict[BodyPoint, Array]:
    """The points of a level vertebra about the middle of its body, (3,) LPS mm."""
    return {BodyPoint.FRONT: np.add(middle, (0, -depth / 2, height)),
            BodyPoint.BACK: np.add(middle, (0, depth / 2, height)), BodyPoint.MIDDLE: middle}


def put_landmark(panel: ReviewPanel, hand: Hand, title: str, place: Array, seen: list[str]) -> None:
    hand.choose(panel.anatomy.landmark, title)
    panel.session.look_at(place)
    yes(hand, seen)
    hand.click(panel.anatomy.landmark_button)


def place_target(panel: ReviewPanel, hand: Hand, nerve: str, side: Side, place: Array, seen: list[str]) -> None:
    panel.session.look_at(place)
    hand.choose(panel.anatomy.nerve, nerve)
    hand.choose(panel.anatomy.side, side.value)
    yes(hand, seen)
    hand.click(panel.anatomy.target_button)


def says_by_hand(panel: ReviewPanel, out: Path, what: tuple[str, ...]) -> None:
    """Journal, report and exports name the hand for each of these."""
    review, folder = panel.session.review, panel.session.folder
    assert review is not None
    assert folder is not None
    review.draw_report()
    report = (folder / "report.html").read_text(encoding="utf-8")
    out.mkdir()
    exported = PlanFolder.read(folder)
    markups = "".join(path.read_text(encoding="utf-8") for path in write_markups(exported, out))
    (table,) = write_trajectories(exported, out)
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for words in what:
        said = f"{words} placed by {NAME}"
        assert said in report, said
        assert said in markups, said
        assert any(said in row["by_hand"] for row in rows), said
    assert {entry.who for entry in read_folder(folder).journal} == {"nerveplan", NAME}
    assert not verify_folder(folder).altered


def test_a_landmark_is_dragged_in_a_view_and_its_course_follows(panel: ReviewPanel, qtbot: QtBot) -> None:
    hand = Hand(panel.viewer.window._qt_window)
    hand.open_tab(panel.tabs, panel.anatomy)
    panel.session.look_at(vertebra(panel, "L5").body_center)
    hand.choose(panel.anatomy.landmark, "LEFT sap tp junction")
    old = vertebra(panel, "L5").landmarks[JUNCTION].position
    coronal, axial = (panel.flat.ortho.views[name] for name in (PlaneName.CORONAL, PlaneName.AXIAL))
    assert [point.name for point in coronal.marks.points] == ["LEFT sap tp junction of L5"]
    goal, seen, path = np.add(old, (1.0, 0.0, 4.0)), list[str](), list[Array]()

    def watch() -> bool:
        path.append(panel.session.crosshair)
        assert axial.plane is not None
        assert abs(axial.plane.to_view(path[-1])[2]) < 1e-6, "the other views cut through the landmark while it moves"
        return False

    def drag(mean_it: bool) -> None:
        if mean_it:
            yes(hand, seen)
        else:
            hand.answer(ConfirmDialog, lambda dialog: dialog.reject())
        hand.drag(coronal, old, old + np.linspace(0, 1, 5)[:, None] * (goal - old), watch)

    drag(mean_it=False)
    np.testing.assert_allclose(coronal.marks.points[0].place, old, err_msg="what was not meant goes back")
    assert panel.session.review is not None
    assert len(panel.session.review.history) == 1
    panel.session.look_at(old)
    drag(mean_it=True)
    shoot(panel, "landmark_dragged")
    settled(panel, qtbot)
    assert "LEFT sap tp junction of L5 moves" in seen[0]
    mark = vertebra(panel, "L5").landmarks[JUNCTION]
    np.testing.assert_allclose(mark.position, goal, atol=0.6)
    assert mark.placed_by == NAME
    assert panel.session.review.history[-1].words.endswith(f"placed by {NAME}")
    np.testing.assert_allclose(coronal.marks.points[0].place, mark.position, atol=1e-3)
    hand.open_tab(panel.tabs, panel.table)


def test_landmarks_stepped_through_by_keys_stay_those_of_one_bone(panel: ReviewPanel) -> None:
    hand = Hand(panel.viewer.window._qt_window)
    hand.open_tab(panel.tabs, panel.anatomy)
    panel.session.look_at(vertebra(panel, "L4").body_center)
    panel.session.marking.choose_landmark("", None)
    for name in LandmarkName:
        hand.choose(panel.anatomy.landmark, landmark_title(name))
        assert panel.session.marking.landmark == ("L4", name)
        mark = vertebra(panel, "L4").landmarks.get(name)
        if mark is not None:
            np.testing.assert_array_equal(panel.session.crosshair, mark.position)


def test_a_vertebra_taken_away_is_placed_again_by_three_points(panel: ReviewPanel, qtbot: QtBot) -> None:
    """On the phantom the answer is known: the frame comes back, and so do the targets of its bone."""
    hand, old, seen = Hand(panel.viewer.window._qt_window), vertebra(panel, "L4"), list[str]()
    hand.open_tab(panel.tabs, panel.anatomy)
    assert old.frame is not None
    panel.session.look_at(old.body_center)
    yes(hand, seen)
    hand.click(panel.anatomy.drop_button)
    settled(panel, qtbot)
    assert [p.target.carrier.name for p in panel.session.proposals] == ["L5", "L5"]
    end = old.body_center + 13.0 * old.frame.superior
    points = {BodyPoint.FRONT: end - 16 * old.frame.posterior, BodyPoint.BACK: end + 16 * old.frame.posterior,
              BodyPoint.MIDDLE: old.body_center}
    place_vertebra(panel, hand, "L4", {**points, BodyPoint.FRONT: np.add(points[BodyPoint.BACK], (0, -5, 0))}, seen)
    hand.withdraw()
    assert "vertebra's lie 20 to 55 mm apart" in panel.message.text()
    panel.session.marking.forget_points()
    assert "L3" not in [panel.anatomy.placing.level.itemText(n) for n in range(panel.anatomy.placing.level.count())]
    place_vertebra(panel, hand, "L1", points, seen)
    idle(panel, qtbot)
    assert "L1 would lie below L2: the level or the place is wrong" in panel.message.text()
    panel.session.marking.forget_points()
    place_vertebra(panel, hand, "L4", points, seen)
    settled(panel, qtbot)
    now = vertebra(panel, "L4")
    assert now.placed_by == NAME
    assert now.frame is not None
    assert np.degrees(np.arccos(np.clip(now.frame.matrix @ old.frame.matrix.T, -1, 1).diagonal())).max() < 3.0
    assert not panel.session.marking.points
    assert panel.session.review is not None
    assert panel.session.review.history[-1].words == f"L4 placed by {NAME}"
    hand.open_tab(panel.tabs, panel.table)


def by_hand_from_nothing(panel: ReviewPanel, hand: Hand, qtbot: QtBot, middle: Array, lateral: float) -> Vertebra:
    """A vertebra called L1, its LEFT junction `lateral` mm beside it and the T12 medial branch on it, LPS mm."""
    seen: list[str] = []
    panel.session.look_at(np.add(middle, (0.0, 0.0, 900.0)))
    hand.click(panel.anatomy.placing.point_button)
    assert panel.message.text() == "the cross-hair lies outside the images: nothing was changed"
    assert not panel.session.marking.points
    place_vertebra(panel, hand, "L1", points_of(middle), seen)
    idle(panel, qtbot)
    assert "the level rests on this word alone" in seen[-1]
    junction = np.add(middle, (lateral, 33.0, 5.0))
    put_landmark(panel, hand, "LEFT sap tp junction", junction, seen)
    idle(panel, qtbot)
    np.testing.assert_allclose(vertebra(panel, "L1").landmarks[JUNCTION].position, junction, atol=1e-3)
    place_target(panel, hand, "T12 MB", Side.LEFT, np.add(junction, (1.0, 0.5, -1.0)), seen)
    settled(panel, qtbot)
    target = panel.session.target
    assert target is not None
    assert target.id.endswith("T12-MB:L1:LEFT")
    assert target.placed_by == NAME
    return vertebra(panel, "L1")


def start_needle(panel: ReviewPanel, qtbot: QtBot) -> None:
    """The key H gives a target without a needle one in the direction the procedure prefers."""
    assert panel.session.placement is None
    assert panel.needle.start_button.isVisibleTo(panel.needle)
    press(qtbot, panel, Qt.Key.Key_H)
    placement = panel.session.placement
    assert placement is not None
    assert placement.placed_by == NAME
    assert not panel.needle.start_button.isVisibleTo(panel.needle)


def test_on_an_mr_nobody_segmented_everything_is_placed_by_hand_and_approved(
        window: ReviewPanel, tmp_path: Path, qtbot: QtBot) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(1).integers(0, 900, (60, 70, 60)).astype(np.int16))
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(tmp_path / "t2.nii.gz"))
    plan_study(tmp_path / "t2.nii.gz", tmp_path / "case", report=False)
    hand = open_here(window, tmp_path / "case", qtbot)
    plan = window.session.plan
    assert plan is not None
    by_hand_from_nothing(window, hand, qtbot, plan.spine.grid.origin + np.array([60.0, 60.0, 60.0]), 24.0)
    start_needle(window, qtbot)
    assert shown_clearances(window)["canal"] == "nothing looked for it", "no clearance is made up"
    assert "canal is required and was not computed" in window.needle.broken.text()
    assert window.session.proposals[0].status is ProposalStatus.DIRECTION_ONLY
    Stage(window, hand).approve("LEFT", "seen on the images")
    assert window.session.target_review.state is TargetState.APPROVED
    says_by_hand(window, tmp_path / "out", ("L1", "sap_tp_junction_left of L1", "target", "needle"))
    shoot(window, "mr_by_hand")
    window.close_plan()


def real(window: ReviewPanel, source: Path, tmp_path: Path, qtbot: QtBot, lateral: float = 24.0) -> None:
    """Everything by hand on a real scan; what was found there, and only counted, is taken off the list first."""
    plan_study(source, tmp_path / "case", report=False)
    hand = open_here(window, tmp_path / "case", qtbot)
    plan, seen = window.session.plan, list[str]()
    assert plan is not None
    grid = plan.spine.grid
    middle = to_world(grid, (np.array(grid.shape[::-1]) - 1) / 2)
    for found in plan.spine.vertebrae:
        middle = found.body_center
        assert "levels here are only counted" in window.anatomy.placing.said.text()
        window.session.look_at(middle)
        yes(hand, seen)
        hand.click(window.anatomy.drop_button)
        idle(window, qtbot)
    by_hand_from_nothing(window, hand, qtbot, middle, lateral)


def shown_clearances(window: ReviewPanel) -> dict[str, str]:
    table = window.needle.clearances
    return {table.item(n, 0).text(): table.item(n, 1).text() for n in range(table.rowCount())}


@pytest.mark.data
def test_twenty_axial_slices_get_needles_with_clearances_by_hand(
        window: ReviewPanel, data: Path, tmp_path: Path, qtbot: QtBot) -> None:
    real(window, data / "dicom/lumbar_ct_axial_20slices", tmp_path, qtbot)
    if window.session.placement is None:
        start_needle(window, qtbot)
    shoot(window, "axial20_by_hand")
    said = shown_clearances(window)
    assert said["canal"].endswith(" mm"), said
    assert "mm" not in said["vena_cava".replace("_", " ")], "what could not be computed is not given a number"
    says_by_hand(window, tmp_path / "out", ("L1", "sap_tp_junction_left of L1", "target"))
    window.close_plan()


@pytest.mark.data
def test_a_t2_mr_gets_a_needle_by_hand_and_no_clearance_is_made_up(
        window: ReviewPanel, data: Path, tmp_path: Path, qtbot: QtBot) -> None:
    real(window, data / "mr/t2_lumbar.nii.gz", tmp_path, qtbot, lateral=14.0)  # its field is 35 mm wide
    start_needle(window, qtbot)
    shoot(window, "t2_by_hand")
    assert not any(words.endswith(" mm") for words in shown_clearances(window).values())
    says_by_hand(window, tmp_path / "out", ("L1", "sap_tp_junction_left of L1", "target", "needle"))
    window.close_plan()
