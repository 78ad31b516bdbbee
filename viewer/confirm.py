"""What the tabs of the review window share: the question whether an edit is meant, and lists that do not widen them."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

__all__ = ["ConfirmDialog", "choice", "confirmed", "offer"]

#: Letters that a list shows at least.
_SHORTEST = 8


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


def confirmed(title: str, lines: tuple[str, ...], act: str, parent: QWidget) -> bool:
    """Ask, and wait for the answer."""
    return bool(ConfirmDialog(title, lines, act, parent).exec() == QDialog.DialogCode.Accepted)


def choice(name: str, words: str = "") -> QComboBox:
    """An empty list with its accessible name, and the words it shows while nothing is chosen."""
    box = QComboBox()
    box.setAccessibleName(name)
    box.setPlaceholderText(words)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(_SHORTEST)
    return box


def offer(box: QComboBox, names: list[str], chosen: str) -> None:
    """Offer names; the chosen one is shown where it is among them, else none is. Says nothing to who listens."""
    with QSignalBlocker(box):
        if [box.itemText(n) for n in range(box.count())] != names:
            box.clear()
            box.addItems(names)
        box.setCurrentIndex(box.findText(chosen))
