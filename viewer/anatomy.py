"""Correcting the anatomy: say which vertebra this is. What is asked for is computed beside the window."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from planner.review import Review
from segmentation.anatomy import Level
from segmentation.engine import Progress
from viewer.anatomy_words import possible_levels, relabel_words
from viewer.editing import Editor

__all__ = ["AnatomyPanel", "AnatomyStep", "ConfirmDialog"]

#: Records an edit of the anatomy: the review, who, in which role, progress.
AnatomyStep = Callable[[Review, str, str, Progress], None]


class ConfirmDialog(QDialog):
    """Says what an edit will change, and asks whether it is meant.

    Parameters
    ----------
    lines : tuple of str
        What will change, one sentence each.
    act : str
        The word on the button.
    """

    def __init__(self, title: str, lines: tuple[str, ...], act: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(520)
        self.words = QLabel("\n\n".join(lines))
        self.words.setWordWrap(True)
        self.buttons = QDialogButtonBox()
        self.act_button = self.buttons.addButton(act, QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.addButton(QDialogButtonBox.StandardButton.Cancel).setDefault(True)
        column = QVBoxLayout(self)
        column.addWidget(self.words)
        column.addWidget(self.buttons)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)


def _combo(name: str) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    return box


class AnatomyPanel(QWidget):
    """Chooses a vertebra, by the cross-hair or from the list, and asks for edits of it."""

    asked = Signal(str, object)
    """What is being done, in words, and the `AnatomyStep` that does it."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        self._label: int | None = None
        self.vertebra, self.level = _combo("vertebra"), _combo("level")
        self.level.setPlaceholderText("choose a level")
        self.relabel_button = QPushButton("Relabel the column ...")
        self._lay_out()
        self.vertebra.activated.connect(self._look_at_vertebra)
        self.level.currentTextChanged.connect(self._say_what_can_be_done)
        self.relabel_button.clicked.connect(self.relabel)
        session = self.session
        for signal in (session.plan_changed, session.review_changed, session.crosshair_changed, editor.ready_changed):
            signal.connect(self.show_vertebra)
        self.show_vertebra()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.addWidget(QLabel("vertebra at the cross-hair"), 0, 0)
        grid.addWidget(self.vertebra, 0, 1)
        grid.addWidget(QLabel("is really"), 1, 0)
        grid.addWidget(self.level, 1, 1)
        grid.addWidget(self.relabel_button, 1, 2)
        grid.setColumnStretch(1, 1)
        grid.setRowStretch(grid.rowCount(), 1)

    # the vertebra

    def show_vertebra(self) -> None:
        """Show the vertebra at the cross-hair and what can be done with it."""
        plan, chosen = self.session.plan, self.session.vertebra
        names = [] if plan is None else [v.name for v in plan.spine.vertebrae]
        _fill(self.vertebra, names, "" if chosen is None else chosen.name)
        levels = () if plan is None or chosen is None else possible_levels(plan, chosen)
        said = self.level.currentText() if chosen is not None and chosen.label == self._label else ""
        self._label = None if chosen is None else chosen.label
        _fill(self.level, [level.value for level in levels], said)
        self._say_what_can_be_done()

    def _say_what_can_be_done(self) -> None:
        self.relabel_button.setEnabled(bool(self.level.currentText()) and not self.editor.busy)

    def _look_at_vertebra(self, row: int) -> None:
        """Bring the cross-hair to a vertebra chosen from the list."""
        plan = self.session.plan
        if plan is not None:
            self.session.look_at(plan.spine.vertebrae[row].body_center)

    # edits

    def relabel(self) -> None:
        """Say what the vertebra is; the whole column follows in one step."""
        plan, chosen = self.session.plan, self.session.vertebra
        if plan is None or chosen is None or not self.level.currentText() or not self.editor.may_record():
            return
        level, statement = Level(self.level.currentText()), f"{chosen.name}={self.level.currentText()}"
        lines = relabel_words(plan, chosen, level, self.editor.who)
        if self._confirmed(f"{chosen.name} is {level.value}", lines, "Relabel"):
            self.asked.emit(f"relabelling the column, {statement}", _relabelling(statement))

    def _confirmed(self, title: str, lines: tuple[str, ...], act: str) -> bool:
        return bool(ConfirmDialog(title, lines, act, self).exec() == QDialog.DialogCode.Accepted)


def _relabelling(statement: str) -> AnatomyStep:
    def step(review: Review, who: str, role: str, tell: Progress) -> None:
        review.relabel(statement, who, role, progress=tell)
    return step


def _fill(box: QComboBox, names: list[str], chosen: str) -> None:
    """Offer names; the chosen one is shown where it is among them, else none is."""
    with QSignalBlocker(box):
        if [box.itemText(n) for n in range(box.count())] != names:
            box.clear()
            box.addItems(names)
        box.setCurrentIndex(box.findText(chosen))
