"""Correcting the anatomy: name, landmarks, a vertebra that is none, a target by hand. Computed beside the window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QWidget

from imaging.geometry import Side
from planner.review import Review
from segmentation.anatomy import LandmarkName, Level, Nerve, carrier_of
from segmentation.engine import Progress
from segmentation.spine import Vertebra
from viewer.anatomy_words import (
    drop_words,
    field_problem,
    landmark_side,
    landmark_title,
    landmark_words,
    placeable_nerves,
    possible_levels,
    relabel_words,
    side_problem,
    target_words,
)
from viewer.confirm import choice, confirmed, offer
from viewer.editing import Editor
from viewer.place_vertebra import PlaceVertebra

__all__ = ["AnatomyPanel", "AnatomyStep"]

#: Records an edit of the anatomy: the review, who, in which role, progress.
AnatomyStep = Callable[[Review, str, str, Progress], None]
_LANDMARKS = tuple(LandmarkName)


class AnatomyPanel(QWidget):
    """Chooses a vertebra, by the cross-hair or from the list, and asks for edits of it."""

    asked = Signal(str, object)
    """What is being done, in words, and the `AnatomyStep` that does it."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor, self.session = editor, editor.session
        self.marking = self.session.marking
        self._label: int | None = None
        self._looked = self.session.crosshair
        self._of_bone = QLabel()
        self.vertebra, self.level = choice("vertebra"), choice("level", "choose a level")
        self.landmark, self.nerve = choice("landmark", "choose a landmark"), choice("nerve", "choose a nerve")
        self.side, self.placing = choice("side", "LEFT or RIGHT"), PlaceVertebra(editor)
        self.landmark.addItems([landmark_title(name) for name in _LANDMARKS])
        self.side.addItems([side.value for side in Side])
        for box in (self.landmark, self.side):
            box.setCurrentIndex(-1)
        self.relabel_button, self.drop_button = QPushButton("Relabel the column ..."), QPushButton("It is none ...")
        self.landmark_button, self.target_button = QPushButton("Put it here ..."), QPushButton("Place it here ...")
        self._lay_out()
        self.vertebra.activated.connect(self._look_at_vertebra)
        self.landmark.currentIndexChanged.connect(self._choose_landmark)
        for box in (self.level, self.nerve, self.side):
            box.currentTextChanged.connect(self._say_what_can_be_done)
        for button, ask in ((self.relabel_button, self.relabel), (self.drop_button, self.drop),
                            (self.landmark_button, self.put_landmark), (self.target_button, self.place_target)):
            button.clicked.connect(ask)
        self.placing.asked.connect(self.asked)
        self.marking.changed.connect(self._show_landmark)
        self.marking.let_go.connect(self.put_landmark)
        session = self.session
        for signal in (session.plan_changed, session.review_changed, session.crosshair_changed, editor.ready_changed):
            signal.connect(self.show_vertebra)
        self.show_vertebra()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.addWidget(QLabel("at the cross-hair"), 0, 0)
        grid.addWidget(self.vertebra, 0, 1, 1, 2)
        grid.addWidget(self.drop_button, 0, 3)
        grid.addWidget(QLabel("is really"), 1, 0)
        grid.addWidget(self.level, 1, 1, 1, 2)
        grid.addWidget(self.relabel_button, 1, 3)
        grid.addWidget(self._of_bone, 2, 0)
        grid.addWidget(self.landmark, 2, 1, 1, 2)
        grid.addWidget(self.landmark_button, 2, 3)
        grid.addWidget(QLabel("a target of the"), 3, 0)
        grid.addWidget(self.nerve, 3, 1)
        grid.addWidget(self.side, 3, 2)
        grid.addWidget(self.target_button, 3, 3)
        grid.addWidget(self.placing, 4, 0, 1, 4)
        grid.setColumnStretch(1, 1)
        grid.setRowStretch(grid.rowCount(), 1)

    # the vertebra

    def show_vertebra(self) -> None:
        """Show the vertebra at the cross-hair and what can be done with it."""
        plan, chosen = self.session.plan, self.session.vertebra
        names = [] if plan is None else [v.name for v in plan.spine.vertebrae]
        offer(self.vertebra, names, "" if chosen is None else chosen.name)
        levels = () if plan is None or chosen is None else possible_levels(plan, chosen)
        said = self.level.currentText() if chosen is not None and chosen.label == self._label else ""
        self._label = None if chosen is None else chosen.label
        offer(self.level, [level.value for level in levels], said)
        nerves = () if plan is None else placeable_nerves(plan)
        offer(self.nerve, [nerve.value for nerve in nerves], self.nerve.currentText())
        self._say_what_can_be_done()

    def _say_what_can_be_done(self) -> None:
        idle = self.session.vertebra is not None and not self.editor.busy
        self.relabel_button.setEnabled(idle and bool(self.level.currentText()))
        self.drop_button.setEnabled(idle)
        plan = self.session.plan
        level = "" if self.marking.landmark is None else self.marking.landmark[0]
        there = plan is not None and plan.spine.vertebra(level) is not None
        self._of_bone.setText(f"landmark of {level}" if there else "its landmark")
        self.landmark_button.setEnabled(idle and there)
        self.target_button.setEnabled(idle and bool(self.nerve.currentText()) and bool(self.side.currentText()))

    def _look_at_vertebra(self, row: int) -> None:
        """Bring the cross-hair to a vertebra chosen from the list."""
        plan = self.session.plan
        if plan is not None:
            self.marking.choose_landmark("", None)
            self.session.look_at(plan.spine.vertebrae[row].body_center)

    def _show_landmark(self) -> None:
        """Show which landmark is chosen; none after another plan was opened."""
        chosen = self.marking.landmark
        offer(self.landmark, [landmark_title(name) for name in _LANDMARKS],
              "" if chosen is None else landmark_title(chosen[1]))
        self._say_what_can_be_done()

    def _choose_landmark(self, row: int) -> None:
        """A landmark of the vertebra at the cross-hair, and of no other wherever the cross-hair goes from here.

        While the cross-hair is where the landmark chosen before has brought it, the bone stays: a tip may lie nearer to
        another body than to its own.
        """
        chosen = self._bone_looked_at() or self.session.vertebra
        if chosen is None or row < 0:
            return
        self.marking.choose_landmark(chosen.name, _LANDMARKS[row])
        mark = chosen.landmarks.get(_LANDMARKS[row])
        if mark is not None:
            self.session.look_at(mark.position)
        self._looked = self.session.crosshair

    def _bone_looked_at(self) -> Vertebra | None:
        """The bone of the landmark chosen, where the cross-hair has not moved since it was."""
        plan, marked = self.session.plan, self.marking.landmark
        if plan is None or marked is None or not np.array_equal(self._looked, self.session.crosshair):
            return None
        return plan.spine.vertebra(marked[0])

    # edits

    def relabel(self) -> None:
        """Say what the vertebra is; the whole column follows in one step."""
        plan, chosen = self.session.plan, self.session.vertebra
        if plan is None or chosen is None or not self.level.currentText() or not self.editor.may_record():
            return
        level, statement = Level(self.level.currentText()), f"{chosen.name}={self.level.currentText()}"
        lines = relabel_words(plan, chosen, level, self.editor.who)
        if confirmed(f"{chosen.name} is {level.value}", lines, "Relabel", self):
            self.asked.emit(f"relabelling the column, {statement}", _relabelling(statement))

    def drop(self) -> None:
        """Take the vertebra at the cross-hair off the list."""
        plan, chosen = self.session.plan, self.session.vertebra
        if plan is None or chosen is None or not self.editor.may_record():
            return
        if confirmed(f"{chosen.name} is no vertebra", drop_words(plan, chosen, self.editor.who), "Drop", self):
            level = chosen.name
            self.asked.emit(f"dropping {level}", lambda review, who, role, tell: review.drop_vertebra(
                level, who, role, progress=tell))

    def put_landmark(self) -> None:
        """Put the chosen landmark of its vertebra at the cross-hair."""
        plan, here, marked = self.session.plan, self.session.crosshair, self.marking.landmark
        if plan is None or marked is None:
            return
        chosen, name = plan.spine.vertebra(marked[0]), marked[1]
        if chosen is None or not self._may_place(chosen, landmark_side(name)):
            return
        lines = landmark_words(plan, chosen, name, here, self.editor.who)
        if confirmed(f"{landmark_title(name)} of {chosen.name}", lines, "Put it here", self):
            level = chosen.name
            self.asked.emit(f"placing {landmark_title(name)} of {level}", lambda review, who, role, tell: (
                review.move_landmark(level, name, here, who, role, progress=tell)))

    def place_target(self) -> None:
        """Place a target of the chosen nerve and side at the cross-hair."""
        plan, here = self.session.plan, self.session.crosshair
        if plan is None or not self.nerve.currentText() or not self.side.currentText():
            return
        nerve, side = Nerve(self.nerve.currentText()), Side(self.side.currentText())
        bone = plan.spine.vertebra(carrier_of(nerve).value)
        if bone is None or not self._may_place(bone, side):
            return
        lines = target_words(plan, nerve, side, here, self.editor.who)
        if confirmed(f"Target of the {nerve.value}, {side.value}", lines, "Place it here", self):
            self.asked.emit(f"searching needles for the {nerve.value}, {side.value}", lambda review, who, role, tell: (
                review.place_target(nerve, side, here, who, role, progress=tell)))

    def _may_place(self, bone: Vertebra, side: Side | None) -> bool:
        """Whether the cross-hair can belong to that side of the bone and a step can be recorded; says why not."""
        plan, here = self.session.plan, self.session.crosshair
        problem = "" if plan is None else field_problem(plan, here) or side_problem(bone, side, here)
        if problem:
            self.editor.refused.emit(problem)
        return not problem and self.editor.may_record()


def _relabelling(statement: str) -> AnatomyStep:
    def step(review: Review, who: str, role: str, tell: Progress) -> None:
        review.relabel(statement, who, role, progress=tell)
    return step
