"""One flat view: a picture of a plane with marks over it, LEFT and RIGHT in words, and what the mouse does."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontMetrics,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import QSizePolicy, QWidget

from planner.pictures import SIDE_COLOR
from planner.reslice import Plane
from planner.views import Edge, edge_words, facing_words
from targeting.fluoroscope import Beam
from viewer.marks import Handle, Marks, NeedleMark, PathMark, PointMark
from viewer.settings import settings

#: What a picture was made through: a cut, or a cone of X-rays.
Sight = Plane | Beam

__all__ = ["WINDOW_SHARE_PER_PX", "PlaneView"]

#: Share of the window's width by which a pixel of dragging changes it.
WINDOW_SHARE_PER_PX = 0.004
_REACH_PX = 9.0
_WORD_COLOR = {side.value: color for side, color in SIDE_COLOR.items()}
_TIP_COLOR = "#ffffff"
_CROSS_COLOR = "#7ddc7d"
_POINT_COLOR = "#ff6df2"
_LINE_PX = 16
_ZOOM_STEP = 1.15
_ALIGN = {
    Edge.LEFT: Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
    Edge.RIGHT: Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
    Edge.TOP: Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter,
    Edge.BOTTOM: Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignHCenter,
}


class PlaneView(QWidget):
    """A flat view.

    The owner gives it a plane, a picture of that plane and marks; it says what the mouse and keys asked for. Left
    button: cross-hair, or a needle's end or a landmark where one is under the pointer; middle button: pan; right
    button: window; wheel: along the line of sight; Ctrl and wheel: zoom.
    """

    picked = Signal(object)
    """(3,) LPS mm under the left button."""
    handle_moved = Signal(object, object)
    """`Handle` and its wanted place, (3,) LPS mm."""
    handle_released = Signal(object)
    """`Handle` that was let go."""
    stepped = Signal(float)
    """Steps along the line of sight, away from the eye positive."""
    panned = Signal(object)
    """(3,) LPS mm by which the middle of the view should move."""
    zoomed = Signal(float)
    """Factor of the pixel size."""
    window_moved = Signal(float, float)
    """Pixels dragged right (width) and down (level)."""
    resized = Signal()

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = title
        self.note = ""
        self._plane: Sight | None = None
        self._image: NDArray[np.uint8] | None = None
        self._marks = Marks()
        self._held: Handle | None = None
        self._behind = 0.0
        self._last = QPointF()
        self._beside_mm = settings().beside_mm
        self.setMinimumSize(160, 140)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setAccessibleName(title)

    @property
    def plane(self) -> Sight | None:
        """The plane shown, None when there is nothing to show."""
        return self._plane

    @property
    def marks(self) -> Marks:
        """What is drawn over the picture."""
        return self._marks

    def words(self) -> Mapping[Edge, str]:
        """The patient's ends that each edge lies toward, LEFT or RIGHT first; empty without a plane."""
        if self._plane is None:
            return {}
        return {edge: ", ".join(words) for edge, words in edge_words(self._plane.right, self._plane.down).items()}

    def show_plane(self, plane: Sight, image: NDArray[np.uint8]) -> None:
        """Show a picture (rows, columns, 3) of a plane."""
        self._plane, self._image = plane, np.ascontiguousarray(image)
        self.update()

    def show_marks(self, marks: Marks, note: str = "") -> None:
        """Draw these marks from now on, and a short note under the title."""
        self._marks, self.note = marks, note
        self.update()

    def clear(self, note: str = "") -> None:
        """Show nothing but a note."""
        self._plane, self._image, self._marks, self.note = None, None, Marks(), note
        self.update()

    # painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        if self._plane is not None and self._image is not None:
            rows, columns = self._image.shape[:2]
            picture = QImage(self._image.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
            painter.drawImage(QRectF(0, 0, self.width(), self.height()), picture)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._paint_marks(painter, self._plane)
            self._paint_scale(painter, self._plane)
            for edge, word in self.words().items():
                down = _LINE_PX if edge is Edge.TOP else 0
                self._paint_word(painter, word, _ALIGN[edge], _WORD_COLOR.get(word.split(",")[0], "#ffffff"), 11,
                                 down)
        self._paint_title(painter)
        painter.end()

    def _paint_title(self, painter: QPainter) -> None:
        top_left = Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft
        facing = "" if self._plane is None else ", " + facing_words(self._plane.right, self._plane.down)
        self._paint_word(painter, self.title + facing, top_left, "#ffffff", 8)
        if self.note:
            self._paint_word(painter, self.note, top_left, "#ffd24d", 8, down=_LINE_PX)

    def _paint_word(self, painter: QPainter, text: str, align: Qt.AlignmentFlag, color: str, points: int,
                    down: int = 0) -> None:
        font = QFont("DejaVu Sans", points)
        font.setBold(points > 9)
        painter.setFont(font)
        room = self.rect().adjusted(5, 4 + down, -5, -4)
        box = QFontMetrics(font).boundingRect(room, int(align), text).adjusted(-3, -1, 3, 1)
        painter.fillRect(box, QColor(0, 0, 0, 150))
        painter.setPen(QColor(color))
        painter.drawText(room, int(align), text)

    def _paint_scale(self, painter: QPainter, plane: Sight) -> None:
        length = 20.0 / plane.step_mm
        right, low = self.width() - 12.0, self.height() - 12.0
        painter.setPen(QPen(QColor("white"), 2.0))
        painter.drawLine(QPointF(right - length, low), QPointF(right, low))
        painter.setFont(QFont("DejaVu Sans", 7))
        painter.drawText(QPointF(right - length, low - 4), "20 mm")

    def _paint_marks(self, painter: QPainter, plane: Sight) -> None:
        for path in self._marks.paths:
            self._paint_path(painter, plane, path)
        if self._marks.crosshair is not None:
            x, y, _ = plane.to_view(self._marks.crosshair)
            painter.setPen(QPen(QColor(_CROSS_COLOR), 0.8))
            painter.drawLine(QPointF(x, 0), QPointF(x, self.height()))
            painter.drawLine(QPointF(0, y), QPointF(self.width(), y))
        for needle in self._marks.needles:
            self._paint_needle(painter, plane, needle)
        for point in self._marks.points:
            self._paint_point(painter, plane, point)

    def _paint_point(self, painter: QPainter, plane: Sight, mark: PointMark) -> None:
        """A ring with its name; dotted and without a name where the point lies beside the cut."""
        x, y, behind = plane.to_view(mark.place)
        near = abs(behind) < self._beside_mm
        radius = 7.0 if mark.movable else 4.0
        painter.setPen(QPen(QColor(_POINT_COLOR), 1.8, Qt.PenStyle.SolidLine if near else Qt.PenStyle.DotLine))
        painter.setBrush(QBrush(Qt.BrushStyle.NoBrush))
        painter.drawEllipse(QPointF(x, y), radius, radius)
        if near:
            font = QFont("DejaVu Sans", 8)
            painter.setFont(font)
            width = QFontMetrics(font).horizontalAdvance(mark.name)
            left = x + radius + 3 if x + radius + 3 + width < self.width() else max(x - radius - 3 - width, 0.0)
            painter.drawText(QPointF(left, y - radius), mark.name)

    def _paint_path(self, painter: QPainter, plane: Sight, mark: PathMark) -> None:
        """Solid where the course runs in the cut, dotted where it runs beside it."""
        seen = plane.to_view(mark.path)
        for a, b in pairwise(seen):
            near = abs(a[2] + b[2]) / 2 < self._beside_mm
            painter.setPen(QPen(QColor(mark.color), 2.5 if near else 1.0,
                                Qt.PenStyle.SolidLine if near else Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(a[0], a[1]), QPointF(b[0], b[1]))

    def _paint_needle(self, painter: QPainter, plane: Sight, mark: NeedleMark) -> None:
        start, knee, tip = plane.to_view(np.stack([mark.points.start, mark.points.knee, mark.points.tip]))
        beside = max(abs(start[2]), abs(tip[2])) > self._beside_mm
        width = max(mark.diameter_mm / plane.step_mm, 1.6)
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

    # mouse

    def handle_at(self, position: QPointF) -> Handle | None:
        """What can be taken hold of under a place of the widget, a landmark first; the tip where both ends are."""
        if self._plane is None:
            return None
        gaps: dict[Handle, float] = {}
        for which, place in self._marks.handles().items():
            x, y, _ = self._plane.to_view(place)
            gaps[which] = float(np.hypot(position.x() - x, position.y() - y))
        reached = [which for which, gap in gaps.items() if gap <= _REACH_PX]
        return min(reached, key=lambda which: (which is not Handle.LANDMARK, gaps[which]), default=None)

    def place_of(self, xyz: NDArray[np.float64]) -> QPointF:
        """Where a point (3,) LPS mm lies in the widget."""
        if self._plane is None:
            raise ValueError(f"the view '{self.title}' shows nothing")
        x, y, _ = self._plane.to_view(xyz)
        return QPointF(float(x), float(y))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self._plane is None:
            return
        self._last = event.position()
        if event.button() != Qt.MouseButton.LeftButton:
            return
        self._held = self.handle_at(event.position())
        if self._held is None:
            self.picked.emit(_place(self._plane, event.position(), 0.0))
            return
        self._behind = float(self._plane.to_view(self._marks.handles()[self._held])[2])

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        plane, here = self._plane, event.position()
        if plane is None:
            return
        buttons, step = event.buttons(), here - self._last
        self._last = here
        if buttons & Qt.MouseButton.LeftButton:
            if self._held is not None:
                self.handle_moved.emit(self._held, _place(plane, here, self._behind))
            else:
                self.picked.emit(_place(plane, here, 0.0))
        elif buttons & Qt.MouseButton.MiddleButton:
            self.panned.emit(-plane.step_mm * (step.x() * plane.right + step.y() * plane.down))
        elif buttons & Qt.MouseButton.RightButton:
            self.window_moved.emit(step.x(), step.y())
        else:
            shape = Qt.CursorShape.CrossCursor if self.handle_at(here) is None else Qt.CursorShape.SizeAllCursor
            self.setCursor(shape)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._held is not None:
            held, self._held = self._held, None
            self.handle_released.emit(held)

    def wheelEvent(self, event: QWheelEvent) -> None:
        notches = event.angleDelta().y() / 120.0
        if self._plane is None or not notches:
            return
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoomed.emit(_ZOOM_STEP ** -notches)
        else:
            self.stepped.emit(-notches)
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_PageUp: -1.0, Qt.Key.Key_PageDown: 1.0}.get(Qt.Key(event.key()))
        if step is None or self._plane is None:
            super().keyPressEvent(event)
        else:
            self.stepped.emit(step)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()


def _place(sight: Sight, at: QPointF, behind_mm: float) -> NDArray[np.float64]:
    """(3,) LPS mm of a place of the widget."""
    return sight.to_patient(np.array([at.x(), at.y(), behind_mm]))
