"""Kills a reviewer in the middle of saves and lets two edit at once; nothing may be lost. Writes docs/reliability.md.

``python -m benchmarks.reliability --saves 200``. A child edits a plan without end and says before and after each save
which one it is. The parent kills it (SIGKILL) at a random moment after a save has begun, opens the folder as the next
reviewer would, and compares: every save that was reported finished is there, at most the one that was under way beside
them, in order, and `verify` finds nothing altered.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.cases import commit, write_page
from planner.locking import BusyError, ConflictError
from planner.review import Review
from planner.verifying import verify_folder
from planner.words import best_placement

__all__ = ["Kills", "kill_saves", "main", "two_writers"]

_FORK = multiprocessing.get_context("fork")
_SLOWEST_SAVE_S = 60.0


@dataclass(frozen=True)
class Kills:
    """What came of the kills.

    Attributes
    ----------
    outcomes : mapping of word to count
        ``old``: the save under way left no trace; ``new``: it is there whole; ``between``: the kill fell between two
        saves.
    trouble : tuple of str
        Every kill after which something was lost or altered.
    """

    outcomes: dict[str, int]
    behind: int
    trouble: tuple[str, ...]
    save_s: float


def _edit(review: Review, who: str, number: int) -> None:
    """One edit that can be told from all others."""
    proposal = next(p for p in review.plan.proposals if p.placements)
    shown = best_placement(proposal)
    assert shown is not None
    review.edit(proposal.target.id, replace(shown, why=f"{who} {number}"), who, reason=str(number))


def _edit_without_end(folder: Path, first: int, hear: Connection, tell: Connection) -> None:
    hear.close()  # so that telling fails, and this process ends, when nobody listens any more
    review = Review.open(folder, volume=False)
    number = first
    while True:
        tell.send(("begun", number))
        _edit(review, "A", number)
        tell.send(("saved", number))
        number += 1


def _numbers(review: Review, who: str) -> list[int]:
    return [int(line.reason) for line in review.history if line.who == who]


def _killed_once(folder: Path, first: int, wait_s: float, skip: int) -> tuple[int, int]:
    """Kill a child `wait_s` after its save number `skip` began; the last save begun and the last one finished."""
    hear, tell = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_edit_without_end, args=(folder, first, hear, tell))
    child.start()
    tell.close()
    begun = saved = first - 1
    while begun < first + skip and hear.poll(_SLOWEST_SAVE_S):
        word, number = hear.recv()
        begun, saved = (number, saved) if word == "begun" else (begun, number)
    time.sleep(wait_s)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    while True:
        try:
            word, number = hear.recv()
        except EOFError:
            return begun, saved
        begun, saved = (number, saved) if word == "begun" else (begun, number)


def kill_saves(folder: Path, kills: int, seed: int = 0) -> Kills:
    """Kill a reviewer of a plan folder many times.

    Parameters
    ----------
    folder : Path
        A plan folder with at least one placement; it is worked in.
    kills : int
        How many saves are killed.
    """
    chance, outcomes, trouble, behind = random.Random(seed), Counter[str](), [], 0
    began = time.perf_counter()
    _edit(Review.open(folder, volume=False), "A", 0)
    save_s = time.perf_counter() - began
    last = 0
    for n in range(kills):
        begun, saved = _killed_once(folder, last + 1, chance.uniform(0, save_s), chance.randrange(2))
        plan_json = (folder / "plan.json").read_bytes()
        review = Review.open(folder, volume=False)
        behind += (folder / "plan.json").read_bytes() != plan_json
        there = _numbers(review, "A")
        if there not in (list(range(saved + 1)), list(range(begun + 1))):
            trouble.append(f"kill {n}: saves 0 to {saved} were finished, the journal holds {there}")
        trouble += [f"kill {n}: {problem.sentence}" for problem in verify_folder(folder).problems]
        last = there[-1]
        outcomes["between" if begun == saved else "new" if last == begun else "old"] += 1
    return Kills(dict(outcomes), behind, tuple(trouble), save_s)


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
    """A small plan to work in: one nerve of the synthetic study that ships with the package."""
    from planner import plan_study
    from sample_data import lumbar_ct_path

    plan_study(lumbar_ct_path(), folder, nerves=("L4 MB",), report=False)


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
    counts = ", ".join(f"{count} {word}" for word, count in sorted(killed.outcomes.items()))
    lines = [
        f"Commit {build}, {began:%Y-%m-%d %H:%M} UTC, by `python -m benchmarks.reliability --saves "
        f"{asked.saves} --edits {asked.edits}`.", "",
        "| what | asked | lost or altered |", "|---|---|---|",
        f"| SIGKILL during saves of a plan under review ({counts}; `plan.json` brought up to date from the journal "
        f"{killed.behind} times; opening and one save took {killed.save_s:.2f} s) | {asked.saves} kills | "
        f"{len(killed.trouble)} |",
        f"| two processes editing the same plan | {2 * asked.edits} edits | {len(lost)} |", ""]
    lines += [f"* {words}" for words in (*killed.trouble, *lost)]
    write_page("reliability.md", lines)
    print("\n".join(lines))
    return int(bool(killed.trouble or lost))


if __name__ == "__main__":
    raise SystemExit(main())
