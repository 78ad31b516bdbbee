"""Synthetic series: a field of values that is a known function of the place in the patient, written as DICOM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

settings.register_profile("house", deadline=None)
settings.load_profile("house")

MARK = np.array([12.0, -34.0, 56.0])


def bright_at(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) LPS mm to (...,) HU: a smooth blob of 1000 HU at `MARK` over soft tissue."""
    return 40.0 + 1000.0 * np.exp(-((points - MARK) ** 2).sum(axis=-1) / (2 * 6.0**2))


@dataclass
class SeriesSpec:
    """How to write a synthetic series; the slice origins start at `corner` and advance by `step` (LPS mm)."""

    row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column: tuple[float, float, float] = (0.0, 1.0, 0.0)
    step: tuple[float, float, float] = (0.0, 0.0, 2.0)
    corner: tuple[float, float, float] = (-20.0, -70.0, 26.0)
    count: int = 30
    size: tuple[int, int] = (48, 40)
    spacing: tuple[float, float] = (1.5, 1.75)
    tags: dict[str, Any] = field(default_factory=dict)
    skip: tuple[int, ...] = ()
    order: Callable[[int], int] = lambda n: n
    rescale: Callable[[int], tuple[float, float] | None] = lambda n: (1.0, -1024.0)
    change: Callable[[Dataset, int], None] = lambda ds, n: None
    values: Callable[[NDArray[np.float64]], NDArray[np.float64]] = bright_at


def slice_dataset(spec: SeriesSpec, n: int, uids: tuple[str, str, str]) -> Dataset:
    """Slice `n` of a series as a data set with pixels."""
    row, column = np.array(spec.row), np.array(spec.column)
    origin = np.array(spec.corner) + n * np.array(spec.step)
    y, x = np.mgrid[0 : spec.size[0], 0 : spec.size[1]]
    points = origin + x[..., None] * row * spec.spacing[1] + y[..., None] * column * spec.spacing[0]
    rescale = spec.rescale(n)
    slope, intercept = rescale or (1.0, 0.0)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.Modality, ds.PatientID, ds.PatientName, ds.StudyDate = "CT", "p1", "Secret^Name", "20260102"
    ds.PatientPosition, ds.ImageType, ds.InstanceNumber = "HFS", ["ORIGINAL", "PRIMARY", "AXIAL"], 1
    ds.ImagePositionPatient = [f"{v:.6f}" for v in origin]
    ds.ImageOrientationPatient = [f"{v:.8f}" for v in (*row, *column)]
    ds.PixelSpacing, ds.SliceThickness = list(spec.spacing), 2
    if rescale is not None:
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *spec.size, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = np.rint((spec.values(points) - intercept) / slope).astype(np.int16).tobytes()
    for key, value in spec.tags.items():
        setattr(ds, key, value)
    spec.change(ds, n)
    return ds


@pytest.fixture
def series_spec() -> type[SeriesSpec]:
    """How to write a synthetic series."""
    return SeriesSpec


@pytest.fixture
def mark() -> NDArray[np.float64]:
    """(3,) LPS mm of the bright blob in every synthetic series."""
    return MARK


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    """Write a `SeriesSpec` into a folder (a new one by default) and return the folder."""

    def write(spec: SeriesSpec | None = None, folder: Path | None = None) -> Path:
        spec = spec or SeriesSpec()
        target = folder or tmp_path / "series"
        target.mkdir(exist_ok=True)
        uids = (generate_uid(), generate_uid(), generate_uid())
        for n in range(spec.count):
            if n not in spec.skip:
                name = f"{len(list(target.iterdir())):04d}_{spec.order(n):04d}.dcm"
                slice_dataset(spec, n, uids).save_as(target / name, enforce_file_format=True)
        return target

    return write


@pytest.fixture
def one_slice() -> Callable[..., Dataset]:
    """A single slice as a data set."""

    def make(spec: SeriesSpec | None = None, n: int = 0) -> Dataset:
        return slice_dataset(spec or SeriesSpec(), n, (generate_uid(), generate_uid(), generate_uid()))

    return make
