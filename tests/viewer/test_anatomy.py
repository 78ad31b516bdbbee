"""Correcting the anatomy in a real window: the column relabelled, undone, refused, stopped."""

from __future__ import annotations

import numpy as np
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox

from planner.folder import read_folder
from planner.verifying import verify_folder
from segmentation.anatomy import LandmarkName
from segmentation.spine import Vertebra
from tests.viewer.conftest import WAIT_MS
from tests.viewer.test_editing import answer
from tests.viewer.test_window import click, press, shoot
from viewer.app import ReviewPanel
from viewer.confirm import ConfirmDialog
from viewer.planes import PlaneName

LEFT_BUTTON = Qt.MouseButton.LeftButton


def vertebra(panel: ReviewPanel, name: str) -> Vertebra:
    assert panel.session.plan is not None
    found = panel.session.plan.spine.vertebra(name)
    assert found is not None, name
    return found


def settled(panel: ReviewPanel, qtbot: QtBot) -> None:
    """Wait until an edit is recorded and what follows is measured."""
    qtbot.waitUntil(lambda: panel.editor.evaluator is not None and not panel.strip.busy, timeout=WAIT_MS)


def ids(panel: ReviewPanel) -> list[str]:
    return [p.target.id.partition(":")[2] for p in panel.session.proposals]


def relabel(panel: ReviewPanel, qtbot: QtBot, level: str, seen: list[str], mean_it: bool = True) -> None:
    """Say that the vertebra at the cross-hair is `level`, by mouse."""
    panel.anatomy.level.setCurrentText(level)

    def fill(dialog: ConfirmDialog) -> None:
        seen.append(dialog.words.text())
        cancel = dialog.buttons.button(QDialogButtonBox.StandardButton.Cancel)
        qtbot.mouseClick(dialog.act_button if mean_it else cancel, LEFT_BUTTON)

    answer(ConfirmDialog, fill)
    qtbot.mouseClick(panel.anatomy.relabel_button, LEFT_BUTTON)


def test_the_vertebra_follows_the_cross_hair_and_the_list(panel: ReviewPanel, qtbot: QtBot) -> None:
    panel.tabs.setCurrentWidget(panel.anatomy)
    sagittal = panel.flat.ortho.views[PlaneName.SAGITTAL]
    panel.session.look_at(vertebra(panel, "L5").body_center)
    assert panel.anatomy.vertebra.currentText() == "L5"
    click(qtbot, sagittal, sagittal.place_of(vertebra(panel, "L4").body_center))
    assert panel.anatomy.vertebra.currentText() == "L4"
    row = panel.anatomy.vertebra.findText("L3")
    panel.anatomy.vertebra.setCurrentIndex(row)
    panel.anatomy.vertebra.activated.emit(row)
    np.testing.assert_allclose(panel.session.crosshair, vertebra(panel, "L3").body_center)
    assert sagittal.marks.crosshair is not None
    panel.session.look_at(vertebra(panel, "S1").body_center)
    assert panel.anatomy.level.count() == 0, "the sacrum is always S1"
    assert not panel.anatomy.relabel_button.isEnabled()
    panel.tabs.setCurrentWidget(panel.table)


def test_the_column_is_relabelled_in_one_step_and_back(panel: ReviewPanel, qtbot: QtBot) -> None:
    panel.tabs.setCurrentWidget(panel.anatomy)
    panel.scene.look_from_behind()
    before, found, judge = ids(panel), vertebra(panel, "L5"), panel.editor.evaluator
    panel.session.look_at(found.body_center)
    seen: list[str] = []
    relabel(panel, qtbot, "L4", seen, mean_it=False)
    assert "L3 becomes L2, L4 becomes L3, L5 becomes L4" in seen[0]
    assert "word of Dr A. Example" in seen[0]
    assert panel.session.review is not None
    assert len(panel.session.review.history) == 1
    relabel(panel, qtbot, "L4", seen)
    assert panel.strip.isVisibleTo(panel)
    assert not panel.editor.can_move
    settled(panel, qtbot)
    assert panel.editor.evaluator is not judge
    now = vertebra(panel, "L4")
    np.testing.assert_allclose(now.body_center, found.body_center)
    assert panel.anatomy.vertebra.currentText() == "L4"
    assert ids(panel) == ["L3-MB:L4:LEFT", "L3-MB:L4:RIGHT"]
    assert panel.session.review.history[-1].words == "column relabelled L5=L4 by Dr A. Example"
    assert panel.session.slicer is not None
    assert panel.session.slicer.spine is panel.session.plan.spine  # type: ignore[union-attr]
    assert [panel.table.tree.topLevelItem(n).text(1) for n in range(2)] == ["L4 transverse process"] * 2
    assert panel.scene.words() == "seen from the BACK; LEFT is at the left", "the camera stays"
    assert not panel.anatomy.level.currentText(), "the next level must be chosen, it is not suggested"
    shoot(panel, "relabelled")
    panel.editor.snap_to_bone()
    assert panel.session.review.history[-1].words == "needle placed by hand", "needles can be moved on the new column"
    press(qtbot, panel, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    press(qtbot, panel, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    settled(panel, qtbot)
    assert ids(panel) == before
    np.testing.assert_allclose(vertebra(panel, "L5").body_center, found.body_center)
    folder = panel.session.folder
    assert folder is not None
    assert not verify_folder(folder).altered
    panel.tabs.setCurrentWidget(panel.table)


def test_what_people_did_is_said_to_be_lost(panel: ReviewPanel, qtbot: QtBot) -> None:
    assert panel.editor.reject("not needed")
    panel.session.step_target(1)
    panel.editor.snap_to_bone()
    panel.session.look_at(vertebra(panel, "L5").body_center)
    seen: list[str] = []
    relabel(panel, qtbot, "L4", seen, mean_it=False)
    assert "decisions: 1" in seen[0]
    assert "needles placed by hand: 1" in seen[0]


def test_a_locked_target_refuses_and_the_plan_stays(panel: ReviewPanel, qtbot: QtBot) -> None:
    panel.editor.toggle_lock()
    panel.session.look_at(vertebra(panel, "L5").body_center)
    before = ids(panel)
    relabel(panel, qtbot, "L4", [])
    settled(panel, qtbot)
    assert "is locked; unlock it first" in panel.message.text()
    assert ids(panel) == before
    assert not panel.editor.busy
    assert panel.editor.evaluator is not None


def test_an_edit_can_be_stopped_and_nothing_else_is_recorded_meanwhile(panel: ReviewPanel, qtbot: QtBot) -> None:
    folder, before = panel.session.folder, ids(panel)
    assert folder is not None
    panel.session.look_at(vertebra(panel, "L5").body_center)
    relabel(panel, qtbot, "L4", [])
    panel.editor.toggle_lock()
    assert "wait for it, or cancel it" in panel.message.text()
    qtbot.mouseClick(panel.strip.cancel_button, LEFT_BUTTON)
    settled(panel, qtbot)
    assert panel.message.text() == "stopped"
    assert ids(panel) == before
    assert len(read_folder(folder).journal) == 1
    panel.editor.toggle_lock()
    assert panel.session.target_review.locked


def confirm(kind_of: str, panel: ReviewPanel, qtbot: QtBot, seen: list[str]) -> None:
    """Press a button of the tab and mean it."""
    def fill(dialog: ConfirmDialog) -> None:
        seen.append(dialog.words.text())
        qtbot.mouseClick(dialog.act_button, LEFT_BUTTON)

    answer(ConfirmDialog, fill)
    qtbot.mouseClick(getattr(panel.anatomy, f"{kind_of}_button"), LEFT_BUTTON)


def test_a_landmark_is_put_at_the_cross_hair_and_its_course_follows(panel: ReviewPanel, qtbot: QtBot) -> None:
    panel.tabs.setCurrentWidget(panel.anatomy)
    tab, name = panel.anatomy, LandmarkName.SAP_TP_JUNCTION_LEFT
    old = vertebra(panel, "L5").landmarks[name].position
    panel.session.look_at(vertebra(panel, "L5").body_center)
    row = tab.landmark.findText("LEFT sap tp junction")
    tab.landmark.setCurrentIndex(row)
    tab.landmark.activated.emit(row)
    np.testing.assert_allclose(panel.session.crosshair, old)
    coronal = panel.flat.ortho.views[PlaneName.CORONAL]
    click(qtbot, coronal, coronal.place_of(old + np.array([0.0, 0.0, 8.0])))
    here, before = panel.session.crosshair, {p.target.id: p.target.position for p in panel.session.proposals}
    assert tab.vertebra.currentText() == "L4", "the cross-hair has left the bone whose landmark it is"
    seen: list[str] = []
    confirm("landmark", panel, qtbot, seen)
    assert "LEFT sap tp junction of L5 moves" in seen[0]
    settled(panel, qtbot)
    mark = vertebra(panel, "L5").landmarks[name]
    np.testing.assert_allclose(mark.position, here, atol=1e-3)
    assert mark.placed_by == "Dr A. Example"
    moved = {p.target.id.partition(":")[2] for p in panel.session.proposals
             if np.linalg.norm(p.target.position - before[p.target.id]) > 0.1}
    assert moved == {"L4-MB:L5:LEFT"}
    panel.session.look_at(vertebra(panel, "L5").body_center - np.array([20.0, 0.0, 0.0]))
    qtbot.mouseClick(tab.landmark_button, LEFT_BUTTON)
    assert "lies on the patient's RIGHT of the middle of L5" in panel.message.text()
    panel.tabs.setCurrentWidget(panel.table)


def test_a_vertebra_that_is_none_is_dropped_with_its_targets(panel: ReviewPanel, qtbot: QtBot) -> None:
    panel.tabs.setCurrentWidget(panel.anatomy)
    panel.session.look_at(vertebra(panel, "L4").body_center)
    seen: list[str] = []
    confirm("drop", panel, qtbot, seen)
    assert "its targets go with it: L3 MB LEFT, L3 MB RIGHT" in seen[0]
    settled(panel, qtbot)
    assert panel.session.plan is not None
    assert panel.session.plan.spine.vertebra("L4") is None
    assert ids(panel) == ["L4-MB:L5:LEFT", "L4-MB:L5:RIGHT"]
    assert panel.session.target is panel.session.proposals[0].target
    panel.tabs.setCurrentWidget(panel.table)


def test_a_target_is_placed_by_hand_and_its_needles_are_shown(panel: ReviewPanel, qtbot: QtBot) -> None:
    """The L2 branch on L3 was not asked for: a person points at it, and gets needles with clearances."""
    panel.tabs.setCurrentWidget(panel.anatomy)
    tab = panel.anatomy
    place = vertebra(panel, "L3").landmarks[LandmarkName.SAP_TP_JUNCTION_RIGHT].position
    panel.session.look_at(place)
    tab.nerve.setCurrentText("L2 MB")
    tab.side.setCurrentText("LEFT")
    qtbot.mouseClick(tab.target_button, LEFT_BUTTON)
    assert "this belongs to the LEFT: nothing was changed" in panel.message.text()
    tab.side.setCurrentText("RIGHT")
    seen: list[str] = []
    confirm("target", panel, qtbot, seen)
    assert "The target of the L2 MB on L3, RIGHT, is placed at the cross-hair" in seen[0]
    settled(panel, qtbot)
    target = panel.session.target
    assert target is not None
    assert target.id.endswith(":L2-MB:L3:RIGHT"), "the target that was placed is the one shown"
    assert target.placed_by == "Dr A. Example"
    np.testing.assert_allclose(target.position, place, atol=1e-3)
    assert panel.session.placement is not None
    assert panel.needle.clearances.rowCount() > 3
    assert "target placed by Dr A. Example" in panel.needle.title.text()
    assert panel.editor.can_move
    panel.tabs.setCurrentWidget(panel.table)
    row = panel.table.tree.currentItem()
    assert "placed by Dr A. Example" in row.toolTip(4)
    shoot(panel, "placed_target")
