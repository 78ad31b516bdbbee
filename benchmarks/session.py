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
from scipy.spatial import cKDTree

from benchmarks.cases import nerveplan
from benchmarks.checks import Check
from benchmarks.hand import Tally
from benchmarks.stage import Stage, stage
from planner.folder import LABELS_FILE, PLAN_FILE, read_folder
from planner.plan import PlanState, TargetState
from segmentation.anatomy import Level, StructureName
from viewer.confirm import ConfirmDialog

__all__ = ["approve_whole_plan", "main", "review_session"]

Array = NDArray[np.float64]
_WHO, _ROLE = "Dr A. Example", "radiologist"
_REASON = "accepted after a look at the images"
_MOVES, _TURN_MM, _APPROACH = 120, 4.0, 40
_BAR_MS = 16.0
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
    yield from _dragging(on, moves)
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


def _ms(seconds: list[float]) -> str:
    """All but the first, which compiles what the others use."""
    ms = 1000 * np.array(seconds[1:])
    return f"median {np.median(ms):.1f} ms, P95 {np.percentile(ms, 95):.1f} ms, least {ms.min():.1f} ms"


def _turns(on: Stage, moves: int) -> Array:
    """(n, 3) LPS mm: once about the tip in the plane that holds the needle."""
    tip, plane = on.pose.tip, on.in_plane.plane
    assert plane is not None
    a = np.linspace(0, 2 * np.pi, moves, endpoint=False)[:, None]
    return np.asarray(tip + _TURN_MM * (np.sin(a) * plane.right + 0.3 * np.sin(2 * a) * plane.down))


def _drag_to_canal(on: Stage, first: Array) -> list[Array]:
    """Lead the tip along `first`, then straight on until the canal's margin is said to be broken; where it has been."""
    tip, been = on.pose.tip, list[Array]()
    straight = tip + np.linspace(0, 1, _APPROACH)[:, None] * (on.canal_in_plane() - tip)

    def enough() -> bool:
        been.append(on.pose.tip)
        return len(been) > len(first) and "canal" in on.broken

    on.hand.drag(on.in_plane, tip, np.concatenate([first, straight]), enough)
    return been


def _dragging(on: Stage, moves: int) -> Iterator[Check]:
    """Lead the tip about until it is too near to the canal, then take it back, and make it again, and back."""
    before, hand = on.pose.tip, on.hand
    been = _drag_to_canal(on, _turns(on, moves))
    kept, said = on.pose.tip, on.broken
    reach = float(np.linalg.norm(np.array(been)[:moves] - before, axis=1).max())
    yield Check("the tip follows the pointer; the canal's margin breaks in words while it is dragged",
                reach > 0.9 * _TURN_MM and "canal" in said,
                f"{len(been)} moves; let go {np.linalg.norm(kept - before):.1f} mm from where it was: {said}")
    yield Check(f"a move of the needle computes at most {_BAR_MS:.0f} ms of processor time, P95",
                bool(1000 * np.percentile(hand.move_cpu_s[1:], 95) <= _BAR_MS),
                f"{len(hand.move_s) - 1} mouse moves, everything but painting: processors {_ms(hand.move_cpu_s)}; "
                f"by the clock {_ms(hand.move_s)} (the first {1000 * hand.move_s[0]:.0f} ms); painting after each, "
                f"software GL, by the clock {_ms(hand.paint_s)}")
    yield _shown_clearance(on)
    on.undo()
    back, mended = float(np.linalg.norm(on.pose.tip - before)), not on.broken
    states = [entry.body["state"] for entry in read_folder(on.folder).journal]
    yield Check("the whole drag is one entry of the journal, and Ctrl+Z takes it back",
                back <= _SAME_MM and mended and states == ["proposed", "edited", "undone"],
                f"tip {back:.4f} mm from where it was; journal: {', '.join(states)}")
    on.redo()
    again = float(np.linalg.norm(on.pose.tip - kept))
    on.undo()
    yield Check("Ctrl+Y makes it again", again <= _SAME_MM, f"tip {again:.4f} mm from where it was let go")


def _shown_clearance(on: Stage) -> Check:
    """The canal's clearance in the table against the file in the folder, by nearest voxel centre."""
    table, pose = on.panel.needle.clearances, on.pose
    row = next(n for n in range(table.rowCount()) if table.item(n, 0).text() == "canal")
    shown = float(table.item(row, 1).text().split()[0])
    image = sitk.ReadImage(str(on.folder / "structures" / f"{StructureName.CANAL.value}.nii.gz"))
    inside = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
    centres = np.array([image.TransformIndexToPhysicalPoint(index) for index in inside.tolist()])
    start = pose.tip - 60.0 * pose.direction if pose.entry is None else pose.entry
    shaft = start + np.linspace(0, 1, 600)[:, None] * (pose.tip - start)
    nearest = float(cKDTree(centres).query(shaft)[0].min()) - pose.needle.diameter_mm / 2
    half = float(np.linalg.norm(image.GetSpacing())) / 2
    return Check("the clearance shown is the distance to the written mask",
                 nearest - half - 0.06 <= shown <= nearest + 0.06,
                 f"{shown:.1f} mm shown; {nearest:.2f} mm to the nearest voxel centre of canal.nii.gz, half a voxel's "
                 f"diagonal is {half:.2f} mm")


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
    _drag_to_canal(on, np.empty((0, 3)))
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
