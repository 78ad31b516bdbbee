"""The session: what is open, which target and needle are shown, where the views look. No window toolkit in here.

Windows connect to the signals and draw what the session says. What a person does to the plan goes through
`viewer.editing.Editor`, which records it with `planner.review.Review`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from imaging.errors import UsageError
from planner.plan import WATERMARK, Plan, TargetReview, TargetState
from planner.review import Review
from segmentation.spine import Vertebra
from targeting.model import (
    ConfidenceWord,
    Evaluation,
    NeedlePose,
    Placement,
    Proposal,
    ProposalStatus,
    Target,
    best_placement,
    confidence_word,
)
from targeting.radiograph import Attenuation
from viewer.looking import first_window, middle, vertebra_at
from viewer.marking import Marking
from viewer.settings import Window, settings
from viewer.slices import Slicer

__all__ = ["Session"]

Array = NDArray[np.float64]
_ANATOMY = ("levels", "landmarks", "nerve_courses", "targets")


class Session:
    """One open plan and what is being looked at.

    Attributes
    ----------
    review : Review or None
        The open plan folder; every step on it is saved at once.
    slicer : Slicer or None
        Cuts pictures of the open study.
    attenuation : Attenuation or None
        The scan prepared for simulated fluoroscopy, once it is.
    draft : Evaluation or None
        The needle of the chosen target while it is moved and not yet kept.
    marking : Marking
        The landmark chosen, and the points of a vertebra on their way.
    """

    plan_changed = Signal()
    """Another plan is open, or none."""
    review_changed = Signal()
    """A step was recorded: placements, states or locks may be others."""
    anatomy_changed = Signal()
    """The step changed vertebrae, landmarks, courses or targets: what was measured on them no longer holds."""
    target_changed = Signal()
    """Another target is shown."""
    needle_changed = Signal()
    """The needle shown is another or lies elsewhere."""
    crosshair_changed = Signal()
    window_changed = Signal()

    def __init__(self) -> None:
        self.review: Review | None = None
        self.slicer: Slicer | None = None
        self.draft: Evaluation | None = None
        self.attenuation: Attenuation | None = None
        self.marking = Marking()
        self._target_id = ""
        self._rank: int | None = None
        self._anatomy: tuple[Any, ...] = ()
        self._crosshair: Array = np.zeros(3)
        self._window = next(iter(settings().windows.values()))

    # the plan

    def open(self, review: Review) -> None:
        """Show a plan; its first target is chosen."""
        plan = review.plan
        self.review, self.slicer, self.draft = review, Slicer(plan.volume, plan.spine), None
        self.attenuation = None
        self._target_id, self._rank, self._anatomy = "", None, _anatomy_of(review)
        self._window = first_window(plan)
        self._crosshair = middle(plan)
        self.marking.clear()
        self.plan_changed.emit()
        self.window_changed.emit()
        if plan.proposals:
            self.choose_target(plan.proposals[0].target.id)
        else:
            self.target_changed.emit()
            self.crosshair_changed.emit()

    def close(self) -> None:
        """Let go of the plan and everything made from it."""
        self.review = self.slicer = self.draft = self.attenuation = None
        self._target_id, self._rank, self._anatomy = "", None, ()
        self.marking.clear()
        self.plan_changed.emit()
        self.target_changed.emit()

    def recorded(self) -> None:
        """Take in a step that the review has recorded: the placement that stands is shown again."""
        self.draft, self._rank = None, None
        if self.plan is not None and self.slicer is not None and self.plan.spine is not self.slicer.spine:
            self.slicer = self.slicer.with_spine(self.plan.spine)
        if self.proposal is None and self.proposals:
            self._target_id = self.proposals[0].target.id
        self.review_changed.emit()
        self.needle_changed.emit()
        anatomy = () if self.review is None else _anatomy_of(self.review)
        if anatomy != self._anatomy:
            self._anatomy = anatomy
            self.marking.forget_points()
            self.anatomy_changed.emit()

    @property
    def plan(self) -> Plan | None:
        """The open plan as it stands."""
        return None if self.review is None else self.review.plan

    @property
    def folder(self) -> Path | None:
        """Where the open plan is kept."""
        return None if self.review is None else self.review.folder

    # what is shown

    @property
    def proposals(self) -> Sequence[Proposal]:
        """The plan's proposals; empty without a plan."""
        plan = self.plan
        return () if plan is None else plan.proposals

    @property
    def proposal(self) -> Proposal | None:
        """The proposal of the target shown."""
        return self._proposal_of(self._target_id)

    def _proposal_of(self, target_id: str) -> Proposal | None:
        return next((p for p in self.proposals if p.target.id == target_id), None)

    @property
    def target(self) -> Target | None:
        """The target shown."""
        proposal = self.proposal
        return None if proposal is None else proposal.target

    @property
    def target_review(self) -> TargetReview:
        """What people said about the target shown."""
        plan = self.plan
        return TargetReview() if plan is None else plan.review(self._target_id)

    @property
    def placement(self) -> Placement | None:
        """The placement shown: the one being moved, else the alternative looked at, else the one that stands."""
        proposal = self.proposal
        if proposal is None:
            return None
        if self.draft is not None:
            return self.draft.placement
        found = next((p for p in proposal.placements if p.rank == self._rank), None)
        return found or best_placement(proposal)

    @property
    def watermark(self) -> str:
        """What stands on every picture of a needle that nobody approved as it is shown; empty for one that is."""
        approved = self.target_review.state is TargetState.APPROVED and not self.shows_another
        return "" if approved or self.placement is None else WATERMARK

    @property
    def pose(self) -> NeedlePose | None:
        """The first needle of the placement shown."""
        placement = self.placement
        return None if placement is None else placement.needles[0]

    @property
    def shows_another(self) -> bool:
        """Whether what is shown, a draft or an alternative, is not the placement that stands."""
        proposal = self.proposal
        return proposal is not None and self.placement is not best_placement(proposal)

    def in_doubt(self, proposal: Proposal) -> bool:
        """Whether a target deserves a second look: not HIGH, nothing proposed, or no entry on the skin."""
        sure = confidence_word(proposal.target.confidence) is ConfidenceWord.HIGH
        return not sure or proposal.status is not ProposalStatus.PROPOSED

    def choose_target(self, target_id: str) -> None:
        """Show another target and bring the cross-hair to its tip."""
        proposal = self._proposal_of(target_id)
        if proposal is None:
            raise UsageError(f"the plan holds no target '{target_id}'")
        self._target_id, self._rank, self.draft = target_id, None, None
        self.target_changed.emit()
        self.needle_changed.emit()
        pose = self.pose
        self.look_at(proposal.target.position if pose is None else pose.tip)

    def choose_added(self, before: Plan) -> None:
        """Show the target that a person placed since `before`, where there is one."""
        old = {p.target.id: p.target.position for p in before.proposals if p.target.placed_by}
        for proposal in self.proposals:
            target = proposal.target
            if target.placed_by and not np.array_equal(target.position, old.get(target.id, ())):
                self.choose_target(target.id)
                return

    def step_target(self, by: int) -> None:
        """Show the target `by` places further down the list, round and round."""
        ids = [p.target.id for p in self.proposals]
        if ids:
            here = ids.index(self._target_id) if self._target_id in ids else 0
            self.choose_target(ids[(here + by) % len(ids)])

    def show_alternative(self, rank: int) -> None:
        """Show another placement of the target; nothing is decided by looking."""
        proposal = self.proposal
        if proposal is None or all(p.rank != rank for p in proposal.placements):
            raise UsageError(f"there is no alternative {rank} for this target")
        self._rank, self.draft = rank, None
        self.needle_changed.emit()
        pose = self.pose
        if pose is not None:
            self.look_at(pose.tip)

    def next_alternative(self) -> None:
        """Show the next placement of the target, round and round."""
        proposal, shown = self.proposal, self.placement
        ranks = [] if proposal is None else [p.rank for p in proposal.placements]
        if ranks:
            here = ranks.index(shown.rank) if shown is not None and shown.rank in ranks else -1
            self.show_alternative(ranks[(here + 1) % len(ranks)])

    def show_draft(self, draft: Evaluation) -> None:
        """Show the needle being moved."""
        self.draft = draft
        self.needle_changed.emit()

    def drop_draft(self) -> None:
        """Forget the needle being moved; the placement that stands is shown again."""
        self.draft = None
        self.needle_changed.emit()

    # where the views look

    @property
    def crosshair(self) -> Array:
        """(3,) LPS mm where the orthogonal views cross."""
        return self._crosshair

    def look_at(self, xyz: Array) -> None:
        """Move the cross-hair."""
        self._crosshair = np.asarray(xyz, dtype=np.float64).copy()
        self.crosshair_changed.emit()

    @property
    def vertebra(self) -> Vertebra | None:
        """The vertebra under the cross-hair, else the one whose body is nearest; None where there is none."""
        return None if self.plan is None else vertebra_at(self.plan.spine, self._crosshair)

    @property
    def window(self) -> Window:
        """The grey window of every flat view."""
        return self._window

    def set_window(self, window: Window) -> None:
        """Change the grey window of every flat view."""
        self._window = window
        self.window_changed.emit()

    def drag_window(self, wider: float, brighter: float) -> None:
        """Widen the window and raise its level by shares of its width."""
        width = self._window.high - self._window.low
        level = (self._window.high + self._window.low) / 2 + brighter * width
        half = max(width * (1.0 + wider), 1.0) / 2
        self.set_window(Window("Own", level - half, level + half))


def _anatomy_of(review: Review) -> tuple[Any, ...]:
    """The parts of the plan that needles are judged by."""
    return tuple(review.document[part] for part in _ANATOMY)
