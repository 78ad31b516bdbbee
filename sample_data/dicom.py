"""Write a phantom as a DICOM CT series.

The files are a function of the phantom alone: writing twice gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

from .phantom import GENERATOR_VERSION, Phantom, PhantomSpec

__all__ = ["Encoding", "series_uids", "write_series"]

Encoding = Literal["uncompressed", "jpeg-ls"]

_INTERCEPT = -1024
_IMPLEMENTATION = UID("2.25.114387520961843207719865206330190126415")


def _uid(spec: PhantomSpec, *parts: str) -> str:
    """UID under the 2.25 root from a hash of the specification and a few words."""
    text = json.dumps([GENERATOR_VERSION, asdict(spec), *parts], sort_keys=True, default=str)
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}"


def series_uids(spec: PhantomSpec) -> dict[str, str]:
    """Study, series and frame-of-reference UIDs of a specification."""
    return {name: _uid(spec, name) for name in ("study", "series", "frame_of_reference")}


def _decimal(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _common(phantom: Phantom) -> Dataset:
    """Attributes shared by every slice."""
    spec, ds = phantom.spec, Dataset()
    uids = series_uids(spec)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ""
    ds.Modality = "CT"
    ds.Manufacturer = "nerveplan"
    ds.ManufacturerModelName = "sample_data phantom"
    ds.SoftwareVersions = GENERATOR_VERSION
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Lumbar spine CT, synthetic"
    ds.SeriesDescription = f"Synthetic lumbar phantom, {spec.variant.value}"
    ds.PatientName = "PHANTOM^SYNTHETIC"
    ds.PatientID = "PHANTOM"
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Synthetic data, no patient"
    ds.BodyPartExamined = "LSPINE"
    ds.SliceThickness = _decimal(spec.spacing_mm[0])
    ds.KVP = "120"
    ds.ConvolutionKernel = "B40f"
    ds.XRayTubeCurrent = "200"
    ds.ExposureTime = "500"
    ds.GantryDetectorTilt = "0"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids["study"], uids["series"]
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = "1", "2", "1"
    ds.FrameOfReferenceUID = uids["frame_of_reference"]
    ds.PositionReferenceIndicator = ""
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    _, ds.Rows, ds.Columns = phantom.hu.shape
    ds.PixelSpacing = [_decimal(spec.spacing_mm[1]), _decimal(spec.spacing_mm[2])]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = ["50", "400"], ["400", "1800"]
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(_INTERCEPT), "1", "HU"
    return ds


def _slice(phantom: Phantom, common: Dataset, k: int, number: int) -> FileDataset:
    """One slice: `k` is its index in the volume, `number` its instance number (1 is nearest the head)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(_uid(phantom.spec, "instance", str(number)))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "NERVEPLAN_SAMPLE"
    ds = FileDataset("", common, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.InstanceNumber = number
    position = phantom.affine @ np.array([0.0, 0.0, float(k), 1.0])
    ds.ImagePositionPatient = [_decimal(float(value)) for value in position[:3]]
    ds.SliceLocation = _decimal(float(position[2]))
    stored: NDArray[np.uint16] = (phantom.hu[k].astype(np.int32) - _INTERCEPT).clip(0, 4095).astype("<u2")
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write_series(phantom: Phantom, folder: Path | str, encoding: Encoding = "uncompressed") -> list[Path]:
    """Write one file per slice.

    Parameters
    ----------
    phantom : the phantom.
    folder : made if absent; files are named ``IM0001.dcm`` onwards from the head down.
    encoding : "uncompressed" (explicit VR little endian) or "jpeg-ls" (JPEG-LS lossless, needs ``pyjpegls``).

    Returns
    -------
    list of Path
        The files, from the head down.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    common = _common(phantom)
    count = phantom.hu.shape[0]
    paths: list[Path] = []
    for number in range(1, count + 1):
        ds = _slice(phantom, common, count - number, number)
        if encoding == "jpeg-ls":
            ds.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
        path = folder / f"IM{number:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
