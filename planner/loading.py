"""A plan folder read back: everything reviewing needs, the scan included.

The scan is found through ``source.json`` or where the caller says it is, and is only taken when its content is the one
that was planned on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from imaging.errors import AlteredError, NotFoundError
from imaging.volume import Grid, SeriesIdentity, Volume
from planner.folder import (
    BODY_FILE,
    LABELS_FILE,
    RECONSTRUCTED_FILE,
    SOURCE_FILE,
    StoredPlan,
    check_recorded,
    read_folder,
)
from planner.parsing import (
    Masks,
    parse_findings,
    parse_grid,
    parse_missing,
    parse_proposals,
    parse_request,
    parse_reviews,
    parse_spine,
    parse_study,
)
from planner.plan import InputHash, Plan, RunInfo, StageTime
from planner.schemas import SchemaName, validate
from segmentation.anatomy import StructureName

__all__ = ["Assets", "SourceMissingError", "load_assets", "load_plan", "plan_of"]


class SourceMissingError(NotFoundError):
    """The scan a plan was made on is not where ``source.json`` says, or the folder does not say."""


@dataclass(frozen=True, eq=False)
class Assets:
    """What a plan rests on and no document of it holds: the scan, the masks and the run's own record."""

    masks: Masks
    volume: Volume | None
    identity: SeriesIdentity
    labels_identity: SeriesIdentity | None
    run: RunInfo


def _read_mask(path: Path, shape: tuple[int, int, int]) -> NDArray[Any]:
    if not path.is_file():
        raise AlteredError(f"the plan folder lacks {path.name}; restore it from a copy")
    try:
        array: NDArray[Any] = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise AlteredError(f"{path.name} cannot be read; restore it from a copy") from error
    if array.shape != shape:
        raise AlteredError(f"{path.name} does not lie on the plan's grid")
    return array


def _read_masks(folder: Path, document: Mapping[str, Any], shape: tuple[int, int, int]) -> Masks:
    listed = document["masks"]
    wanted: dict[str, Path] = {LABELS_FILE: folder / LABELS_FILE}
    if listed["body"]["computed"]:
        wanted[BODY_FILE] = folder / BODY_FILE
    if listed["reconstructed"]["file"] is not None:
        wanted[RECONSTRUCTED_FILE] = folder / RECONSTRUCTED_FILE
    wanted |= {name: folder / "structures" / f"{StructureName(name).value}.nii.gz"
               for name, entry in listed["structures"].items() if entry["file"] is not None}
    with ThreadPoolExecutor(max_workers=2) as pool:
        arrays = dict(zip(wanted, pool.map(lambda path: _read_mask(path, shape), wanted.values()), strict=True))

    def flags(name: str) -> NDArray[np.bool_] | None:
        return arrays[name] > 0 if name in arrays else None

    return Masks(arrays[LABELS_FILE].astype(np.uint8, copy=False), flags(BODY_FILE), flags(RECONSTRUCTED_FILE),
                 {StructureName(name): flags(name) for name in listed["structures"]})


def _identity(entry: Mapping[str, Any] | None, document: Mapping[str, Any]) -> SeriesIdentity | None:
    if entry is None:
        return None
    study = document["study"]
    return SeriesIdentity(entry["path"], entry["study_uid"], entry["series_uid"], entry["frame_of_reference_uid"],
                          study["patient_position"], study["date"], entry["description"], entry["sha256"],
                          tuple(entry["instance_uids"]))


def _sources(folder: Path, document: Mapping[str, Any]) -> tuple[SeriesIdentity | None, SeriesIdentity | None]:
    """Identities of the scan and of the label file; both None where the folder is free of its source."""
    path = folder / SOURCE_FILE
    if not path.is_file():
        return None, None
    try:
        source = json.loads(path.read_bytes())
        validate(source, SchemaName.SOURCE)
    except ValueError as error:
        raise AlteredError("source.json is not what was written; restore it from a copy or give --source") from error
    return _identity(source["image"], document), _identity(source["labels"], document)


def _has_image(document: Mapping[str, Any], run: RunInfo) -> bool:
    return any(i.kind == "image" and i.sha256 == document["study"]["image_sha256"] for i in run.inputs)


def _read_volume(document: Mapping[str, Any], known: SeriesIdentity | None, source: Path | None) -> Volume:
    """The scan itself, its content compared with the one planned on."""
    from planner.pipeline import read_hashed

    where = source if source is not None else Path(known.source) if known is not None and known.source else None
    if where is None:
        raise SourceMissingError("the plan folder does not say where its scan is; give --source")
    if not where.exists():
        raise SourceMissingError("the scan is not where it was when it was planned on; give --source")
    series = known.series_uid if known is not None else ""
    volume = read_hashed(where, document["request"]["orientation"], series or None)
    if volume.identity.sha256 != document["study"]["image_sha256"]:
        raise AlteredError("the scan is not the one this plan was made on; give --source with the right one")
    return volume


def _run_info(run: Mapping[str, Any]) -> RunInfo:
    return RunInfo(run["started"], run["finished"], run["versions"],
                   tuple(InputHash(i["kind"], i["sha256"], i.get("stamp", "")) for i in run["inputs"]),
                   tuple(StageTime(s["name"], s["seconds"]) for s in run["stages"]), run["peak_memory_mb"])


def _grid(document: Mapping[str, Any], volume: Volume | None) -> Grid:
    """The scan's exact lattice where it was read; else as written."""
    written = parse_grid(document)
    if volume is None:
        return written
    if not volume.grid.same_as(written):
        raise AlteredError("the scan does not lie where the plan says; give --source with the right one")
    return volume.grid


def load_assets(folder: Path, stored: StoredPlan, source: Path | None = None, volume: bool = True) -> Assets:
    """Masks, scan and run of a folder whose documents were read; see `load_plan`."""
    check_recorded(folder, stored.state)
    document, info = stored.plan, _run_info(stored.run)
    known, labels = _sources(folder, document)
    z, y, x = document["grid"]["shape_zyx"]
    masks = _read_masks(folder, document, (z, y, x))
    scan = _read_volume(document, known, source) if volume and _has_image(document, info) else None
    study = document["study"]
    bare = SeriesIdentity(patient_position=study["patient_position"], study_date=study["date"],
                          sha256=study["image_sha256"])
    identity = scan.identity if scan is not None else known or labels or bare
    return Assets(masks, scan, identity, labels, info)


def plan_of(document: Mapping[str, Any], assets: Assets) -> Plan:
    """The plan a document describes, over what it rests on."""
    spine = parse_spine(document, assets.masks, _grid(document, assets.volume))
    return Plan(
        parse_study(document), assets.identity, parse_request(document), spine, parse_proposals(document, spine),
        parse_findings(document), assets.run, assets.volume, assets.labels_identity, parse_missing(document),
        tuple(document["notices"]), document["versions"]["nerveplan"], parse_reviews(document))


def load_plan(folder: str | Path, source: str | Path | None = None, volume: bool = True) -> Plan:
    """A plan folder as the `Plan` it was written from.

    Parameters
    ----------
    folder : path
        A plan folder; its documents, journal and the hashes of its masks are checked first.
    source : path, optional
        Where the scan is now; ``source.json`` says where it was.
    volume : bool
        Read the scan too. Without it nothing outside the folder is touched and `Plan.volume` is None.

    Returns
    -------
    Plan
        `planner.document.to_document` gives the bytes that were read.

    Raises
    ------
    SourceMissingError
        The scan is not there: say where with `source`.
    AlteredError
        The folder, or the scan, is not the one that was planned.
    """
    folder = Path(folder)
    stored = read_folder(folder)
    return plan_of(stored.plan, load_assets(folder, stored, None if source is None else Path(source), volume))
