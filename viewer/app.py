"""The review panel: the flat views and the 3D scene around one session, and what opens a study in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QTabWidget, QVBoxLayout, QWidget

from imaging.errors import NerveplanError
from planner.age import AgeVerdict
from planner.batch_status import SOURCES_FILE, BatchStatus
from planner.defaults import DEFAULT_PROCEDURE
from planner.folder import PLAN_FILE
from planner.loading import SourceMissingError
from planner.locking import ConflictError
from planner.plan import BANNER, WATERMARK, PlanState
from segmentation.engine import Progress
from viewer.anatomy import AnatomyPanel, AnatomyStep
from viewer.approval import DecisionBar
from viewer.editing import Editor
from viewer.flat_views import FlatViews
from viewer.memory import give_back
from viewer.model import Session
from viewer.needle_panel import NeedlePanel
from viewer.opening import Measured, Opened, measure_plan, open_plan, plan_and_open, read_batch
from viewer.queue_panel import QueuePanel
from viewer.readers import SOURCE_KEY
from viewer.scene import Scene3D
from viewer.shortcuts import add_shortcuts, key_actions
from viewer.target_table import TargetTable
from viewer.workers import TaskStrip

if TYPE_CHECKING:
    from napari import Viewer

__all__ = ["ReviewPanel"]


class ReviewPanel(QWidget):
    """The dock from which a study is opened and its plan reviewed.

    Creating it adds the flat views beside it and takes over the viewer's canvas as the 3D scene.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.setObjectName("nerveplan review")
        self.viewer = napari_viewer
        self.session = Session()
        self.editor = Editor(self.session)
        self.strip = TaskStrip()
        self.scene = Scene3D(napari_viewer, self.editor)
        self.flat = FlatViews(self.editor)
        self.table = TargetTable(self.session)
        self.anatomy = AnatomyPanel(self.editor)
        self.queue = QueuePanel(self.session)
        self.tabs = QTabWidget()
        self.needle = NeedlePanel(self.editor)
        self.decisions = DecisionBar(self.editor)
        self.shortcuts: list[QShortcut] = []
        self.keys = QLabel()
        self.state, self.age = QLabel(), QLabel()
        self.message = QLabel()
        self._lay_out()
        self.flat_dock = napari_viewer.window.add_dock_widget(self.flat, name="nerveplan views", area="left")
        add_shortcuts(self)
        self.keys.setText("Keys: " + "; ".join(f"{a.key} {a.words}" for a in key_actions(self)))
        self._connect()
        self._say_state()

    def _connect(self) -> None:
        self.session.plan_changed.connect(self._say_state)
        self.session.review_changed.connect(self._say_state)
        self.session.anatomy_changed.connect(self.redraw_anatomy)
        self.anatomy.asked.connect(self.change_anatomy)
        self.strip.busy_changed.connect(self._tidy)
        self.queue.asked.connect(self.open_plan_folder)
        self.queue.open_button.clicked.connect(self.ask_batch)
        self.editor.refused.connect(self.say)

    def _lay_out(self) -> None:
        banner = QLabel(BANNER)
        banner.setWordWrap(True)
        banner.setStyleSheet("color: #ffd24d; font-weight: bold;")
        self.state.setStyleSheet("font-weight: bold;")
        self.state.setWordWrap(True)
        self.age.setStyleSheet("color: #ffd24d;")
        self.age.setWordWrap(True)
        self.message.setWordWrap(True)
        self.keys.setWordWrap(True)
        self.keys.setVisible(False)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.open_button, self.plan_button = QPushButton("Open plan ..."), QPushButton("Plan a scan ...")
        self.open_button.clicked.connect(self.ask_plan_folder)
        self.plan_button.clicked.connect(self.ask_scan)
        buttons = QHBoxLayout()
        buttons.addWidget(self.open_button)
        buttons.addWidget(self.plan_button)
        self.tabs.addTab(self.table, "Targets")
        self.tabs.addTab(self.anatomy, "Anatomy")
        self.tabs.addTab(self.queue, "Queue")
        column = QVBoxLayout(self)
        column.addWidget(banner)
        column.addLayout(buttons)
        for widget, stretch in ((self.strip, 0), (self.state, 0), (self.age, 0), (self.message, 0), (self.tabs, 3),
                                (self.needle, 4), (self.decisions, 0), (self.keys, 0)):
            column.addWidget(widget, stretch)

    # opening

    def open_path(self, path: Path, source: Path | None = None) -> None:
        """Open a plan folder or the queue of a batch, or offer to plan a scan."""
        if (path / PLAN_FILE).is_file():
            self.open_plan_folder(path, source)
        elif (path / SOURCES_FILE).is_file():
            self.open_batch(path)
        else:
            self.plan_scan(path)

    def ask_plan_folder(self) -> None:
        """Let a person choose a plan folder."""
        chosen = QFileDialog.getExistingDirectory(self, "Open a plan folder")
        if chosen:
            self.open_plan_folder(Path(chosen))

    def ask_batch(self) -> None:
        """Let a person choose the results of a batch."""
        chosen = QFileDialog.getExistingDirectory(self, "Open the results of a batch")
        if chosen:
            self.open_batch(Path(chosen))

    def open_batch(self, folder: Path) -> None:
        """Read how far a batch has come beside the window, list it and open the study that comes first."""
        def done(status: BatchStatus) -> None:
            self.tabs.setCurrentWidget(self.queue)
            self.queue.show_batch(folder, status)

        self._start("reading the batch", partial(read_batch, folder), done)

    def ask_scan(self) -> None:
        """Plan the scan of the chosen layer, or let a person choose a DICOM folder."""
        layer = self.viewer.layers.selection.active
        known = None if layer is None else layer.metadata.get(SOURCE_KEY)
        chosen = known or QFileDialog.getExistingDirectory(self, "Plan the DICOM series in a folder")
        if chosen:
            self.plan_scan(Path(chosen))

    def open_plan_folder(self, folder: Path, source: Path | None = None) -> None:
        """Read a plan folder beside the window; ask for the scan where ``source.json`` does not find it."""
        self._start("opening the plan", partial(open_plan, folder, source), self.show,
                    lambda error: self._ask_source(folder, error))

    def _ask_source(self, folder: Path, error: Exception) -> bool:
        """Ask where the scan is now, when that is what is missing; True when the question was asked."""
        if not isinstance(error, SourceMissingError):
            return False
        chosen = QFileDialog.getExistingDirectory(self, "Where is the scan of this plan now? (the DICOM folder)")
        if chosen:
            self.open_plan_folder(folder, Path(chosen))
        else:
            self.say("the scan was not found: nothing is open")
        return True

    def plan_scan(self, scan: Path, out: Path | None = None, procedure: str = DEFAULT_PROCEDURE) -> None:
        """Plan a scan beside the window and show the result; `out` is asked for where it is not given."""
        folder = out or self._ask_out()
        if folder is None:
            return
        self._start("planning", partial(plan_and_open, scan, folder, procedure), self.show)

    def _ask_out(self) -> Path | None:
        chosen = QFileDialog.getExistingDirectory(self, "An empty folder to keep the plan in")
        return Path(chosen) if chosen else None

    def _start(self, words: str, work: Callable[[Progress], Any], done: Callable[[Any], None],
               handle: Callable[[Exception], bool] = lambda error: False,
               ended: Callable[[], None] = lambda: None) -> None:
        """Do long work beside the window; an error that `handle` does not take is said. Old words go away."""
        def fail(error: Exception) -> None:
            if not handle(error):
                self.say_error(error)

        self.message.clear()
        self.strip.do(words, work, done, fail, lambda: self.say("stopped"), ended)

    def show(self, opened: Opened) -> None:
        """Show a plan that was opened, and measure beside the window what moved needles are judged by."""
        self.session.open(opened.review)
        self.scene.show_anatomy(opened.layers)
        self.scene.look_from_behind()
        self.viewer.title = f"nerveplan: {opened.review.folder.name}"
        self.measure()

    def measure(self, redraw: bool = False) -> None:
        """Prepare the judging of moved needles beside the window; `redraw` draws the surfaces anew too."""
        review = self.session.review
        if review is None:
            return

        def done(found: Measured) -> None:
            if self.session.review is review:
                if found.layers is not None:
                    self.scene.show_anatomy(found.layers)
                self.session.attenuation = found.attenuation
                self.editor.set_evaluator(found.evaluator)

        work = partial(measure_plan, review, self.session.attenuation, redraw)
        self.strip.do("measuring distances", work, done, self.say_error, lambda: self.say("stopped"))

    # the anatomy

    def redraw_anatomy(self) -> None:
        """Draw and measure anew what a recorded step has changed."""
        self.measure(redraw=True)

    def change_anatomy(self, words: str, step: AnatomyStep) -> None:
        """Compute and record an edit of the anatomy beside the window; until it is done no other step is recorded.

        A cancel leaves the plan as it was, unless it came after the edit was recorded: then undo takes it back.
        """
        session, editor, review = self.session, self.editor, self.session.review
        if review is None or not editor.may_record():
            return
        before, who, role = review.plan, editor.who, editor.role

        def conflict(error: Exception) -> bool:
            if isinstance(error, ConflictError):
                review.reload()
            return False

        def ended() -> None:
            editor.set_busy(False)
            if session.review is not review:
                return
            if review.plan is not before:
                session.recorded()
                session.choose_added(before)
            elif editor.evaluator is None and not self.strip.busy:  # the edit took the place of measuring
                self.measure()

        editor.set_busy(True)
        self._start(words, lambda tell: step(review, who, role, tell), lambda _: None, conflict, ended)

    def close_plan(self) -> None:
        """Let go of the open plan."""
        self.strip.cancel()
        self.scene.clear()
        self.session.close()
        self._tidy(self.strip.busy)

    def _tidy(self, busy: bool) -> None:
        """Give back what long work or a closed plan has freed, once the functions that held it have returned."""
        if not busy:
            QTimer.singleShot(0, give_back)

    def toggle_keys(self) -> None:
        """Show or hide the list of keys."""
        self.keys.setVisible(self.keys.isHidden())

    # telling

    def say(self, words: str) -> None:
        """One line under the buttons."""
        self.message.setText(words)

    def say_error(self, error: Exception) -> None:
        """What went wrong; the text of errors not raised on purpose may hold what must not be shown."""
        words = str(error) if isinstance(error, NerveplanError) else f"internal error ({type(error).__name__})"
        self.say(words)

    def _say_state(self) -> None:
        review, plan = self.session.review, self.session.plan
        age = None if review is None else review.scan_age
        told = age is not None and age.verdict is not AgeVerdict.RECENT
        self.age.setText(age.sentence if age is not None and told else "")
        self.age.setVisible(told)
        if plan is None:
            self.state.setText("no plan is open")
            return
        mark = "" if plan.state is PlanState.APPROVED else f"{WATERMARK} - "
        asked = len(plan.proposals) + len(plan.missing_targets)
        numbering = plan.spine.numbering
        self.state.setText(f"{mark}{plan.planned} of {asked} targets planned, plan {plan.state.value}; "
                           f"numbering {numbering.status.value}, tier {numbering.tier.value}")
