"""Leading a needle about in a real window: it follows, limits break in words, each move timed, undone and redone.

``python -m benchmarks.dragging PLAN_FOLDER`` works on a copy; it is a part of `benchmarks.session`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.checks import Check
from benchmarks.stage import Stage, stage
from planner.folder import read_folder
from segmentation.anatomy import StructureName

__all__ = ["drag_to_canal", "dragging", "main"]

Array = NDArray[np.float64]
_MOVES, _TURN_MM, _APPROACH = 120, 4.0, 40
_BAR_MS = 16.0
_SAME_MM = 1e-3


def _ms(seconds: list[float]) -> str:
    """All but the first, which compiles what the others use."""
    ms = 1000 * np.array(seconds[1:])
    return f"median {np.median(ms):.1f} ms, P95 {np.percentile(ms, 95):.1f} ms, least {ms.min():.1f} ms"


def _scene_ms(on: Stage) -> float:
    """Processor time of moving the needles of the 3D scene, median of 20."""
    took = []
    for _ in range(20):
        began = time.thread_time()
        on.panel.scene.show_needles()
        took.append(time.thread_time() - began)
    return 1000 * float(np.median(took))


def _turns(on: Stage, moves: int) -> Array:
    """(n, 3) LPS mm: once about the tip in the plane that holds the needle."""
    tip, plane = on.pose.tip, on.in_plane.plane
    assert plane is not None
    a = np.linspace(0, 2 * np.pi, moves, endpoint=False)[:, None]
    return np.asarray(tip + _TURN_MM * (np.sin(a) * plane.right + 0.3 * np.sin(2 * a) * plane.down))


def drag_to_canal(on: Stage, first: Array) -> list[Array]:
    """Lead the tip along `first`, then straight on until the canal's margin is said to be broken; where it has been."""
    tip, been = on.pose.tip, list[Array]()
    straight = tip + np.linspace(0, 1, _APPROACH)[:, None] * (on.canal_in_plane() - tip)

    def enough() -> bool:
        been.append(on.pose.tip)
        return len(been) > len(first) and "canal" in on.broken

    on.hand.drag(on.in_plane, tip, np.concatenate([first, straight]), enough)
    return been


def dragging(on: Stage, moves: int) -> Iterator[Check]:
    """Lead the tip about until it is too near to the canal, then take it back, and make it again, and back."""
    before, hand = on.pose.tip, on.hand
    been = drag_to_canal(on, _turns(on, moves))
    kept, said = on.pose.tip, on.broken
    reach = float(np.linalg.norm(np.array(been)[:moves] - before, axis=1).max())
    yield Check("the tip follows the pointer; the canal's margin breaks in words while it is dragged",
                reach > 0.9 * _TURN_MM and "canal" in said,
                f"{len(been)} moves; let go {np.linalg.norm(kept - before):.1f} mm from where it was: {said}")
    yield Check(f"a move of the needle computes at most {_BAR_MS:.0f} ms of processor time, P95",
                bool(1000 * np.percentile(hand.move_cpu_s[1:], 95) <= _BAR_MS),
                f"{len(hand.move_s) - 1} mouse moves, everything but painting: processors {_ms(hand.move_cpu_s)}; "
                f"by the clock {_ms(hand.move_s)} (the first {1000 * hand.move_s[0]:.0f} ms); painting after each, "
                f"software GL, by the clock {_ms(hand.paint_s)}; the 3D scene follows ten times a second, "
                f"{_scene_ms(on):.1f} ms of processor time each")
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


def main() -> int:
    """Lead the first needle of a plan about; return 1 when a claim does not hold."""
    with tempfile.TemporaryDirectory() as place, stage() as on:
        on.open(Path(shutil.copytree(sys.argv[1], Path(place) / "plan")))
        on.sign_in("Dr A. Example", "radiologist")
        held = []
        for check in dragging(on, _MOVES):
            held.append(check.holds)
            print(f"{'ok  ' if check.holds else 'FAIL'} {check.claim}\n     {check.said}", flush=True)
    return int(not all(held))


if __name__ == "__main__":
    raise SystemExit(main())
