"""One review session by mouse and keys in a real window under Xvfb: every claim about it a row, every step counted.

``python -m benchmarks.session PLAN_FOLDER`` works on a copy: open, drag until a limit breaks, undo, relabel and back,
approve a needle that breaks a limit with a reason, approve two more, close, open again, verify; then once more from the
folder to the approved plan in as few steps as the window allows. Without a folder it plans the synthetic study.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from qtpy.QtWidgets import QDialog

from benchmarks.cases import nerveplan
from benchmarks.checks import Check
from benchmarks.dragging import drag_to_canal, dragging
from benchmarks.hand import Tally
from benchmarks.stage import Stage, stage
from planner.folder import LABELS_FILE, PLAN_FILE, read_folder
from planner.plan import PlanState, TargetState
from segmentation.anatomy import Level
from viewer.confirm import ConfirmDialog

__all__ = ["approve_whole_plan", "main", "review_session"]

Array = NDArray[np.float64]
_WHO, _ROLE = "Dr A. Example", "radiologist"
_REASON = "accepted after a look at the images"
_MOVES = 120
_SAME_MM = 1e-3


def review_session(on: Stage, folder: Path, moves: int = _MOVES) -> Iterator[Check]:
    """The session, one claim after another; the plan folder is worked in.

    Parameters
    ----------
    folder : Path
        A plan nobody has touched, with a computed canal and at least three needles, the first one's among them.
    moves : int
        How many moves of the mouse are timed.
    """
    yield from _opening(on, folder)
    yield from dragging(on, moves)
    yield from _relabelling(on)
    yield from _approving(on)
    yield from _opening_again(on)


def _opening(on: Stage, folder: Path) -> Iterator[Check]:
    seconds, panel = on.open(folder), on.panel
    on.sign_in(_WHO, _ROLE)
    views = (*panel.flat.ortho.views.values(), *panel.flat.needle.views.values(), panel.flat.fluoro.view)
    empty = [view.title for view in views if view.plane is None]
    asked, rows = len(read_folder(folder).plan["targets"]), panel.table.tree.topLevelItemCount()
    yield Check("a plan folder opens with a picture in every view and a row for every target",
                not empty and rows == asked,
                f"{len(views)} views, empty: {', '.join(empty) or 'none'}; {rows} rows for {asked} targets; "
                f"{seconds:.1f} s from folder to needles that can be moved")


def _labels(folder: Path) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / LABELS_FILE)))
    return labels


def _relabelling(on: Stage) -> Iterator[Check]:
    """Say that L5 is L4, by mouse and keys; the whole column follows; then take it back."""
    panel, hand, plan = on.panel, on.hand, on.panel.session.plan
    assert plan is not None
    bone = plan.spine.vertebra(Level.L5.value)
    assert bone is not None
    before, labels = on.targets, _labels(on.folder)
    panel.session.look_at(bone.body_center)
    hand.open_tab(panel.tabs, panel.anatomy)
    hand.choose(panel.anatomy.level, Level.L4.value)
    words: list[str] = []

    def mean_it(dialog: QDialog) -> None:
        assert isinstance(dialog, ConfirmDialog)
        words.append(dialog.words.text())
        hand.click(dialog.act_button)

    hand.answer(ConfirmDialog, mean_it)
    started = time.perf_counter()
    hand.click(panel.anatomy.relabel_button)
    on.settle("relabelling")
    seconds = time.perf_counter() - started
    after, now = on.targets, panel.session.plan
    assert now is not None
    renamed = {v.label: v for v in now.spine.vertebrae}
    stays = next(v for v in now.spine.vertebrae if v.name == Level.L4.value)
    here = renamed[stays.label].body_center
    moved = float(np.linalg.norm(here - bone.body_center))
    yield Check("relabelling says first what every vertebra becomes, then the whole column follows in one step",
                "L5 becomes L4" in "".join(words) and moved <= _SAME_MM and after != before
                and not np.array_equal(_labels(on.folder), labels),
                f"{''.join(words).splitlines()[0]} {seconds:.1f} s with the search for {len(after)} targets")
    on.undo()
    on.settle("taking the relabelling back")
    same = bool(np.array_equal(_labels(on.folder), labels))
    yield Check("Ctrl+Z gives back every name, target and voxel of the label map", same and on.targets == before,
                f"{len(on.targets)} targets, {'the same' if on.targets == before else 'others'}; label map "
                f"{'the same' if same else 'another'}")
    hand.open_tab(panel.tabs, panel.table)


def _approving(on: Stage) -> Iterator[Check]:
    """Approve a needle that breaks a limit, which takes the right side and a reason, and two that were proposed."""
    panel, hand = on.panel, on.hand
    hand.choose_row(panel.table.tree, 0)
    drag_to_canal(on, np.empty((0, 3)))
    target, seen = panel.session.target, list[tuple[tuple[str, ...], bool]]()
    assert target is not None
    on.approve(target.side.other.value, _REASON, seen)
    on.approve(target.side.value, "", seen)
    refused = panel.session.target_review.state
    on.approve(target.side.value, _REASON, seen)
    review = panel.session.target_review
    yield Check("a needle that breaks a limit is approved only with the right side typed and a reason for the limit",
                [able for _, able in seen] == [False, False, True] and refused is TargetState.EDITED
                and review.state is TargetState.APPROVED and ("margin:canal", _REASON) in review.overrides,
                f"limits asked about: {', '.join(seen[-1][0])}; wrong side {'taken' if seen[0][1] else 'refused'}, no "
                f"reason {'taken' if seen[1][1] else 'refused'}, then {review.state.value}")
    others = [n for n, p in enumerate(panel.session.proposals) if n and p.placements][:2]
    for row in others:
        hand.choose_row(panel.table.tree, row)
        chosen = panel.session.target
        assert chosen is not None
        on.approve(chosen.side.value, _REASON)
    plan = panel.session.plan
    assert plan is not None
    approved = [p.target.sentence for p in plan.proposals if plan.review(p.target.id).state is TargetState.APPROVED]
    yield Check("three targets are approved, and the plan stays unapproved", len(approved) == 3
                and plan.state is not PlanState.APPROVED and "UNAPPROVED" in panel.state.text(),
                f"{'; '.join(approved)}. The window says: {panel.state.text()}")


def _opening_again(on: Stage) -> Iterator[Check]:
    """Close, open again, and verify the folder by the command line; then alter one byte of a copy."""
    panel, folder = on.panel, on.folder
    before = panel.session.plan
    assert before is not None
    panel.close_plan()
    on.hand.wait(lambda: not panel.strip.busy, "closing the plan")
    on.open(folder)
    after = panel.session.plan
    assert after is not None
    tips = [(a.placements[0].needles[0].tip, b.placements[0].needles[0].tip)
            for a, b in zip(before.proposals, after.proposals, strict=True) if a.placements]
    far = max(float(np.linalg.norm(a - b)) for a, b in tips)
    yield Check("closed and opened again, the plan is as it was left", far <= _SAME_MM and dict(before.reviews) == dict(
        after.reviews), f"{len(tips)} needles at most {far:.4f} mm apart; {len(after.reviews)} reviews compared")
    run = nerveplan("verify", folder)
    yield Check("`nerveplan verify` finds nothing altered", run.code == 0, f"exit {run.code}: {run.last_line}")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder, Path(place) / "copy"))
        text = (copy / PLAN_FILE).read_bytes()
        (copy / PLAN_FILE).write_bytes(text.replace(b'"approved"', b'"rejected"', 1))
        run = nerveplan("verify", copy)
    yield Check("and finds one approval that was turned into a rejection by another hand", run.code == 6,
                f"exit {run.code}: {run.last_line}")


def approve_whole_plan(on: Stage, folder: Path) -> Check:
    """From the folder to the approved plan in the fewest steps: the name, then each target's side and Approve."""
    hand, panel = on.hand, on.panel
    started = time.perf_counter()
    opening = on.open(folder)
    hand.tally = Tally()
    on.sign_in(_WHO, _ROLE)
    named, hand.tally = hand.tally, Tally()
    limits: list[tuple[tuple[str, ...], bool]] = []
    for row, proposal in enumerate(tuple(panel.session.proposals)):
        hand.choose_row(panel.table.tree, row)
        if proposal.placements:
            on.approve(proposal.target.side.value, _REASON, limits)
    seconds, plan = time.perf_counter() - started, panel.session.plan
    assert plan is not None
    reasons = sum(len(names) for names, _ in limits)
    return Check("every target with a needle is approved in one go",
                 plan.state is PlanState.APPROVED and len(limits) == plan.planned,
                 f"{len(limits)} targets, {reasons} limits with a reason each: name and role {named}; then "
                 f"{hand.tally}; the computer took {seconds:.1f} s, {opening:.1f} s of them to open")


def _session_of(folder: Path) -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as place, stage() as on:
        yield from review_session(on, Path(shutil.copytree(folder, Path(place) / folder.name)))
        on.panel.close_plan()
        yield approve_whole_plan(on, Path(shutil.copytree(folder, Path(place) / f"{folder.name} again")))


def main() -> int:
    """Run the session, print every claim and what was seen; return 1 when one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a plan folder; it is copied")
    parser.add_argument("--json", type=Path, help="write the claims here too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = asked.folder or Path(place) / "phantom"
        if asked.folder is None:
            from planner.pipeline import plan_study
            from sample_data import lumbar_ct_path
            plan_study(lumbar_ct_path(), folder, report=False)
        held = []
        for check in _session_of(folder):
            held.append(check)
            print(f"{'ok  ' if check.holds else 'FAIL'} {check.claim}\n     {check.said}", flush=True)
            if asked.json is not None:
                asked.json.write_text(json.dumps([asdict(c) for c in held]), encoding="utf-8")
    return int(not all(check.holds for check in held))


if __name__ == "__main__":
    raise SystemExit(main())
