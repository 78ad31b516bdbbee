"""All flat views in one dock: the orthogonal ones above, those that follow the needle below."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from viewer.editing import Editor
from viewer.fluoro_view import FluoroView
from viewer.needle_views import NeedleViews
from viewer.orthoviews import OrthoViews
from viewer.settings import settings

__all__ = ["FlatViews"]


class FlatViews(QWidget):
    """The flat views of a session with the choice of grey window."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session = editor.session
        self.ortho = OrthoViews(editor)
        self.needle = NeedleViews(editor)
        self.fluoro = FluoroView(editor)
        self.window = QComboBox()
        self.window.setAccessibleName("grey window")
        self._presets = list(settings().windows.values())
        self.window.addItems([f"{w.title} ({w.low:.0f} to {w.high:.0f} HU)" for w in self._presets])
        self.shown = QLabel()
        bar = QHBoxLayout()
        bar.addWidget(QLabel("Window"))
        bar.addWidget(self.window)
        bar.addWidget(self.shown)
        bar.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 2, 2, 2)
        column.setSpacing(2)
        column.addLayout(bar)
        column.addWidget(self.ortho, 1)
        below = QHBoxLayout()
        below.setSpacing(2)
        below.addWidget(self.needle, 2)
        below.addWidget(self.fluoro, 1)
        column.addLayout(below, 1)
        self.setMinimumWidth(640)
        self.window.activated.connect(lambda n: session.set_window(self._presets[n]))
        session.window_changed.connect(self._say_window)
        self._say_window()

    def _say_window(self) -> None:
        now = self.session.window
        self.window.setCurrentIndex(self._presets.index(now) if now in self._presets else -1)
        unit = " HU" if self.session.plan is None or self.session.plan.volume is None or (
            self.session.plan.volume.modality == "CT") else ""
        self.shown.setText(f"{now.title}: {now.low:.0f} to {now.high:.0f}{unit}")
