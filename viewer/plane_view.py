"""One flat view: a picture of a plane with marks over it, LEFT and RIGHT in words, and what the mouse does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QResizeEvent, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from planner.views import Edge, edge_words, facing_words
from viewer.marks import Handle, Marks
from viewer.painting import Sight, paint_edges, paint_marks, paint_scale, paint_title, paint_watermark

__all__ = ["WINDOW_SHARE_PER_PX", "PlaneView"]

#: Share of the window's width by which a pixel of dragging changes it.
WINDOW_SHARE_PER_PX = 0.004
_REACH_PX = 9.0
#: Room at the foot for the word of the lower edge and the scale.
_FOOT_PX = 22
_ZOOM_STEP = 1.15


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
    def picture(self) -> NDArray[np.uint8] | None:
        """(rows, columns, 3) the picture shown, whose pixels may be larger than the view's."""
        return self._image

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
        """Show a picture (rows, columns, 3) of a plane, stretched to the view where its pixels are larger."""
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
        title, plane = self.title, self._plane
        if plane is not None and self._image is not None:
            rows, columns = self._image.shape[:2]
            picture = QImage(self._image.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
            painter.drawImage(QRectF(0, 0, self.width(), self.height()), picture)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            paint_marks(painter, plane, self._marks, self.size())
            paint_scale(painter, plane, self.size())
            title += ", " + facing_words(plane.right, plane.down)
        below = paint_title(painter, title, self.note, self.rect())
        paint_edges(painter, self.words(), self.rect(), below)
        if self._marks.watermark:
            paint_watermark(painter, self._marks.watermark, self.rect().adjusted(0, 0, 0, -_FOOT_PX))
        painter.end()

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
