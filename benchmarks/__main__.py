"""`make bench`: run every timing and write the measured part of docs/benchmarks.md (machine, commit, commands)."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime

from benchmarks.cases import ROOT, commit, write_page

__all__ = ["main"]

_PAGES = (
    ("Loading 300 uncompressed 512 x 512 slices, vetting included, against dcm2niix where it is installed",
     ("benchmarks.loading",)),
    ("The built-in engine on the scans with labels (none of them used in training but lidc0001)",
     ("benchmarks.segmentation", "ts_example", "verse014", "tptbox_l3", "lidc0001")),
    ("The built-in engine against a full-size network on the same cores", ("benchmarks.fullsize",)),
    ("Needle search on the phantom, against VTK's static cell locator on the same scene", ("benchmarks.paths",)),
    ("Simulated fluoroscopy, 512 x 512, against SciPy and VTK on the same prepared scan", ("benchmarks.radiographs",)),
    ("One step of dragging a needle in the review window, painting not counted", ("benchmarks.viewer",)),
    ("A whole review session on s0015 in a real window, painting timed apart", ("benchmarks.session",
                                                                               "out/validate/s0015")),
    ("How much the review window grows by opening and closing plans", ("benchmarks.memory",)),
    ("Level confidences on crops of the real scans", ("benchmarks.levels",)),
    ("Level confidences where the field cuts the sacrum", ("benchmarks.levels", "--cut-sacrum")),
)


def main() -> int:
    """Run the benchmarks one after another; return 1 when one of them fails."""
    machine = f"{os.cpu_count()} cores of {platform.processor() or platform.machine()}"
    lines = [f"Commit {commit()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, Python "
             f"{platform.python_version()}, by `make bench`. Compare ratios within a run, never seconds.", ""]
    failed = False
    for title, arguments in _PAGES:
        print(f"== {title}", flush=True)
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        failed |= done.returncode != 0
        said = done.stdout if done.returncode == 0 else done.stdout + done.stderr
        print(said, flush=True)
        lines += [f"### {title}", "", f"`python -m {' '.join(arguments)}`", "", "```", said.strip(), "```", ""]
    write_page("benchmarks.md", lines)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
