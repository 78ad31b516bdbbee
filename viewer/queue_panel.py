"""The queue of a batch: its studies by doubt, one of them open. The plans' own journals hold how far it has come."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QFont
from qtpy.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from planner.batch_status import BatchStatus, StudyStatus, status_of
from viewer.model import Session

__all__ = ["COLUMNS", "QueuePanel"]

COLUMNS = ("study", "state", "decided", "lowest confidence open", "why not")
_PLACE = Qt.ItemDataRole.UserRole


class QueuePanel(QWidget):
    """Lists the studies of a batch and steps through those that have a plan.

    The order is that of when the batch was opened and stays while it is worked through; opening it again sorts anew.
    """

    asked = Signal(object)
    """Plan folder to open, `pathlib.Path`."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.folder: Path | None = None
        self._studies: tuple[StudyStatus, ...] = ()
        self.open_button = QPushButton("Open batch ...")
        self.back_button, self.next_button = QPushButton("Previous (Shift+P)"), QPushButton("Next (Shift+N)")
        self.words = QLabel("no batch is open")
        self.words.setWordWrap(True)
        self.tree = QTreeWidget()
        self.tree.setColumnCount(len(COLUMNS))
        self.tree.setHeaderLabels(list(COLUMNS))
        self.tree.setRootIsDecorated(False)
        self.tree.setMinimumHeight(100)
        self.tree.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.tree.setAccessibleName("studies of the batch")
        self.tree.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        buttons = QHBoxLayout()
        for button in (self.open_button, self.back_button, self.next_button):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(buttons)
        column.addWidget(self.words)
        column.addWidget(self.tree)
        self.tree.itemActivated.connect(self._open_row)
        self.next_button.clicked.connect(lambda: self.step(1))
        self.back_button.clicked.connect(lambda: self.step(-1))
        session.review_changed.connect(self._follow)
        session.plan_changed.connect(self._follow)
        self._show_rows()

    # the batch

    def show_batch(self, folder: Path, status: BatchStatus) -> None:
        """List a batch and open the study that comes first."""
        self.folder, self._studies = folder, status.queue
        self._show_rows()
        first = self._openable()
        if first:
            self._ask(first[0])

    def _openable(self) -> list[str]:
        return [study.study for study in self._studies if study.has_plan]

    def _here(self) -> str:
        """The study that is open, where it is one of the batch; else empty."""
        opened = self.session.folder
        same = opened is not None and self.folder is not None and opened.parent == self.folder.absolute()
        return opened.name if same and opened is not None else ""

    def step(self, by: int) -> None:
        """Open the study `by` places further down that has a plan; the ends of the queue are ends."""
        names, here = self._openable(), self._here()
        wanted = names.index(here) + by if here in names else 0
        if 0 <= wanted < len(names):
            self._ask(names[wanted])

    def _ask(self, study: str) -> None:
        assert self.folder is not None
        self.asked.emit(self.folder / study)

    def _open_row(self, item: QTreeWidgetItem) -> None:
        study = self._studies[item.data(0, _PLACE)]
        if study.has_plan:
            self._ask(study.study)

    # rows

    def _follow(self) -> None:
        """Show the open study as it stands now."""
        here, review = self._here(), self.session.review
        if here and review is not None:
            now = status_of(here, review.document)
            self._studies = tuple(now if study.study == here else study for study in self._studies)
        self._show_rows()

    def _show_rows(self) -> None:
        here, names = self._here(), self._openable()
        self.tree.clear()
        for place, study in enumerate(self._studies):
            item = QTreeWidgetItem([study.study, study.state, f"{study.decided} of {study.planned}", study.word,
                                    study.reason])
            item.setData(0, _PLACE, place)
            item.setToolTip(4, study.reason)
            item.setDisabled(not study.has_plan)
            self.tree.addTopLevelItem(item)
            if study.study == here:
                bold = QFont()
                bold.setBold(True)
                for column in range(len(COLUMNS)):
                    item.setFont(column, bold)
                self.tree.setCurrentItem(item)
        at = names.index(here) if here in names else -1
        self.back_button.setEnabled(at > 0)
        self.next_button.setEnabled(bool(names) and at + 1 < len(names))
        if self.folder is not None:
            self.words.setText(f"{BatchStatus(self._studies).sentence}. Nothing proposed first, then by doubt.")
