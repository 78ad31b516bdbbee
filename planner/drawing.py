"""Drawing on the pictures of the report: lines, shapes and words over a grey or coloured picture, as JPEG."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Canvas"]

Array = NDArray[np.float64]
_FINE = 2  # shapes are drawn this much finer than the picture and averaged: smooth edges
_QUALITY = 80
_HALO = "#000000"


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


class Canvas:
    """A picture to draw on; places are (column, row) in pixels of the picture it was made from.

    Shapes come first, words last: `finish` turns the canvas into its final size.

    Parameters
    ----------
    picture : (rows, columns) or (rows, columns, 3) uint8
    width : int
        Pixels across of the finished picture; its height follows.
    """

    def __init__(self, picture: NDArray[np.uint8], width: int) -> None:
        rows, columns = picture.shape[:2]
        self.width, self.height = width, max(round(width * rows / columns), 1)
        self._scale = float(width / columns)
        size = (self.width * _FINE, self.height * _FINE)
        self._image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC).convert("RGB")
        self._draw = ImageDraw.Draw(self._image)
        self._words: list[tuple[tuple[float, float], str, str, int, str]] = []

    def _at(self, points: Array) -> list[tuple[float, float]]:
        """Picture pixels to fine pixels; what has no place in the picture (NaN) is left out."""
        fine = (np.asarray(points, dtype=np.float64)[:, :2] + 0.5) * self._scale * _FINE
        return [(x, y) for x, y in fine.tolist() if np.isfinite(x) and np.isfinite(y)]

    def outline(self, mask: NDArray[Any], color: str, width: int = 1) -> None:
        """The border of a mask (rows, columns) of the picture's size, `width` fine pixels wide."""
        fine = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).resize(self._image.size,
                                                                               Image.Resampling.BILINEAR)
        inside = np.asarray(fine) > 127
        border = np.zeros(inside.shape, dtype=np.bool_)
        for shift in range(1, width + 1):
            border[shift:] |= inside[shift:] ^ inside[:-shift]
            border[:, shift:] |= inside[:, shift:] ^ inside[:, :-shift]
        self._image.paste(ImageColor.getrgb(color), mask=Image.fromarray(border))

    def line(self, points: Array, color: str, width: float, *, dash: float = 0.0, halo: bool = True) -> None:
        """A line through points (n, 2 or more); `width` and `dash` in finished pixels, 0 unbroken."""
        places = self._at(points)
        if len(places) < 2:
            return
        pieces = [places] if not dash else _dashes(places, dash * _FINE)
        for shade, extra in ((_HALO, 2.0), (color, 0.0)):
            if shade == _HALO and not halo:
                continue
            for piece in pieces:
                self._draw.line(piece, fill=shade, width=max(round((width + extra) * _FINE), 1), joint="curve")

    def polygon(self, points: Array, color: str, *, fill: bool = True) -> None:
        """A closed shape through points (n, 2)."""
        places = self._at(points)
        if len(places) < 3:
            return
        if fill:
            self._draw.polygon(places, fill=color, outline=color)
        else:
            self.line(np.concatenate([points, points[:1]]), color, 1.2)

    def ring(self, point: Array, radius: float, color: str, width: float = 1.5) -> None:
        """A circle of `radius` finished pixels."""
        turn = np.linspace(0.0, 2 * np.pi, 33)
        circle = np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius / self._scale
        self.line(np.asarray(point)[:2] + circle, color, width)

    def diamond(self, point: Array, radius: float, color: str) -> None:
        """A filled diamond: an entry point."""
        corners = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]) * radius / self._scale
        self.polygon(np.asarray(point)[:2] + corners * 1.5, _HALO)
        self.polygon(np.asarray(point)[:2] + corners, color)

    def words(self, at: tuple[float, float], text: str, color: str, size: int, anchor: str) -> None:
        """Words on a dark ground.

        Parameters
        ----------
        at : tuple of float
            Share of the width and of the height, 0 to 1.
        size : int
            Finished pixels.
        anchor : str
            Pillow's two letters: l, m, r and a, m, d (start, middle, end of the line; top, middle, bottom).
        """
        self._words.append((at, text, color, size, anchor))

    def pixels(self, length: float) -> float:
        """A length in picture pixels in finished pixels."""
        return length * self._scale

    def label(self, point: Array, x: float, text: str, color: str, size: int, anchor: str) -> None:
        """Words beside a point of the picture, at a share of the width, with a thin line to the point."""
        row = float(point[1])
        self.line(np.array([[x * self.width / self._scale - 0.5, row], [float(point[0]), row]]), color, 0.7,
                  halo=False)
        self.words((x, (row + 0.5) * self._scale / self.height), text, color, size, anchor)

    def scale_bar(self, length: float, text: str) -> None:
        """A bar of `length` picture pixels with its meaning, at the lower right."""
        right, row = (np.array([0.985 * self.width, 0.975 * self.height]) / self._scale - 0.5).tolist()
        self.line(np.array([[right - length, row], [right, row]]), "#ffffff", 2.0)
        self.words((0.985 - self.pixels(length) / self.width - 0.01, 0.985), text, "#ffffff", 9, "rs")

    def finish(self) -> NDArray[np.uint8]:
        """(rows, columns, 3) the picture with its words."""
        picture = self._image.resize((self.width, self.height), Image.Resampling.BOX)
        ground = Image.new("L", picture.size, 0)
        shade = ImageDraw.Draw(ground)
        for (x, y), text, _, size, anchor in self._words:
            place = (x * self.width, y * self.height)
            box = shade.textbbox(place, text, font=_font(size), anchor=anchor)
            shade.rectangle((box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2), fill=170)
        picture.paste((0, 0, 0), mask=ground)
        pen = ImageDraw.Draw(picture)
        for (x, y), text, color, size, anchor in self._words:
            pen.text((x * self.width, y * self.height), text, fill=color, font=_font(size), anchor=anchor)
        return np.asarray(picture)

    def jpeg(self) -> bytes:
        """The finished picture as a JPEG file."""
        stream = io.BytesIO()
        Image.fromarray(self.finish()).save(stream, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
        return stream.getvalue()


def _dashes(places: Sequence[tuple[float, float]], length: float) -> list[list[tuple[float, float]]]:
    """Every second stretch of `length` along a line."""
    points = np.array(places)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    out = []
    for begin in np.arange(0.0, along[-1], 2 * length):
        ends = np.array([begin, min(begin + length, along[-1])])
        x, y = (np.interp(ends, along, points[:, n]) for n in (0, 1))
        out.append([(float(x[0]), float(y[0])), (float(x[1]), float(y[1]))])
    return out
