"""Where the proofs find scans, scorers and a place to work, and how they run the command line as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DATA", "DOCS", "EVAL", "ROOT", "Run", "commit", "nerveplan", "read_json", "run_module", "score",
           "work_folder", "write_page"]

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("NERVEPLAN_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()
EVAL = Path(os.environ.get("NERVEPLAN_EVAL", ROOT / ".." / "shared" / "eval")).resolve()
DOCS = ROOT / "docs"
#: What stands above this line of a page is a person's; what stands below is measured and written anew.
_MEASURED = "## As measured"


@dataclass(frozen=True)
class Run:
    """One finished command: what was typed, how it ended, what it printed, how long it took."""

    command: tuple[str, ...]
    code: int
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line printed, or an empty string."""
        lines = [line for line in self.output.strip().splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


def work_folder() -> Path:
    """Where plans of the proofs go; kept between runs so that pictures can be opened."""
    folder = ROOT / "out" / "validate"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(command: list[str]) -> Run:
    """Run a command; in what it printed, places in this checkout are named from its root."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    said = (done.stdout + done.stderr).replace(f"{ROOT}/", "")
    return Run(tuple(command), done.returncode, said, time.perf_counter() - started)


def run_module(name: str, *arguments: str | Path) -> Run:
    """Run a module in a process of its own."""
    return _run([sys.executable, "-m", name, *map(str, arguments)])


def nerveplan(*arguments: str | Path) -> Run:
    """Run the command line in a process of its own."""
    return run_module("planner", *arguments)


def score(script: str, *arguments: str | Path) -> Run:
    """Run one of the independent scorers."""
    return _run([sys.executable, str(EVAL / script), *map(str, arguments)])


def commit() -> str:
    """Short hash of the checked-out commit, with a plus sign when files differ from it."""
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")


def read_json(path: Path) -> Any:
    """Parse one JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_page(name: str, lines: list[str]) -> None:
    """Write the measured part of a page of `docs`; what a person wrote above it stays."""
    path = DOCS / name
    said = path.read_text(encoding="utf-8").split(_MEASURED)[0].rstrip() if path.exists() else f"# {path.stem.title()}"
    path.write_text("\n".join([said, "", _MEASURED, "", *lines]).rstrip() + "\n", encoding="utf-8")
