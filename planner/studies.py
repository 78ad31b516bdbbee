"""Finding the studies below a folder: DICOM by study, image files one by one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imaging.errors import NotFoundError
from planner.plan import pseudonym

__all__ = ["Study", "find_studies", "stamp_of"]

_IMAGE_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
#: Folders and file-name parts that hold label maps beside the images, as public data sets lay them out.
_LABEL_FOLDERS = frozenset({"segmentations", "labels", "derivatives", "masks"})
_LABEL_PARTS = ("_seg", "-seg", "_msk", "_mask", "_label")
_MAGIC_AT = 128


@dataclass(frozen=True)
class Study:
    """One thing to plan.

    Attributes
    ----------
    id : str
        Pseudonym; names the study's folder in a batch.
    path : Path
        What `imaging.reading.read_input` is given.
    place : str
        Where it lies below the root, with forward slashes.
    """

    id: str
    path: Path
    place: str


def find_studies(root: Path, leave_out: Path | None = None) -> tuple[Study, ...]:
    """Every study below `root` but not below `leave_out`, in an order that depends on nothing but names.

    DICOM files of one StudyInstanceUID form one study when they have a folder to themselves. A folder is only looked
    into by the first DICOM file found in it.
    """
    if not root.is_dir():
        raise NotFoundError(f"there is no folder '{root.name}' to look for studies in")
    images: list[Study] = []
    folders: dict[str, list[Path]] = {}
    for folder, names in _walk(root, leave_out):
        dicom = None
        for name in names:
            if name.lower().endswith(_IMAGE_ENDINGS):
                if not any(part in name.lower() for part in _LABEL_PARTS):
                    images.append(_study(root, folder / name, ""))
            elif dicom is None and _is_dicom(folder / name):
                dicom = folder / name
        if dicom is not None:
            folders.setdefault(_study_uid(dicom) or folder.relative_to(root).as_posix(), []).append(folder)
    scans = [study for uid, places in sorted(folders.items()) for study in _dicom_studies(root, uid, places, folders)]
    return tuple(sorted([*images, *scans], key=lambda s: s.place))


def _walk(root: Path, leave_out: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """Folders below `root` with their files, sorted; hidden, label and plan folders and links left out."""
    for here, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f.lower() not in _LABEL_FOLDERS
                            and (leave_out is None or Path(here, f).resolve() != leave_out.resolve()))
        if _is_plan_folder(names):
            folders.clear()
        else:
            yield Path(here), sorted(n for n in names if not n.startswith("."))


def _is_plan_folder(names: Sequence[str]) -> bool:
    """Whether a folder's files are those of an earlier plan, whose masks are no studies."""
    return "plan.json" in names and "labels.nii.gz" in names


def stamp_of(path: Path) -> str:
    """SHA-256 over the names, sizes and times of the files that make a study: another one means, look again.

    Parameters
    ----------
    path : path
        A folder, with all below it, or a file; beside a header without voxels (``.mhd``) its neighbours count too.
    """
    beside = path.is_file() and path.name.lower().endswith(".mhd")
    folder = path if path.is_dir() else path.parent
    files = path.rglob("*") if path.is_dir() else path.parent.iterdir() if beside else (path,)
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files if file.is_file()):
        found = file.stat()
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"
    except OSError:
        return False


def _study_uid(path: Path) -> str:
    """StudyInstanceUID of a vetted file; empty where it cannot be had."""
    from imaging.dicom_inspect import inspect_folder
    from imaging.errors import InputRefusedError

    try:
        seen = inspect_folder(path)
    except InputRefusedError:
        return ""
    return seen.series[0].study_uid if seen.series else ""


def _dicom_studies(root: Path, uid: str, places: list[Path], folders: dict[str, list[Path]]) -> list[Study]:
    """One study for a UID when its folders share a parent that holds no other study, else one per folder."""
    if len(places) == 1:
        return [_study(root, places[0], uid)]
    parent = Path(os.path.commonpath(places))
    others = [place for other, held in folders.items() if other != uid for place in held]
    if not any(place.is_relative_to(parent) for place in others):
        return [_study(root, parent, uid)]
    return [_study(root, place, "") for place in places]


def _study(root: Path, path: Path, uid: str) -> Study:
    place = path.relative_to(root).as_posix()
    return Study(pseudonym(uid or place), path, place)
