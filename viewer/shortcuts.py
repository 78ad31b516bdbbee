"""The keys of the review window, and the list of them that is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut

from viewer.settings import settings

if TYPE_CHECKING:
    from viewer.app import ReviewPanel

__all__ = ["KeyAction", "add_shortcuts", "key_actions"]


@dataclass(frozen=True)
class KeyAction:
    """A key and what it does."""

    key: str
    words: str
    run: Callable[[], None]


def key_actions(panel: ReviewPanel) -> tuple[KeyAction, ...]:
    """Everything the keyboard does in a review window."""
    session, windows = panel.session, list(settings().windows.values())

    def next_window() -> None:
        here = windows.index(session.window) if session.window in windows else -1
        session.set_window(windows[(here + 1) % len(windows)])

    return (
        KeyAction("N", "next target", lambda: session.step_target(1)),
        KeyAction("P", "previous target", lambda: session.step_target(-1)),
        KeyAction("Shift+N", "next study of the queue", lambda: panel.queue.step(1)),
        KeyAction("Shift+P", "previous study of the queue", lambda: panel.queue.step(-1)),
        KeyAction("A", "next alternative", session.next_alternative),
        KeyAction("D", "only targets in doubt, or all", panel.table.doubt.toggle),
        KeyAction("W", "next grey window", next_window),
        KeyAction("T", "take what is shown", _quiet(panel.editor.choose_shown)),
        KeyAction("B", "tip to bone", panel.editor.snap_to_bone),
        KeyAction("H", "a needle by hand, where there is none", panel.editor.start_needle),
        KeyAction("L", "lock or unlock", panel.editor.toggle_lock),
        KeyAction("Ctrl+Z", "undo", panel.editor.undo),
        KeyAction("Ctrl+Y", "redo", panel.editor.redo),
        KeyAction("Escape", "forget the needle being moved", panel.editor.discard),
        KeyAction("Ctrl+Return", "approve", panel.decisions.approve),
        KeyAction("Ctrl+Backspace", "reject", panel.decisions.reject),
        KeyAction("F6", "3D from behind", panel.scene.look_from_behind),
        KeyAction("F1", "show or hide this list", panel.toggle_keys),
    )


def _quiet(step: Callable[[], object]) -> Callable[[], None]:
    """The step without what it returns."""
    def run() -> None:
        step()
    return run


def add_shortcuts(panel: ReviewPanel) -> None:
    """Make the keys work anywhere in the window that holds the panel and its views."""
    main = panel.viewer.window._qt_window
    for action in key_actions(panel):
        shortcut = QShortcut(QKeySequence(action.key), main)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.activated.connect(action.run)
        panel.shortcuts.append(shortcut)
