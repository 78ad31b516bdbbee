"""The built-in engine on the real scans: levels, body centres, overlap, time and memory, with pictures to look at.

``python -m benchmarks.segmentation [SCAN ...] [--pictures DIR]``. Body centres are compared with reader landmarks (two
readers, not physicians); overlap with label maps that other tools made measures agreement, not truth.
"""

from __future__ import annotations

import argparse
import logging
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.cases import DATA, read_json, score
from imaging.geometry import canonical_axes, to_world
from imaging.resample import from_sitk, to_sitk
from imaging.volume import Grid, Volume
from segmentation.anatomy import StructureName
from segmentation.builtin import BuiltinEngine
from segmentation.spine import Segmentation

#: Scan -> reference label map and its arguments for the scorer; None when there is none.
SCANS: dict[str, tuple[str, ...] | None] = {
    "s0015": None,
    "s0028": None,
    # its map holds S1 alone of the sacrum, so that only the free vertebrae can be compared
    "ts_example": ("ts_example_totalsegmentator", "--ref-scheme", "totalsegmentator", "--levels", "T12", "L1", "L2",
                   "L3", "L4", "L5"),
    "verse014": ("verse014_verse",),
    "tptbox_l3": ("tptbox_l3_vert", "--match", "overlap"),
    "lidc0001": ("lidc0001_totalsegmentator", "--ref-scheme", "totalsegmentator"),
}
_NEAR_MM = 15.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """One scan through the engine."""

    volume: Volume
    segmentation: Segmentation
    seconds: float
    processor_seconds: float


def run(name: str) -> Outcome:
    """Read a scan and segment it, with one line per stage in the log."""
    array, grid = from_sitk(sitk.ReadImage(str(DATA / "ct" / f"{name}.nii.gz")))
    volume = Volume(array, grid)
    started, busy = time.perf_counter(), time.process_time()
    segmentation = BuiltinEngine().segment(volume, lambda stage, done: None)
    return Outcome(volume, segmentation, time.perf_counter() - started, time.process_time() - busy)


def body_core(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """(3,) LPS mm: middle of the thickest part of a vertebra, its body."""
    block = ndimage.find_objects(mask.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(mask[block], sampling=grid.spacing[::-1])
    index = np.argwhere(depth > 0.6 * depth.max()).mean(axis=0) + [s.start for s in block]
    return to_world(grid, index[::-1])


def centre_lines(outcome: Outcome, name: str) -> list[str]:
    """Levels and body centres against the readers'; nothing where no reader looked."""
    path = DATA / "landmarks" / f"{name}.json"
    if not path.exists():
        return []
    seg = outcome.segmentation
    found = {level: body_core(seg.labels == label, seg.grid) for label, level in seg.levels.items() if level != "S1"}
    errors, wrong, missed = [], [], []
    for level, points in read_json(path)["points"].items():
        if level == "S1":
            continue
        gold = np.array(points["body_center"])
        near = min(found, key=lambda k: float(np.linalg.norm(found[k] - gold)), default=None)
        distance = float(np.linalg.norm(found[near] - gold)) if near else np.inf
        if near is None or distance > _NEAR_MM:
            missed.append(level)
            continue
        errors.append(distance)
        if near != level:
            wrong.append(f"{level} called {near} at {seg.confidence.get(near, 0):.2f}")
    mean, worst = (np.mean(errors), max(errors)) if errors else (np.nan, np.nan)
    return [f"  body centres n {len(errors)} mean {mean:.1f} max {worst:.1f} mm  wrong {wrong or 'none'}  "
            f"missed {missed or 'none'}"]


def overlap_lines(outcome: Outcome, name: str) -> list[str]:
    """What the independent scorer says about the label map."""
    reference = SCANS[name]
    if reference is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.nii.gz"
        sitk.WriteImage(to_sitk(outcome.segmentation.labels, outcome.segmentation.grid), str(path))
        truth = DATA / "labels" / f"{reference[0]}.nii.gz"
        named = score("score_labels.py", path, truth, *reference[1:])
        placed = score("score_labels.py", path, truth, *reference[1:], "--match", "overlap", "--all")
    return [f"  by name: {named.last_line}", "  by place, cut vertebrae too:",
            *(f"    {line}" for line in placed.output.strip().splitlines())]


def report(outcome: Outcome, name: str) -> str:
    """A few lines on one scan."""
    seg = outcome.segmentation
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    levels = ", ".join(f"{level} {seg.confidence.get(level, 0):.2f}" for level in seg.levels.values())
    sizes = ", ".join(f"{s.name.value} {'-' if s.mask is None else int(s.mask.sum())}"
                      for s in seg.structures.values())
    lines = [f"{name}: {outcome.seconds:.1f} s, peak {peak:.1f} GB, tier {seg.numbering.tier.value}",
             f"  levels {levels}", *centre_lines(outcome, name), *overlap_lines(outcome, name),
             f"  structures (voxels) {sizes}",
             *(f"  {f.severity.value} {f.code.value}: {f.message}" for f in seg.findings)]
    return "\n".join(lines)


def picture(outcome: Outcome, path: Path) -> None:
    """Sagittal, coronal and axial cuts through the chain with the labels in colour."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    seg = outcome.segmentation
    axes = canonical_axes(seg.grid)
    hu, labels = axes.apply(outcome.volume.values()), axes.apply(seg.labels)
    canal = seg.structures[StructureName.CANAL].mask
    canal = None if canal is None else axes.apply(canal)
    spacing = axes.grid.spacing[::-1]
    bone = np.argwhere((labels > 0) & (labels != 26)) if (labels > 0).any() else np.array([np.array(hu.shape) // 2])
    z, y, x = np.median(bone, axis=0).astype(int)
    cuts = [(2, x, "sagittal"), (2, min(x + round(12 / spacing[2]), hu.shape[2] - 1), "sagittal, 12 mm to the left"),
            (1, y, "coronal"), (1, max(y - round(18 / spacing[1]), 0), "coronal, 18 mm in front"), (0, z, "axial"),
            (0, max(z - round(20 / spacing[0]), 0), "axial, 20 mm below")]
    figure, panels = plt.subplots(2, 3, figsize=(18, 14))
    for panel, (axis, index, title) in zip(panels.ravel(), cuts, strict=True):
        a, b = (n for n in range(3) if n != axis)
        aspect = spacing[a] / spacing[b]
        panel.imshow(np.take(hu, index, axis), cmap="gray", vmin=-200, vmax=600, origin="lower", aspect=aspect)
        cut = np.take(labels, index, axis)
        colour = np.ma.masked_equal(np.where(cut > 0, 1 + (5 * cut) % 11, 0), 0)
        panel.imshow(colour, cmap="hsv", vmin=0, vmax=12, alpha=0.35, origin="lower", aspect=aspect,
                     interpolation="nearest")
        if canal is not None and np.take(canal, index, axis).any():
            panel.contour(np.take(canal, index, axis), [0.5], colors="cyan", linewidths=0.8)
        for value in np.unique(cut[cut > 0]):
            row, column = ndimage.center_of_mass(cut == value)
            panel.text(column, row, seg.levels.get(int(value), "?"), color="white", fontsize=9)
        panel.set_title(title)
    figure.tight_layout()
    figure.savefig(path, dpi=60)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="*", default=list(SCANS))
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="  %(message)s")
    logging.getLogger("segmentation.builtin").setLevel(logging.INFO)
    for name in arguments.scans:
        outcome = run(name)
        print(report(outcome, name), flush=True)
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            picture(outcome, arguments.pictures / f"{name}.png")


if __name__ == "__main__":
    main()
