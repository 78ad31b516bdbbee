"""The long work of the review window, done beside it: opening, planning, measuring. No window toolkit in here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planner.batch_status import BatchStatus, batch_status
from planner.review import Review
from segmentation.engine import Progress
from targeting.evaluation import Evaluator
from targeting.radiograph import Attenuation, attenuation
from viewer.editing import make_evaluator
from viewer.layers import LayerData, anatomy_layers

__all__ = ["Measured", "Opened", "measure_plan", "open_plan", "plan_and_open", "read_batch"]


@dataclass(frozen=True, eq=False)
class Opened:
    """A plan folder that was opened, and the surfaces of its anatomy."""

    review: Review
    layers: list[LayerData]


@dataclass(frozen=True, eq=False)
class Measured:
    """What moved needles are judged by, and the surfaces where they were drawn anew."""

    attenuation: Attenuation | None
    evaluator: Evaluator | None
    layers: list[LayerData] | None


def _drawn(review: Review, tell: Progress) -> Opened:
    tell("drawing surfaces", 0.9)
    return Opened(review, anatomy_layers(review.plan))


def open_plan(folder: Path, source: Path | None, tell: Progress) -> Opened:
    """Read a plan folder with its scan; errors as `planner.review.Review.open`."""
    tell("reading the plan and its scan", 0.1)
    return _drawn(Review.open(folder, source), tell)


def plan_and_open(scan: Path, folder: Path, procedure: str, tell: Progress) -> Opened:
    """Plan a scan into a folder and open it; errors as `planner.pipeline.plan_study`."""
    from planner.pipeline import plan_study

    plan_study(scan, folder, procedure=procedure, progress=tell)
    return _drawn(Review.open(folder), tell)


def read_batch(folder: Path, tell: Progress) -> BatchStatus:
    """How far a batch has come."""
    tell("reading the studies of the batch", 0.1)
    return batch_status(folder)


def measure_plan(review: Review, held: Attenuation | None, redraw: bool, tell: Progress) -> Measured:
    """Prepare the judging of moved needles.

    Parameters
    ----------
    held : Attenuation or None
        The scan prepared for simulated fluoroscopy, where it was before; it does not depend on the anatomy.
    redraw : bool
        Draw the surfaces too.
    """
    plan, prepared = review.plan, held
    if held is None and plan.volume is not None and plan.volume.modality == "CT":
        tell("preparing simulated fluoroscopy", 0.1)
        prepared = attenuation(plan.volume, plan.spine.body)
    layers = None
    if redraw:
        tell("drawing surfaces", 0.2)
        layers = anatomy_layers(plan)
    tell("measuring distances for moving needles", 0.4)
    return Measured(prepared, make_evaluator(plan), layers)
