"""The 3D scene of the napari window: anatomy, needles, the words LEFT and RIGHT, and dragging a needle's ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from imaging.geometry import Side
from planner.pictures import SIDE_COLOR
from planner.plan import WATERMARK, PlanState
from planner.views import edge_words, facing_words, pose_marks
from targeting.model import NeedlePose, Target, best_placement
from viewer.editing import Editor
from viewer.layers import AXES, LayerData, needles_layer, to_napari
from viewer.marks import Handle

if TYPE_CHECKING:
    from napari import Viewer

__all__ = ["Scene3D"]

Array = NDArray[np.float64]
#: With axes (superior, posterior, left) this is the one orientation that does not mirror the patient.
ORIENTATION = ("away", "down", "right")
#: While a needle is moved in a flat view the scene follows this often, ms; a move in the scene itself is drawn at once.
_FRAME_MS = 100
_REACH_PX = 12.0
_HANDLE_MM = 3.0
_WORDS_PT = 9
_UNITS = ("mm",) * 3


class Scene3D:
    """Keeps the layers of a napari viewer in step with a session."""

    def __init__(self, viewer: Viewer, editor: Editor) -> None:
        self.viewer = viewer
        self.editor, self.session = editor, editor.session
        self._names: list[str] = []
        self._marked: Target | None = None
        viewer.dims.ndisplay = 3
        viewer.scene.camera.orientation = ORIENTATION
        viewer.scene.camera.perspective = 0.0
        overlay = viewer.canvas.overlays.text
        overlay.font_size, overlay.position = _WORDS_PT, "bottom_left"
        viewer.mouse_drag_callbacks.append(self._on_drag)
        viewer.scene.camera.events.connect(self._say_direction)
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(_FRAME_MS)
        self._soon.timeout.connect(self.show_needles)
        self.session.needle_changed.connect(self._follow)
        self.session.target_changed.connect(self.show_needles)
        for signal in (self.session.plan_changed, self.session.review_changed):
            signal.connect(self._say_direction)

    def show_anatomy(self, layers: list[LayerData]) -> None:
        """Put the anatomy of the plan into the scene, in place of what was there; the camera stays."""
        camera = self.viewer.scene.camera
        seen = camera.center, camera.zoom, camera.angles
        self.clear()
        for data, style, kind in layers:
            self._add(data, style, kind)
        self._add_side_words()
        self.show_needles()
        camera.center, camera.zoom, camera.angles = seen  # napari turns the camera at the first layer

    def clear(self) -> None:
        """Take away everything this scene added."""
        for name in self._names:
            if name in self.viewer.layers:
                self.viewer.layers.remove(name)
        self._names, self._marked = [], None

    def _add(self, data: Any, style: dict[str, Any], kind: str) -> None:
        layer = getattr(self.viewer, f"add_{kind}")(data, **style)
        self._names.append(layer.name)

    def _box(self) -> tuple[Array, Array]:
        """Corners of what is to be seen: the vertebrae, or the whole scan without any, (3,) LPS mm each."""
        from imaging.geometry import to_world

        plan = self.session.plan
        assert plan is not None
        points = np.array([v.body_center for v in plan.spine.vertebrae])
        if len(points):
            beside, beyond = np.array([60.0, 40.0, 25.0]), np.array([60.0, 70.0, 25.0])
            return points.min(axis=0) - beside, points.max(axis=0) + beyond
        ends = to_world(plan.spine.grid, np.array([(0, 0, 0), np.array(plan.spine.grid.shape[::-1]) - 1.0]))
        return ends.min(axis=0), ends.max(axis=0)

    def _add_side_words(self) -> None:
        low, high = self._box()
        middle = (low + high) / 2
        places = np.array([(high[0], middle[1], middle[2]), (low[0], middle[1], middle[2])])
        sides = (Side.LEFT, Side.RIGHT)
        text = {"string": "{side}", "size": 14, "color": [SIDE_COLOR[s] for s in sides],
                "blending": "translucent_no_depth"}
        self._add(to_napari(places), {
            "name": "sides", "features": {"side": [s.value for s in sides]}, "text": text, "size": 0.1,
            "face_color": "transparent", "border_color": "transparent", "units": _UNITS, "axis_labels": AXES,
            "blending": "translucent_no_depth"}, "points")

    def look_from_behind(self) -> None:
        """The surgeon's view of a prone patient: from behind, head up, LEFT on the left."""
        low, high = self._box()
        camera = self.viewer.scene.camera
        camera.center = tuple(to_napari((low + high) / 2))
        camera.set_view_direction(to_napari(np.array([0.0, -1.0, 0.0])), to_napari(np.array([0.0, 0.0, 1.0])))
        rows, columns = self.viewer.window._qt_viewer.canvas.size
        span = high - low
        camera.zoom = min(0.9 * rows / span[2], 0.75 * columns / span[0])  # the words stand beside the box

    # needles

    def _needles(self) -> list[tuple[Target, NeedlePose]]:
        """One needle per target: the one shown for the chosen target, the best of every other."""
        out = []
        for proposal in self.session.proposals:
            chosen = self.session.target is proposal.target
            placement = self.session.placement if chosen else best_placement(proposal)
            if placement is not None:
                out.append((proposal.target, placement.needles[0]))
        return out

    def _follow(self) -> None:
        """Draw a moved needle with the next frame: drawing the scene can take longer than many moves of a mouse."""
        if not self._soon.isActive():
            self._soon.start()

    def show_needles(self) -> None:
        """Draw every target's needle and the handles of the chosen one."""
        self._soon.stop()
        if not self._names:
            return
        needles = self._needles()
        if needles:
            data, style, _ = needles_layer(needles)
            self._show_surface(data, style)
        elif "needles" in self.viewer.layers:
            self.viewer.layers.remove("needles")
        self._show_ends()

    def _show_surface(self, data: tuple[Any, Any], style: dict[str, Any]) -> None:
        """Move the needles where their number and colours stay; else draw them anew."""
        name, layers = style["name"], self.viewer.layers
        if name in layers:
            held = layers[name]
            if np.array_equal(held.vertex_colors, style["vertex_colors"]):
                _move(held, held.vertices, data[0])
                return
            layers.remove(name)
        self._add(data, style, "surface")

    def _show_ends(self) -> None:
        pose, target, layers = self.session.pose, self.session.target, self.viewer.layers
        name = "needle ends"
        shown = pose is not None and target is not None
        if name in layers and layers[name].visible is not shown:
            layers[name].visible = shown
        if pose is None or target is None:
            return
        ends, colors = to_napari(np.stack([pose_marks(pose).start, pose.tip])), [SIDE_COLOR[target.side], "white"]
        if name in layers:
            held = layers[name]
            if target is not self._marked:
                held.face_color, self._marked = colors, target
            _move(held, held.data, ends)
            return
        self._marked = target
        self._add(ends, {"name": name, "size": _HANDLE_MM, "symbol": ["diamond", "ring"], "face_color": colors,
                         "border_color": "white", "blending": "translucent_no_depth", "units": _UNITS,
                         "axis_labels": AXES}, "points")

    # direction

    def words(self) -> str:
        """Where the eye stands and on which edge of the canvas LEFT lies."""
        camera = self.viewer.scene.camera
        into, up = (np.asarray(d)[::-1] for d in (camera.view_direction, camera.up_direction))
        right = np.cross(into, up)
        edges = edge_words(right, -np.asarray(up))
        at = next((edge.value for edge, words in edges.items() if words[0] == Side.LEFT.value), None)
        return facing_words(right, -np.asarray(up)) + ("" if at is None else f"; LEFT is at the {at}")

    def _say_direction(self, event: Any = None) -> None:
        overlay = self.viewer.canvas.overlays.text
        mark = "" if self.session.plan is None or self.session.plan.state is PlanState.APPROVED else f"\n{WATERMARK}"
        overlay.text, overlay.visible = self.words() + mark, True

    # mouse

    def _on_drag(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Take hold of a needle's end and move it parallel to the screen."""
        pose = self.session.pose
        if pose is None or not self.editor.can_move or event.button != 1:
            return
        into = np.asarray(event.view_direction)[::-1]
        start = np.asarray(event.position)[::-1]
        held = self._handle_at(pose, start, into)
        if held is None:
            return
        event.handled = True
        origin = pose.tip if held is Handle.TIP else pose_marks(pose).start
        viewer.scene.camera.mouse_pan = False
        yield
        while event.type == "mouse_move":
            self.editor.drag(held, origin + np.asarray(event.position)[::-1] - start)
            self.show_needles()
            event.handled = True
            yield
        self.editor.drag(held, origin + np.asarray(event.position)[::-1] - start)
        viewer.scene.camera.mouse_pan = True
        self.editor.keep()

    def _handle_at(self, pose: NeedlePose, point: Array, into: Array) -> Handle | None:
        """The end of the needle under a ray through `point` along `into`; the nearer one."""
        reach = _REACH_PX / self.viewer.scene.camera.zoom
        ends = {Handle.TIP: pose.tip} | ({} if pose.entry is None else {Handle.ENTRY: pose.entry})
        gaps = {which: float(np.linalg.norm(np.cross(end - point, into))) for which, end in ends.items()}
        nearest = min(gaps, key=lambda which: gaps[which])
        return nearest if gaps[nearest] <= reach else None


def _move(layer: Any, held: Array, places: Array) -> None:
    """Put what a layer draws in other places, in place: napari's own setters lay out the whole scene anew each time."""
    held[...] = places
    layer.refresh(thumbnail=False, highlight=False, extent=False)
