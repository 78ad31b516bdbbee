"""The table of targets: one row per target in whole words, its alternatives folded below it."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor, QFont
from qtpy.QtWidgets import QCheckBox, QHeaderView, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from planner.pictures import SIDE_COLOR
from planner.words import CONFIDENCE_HEADING, carm_short, clearance_words, dial_row
from targeting.model import ConfidenceWord, Placement, Proposal, best_placement
from viewer.model import Session

__all__ = ["COLUMNS", "TargetTable"]

COLUMNS = ("nerve", "bone", "side", "joints", CONFIDENCE_HEADING, "state", "smallest clearance")
_TARGET, _RANK, _STANDS = (Qt.ItemDataRole.UserRole + n for n in range(3))
#: What the columns state and smallest clearance say while the needle is moved and not kept.
_STANDING = {5: "moved, not kept", 6: "see the needle below"}
_DOUBT_COLOR = {ConfidenceWord.HIGH: "#7ddc7d", ConfidenceWord.MEDIUM: "#ffd24d", ConfidenceWord.LOW: "#ff7a66"}


class TargetTable(QWidget):
    """Chooses the target and, unfolded, one of its alternatives."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self._moved = ""
        self.doubt = QCheckBox("only targets in doubt (not HIGH, or nothing proposed)")
        self.tree = QTreeWidget()
        self.tree.setColumnCount(len(COLUMNS))
        self.tree.setHeaderLabels(list(COLUMNS))
        self.tree.setUniformRowHeights(True)
        self.tree.setAccessibleName("targets")
        self.tree.setMinimumHeight(170)
        self.tree.setStyleSheet("font-size: 8pt;")  # all seven columns of it in the panel's width
        self.tree.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.doubt)
        column.addWidget(self.tree)
        self.doubt.toggled.connect(self._filter)
        self.tree.currentItemChanged.connect(self._choose)
        session.plan_changed.connect(self.fill)
        session.review_changed.connect(self.fill)
        session.target_changed.connect(self._mark_current)
        session.needle_changed.connect(self._mark_moved)
        self.fill()

    def fill(self) -> None:
        """Read every row from the session again, keeping what is unfolded."""
        open_ids = {item.data(0, _TARGET) for item in self._items() if item.isExpanded()}
        self.tree.blockSignals(True)
        self._moved = ""
        self.tree.clear()
        for proposal in self.session.proposals:
            item = self._row(proposal)
            self.tree.addTopLevelItem(item)
            item.setExpanded(proposal.target.id in open_ids)
        self.tree.blockSignals(False)
        self._filter()
        self._mark_current()
        self._mark_moved()

    def _row(self, proposal: Proposal) -> QTreeWidgetItem:
        row, target = dial_row(proposal), proposal.target
        placement = best_placement(proposal)
        clearance = row.reason if placement is None else clearance_words(placement)
        assert self.session.plan is not None
        review = self.session.plan.review(target.id)
        state = review.state.value + (", locked" if review.locked else "")
        item = QTreeWidgetItem([row.nerve, row.bone, row.side.value, row.joints, f"{row.confidence_word} "
                                f"{row.confidence}", state, clearance])
        item.setData(0, _TARGET, target.id)
        item.setToolTip(0, target.sentence)
        item.setToolTip(6, clearance)
        for column in _STANDING:
            item.setData(column, _STANDS, item.text(column))
        bold = QFont()
        bold.setBold(True)
        item.setFont(2, bold)
        item.setForeground(2, QBrush(QColor(SIDE_COLOR[row.side])))
        item.setForeground(4, QBrush(QColor(_DOUBT_COLOR[ConfidenceWord(row.confidence_word)])))
        item.setToolTip(4, "\n".join(target.reasons))
        for alternative in proposal.placements:
            item.addChild(self._alternative(target.id, alternative))
        return item

    def _mark_moved(self) -> None:
        """A needle moved and not kept: its row says so in place of figures of where it was."""
        target, draft = self.session.target, self.session.draft
        moved = "" if target is None or draft is None else target.id
        if moved == self._moved:
            return
        for item in self._items():
            if item.data(0, _TARGET) == self._moved:
                for column in _STANDING:
                    item.setText(column, item.data(column, _STANDS))
            elif item.data(0, _TARGET) == moved:
                for column, words in _STANDING.items():
                    item.setText(column, words)
        self._moved = moved

    def _alternative(self, target_id: str, placement: Placement) -> QTreeWidgetItem:
        pose = placement.needles[0]
        depth = "skin not in view" if pose.length_mm is None else f"{pose.length_mm:.0f} mm deep"
        item = QTreeWidgetItem([f"alternative {placement.rank}", carm_short(pose.carm), "", depth, "", "",
                                clearance_words(placement)])
        item.setData(0, _TARGET, target_id)
        item.setData(0, _RANK, placement.rank)
        item.setToolTip(1, placement.why)
        return item

    def _items(self) -> list[QTreeWidgetItem]:
        return [self.tree.topLevelItem(n) for n in range(self.tree.topLevelItemCount())]

    def _filter(self) -> None:
        """Hide what is not in doubt, where that is asked for; the chosen target always stays."""
        chosen = self.session.target
        doubtful = {p.target.id for p in self.session.proposals if self.session.in_doubt(p)}
        for item in self._items():
            target_id = item.data(0, _TARGET)
            keep = target_id in doubtful or (chosen is not None and chosen.id == target_id)
            item.setHidden(self.doubt.isChecked() and not keep)

    def _choose(self, item: QTreeWidgetItem | None) -> None:
        if item is None:
            return
        target_id, rank = item.data(0, _TARGET), item.data(0, _RANK)
        if self.session.target is None or self.session.target.id != target_id:
            self.session.choose_target(target_id)
        if rank is not None:
            self.session.show_alternative(int(rank))

    def _mark_current(self) -> None:
        target = self.session.target
        current = self.tree.currentItem()
        if target is None or (current is not None and current.data(0, _TARGET) == target.id):
            return
        for item in self._items():
            if item.data(0, _TARGET) == target.id:
                self.tree.blockSignals(True)
                self.tree.setCurrentItem(item)
                self.tree.blockSignals(False)
