"""Deciding on a target: who acts, approve with the side typed and every unmet limit overridden by a reason, reject."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from imaging.errors import NerveplanError
from planner.approval import Limit
from planner.pictures import SIDE_COLOR
from planner.plan import TargetState
from planner.words import clearance_words
from targeting.model import Placement, Target
from viewer.editing import Editor

__all__ = ["ApproveDialog", "DecisionBar", "RejectDialog"]

_IDENTITY = "Recorded as typed; a typed name is not an identity."


def _heading(target: Target) -> QLabel:
    label = QLabel(f'<b style="color:{SIDE_COLOR[target.side]}">{target.sentence}</b>')
    label.setWordWrap(True)
    return label


class ApproveDialog(QDialog):
    """Asks for the side in words and for a reason beside every limit that is not met.

    Parameters
    ----------
    limits : tuple of Limit
        What must be overridden.
    warnings : tuple of str
        What must be read before.
    """

    def __init__(self, target: Target, placement: Placement, limits: tuple[Limit, ...], warnings: tuple[str, ...],
                 who: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Approve a needle")
        self.setMinimumWidth(560)
        self._target = target
        self.side = QLineEdit()
        self.side.setPlaceholderText("LEFT or RIGHT, the patient's own")
        self.side.setAccessibleName("typed side")
        self.reasons = {limit.name: QLineEdit() for limit in limits}
        self.note = QLabel()
        self.note.setStyleSheet("color: #ff7a66;")
        self.buttons = QDialogButtonBox()
        self.approve_button = self.buttons.addButton("Approve", QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        form = QFormLayout()
        for warning in warnings:
            said = QLabel(warning)
            said.setWordWrap(True)
            said.setStyleSheet("color: #ffd24d;")
            form.addRow("read first", said)
        for limit in limits:
            sentence = QLabel(limit.sentence)
            sentence.setWordWrap(True)
            sentence.setStyleSheet("color: #ff7a66;")
            form.addRow("limit not met", sentence)
            self.reasons[limit.name].setPlaceholderText("why this limit is overridden")
            self.reasons[limit.name].setAccessibleName(f"reason for {limit.name}")
            form.addRow("reason", self.reasons[limit.name])
        form.addRow("type the side", self.side)
        pose = placement.needles[0]
        shown = f"{pose.needle.name}; {clearance_words(placement)} at the nearest; approved by {who}. {_IDENTITY}"
        column = QVBoxLayout(self)
        column.addWidget(_heading(target))
        column.addWidget(QLabel(shown))
        column.addLayout(form)
        column.addWidget(self.note)
        column.addWidget(self.buttons)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        for line in (self.side, *self.reasons.values()):
            line.textChanged.connect(self._check)
        self._check()

    def overrides(self) -> dict[str, str]:
        """The reasons, by the limit's name."""
        return {name: line.text() for name, line in self.reasons.items()}

    def _check(self) -> None:
        """Approve is possible only with the right side and every reason; a wrong side is said."""
        typed = self.side.text().strip().upper()
        right = typed == self._target.side.value
        wrong = typed == self._target.side.other.value
        self.note.setText(f"you typed {typed}: this target lies on the patient's {self._target.side.value}"
                          if wrong else "")
        self.approve_button.setEnabled(right and all(line.text().strip() for line in self.reasons.values()))


class RejectDialog(QDialog):
    """Asks why a target is rejected."""

    def __init__(self, target: Target, who: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Reject a needle")
        self.setMinimumWidth(480)
        self.reason = QLineEdit()
        self.reason.setPlaceholderText("why, in a few words")
        self.reason.setAccessibleName("reason for the rejection")
        self.buttons = QDialogButtonBox()
        self.reject_button = self.buttons.addButton("Reject", QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        column = QVBoxLayout(self)
        column.addWidget(_heading(target))
        column.addWidget(QLabel(f"Rejected by {who}. {_IDENTITY}"))
        column.addWidget(self.reason)
        column.addWidget(self.buttons)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.reason.textChanged.connect(lambda text: self.reject_button.setEnabled(bool(text.strip())))
        self.reject_button.setEnabled(False)


class DecisionBar(QWidget):
    """Who acts, and the buttons of every step that is recorded."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        self.who, self.role = QLineEdit(), QLineEdit()
        self.who.setPlaceholderText("your name")
        self.role.setPlaceholderText("your role")
        self.who.setToolTip(_IDENTITY)
        self.approve_button = QPushButton("Approve ... (Ctrl+Return)")
        self.reject_button = QPushButton("Reject ... (Ctrl+Backspace)")
        self.choose_button = QPushButton("Take this one (T)")
        self.reopen_button = QPushButton("Take decision back")
        self.lock_button, self.undo_button, self.redo_button = (QPushButton() for _ in range(3))
        self._lay_out()
        self.who.textChanged.connect(self._set_person)
        self.role.textChanged.connect(self._set_person)
        for button, step in ((self.approve_button, self.approve), (self.reject_button, self.reject),
                             (self.choose_button, self.editor.choose_shown), (self.reopen_button, self.editor.reopen),
                             (self.lock_button, self.editor.toggle_lock), (self.undo_button, self.editor.undo),
                             (self.redo_button, self.editor.redo)):
            button.clicked.connect(_without_arguments(step))
        for signal in (self.session.target_changed, self.session.needle_changed, self.session.review_changed):
            signal.connect(self.show_state)
        self.show_state()

    def _lay_out(self) -> None:
        self.undo_button.setText("Undo (Ctrl+Z)")
        self.redo_button.setText("Redo (Ctrl+Y)")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        rows = ((self.who, self.role, self.undo_button, self.redo_button),
                (self.choose_button, self.lock_button, self.reopen_button, None),
                (self.approve_button, None, self.reject_button, None))
        for row, widgets in enumerate(rows):
            for column, widget in enumerate(widgets):
                if widget is not None:
                    last = column + 1 >= len(widgets) or widgets[column + 1] is not None
                    grid.addWidget(widget, row, column, 1, 1 if last else 2)

    def _set_person(self) -> None:
        self.editor.who, self.editor.role = self.who.text(), self.role.text()

    def show_state(self) -> None:
        """What can be done now."""
        session, review = self.session, self.session.target_review
        decided = review.state in (TargetState.APPROVED, TargetState.REJECTED)
        placed = session.placement is not None
        proposal = session.proposal
        self.approve_button.setEnabled(placed and not decided)
        self.reject_button.setEnabled(proposal is not None and not decided)
        self.reopen_button.setEnabled(decided)
        self.choose_button.setEnabled(placed and session.shows_another and not review.locked)
        self.lock_button.setEnabled(proposal is not None)
        self.lock_button.setText("Unlock (L)" if review.locked else "Lock (L)")
        opened = session.review
        self.undo_button.setEnabled(session.draft is not None or (opened is not None and opened.can_undo))
        self.redo_button.setEnabled(opened is not None and opened.can_redo)

    def approve(self) -> None:
        """Ask for the side and the reasons, then approve what is shown."""
        session = self.session
        if not self.approve_button.isEnabled() or not self.editor.choose_shown():
            return
        target, placement, review = session.target, session.placement, session.review
        if target is None or placement is None or review is None:
            return
        try:
            limits, warnings = review.limits(target.id), review.warnings(target.id)
        except NerveplanError as error:
            self.editor.refused.emit(str(error))
            return
        if not self.editor.named():
            return
        dialog = ApproveDialog(target, placement, limits, warnings, self.editor.who, self)
        if dialog.exec() == QDialog.DialogCode.Accepted:
            self.editor.approve(dialog.side.text(), dialog.overrides())

    def reject(self) -> None:
        """Ask for the reason, then reject the target shown."""
        target = self.session.target
        if target is None or not self.reject_button.isEnabled() or not self.editor.named():
            return
        dialog = RejectDialog(target, self.editor.who, self)
        if dialog.exec() == QDialog.DialogCode.Accepted:
            self.editor.reject(dialog.reason.text())


def _without_arguments(step: Callable[[], object]) -> Callable[..., None]:
    """A slot that drops what Qt sends along."""
    def slot(*_: object) -> None:
        step()
    return slot
