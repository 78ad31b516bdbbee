"""Are level confidences probabilities? Names on crops of the real scans, against what is known of the whole scan.

``python -m benchmarks.levels [SCAN ...] [--crops N]``. Each crop is a random window of height (100 to 260 mm) and width
(whole, or 90 mm around the spine). A vertebra counts when its body centre lies within 15 mm of a known one. Truth: two
readers (not physicians) on s0015 and s0028, label maps elsewhere, of which lidc0001 and ts_example are another tool's.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from benchmarks.cases import DATA, read_json
from benchmarks.segmentation import body_core
from imaging.geometry import canonical_axes, to_index, to_world
from imaging.resample import from_sitk
from imaging.volume import Grid, Volume
from segmentation.anatomy import VERSE_LABEL
from segmentation.builtin import BuiltinEngine
from segmentation.spine import NumberingStatus

SCANS = {"s0015": "", "s0028": "", "ts_example": "totalsegmentator", "lidc0001": "totalsegmentator",
         "verse014": "verse"}
_NEAR_MM = 15.0


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


def known_centres(scan: str) -> dict[str, NDArray[np.float64]]:
    """Body centres, LPS mm, of the vertebrae whose names are known."""
    if not SCANS[scan]:
        points = read_json(DATA / "landmarks" / f"{scan}.json")["points"]
        return {level: np.array(p["body_center"]) for level, p in points.items() if level != "S1"}
    labels, grid = from_sitk(sitk.ReadImage(str(DATA / "labels" / f"{scan}_{SCANS[scan]}.nii.gz")))
    out = {}
    for level, value in VERSE_LABEL.items():
        number = value if SCANS[scan] == "verse" else 51 - value
        mask = labels == number
        if level.value not in ("S1", "L6", "T13") and mask.sum() * np.prod(grid.spacing) > 15000.0:
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


def namings(scan: str, count: int, rng: np.random.Generator) -> list[Naming]:
    """Every known vertebra that the engine found in `count` random crops of a scan."""
    array, grid = from_sitk(sitk.ReadImage(str(DATA / "ct" / f"{scan}.nii.gz")))
    volume, known = Volume(array, grid), known_centres(scan)
    out: list[Naming] = []
    for _ in range(count):
        centre = known[list(known)[int(rng.integers(len(known)))]]
        height = float(rng.uniform(100.0, 260.0))
        width = 90.0 if rng.random() < 0.35 else 1e4
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
        print(f"  {scan} {height:.0f} x {min(width, 999):.0f} mm: tier {seg.numbering.tier.value}{relative}; {found}; "
              f"{'; '.join(why)}", flush=True)
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
    parser.add_argument("--crops", type=int, default=4)
    arguments = parser.parse_args()
    rng = np.random.default_rng(7)
    every = [n for scan in arguments.scans for n in namings(scan, arguments.crops, rng)]
    print(summary(every))


if __name__ == "__main__":
    main()
