"""Triangles for the 3D scene: surfaces of masks and tubes along paths, in LPS mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging.geometry import isotropic_grid, to_world, unit
from imaging.resample import crop_grid, resample
from imaging.volume import Grid

__all__ = ["Mesh", "brightness", "join", "mask_surface", "tube"]

Array = NDArray[np.float64]
_BORDER_MM = 4.0
_SIDES = 12
_DARKEST = 0.35


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh.

    Attributes
    ----------
    vertices : (n, 3) LPS mm
    faces : (m, 3) int
        Counter-clockwise seen from outside.
    """

    vertices: Array
    faces: NDArray[np.int64]


def mask_surface(mask: NDArray[np.bool_], grid: Grid, step_mm: float) -> Mesh | None:
    """The smoothed surface of a mask; None for an empty one.

    Parameters
    ----------
    step_mm : float
        Edge of the cubes that are marched; details smaller than this are lost.
    """
    held = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(held[0]):
        return None
    low, high = (np.array([h[end] for h in held[::-1]], dtype=np.float64) for end in (0, -1))
    cropped, cut = crop_grid(grid, to_world(grid, np.stack([low, high])), _BORDER_MM)
    density = np.pad(mask[cut], 2).astype(np.float32)
    affine = cropped.affine.copy()
    affine[:3, 3] = to_world(cropped, np.full(3, -2.0))
    padded = Grid(density.shape, affine)
    smooth = ndimage.gaussian_filter(density, 0.5 * step_mm / padded.spacing[::-1])
    lattice = isotropic_grid(padded, step_mm)
    thin = resample(smooth, padded, lattice, linear=True, fill=0.0)
    return _march(np.asarray(thin, dtype=np.float32), lattice)


def _march(density: NDArray[np.float32], grid: Grid) -> Mesh | None:
    """The surface at one half of a (z, y, x) density."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    image = vtkImageData()
    image.SetDimensions(*density.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(density).ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    found: Any = edges.GetOutput()
    if not found.GetNumberOfPoints():
        return None
    vertices = to_world(grid, vtk_to_numpy(found.GetPoints().GetData()).astype(np.float64))
    faces = vtk_to_numpy(found.GetPolys().GetConnectivityArray()).astype(np.int64).reshape(-1, 3)
    mirrored = np.linalg.det(grid.direction) < 0
    return Mesh(vertices, faces[:, ::-1] if mirrored else faces)


def brightness(mesh: Mesh, light: Array) -> Array:
    """(n,) brightness of each vertex, 0.35 facing away from the light to 1 facing it."""
    a, b, c = (mesh.vertices[mesh.faces[:, n]] for n in range(3))
    facing = np.cross(b - a, c - a)
    normals = np.stack([sum(np.bincount(mesh.faces[:, n], facing[:, axis], len(mesh.vertices)) for n in range(3))
                        for axis in range(3)], axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-12)[:, None]
    return np.asarray(_DARKEST + (1.0 - _DARKEST) * (0.5 + 0.5 * normals @ unit(light)) ** 1.5)


def tube(path: Array, radius_mm: float) -> Mesh:
    """A closed round tube along a polyline (n, 3) LPS mm, n at least 2."""
    path = np.asarray(path, dtype=np.float64)
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1)[:, None]
    across = unit(np.cross(tangents[0], np.eye(3)[int(np.argmin(np.abs(tangents[0])))]))
    turn = np.linspace(0.0, 2.0 * np.pi, _SIDES, endpoint=False)
    rings = []
    for point, along in zip(path, tangents, strict=True):
        across = unit(across - (across @ along) * along)
        other = np.cross(along, across)
        rings.append(point + radius_mm * (np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * other))
    vertices = np.concatenate([*rings, path[[0, -1]]])
    here, beside = np.arange(_SIDES), np.roll(np.arange(_SIDES), -1)
    faces = []
    for ring in range(len(path) - 1):
        a, b = ring * _SIDES, (ring + 1) * _SIDES
        faces += [np.stack([a + here, a + beside, b + beside], axis=1),
                  np.stack([a + here, b + beside, b + here], axis=1)]
    first, last, end = len(path) * _SIDES, len(path) * _SIDES + 1, (len(path) - 1) * _SIDES
    faces += [np.stack([np.full(_SIDES, first), beside, here], axis=1),
              np.stack([np.full(_SIDES, last), end + here, end + beside], axis=1)]
    return Mesh(vertices, np.concatenate(faces).astype(np.int64))


def join(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one; at least one is needed."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(np.concatenate([m.vertices for m in meshes]),
                np.concatenate([m.faces + offset for m, offset in zip(meshes, offsets, strict=True)]))
