"""The queue of a batch in a real window: ordered by doubt, stepped through by keys, its state kept across a restart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from planner.batch_status import batch_status
from planner.pipeline import plan_study
from planner.review import Review
from planner.tables import write_table
from segmentation.anatomy import LandmarkName
from tests.viewer.conftest import WAIT_MS
from tests.viewer.test_window import press, shoot
from viewer.app import ReviewPanel

NAME = "Dr A. Example"
STUDIES = ("broken", "decided", "doubtful", "empty", "fresh")


@pytest.fixture(scope="module")
def results(planned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five studies: planned, made doubtful by a hand, all decided, nothing proposed, failed."""
    out = tmp_path_factory.mktemp("results") / "batch"
    for name in ("decided", "doubtful", "fresh"):
        shutil.copytree(planned, out / name)
    decided = Review.open(out / "decided", volume=False)
    for proposal in decided.plan.proposals:
        decided.reject(proposal.target.id, NAME, "not needed")
    doubtful = Review.open(out / "doubtful")
    junction, bone = LandmarkName.SAP_TP_JUNCTION_LEFT, doubtful.plan.spine.vertebra("L5")
    assert bone is not None
    doubtful.move_landmark("L5", junction, bone.landmarks[junction].position + np.array([0.0, 0.0, 3.0]), NAME)
    scan = sitk.GetImageFromArray(np.random.default_rng(5).integers(0, 900, (12, 14, 16)).astype(np.int16))
    scan.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(scan, str(out.parent / "t2.nii.gz"))
    plan_study(out.parent / "t2.nii.gz", out / "empty", report=False)
    (out / "failures").mkdir()
    (out / "failures" / "broken.json").write_text(json.dumps({"study": "broken", "reason": "this is no image"}))
    write_table(out / "sources.csv", ("study", "place"), [{"study": s, "place": s} for s in STUDIES], 0o600)
    return out


@pytest.fixture
def batch(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "batch"))


@pytest.fixture
def queue(window: ReviewPanel, batch: Path, qtbot: QtBot) -> Iterator[ReviewPanel]:
    """The window with the batch open at its first study."""
    window.decisions.who.setText(NAME)
    window.open_path(batch)
    opened(window, qtbot, "empty")
    yield window
    window.decisions.who.clear()
    window.tabs.setCurrentWidget(window.table)
    window.close_plan()
    qtbot.waitUntil(lambda: not window.strip.busy, timeout=WAIT_MS)


def opened(panel: ReviewPanel, qtbot: QtBot, study: str) -> None:
    def there() -> bool:
        folder = panel.session.folder
        return folder is not None and folder.name == study and not panel.strip.busy
    qtbot.waitUntil(there, timeout=WAIT_MS)


def rows(panel: ReviewPanel) -> list[list[str]]:
    tree = panel.queue.tree
    return [[tree.topLevelItem(n).text(column) for column in range(4)] for n in range(tree.topLevelItemCount())]


def test_studies_are_stepped_through_by_doubt_and_keep_their_state(queue: ReviewPanel, batch: Path,
                                                                   qtbot: QtBot) -> None:
    assert [row[0] for row in rows(queue)] == ["empty", "doubtful", "fresh", "decided", "broken"]
    assert [row[1] for row in rows(queue)] == ["abstained", "edited", "proposed", "rejected", "failed"]
    assert rows(queue)[3][2:] == ["4 of 4", ""]
    assert queue.queue.tree.topLevelItem(4).text(4) == "this is no image"
    assert not queue.queue.back_button.isEnabled()
    press(qtbot, queue, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    opened(queue, qtbot, "doubtful")
    press(qtbot, queue, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    opened(queue, qtbot, "fresh")
    assert queue.queue.tree.currentItem().text(0) == "fresh"
    assert queue.editor.reject("not needed")
    assert rows(queue)[2][2] == "1 of 4"
    shoot(queue, "queue")
    press(qtbot, queue, Qt.Key.Key_P, Qt.KeyboardModifier.ShiftModifier)
    opened(queue, qtbot, "doubtful")
    queue.close_plan()
    queue.open_path(batch)
    opened(queue, qtbot, "empty")
    assert rows(queue)[2][:3] == ["fresh", "proposed", "1 of 4"]
    assert batch_status(batch).queue[2].decided == 1


def test_a_study_without_a_plan_does_not_open_and_the_end_is_the_end(queue: ReviewPanel, qtbot: QtBot) -> None:
    tree = queue.queue.tree
    tree.itemActivated.emit(tree.topLevelItem(4), 0)
    assert not queue.strip.busy
    tree.itemActivated.emit(tree.topLevelItem(3), 0)
    opened(queue, qtbot, "decided")
    assert not queue.queue.next_button.isEnabled()
    queue.queue.step(1)
    assert not queue.strip.busy


def test_a_folder_that_is_no_batch_is_refused_in_words(window: ReviewPanel, tmp_path: Path, qtbot: QtBot) -> None:
    window.open_batch(tmp_path)
    qtbot.waitUntil(lambda: not window.strip.busy, timeout=WAIT_MS)
    assert "is no batch folder" in window.message.text()
