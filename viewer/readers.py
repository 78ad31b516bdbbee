"""napari's reader contribution: a scan with its full affine, or a plan folder with its anatomy and needles."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from imaging.file_headers import file_kind
from imaging.volume import Volume
from planner.folder import PLAN_FILE
from targeting.model import best_placement
from viewer.layers import LayerData, anatomy_layers, image_layer, needles_layer
from viewer.settings import settings

__all__ = ["SOURCE_KEY", "get_reader", "read_plan", "read_scan", "scan_layer"]

#: Key of a layer's metadata that says which path it was read from.
SOURCE_KEY = "nerveplan"
PathOrPaths = str | Sequence[str]
_DICOM_MAGIC, _DICOM_AT = b"DICM", 128


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(_DICOM_AT + 4)[_DICOM_AT:] == _DICOM_MAGIC
    except OSError:
        return False


def _holds_dicom(folder: Path) -> bool:
    """Whether one of the first files below a folder is DICOM; whatever is wrong with it is said when it is read."""
    for n, (place, folders, files) in enumerate(os.walk(folder)):
        folders.sort()
        if any(_is_dicom(Path(place) / name) for name in sorted(files)[:8]):
            return True
        if n > 64:
            break
    return False


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """The reader for a path, or None where it is neither scan nor plan."""
    if not isinstance(path, str):
        return None
    place = Path(path)
    if place.is_dir():
        if (place / PLAN_FILE).is_file():
            return read_plan
        return read_scan if _holds_dicom(place) else None
    if place.is_file() and (file_kind(place) is not None or _is_dicom(place)):
        return read_scan
    return None


def scan_layer(volume: Volume, name: str, source: str) -> LayerData:
    """A scan as an image layer that remembers where it came from."""
    preset = settings().windows["needle"]
    window = (preset.low, preset.high)
    if volume.modality != "CT":
        low, high = (float(edge) * volume.slope + volume.intercept for edge in (volume.array.min(), volume.array.max()))
        window = (low, max(high, low + 1.0))
    return image_layer(volume, name, window, **{SOURCE_KEY: source})


def read_scan(path: PathOrPaths) -> list[LayerData]:
    """A DICOM folder or file, NIfTI, NRRD or MetaImage, vetted as on the command line."""
    from imaging.reading import read_input

    assert isinstance(path, str)
    return [scan_layer(read_input(path), "scan", path)]


def read_plan(path: PathOrPaths) -> list[LayerData]:
    """A plan folder: its scan where ``source.json`` still finds it, its anatomy and its needles."""
    from planner.loading import SourceMissingError, load_plan

    assert isinstance(path, str)
    try:
        plan = load_plan(path)
    except SourceMissingError:
        plan = load_plan(path, volume=False)
    layers = [] if plan.volume is None else [scan_layer(plan.volume, "scan", path)]
    layers += anatomy_layers(plan)
    best = [(p.target, placement.needles[0]) for p in plan.proposals if (placement := best_placement(p)) is not None]
    return [*layers, needles_layer(best)] if best else layers
