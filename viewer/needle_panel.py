"""The needle shown, in figures and words: angles to type, clearances in colour, limits broken, capture curve."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from imaging.geometry import carm_words
from imaging.position import depth_words, lying
from planner.pictures import SIDE_COLOR
from planner.words import entry_words, in_plane_words, midline_words, out_of_plane_words
from segmentation.anatomy import StructureName
from targeting.model import NeedlePose, Placement, Target
from viewer.capture_plot import CapturePlot
from viewer.editing import Editor

__all__ = ["NeedlePanel"]

_GOOD, _BAD, _UNKNOWN = "#7ddc7d", "#ff7a66", "#a0a0a0"
_AUTOMATIC = "the one in stock that reaches"


def _angle_box(what: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-90.0, 90.0)
    box.setDecimals(1)
    box.setSingleStep(1.0)
    box.setSuffix(" \N{DEGREE SIGN}")
    box.setKeyboardTracking(False)
    box.setAccessibleName(what)
    return box


class NeedlePanel(QWidget):
    """Figures of the needle shown, live while it is dragged."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        self.title, self.dial, self.broken = QLabel(), QLabel(), QLabel()
        self.oblique, self.tilt = _angle_box("oblique"), _angle_box("tilt")
        self.stock = QComboBox()
        self.stock.setAccessibleName("needle")
        self.snap_button = QPushButton("Tip to bone (B)")
        self.start_button = QPushButton("Place a needle by hand (H)")
        self.clearances = QTableWidget(0, 3)
        self.plot = CapturePlot()
        self._named: set[str] = set()
        self._lay_out()
        self.oblique.valueChanged.connect(self._type_angles)
        self.tilt.valueChanged.connect(self._type_angles)
        self.stock.activated.connect(self._choose_needle)
        self.snap_button.clicked.connect(editor.snap_to_bone)
        self.start_button.clicked.connect(editor.start_needle)
        session = self.session
        for signal in (session.target_changed, session.needle_changed, session.review_changed, editor.ready_changed):
            signal.connect(self.show_needle)
        self.show_needle()

    def _lay_out(self) -> None:
        for label in (self.title, self.dial, self.broken):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.broken.setStyleSheet(f"color: {_BAD}; font-weight: bold;")
        self.clearances.setHorizontalHeaderLabels(["structure", "clearance", "needed"])
        self.clearances.verticalHeader().setVisible(False)
        self.clearances.verticalHeader().setDefaultSectionSize(19)
        self.clearances.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.clearances.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.clearances.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.clearances.setAccessibleName("clearances")
        self.clearances.setMinimumHeight(110)
        header = self.clearances.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        grid = QGridLayout()
        typed = (("oblique, + lateral", self.oblique), ("tilt, + to the head", self.tilt), ("needle", self.stock))
        for column, (word, widget) in enumerate(typed):
            grid.addWidget(QLabel(word), 0, column)
            grid.addWidget(widget, 1, column)
        grid.addWidget(self.snap_button, 1, 3)
        grid.setColumnStretch(2, 1)
        column_layout = QVBoxLayout(self)
        column_layout.setContentsMargins(0, 0, 0, 0)
        column_layout.addWidget(self.title)
        column_layout.addLayout(grid)
        rows = ((self.dial, 0), (self.start_button, 0), (self.broken, 0), (self.clearances, 3), (self.plot, 1))
        for widget, stretch in rows:
            column_layout.addWidget(widget, stretch)

    # showing

    def show_needle(self) -> None:
        """Show the session's needle."""
        session = self.session
        target, placement = session.target, session.placement
        self._enable(self.editor.can_move)
        if target is None:
            for label in (self.title, self.dial, self.broken):
                label.clear()
            self._show_clearances(None)
            self.plot.show_curve((), ())
            return
        hand = f"; target placed by {escape(target.placed_by)}" if target.placed_by else ""
        self.title.setText(f'<b style="color:{SIDE_COLOR[target.side]}">{target.sentence}</b>{hand}')
        self._show_stock()
        if placement is None:
            proposal = session.proposal
            self.dial.setText("" if proposal is None else f"nothing is proposed: {proposal.reason}")
            self.broken.clear()
            self._show_clearances(None)
            self.plot.show_curve((), ("no needle",))
            return
        pose = placement.needles[0]
        with QSignalBlocker(self.oblique), QSignalBlocker(self.tilt):
            self.oblique.setValue(pose.oblique_deg)
            self.tilt.setValue(pose.tilt_deg)
        position = "" if session.plan is None else session.plan.study.patient_position
        self.dial.setText(_dial_words(pose, target, position))
        self.broken.setText("\n".join(limit.sentence for limit in placement.broken))
        self._show_clearances(placement)
        self.plot.show_curve(placement.capture, placement.capture_assumptions)

    def _enable(self, can_edit: bool) -> None:
        for widget in (self.oblique, self.tilt, self.stock, self.snap_button):
            widget.setEnabled(can_edit)
        self.start_button.setVisible(self.editor.can_start)

    def _show_stock(self) -> None:
        names = [_AUTOMATIC, *(needle.name for needle in self.editor.stock)]
        if [self.stock.itemText(n) for n in range(self.stock.count())] != names:
            self.stock.clear()
            self.stock.addItems(names)
        wanted = self.editor.needle_wish
        self.stock.setCurrentIndex(0 if wanted is None else names.index(wanted.name))

    def _show_clearances(self, placement: Placement | None) -> None:
        rows, table, widths = [] if placement is None else _clearance_rows(placement), self.clearances, False
        if table.rowCount() != len(rows):
            table.setRowCount(len(rows))
        with QSignalBlocker(table.model()):  # it lays out the table anew at every word; here once is enough
            for n, row in enumerate(rows):
                widths |= self._show_clearance(n, row)
        if widths and {row[0] for row in rows} != self._named:
            self._named = {row[0] for row in rows}
            for column in (0, 2):
                table.resizeColumnToContents(column)
        table.viewport().update()

    def _show_clearance(self, n: int, row: tuple[str, str, str, str, str]) -> bool:
        """Show one structure; whether anything of it is another than before."""
        *texts, color, why = row
        changed = False
        for column, text in enumerate(texts):
            item = self.clearances.item(n, column)
            if item is None:
                item = QTableWidgetItem()
                self.clearances.setItem(n, column, item)
            if (item.text(), item.toolTip(), item.foreground().color().name()) != (text, why, color):
                item.setText(text)
                item.setForeground(QBrush(QColor(color)))
                item.setToolTip(why)
                changed = True
        return changed

    # typing

    def _type_angles(self) -> None:
        self.editor.set_angles(self.oblique.value(), self.tilt.value())

    def _choose_needle(self, index: int) -> None:
        self.editor.set_needle(None if index == 0 else self.editor.stock[index - 1])


def _dial_words(pose: NeedlePose, target: Target, position: str) -> str:
    """What is dialled, in the words of the report."""
    depth = ("entry and depth unknown: the skin is not in view" if pose.length_mm is None
             else f"{pose.length_mm:.0f} mm deep, {depth_words(position)}"
             + ("" if lying(position) == "prone" else "; prone depth is usually greater"))
    return (f"C-arm, prone: {carm_words(pose.carm)}\n"
            f"CT: {in_plane_words(pose.ct.in_plane_deg)}; {out_of_plane_words(pose.ct.out_of_plane_deg)}\n"
            f"{pose.needle.name}, {depth}\n"
            f"entry from the midline: {midline_words(pose, target.side)}; against the tip: {entry_words(pose)}")


def _clearance_rows(placement: Placement) -> list[tuple[str, str, str, str, str]]:
    """Structure, clearance, needed, colour, why: broken margins first, then the nearest, then what is unknown."""
    rows = []
    for name in StructureName:
        if name not in placement.clearance_mm:
            continue
        value, margin = placement.clearance_mm[name], placement.margins_mm.get(name)
        why = placement.clearance_reason.get(name, "")
        needed = "" if margin is None else f"{margin:.1f} mm"
        words = name.value.replace("_", " ")
        if value is None:
            rows.append((2, 0.0, (words, why or "not computed", needed, _UNKNOWN, why)))
        else:
            broken = margin is not None and value < margin
            rows.append((0 if broken else 1, value, (words, f"{value:.1f} mm", needed, _BAD if broken else _GOOD,
                                                     "less than the procedure asks for" if broken else "")))
    return [row for _, _, row in sorted(rows, key=lambda entry: entry[:2])]
