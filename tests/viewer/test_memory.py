"""A plan that was closed is let go: its scan, masks, record and what was measured on them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication

from benchmarks.memory import resident_now
from tests.viewer.conftest import WAIT_MS
from viewer.app import ReviewPanel


def test_a_closed_plan_leaves_nothing_behind(window: ReviewPanel, folder: Path, qtbot: QtBot) -> None:
    """Every large thing of one open plan is dead once another was open and both are closed."""
    held: dict[str, weakref.ref[object]] = {}
    for _ in range(2):
        window.open_path(folder)
        qtbot.waitUntil(lambda: window.editor.evaluator is not None and not window.strip.busy, timeout=WAIT_MS)
        review, slicer = window.session.review, window.session.slicer
        assert review is not None
        assert review.plan.volume is not None
        things = {"record": review, "plan": review.plan, "scan": review.plan.volume.array,
                  "labels": review.plan.spine.labels, "slicer": slicer, "evaluator": window.editor.evaluator,
                  "attenuation": window.session.attenuation}
        held = held or {name: weakref.ref(thing) for name, thing in things.items()}
        del review, slicer, things
        window.close_plan()
    gc.collect()
    assert [name for name, thing in held.items() if thing() is not None] == []


def test_opening_and_closing_again_grows_neither_widgets_nor_memory(window: ReviewPanel, folder: Path,
                                                                   qtbot: QtBot) -> None:
    """The layers' controls go with their layers, and freed pages go back to the system; see benchmarks.memory."""
    widgets, resident = [], []
    for _ in range(4):
        window.open_path(folder)
        qtbot.waitUntil(lambda: window.editor.evaluator is not None and not window.strip.busy, timeout=WAIT_MS)
        open_mb = resident_now()
        window.close_plan()
        qtbot.wait(50)
        widgets.append(len(QApplication.allWidgets()))
        resident.append(resident_now())
        assert resident[-1] < open_mb
    assert widgets[-1] == widgets[1]
    assert resident[-1] - resident[1] < 50
