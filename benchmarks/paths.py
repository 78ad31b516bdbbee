"""Path search: candidates followed per second against mesh hit tests, and the time of every stage.

Run from the repository root: ``python -m benchmarks.paths [PLAN] [--json]``. PLAN is a plan folder beside its scan;
without it the phantom's CT and truth are used. The peers answer less on the same scene in the same run: whether a bare
line from the skin to 3 mm before the tip hits the surface of anything, no radius, no margins. Ours follows each shaft
with radius and margins to its tip, or names the structure that stops it. Rates are per second of one thread's CPU time,
the best of interleaved rounds, because other work may share the machine; stage times are wall times, cold (first call,
with compilation or its cache) and warm (best of the rest), beside the processor time of all threads. `growth` is the
warm processor time of searching 1, 12 and 60 targets, divided by their number. `bars` lists each bar with its figure;
the exit code says nothing of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from imaging.geometry import CArmAngles, to_world
from imaging.volume import Volume
from planner.loading import load_plan
from sample_data.phantom import PhantomSpec, build_phantom
from segmentation.spine import Spine
from targeting.assess import assess
from targeting.candidates import first_batch
from targeting.clearance import ClearanceMeter
from targeting.evaluation import Evaluator
from targeting.fields import build_fields
from targeting.fluoroscope import beam
from targeting.follow import find_stop
from targeting.model import RejectionReason
from targeting.planning import propose
from targeting.procedures import Procedure, load_procedure
from targeting.radiograph import attenuation, radiograph
from targeting.scene import Scene
from targeting.search import search
from targeting.targets import make_targets
from tests.targeting.builders import spine_of
from tests.targeting.reference import axis_points, sample

Array = NDArray[np.float64]
PROCEDURES = ("lumbar-medial-branch-block", "lumbar-medial-branch-rf")
ROUNDS, BEFORE_TIP_MM, SLOW_PEER_LINES = 25, 3.0, 2000


def cold_and_warm(work: Callable[[], object], repeats: int = 3) -> dict[str, float]:
    """First and best wall time of the rest, and the best CPU time of the rest, s."""
    wall, cpu = [], []
    for _ in range(repeats + 1):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"cold_s": round(wall[0], 4), "warm_s": round(min(wall[1:]), 4), "warm_cpu_s": round(min(cpu[1:]), 4)}


def surface(spine: Spine, procedure: Procedure) -> vtk.vtkPolyData:
    """One mesh, in LPS mm, of every bone and everything that has a margin."""
    mask = spine.labels > 0
    for name in procedure.margins:
        structure = spine.structures.get(name)
        if structure is not None and structure.mask is not None:
            mask = mask | structure.mask
    image = vtk.vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel().astype(np.uint8), deep=True))
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.Update()
    mesh = edges.GetOutput()
    points = to_world(spine.grid, vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64))
    mesh.GetPoints().SetData(numpy_to_vtk(points, deep=True))
    return mesh


def peers(mesh: vtk.vtkPolyData, starts: Array, ends: Array) -> dict[str, tuple[int, Callable[[], object]]]:
    """Name -> number of lines and the work of testing them all."""
    a, b = starts.tolist(), ends.tolist()
    t, x, p, sub, cell = vtk.mutable(0.0), [0.0] * 3, [0.0] * 3, vtk.mutable(0), vtk.mutable(0)
    static, tree = vtk.vtkStaticCellLocator(), vtk.vtkOBBTree()
    for locator in (static, tree):
        locator.SetDataSet(mesh)
        locator.BuildLocator()

    def with_static() -> None:
        for u, v in zip(a, b, strict=True):
            static.IntersectWithLine(u, v, 1e-6, t, x, p, sub, cell)

    def with_tree() -> None:
        for u, v in zip(a[:SLOW_PEER_LINES], b, strict=False):
            tree.IntersectWithLine(u, v, None, None)

    out: dict[str, tuple[int, Callable[[], object]]] = {
        "vtkStaticCellLocator": (len(a), with_static), "vtkOBBTree": (min(len(a), SLOW_PEER_LINES), with_tree)}
    try:
        import trimesh
        from trimesh.ray.ray_pyembree import RayMeshIntersector
    except ImportError:
        return out
    faces = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    rays = RayMeshIntersector(trimesh.Trimesh(vtk_to_numpy(mesh.GetPoints().GetData()), faces, process=False))
    along = ends - starts
    out["trimesh+embree"] = (len(a), lambda: rays.intersects_any(starts, along))
    return out


def shafts(scenes: Iterable[Scene]) -> tuple[Array, Array, Array]:
    """Tips, directions and lengths of every candidate that came as far as its path."""
    tips, directions, lengths = [], [], []
    for scene in scenes:
        batch = assess(scene, first_batch(scene))
        rows = [batch.left()] + [which for limit, which, _ in batch.broken if limit.reason is RejectionReason.MARGIN
                                 or (limit.reason is RejectionReason.BONE_ON_PATH and limit.bound == 0.0)]
        reached = np.sort(np.concatenate(rows))
        tips.append(batch.tips[reached])
        directions.append(batch.directions[reached])
        lengths.append(batch.lengths[reached])
    return np.concatenate(tips), np.concatenate(directions), np.concatenate(lengths)


def judge(spine: Spine, scenes: list[Scene]) -> dict[str, Any]:
    """Shafts followed per second of CPU time against the peers' lines, and what the fast answer agrees with."""
    scene, (tips, directions, lengths) = scenes[0], shafts(scenes)
    fields, zone = scene.fields, scene.procedure.tip.zone.value

    def ours() -> Array:
        return np.asarray(find_stop(fields.merged, fields.combined, fields.cells[0], scene.inverse, scene.origin, tips,
                                    directions, lengths, zone, scene.radius))

    stops = ours()
    others = peers(surface(spine, scene.procedure), tips - lengths[:, None] * directions,
                   tips - BEFORE_TIP_MM * directions)
    works = {"ours": (len(tips), ours), **others}
    rates = dict.fromkeys(works, 0.0)
    for _ in range(ROUNDS):
        for name, (count, work) in works.items():
            begun = time.thread_time()
            work()
            rates[name] = max(rates[name], count / (time.thread_time() - begun))
    stopped = np.flatnonzero(~np.isnan(stops))
    places = tips[stopped] - stops[stopped, None] * directions[stopped]
    named = [fields.owner_at(place) is not None or float(sample(fields.bones, fields.grid, place)) < scene.radius
             for place in places]
    rng = np.random.default_rng(0)
    same = 0
    checked = rng.choice(len(tips), min(400, len(tips)), replace=False)
    for n in checked:
        s, points = axis_points(tips[n], directions[n], lengths[n])
        room = np.where(s < zone, sample(fields.combined, fields.grid, points),
                        sample(fields.merged, fields.grid, points))
        same += bool((room.min() >= scene.radius) == np.isnan(stops[n]))
    ratios = {name: rates["ours"] / rate for name, rate in rates.items()}
    return {
        "candidates": len(tips), "stopped": len(stopped), "stopped_by_a_named_structure": int(np.sum(named)),
        "candidates_per_second": round(rates["ours"]), "peers": {n: round(rates[n]) for n in others},
        "ratio_to_static_locator": round(ratios["vtkStaticCellLocator"], 2),
        "ratio_to_embree": round(ratios["trimesh+embree"], 2) if "trimesh+embree" in ratios else None,
        "ratio_to_obb_tree": round(ratios["vtkOBBTree"], 2),
        "same_as_dense_numpy": f"{same} of {len(checked)}"}


def edits(evaluator: Evaluator, proposals: Iterable[Any]) -> dict[str, float]:
    """Wall and CPU time of `Evaluator.evaluate` over every placement, ms, after one warm-up each."""
    times, cpu = [], []
    for proposal in proposals:
        for placement in proposal.placements:
            pose = placement.needles[0]
            for repeat in range(4):
                begun, used = time.perf_counter(), time.process_time()
                evaluator.evaluate(proposal.target, pose.entry, pose.tip, direction=None if pose.entry is not None
                                   else pose.direction)
                if repeat:
                    times.append(1000 * (time.perf_counter() - begun))
                    cpu.append(1000 * (time.process_time() - used))
    return {"median_ms": round(statistics.median(times), 2), "p95_ms": round(float(np.percentile(times, 95)), 2),
            "median_cpu_ms": round(statistics.median(cpu), 2),
            "p95_cpu_ms": round(float(np.percentile(cpu, 95)), 2), "calls": len(times)}


def on_every_processor(scenes: list[Scene], meter: ClearanceMeter) -> None:
    """Search as `targeting.planning.propose` does: targets side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda scene: search(scene, meter), scenes))


def growth(times: dict[str, Any]) -> dict[str, float]:
    """Processor seconds for each of 1, 12 and 60 targets."""
    return {str(n): round(times[f"search_{n}"]["warm_cpu_s"] / n, 4) for n in (1, 12, 60)}


def picture(volume: Volume, place: Array) -> dict[str, float]:
    """Times of one simulated radiograph, 20 degrees oblique, centred on a place."""
    scan, view = attenuation(volume), beam(place, CArmAngles(20, -10))
    return {"pixels": view.width, **cold_and_warm(lambda: radiograph(scan, view), ROUNDS)}


def bars(out: dict[str, Any]) -> dict[str, tuple[float | None, float]]:
    """Each bar as (figure, bar): ratios at least, times at most; processor time, because other work may share them."""
    block = out["procedures"][PROCEDURES[0]]
    return {"ratio_to_static_locator": (out["ratio_to_static_locator"], 10.0),
            "ratio_to_embree": (out["ratio_to_embree"], 1.5), "fields_cpu_s": (block["fields"]["warm_cpu_s"], 3.0),
            "search_12_cpu_s": (block["search_12"]["warm_cpu_s"], 1.0),
            "evaluate_median_cpu_ms": (block["evaluate"]["median_cpu_ms"], 16.0),
            "evaluate_p95_cpu_ms": (block["evaluate"]["p95_cpu_ms"], 16.0),
            "drr_512_cpu_ms": (round(1000 * out["drr_512"]["warm_cpu_s"], 1), 50.0)}


def stages(spine: Spine, volume: Volume, procedure: Procedure) -> dict[str, Any]:
    """Times of one procedure; the first also says how many candidates are followed per second."""
    targets = [t for t in make_targets(spine, procedure).targets if not t.withheld]
    fields, meter = build_fields(spine, targets, procedure, volume).ready(), ClearanceMeter(spine)
    scenes = [Scene(spine, fields, target, procedure) for target in targets]
    proposals = propose(spine, targets, procedure, volume=volume)
    out: dict[str, Any] = {
        "targets": len(targets), "fields_zyx": list(fields.grid.shape),
        "planned": sum(bool(p.placements) for p in proposals),
        "fields": cold_and_warm(lambda: build_fields(spine, targets, procedure, volume)),
        "search_1": cold_and_warm(lambda: search(scenes[0], meter)),
        "search_12": cold_and_warm(lambda: [search(s, meter) for s in scenes[:12]]),
        "search_12_threads": cold_and_warm(lambda: on_every_processor(scenes[:12], meter)),
        "search_60": cold_and_warm(lambda: [search(s, meter) for s in (scenes * 60)[:60]], 1),
        "evaluate": edits(Evaluator(spine, procedure, volume, targets), proposals)}
    out["growth"] = growth(out)
    if procedure.electrode is None:
        out["feasibility"] = judge(spine, scenes)
    return out


def main() -> None:
    """Print the figures, as words or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paths")
    parser.add_argument("plan", nargs="?", help="a plan folder beside its scan (default: the phantom's truth)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if asked.plan is None:
        phantom = build_phantom(PhantomSpec())
        spine = spine_of(phantom)
        volume: Volume | None = Volume(phantom.hu, spine.grid)
    else:
        plan = load_plan(asked.plan)
        spine, volume = plan.spine, plan.volume
    if volume is None:
        parser.error(f"{asked.plan}: the scan of this plan was not found")
    load = os.getloadavg()[0]
    found = {name: stages(spine, volume, load_procedure(name)) for name in PROCEDURES}
    out = {"scene": "phantom" if asked.plan is None else Path(asked.plan).name,
           "spacing_mm": np.round(spine.grid.spacing, 3).tolist(),
           "load": [round(load, 1), round(os.getloadavg()[0], 1)],
           **found[PROCEDURES[0]].pop("feasibility"), "drr_512": picture(volume, spine.vertebrae[-1].body_center),
           "procedures": found}
    out["bars"] = bars(out)
    if asked.json:
        print(json.dumps(out, indent=2))
        return
    for name, value in out.items():
        if name != "procedures":
            print(f"{name}: {value}")
    for procedure, times in found.items():
        print(f"\n{procedure}")
        for name, value in times.items():
            print(f"  {name}: {value}")


if __name__ == "__main__":
    main()
