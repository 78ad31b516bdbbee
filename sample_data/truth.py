"""The truth of a phantom as a JSON document, and its masks as NIfTI files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dicom import series_uids
from .morphometry import morphometry_version
from .nerves import CARRIERS
from .phantom import GENERATOR_VERSION, Phantom
from .rendering import VERSE_LABELS

__all__ = ["truth_document", "write_masks", "write_truth"]


def _rounded(array: NDArray[np.floating], digits: int = 3) -> Any:
    return (np.round(np.asarray(array, dtype=np.float64), digits) + 0.0).tolist()


def truth_document(phantom: Phantom) -> dict[str, Any]:
    """Truth of a phantom: DICOM LPS, mm, three decimals (unit vectors six).

    Returns
    -------
    dict
        ``levels`` (name, label, body centre, frame), ``landmarks``, ``nerves``, ``findings``, ``image`` and ``spec``.
    """
    spec = phantom.spec
    names = ("origin", "e_lateral_left", "e_posterior", "e_superior")
    levels = []
    for level, label in VERSE_LABELS.items():
        frame = phantom.frames[level]
        levels.append(
            {
                "level": level,
                "label": label,
                "voxels": int((phantom.labels == label).sum()),
                "body_center": _rounded(phantom.body_centers[level]),
                "frame": {
                    name: _rounded(axis, 3 if i == 0 else 6)
                    for i, (name, axis) in enumerate(zip(names, frame, strict=True))
                },
            }
        )
    return {
        "schema": "nerveplan/phantom-truth/1",
        "coordinate_system": "LPS",
        "units": "mm",
        "generator_version": GENERATOR_VERSION,
        "morphometry_version": morphometry_version(),
        "spec": {
            "seed": spec.seed,
            "spacing_mm": list(spec.spacing_mm),
            "variant": spec.variant.value,
            "levels_in_view": None if spec.levels_in_view is None else list(spec.levels_in_view),
            "noise_hu": spec.noise_hu,
        },
        "image": {
            "shape_zyx": list(phantom.hu.shape),
            "affine": _rounded(phantom.affine, 6),
            "uids": series_uids(spec),
        },
        "findings": dict(phantom.findings),
        "levels": levels,
        "landmarks": {
            level: {name: _rounded(point) for name, point in points.items()}
            for level, points in phantom.landmarks.items()
        },
        "nerves": [
            {"nerve": nerve, "carrier": CARRIERS[nerve], "side": side, "path": _rounded(course)}
            for (nerve, side), course in phantom.nerves.items()
        ],
    }


def write_truth(phantom: Phantom, path: Path | str) -> Path:
    """Write the truth as JSON; the same phantom gives the same bytes."""
    path = Path(path)
    path.write_text(json.dumps(truth_document(phantom), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_masks(phantom: Phantom, folder: Path | str) -> list[Path]:
    """Write ``labels.nii.gz`` and one ``structures/NAME.nii.gz`` per structure; needs SimpleITK."""
    import SimpleITK as sitk

    folder = Path(folder)
    (folder / "structures").mkdir(parents=True, exist_ok=True)
    arrays = {"labels": phantom.labels}
    arrays |= {f"structures/{name}": mask.astype(np.uint8) for name, mask in sorted(phantom.structures.items())}
    paths: list[Path] = []
    for name, array in arrays.items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([float(value) for value in phantom.spec.spacing_mm[::-1]])
        image.SetOrigin([float(value) for value in phantom.affine[:3, 3]])
        path = folder / f"{name}.nii.gz"
        sitk.WriteImage(image, str(path), useCompression=True)
        paths.append(path)
    return paths
