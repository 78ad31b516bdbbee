"""Kills a reviewer in the middle of saves and lets two edit at once; nothing may be lost. Writes docs/reliability.md.

``python -m benchmarks.reliability --saves 200``. A child edits a plan without end and says where in a save it is: when
it begins, before each file is replaced, when all are, when it is done. The parent draws one of these marks and a moment
within the time that the child's own saves take from there to the next, kills it (SIGKILL) then, looks how far the
folder shows that the save had come, opens it as the next reviewer would, and compares: every save that was reported
finished is there, at most the one that was under way beside them, in order, and `verify` finds nothing altered.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.cases import commit, write_page
from planner import record
from planner.folder import JOURNAL_FILE, PLAN_FILE
from planner.locking import BusyError, ConflictError
from planner.replace import is_unfinished
from planner.review import Review
from planner.verifying import verify_folder
from targeting.model import best_placement

__all__ = ["Kills", "Mark", "Reached", "kill_saves", "main", "two_writers"]

_FORK = multiprocessing.get_context("fork")
_SLOWEST_SAVE_S = 60.0
_MEASURED_SAVES = 5


class Mark(StrEnum):
    """Where in a save a child says it is."""

    BEGUN = "begun"
    JOURNAL = "about to write the journal"
    PLAN = "about to write plan.json"
    WRITTEN = "all written"
    SAVED = "saved"


class Reached(StrEnum):
    """How far a killed save had come, by what lies in the folder."""

    BEFORE = "before anything was written"
    JOURNAL = "while the new journal was written beside the old one"
    BETWEEN = "between the journal and plan.json"
    PLAN = "while plan.json was written beside the old one"
    AFTER = "after both, before the save was done"
    IDLE = "between two saves"


#: Stages that a kill is drawn for: from each mark to the next.
_DRAWN = (Mark.BEGUN, Mark.JOURNAL, Mark.PLAN, Mark.WRITTEN)


@dataclass(frozen=True)
class Kills:
    """What came of the kills.

    Attributes
    ----------
    stages : mapping of Reached to count
        Where they fell.
    mended : int
        After how many of them the next to open the folder brought ``plan.json`` up to date from the journal.
    trouble : tuple of str
        Every kill after which something was lost or altered.
    save_s : float
        What a save takes that nobody kills.
    """

    stages: dict[Reached, int]
    mended: int
    trouble: tuple[str, ...]
    save_s: float


@dataclass
class _Child:
    """A process that saves without end, what it has said, and the number of its last save begun and finished."""

    process: multiprocessing.process.BaseProcess
    hear: Connection
    answer: Connection
    begun: int
    saved: int
    marks: list[tuple[Mark, float]] = field(default_factory=list)

    def listen(self) -> Mark:
        """The next mark; EOFError when the child is dead and has no more to say."""
        mark, number, when = self.hear.recv()
        self.marks.append((mark, when))
        self.begun = max(self.begun, number)
        self.saved = number if mark is Mark.SAVED else self.saved
        return Mark(mark)

    def kill(self) -> None:
        """SIGKILL, and hear what it said before."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        self.answer.close()
        try:
            while True:
                self.listen()
        except EOFError:
            self.hear.close()


def _edit(review: Review, who: str, number: int) -> None:
    """One edit that can be told from all others."""
    proposal = next(p for p in review.plan.proposals if p.placements)
    shown = best_placement(proposal)
    assert shown is not None
    review.edit(proposal.target.id, replace(shown, why=f"{who} {number}"), who, reason=str(number))


def _edit_without_end(folder: Path, first: int, tell: Connection, go_on: Connection, *parents: Connection) -> None:
    """Save without end; after each mark wait until the parent has heard it, so that both count from the same moment."""
    for end in parents:
        end.close()  # so that this process ends when nobody listens any more
    number, write = first, record.replace_file

    def say(mark: Mark) -> None:
        tell.send((mark, number, time.perf_counter()))
        go_on.recv()

    def replace_file(path: Path, data: bytes) -> None:
        say(Mark.JOURNAL if path.name == JOURNAL_FILE else Mark.PLAN)
        write(path, data)
        if path.name == PLAN_FILE:
            say(Mark.WRITTEN)

    record.replace_file = replace_file
    review = Review.open(folder, volume=False)
    while True:
        say(Mark.BEGUN)
        _edit(review, "A", number)
        say(Mark.SAVED)
        number += 1


def _start(folder: Path, first: int) -> _Child:
    """A child whose next save has the number `first`."""
    hear, tell = _FORK.Pipe(duplex=False)
    go_on, answer = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_edit_without_end, args=(folder, first, tell, go_on, hear, answer), daemon=True)
    process.start()
    tell.close()
    go_on.close()
    return _Child(process, hear, answer, first - 1, first - 1)


def _numbers(review: Review, who: str) -> list[int]:
    return [int(line.reason) for line in review.history if line.who == who]


def _measure(folder: Path) -> dict[Mark, float]:
    """Let a child save undisturbed: seconds from each mark to the next, medians."""
    child = _start(folder, 0)
    while child.saved < _MEASURED_SAVES - 1:
        child.listen()
        child.answer.send(None)
    child.kill()
    took = defaultdict(list)
    for (mark, when), (_, then) in zip(child.marks, child.marks[1:], strict=False):
        took[mark].append(then - when)
    return {mark: statistics.median(took[mark]) for mark in _DRAWN}


def _killed_once(folder: Path, first: int, at: Mark, wait_s: float, skip: int) -> _Child:
    """Kill a child `wait_s` after it has said `at` in its save number `first` + `skip`."""
    child = _start(folder, first)
    while child.hear.poll(_SLOWEST_SAVE_S):
        if child.listen() is at and child.begun == first + skip:
            child.answer.send(None)
            time.sleep(wait_s)
            break
        child.answer.send(None)
    child.kill()
    return child


def _reached(folder: Path, before: int, child: _Child) -> Reached:
    """How far the last save had come; `before` is the journal's length without it, before anyone opens the folder."""
    if child.begun == child.saved:
        return Reached.IDLE
    unfinished = {path.name for path in folder.iterdir() if is_unfinished(path.name)}
    if len((folder / JOURNAL_FILE).read_bytes().splitlines()) == before:
        return Reached.JOURNAL if any(JOURNAL_FILE in name for name in unfinished) else Reached.BEFORE
    if json.loads((folder / PLAN_FILE).read_bytes())["journal"]["length"] > before:
        return Reached.AFTER
    return Reached.PLAN if any(PLAN_FILE in name for name in unfinished) else Reached.BETWEEN


def kill_saves(folder: Path, kills: int, seed: int = 0) -> Kills:
    """Kill a reviewer of a plan folder many times.

    Parameters
    ----------
    folder : Path
        A plan folder with at least one placement; it is worked in.
    kills : int
        How many saves are killed.
    """
    chance, stages, trouble, mended = random.Random(seed), Counter[Reached](), list[str](), 0
    took = _measure(folder)
    last = _numbers(Review.open(folder, volume=False), "A")[-1]
    for n in range(kills):
        length, first, at = len((folder / JOURNAL_FILE).read_bytes().splitlines()), last + 1, chance.choice(_DRAWN)
        child = _killed_once(folder, first, at, chance.uniform(0, took[at]), chance.randrange(2))
        stages[_reached(folder, length + child.begun - first, child)] += 1
        plan_json = (folder / PLAN_FILE).read_bytes()
        review = Review.open(folder, volume=False)
        mended += (folder / PLAN_FILE).read_bytes() != plan_json
        there = _numbers(review, "A")
        if there not in (list(range(child.saved + 1)), list(range(child.begun + 1))):
            trouble.append(f"kill {n}: saves 0 to {child.saved} were finished, the journal holds {there}")
        trouble += [f"kill {n}: {problem.sentence}" for problem in verify_folder(folder).problems]
        last = there[-1]
    return Kills(dict(stages), mended, tuple(trouble), sum(took.values()))


def _edit_some(folder: Path, who: str, count: int) -> None:
    """Edit as a person would who is told: after a conflict look again, while another writes try again."""
    review, done = Review.open(folder, volume=False), 0
    while done < count:
        try:
            _edit(review, who, done)
            done += 1
        except ConflictError:
            review.reload()
        except BusyError:
            continue


def two_writers(folder: Path, count: int) -> tuple[str, ...]:
    """Two processes edit one plan at the same time, `count` times each; whatever was lost, in words."""
    writers = [_FORK.Process(target=_edit_some, args=(folder, who, count)) for who in ("B", "C")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    review = Review.open(folder, volume=False)
    trouble = [f"writer {who}: {_numbers(review, who)}" for who in ("B", "C")
               if _numbers(review, who) != list(range(count))]
    return (*trouble, *(problem.sentence for problem in verify_folder(folder).problems))


def _plan(folder: Path) -> None:
    """A small plan to work in, soon opened: three vertebrae of the synthetic study, one joint planned."""
    import SimpleITK as sitk

    from imaging.resample import to_sitk
    from imaging.volume import Grid
    from planner import plan_study
    from sample_data.phantom import PhantomSpec, build_phantom

    phantom = build_phantom(PhantomSpec(spacing_mm=(3.0, 2.0, 2.0), levels_in_view=("L3", "L5")))
    grid, base = Grid(phantom.hu.shape, phantom.affine), folder.parent
    for array, name in ((phantom.hu, "ct"), (phantom.labels, "labels")):
        sitk.WriteImage(to_sitk(array, grid), str(base / f"{name}.nii.gz"))
    plan_study(base / "ct.nii.gz", folder, labels=base / "labels.nii.gz", scheme="verse", names=["L5=L5"],
               joints=["L4/5"], report=False)


def main() -> int:
    """Kill, edit, write the page; return 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=200)
    parser.add_argument("--edits", type=int, default=50)
    asked = parser.parse_args()
    build, began = commit(), datetime.now(UTC)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "case"
        _plan(folder)
        killed = kill_saves(folder, asked.saves)
        lost = two_writers(folder, asked.edits)
    counts = "; ".join(f"{killed.stages.get(stage, 0)} {stage.value}" for stage in Reached)
    lines = [
        f"Commit {build}, {began:%Y-%m-%d %H:%M} UTC, by `python -m benchmarks.reliability --saves "
        f"{asked.saves} --edits {asked.edits}`. A save that nobody killed took {1000 * killed.save_s:.0f} ms (median).",
        "", "| what | asked | lost or altered |", "|---|---|---|",
        f"| SIGKILL during saves of a plan under review: {counts}; `plan.json` brought up to date from the journal "
        f"{killed.mended} times | {asked.saves} kills | {len(killed.trouble)} |",
        f"| two processes editing the same plan | {2 * asked.edits} edits | {len(lost)} |", ""]
    lines += [f"* {words}" for words in (*killed.trouble, *lost)]
    write_page("reliability.md", lines)
    print("\n".join(lines))
    return int(bool(killed.trouble or lost))


if __name__ == "__main__":
    raise SystemExit(main())
