"""The capture curve as a small plot: how likely the nerve is caught, over the operator's placement error."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from targeting.model import CapturePoint

__all__ = ["CapturePlot"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 10, 16, 30
_FONT = "DejaVu Sans"


class CapturePlot(QWidget):
    """Draws `CapturePoint`s; says what it is and that it is a model estimate."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._points: tuple[CapturePoint, ...] = ()
        self._why_not = ""
        self.setMinimumSize(200, 100)
        self.setMaximumHeight(130)

    @property
    def points(self) -> tuple[CapturePoint, ...]:
        """What is drawn."""
        return self._points

    def show_curve(self, points: Sequence[CapturePoint], assumptions: Sequence[str]) -> None:
        """Draw these points; without any, the first assumption says why."""
        self._points = tuple(points)
        self._why_not = assumptions[0] if assumptions and not points else ""
        self.setToolTip("\n".join(assumptions))
        self.update()

    def _place(self, sigma: float, p: float, widest: float) -> QPointF:
        width, height = self.width() - _LEFT - _RIGHT, self.height() - _TOP - _BOTTOM
        return QPointF(_LEFT + width * sigma / widest, _TOP + height * (1.0 - p))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(QFont(_FONT, 7))
        painter.setPen(QColor("#c8c8c8"))
        painter.drawText(QRectF(_LEFT, 0, self.width() - _LEFT, _TOP), Qt.AlignmentFlag.AlignLeft,
                         "probability of capture: model estimate, unverified")
        if not self._points:
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._why_not)
            painter.end()
            return
        widest = max(point.placement_sigma_mm for point in self._points) or 1.0
        for p in (0.0, 0.5, 1.0):
            left = self._place(0.0, p, widest)
            painter.setPen(QPen(QColor("#555555"), 1, Qt.PenStyle.DotLine))
            painter.drawLine(left, self._place(widest, p, widest))
            painter.setPen(QColor("#c8c8c8"))
            painter.drawText(QRectF(0, left.y() - 7, _LEFT - 4, 14), Qt.AlignmentFlag.AlignRight, f"{p:.1f}")
        for point in self._points:
            at = self._place(point.placement_sigma_mm, 0.0, widest)
            painter.drawText(QRectF(at.x() - 12, at.y() + 2, 24, 12), Qt.AlignmentFlag.AlignCenter,
                             f"{point.placement_sigma_mm:g}")
        painter.drawText(QRectF(_LEFT, self.height() - 14, self.width() - _LEFT - _RIGHT, 14),
                         Qt.AlignmentFlag.AlignCenter, "placement error of the operator, sigma per axis in mm")
        places = [self._place(point.placement_sigma_mm, point.p, widest) for point in self._points]
        painter.setPen(QPen(QColor("#f0e442"), 1.6))
        painter.drawPolyline(QPolygonF(places))
        painter.setBrush(QColor("#f0e442"))
        for place in places:
            painter.drawEllipse(place, 2.2, 2.2)
        painter.end()
