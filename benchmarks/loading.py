"""Time to load 300 uncompressed 512 x 512 slices, vetting included, against dcm2niix on the same files.

``python benchmarks/loading.py [--dcm2niix PATH]`` prints one JSON object. The series is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, SIZE = 300, 512
LOAD = (
    "import json,resource,sys,time;import imaging.reading as r;"
    "base=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;t=time.perf_counter();v=r.read_input(sys.argv[1]);"
    "s=time.perf_counter()-t;peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
    "print(json.dumps([s,(peak-base)/1024,list(v.array.shape)]))"
)


def write_series(folder: Path) -> None:
    """An axial CT of noise with a usual number of header elements."""
    rng = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    noise = rng.integers(0, 3000, (SIZE, SIZE), dtype=np.int16)
    for n in range(SLICES):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, UID(generate_uid())
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.PatientID, ds.StudyDate, ds.PatientPosition = "CT", "bench", "20260101", "HFS"
        ds.ImageType, ds.SeriesNumber, ds.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, n + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-175, -175, 1.0 * n], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [0.7, 0.7], 1, 1, -1024
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = SIZE, SIZE, 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        for k in range(60):
            ds.add_new((0x0009, 0x1000 + k), "LO", f"value {k}")
        ds.PixelData = np.roll(noise, n).tobytes()
        ds.save_as(folder / f"IM{n:04d}.dcm", enforce_file_format=True)


def best_of(command: list[str], repeats: int) -> list[float]:
    """Wall seconds of a command, each run."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Write the series, time both, print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dcm2niix", default=shutil.which("dcm2niix"))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as out:
        write_series(Path(folder))
        runs = []
        for _ in range(args.repeats):
            done = subprocess.run([sys.executable, "-c", LOAD, folder], check=True, capture_output=True, text=True)
            runs.append(json.loads(done.stdout))
        result = {
            "slices": SLICES, "size": SIZE, "shape": runs[0][2],
            "load_s": statistics.median(run[0] for run in runs), "above_imports_mb": max(run[1] for run in runs),
        }
        if args.dcm2niix:
            other = best_of([args.dcm2niix, "-z", "n", "-b", "n", "-o", out, folder], args.repeats)
            result["dcm2niix_s"] = statistics.median(other)
            result["ratio"] = result["load_s"] / result["dcm2niix_s"]
    result["children_peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
