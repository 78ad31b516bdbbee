"""What the nets and the engine agree on: grids, patches, classes and the intensity transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segmentation.builtin.lattice import intensity  # the engine's own: training must see what it sees

__all__ = ["INSTANCE", "LOCALISE", "NetSpec", "SPECS", "centre_heat", "intensity"]

HEAT_SIGMA_MM = 8.0


@dataclass(frozen=True)
class NetSpec:
    """Fixed facts of one net.

    Attributes
    ----------
    name : str
        Stem of the ONNX file.
    spacing : float
        Isotropic voxel size, mm.
    patch : tuple of int
        Training patch, (z, y, x) voxels.
    anchor : tuple of int
        Voxel (z, y, x) of the patch at which the sampled centre lies.
    channels : int
        Input channels.
    classes : tuple of str
        Class names in the order of the output channels.
    class_weights : tuple of float
        Weights of the cross entropy, rare classes heavier.
    """

    name: str
    spacing: float
    patch: tuple[int, int, int]
    anchor: tuple[int, int, int]
    channels: int
    classes: tuple[str, ...]
    class_weights: tuple[float, ...]


LOCALISE = NetSpec(
    name="localise",
    spacing=3.0,
    patch=(80, 64, 64),
    anchor=(40, 32, 32),
    channels=1,
    classes=(
        "background",
        "vertebral_body",
        "arch",
        "sacrum",
        "rib",
        "other_bone",
        "canal",
        "disc",
        "aorta",
        "inferior_vena_cava",
        "kidney",
    ),
    class_weights=(0.6, 1.0, 1.3, 3.0, 2.0, 1.0, 2.5, 3.0, 2.0, 2.5, 1.2),
)

INSTANCE = NetSpec(
    name="instance",
    spacing=1.5,
    patch=(64, 64, 64),
    anchor=(32, 22, 32),
    channels=2,
    classes=("background", "this_vertebra", "other_vertebra"),
    class_weights=(0.7, 1.5, 1.2),
)

SPECS = {spec.name: spec for spec in (LOCALISE, INSTANCE)}


def centre_heat(spec: NetSpec = INSTANCE) -> np.ndarray:
    """Gaussian of 8 mm standard deviation at the anchor voxel of the patch.

    Returns
    -------
    ndarray, float32, (z, y, x)
        1 at the anchor; the second input channel of the instance net.
    """
    axes = [(np.arange(n, dtype=np.float32) - a) * spec.spacing for n, a in zip(spec.patch, spec.anchor, strict=True)]
    squares = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
    return np.exp(-squares / (2.0 * HEAT_SIGMA_MM**2)).astype(np.float32)
