"""Long work beside the window: a thread with progress in words and a cancel that takes effect at its next step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from segmentation.engine import Progress

__all__ = ["Stopped", "Task", "TaskStrip"]

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """Raised inside the work when a person cancelled it."""


class Task(QObject):
    """One piece of work in a thread of its own.

    Parameters
    ----------
    words : str
        What is being done.
    work : callable
        Takes a `Progress`, which it should call often: a cancel takes effect there.
    """

    progressed = Signal(str, float)
    done = Signal(object)
    failed = Signal(object)
    stopped = Signal()
    ended = Signal()
    """After any of the three."""

    def __init__(self, words: str, work: Callable[[Progress], Any]) -> None:
        super().__init__()
        self.words = words
        self._work = work
        self._cancel = Event()
        self._worker = create_worker(self._run, _start_thread=False)
        self._worker.returned.connect(self._end)

    def start(self) -> None:
        """Begin; the signals arrive in the window's thread."""
        self._worker.start()

    def cancel(self) -> None:
        """Ask the work to stop at its next step."""
        self._cancel.set()

    def _tell(self, words: str, fraction: float) -> None:
        if self._cancel.is_set():
            raise Stopped
        self.progressed.emit(words, fraction)

    def _run(self) -> tuple[Any, Exception | None]:
        try:
            result = self._work(self._tell)
        except Exception as error:  # noqa: BLE001 - handed to the window, which tells the person
            return None, error
        return result, None

    def _end(self, outcome: tuple[Any, Exception | None]) -> None:
        result, error = outcome
        if self._cancel.is_set() or isinstance(error, Stopped):
            self.stopped.emit()
        elif error is not None:
            _log.info("%s failed: %s", self.words, type(error).__name__)
            self.failed.emit(error)
        else:
            self.done.emit(result)
        self._work = _nothing  # what the work held, a whole scan maybe, is let go with it
        self.ended.emit()


def _nothing(tell: Progress) -> None:
    """Work that is done."""


class TaskStrip(QWidget):
    """Shows the running task with its progress and a Cancel button; one task at a time."""

    busy_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.task: Task | None = None
        self.label, self.bar, self.cancel_button = QLabel(), QProgressBar(), QPushButton("Cancel")
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for widget, stretch in ((self.label, 2), (self.bar, 1), (self.cancel_button, 0)):
            row.addWidget(widget, stretch)
        self.cancel_button.clicked.connect(self.cancel)
        self.setVisible(False)

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return self.task is not None

    def run(self, task: Task) -> None:
        """Start a task and show it; a running one is cancelled first and its result dropped."""
        if self.task is not None:
            self.cancel()
        self.task = task
        self.label.setText(task.words)
        self.bar.setValue(0)
        self.cancel_button.setEnabled(True)
        self.setVisible(True)
        self.busy_changed.emit(True)
        task.progressed.connect(self._show)  # slots that hold the task itself would keep it, and its scan, for ever
        task.ended.connect(self._end)
        task.start()

    def do(self, words: str, work: Callable[[Progress], Any], done: Callable[[Any], None],
           failed: Callable[[Exception], None], stopped: Callable[[], None],
           ended: Callable[[], None] = lambda: None) -> None:
        """Start work and say what came of it; one of the three is called, then `ended`.

        What these functions hold, a whole plan maybe, is let go when the work has ended, however long Qt keeps it.
        """
        task, acts = Task(words, work), [(done, failed, ended)]
        task.done.connect(lambda result: acts[0][0](result))
        task.failed.connect(lambda error: acts[0][1](error))
        task.stopped.connect(stopped)
        self.run(task)
        task.ended.connect(lambda: acts.pop()[2]())

    def cancel(self) -> None:
        """Ask the running task to stop."""
        if self.task is not None:
            self.task.cancel()
            self.label.setText("stopping")
            self.cancel_button.setEnabled(False)

    def _show(self, words: str, fraction: float) -> None:
        if self.sender() is self.task and self.cancel_button.isEnabled():
            self.label.setText(words)
            self.bar.setValue(round(1000 * fraction))

    def _end(self) -> None:
        if self.sender() is self.task:
            self.task = None
            self.setVisible(False)
            self.busy_changed.emit(False)
