"""Random but plausible Hounsfield units for a patch of tissue labels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segmentation.training.anatomy import TISSUE
from segmentation.training.fields import smooth_noise

__all__ = ["paint"]


def _mix(field: np.ndarray, threshold: float, width: float = 0.35) -> np.ndarray:
    """Soft step of a noise field, 0 below and 1 above the threshold."""
    return np.clip((field - threshold) / width + 0.5, 0.0, 1.0)


def paint(
    rng: np.random.Generator,
    instance: np.ndarray,
    tissue: np.ndarray,
    depth: np.ndarray,
    joint: np.ndarray,
    spacing: float,
) -> np.ndarray:
    """Make a noise-free CT of a label patch.

    Parameters
    ----------
    instance, tissue : ndarray, uint8, (z, y, x)
        Bone numbers and tissue codes.
    depth : ndarray, float32
        Distance into the bone from its own surface, mm.
    joint : ndarray, bool
        Arthrotic joint regions, painted sclerotic.
    spacing : float
        Voxel size, mm.

    Returns
    -------
    ndarray, float32
        Hounsfield units.
    """
    shape = tissue.shape
    coarse = smooth_noise(rng, shape, rng.uniform(9.0, 24.0) / spacing)
    fine = smooth_noise(rng, shape, max(2.0, rng.uniform(3.0, 7.0) / spacing))
    hu = np.full(shape, -1000.0, np.float32)
    _soft_tissue(rng, hu, tissue, coarse, fine, spacing)
    _vessels_and_organs(rng, hu, tissue, coarse, fine, spacing)
    _bones(rng, hu, instance, tissue, depth, joint, coarse, fine, spacing)
    return hu


def _soft_tissue(
    rng: np.random.Generator, hu: np.ndarray, tissue: np.ndarray, coarse: np.ndarray, fine: np.ndarray, spacing: float
) -> None:
    fat, lean = rng.normal(-100.0, 12.0), rng.uniform(30.0, 72.0)
    soft = tissue == TISSUE["soft"]
    texture = coarse + rng.uniform(0.2, 0.9) * fine
    lean_share = _mix(texture, rng.uniform(-1.0, 1.2), rng.uniform(0.1, 0.8))
    mixed = fat + (lean - fat) * lean_share
    hu[soft] = mixed[soft]
    if rng.random() < 0.6:
        size = 2 * max(1, round(4.0 / spacing)) + 1
        epidural = soft & ndimage.maximum_filter(tissue == TISSUE["canal"], size)
        hu[epidural] = (fat + rng.uniform(0.0, 60.0) + 25.0 * fine)[epidural]
    muscle = tissue == TISSUE["muscle"]
    infiltrated = _mix(fine + 0.4 * coarse, rng.uniform(0.3, 2.5), 0.5)
    hu[muscle] = (lean + (fat - lean) * infiltrated + 4.0 * coarse)[muscle]
    canal = tissue == TISSUE["canal"]
    inside = rng.uniform(150.0, 600.0) if rng.random() < 0.04 else rng.uniform(0.0, 45.0)
    hu[canal] = (inside + 6.0 * coarse)[canal]
    disc = tissue == TISSUE["disc"]
    hu[disc] = (rng.uniform(50.0, 130.0) + 12.0 * fine + 10.0 * coarse)[disc]
    if rng.random() < 0.12:
        spot = disc & (coarse > rng.uniform(0.2, 1.2))
        hu[spot] = rng.uniform(-800.0, -150.0) if rng.random() < 0.7 else rng.uniform(200.0, 500.0)
    cartilage = tissue == TISSUE["cartilage"]
    hu[cartilage] = (rng.uniform(60.0, 180.0) + rng.uniform(0.0, 90.0) * np.maximum(fine, 0.0))[cartilage]


def _vessels_and_organs(
    rng: np.random.Generator, hu: np.ndarray, tissue: np.ndarray, coarse: np.ndarray, fine: np.ndarray, spacing: float
) -> None:
    enhanced = rng.random() < 0.6
    arterial = rng.uniform(80.0, 420.0) if enhanced else rng.uniform(28.0, 55.0)
    venous = rng.uniform(60.0, 230.0) if enhanced and rng.random() < 0.8 else rng.uniform(28.0, 60.0)
    levels = {
        "organ": rng.uniform(30.0, 150.0 if enhanced else 75.0),
        "lung": rng.uniform(-920.0, -720.0),
        "aorta": arterial,
        "artery": arterial * rng.uniform(0.85, 1.1),
        "vena_cava": venous,
        "vessel": rng.choice([arterial, venous]) * rng.uniform(0.8, 1.1),
        "kidney": rng.uniform(90.0, 280.0) if enhanced else rng.uniform(24.0, 45.0),
        "fluid": rng.uniform(150.0, 900.0) if enhanced and rng.random() < 0.15 else rng.uniform(-5.0, 25.0),
    }
    texture = {"organ": 8.0, "lung": 40.0, "kidney": 22.0 if enhanced else 5.0, "vena_cava": 15.0 if enhanced else 4.0}
    for name, level in levels.items():
        mask = tissue == TISSUE[name]
        hu[mask] = (level + texture.get(name, 4.0) * coarse)[mask]
    lung_vessel = (tissue == TISSUE["lung"]) & (fine > 1.9)
    hu[lung_vessel] = rng.uniform(-300.0, 150.0)
    _calcify(rng, hu, tissue, coarse, fine)
    bowel = tissue == TISSUE["bowel"]
    if bowel.any():
        fillings = [
            rng.uniform(-990.0, -800.0),
            rng.uniform(0.0, 45.0),
            rng.uniform(-80.0, 40.0),
            rng.uniform(100.0, 900.0) if rng.random() < 0.3 else rng.uniform(10.0, 60.0),
        ]
        first, second = rng.choice(fillings, 2)
        share = _mix(coarse, rng.uniform(-0.8, 0.8), rng.uniform(0.1, 0.6))
        wall = rng.uniform(0.0, 25.0) * fine
        hu[bowel] = (first + (second - first) * share + wall)[bowel]


def _calcify(
    rng: np.random.Generator, hu: np.ndarray, tissue: np.ndarray, coarse: np.ndarray, fine: np.ndarray
) -> None:
    """Calcified or stented rims of the aorta and the iliac arteries."""
    if rng.random() > 0.4:
        return
    lumen = (tissue == TISSUE["aorta"]) | (tissue == TISSUE["artery"])
    if not lumen.any():
        return
    rim = lumen & ~ndimage.minimum_filter(lumen, 3)
    plaque = rim & (coarse + 0.5 * fine > rng.uniform(-0.5, 1.8))
    hu[plaque] = np.maximum(hu[plaque], rng.uniform(250.0, 1300.0))


def _bones(
    rng: np.random.Generator,
    hu: np.ndarray,
    instance: np.ndarray,
    tissue: np.ndarray,
    depth: np.ndarray,
    joint: np.ndarray,
    coarse: np.ndarray,
    fine: np.ndarray,
    spacing: float,
) -> None:
    kind = rng.random()
    porotic = kind < 0.18
    marrow = rng.uniform(*((-50.0, 70.0) if porotic else (280.0, 420.0) if kind > 0.95 else (70.0, 270.0)))
    shell = rng.uniform(0.5, 1.1) if porotic else rng.uniform(0.7, 2.2)
    cortex = rng.uniform(350.0, 800.0) if porotic else rng.uniform(450.0, 1150.0)
    grain = rng.uniform(5.0, 45.0)
    jitter = rng.normal(0.0, 15.0, 256).astype(np.float32)
    dense_arch = rng.uniform(10.0, 220.0)
    bone_kinds = {
        "body": (marrow, shell, cortex),
        "arch": (marrow + dense_arch, shell * rng.uniform(0.9, 1.6), cortex * rng.uniform(0.95, 1.2)),
        "sacrum": (marrow * rng.uniform(0.3, 1.0) - rng.uniform(0.0, 50.0), shell * rng.uniform(0.7, 1.2), cortex),
        "rib": (marrow * rng.uniform(0.6, 1.2), shell * rng.uniform(0.6, 1.2), cortex * rng.uniform(0.8, 1.1)),
        "other_bone": (marrow * rng.uniform(0.5, 1.6), shell * rng.uniform(0.8, 1.8), cortex * rng.uniform(0.9, 1.3)),
    }
    for name, (inner, thickness, outer) in bone_kinds.items():
        mask = tissue == TISSUE[name]
        if not mask.any():
            continue
        d = depth[mask]
        share = np.clip((thickness - d) / spacing + 0.5, 0.0, 1.0)
        value = inner + jitter[instance[mask]] + grain * fine[mask] + 0.5 * grain * coarse[mask]
        hu[mask] = value + (outer - value) * share
    body = tissue == TISSUE["body"]
    if rng.random() < 0.25:
        plate = body & ndimage.maximum_filter(tissue == TISSUE["disc"], 2 * max(1, round(4.0 / spacing)) + 1)
        hu[plate] += rng.uniform(40.0, 260.0) * _mix(coarse[plate], rng.uniform(-1.5, 0.5))
    if rng.random() < 0.08:
        lesion = (instance > 0) & (coarse > rng.uniform(1.0, 1.8)) & (depth > 1.0)
        hu[lesion] = rng.choice([rng.uniform(500.0, 900.0), rng.uniform(-20.0, 80.0), rng.uniform(1300.0, 2500.0)])
    if joint.any():
        hu[joint] += rng.uniform(50.0, 400.0)
    elif rng.random() < 0.3:
        sclerotic = (tissue == TISSUE["arch"]) & (coarse > 0.3)
        hu[sclerotic] += rng.uniform(30.0, 250.0)
