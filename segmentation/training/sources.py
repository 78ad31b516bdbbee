"""Label maps of real people turned into sources for synthesis, once, on a 1.5 mm grid.

Run ``python -m segmentation.training.sources --data DATA --cache CACHE``.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from segmentation.training import anatomy
from segmentation.training.anatomy import S1, SACRUM, TISSUE, TISSUE_OF_LABEL, VERSE_TO_LABEL, VERTEBRAE

__all__ = ["RECIPES", "Source", "derive", "load_sources", "read_lps"]

SPACING = 1.5


@dataclass
class Source:
    """One person, ready for synthesis.

    Attributes
    ----------
    name : str
        Name of the label map.
    instance : ndarray, uint8, (z, y, x)
        Bone number of each voxel (TotalSegmentator v2 numbers, sacrum 25), 0 elsewhere.
    tissue : ndarray, uint8, (z, y, x)
        Codes of :data:`segmentation.training.anatomy.TISSUE`.
    depth : ndarray, uint8, (z, y, x)
        Distance into the bone from its own surface, sixteenths of a millimetre, cut at 255.
    centres : dict
        Body centre of each vertebra by number, (z, y, x) voxels; the sacrum is listed under 25.
    hu : ndarray, int16, (z, y, x), optional
        The real scan, where there is one.
    weights : dict
        Share of the patches of each net to draw from this source, relative to the others.
    """

    name: str
    instance: np.ndarray
    tissue: np.ndarray
    depth: np.ndarray
    centres: dict[int, np.ndarray]
    hu: np.ndarray | None = None
    weights: dict[str, float] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write to an npz file."""
        numbers = np.array(sorted(self.centres))
        arrays = {"instance": self.instance, "tissue": self.tissue, "depth": self.depth, "numbers": numbers}
        arrays["points"] = np.array([self.centres[int(n)] for n in numbers])
        if self.hu is not None:
            arrays["hu"] = self.hu
        np.savez_compressed(path, name=self.name, **arrays)

    @classmethod
    def load(cls, path: Path) -> Source:
        """Read what :meth:`save` wrote."""
        with np.load(path) as archive:
            name = str(archive["name"])
            centres = dict(zip(archive["numbers"].tolist(), archive["points"], strict=True))
            labels = [archive[key] for key in ("instance", "tissue", "depth")]
            return cls(name, *labels, centres, archive.get("hu"), dict(RECIPES.get(name, {})))


# Share of patches drawn from each source, by net. Scans held out for evaluation are absent by design.
RECIPES: dict[str, dict[str, float]] = {
    "s0004_totalsegmentator": {"localise": 1.0, "instance": 1.0},
    "s0012_totalsegmentator": {"localise": 1.0, "instance": 1.0},
    "s0327_totalsegmentator": {"localise": 1.0, "instance": 1.0},
    "s0328_totalsegmentator": {"localise": 1.0, "instance": 1.0},
    "verse004_verse": {"localise": 0.04, "instance": 0.45},
    "verse010_verse": {"localise": 0.04, "instance": 0.45},
    "gl003_verse": {"localise": 0.0, "instance": 0.08},
    "gl017_verse": {"localise": 0.0, "instance": 0.08},
    "lidc0001_totalsegmentator": {"localise": 0.45, "instance": 0.25},
}


def read_lps(path: Path) -> sitk.Image:
    """Read an image and permute its axes to left, posterior, superior."""
    return sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")


def resample(image: sitk.Image, spacing: float, *, linear: bool, fill: float = 0.0) -> np.ndarray:
    """Resample to an isotropic grid over the same field of view; returns (z, y, x)."""
    extent = np.multiply(image.GetSize(), image.GetSpacing())
    size = [max(1, int(np.floor(e / spacing + 1e-3))) for e in extent]
    shift = [(spacing - s) / 2.0 for s in image.GetSpacing()]
    origin = image.TransformContinuousIndexToPhysicalPoint(
        [d / s for d, s in zip(shift, image.GetSpacing(), strict=True)]
    )
    method = sitk.sitkLinear if linear else sitk.sitkNearestNeighbor
    out = sitk.Resample(
        image, size, sitk.Transform(), method, origin, [spacing] * 3, image.GetDirection(), fill, image.GetPixelID()
    )
    return sitk.GetArrayFromImage(out)


def _trunk(labels: np.ndarray) -> np.ndarray:
    """Body outline: label 120 where given, else each axial slice's labels closed, filled and grown by fat."""
    known = labels > 0
    if (labels == 120).any():
        return ndimage.binary_fill_holes(known)
    small = known[::2, ::2, ::2]
    grown = ndimage.distance_transform_edt(~small, sampling=2 * SPACING) < 40.0
    small = ndimage.distance_transform_edt(grown, sampling=2 * SPACING) > 24.0
    body = np.repeat(np.repeat(np.repeat(small, 2, 0), 2, 1), 2, 2)
    body = body[: labels.shape[0], : labels.shape[1], : labels.shape[2]]
    pad = [(0, n - m) for n, m in zip(labels.shape, body.shape, strict=True)]
    return np.pad(body, pad, mode="edge") | known


def _crop(mask: np.ndarray, margin: int) -> tuple[slice, slice, slice]:
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(found, mask.shape, strict=True)
    )


def derive(name: str, labels: np.ndarray, *, masks_only: bool = False, hu: np.ndarray | None = None) -> Source:
    """Compute everything synthesis needs from a label map.

    Parameters
    ----------
    name : str
        Name of the source.
    labels : ndarray, uint8, (z, y, x)
        TotalSegmentator v2 numbers on the 1.5 mm LPS grid.
    masks_only : bool
        True where the map holds vertebrae only; soft tissue then fills the whole field.
    hu : ndarray, optional
        The real scan on the same grid.
    """
    tissue = TISSUE_OF_LABEL[labels]
    inside = np.ones(labels.shape, bool) if masks_only else _trunk(labels)
    tissue[(tissue == TISSUE["air"]) & inside] = TISSUE["soft"]
    bone = np.isin(tissue, [TISSUE[t] for t in ("body", "sacrum", "rib", "other_bone")])
    instance = np.where(bone, labels, 0).astype(np.uint8)
    instance[instance == S1] = SACRUM
    depth = np.zeros(labels.shape, np.float32)
    centres: dict[int, np.ndarray] = {}
    rear: dict[int, np.ndarray] = {}
    canal = np.argwhere(labels == 79)
    for number in np.unique(instance[instance > 0]).tolist():
        box = _crop(instance == number, 2)
        mask = instance[box] == number
        inner = anatomy.inner_distance(mask, SPACING)
        depth[box][mask] = inner[mask]
        if number not in VERTEBRAE or mask.sum() < 1200:
            continue
        start = np.array([s.start for s in box])
        centres[number] = anatomy.body_centre(mask, inner) + start
        rear[number] = np.argwhere(mask).mean(0) + start
        if len(canal):
            nearest = canal[np.argsort(((canal - centres[number]) ** 2).sum(1))[:200]]
            rear[number] = nearest.mean(0)
    _split_bodies(instance, tissue, centres, rear)
    _add_discs(labels, instance, tissue, centres)
    if (labels == S1).any():
        centres[SACRUM] = np.argwhere(labels == S1).mean(0)
    elif (labels == SACRUM).any():
        points = np.argwhere(labels == SACRUM)
        centres[SACRUM] = points[points[:, 0] > np.quantile(points[:, 0], 0.75)].mean(0)
    stored = np.clip(np.round(depth * 16.0), 0, 255).astype(np.uint8)
    return Source(name, instance, tissue, stored, centres, hu, dict(RECIPES.get(name, {})))


def _split_bodies(instance: np.ndarray, tissue: np.ndarray, centres: dict, rear: dict) -> None:
    """Mark everything behind each posterior wall as arch, in place."""
    axes = anatomy.axes_along_spine(centres, rear)
    walls: dict[int, float] = {}
    for number, centre in centres.items():
        box = _crop(instance == number, 1)
        start = np.array([s.start for s in box])
        walls[number] = anatomy.posterior_wall(instance[box] == number, centre - start, axes[number], SPACING)
    walls = anatomy.smooth_walls(walls)
    for number, wall in walls.items():
        points = np.argwhere(instance == number)
        behind = ((points - centres[number]) @ axes[number][1]) * SPACING > wall
        tissue[tuple(points[behind].T)] = TISSUE["arch"]
    for number in set(np.unique(instance).tolist()) & set(VERTEBRAE) - set(centres):
        tissue[instance == number] = TISSUE["body"]


def _add_discs(labels: np.ndarray, instance: np.ndarray, tissue: np.ndarray, centres: dict) -> None:
    """Fill the discs between neighbouring bodies, and between L5 and the sacrum, in place."""
    free = (instance == 0) & (tissue != TISSUE["canal"])
    for number in sorted(centres):
        below = number - 1
        if below in centres:
            lower = (instance == below) & (tissue == TISSUE["body"])
        elif number == 27 and (labels == S1).any():
            lower = labels == S1
            z, y, x = np.nonzero(lower)
            keep = np.abs(x - centres[number][2]) * SPACING < 24.0
            canal_front = np.full(labels.shape[0], labels.shape[1])
            canal_z, canal_y, _ = np.nonzero(tissue == TISSUE["canal"])
            np.minimum.at(canal_front, canal_z, canal_y)
            keep &= y < canal_front[z] + 1
            lower = np.zeros_like(lower)
            lower[z[keep], y[keep], x[keep]] = True
        else:
            continue
        upper = (instance == number) & (tissue == TISSUE["body"])
        if lower.any():
            box = _crop(upper | lower, 7)
            disc = anatomy.closed_disc(upper[box], lower[box], SPACING) & free[box]
            tissue[box][disc] = TISSUE["disc"]


def load_sources(cache: Path) -> list[Source]:
    """Read all prepared sources of a cache directory."""
    return [Source.load(path) for path in sorted((Path(cache) / "sources").glob("*.npz"))]


def prepare(data: Path, cache: Path) -> None:
    """Derive and store every source of :data:`RECIPES` that exists under the data directory."""
    target = Path(cache) / "sources"
    target.mkdir(parents=True, exist_ok=True)
    for name in RECIPES:
        image = read_lps(Path(data) / "labels" / f"{name}.nii.gz")
        labels = resample(image, SPACING, linear=False).astype(np.uint8)
        verse = name.endswith("_verse")
        if verse:
            labels = VERSE_TO_LABEL[labels]
        scan = Path(data) / "ct" / f"{name.split('_')[0]}.nii.gz"
        hu = None
        if scan.exists() and not verse:
            reference = read_lps(scan)
            hu = resample(reference, SPACING, linear=True, fill=-1000.0).astype(np.int16)
        source = derive(name, labels, masks_only=verse, hu=hu)
        source.save(target / f"{name}.npz")
        print(name, source.instance.shape, sorted(source.centres), flush=True)


def data_root() -> Path:
    """Directory of the label maps and scans."""
    return Path(os.environ.get("NERVEPLAN_TEST_DATA", "../shared/data"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    prepare(args.data, args.cache)


if __name__ == "__main__":
    main()
