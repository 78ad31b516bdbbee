"""Moving needles in a real window: by mouse in the flat views and in 3D, by typed angles, with keys; then deciding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QDialog, QLineEdit

from imaging.geometry import to_index, to_world
from planner.plan import TargetState
from planner.review import Review
from planner.views import ViewName
from planner.words import clearance_words
from segmentation.anatomy import StructureName
from targeting.clearance import boxes_of
from targeting.model import NeedlePose
from tests.viewer.conftest import WAIT_MS
from tests.viewer.test_window import press, shoot
from viewer.app import ReviewPanel
from viewer.approval import ApproveDialog, RejectDialog
from viewer.layers import to_napari
from viewer.needle_panel import _BAD, _GOOD
from viewer.plane_view import PlaneView
from viewer.planes import PlaneName

Array = NDArray[np.float64]
LEFT_BUTTON = Qt.MouseButton.LeftButton


def pose_of(panel: ReviewPanel) -> NeedlePose:
    pose = panel.session.pose
    assert pose is not None
    return pose


def drag(qtbot: QtBot, view: PlaneView, start: Array, end: Array, release: bool = True) -> None:
    """Take hold of what lies at `start` (LPS mm) and bring it to `end` in five steps."""
    a, b = view.place_of(start), view.place_of(end)
    qtbot.mousePress(view, LEFT_BUTTON, pos=a.toPoint())
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        qtbot.mouseMove(view, pos=(a + share * (b - a)).toPoint())
        QApplication.processEvents()
    if release:
        qtbot.mouseRelease(view, LEFT_BUTTON, pos=b.toPoint())


def release(qtbot: QtBot, view: PlaneView, end: Array) -> None:
    qtbot.mouseRelease(view, LEFT_BUTTON, pos=view.place_of(end).toPoint())


def in_plane(panel: ReviewPanel) -> PlaneView:
    return panel.flat.needle.views[ViewName.IN_PLANE]


def canal_row(panel: ReviewPanel) -> tuple[str, str]:
    """Text and colour of the canal's clearance."""
    table = panel.needle.clearances
    row = next(n for n in range(table.rowCount()) if table.item(n, 0).text() == "canal")
    return table.item(row, 1).text(), table.item(row, 1).foreground().color().name()


def toward_canal(panel: ReviewPanel, mm: float) -> Array:
    """The tip moved toward the midline in the plane that holds the needle."""
    target, plane = panel.session.target, in_plane(panel).plane
    assert target is not None
    assert plane is not None
    return np.asarray(pose_of(panel).tip - mm * target.side.sign * plane.right)


def in_canal(panel: ReviewPanel) -> Array:
    """The place of the canal that lies nearest to the tip, in the plane that holds the needle."""
    plan, plane, tip = panel.session.plan, in_plane(panel).plane, pose_of(panel).tip
    assert plan is not None
    assert plane is not None
    mask = plan.spine.structures[StructureName.CANAL].mask
    assert mask is not None
    centres = to_world(plan.spine.grid, np.argwhere(mask)[:, ::-1])
    centres = centres[np.abs((centres - tip) @ plane.into) < 1.5]
    return np.asarray(centres[np.argmin(np.linalg.norm(centres - tip, axis=1))])


def answer(kind: type[QDialog], fill: Callable[[QDialog], None]) -> None:
    """Fill in the dialog that opens next."""
    def act() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, kind)
        fill(dialog)
    QTimer.singleShot(0, act)


def test_dragging_the_tip_measures_live_and_is_kept_on_release(panel: ReviewPanel, qtbot: QtBot) -> None:
    view, before = in_plane(panel), pose_of(panel)
    text, color = canal_row(panel)
    assert color == _GOOD
    goal = toward_canal(panel, 4.0)
    drag(qtbot, view, before.tip, goal, release=False)
    assert panel.session.draft is not None
    live, _ = canal_row(panel)
    assert float(live.split()[0]) < float(text.split()[0])
    np.testing.assert_allclose(pose_of(panel).tip, goal, atol=0.6)
    assert before.entry is not None
    np.testing.assert_allclose(pose_of(panel).entry, before.entry)
    assert panel.session.review is not None
    assert len(panel.session.review.history) == 1
    row = panel.table.tree.topLevelItem(0)
    assert (row.text(5), row.text(6)) == ("moved, not kept", "see the needle below")
    assert "follows when the needle rests" in panel.flat.fluoro.view.note
    ends = panel.viewer.layers["needle ends"]
    qtbot.waitUntil(lambda: np.allclose(ends.data[1], to_napari(pose_of(panel).tip), atol=1e-3), timeout=WAIT_MS)
    release(qtbot, view, goal)
    assert panel.session.draft is None
    placement = panel.session.placement
    assert placement is not None
    assert placement.placed_by == "Dr A. Example"
    history = panel.session.review.history
    assert [line.words for line in history[1:]] == ["needle placed by hand"]
    assert history[-1].role == "radiologist"
    row = panel.table.tree.topLevelItem(0)
    assert row.text(5) == "edited"
    assert row.text(6) == clearance_words(placement)
    qtbot.waitUntil(lambda: "rotate receptor" in panel.flat.fluoro.view.note, timeout=WAIT_MS)


def test_pictures_are_coarse_while_a_needle_moves_and_sharp_at_the_same_place_when_it_rests(
        panel: ReviewPanel, qtbot: QtBot) -> None:
    view, goal = panel.flat.needle.views[ViewName.ACROSS], toward_canal(panel, 4.0)

    def columns() -> int:
        assert view.picture is not None
        return view.picture.shape[1]

    drag(qtbot, in_plane(panel), pose_of(panel).tip, goal, release=False)
    assert columns() == (view.width() + 1) // 2
    moving = view.grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
    qtbot.waitUntil(lambda: columns() == view.width(), timeout=WAIT_MS)
    resting = view.grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
    a, b = (np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine()).astype(float)
            for image in (moving, resting))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9
    release(qtbot, in_plane(panel), goal)
    assert columns() == view.width()


def test_a_draft_that_is_dropped_gives_its_row_back(panel: ReviewPanel, qtbot: QtBot) -> None:
    row = panel.table.tree.topLevelItem(0)
    before = row.text(5), row.text(6)
    drag(qtbot, in_plane(panel), pose_of(panel).tip, toward_canal(panel, 3.0), release=False)
    assert row.text(5) == "moved, not kept"
    press(qtbot, panel, Qt.Key.Key_Escape)
    assert (row.text(5), row.text(6)) == before


def test_the_live_clearance_is_the_distance_to_the_written_mask(panel: ReviewPanel, qtbot: QtBot) -> None:
    drag(qtbot, in_plane(panel), pose_of(panel).tip, toward_canal(panel, 5.0), release=False)
    plan, pose = panel.session.plan, pose_of(panel)
    assert plan is not None
    mask = plan.spine.structures[StructureName.CANAL].mask
    assert mask is not None
    assert pose.entry is not None
    inside = np.argwhere(mask)[:, ::-1]
    centres = to_world(plan.spine.grid, inside)
    shaft = pose.entry + np.linspace(0, 1, 400)[:, None] * (pose.tip - pose.entry)
    near = min(float(np.linalg.norm(centres - point, axis=1).min()) for point in shaft)
    half = float(np.linalg.norm(plan.spine.grid.spacing)) / 2
    shown = float(canal_row(panel)[0].split()[0]) + pose.needle.diameter_mm / 2
    assert near - half - 0.06 <= shown <= near + 0.06
    panel.editor.discard()


def test_a_limit_breaks_in_words_and_colour_and_undo_mends_it(panel: ReviewPanel, qtbot: QtBot) -> None:
    before = pose_of(panel)
    goal = in_canal(panel)
    drag(qtbot, in_plane(panel), before.tip, goal)
    assert "canal" in panel.needle.broken.text()
    assert "mm needed" in panel.needle.broken.text()
    assert canal_row(panel)[1] == _BAD
    shoot(panel, "limit_broken")
    press(qtbot, panel, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_allclose(pose_of(panel).tip, before.tip, atol=1e-3)
    assert panel.needle.broken.text() == ""
    press(qtbot, panel, Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_allclose(pose_of(panel).tip, goal, atol=1.6)
    assert panel.session.review is not None
    assert [line.kind.value for line in panel.session.review.history] == ["proposed", "edited", "undone", "redone"]


def test_dragging_the_entry_keeps_it_on_the_skin(panel: ReviewPanel, qtbot: QtBot) -> None:
    view, before = panel.flat.ortho.views[PlaneName.AXIAL], pose_of(panel)
    assert before.entry is not None
    drag(qtbot, view, before.entry, before.entry + np.array([9.0, -6.0, 0.0]))
    pose, plan = pose_of(panel), panel.session.plan
    np.testing.assert_allclose(pose.tip, before.tip, atol=1e-3)
    assert pose.entry is not None
    assert np.linalg.norm(pose.entry - before.entry) > 4.0
    assert plan is not None
    body = plan.spine.body
    assert body is not None
    inside, outside = (np.rint(to_index(plan.spine.grid, pose.entry + step * pose.direction)).astype(int)
                       for step in (2.0, -3.0))
    assert body[inside[2], inside[1], inside[0]]
    assert not body[outside[2], outside[1], outside[0]]


def test_typed_angles_turn_the_needle_about_its_tip(panel: ReviewPanel, qtbot: QtBot) -> None:
    before = pose_of(panel)
    line = panel.needle.oblique.findChild(QLineEdit)
    line.selectAll()
    qtbot.keyClicks(line, "21")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    pose = pose_of(panel)
    assert pose.oblique_deg == pytest.approx(21.0, abs=0.01)
    assert pose.tilt_deg == pytest.approx(before.tilt_deg, abs=0.06)
    np.testing.assert_allclose(pose.tip, before.tip, atol=1e-3)
    placement = panel.session.placement
    assert placement is not None
    assert [point.p for point in panel.needle.plot.points] == pytest.approx([point.p for point in placement.capture])


def test_the_tip_snaps_to_bone(panel: ReviewPanel, qtbot: QtBot) -> None:
    view, before = in_plane(panel), pose_of(panel)
    drag(qtbot, view, before.tip, before.tip - 6.0 * before.direction)
    plan = panel.session.plan
    assert plan is not None
    bone = boxes_of(plan.spine.labels > 0, plan.spine.grid)
    assert bone.gap(pose_of(panel).tip, pose_of(panel).tip) > 2.0
    press(qtbot, panel, Qt.Key.Key_B)
    assert abs(bone.gap(pose_of(panel).tip, pose_of(panel).tip)) < 0.6


def test_a_longer_needle_can_be_asked_for(panel: ReviewPanel) -> None:
    longest = panel.editor.stock[-1]
    panel.needle.stock.setCurrentIndex(len(panel.editor.stock))
    panel.needle.stock.activated.emit(len(panel.editor.stock))
    assert pose_of(panel).needle == longest
    assert longest.name in panel.needle.dial.text()


def test_dragging_in_3d_moves_the_tip_parallel_to_the_screen(panel: ReviewPanel, qtbot: QtBot) -> None:
    """From behind, a pixel to the right is one step toward the patient's RIGHT."""
    panel.scene.look_from_behind()
    viewer = panel.viewer
    canvas = viewer.window._qt_viewer.canvas
    native, camera = canvas.native, viewer.scene.camera
    QApplication.processEvents()
    center = np.array(camera.center)[::-1]
    before = pose_of(panel)
    offset = (before.tip - center) * camera.zoom
    start = QPoint(round(native.width() / 2 - offset[0]), round(native.height() / 2 - offset[2]))
    step = QPoint(round(5 * camera.zoom), 0)
    qtbot.mouseMove(native, pos=start)
    qtbot.mousePress(native, LEFT_BUTTON, pos=start)
    for share in (0.5, 1.0):
        qtbot.mouseMove(native, pos=start + share * step)
        QApplication.processEvents()
    qtbot.mouseRelease(native, LEFT_BUTTON, pos=start + step)
    moved = pose_of(panel).tip - before.tip
    np.testing.assert_allclose(moved, [-step.x() / camera.zoom, 0.0, 0.0], atol=0.6)
    placement = panel.session.placement
    assert placement is not None
    assert placement.placed_by == "Dr A. Example"


def test_an_alternative_is_taken_and_a_locked_target_stays(panel: ReviewPanel, qtbot: QtBot) -> None:
    press(qtbot, panel, Qt.Key.Key_A)
    shown = panel.session.placement
    assert shown is not None
    assert panel.session.shows_another
    press(qtbot, panel, Qt.Key.Key_T)
    proposal = panel.session.proposal
    assert proposal is not None
    assert proposal.chosen == shown.rank
    press(qtbot, panel, Qt.Key.Key_L)
    assert panel.table.tree.topLevelItem(0).text(5) == "edited, locked"
    assert not panel.needle.oblique.isEnabled()
    tip = pose_of(panel).tip
    drag(qtbot, in_plane(panel), tip, toward_canal(panel, 5.0))
    np.testing.assert_allclose(pose_of(panel).tip, tip)
    press(qtbot, panel, Qt.Key.Key_L)
    assert panel.needle.oblique.isEnabled()


def test_without_a_name_nothing_is_recorded(panel: ReviewPanel, qtbot: QtBot) -> None:
    panel.decisions.who.clear()
    drag(qtbot, in_plane(panel), pose_of(panel).tip, toward_canal(panel, 3.0))
    assert "type your name" in panel.message.text()
    assert panel.session.draft is not None
    assert panel.session.review is not None
    assert len(panel.session.review.history) == 1
    press(qtbot, panel, Qt.Key.Key_Escape)
    assert panel.session.draft is None


def test_another_writer_is_noticed(panel: ReviewPanel, qtbot: QtBot) -> None:
    folder = panel.session.folder
    assert folder is not None
    other = Review.open(folder, volume=False)
    other.lock(panel.session.proposals[1].target.id, "Dr B. Other")
    drag(qtbot, in_plane(panel), pose_of(panel).tip, toward_canal(panel, 3.0))
    assert "Dr B. Other" in panel.message.text()
    assert panel.session.review is not None
    assert [line.who for line in panel.session.review.history] == ["nerveplan", "Dr B. Other"]
    assert panel.table.tree.topLevelItem(1).text(5) == "proposed, locked"


# decisions


def type_side(word: str, click: bool = True) -> Callable[[QDialog], None]:
    def fill(dialog: QDialog) -> None:
        assert isinstance(dialog, ApproveDialog)
        for line in dialog.reasons.values():
            line.setText("short thick neck; checked on the scan")
        dialog.side.setText(word)
        if click and dialog.approve_button.isEnabled():
            dialog.approve_button.click()
        else:
            dialog.reject()
    return fill


def test_approval_needs_the_right_side_typed(panel: ReviewPanel, qtbot: QtBot) -> None:
    target = panel.session.target
    assert target is not None
    seen: list[tuple[bool, str]] = []

    def wrong(dialog: QDialog) -> None:
        assert isinstance(dialog, ApproveDialog)
        for line in dialog.reasons.values():
            line.setText("reason")
        qtbot.keyClicks(dialog.side, target.side.other.value)
        seen.append((dialog.approve_button.isEnabled(), dialog.note.text()))
        dialog.reject()

    answer(ApproveDialog, wrong)
    press(qtbot, panel, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert seen == [(False, f"you typed {target.side.other.value}: this target lies on the patient's "
                            f"{target.side.value}")]
    assert panel.session.target_review.state is TargetState.PROPOSED
    views = (*panel.flat.ortho.views.values(), *panel.flat.needle.views.values(), panel.flat.fluoro.view)
    assert {view.marks.watermark for view in views} == {"UNAPPROVED PROPOSAL"}
    answer(ApproveDialog, type_side(target.side.value.lower()))
    press(qtbot, panel, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    review = panel.session.target_review
    assert review.state is TargetState.APPROVED
    assert (review.who, review.typed_side) == ("Dr A. Example", target.side.value)
    assert panel.table.tree.topLevelItem(0).text(5) == "approved"
    assert "UNAPPROVED PROPOSAL" in panel.state.text()
    assert {view.marks.watermark for view in views} == {""}
    assert "UNAPPROVED PROPOSAL" in panel.viewer.canvas.overlays.text.text, "other targets are not approved"
    assert not panel.decisions.approve_button.isEnabled()


def test_a_broken_limit_is_overridden_with_a_reason_or_not_approved(panel: ReviewPanel, qtbot: QtBot) -> None:
    drag(qtbot, in_plane(panel), pose_of(panel).tip, in_canal(panel))
    target = panel.session.target
    assert target is not None
    seen: list[object] = []

    def fill(dialog: QDialog) -> None:
        assert isinstance(dialog, ApproveDialog)
        seen.append(sorted(dialog.reasons))
        dialog.side.setText(target.side.value)
        seen.append(dialog.approve_button.isEnabled())
        for line in dialog.reasons.values():
            line.setText("accepted after discussion")
        seen.append(dialog.approve_button.isEnabled())
        if dialog.grab():
            shoot_dialog(dialog)
        dialog.approve_button.click()

    answer(ApproveDialog, fill)
    qtbot.mouseClick(panel.decisions.approve_button, LEFT_BUTTON)
    names, before, after = seen
    assert isinstance(names, list)
    assert "margin:canal" in names
    assert (before, after) == (False, True)
    review = panel.session.target_review
    assert review.state is TargetState.APPROVED
    assert ("margin:canal", "accepted after discussion") in review.overrides
    assert panel.session.review is not None
    assert "margin:canal overridden: accepted after discussion" in panel.session.review.history[-1].words


def shoot_dialog(dialog: QDialog) -> None:
    from tests.viewer.test_window import SHOTS
    if SHOTS:
        dialog.grab().save(str(Path(SHOTS) / "approve.png"))


def test_an_edit_after_approval_takes_it_back(panel: ReviewPanel, qtbot: QtBot) -> None:
    target = panel.session.target
    assert target is not None
    answer(ApproveDialog, type_side(target.side.value))
    qtbot.mouseClick(panel.decisions.approve_button, LEFT_BUTTON)
    assert panel.session.target_review.state is TargetState.APPROVED
    drag(qtbot, in_plane(panel), pose_of(panel).tip, toward_canal(panel, 2.0))
    assert panel.session.target_review.state is TargetState.EDITED


def test_rejecting_needs_a_reason_and_can_be_taken_back(panel: ReviewPanel, qtbot: QtBot) -> None:
    seen: list[bool] = []

    def fill(dialog: QDialog) -> None:
        assert isinstance(dialog, RejectDialog)
        seen.append(dialog.reject_button.isEnabled())
        qtbot.keyClicks(dialog.reason, "crosses a scar")
        seen.append(dialog.reject_button.isEnabled())
        dialog.reject_button.click()

    answer(RejectDialog, fill)
    press(qtbot, panel, Qt.Key.Key_Backspace, Qt.KeyboardModifier.ControlModifier)
    assert seen == [False, True]
    review = panel.session.target_review
    assert (review.state, review.reason) == (TargetState.REJECTED, "crosses a scar")
    qtbot.mouseClick(panel.decisions.reopen_button, LEFT_BUTTON)
    assert panel.session.target_review.state is not TargetState.REJECTED


def test_a_handle_is_taken_hold_of_only_where_it_is(panel: ReviewPanel) -> None:
    view, pose = in_plane(panel), pose_of(panel)
    assert view.handle_at(view.place_of(pose.tip)) is not None
    assert view.handle_at(view.place_of(pose.tip) + QPointF(40, 0)) is None
