"""How much the review window grows by opening and closing plans: resident memory of its own process.

``python -m benchmarks.memory PLAN_FOLDER`` opens the folder until needles can be moved, moves one, closes it, and so
on. The first opening is not counted: it loads and compiles what all others use. Growth is said from the first and from
the third, after which nothing is filled for the first time. Without a folder it plans the synthetic study.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.stage import Stage, stage
from viewer.marks import Handle

__all__ = ["main", "resident_mb", "resident_now"]

_BAR_MB = 100.0


def resident_now() -> float:
    """Resident MB of this process, by the kernel's own word."""
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _open_and_close(on: Stage, folder: Path) -> float:
    """Resident MB after opening a plan, moving a needle and closing it."""
    on.open(folder)
    on.panel.editor.drag(Handle.TIP, on.pose.tip + on.pose.direction)
    on.panel.editor.discard()
    on.panel.close_plan()
    on.hand.wait(lambda: not on.panel.strip.busy, "closing the plan")
    on.hand.rest()
    return resident_now()


def resident_mb(on: Stage, folder: Path, times: int) -> list[float]:
    """Resident MB after one opening and closing, and after each of `times` more, (times + 1,)."""
    return [_open_and_close(on, folder) for _ in range(times + 1)]


def main() -> int:
    """Measure and print; return 1 when it grew by more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--times", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, stage() as on:
        folder = asked.folder or Path(place) / "phantom"
        if asked.folder is None:
            from planner.pipeline import plan_study
            from sample_data import lumbar_ct_path
            plan_study(lumbar_ct_path(), folder, report=False)
        held = resident_mb(on, folder, asked.times)
    grown, most, later = held[-1] - held[0], max(held) - held[0], held[-1] - held[min(2, len(held) - 1)]
    print(f"{folder.name}: resident after each opening and closing, MB: {', '.join(f'{mb:.0f}' for mb in held)}")
    print(f"{asked.times} openings after the first grew the window by {grown:.0f} MB, at most {most:.0f} MB, and "
          f"by {later:.0f} MB after the third (bar: {_BAR_MB:.0f} MB)")
    return int(grown > _BAR_MB)


if __name__ == "__main__":
    raise SystemExit(main())
