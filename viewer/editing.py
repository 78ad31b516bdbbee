"""What a person does to the plan: moving the needle, choosing, locking, undoing, deciding. No window toolkit in here.

A needle being moved is a draft that is judged at every step; letting it go records it. Every recorded step is one entry
of the journal, made by `planner.review.Review`, under the name that was typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from imaging.errors import NerveplanError
from imaging.geometry import unit
from planner.defaults import NO_PROCEDURE
from planner.locking import ConflictError
from planner.plan import Plan
from planner.review import Review
from targeting.angles import direction_from_angles, frame_of
from targeting.evaluation import Evaluator
from targeting.model import Needle
from targeting.procedures import load_procedure
from viewer.marks import Handle
from viewer.model import Session

__all__ = ["Editor", "make_evaluator"]

Array = NDArray[np.float64]
_SHORTEST_MM = 2.0
_WAIT = "the anatomy is being changed: wait for it, or cancel it"
_NAME_FIRST = "type your name to keep this: it is recorded as typed and is not an identity"


def make_evaluator(plan: Plan) -> Evaluator | None:
    """What judges moved needles of a plan; takes seconds. None where the plan has no targets or no image."""
    if plan.request.procedure == NO_PROCEDURE or plan.volume is None or not plan.proposals:
        return None
    targets = [p.target for p in plan.proposals if p.target.carrier.frame is not None]
    return Evaluator(plan.spine, load_procedure(plan.request.procedure), plan.volume, targets)


class Editor:
    """Edits and decisions on the session's plan.

    Attributes
    ----------
    who, role : str
        As typed; nothing is recorded without a name.
    evaluator : Evaluator or None
        None until distances are measured; needles cannot be moved before.
    busy : bool
        The anatomy is being changed beside the window: until it is done no other step is recorded.
    """

    refused = Signal(str)
    """A step was not recorded, and why."""
    ready_changed = Signal()
    """Needles can be moved now, or no longer."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.who, self.role = "", ""
        self.evaluator: Evaluator | None = None
        self.busy = False
        self._needle: Needle | None = None
        session.plan_changed.connect(self._forget)
        session.anatomy_changed.connect(self._forget)
        session.target_changed.connect(self._forget_needle)

    def _forget(self) -> None:
        self.set_evaluator(None)

    def _forget_needle(self) -> None:
        self._needle = None

    def set_evaluator(self, evaluator: Evaluator | None) -> None:
        """Take in what judges needles."""
        self.evaluator = evaluator
        self.ready_changed.emit()

    def set_busy(self, busy: bool) -> None:
        """Hold every other step back while the anatomy is changed, or let them go on."""
        self.busy = busy
        self.ready_changed.emit()

    # moving the needle

    @property
    def can_move(self) -> bool:
        """Whether the needle shown can be moved: distances are measured and the target is not locked."""
        session = self.session
        return (self.evaluator is not None and not self.busy and session.pose is not None and session.target is not None
                and session.target.carrier.frame is not None and not session.target_review.locked)

    @property
    def can_start(self) -> bool:
        """Whether a needle can be placed by hand at the target shown, which has none."""
        session, target = self.session, self.session.target
        return (self.evaluator is not None and not self.busy and target is not None and session.pose is None
                and target.carrier.frame is not None and not session.target_review.locked)

    def start_needle(self) -> None:
        """Place a needle at a target that has none, in the direction the procedure prefers, and keep it."""
        plan, target = self.session.plan, self.session.target
        if plan is None or target is None or not self.can_start:
            return
        band = load_procedure(plan.request.procedure).band(target.aim)
        self._aim(target.position, direction_from_angles(frame_of(target), target.side, band.oblique_preferred.value,
                                                         band.tilt_preferred.value))
        self.keep()

    @property
    def stock(self) -> tuple[Needle, ...]:
        """The needles of the plan's procedure, shortest first."""
        plan = self.session.plan
        if plan is None or plan.request.procedure == NO_PROCEDURE:
            return ()
        return load_procedure(plan.request.procedure).stock

    @property
    def needle_wish(self) -> Needle | None:
        """The needle a person asked for; None takes the one in stock that reaches."""
        return self._needle

    def drag(self, handle: Handle, place: Array) -> None:
        """Move one end of the needle; an entry slides on the skin, a tip goes where it is put."""
        pose = self.session.pose
        if pose is None or not self.can_move:
            return
        place = np.asarray(place, dtype=np.float64)
        if handle is Handle.TIP:
            self._judge(pose.entry, place, pose.direction)
        elif np.linalg.norm(pose.tip - place) > _SHORTEST_MM:
            self._aim(pose.tip, unit(pose.tip - place))

    def set_angles(self, oblique_deg: float, tilt_deg: float) -> None:
        """Turn the needle about its tip to angles against the squared endplate, and keep it."""
        pose, target = self.session.pose, self.session.target
        if pose is not None and target is not None and self.can_move:
            self._aim(pose.tip, direction_from_angles(frame_of(target), target.side, oblique_deg, tilt_deg))
            self.keep()

    def set_needle(self, needle: Needle | None) -> None:
        """Ask for a needle of the stock, or for the one that reaches, and keep it."""
        pose = self.session.pose
        if pose is not None and self.can_move:
            self._needle = needle
            self._judge(pose.entry, pose.tip, pose.direction)
            self.keep()

    def snap_to_bone(self) -> None:
        """Advance or withdraw the tip along the needle until it touches bone, and keep it."""
        pose, target = self.session.pose, self.session.target
        if pose is None or target is None or self.evaluator is None or not self.can_move:
            return
        tip = self.evaluator.bone_contact(target, pose.tip, pose.direction)
        if tip is None:
            self.refused.emit("there is no bone within reach along this needle; the tip stays where it is")
            return
        self._judge(pose.entry, tip, pose.direction)
        self.keep()

    def _aim(self, tip: Array, direction: Array) -> None:
        assert self.evaluator is not None
        self._judge(self.evaluator.entry_of(tip, direction), tip, direction)

    def _judge(self, entry: Array | None, tip: Array, direction: Array) -> None:
        target = self.session.target
        assert self.evaluator is not None
        assert target is not None
        if entry is not None and np.linalg.norm(tip - entry) <= _SHORTEST_MM:
            return
        self.session.show_draft(self.evaluator.evaluate(
            target, entry, tip, self._needle, direction=None if entry is not None else direction))

    def keep(self) -> None:
        """Record the needle being moved; without a name it stays a draft."""
        draft, target = self.session.draft, self.session.target
        if draft is None or target is None:
            return
        self._step(lambda review: review.edit(target.id, draft.placement, self.who, self.role))

    def discard(self) -> None:
        """Forget the needle being moved."""
        if self.session.draft is not None:
            self.session.drop_draft()

    # steps of the review

    def _step(self, step: Callable[[Review], None]) -> bool:
        """Record one step; what is refused is said and nothing changes. True when it was recorded."""
        review = self.session.review
        if review is None:
            return False
        if not self.may_record():
            return False
        try:
            step(review)
        except ConflictError as error:
            review.reload()
            self.session.recorded()
            self.refused.emit(str(error))
            return False
        except NerveplanError as error:
            self.refused.emit(str(error))
            return False
        self.session.recorded()
        return True

    def may_record(self) -> bool:
        """Whether a step can be recorded now; says why not."""
        if self.busy:
            self.refused.emit(_WAIT)
        return not self.busy and self.named()

    def named(self) -> bool:
        """Whether a name was typed; says that one is needed where none was."""
        if not self.who.strip():
            self.refused.emit(_NAME_FIRST)
        return bool(self.who.strip())

    def choose_shown(self) -> bool:
        """Make what is shown, a draft or an alternative, the placement that stands. True when it stands."""
        session, target, placement = self.session, self.session.target, self.session.placement
        if target is None or placement is None:
            self.refused.emit("there is no needle for this target")
            return False
        if session.draft is not None:
            self.keep()
            return session.draft is None
        if not session.shows_another:
            return True
        return self._step(lambda review: review.choose(target.id, placement.rank, self.who, self.role))

    def toggle_lock(self) -> None:
        """Lock the target shown, or unlock it."""
        target, locked = self.session.target, self.session.target_review.locked
        if target is not None:
            self._step(lambda review: (review.unlock if locked else review.lock)(target.id, self.who, self.role))

    def undo(self) -> None:
        """Forget the draft, or take back the last recorded edit."""
        if self.session.draft is not None:
            self.discard()
        else:
            self._step(lambda review: review.undo(self.who, self.role))

    def redo(self) -> None:
        """Make the edit again that was taken back last."""
        self._step(lambda review: review.redo(self.who, self.role))

    def approve(self, typed_side: str, overrides: Mapping[str, str]) -> bool:
        """Approve the target shown with the placement that stands."""
        target = self.session.target
        return target is not None and self._step(
            lambda review: review.approve(target.id, self.who, self.role, typed_side, overrides))

    def reject(self, reason: str) -> bool:
        """Reject the target shown."""
        target = self.session.target
        return target is not None and self._step(lambda review: review.reject(target.id, self.who, reason, self.role))

    def reopen(self) -> bool:
        """Take back the decision on the target shown."""
        target = self.session.target
        return target is not None and self._step(lambda review: review.reopen(target.id, self.who, self.role))
