"""The review window in a real napari window: opening, the linked views, sides, the table, keys."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from imaging.geometry import to_index, to_world
from imaging.volume import Grid
from planner.age import scan_age
from planner.review import Review
from planner.views import Edge, facing_words
from sample_data.dicom import write_series
from sample_data.phantom import Phantom
from segmentation.engine import Progress
from targeting.model import ConfidenceWord, confidence_word
from tests.viewer.conftest import WAIT_MS
from viewer.app import ReviewPanel
from viewer.layers import to_napari
from viewer.plane_view import PlaneView
from viewer.planes import PlaneName
from viewer.settings import settings
from viewer.workers import Task

#: Where screenshots go to be looked at; none are taken without it.
SHOTS = os.environ.get("NERVEPLAN_SCREENSHOTS", "")


def shoot(panel: ReviewPanel, name: str) -> None:
    """Keep a picture of the window for a person."""
    if SHOTS:
        QApplication.processEvents()
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        panel.viewer.window._qt_window.grab().save(str(Path(SHOTS) / f"{name}.png"))


def click(qtbot: QtBot, view: PlaneView, at: QPointF) -> None:
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=at.toPoint())


def press(qtbot: QtBot, panel: ReviewPanel, key: Qt.Key,
          modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    main = panel.viewer.window._qt_window
    main.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is main, timeout=WAIT_MS)
    qtbot.keyClick(main, key, modifier)


def grey(view: PlaneView, at: NDArray[np.float64]) -> float:
    """Mean grey value around a point (LPS mm) of what a view shows."""
    image = view.grab().toImage()
    place = view.place_of(at)
    values = [image.pixelColor(round(place.x()) + dx, round(place.y()) + dy).lightness()
              for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    return float(np.mean(values))


def test_a_plan_folder_opens_with_all_its_views(panel: ReviewPanel) -> None:
    assert panel.session.plan is not None
    assert len(panel.session.proposals) == 4
    for view in (*panel.flat.ortho.views.values(), *panel.flat.needle.views.values(), panel.flat.fluoro.view):
        assert view.plane is not None, view.title
        assert view.grab().toImage().pixelColor(view.width() // 2, view.height() // 2).isValid()
    names = {layer.name for layer in panel.viewer.layers}
    assert {"bones", "structures", "nerves (modelled)", "needles", "needle ends", "sides"} <= names
    assert "UNAPPROVED PROPOSAL" in panel.state.text()
    assert panel.viewer.dims.ndisplay == 3
    shoot(panel, "window")


@pytest.mark.parametrize(("days", "said"), [(30, ""), (91, "older than 90 days"), (366, "older than 365 days"),
                                            (None, "date is not known")])
def test_an_old_scan_is_said_when_its_plan_is_shown(panel: ReviewPanel, monkeypatch: pytest.MonkeyPatch,
                                                    days: int | None, said: str) -> None:
    taken = "" if days is None else f"{datetime.now(UTC) - timedelta(days=days):%Y%m%d}"
    review = panel.session.review
    assert review is not None
    monkeypatch.setattr(Review, "scan_age", property(lambda self: scan_age(taken, datetime.now(UTC))))
    panel.session.plan_changed.emit()
    assert said in panel.age.text()
    assert panel.age.isVisibleTo(panel) is bool(said)


def test_scans_open_by_napari_s_own_doors_where_they_lie(window: ReviewPanel, small_phantom: Phantom, tmp_path: Path,
                                                         ) -> None:
    """File, Open Sample and File, Open through the plug-in: an oblique DICOM stack keeps its affine."""
    a = np.radians(25.0)
    turned = small_phantom.affine.copy()
    turned[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ turned[:3, :3]
    marked, bright = small_phantom.hu.copy(), (21, 40, 77)
    marked[bright] = 3000
    for path in write_series(replace(small_phantom, hu=marked, affine=turned), tmp_path / "ct"):
        dataset = pydicom.dcmread(path)
        dataset.ImageOrientationPatient = [float(v) for axis in (0, 1)
                                           for v in turned[:3, axis] / np.linalg.norm(turned[:3, axis])]
        dataset.save_as(path)
    (sample,) = window.viewer.open_sample("nerveplan", "lumbar_ct")
    (scan,) = window.viewer.open(str(tmp_path / "ct"), plugin="nerveplan")
    try:
        assert sample.data.shape == (198, 265, 383)
        shown = scan.data_to_world(np.unravel_index(np.argmax(scan.data), scan.data.shape))
        np.testing.assert_allclose(shown, to_napari(to_world(Grid(marked.shape, turned), bright[::-1])), atol=0.01)
    finally:
        window.viewer.layers.clear()


def test_a_click_moves_the_cross_hair_in_every_view(panel: ReviewPanel, qtbot: QtBot) -> None:
    axial, coronal = (panel.flat.ortho.views[name] for name in (PlaneName.AXIAL, PlaneName.CORONAL))
    before = panel.session.crosshair
    click(qtbot, axial, axial.place_of(before) + QPointF(20, 12))
    moved = panel.session.crosshair - before
    np.testing.assert_allclose(moved, [20 * settings().step_mm, 12 * settings().step_mm, 0], atol=0.6)
    assert coronal.plane is not None
    assert abs(coronal.plane.to_view(panel.session.crosshair)[2]) < 1e-6
    for view in panel.flat.ortho.views.values():
        assert view.marks.crosshair is not None
        np.testing.assert_allclose(view.marks.crosshair, panel.session.crosshair)


def test_the_wheel_goes_through_slices_and_zooms_with_ctrl(panel: ReviewPanel, qtbot: QtBot) -> None:
    axial = panel.flat.ortho.views[PlaneName.AXIAL]
    before = panel.session.crosshair

    def turn(notches: int, modifier: Qt.KeyboardModifier) -> None:
        middle = QPointF(axial.width() / 2, axial.height() / 2)
        QApplication.sendEvent(axial, QWheelEvent(
            middle, axial.mapToGlobal(middle), QPoint(), QPoint(0, 120 * notches), Qt.MouseButton.NoButton, modifier,
            Qt.ScrollPhase.NoScrollPhase, False))

    turn(2, Qt.KeyboardModifier.NoModifier)
    np.testing.assert_allclose(panel.session.crosshair - before, [0, 0, -4.0], atol=1e-6)
    assert axial.plane is not None
    step = axial.plane.step_mm
    turn(1, Qt.KeyboardModifier.ControlModifier)
    assert axial.plane.step_mm < step
    turn(-1, Qt.KeyboardModifier.ControlModifier)


@pytest.mark.parametrize("name", list(PlaneName))
def test_left_stands_on_the_side_where_the_patients_left_is(panel: ReviewPanel, name: PlaneName) -> None:
    """A patch of metal is put into the scan on the patient's LEFT and looked for in the picture that is shown."""
    session = panel.session
    assert session.plan is not None
    assert session.plan.volume is not None
    view, volume = panel.flat.ortho.views[name], session.plan.volume
    middle = session.plan.spine.vertebra("L4")
    assert middle is not None
    at = middle.body_center
    marker = at + {PlaneName.AXIAL: (45.0, 9.0, 0.0), PlaneName.CORONAL: (45.0, 0.0, 9.0),
                   PlaneName.SAGITTAL: (45.0, 9.0, 9.0)}[name]
    i, j, k = np.rint(to_index(volume.grid, marker)).astype(int)
    patch = volume.array[k - 2:k + 3, j - 2:j + 3, i - 2:i + 3]
    held = patch.copy()
    session.look_at(marker - (0.0, 9.0, 9.0) if name is PlaneName.SAGITTAL else at)
    before = grey(view, marker)
    patch[:] = 3000
    try:
        session.look_at(session.crosshair)
        assert grey(view, marker) > before + 60
    finally:
        patch[:] = held
    words = view.words()
    if name is PlaneName.SAGITTAL:
        assert not {"LEFT", "RIGHT"} & set(words.values())
        assert view.plane is not None
        assert facing_words(view.plane.right, view.plane.down) == "seen from the patient's LEFT"
        return
    on = Edge.RIGHT if view.place_of(marker).x() > view.place_of(at).x() else Edge.LEFT
    assert words[on] == "LEFT"
    assert {words[Edge.LEFT], words[Edge.RIGHT]} == {"LEFT", "RIGHT"}


def test_the_3d_scene_is_not_mirrored_and_says_where_left_is(panel: ReviewPanel) -> None:
    """From behind, a red ball on the patient's LEFT is drawn on the left of the canvas, and the words say so."""
    viewer, scene = panel.viewer, panel.scene
    scene.look_from_behind()
    assert scene.words() == "seen from the BACK; LEFT is at the left"
    assert viewer.canvas.overlays.text.text == f"{scene.words()}\nUNAPPROVED PROPOSAL"
    assert panel.session.plan is not None
    place = panel.session.plan.spine.vertebrae[0].body_center + np.array([30.0, 80.0, 0.0])
    ball = viewer.add_points(place[None, ::-1], size=8, face_color="red", border_color="red",
                             blending="translucent_no_depth")
    try:
        picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
        red = (picture[..., 0] > 200) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
        assert red.any()
        assert np.argwhere(red)[:, 1].mean() < picture.shape[1] / 2
    finally:
        viewer.layers.remove(ball)


def test_window_presets_change_what_is_shown(panel: ReviewPanel, qtbot: QtBot) -> None:
    axial = panel.flat.ortho.views[PlaneName.AXIAL]
    soft = list(settings().windows).index("soft_tissue")
    before = axial.grab().toImage()
    panel.flat.window.activated.emit(soft)
    assert panel.session.window == settings().windows["soft_tissue"]
    assert axial.grab().toImage() != before
    press(qtbot, panel, Qt.Key.Key_W)
    assert panel.session.window == settings().windows["needle"]
    assert "Needle planning" in panel.flat.shown.text()


def test_the_table_names_nerve_bone_side_joints_and_state(panel: ReviewPanel) -> None:
    tree = panel.table.tree
    assert tree.topLevelItemCount() == len(panel.session.proposals)
    for n, proposal in enumerate(panel.session.proposals):
        cells = [tree.topLevelItem(n).text(column) for column in range(tree.columnCount())]
        target = proposal.target
        assert cells[0] == target.nerve_name
        assert cells[1] == f"{target.carrier.name} transverse process"
        assert cells[2] == target.side.value
        assert cells[3] == " and ".join(target.joints)
        assert cells[4].split()[0] == confidence_word(target.confidence).value
        assert cells[5] == "proposed"
        assert " mm to " in cells[6]
        assert tree.topLevelItem(n).childCount() == len(proposal.placements)
        assert not tree.topLevelItem(n).isExpanded()


def test_a_click_in_the_table_shows_the_target_and_an_alternative(panel: ReviewPanel, qtbot: QtBot) -> None:
    tree = panel.table.tree
    row = tree.topLevelItem(2)
    qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=tree.visualItemRect(row).center())
    proposal = panel.session.proposal
    assert proposal is panel.session.proposals[2]
    assert proposal.target.sentence in panel.needle.title.text()
    pose = panel.session.pose
    assert pose is not None
    np.testing.assert_allclose(panel.session.crosshair, pose.tip)
    row.setExpanded(True)
    other = row.child(1)
    qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=tree.visualItemRect(other).center())
    assert panel.session.placement is proposal.placements[1]
    assert panel.decisions.choose_button.isEnabled()


def test_keys_step_through_targets_and_filter_by_doubt(panel: ReviewPanel, qtbot: QtBot) -> None:
    first = panel.session.target
    press(qtbot, panel, Qt.Key.Key_N)
    assert panel.session.target is panel.session.proposals[1].target
    press(qtbot, panel, Qt.Key.Key_P)
    assert panel.session.target is first
    press(qtbot, panel, Qt.Key.Key_D)
    assert panel.table.doubt.isChecked()
    tree = panel.table.tree
    for n, proposal in enumerate(panel.session.proposals):
        doubtful = confidence_word(proposal.target.confidence) is not ConfidenceWord.HIGH
        assert tree.topLevelItem(n).isHidden() is (not doubtful and proposal.target is not first)
    press(qtbot, panel, Qt.Key.Key_D)
    assert not panel.table.doubt.isChecked()
    press(qtbot, panel, Qt.Key.Key_F1)
    assert "Ctrl+Return approve" in panel.keys.text()
    assert panel.keys.isVisible()
    press(qtbot, panel, Qt.Key.Key_F1)


def test_a_moved_scan_is_asked_for(window: ReviewPanel, phantom_files: tuple[Path, Path], folder: Path, tmp_path: Path,
                                   qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    """source.json points nowhere: the window asks where the scan is now and opens the plan with it."""
    import json
    source = json.loads((folder / "source.json").read_text())
    source["image"]["path"] = str(tmp_path / "gone.nii.gz")
    (folder / "source.json").write_text(json.dumps(source))
    asked: list[str] = []

    def choose(parent: object, words: str) -> str:
        asked.append(words)
        return str(phantom_files[0])

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", choose)
    window.open_path(folder)
    qtbot.waitUntil(lambda: window.session.plan is not None and not window.strip.busy, timeout=WAIT_MS)
    assert len(asked) == 1
    assert "scan" in asked[0]
    assert window.session.plan is not None
    assert window.session.plan.volume is not None
    window.close_plan()


def test_what_cannot_be_opened_is_said_in_words(window: ReviewPanel, folder: Path, qtbot: QtBot) -> None:
    (folder / "plan.json").write_text("{}")
    window.open_path(folder)
    qtbot.waitUntil(lambda: not window.strip.busy, timeout=WAIT_MS)
    assert "whole plan folder" in window.message.text()
    assert window.session.plan is None


def test_planning_can_be_cancelled_and_leaves_nothing(window: ReviewPanel, phantom_files: tuple[Path, Path],
                                                      tmp_path: Path, qtbot: QtBot) -> None:
    window.plan_scan(phantom_files[0], tmp_path / "out")
    assert window.strip.isVisibleTo(window)
    qtbot.mouseClick(window.strip.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not window.strip.busy, timeout=WAIT_MS)
    assert "stopped" in window.message.text()
    assert not (tmp_path / "out").exists()
    assert window.session.plan is None


def test_a_task_reports_progress_and_failure(display: str, qtbot: QtBot) -> None:
    def work(tell: Progress) -> int:
        tell("half way", 0.5)
        raise ValueError("broken")

    task = Task("work", work)
    said: list[tuple[str, float]] = []
    task.progressed.connect(lambda words, fraction: said.append((words, fraction)))
    with qtbot.waitSignals([task.failed, task.ended], timeout=WAIT_MS):
        task.start()
    assert said == [("half way", 0.5)]


def test_closing_a_plan_empties_the_window(panel: ReviewPanel) -> None:
    panel.close_plan()
    assert panel.session.plan is None
    assert [layer.name for layer in panel.viewer.layers] == []
    assert panel.table.tree.topLevelItemCount() == 0
    assert all(view.plane is None for view in panel.flat.ortho.views.values())
