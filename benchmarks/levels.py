"""Are level confidences probabilities? Names on crops of the real scans, against what is known of the whole scan.

``python -m benchmarks.levels [SCAN ...] [--step MM] [--cut-sacrum]``. A window every 10 mm from the lowest known
vertebra to the highest; heights of 100, 140, 180 and 220 mm in turn, and every third window 90 mm wide around the
spine. With ``--cut-sacrum``, windows of 100 x 120 mm whose middle lies from 30 mm below L5 to 20 mm above it, so that
the field cuts the sacrum at every height. A vertebra counts when its body centre lies within 15 mm of a known one, S1
included. Truth: two readers (not physicians) on s0015 and s0028, label maps elsewhere, of which lidc0001 and
ts_example are another tool's.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from benchmarks.cases import DATA, read_json
from benchmarks.segmentation import body_core
from imaging.geometry import canonical_axes, to_index, to_world
from imaging.resample import from_sitk
from imaging.volume import Grid, Volume
from segmentation.anatomy import VERSE_LABEL, Level
from segmentation.builtin import BuiltinEngine
from segmentation.spine import NumberingStatus

SCANS = {"s0015": "", "s0028": "", "ts_example": "totalsegmentator", "lidc0001": "totalsegmentator",
         "verse014": "verse"}
_NEAR_MM = 15.0
_HEIGHTS_MM = (100.0, 140.0, 180.0, 220.0)
_NARROW_MM, _WHOLE_MM = 90.0, 1e4
_CUT_SACRUM_MM, _CUT_SACRUM_WIDTH_MM = (-30.0, 20.0), 120.0


@dataclass(frozen=True)
class Naming:
    """One vertebra in one crop."""

    scan: str
    tier: str
    truth: str
    named: str
    confidence: float

    @property
    def abstained(self) -> bool:
        """Relative, or doubted by the engine itself."""
        return self.named.startswith("LLV") or self.confidence <= 0.5

    @property
    def right(self) -> bool:
        """Named as it should be."""
        return self.named == self.truth


def known_centres(scan: str, sacral: bool = False) -> dict[str, NDArray[np.float64]]:
    """Body centres, LPS mm, of the vertebrae whose names are known; with S1 when asked."""
    left_out = ("L6", "T13") if sacral else ("S1", "L6", "T13")
    if not SCANS[scan]:
        points = read_json(DATA / "landmarks" / f"{scan}.json")["points"]
        return {level: np.array(p["body_center"]) for level, p in points.items() if level not in left_out}
    labels, grid = from_sitk(sitk.ReadImage(str(DATA / "labels" / f"{scan}_{SCANS[scan]}.nii.gz")))
    out = {}
    for level, value in VERSE_LABEL.items():
        number = value if SCANS[scan] == "verse" else 26 if level is Level.S1 else 51 - value
        mask = labels == number
        if level.value not in left_out and mask.sum() * np.prod(grid.spacing) > 15000.0:
            out[level.value] = body_core(mask, grid)
    return out


def crop(volume: Volume, centre: NDArray[np.float64], height_mm: float, width_mm: float) -> Volume:
    """A window around a point (LPS mm), in axes that run superior, posterior, left."""
    axes = canonical_axes(volume.grid)
    array, grid = axes.apply(volume.array), axes.grid
    index, spacing = to_index(grid, centre), grid.spacing
    half = np.array([width_mm / 2, 1e4, height_mm / 2]) / spacing
    size = np.array(grid.shape[::-1])
    low = np.clip(np.round(index - half), 0, size - 2).astype(int)
    high = np.clip(np.round(index + half), low + 2, size).astype(int)
    part = np.ascontiguousarray(array[low[2]: high[2], low[1]: high[1], low[0]: high[0]])
    affine = grid.affine.copy()
    affine[:3, 3] = to_world(grid, low)
    return Volume(part, Grid(part.shape, affine), volume.modality, volume.slope, volume.intercept)


def windows(scan: str, step_mm: float) -> Iterator[tuple[NDArray[np.float64], float, float]]:
    """Centre (LPS mm), height and width (mm) of each window on a scan."""
    centres = np.array(sorted(known_centres(scan).values(), key=lambda c: float(c[2])))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    for n, at in enumerate(np.arange(0.0, along[-1] + 1e-6, step_mm)):
        centre = np.array([np.interp(at, along, centres[:, axis]) for axis in range(3)])
        yield centre, _HEIGHTS_MM[n % len(_HEIGHTS_MM)], _NARROW_MM if n % 3 == 2 else _WHOLE_MM


def sacrum_windows(scan: str, step_mm: float) -> Iterator[tuple[NDArray[np.float64], float, float]]:
    """The same for windows whose lower end cuts the sacrum; none where L5 is not known."""
    known = known_centres(scan)
    if "L5" in known:
        for up in np.arange(_CUT_SACRUM_MM[0], _CUT_SACRUM_MM[1] + 1e-6, step_mm):
            yield known["L5"] + (0.0, 0.0, up), _HEIGHTS_MM[0], _CUT_SACRUM_WIDTH_MM


def namings(scan: str, chosen: Iterable[tuple[NDArray[np.float64], float, float]]) -> list[Naming]:
    """Every known vertebra that the engine found in a scan's windows; each window's line goes to standard error."""
    array, grid = from_sitk(sitk.ReadImage(str(DATA / "ct" / f"{scan}.nii.gz")))
    volume, known = Volume(array, grid), known_centres(scan, sacral=True)
    out: list[Naming] = []
    for centre, height, width in chosen:
        seg = BuiltinEngine().segment(crop(volume, centre, height, width), lambda stage, done: None)
        before = len(out)
        for label, name in seg.levels.items():
            if name == "S1":
                continue
            at = body_core(seg.labels == label, seg.grid)
            near = min(known, key=lambda k: float(np.linalg.norm(known[k] - at)))
            if np.linalg.norm(known[near] - at) <= _NEAR_MM:
                out.append(Naming(scan, seg.numbering.tier.value, near, name, seg.confidence.get(name, 0.0)))
        found = ", ".join(f"{n.truth}:{n.named} {n.confidence:.2f}" for n in out[before:])
        relative = " relative" if seg.numbering.status is NumberingStatus.RELATIVE else ""
        why = next(iter(seg.evidence.values()), ())[:2]
        print(f"  {scan} {height:.0f} x {min(width, 999):.0f} mm at {centre[2]:.0f}: tier {seg.numbering.tier.value}"
              f"{relative}; {found}; {'; '.join(why)}", file=sys.stderr, flush=True)
    return out


def summary(all_namings: list[Naming]) -> str:
    """Counts by tier and by confidence."""
    lines = [f"vertebrae {len(all_namings)}, of which abstained {sum(n.abstained for n in all_namings)}"]
    by_tier: dict[str, list[Naming]] = defaultdict(list)
    by_confidence: dict[str, list[Naming]] = defaultdict(list)
    for n in all_namings:
        if not n.named.startswith("LLV"):
            by_tier[n.tier].append(n)
            by_confidence[f"{int(n.confidence * 10) / 10:.1f}"].append(n)
    lines += [f"tier {tier}: {sum(n.right for n in group)} of {len(group)} right"
              for tier, group in sorted(by_tier.items())]
    lines += [f"confidence {key}..: {np.mean([n.confidence for n in group]):.2f} stated, "
              f"{np.mean([n.right for n in group]):.2f} right (n {len(group)})"
              for key, group in sorted(by_confidence.items())]
    wrong = [n for n in all_namings if not n.right and not n.abstained]
    lines.append(f"wrong above 0.5: {len(wrong)} "
                 + "; ".join(f"{n.scan} {n.truth} called {n.named}" for n in wrong[:12]))
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="*", default=list(SCANS))
    parser.add_argument("--step", type=float, default=10.0, help="mm between two windows")
    parser.add_argument("--cut-sacrum", action="store_true", help="only windows that cut the sacrum")
    arguments = parser.parse_args()
    kind = sacrum_windows if arguments.cut_sacrum else windows
    chosen = {scan: list(kind(scan, arguments.step)) for scan in arguments.scans}
    every = [n for scan, some in chosen.items() for n in namings(scan, some)]
    print("windows: " + ", ".join(f"{scan} {len(some)}" for scan, some in chosen.items()))
    print(summary(every))


if __name__ == "__main__":
    main()
