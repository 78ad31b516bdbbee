"""The review window: the panel, the flat views and the 3D scene around one session, and what opens a study in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QTabWidget, QVBoxLayout, QWidget

from imaging.errors import NerveplanError
from planner.batch_status import SOURCES_FILE, BatchStatus, batch_status
from planner.defaults import DEFAULT_PROCEDURE
from planner.folder import PLAN_FILE
from planner.loading import SourceMissingError
from planner.locking import ConflictError
from planner.plan import BANNER, WATERMARK, PlanState
from planner.review import Review
from segmentation.engine import Progress
from targeting.evaluation import Evaluator
from targeting.radiograph import Attenuation, attenuation
from viewer.anatomy import AnatomyPanel, AnatomyStep
from viewer.approval import DecisionBar
from viewer.editing import Editor, make_evaluator
from viewer.flat_views import FlatViews
from viewer.layers import LayerData, anatomy_layers
from viewer.model import Session
from viewer.needle_panel import NeedlePanel
from viewer.queue_panel import QueuePanel
from viewer.readers import SOURCE_KEY
from viewer.scene import Scene3D
from viewer.shortcuts import add_shortcuts, key_actions
from viewer.target_table import TargetTable
from viewer.workers import Task, TaskStrip

if TYPE_CHECKING:
    from napari import Viewer

__all__ = ["Opened", "ReviewPanel", "open_window", "run"]


#: Of the window, and of the docks of the flat views and of the panel, pixels.
_SIZE, _WIDTHS = (1680, 1000), (700, 560)


@dataclass(frozen=True, eq=False)
class Opened:
    """A plan folder that was opened, and the surfaces of its anatomy."""

    review: Review
    layers: list[LayerData]


@dataclass(frozen=True, eq=False)
class Measured:
    """What moved needles are judged by, and the surfaces where they were drawn anew."""

    attenuation: Attenuation | None
    evaluator: Evaluator | None
    layers: list[LayerData] | None


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
        self.state = QLabel()
        self.message = QLabel()
        self._lay_out()
        self.flat_dock = napari_viewer.window.add_dock_widget(self.flat, name="nerveplan views", area="left")
        add_shortcuts(self)
        self.keys.setText("Keys: " + "; ".join(f"{a.key} {a.words}" for a in key_actions(self)))
        self.keys.setWordWrap(True)
        self.keys.setVisible(False)
        self.session.plan_changed.connect(self._say_state)
        self.session.review_changed.connect(self._say_state)
        self.session.anatomy_changed.connect(self.redraw_anatomy)
        self.anatomy.asked.connect(self.change_anatomy)
        self.queue.asked.connect(self.open_plan_folder)
        self.queue.open_button.clicked.connect(self.ask_batch)
        self.editor.refused.connect(self.say)
        self._say_state()

    def _lay_out(self) -> None:
        banner = QLabel(BANNER)
        banner.setWordWrap(True)
        banner.setStyleSheet("color: #ffd24d; font-weight: bold;")
        self.state.setStyleSheet("font-weight: bold;")
        self.state.setWordWrap(True)
        self.message.setWordWrap(True)
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
        for widget, stretch in ((self.strip, 0), (self.state, 0), (self.message, 0), (self.tabs, 3),
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

        def work(tell: Progress) -> BatchStatus:
            tell("reading the studies of the batch", 0.1)
            return batch_status(folder)

        self.message.clear()
        self._start("reading the batch", work, done, None)

    def ask_scan(self) -> None:
        """Plan the scan of the chosen layer, or let a person choose a DICOM folder."""
        layer = self.viewer.layers.selection.active
        known = None if layer is None else layer.metadata.get(SOURCE_KEY)
        chosen = known or QFileDialog.getExistingDirectory(self, "Plan the DICOM series in a folder")
        if chosen:
            self.plan_scan(Path(chosen))

    def open_plan_folder(self, folder: Path, source: Path | None = None) -> None:
        """Read a plan folder beside the window; ask for the scan where ``source.json`` does not find it."""
        def work(tell: Progress) -> Opened:
            tell("reading the plan and its scan", 0.1)
            return _opened(Review.open(folder, source), tell)

        self.message.clear()
        self._start("opening the plan", work, self.show, lambda error: self._ask_source(folder, error))

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

        def work(tell: Progress) -> Opened:
            from planner.pipeline import plan_study
            plan_study(scan, folder, procedure=procedure, progress=tell)
            return _opened(Review.open(folder), tell)

        self.message.clear()
        self._start("planning", work, self.show, None)

    def _ask_out(self) -> Path | None:
        chosen = QFileDialog.getExistingDirectory(self, "An empty folder to keep the plan in")
        return Path(chosen) if chosen else None

    def _start(self, words: str, work: Callable[[Progress], Any], done: Callable[[Any], None],
               handle: Callable[[Exception], bool] | None, ended: Callable[[], None] | None = None) -> None:
        task, acts = Task(words, work), [(done, handle, ended)]

        def finish() -> None:
            _, _, last = acts.pop()  # what the functions hold, a whole plan maybe, is let go, however long Qt keeps us
            if last is not None:
                last()

        task.done.connect(lambda result: acts[0][0](result))
        task.failed.connect(lambda error: self._fail(error, acts[0][1]))
        task.stopped.connect(lambda: self.say("stopped"))
        self.strip.run(task)
        task.ended.connect(finish)

    def _fail(self, error: Exception, handle: Callable[[Exception], bool] | None) -> None:
        if handle is None or not handle(error):
            self.say_error(error)

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

        held = self.session.attenuation

        def work(tell: Progress) -> Measured:
            plan = review.plan
            tell("preparing simulated fluoroscopy", 0.1)
            on_ct = plan.volume is not None and plan.volume.modality == "CT"
            prepared = attenuation(plan.volume, plan.spine.body) if (
                held is None and plan.volume is not None and on_ct) else held
            tell("drawing surfaces", 0.2)
            layers = anatomy_layers(plan) if redraw else None
            tell("measuring distances for moving needles", 0.4)
            return Measured(prepared, make_evaluator(plan), layers)

        def done(found: Measured) -> None:
            if self.session.review is review:
                if found.layers is not None:
                    self.scene.show_anatomy(found.layers)
                self.session.attenuation = found.attenuation
                self.editor.set_evaluator(found.evaluator)

        self._start("measuring distances", work, done, None)

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
        self.message.clear()
        self._start(words, lambda tell: step(review, who, role, tell), lambda _: None, conflict, ended)

    def close_plan(self) -> None:
        """Let go of the open plan."""
        self.strip.cancel()
        self.scene.clear()
        self.session.close()

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
        plan = self.session.plan
        if plan is None:
            self.state.setText("no plan is open")
            return
        mark = "" if plan.state is PlanState.APPROVED else f"{WATERMARK} - "
        asked = len(plan.proposals) + len(plan.missing_targets)
        numbering = plan.spine.numbering
        self.state.setText(f"{mark}{plan.planned} of {asked} targets planned, plan {plan.state.value}; "
                           f"numbering {numbering.status.value}, tier {numbering.tier.value}")


def _opened(review: Review, tell: Progress) -> Opened:
    tell("drawing surfaces", 0.9)
    return Opened(review, anatomy_layers(review.plan))


def open_window(path: Path | None = None, source: Path | None = None, *, show: bool = True) -> ReviewPanel:
    """A napari window with the review panel; a path is opened in it.

    Returns
    -------
    ReviewPanel
        Its ``viewer`` is the window's.
    """
    import napari

    viewer = napari.Viewer(title="nerveplan", ndisplay=3, show=show)
    viewer.window.resize(*_SIZE)
    panel = ReviewPanel(viewer)
    panel_dock = viewer.window.add_dock_widget(panel, name="nerveplan", area="right")
    _make_room(panel, panel_dock)
    if path is not None:
        panel.open_path(path, source)
    return panel


def _make_room(panel: ReviewPanel, panel_dock: QWidget) -> None:
    """Hide napari's own docks (its Window menu brings them back) and share the width."""
    main, inner = panel.viewer.window._qt_window, panel.viewer.window._qt_viewer
    inner.dockLayerControls.setVisible(False)
    inner.dockLayerList.setVisible(False)
    main.resizeDocks([panel.flat_dock, panel_dock], list(_WIDTHS), Qt.Orientation.Horizontal)


def run(path: Path | None, source: Path | None) -> None:
    """Open the window and stay until it is closed."""
    import napari

    from imaging.errors import NotFoundError

    if path is not None and not path.exists():
        raise NotFoundError("no such file or folder; check the path")
    open_window(path, source)
    napari.run()
