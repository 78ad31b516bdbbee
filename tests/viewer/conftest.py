"""A virtual display of its own, a small real plan, and a review window around it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.display import DisplayMissingError, virtual_display

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

    from viewer.app import ReviewPanel

#: Long enough for a busy machine; nothing waits longer than it must.
WAIT_MS = 120_000


@pytest.fixture(scope="session", autouse=True)
def display() -> Iterator[str]:
    """Its own X server, whatever DISPLAY says; skipped only where there is no Xvfb."""
    try:
        with virtual_display() as name:
            yield name
    except DisplayMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def planned(phantom_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan folder made once; tests work on copies."""
    from planner.pipeline import plan_study

    out = tmp_path_factory.mktemp("plans") / "case"
    plan_study(phantom_files[0], out, labels=phantom_files[1], scheme="verse", names=["L5=L5"], joints=["L4/5"],
               report=False)
    return out


@pytest.fixture
def folder(planned: Path, tmp_path: Path) -> Path:
    """A copy of the plan to work on."""
    return Path(shutil.copytree(planned, tmp_path / "case"))


@pytest.fixture(scope="session")
def window(display: str, qapp: object) -> Iterator[ReviewPanel]:
    """One napari window for all tests; each opens its own plan in it."""
    from viewer.window import open_window

    panel = open_window()
    yield panel
    panel.close_plan()
    panel.viewer.close()


@pytest.fixture
def panel(window: ReviewPanel, folder: Path, qtbot: QtBot) -> Iterator[ReviewPanel]:
    """The window with a copy of the plan open, needles ready to be moved, a name typed."""
    window.open_path(folder)
    qtbot.waitUntil(lambda: window.editor.evaluator is not None and not window.strip.busy, timeout=WAIT_MS)
    window.decisions.who.setText("Dr A. Example")
    window.decisions.role.setText("radiologist")
    yield window
    window.decisions.who.clear()
    window.decisions.role.clear()
    window.close_plan()
    qtbot.waitUntil(lambda: not window.strip.busy, timeout=WAIT_MS)
