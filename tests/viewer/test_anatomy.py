"""Correcting the anatomy in a real window: the column relabelled, undone, refused, stopped."""

from __future__ import annotations

import numpy as np
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox

from planner.folder import read_folder
from planner.verifying import verify_folder
from segmentation.spine import Vertebra
from tests.viewer.conftest import WAIT_MS
from tests.viewer.test_editing import answer
from tests.viewer.test_window import click, press, shoot
from viewer.anatomy import ConfirmDialog
from viewer.app import ReviewPanel
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
