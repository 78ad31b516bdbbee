"""Path search: time per stage for twelve lumbar targets, and needles judged per second against a bare mesh hit test.

Run from the repository root: ``python -m benchmarks.paths``. Times are medians after compilation; the first call, with
compilation or from its cache, is printed too. The rival is VTK's static cell locator asked only whether a line hits the
same bones' and canal's surface: no radius, no margins, no distances.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import to_world
from sample_data.phantom import PhantomSpec, build_phantom
from segmentation.anatomy import StructureName
from segmentation.spine import Spine
from targeting.assess import assess
from targeting.candidates import first_batch
from targeting.clearance import ClearanceMeter
from targeting.fields import build_fields
from targeting.kernels import least_slack
from targeting.planning import propose
from targeting.procedures import load_procedure, procedure_names
from targeting.scene import Scene
from targeting.search import search
from targeting.targets import make_targets
from tests.targeting.builders import spine_of


def timed(work: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """First and median wall time, s."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def surface(mask: NDArray[np.bool_], spine: Spine) -> object:
    """VTK surface of a mask in LPS mm."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    image = vtk.vtkImageData()
    image.SetDimensions(mask.shape[2], mask.shape[1], mask.shape[0])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel().astype(np.uint8), deep=True))
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.Update()
    mesh = edges.GetOutput()
    points = to_world(spine.grid, vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64))
    mesh.GetPoints().SetData(numpy_to_vtk(points, deep=True))
    return mesh


def hits_per_second(spine: Spine, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> float:
    """Lines per second of the static cell locator."""
    import vtk

    canal = spine.structures[StructureName.CANAL].mask
    assert canal is not None
    locator = vtk.vtkStaticCellLocator()
    locator.SetDataSet(surface((spine.labels > 0) | canal, spine))
    locator.BuildLocator()
    t, x, p, sub, cell = vtk.mutable(0.0), [0.0] * 3, [0.0] * 3, vtk.mutable(0), vtk.mutable(0)
    begun = time.perf_counter()
    for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
        locator.IntersectWithLine(a, b, 1e-6, t, x, p, sub, cell)
    return len(starts) / (time.perf_counter() - begun)


def main() -> None:
    """Print the table."""
    spine = spine_of(build_phantom(PhantomSpec()))
    print(f"phantom {spine.grid.shape}, {np.round(spine.grid.spacing, 2).tolist()} mm")
    for name in procedure_names():
        procedure = load_procedure(name)
        targets = make_targets(spine, procedure).targets
        fields = build_fields(spine, targets, procedure)
        meter = ClearanceMeter(spine)
        scenes = [Scene(spine, fields, target, procedure) for target in targets]
        print(f"\n{name}: {len(targets)} targets, fields of {fields.grid.shape}")
        one = first_batch(scenes[0]).take(np.arange(1))
        stages: dict[str, Callable[[], object]] = {
            "fields": lambda t=targets, p=procedure: build_fields(spine, t, p),
            "search of all targets": lambda s=scenes, m=meter: [search(scene, m) for scene in s],
            "one drag update": lambda s=scenes[0], n=one: assess(s, n),
            "whole proposal": lambda t=targets, p=procedure: propose(spine, t, p),
        }
        for stage, work in stages.items():
            first, median = timed(work)
            print(f"  {stage:24s} {median * 1000:9.1f} ms   (first call {first * 1000:.1f} ms)")
        judge(spine, scenes[2])


def judge(spine: Spine, scene: Scene) -> None:
    """Needles per second of the margin and bone test against bare hit tests of the same lines."""
    batch = assess(scene, first_batch(scene))
    reached = np.flatnonzero(batch.lengths > 0)[:20_000]
    tips, directions, lengths = batch.tips[reached], batch.directions[reached], batch.lengths[reached]
    fields = scene.fields

    def ours() -> None:
        least_slack(fields.combined, fields.bones, scene.inverse, scene.origin, tips, directions, lengths, 3.0)

    rate = len(tips) / timed(ours)[1]
    rival = hits_per_second(spine, batch.entries[reached], tips - 3.0 * directions)
    print(f"  {len(tips)} needles: {rate:,.0f} per second with radius, margins and least distances; "
          f"static cell locator {rival:,.0f} bare hits per second; ratio {rate / rival:.1f}")


if __name__ == "__main__":
    main()
