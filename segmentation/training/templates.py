"""Makes the template vertebrae of the second landmark method, ``segmentation/data/templates.npz``.

Run ``python -m segmentation.training.templates --data DATA``. Shapes: the mean of 87 patients for L2 to L5 (MIT), the
mean of four CC BY 4.0 label maps for T12, L1 and S1. Landmarks: found on both sides of the four label maps by
bone geometry, carried into the template by registration; the template gets their geometric median, so that a single
misplaced point has no say.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from imaging.geometry import Side
from imaging.volume import Grid
from segmentation.anatomy import Level
from segmentation.bones import fitted_bones, upright_of
from segmentation.frames import BodyMeasures, FrameFit, vertebral_frame
from segmentation.labels import import_labels
from segmentation.landmarks.atlas import FILE_NAME, MIDLINE_KINDS, level_surface, mirrored_pairs
from segmentation.landmarks.measure import SideMeasures, arch_block, measure_presacral
from segmentation.landmarks.sacrum import SacralSide, measure_sacral_side, working_frame
from segmentation.landmarks.warp import Surface, Warp, WarpBasis, register

__all__ = ["main"]

PEOPLE = ("s0004", "s0012", "s0327", "s0328")
MEAN_MESH = {Level.L2: 0, Level.L3: 1, Level.L4: 2, Level.L5: 3}
SEED = {Level.T12: Level.L2, Level.L1: Level.L2}
SACRUM_SEED = "s0328"
CONTROLS = 160
ROUNDS = 2
# The stub of the twelfth thoracic transverse process has no end that bone geometry finds twice in the same place.
KINDS = {Level.T12: ("sap_tip", "pedicle_center", "spinous_tip"),
         Level.S1: ("ala_groove", "sap_tip", "pedicle_center", "ventral", "dorsal")}


@dataclass(frozen=True)
class Example:
    """One bone: its surface, its body, and its landmarks by bone geometry, (lateral, posterior, superior)."""

    surface: Surface
    size: np.ndarray | None
    sides: dict[Side, dict[str, np.ndarray]]
    spinous_tip: np.ndarray | None


def mean_meshes(folder: Path) -> Iterator[tuple[np.ndarray, Grid]]:
    """Masks at 1 mm of the four vertebrae of the mean mesh (its x runs forward, y to the left, z up)."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

    vertices = np.loadtxt(folder / "meanMesh_vertices.csv", delimiter=",")
    faces = np.loadtxt(folder / "meanMesh_faces.csv", delimiter=",", dtype=np.int64) - 1
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    shape = (len(vertices), len(vertices))
    count, part = connected_components(coo_matrix((np.ones(len(edges)), edges.T), shape=shape), directed=False)
    lps = np.column_stack([vertices[:, 1], -vertices[:, 0], vertices[:, 2]])
    for n in range(count):
        mesh = vtk.vtkPolyData()
        points = vtk.vtkPoints()
        points.SetData(numpy_to_vtk(lps, deep=1))
        mesh.SetPoints(points)
        cells = vtk.vtkCellArray()
        cells.SetData(3, numpy_to_vtkIdTypeArray(faces[part[faces[:, 0]] == n].ravel(), deep=1))
        mesh.SetPolys(cells)
        own = lps[part == n]
        origin = np.floor(own.min(axis=0)) - 12
        size = (np.ceil(own.max(axis=0)) + 12 - origin).astype(int)
        image = vtk.vtkImageData()
        image.SetDimensions(*size.tolist())
        image.SetOrigin(*origin)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().Fill(1)
        stencil = vtk.vtkPolyDataToImageStencil()
        stencil.SetInputData(mesh)
        stencil.SetOutputOrigin(*origin)
        stencil.SetOutputWholeExtent(image.GetExtent())
        cut = vtk.vtkImageStencil()
        cut.SetInputData(image)
        cut.SetStencilConnection(stencil.GetOutputPort())
        cut.SetBackgroundValue(0)
        cut.Update()
        mask = vtk_to_numpy(cut.GetOutput().GetPointData().GetScalars()).reshape(size[::-1]).astype(bool)
        affine = np.eye(4)
        affine[:3, 3] = origin
        yield mask, Grid(tuple(int(s) for s in mask.shape), affine)


def body_size(measures: BodyMeasures | None) -> np.ndarray | None:
    """Width, depth and height, or None for a sacrum."""
    if measures is None or np.isnan(measures.width):
        return None
    return np.array([measures.width, measures.depth, measures.height])


def example(fit: FrameFit, level: Level, upright: np.ndarray | None) -> Example:
    """Measure one bone."""
    if level is Level.S1:
        fit = replace(fit, frame=working_frame(fit.frame, upright))
        block = arch_block(fit)
        sides = {side: _sacral(measure_sacral_side(block, side)) for side in Side}
        return Example(level_surface(block, level), None, sides, None)
    block = arch_block(fit)
    measured = measure_presacral(fit, block)
    surface = level_surface(block, level)
    return Example(surface, body_size(fit.measures), {s: _presacral(m) for s, m in measured.sides.items()},
                   measured.spinous_tip)


def _sacral(m: SacralSide) -> dict[str, np.ndarray]:
    points = {"ala_groove": m.groove, "sap_tip": m.articular_tip, "pedicle_center": m.pedicle, "ventral": m.ventral,
              "dorsal": m.dorsal}
    return {k: p for k, p in points.items() if p is not None}


def _presacral(m: SideMeasures) -> dict[str, np.ndarray]:
    points = {"sap_tip": m.articular_tip, "tp_tip": m.transverse_tip, "pedicle_center": m.pedicle.center,
              "sap_tp_junction": None if m.junction is None else m.junction.point,
              "ventral": None if m.neck is None else m.neck.ventral,
              "mamillo_accessory_notch": None if m.neck is None else m.neck.notch}
    return {k: p for k, p in points.items() if p is not None}


def flipped(surface: Surface) -> Surface:
    """The mirror image."""
    return Surface(surface.points * (-1, 1, 1), surface.normals * (-1, 1, 1))


def halved(surface: Surface) -> Surface:
    """The left half followed by its mirror image."""
    left = surface.points[:, 0] >= 0
    return Surface(mirrored_pairs(surface.points[left]), mirrored_pairs(surface.normals[left]))


def spread_controls(points: np.ndarray, count: int) -> np.ndarray:
    """(count, 3): places far from each other on the left half, and their mirror images."""
    half = points[points[:, 0] >= 0]
    chosen = [int(np.argmax(half[:, 0]))]
    away = np.linalg.norm(half - half[chosen[0]], axis=1)
    while len(chosen) < count // 2:
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, np.linalg.norm(half - half[chosen[-1]], axis=1))
    return mirrored_pairs(half[chosen])


def moved_normals(warp: Warp, surface: Surface) -> np.ndarray:
    """Normals after a warp, by its finite differences."""
    step = 0.5
    ends = [(warp.move(surface.points + step * e), warp.move(surface.points - step * e)) for e in np.eye(3)]
    jacobian = np.stack([(far - near) / (2 * step) for far, near in ends], axis=-1)
    normals = np.einsum("nji,nj->ni", np.linalg.inv(jacobian), surface.normals)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def averaged(base: Surface, size: np.ndarray | None, examples: list[Example]) -> tuple[Surface, np.ndarray | None]:
    """The base moved to the mean shape of all bones and their mirror images."""
    basis = WarpBasis.build(base.points, spread_controls(base.points, CONTROLS))
    points, normals = [], []
    for bone in examples:
        for surface in (bone.surface, flipped(bone.surface)):
            warp = register(base, basis, surface, start_scale(bone, size))
            points.append(warp.move(base.points))
            normals.append(moved_normals(warp, base))
    normal = np.mean(normals, axis=0)
    mean = Surface(np.mean(points, axis=0), normal / np.linalg.norm(normal, axis=1, keepdims=True))
    return mean, None if size is None else np.mean([b.size for b in examples], axis=0)


def start_scale(bone: Example, size: np.ndarray | None) -> np.ndarray:
    """Scale the registration begins with."""
    return np.ones(3) if size is None or bone.size is None else bone.size / size


def geometric_median(points: np.ndarray) -> np.ndarray:
    """The place with the least sum of distances."""
    centre = np.median(points, axis=0)
    for _ in range(30):
        weight = 1.0 / np.maximum(np.linalg.norm(points - centre, axis=1), 0.3)
        centre = np.average(points, axis=0, weights=weight)
    return centre


def learned(base: Surface, size: np.ndarray | None, examples: list[Example], level: Level) -> tuple[dict, dict]:
    """Landmarks in the template and the median distance of the examples to them."""
    basis = WarpBasis.build(base.points, spread_controls(base.points, CONTROLS))
    found: dict[str, list[np.ndarray]] = {}
    for bone in examples:
        for side in Side:
            surface = bone.surface if side is Side.LEFT else flipped(bone.surface)
            warp = register(base, basis, surface, start_scale(bone, size))
            for kind, point in bone.sides.get(side, {}).items():
                found.setdefault(kind, []).append(warp.pull(point)[0])
            if bone.spinous_tip is not None:
                found.setdefault("spinous_tip", []).append(warp.pull(bone.spinous_tip * (side.sign, 1, 1))[0])
    places, spread = {}, {}
    for kind in sorted(found):
        if level in KINDS and kind not in KINDS[level]:
            continue
        points = np.array(found[kind])
        place = geometric_median(points)
        if kind in MIDLINE_KINDS:
            place[0] = 0.0
        away = np.linalg.norm(points - place, axis=1)
        print(f"{level} {kind:24s} n {len(points)}  {np.round(place, 1)}  median {np.median(away):.1f} "
              f"max {away.max():.1f} mm", flush=True)
        places[kind], spread[kind] = place, float(np.median(away))
    return places, spread


def main() -> None:
    """Build every template and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("segmentation/data") / FILE_NAME)
    options = parser.parse_args()
    people = {}
    for name in PEOPLE:
        path = options.data / "labels" / f"{name}_totalsegmentator.nii.gz"
        bones = fitted_bones(import_labels(path, "totalsegmentator"))
        people[name] = ({bone.name: bone.fit for bone in bones if bone.fit is not None}, upright_of(bones))
    meshes = list(mean_meshes(options.data / "meshes" / "lumbar_mean_87_patients"))
    means = {level: vertebral_frame(*meshes[n], (0.0, 0.0, 1.0)) for level, n in MEAN_MESH.items()}
    out: dict[str, np.ndarray] = {}
    levels = (Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5, Level.S1)
    for level in levels:
        examples = {n: example(fits[level], level, up) for n, (fits, up) in people.items()}
        if level is Level.S1:
            base, size = halved(examples[SACRUM_SEED].surface), None
        else:
            seed = means[SEED.get(level, level)]
            base = halved(level_surface(arch_block(seed), level))
            size = body_size(seed.measures)
        for _ in range(0 if level in MEAN_MESH else ROUNDS):
            base, size = averaged(base, size, list(examples.values()))
        places, spread = learned(base, size, list(examples.values()), level)
        half = len(base.points) // 2
        out |= {f"{level}/points": base.points[:half], f"{level}/normals": base.normals[:half],
                f"{level}/controls": spread_controls(base.points, CONTROLS)[:CONTROLS // 2],
                f"{level}/size": np.full(3, np.nan) if size is None else size,
                f"{level}/landmarks": np.array(list(places.values())),
                f"{level}/spread_mm": np.array(list(spread.values()))}
        out = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in out.items()}
        out[f"{level}/kinds"] = np.array(list(places))
    out["levels"] = np.array([level.value for level in levels])
    np.savez_compressed(options.out, **out)
    print(f"{options.out}: sha256 {hashlib.sha256(options.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
