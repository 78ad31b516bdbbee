"""Scores and pictures of exported nets on scans that were never trained on.

Run ``python -m segmentation.training.evaluate --models segmentation/data [--pictures DIR]``. It prints the Dice of the
instance net with true centres (verse014, tptbox_l3, ts_example), of the localising net on ts_example, and can draw
overlays of the localising net on s0015 and s0028.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import SimpleITK as sitk

from segmentation.training import anatomy
from segmentation.training.anatomy import S1, VERSE_TO_LABEL, VERTEBRAE
from segmentation.training.contract import INSTANCE, LOCALISE, centre_heat, intensity
from segmentation.training.sources import data_root, read_lps, resample

__all__ = ["dice", "predict_instance", "predict_localise"]

PALETTE = np.array(
    [
        [0, 0, 0],
        [255, 60, 60],
        [60, 255, 60],
        [200, 100, 255],
        [255, 255, 0],
        [0, 200, 255],
        [0, 255, 255],
        [255, 140, 0],
        [255, 0, 255],
        [0, 0, 255],
        [150, 100, 50],
    ],
    np.float32,
)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient of two masks; nan when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2.0 * float((a & b).sum()) / total if total else float("nan")


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a model on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def predict_instance(
    net: onnxruntime.InferenceSession, hu: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of "this vertebra" around a centre.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
        Scan on the 1.5 mm grid.
    centre : ndarray, (3,)
        Body centre, (z, y, x) voxels.

    Returns
    -------
    probability : ndarray, float32, (3, 64, 64, 64)
        Softmax of the three classes.
    start : ndarray, int, (3,)
        Voxel of ``hu`` at the corner of the patch (may be negative).
    """
    start = np.rint(centre).astype(int) - np.array(INSTANCE.anchor)
    patch = np.full(INSTANCE.patch, -1000.0, np.float32)
    source, target = _overlap(start, hu.shape)
    patch[target] = hu[source]
    image = np.stack([intensity(patch), centre_heat()])[None]
    return _softmax(net.run(None, {"image": image})[0][0]), start


def _overlap(start: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low = np.maximum(start, 0)
    high = np.minimum(start + np.array(INSTANCE.patch), shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    return source, target


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(0, keepdims=True))
    return shifted / shifted.sum(0, keepdims=True)


def predict_localise(
    net: onnxruntime.InferenceSession, hu: np.ndarray, tile: int = 96, overlap: int = 24
) -> np.ndarray:
    """Class of every voxel of a scan on the 3 mm grid, by averaged tiles.

    Returns
    -------
    ndarray, uint8, (z, y, x)
    """
    shape = np.array(hu.shape)
    sides = np.minimum(tile, -(-shape // 8) * 8)
    padded_shape = np.maximum(shape, sides)
    padded = np.full(padded_shape, -1000.0, np.float32)
    padded[tuple(slice(0, n) for n in shape)] = hu
    image = intensity(padded)
    total = np.zeros((len(LOCALISE.classes), *padded_shape), np.float32)
    starts = []
    for n, side in zip(padded_shape, sides, strict=True):
        count = 1 if n <= side else int(np.ceil((n - overlap) / (side - overlap)))
        starts.append(np.unique(np.linspace(0, n - side, count).astype(int)))
    ramp = [np.minimum(np.arange(1, s + 1), np.arange(s, 0, -1)).clip(max=overlap) / overlap for s in sides]
    window = (ramp[0][:, None, None] * ramp[1][None, :, None] * ramp[2][None, None, :]).astype(np.float32)
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                box = (slice(z, z + sides[0]), slice(y, y + sides[1]), slice(x, x + sides[2]))
                logits = net.run(None, {"image": image[box][None, None]})[0][0]
                total[(slice(None), *box)] += _softmax(logits) * window
    return total.argmax(0).astype(np.uint8)[tuple(slice(0, n) for n in shape)]


def score_instance(net: onnxruntime.InferenceSession, data: Path) -> dict[str, dict[int, float]]:
    """Dice per vertebra of the held-out scans, given the true body centres."""
    scores: dict[str, dict[int, float]] = {}
    for name, suffix in (("verse014", "verse"), ("tptbox_l3", "vert"), ("ts_example", "totalsegmentator")):
        hu = resample(read_lps(data / "ct" / f"{name}.nii.gz"), INSTANCE.spacing, linear=True, fill=-1000.0)
        labels = resample(read_lps(data / "labels" / f"{name}_{suffix}.nii.gz"), INSTANCE.spacing, linear=False)
        labels = labels.astype(np.uint8) if suffix == "totalsegmentator" else VERSE_TO_LABEL[labels.astype(np.uint8)]
        scores[name] = {}
        for number in np.unique(labels).tolist():
            mask = labels == number
            if number not in VERTEBRAE or mask.sum() < 1500:
                continue
            inner = anatomy.inner_distance(mask, INSTANCE.spacing)
            probability, start = predict_instance(net, hu, anatomy.body_centre(mask, inner))
            found = np.zeros(labels.shape, bool)
            source, target = _overlap(start, labels.shape)
            found[source] = (probability.argmax(0) == 1)[target]
            scores[name][number] = round(dice(found, mask), 3)
    return scores


def score_localise(net: onnxruntime.InferenceSession, data: Path) -> dict[str, float]:
    """Dice of vertebrae and S1 part of the sacrum on ts_example at 3 mm."""
    hu = sitk.GetArrayFromImage(read_lps(data / "ct" / "ts_example.nii.gz")).astype(np.float32)
    labels = sitk.GetArrayFromImage(read_lps(data / "labels" / "ts_example_totalsegmentator.nii.gz"))
    found = predict_localise(net, hu)
    vertebrae = np.isin(labels, VERTEBRAE)
    s1 = labels == S1
    on_vertebrae = np.isin(found, [1, 2])
    return {
        "vertebrae": round(dice(on_vertebrae, vertebrae), 3),
        "s1_called_sacrum": round(float((found[s1] == 3).mean()), 3),
        "l5_called_sacrum": round(float((found[labels == 27] == 3).mean()), 3),
    }


def picture(hu: np.ndarray, found: np.ndarray, path: Path) -> None:
    """Sagittal, coronal and three axial cuts through the spine with and without colours, as PNG."""
    spine = np.argwhere(np.isin(found, [1, 2, 3]))
    zc, yc, xc = np.median(spine, axis=0).astype(int) if len(spine) else np.array(hu.shape) // 2
    low, high = np.quantile(spine[:, 0], [0.2, 0.8]).astype(int) if len(spine) else (zc, zc)
    cuts = [np.s_[::-1, :, xc], np.s_[::-1, :, xc + 4], np.s_[::-1, yc - 4, :], np.s_[::-1, yc + 6, :]]
    cuts += [np.s_[int(z)] for z in (low, zc, high)]
    tiles = []
    for cut in cuts:
        grey = np.repeat((np.clip((hu[cut] + 200.0) / 900.0, 0, 1) * 255.0)[..., None], 3, 2)
        labels = found[cut]
        coloured = np.where((labels > 0)[..., None], 0.5 * grey + 0.5 * PALETTE[labels], grey)
        tiles += [grey, coloured]
    height = max(t.shape[0] for t in tiles)
    padded = [np.pad(t, ((0, height - t.shape[0]), (0, 2), (0, 0))) for t in tiles]
    strip = np.concatenate(padded, axis=1).astype(np.uint8)
    half = strip.shape[1] // 2
    strip = np.concatenate([strip[:, :half], strip[:, half : 2 * half]], axis=0)
    strip = np.repeat(np.repeat(strip, 2, 0), 2, 1)
    sitk.WriteImage(sitk.GetImageFromArray(strip, isVector=True), str(path))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--models", type=Path, default=Path("segmentation/data"))
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    instance, localise = (session(args.models / f"{s.name}.onnx") for s in (INSTANCE, LOCALISE))
    for name, scores in score_instance(instance, args.data).items():
        print(name, "mean", round(float(np.mean(list(scores.values()))), 3), scores, flush=True)
    print("ts_example localise", score_localise(localise, args.data), flush=True)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        for name in ("s0015", "s0028"):
            hu = resample(read_lps(args.data / "ct" / f"{name}.nii.gz"), LOCALISE.spacing, linear=True, fill=-1000.0)
            picture(hu, predict_localise(localise, hu.astype(np.float32)), args.pictures / f"localise_{name}.png")


if __name__ == "__main__":
    main()
