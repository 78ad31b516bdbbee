"""Mouse and keys on a real window, counted: what a person would have done to get as far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEventLoop, QPoint, QPointF, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QDialog, QLineEdit, QMainWindow, QTabWidget, QTreeWidget, QWidget

from viewer.plane_view import PlaneView

__all__ = ["Hand", "Tally"]

Array = NDArray[np.float64]
_LEFT = Qt.MouseButton.LeftButton
_NONE = Qt.KeyboardModifier.NoModifier
#: Long enough for a busy machine; nothing waits longer than it must.
_PATIENCE_S = 180.0
#: How often it is looked whether a dialog that is to be answered has opened.
_LOOK_MS = 5
#: How long the window works before it is asked again whether what was waited for has come.
_TURN_MS = 10


@dataclass
class Tally:
    """What hands did.

    Attributes
    ----------
    clicks, drags, keys : int
        Button presses with their release, presses with a move between, keys and key combinations.
    letters : int
        Letters typed into fields.
    """

    clicks: int = 0
    drags: int = 0
    keys: int = 0
    letters: int = 0

    def __str__(self) -> str:
        return f"{self.clicks} clicks, {self.drags} drags, {self.keys} keys, {self.letters} letters typed"


@dataclass
class Hand:
    """One person's mouse and keyboard on one window.

    Attributes
    ----------
    main : QMainWindow
        Where keys go.
    tally : Tally
        Counted since it was last set.
    move_s, move_cpu_s : list of float
        What each mouse move of a drag took to compute, everything but painting: seconds by the clock and of processors.
    paint_s : list of float
        The painting after each of them, by the clock.
    """

    main: QMainWindow
    tally: Tally = field(default_factory=Tally)
    move_s: list[float] = field(default_factory=list)
    move_cpu_s: list[float] = field(default_factory=list)
    paint_s: list[float] = field(default_factory=list)
    _answers: int = 0

    def wait(self, condition: Callable[[], bool], what: str) -> float:
        """Let the window work until a condition holds; the seconds it took. TimeoutError says what never came."""
        started = time.perf_counter()
        while not condition():
            if time.perf_counter() - started > _PATIENCE_S:
                raise TimeoutError(f"{what}: not after {_PATIENCE_S:.0f} s")
            self.rest()
        return time.perf_counter() - started

    def rest(self) -> None:
        """Let the window work for a moment, in a loop as of a window a person uses: without one Qt deletes nothing."""
        loop = QEventLoop()
        QTimer.singleShot(_TURN_MS, loop.quit)
        loop.exec()

    def click(self, widget: QWidget, at: QPoint | None = None) -> None:
        """Press and release the left button on a widget, in its middle unless told where."""
        self.tally.clicks += 1
        QTest.mouseClick(widget, _LEFT, _NONE, widget.rect().center() if at is None else at)

    def point(self, view: PlaneView, place: Array) -> None:
        """Click on a place of the patient, (3,) LPS mm, in a flat view."""
        self.click(view, view.place_of(place).toPoint())

    def open_tab(self, tabs: QTabWidget, page: QWidget) -> None:
        """Click on the tab of a page."""
        bar = tabs.tabBar()
        self.click(bar, bar.tabRect(tabs.indexOf(page)).center())

    def choose_row(self, tree: QTreeWidget, row: int) -> None:
        """Click on a row of a table."""
        item = tree.topLevelItem(row)
        tree.scrollToItem(item)
        self.click(tree.viewport(), tree.visualItemRect(item).center())

    def choose(self, box: QComboBox, text: str) -> None:
        """Choose an entry of a list with the arrow keys."""
        wanted = box.findText(text)
        if wanted < 0:
            raise LookupError(f"{box.accessibleName()} does not offer {text}")
        box.setFocus()
        while (before := box.currentIndex()) != wanted:
            self.tally.keys += 1
            QTest.keyClick(box, Qt.Key.Key_Down if before < wanted else Qt.Key.Key_Up)
            if box.currentIndex() == before:
                raise LookupError(f"{box.accessibleName()} does not take keys; is it shown and enabled?")

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = _NONE) -> None:
        """Press a key in the window."""
        self.tally.keys += 1
        self.main.activateWindow()
        self.wait(lambda: QApplication.activeWindow() is self.main, "the window is in front")
        QTest.keyClick(self.main, key, modifier)

    def write(self, line: QLineEdit, text: str) -> None:
        """Type a text into a field."""
        self.tally.letters += len(text)
        QTest.keyClicks(line, text)

    def answer(self, kind: type[QDialog], fill: Callable[[QDialog], None]) -> None:
        """Fill in the next dialog that opens; one that is left open is cancelled. A later answer replaces this one."""
        self._answers += 1
        mine = self._answers

        def act() -> None:
            dialog = QApplication.activeModalWidget()
            if mine != self._answers:
                return
            if not isinstance(dialog, QDialog):
                QTimer.singleShot(_LOOK_MS, act)
                return
            try:
                if isinstance(dialog, kind):
                    fill(dialog)
            finally:
                if dialog.isVisible():
                    dialog.reject()
        QTimer.singleShot(0, act)

    def withdraw(self) -> None:
        """Answer no dialog any more: the step that was to open one was refused."""
        self._answers += 1

    def drag(self, view: PlaneView, start: Array, path: Array, enough: Callable[[], bool]) -> None:
        """Take hold of what lies at `start` and lead it along a path, (n, 3) LPS mm, then let go.

        `enough` is asked after every move; it ends the drag where it is.
        """
        self.tally.drags += 1
        at = view.place_of(start)
        QTest.mousePress(view, _LEFT, _NONE, at.toPoint())
        for place in path:
            at = view.place_of(place)
            self._move(view, at)
            if enough():
                break
        QTest.mouseRelease(view, _LEFT, _NONE, at.toPoint())

    def _move(self, view: PlaneView, at: QPointF) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        QTest.mouseMove(view, at.toPoint())
        moved = time.perf_counter()
        self.move_cpu_s.append(time.process_time() - cpu)
        QApplication.processEvents()
        self.move_s.append(moved - began)
        self.paint_s.append(time.perf_counter() - moved)
