"""What is painted over the picture of a flat view: courses, cross-hair, needles, points, the scale and words."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from qtpy.QtCore import QPointF, QRect, QSize, Qt
from qtpy.QtGui import QBrush, QColor, QFont, QFontMetrics, QPainter, QPen, QPolygonF

from planner.pictures import SIDE_COLOR
from planner.reslice import Plane
from planner.views import Edge
from targeting.fluoroscope import Beam
from viewer.marks import Marks, NeedleMark, PathMark, PointMark
from viewer.settings import settings

#: What a picture was made through: a cut, or a cone of X-rays.
Sight = Plane | Beam

__all__ = ["Sight", "paint_edges", "paint_marks", "paint_scale", "paint_title", "paint_watermark"]

_FONT = "DejaVu Sans"
_WORD_COLOR = {side.value: color for side, color in SIDE_COLOR.items()}
_TIP_COLOR = "#ffffff"
_CROSS_COLOR = "#7ddc7d"
_POINT_COLOR = "#ff6df2"
_NOTE_COLOR = "#ffd24d"
_SCALE_MM = 20
#: A point's name stands this far above its ring: a ring on the cross-hair is as high as the words at the edges.
_CLEAR_PX = 14
_ALIGN = {
    Edge.LEFT: Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
    Edge.RIGHT: Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
    Edge.TOP: Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter,
    Edge.BOTTOM: Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignHCenter,
}


def paint_title(painter: QPainter, title: str, note: str, room: QRect) -> int:
    """The title in the upper left corner and a note under it, in as many lines as they need; the row below them."""
    top_left = Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft
    below = _paint_word(painter, title, top_left, "#ffffff", 8, room)
    return _paint_word(painter, note, top_left, _NOTE_COLOR, 8, room, below) if note else below


def paint_edges(painter: QPainter, words: Mapping[Edge, str], room: QRect, below: int) -> None:
    """Each edge's words, LEFT and RIGHT in the colour of their side; those at the top stand `below` the title."""
    for edge, word in words.items():
        color = _WORD_COLOR.get(word.split(",")[0], "#ffffff")
        _paint_word(painter, word, _ALIGN[edge], color, 11, room, below if edge is Edge.TOP else 0)


def paint_watermark(painter: QPainter, words: str, room: QRect) -> None:
    """What the picture shows is a proposal that nobody approved, in the lower left corner."""
    _paint_word(painter, words, Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft, _NOTE_COLOR, 7, room)


def _paint_word(painter: QPainter, text: str, align: Qt.AlignmentFlag, color: str, points: int, room: QRect,
                down: int = 0) -> int:
    """Paint a text on a darkened ground; the row below it."""
    font = QFont(_FONT, points)
    font.setBold(points > 9)
    painter.setFont(font)
    room, how = room.adjusted(5, 4 + down, -5, -4), int(align) | int(Qt.TextFlag.TextWordWrap)
    box = QFontMetrics(font).boundingRect(room, how, text)
    painter.fillRect(box.adjusted(-3, -1, 3, 1), QColor(0, 0, 0, 150))
    painter.setPen(QColor(color))
    painter.drawText(room, how, text)
    return int(box.bottom())


def paint_scale(painter: QPainter, sight: Sight, size: QSize) -> None:
    """A bar of a known length in the lower right corner."""
    length = _SCALE_MM / sight.step_mm
    right, low = size.width() - 12.0, size.height() - 12.0
    painter.setPen(QPen(QColor("white"), 2.0))
    painter.drawLine(QPointF(right - length, low), QPointF(right, low))
    painter.setFont(QFont(_FONT, 7))
    painter.drawText(QPointF(right - length, low - 4), f"{_SCALE_MM} mm")


def paint_marks(painter: QPainter, sight: Sight, marks: Marks, size: QSize) -> None:
    """Everything that is drawn in the patient's coordinates. A place is the middle of its pixel."""
    painter.save()
    painter.translate(0.5, 0.5)
    for path in marks.paths:
        _paint_path(painter, sight, path)
    if marks.crosshair is not None:
        x, y, _ = sight.to_view(marks.crosshair)
        painter.setPen(QPen(QColor(_CROSS_COLOR), 0.8))
        painter.drawLine(QPointF(x, 0), QPointF(x, size.height()))
        painter.drawLine(QPointF(0, y), QPointF(size.width(), y))
    for needle in marks.needles:
        _paint_needle(painter, sight, needle)
    for point in marks.points:
        _paint_point(painter, sight, point, size.width())
    painter.restore()


def _paint_point(painter: QPainter, sight: Sight, mark: PointMark, width: int) -> None:
    """A ring with its name; dotted and without a name where the point lies beside the cut."""
    x, y, behind = sight.to_view(mark.place)
    near = abs(behind) < settings().beside_mm
    radius = 7.0 if mark.movable else 4.0
    painter.setPen(QPen(QColor(_POINT_COLOR), 1.8, Qt.PenStyle.SolidLine if near else Qt.PenStyle.DotLine))
    painter.setBrush(QBrush(Qt.BrushStyle.NoBrush))
    painter.drawEllipse(QPointF(x, y), radius, radius)
    if near:
        font = QFont(_FONT, 8)
        painter.setFont(font)
        wide = QFontMetrics(font).horizontalAdvance(mark.name)
        left = x + radius + 3 if x + radius + 3 + wide < width else max(x - radius - 3 - wide, 0.0)
        painter.drawText(QPointF(left, y - radius - _CLEAR_PX), mark.name)


def _paint_path(painter: QPainter, sight: Sight, mark: PathMark) -> None:
    """Solid where the course runs in the cut, dotted where it runs beside it."""
    for a, b in pairwise(sight.to_view(mark.path)):
        near = abs(a[2] + b[2]) / 2 < settings().beside_mm
        painter.setPen(QPen(QColor(mark.color), 2.5 if near else 1.0,
                            Qt.PenStyle.SolidLine if near else Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(a[0], a[1]), QPointF(b[0], b[1]))


def _paint_needle(painter: QPainter, sight: Sight, mark: NeedleMark) -> None:
    """Shaft and active tip, dashed beside the cut or where the skin is not in view; a ring, and a diamond on skin."""
    start, knee, tip = sight.to_view(np.stack([mark.points.start, mark.points.knee, mark.points.tip]))
    beside = max(abs(start[2]), abs(tip[2])) > settings().beside_mm
    width = max(mark.diameter_mm / sight.step_mm, 1.6)
    style = Qt.PenStyle.DashLine if beside or mark.points.entry is None else Qt.PenStyle.SolidLine
    for a, b, color in ((start, knee, mark.color), (knee, tip, _TIP_COLOR)):
        painter.setPen(QPen(QColor(color), width, style, Qt.PenCapStyle.FlatCap))
        painter.drawLine(QPointF(a[0], a[1]), QPointF(b[0], b[1]))
    painter.setBrush(QBrush(Qt.BrushStyle.NoBrush))
    radius = 6.0 if mark.movable else 3.0
    painter.setPen(QPen(QColor(_TIP_COLOR), 1.4))
    painter.drawEllipse(QPointF(tip[0], tip[1]), radius, radius)
    if mark.points.entry is not None:
        painter.setPen(QPen(QColor(mark.color), 1.6))
        x, y = start[0], start[1]
        painter.drawPolygon(QPolygonF([QPointF(x - radius, y), QPointF(x, y - radius), QPointF(x + radius, y),
                                       QPointF(x, y + radius)]))
