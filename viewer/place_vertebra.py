"""Placing a vertebra that was not found: a level, three points at the cross-hair, and whether it is meant."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QWidget

from imaging.errors import UsageError
from segmentation.byhand import frame_from_points
from viewer.anatomy_words import field_problem, placeable_levels, vertebra_words
from viewer.confirm import choice, confirmed, offer
from viewer.editing import Editor
from viewer.marking import BodyPoint

__all__ = ["PlaceVertebra"]

_POINTS = tuple(BodyPoint)


class PlaceVertebra(QWidget):
    """Sets the points of a vertebra one after another, each where the cross-hair is, and asks for the vertebra."""

    asked = Signal(str, object)
    """What is being done, in words, and the `viewer.anatomy.AnatomyStep` that does it."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        self.marking = self.session.marking
        self.level, self.point = choice("level to place", "choose a level"), choice("point of the vertebra")
        self.point.addItems([point.value for point in _POINTS])
        self.point_button, self.place_button = QPushButton("Set it here"), QPushButton("Place it ...")
        self.said = QLabel()
        self.said.setWordWrap(True)
        self._lay_out()
        self.level.currentTextChanged.connect(self.show_state)
        self.point_button.clicked.connect(self.set_point)
        self.place_button.clicked.connect(self.place)
        for signal in (self.session.plan_changed, self.session.review_changed, self.marking.changed,
                       editor.ready_changed):
            signal.connect(self.show_state)
        self.marking.changed.connect(self._offer_next)
        self.show_state()

    def _offer_next(self) -> None:
        """Choose the first point that is not set, once the one chosen is or all are forgotten."""
        points = self.marking.points
        missing = [n for n, point in enumerate(_POINTS) if point not in points]
        if missing and (not points or _POINTS[self.point.currentIndex()] in points):
            self.point.setCurrentIndex(missing[0])

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(QLabel("a vertebra not found"), 0, 0)
        grid.addWidget(self.level, 0, 1)
        grid.addWidget(self.place_button, 0, 3)
        grid.addWidget(QLabel("its points, in its midline"), 1, 0)
        grid.addWidget(self.point, 1, 1, 1, 2)
        grid.addWidget(self.point_button, 1, 3)
        grid.addWidget(self.said, 2, 0, 1, 4)
        grid.setColumnStretch(1, 1)

    def show_state(self) -> None:
        """Offer the levels that are not there, and say which points are still to be set."""
        plan = self.session.plan
        levels = () if plan is None else placeable_levels(plan)
        offer(self.level, [level.value for level in levels], self.level.currentText())
        idle = plan is not None and not self.editor.busy
        missing = [point.value for point in _POINTS if point not in self.marking.points]
        self.point_button.setEnabled(idle and bool(levels))
        self.place_button.setEnabled(idle and not missing and bool(self.level.currentText()))
        if plan is not None and not levels:
            self.said.setText("levels here are only counted: say above what one of them really is, then place others")
        else:
            self.said.setText(f"not set: {', '.join(missing)}" if self.marking.points and missing else "")

    def set_point(self) -> None:
        """Set the point chosen where the cross-hair is; the next one that is not set is offered."""
        plan = self.session.plan
        problem = "" if plan is None else field_problem(plan, self.session.crosshair)
        if problem:
            self.editor.refused.emit(problem)
            return
        self.marking.set_point(_POINTS[self.point.currentIndex()], self.session.crosshair)

    def place(self) -> None:
        """Ask whether the vertebra is meant, with the words of what follows from it."""
        plan, level, points = self.session.plan, self.level.currentText(), self.marking.points
        if plan is None or not level or not self.editor.may_record():
            return
        middle = points[BodyPoint.MIDDLE]
        try:
            frame = frame_from_points(points[BodyPoint.FRONT], points[BodyPoint.BACK], middle)
        except UsageError as error:
            self.editor.refused.emit(str(error))
            return
        if confirmed(f"{level} by hand", vertebra_words(plan, level, frame, self.editor.who), "Place it", self):
            self.asked.emit(f"placing {level}", lambda review, who, role, tell: (
                review.place_vertebra(level, frame, middle, who, role, progress=tell)))
