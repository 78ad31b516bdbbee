"""A plan that was closed is let go: its scan, masks, record and what was measured on them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from pytestqt.qtbot import QtBot

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
