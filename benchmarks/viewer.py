"""What one step of dragging a needle computes in the review window.

The step is everything but painting: judging the needle against every limit and clearance, and the two cuts that follow
it (`Editor.drag` and `Slicer.picture`). The bar is 16 ms. The named alternative is SciPy's interpolation of the same
two cuts in the same run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from planner.pipeline import plan_study
from planner.reslice import Cut, Plane
from planner.review import Review
from planner.views import ViewName, reformat_view
from sample_data import lumbar_ct_path
from viewer.editing import Editor, make_evaluator
from viewer.marks import Handle
from viewer.model import Session

__all__ = ["main"]

_STEPS = 200
_SIZE_MM, _STEP_MM = 150.0, 0.45


def _cuts(session: Session) -> list[Plane]:
    pose = session.pose
    assert pose is not None
    sights = [reformat_view(name, pose, _SIZE_MM, _STEP_MM).sight for name in (ViewName.ACROSS, ViewName.IN_PLANE)]
    return [sight for sight in sights if isinstance(sight, Plane)]


def drag_steps(session: Session, editor: Editor, steps: int = _STEPS) -> tuple[list[float], list[float]]:
    """Seconds of each step of a drag about the target: judging the needle, and both cuts with it."""
    pose, slicer = session.pose, session.slicer
    assert pose is not None
    assert slicer is not None
    judged, whole = [], []
    for n in range(steps):
        a = 2 * np.pi * n / steps
        wanted = pose.tip + 4.0 * np.array([np.cos(a), 0.3 * np.sin(2 * a), np.sin(a)])
        started = time.perf_counter()
        editor.drag(Handle.TIP, wanted)
        judged.append(time.perf_counter() - started)
        for plane in _cuts(session):
            slicer.picture(plane, session.window)
        whole.append(time.perf_counter() - started)
    return judged, whole


def _line(words: str, seconds: list[float]) -> str:
    ms = 1000 * np.array(seconds)
    return f"{words}: median {np.median(ms):.1f} ms, P95 {np.percentile(ms, 95):.1f} ms, least {ms.min():.1f} ms"


def _measure(folder: Path, name: str) -> None:
    session = Session()
    editor = Editor(session)
    session.open(Review.open(folder))
    plan = session.plan
    assert plan is not None
    assert plan.volume is not None
    assert session.slicer is not None
    editor.set_evaluator(make_evaluator(plan))
    drag_steps(session, editor, 5)
    judged, whole = drag_steps(session, editor)
    print(f"{name}, {plan.request.procedure}, {plan.volume.grid.shape} voxels, {_STEPS} steps")
    print("  " + _line("judging the needle (limits, clearances, capture curve)", judged))
    print("  " + _line("judging and both cuts of 333 x 333 pixels with outlines (bar: 16 ms)", whole))
    planes, ours, rival = _cuts(session), [], []
    for _ in range(10):
        started = time.perf_counter()
        for plane in planes:
            session.slicer.picture(plane, session.window)
        middle = time.perf_counter()
        for plane in planes:
            Cut(plane, plan.volume.grid).values(plan.volume)
        ours.append(middle - started)
        rival.append(time.perf_counter() - middle)
    print(f"  both cuts with outlines {1000 * min(ours):.1f} ms; grey values alone by scipy.ndimage.map_coordinates "
          f"{1000 * min(rival):.1f} ms: {min(rival) / min(ours):.1f} times longer")


def main() -> int:
    """Measure on the phantom, or on the plan folders named."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    for folder in folders:
        _measure(folder, folder.name)
    if not folders:
        with tempfile.TemporaryDirectory() as place:
            plan_study(lumbar_ct_path(), Path(place) / "plan", report=False)
            _measure(Path(place) / "plan", "phantom")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
