"""The label-only landmarks on one page, ``docs/images/sheet_landmarks.jpg``: lumbar bones from behind and from above.

``python -m benchmarks.label_sheet``. No scan is looked at: the bones are the label maps', drawn shaded with their
points, so that a point off the bone, on the wrong process or far from its twin is seen in one second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.cases import DATA
from benchmarks.contact_sheets import contact_sheet
from benchmarks.validate import LABEL_MAPS
from imaging.geometry import VertebralFrame
from segmentation.bones import Bone, fitted_bones, upright_of
from segmentation.labels import import_labels
from segmentation.landmarks import BoneLandmarks, find_presacral, find_sacral
from segmentation.shape import FrameBlock

__all__ = ["bone_picture", "main"]

_LEVELS = ("L1", "L2", "L3", "L4", "L5", "S1")
_LOW, _HIGH, _STEP = (-60.0, -42.0, -48.0), (60.0, 72.0, 42.0), 0.75
_SCALE = 2
_CREDIT = "Label maps: TotalSegmentator dataset, CC BY 4.0 (s0004, s0012, s0327, s0328); VerSe, CC BY-SA 4.0."
#: Colour of each kind of point, and its words in the legend.
_COLOURS = {"sap_tp_junction": (255, 60, 60), "sap_tip": (70, 150, 255), "tp_tip": (90, 220, 90),
            "mamillo_accessory_notch": (255, 210, 40), "pedicle_center": (255, 120, 255), "spinous_tip": (60, 230, 230)}


def _shaded(block: FrameBlock, axis: int, backward: bool) -> NDArray[np.uint8]:
    """The bone seen along a lattice axis (0 superior, 1 posterior) from its far end or its near one, grey."""
    values = np.moveaxis(block.distance, axis, 0)
    values = values[::-1] if backward else values
    inside = values < 0
    depth = np.where(inside.any(axis=0), inside.argmax(axis=0), len(values)).astype(float)
    slope = np.stack(np.gradient(depth))
    light = 1.0 / np.sqrt(1.0 + (slope**2).sum(axis=0))
    nearness = 1.0 - 0.6 * depth / len(values)
    return np.where(inside.any(axis=0), 40 + 190 * light * nearness, 0).astype(np.uint8)


def bone_picture(block: FrameBlock, frame: VertebralFrame, points: BoneLandmarks, caption: str, *,
                 above: bool) -> Image.Image:
    """One bone with its landmarks, from behind or from above (front at the top); left is on the left in both."""
    grey = _shaded(block, 0 if above else 1, True)[:, ::-1]
    picture = Image.fromarray(grey if above else grey[::-1]).convert("RGB")
    picture = picture.resize((picture.width * _SCALE, picture.height * _SCALE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    for name, point in points.landmarks.items():
        x, y, z = (frame.to_local(point.position) - (block.lateral[-1], block.posterior[0], block.superior[-1])) / _STEP
        u, v = -x * _SCALE, (y if above else -z) * _SCALE
        colour = next(c for kind, c in _COLOURS.items() if name.value.startswith(kind))
        draw.ellipse((u - 4, v - 4, u + 4, v + 4), outline=colour, width=2)
    draw.text((4, 2), caption, fill="white")
    return picture


def _found(bone: Bone, upright: NDArray[np.float64] | None) -> BoneLandmarks | None:
    if bone.fit is None or bone.fit.frame is None:
        return None
    return find_sacral(bone.fit, upright) if bone.name == "S1" else find_presacral(bone.fit, bone.name)


def _row(name: str, bones: Sequence[Bone], found: Mapping[str, BoneLandmarks]) -> list[Image.Image]:
    """Both views of every level of one person; empty tiles where a level is not in the map."""
    by_name = {bone.name: bone for bone in bones}
    tiles = []
    for level in _LEVELS:
        for above in (False, True):
            if level not in found:
                tiles.append(Image.new("RGB", (320, 240)))
                continue
            fit = by_name[level].fit
            assert fit is not None
            assert fit.frame is not None
            block = fit.field.block(fit.frame, _LOW, _HIGH, _STEP)
            words = f"{name} {level} {'from above' if above else 'from behind'}"
            tiles.append(bone_picture(block, fit.frame, found[level], words, above=above))
    return tiles


def main() -> None:
    """Find the landmarks of the seven label maps and draw them."""
    tiles = []
    for name, scheme in LABEL_MAPS.items():
        bones = fitted_bones(import_labels(DATA / "labels" / f"{name}_{scheme}.nii.gz", scheme))
        upright = upright_of(bones)
        points = {bone.name: _found(bone, upright) for bone in bones if bone.name in _LEVELS}
        tiles += _row(name, bones, {level: p for level, p in points.items() if p is not None})
    legend = ", ".join(f"{kind.replace('_', ' ')} {word}" for kind, word in zip(
        _COLOURS, ("red", "blue", "green", "yellow", "violet", "cyan"), strict=True))
    print(contact_sheet(tiles, "sheet_landmarks", f"{_CREDIT} {legend}. Left is on the left.", columns=12, tile=200))


if __name__ == "__main__":
    main()
