"""Simulated fluoroscopy: time of one 512 x 512 picture against two named ways to sum a CT along rays.

Run from the repository root: ``python -m benchmarks.radiographs [--json]``. The peers sum the same prepared scan with
one sample per voxel along the ray, for a thinned picture whose time is multiplied by what was left out: SciPy's
`map_coordinates` along the same diverging rays, one in 256, its indices included; VTK's `vtkImageReslice` slab sum
along parallel rays (it has no diverging ones), one in 16. Times are the least of the repeats; the first call, with
compilation or from its cache, is given too. Processor time is that of all threads: two free cores take half of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.cases import DATA
from imaging.geometry import CArmAngles, to_index, to_world
from imaging.reading import read_input
from imaging.volume import Volume
from sample_data import lumbar_ct_path
from targeting.fluoroscope import Beam, beam, fluoroscope
from targeting.radiograph import Attenuation, as_fluoroscopy, attenuation, radiograph

__all__ = ["main", "measure"]

_VIEWS = {"AP": CArmAngles(0, 0), "down the barrel": CArmAngles(20, -10), "lateral": CArmAngles(90, 0),
          "declined": CArmAngles(0, -40)}
_THIN, _VTK_THIN = 16, 4
_REPEATS = 7


def timed(work: Callable[[], object], repeats: int = _REPEATS) -> tuple[float, float, float]:
    """First and least wall time and least processor time, s."""
    wall, busy = [], []
    for _ in range(repeats + 1):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        busy.append(time.process_time() - used)
    return wall[0], min(wall), min(busy)


def scipy_sum(scan: Attenuation, view: Beam) -> NDArray[np.float64]:
    """Attenuation along every sixteenth ray of every sixteenth row, one sample per voxel edge."""
    columns, rows = np.meshgrid(np.arange(0, view.width, _THIN), np.arange(0, view.height, _THIN))
    start = view.to_patient(np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.float64))
    reach, step = float(np.linalg.norm(scan.grid.spacing * scan.grid.shape[::-1])), float(scan.grid.spacing.min())
    ray = (start - view.source) / np.linalg.norm(start - view.source, axis=-1, keepdims=True)
    total = np.zeros(rows.shape)
    for away in np.arange(-reach / 2, reach / 2, step):
        index = to_index(scan.grid, start + away * ray)
        total += ndimage.map_coordinates(scan.array, index.reshape(-1, 3)[:, ::-1].T, order=1,
                                         output=np.float32).reshape(rows.shape)
    return total * step * fluoroscope().water_per_mm / 1000.0


def vtk_sum(scan: Attenuation, view: Beam) -> Callable[[], object]:
    """VTK's slab sum over the whole depth of the scan along parallel rays; axis-aligned scans only."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(*scan.array.shape[::-1])
    image.SetSpacing(*scan.grid.spacing.tolist())
    image.GetPointData().SetScalars(numpy_to_vtk(scan.array.ravel(), deep=True))
    axes = scan.grid.direction.T @ np.stack([view.right, view.down, view.into], axis=1)
    center = to_index(scan.grid, view.center) * scan.grid.spacing
    depth = float(np.linalg.norm(scan.grid.spacing * scan.grid.shape[::-1]))

    def work() -> object:
        slab = vtk.vtkImageReslice()
        slab.SetInputData(image)
        slab.SetResliceAxesDirectionCosines(*axes.T.ravel().tolist())
        slab.SetResliceAxesOrigin(*center.tolist())
        slab.SetOutputSpacing(view.step_mm * _VTK_THIN, view.step_mm * _VTK_THIN, float(scan.grid.spacing.min()))
        slab.SetOutputOrigin(-view.step_mm * view.width / 2, -view.step_mm * view.height / 2, 0.0)
        slab.SetOutputExtent(0, view.width // _VTK_THIN - 1, 0, view.height // _VTK_THIN - 1, 0, 0)
        slab.SetInterpolationModeToLinear()
        slab.SetSlabModeToSum()
        slab.SetSlabNumberOfSlices(int(depth / scan.grid.spacing.min()))
        slab.SetOutputScalarType(vtk.VTK_FLOAT)
        slab.Update()
        return slab.GetOutput()

    return work


def measure(volume: Volume, center: NDArray[np.float64]) -> dict[str, Any]:
    """Times and agreement for one scan, as plain figures."""
    prepared = timed(lambda: attenuation(volume), 2)
    scan = attenuation(volume)
    out: dict[str, Any] = {"shape": list(volume.grid.shape), "spacing_mm": np.round(volume.grid.spacing, 2).tolist(),
                           "prepare_ms": round(prepared[1] * 1e3, 1), "views": {}}
    for name, angles in _VIEWS.items():
        view = beam(center, angles)
        first, least, busy = timed(lambda view=view: radiograph(scan, view))
        image = radiograph(scan, view)
        slow = timed(lambda view=view: scipy_sum(scan, view), 1)
        rival = timed(vtk_sum(scan, view), 1)
        oracle = scipy_sum(scan, view)
        out["views"][name] = {
            "first_ms": round(first * 1e3, 1), "ms": round(least * 1e3, 1), "processor_ms": round(busy * 1e3, 1),
            "shown_ms": round(timed(lambda image=image: as_fluoroscopy(image), 3)[1] * 1e3, 1),
            "ratio_to_scipy": round(slow[1] * _THIN**2 / least, 1),
            "ratio_to_vtk_slab": round(rival[1] * _VTK_THIN**2 / least, 1),
            "median_difference_to_scipy": float(f"{np.median(np.abs(image[::_THIN, ::_THIN] / oracle - 1)):.2g}")}
    return out


def main() -> None:
    """Print the table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    scans: dict[str, Volume] = {"phantom": read_input(lumbar_ct_path())}
    path = DATA / "ct" / "s0015.nii.gz"
    if path.exists():
        scans["s0015"] = read_input(path)
    wanted = parser.parse_args()
    found = {}
    for name, volume in scans.items():
        middle = np.array([(volume.grid.shape[2] - 1) / 2, (volume.grid.shape[1] - 1) * 0.6,
                           (volume.grid.shape[0] - 1) / 2])
        found[name] = measure(volume, to_world(volume.grid, middle))
    if wanted.json:
        print(json.dumps(found, indent=2))
        return
    for name, figures in found.items():
        print(f"{name} {figures['shape']}, {figures['spacing_mm']} mm: prepared in {figures['prepare_ms']} ms")
        for view, f in figures["views"].items():
            print(f"  {view:16s} {f['ms']:6.1f} ms, processor {f['processor_ms']:.1f} ms, first {f['first_ms']:.1f} "
                  f"ms, shown {f['shown_ms']:.1f} ms; {f['ratio_to_scipy']:.0f} times SciPy, "
                  f"{f['ratio_to_vtk_slab']:.0f} times VTK's slab sum; "
                  f"differs from SciPy by {f['median_difference_to_scipy']:.2%} (median)")


if __name__ == "__main__":
    main()
