"""The pictures of the report: slices and bone views with the path drawn, LEFT and RIGHT marked on every one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side
from imaging.volume import Volume
from planner.plan import WATERMARK, Plan
from planner.reslice import Plane, axial_plane, needle_plane, sample_mask, sample_values
from planner.scene import Camera, Rod, posterior_camera, posterior_oblique_camera, render
from planner.words import best_placement
from segmentation.anatomy import StructureName
from segmentation.spine import Spine
from targeting.model import NeedlePose, Proposal, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "BONE_COLOR", "NERVE_COLOR", "SIDE_COLOR", "STRUCTURE_COLOR", "Picture", "overview_picture", "shown_pose",
    "target_pictures",
]

Array = NDArray[np.float64]

#: Colours that colour-blind readers tell apart (Okabe and Ito 2008); words stand beside them everywhere.
SIDE_COLOR = {Side.LEFT: "#56b4e9", Side.RIGHT: "#e69f00"}
STRUCTURE_COLOR = {
    StructureName.CANAL: "#cc79a7", StructureName.FORAMEN_CONTENTS: "#f58fd0", StructureName.AORTA: "#d55e00",
    StructureName.VENA_CAVA: "#0072b2", StructureName.KIDNEYS: "#b07aa1", StructureName.LUNGS: "#7fd3c8",
    StructureName.BOWEL_GAS: "#9ec06b", StructureName.RIBS: "#c9b18b", StructureName.ILIAC_BONES: "#c9b18b",
    StructureName.METAL: "#ff4d4d",
}
NERVE_COLOR = "#f0e442"
BONE_COLOR = "#d8cfb8"
_TIP_COLOR = "#ffffff"
_DPI = 100
_INCHES = 4.6
_WINDOW = (-180.0, 560.0)
_STEP_MM = 0.45


@dataclass(frozen=True)
class Picture:
    """One picture, ready for a page.

    Attributes
    ----------
    jpeg : bytes
    caption : str
        What is seen and from where, in words.
    """

    jpeg: bytes
    caption: str


def _encode(figure: Any) -> bytes:
    from PIL import Image

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=84, subsampling=0)
    return stream.getvalue()


def _canvas(width: float, height: float) -> tuple[Any, Axes]:
    """A figure without frame whose axes run in mm; rows grow downward."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_INCHES, _INCHES * height / width), dpi=_DPI, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-width / 2, width / 2)
    axes.set_ylim(height / 2, -height / 2)
    return figure, axes


def _word(axes: Axes, x: float, y: float, text: str, color: str, size: float, **style: Any) -> None:
    axes.text(x, y, text, color=color, fontsize=size, transform=axes.transAxes, family="DejaVu Sans",
              bbox={"facecolor": "black", "alpha": 0.65, "edgecolor": "none", "pad": 1.5}, **style)


def _marks(axes: Axes, left_on_right: bool, view: str, height: float = 0.5) -> None:
    """LEFT and RIGHT in words and colour, the view, the research-use line and the watermark."""
    on_right, on_left = (Side.LEFT, Side.RIGHT) if left_on_right else (Side.RIGHT, Side.LEFT)
    _word(axes, 0.985, height, on_right.value, SIDE_COLOR[on_right], 11, ha="right", va="center", weight="bold")
    _word(axes, 0.015, height, on_left.value, SIDE_COLOR[on_left], 11, ha="left", va="center", weight="bold")
    _word(axes, 0.015, 0.985, view, "white", 8, ha="left", va="top")
    _word(axes, 0.015, 0.015, "RESEARCH USE ONLY - NOT FOR CLINICAL USE", "white", 7, ha="left", va="bottom")
    _word(axes, 0.985, 0.985, WATERMARK, "#ffd24d", 8, ha="right", va="top", weight="bold")


def _scale_bar(axes: Axes, width: float, height: float) -> None:
    x, y = width / 2 - 26, height / 2 - 5
    axes.plot([x, x + 20], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    axes.text(x + 10, y - 1.5, "20 mm", color="white", fontsize=7, ha="center", va="bottom", family="DejaVu Sans")


def _outlines(axes: Axes, spine: Spine, plane: Plane) -> None:
    half = plane.size_mm / 2 - plane.step_mm / 2
    span = np.linspace(-half, half, plane.pixels)
    layers = [(sample_mask(spine.labels, spine.grid, plane) > 0, BONE_COLOR, 0.6)]
    layers += [(sample_mask(structure.mask, spine.grid, plane) > 0, STRUCTURE_COLOR[name], 1.4)
               for name, structure in spine.structures.items() if structure.mask is not None]
    for mask, color, width in layers:
        if mask.any() and not mask.all():
            axes.contour(span, span, mask.astype(np.float32), levels=[0.5], colors=[color], linewidths=[width])


def _draw_needle(axes: Axes, plane: Plane, pose: NeedlePose, color: str) -> None:
    """The shaft at its true width, the active tip apart, entry and tip marked."""
    from matplotlib.patches import Polygon

    start = pose.entry if pose.entry is not None else pose.tip - 60.0 * pose.direction
    active = pose.needle.active_tip_mm or 0.0
    across_points = np.stack([start, pose.tip - active * pose.direction, pose.tip])
    x, y, _ = plane.project(across_points)
    track = np.stack([x, y], axis=1)
    along = track[-1] - track[0]
    across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-9) * pose.needle.diameter_mm / 2
    axes.plot(track[[0, -1], 0], track[[0, -1], 1], color=color, linewidth=1.2,
              linestyle="-" if pose.entry is not None else (0, (4, 2)))
    for a, b, shade in ((track[0], track[1], color), (track[1], track[2], _TIP_COLOR)):
        if not np.allclose(a, b):
            axes.add_patch(Polygon([a + across, b + across, b - across, a - across], closed=True, facecolor=shade,
                                   edgecolor=shade, linewidth=0.8))
    axes.plot(*track[-1], marker="o", markersize=4, markerfacecolor="none", markeredgecolor=_TIP_COLOR)
    if pose.entry is not None:
        axes.plot(*track[0], marker="D", markersize=4, color=color)


def _draw_nerve(axes: Axes, plane: Plane, target: Target) -> None:
    """Where the nerve crosses or runs near the plane, and the target with one standard deviation."""
    from matplotlib.patches import Ellipse

    x, y, away = plane.project(target.course.path)
    axes.plot(x, y, color=NERVE_COLOR, linewidth=1.0, linestyle=(0, (1, 1.5)))
    near = np.abs(away) < 3.0
    axes.plot(np.where(near, x, np.nan), np.where(near, y, np.nan), color=NERVE_COLOR, linewidth=2.0)
    tx, ty, _ = plane.project(target.position)
    axes_2d = np.stack([plane.right, plane.down])
    values, vectors = np.linalg.eigh(axes_2d @ target.covariance @ axes_2d.T)
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    axes.add_patch(Ellipse((float(tx[0]), float(ty[0])), 2 * float(np.sqrt(values[1])), 2 * float(np.sqrt(values[0])),
                           angle=angle, fill=False, edgecolor=NERVE_COLOR, linewidth=1.2))


def _slice_picture(volume: Volume, spine: Spine, target: Target, pose: NeedlePose, plane: Plane, view: str,
                   caption: str) -> Picture:
    figure, axes = _canvas(plane.size_mm, plane.size_mm)
    half = plane.size_mm / 2
    axes.imshow(sample_values(volume, plane), cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1],
                extent=(-half, half, half, -half), interpolation="bilinear")
    _outlines(axes, spine, plane)
    _draw_nerve(axes, plane, target)
    _draw_needle(axes, plane, pose, SIDE_COLOR[target.side])
    _marks(axes, True, view)
    _scale_bar(axes, plane.size_mm, plane.size_mm)
    return Picture(_encode(figure), caption)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _rods(proposal: Proposal, pose: NeedlePose | None, thick: float = 1.0) -> list[Rod]:
    target = proposal.target
    rods = [Rod(target.course.path, 0.9 * thick, _rgb(NERVE_COLOR))]
    if pose is not None:
        start = pose.entry if pose.entry is not None else pose.tip - 60.0 * pose.direction
        active = pose.needle.active_tip_mm or 0.0
        knee = pose.tip - active * pose.direction
        rods.append(Rod(np.stack([start, knee]), 0.7 * thick, _rgb(SIDE_COLOR[target.side])))
        if active:
            rods.append(Rod(np.stack([knee, pose.tip]), 0.8 * thick, _rgb(_TIP_COLOR)))
    return rods


def _bone_picture(spine: Spine, proposal: Proposal, pose: NeedlePose | None) -> Picture:
    target = proposal.target
    middle = (target.carrier.body_center + 2 * target.position) / 3
    camera = posterior_oblique_camera(middle, target.side, 118.0, _STEP_MM)
    image = render(spine.labels, spine.grid, camera, _rods(proposal, pose), target.carrier.label)
    figure, axes = _canvas(camera.width_mm, camera.height_mm)
    half = camera.width_mm / 2
    axes.imshow(image, extent=(-half, half, half, -half), interpolation="bicubic")
    _marks(axes, False, f"from behind, turned to the {target.side.value}")
    _scale_bar(axes, camera.width_mm, camera.height_mm)
    return Picture(_encode(figure), f"Bones from behind, turned 35 degrees to the {target.side.value}; "
                                    f"{target.carrier.name} ivory, its neighbours grey, the nerve yellow")


def shown_pose(proposal: Proposal) -> NeedlePose | None:
    """The needle the pictures show: the first of the best-ranked placement, or None."""
    placement = best_placement(proposal)
    return None if placement is None else placement.needles[0]


def target_pictures(plan: Plan, proposal: Proposal) -> tuple[Picture, ...]:
    """Axial, needle-plane and bone pictures of one target; without a needle or an image, the bones alone."""
    pose = shown_pose(proposal)
    bones = _bone_picture(plan.spine, proposal, pose)
    if plan.volume is None or pose is None:
        return (bones,)
    start = pose.entry if pose.entry is not None else pose.tip - 60.0 * pose.direction
    target = proposal.target
    ends = np.stack([start, pose.tip, target.carrier.body_center])
    size = max(110.0, float(np.ptp(ends, axis=0)[:2].max()) + 45.0)
    axial = _slice_picture(plan.volume, plan.spine, target, pose, axial_plane(ends, pose.tip, size, _STEP_MM),
                           "axial through the tip", "Axial slice through the tip, seen from the feet; "
                           "the path is projected onto it")
    cut = _slice_picture(plan.volume, plan.spine, target, pose,
                         needle_plane(ends, pose.tip, pose.direction, size, _STEP_MM), "plane of the needle",
                         f"Slice that holds the whole needle, {abs(pose.ct.out_of_plane_deg):.0f} degrees out of the "
                         "axial plane")
    return axial, cut, bones


def overview_picture(plan: Plan) -> Picture | None:
    """The whole column from behind with every path and its target's name; None without a vertebra."""
    bone = np.argwhere(plan.spine.labels > 0)
    if not len(bone) or not plan.proposals:
        return None
    from imaging.geometry import to_world

    corners = np.stack([bone.min(axis=0), bone.max(axis=0)])[:, ::-1]
    box = to_world(plan.spine.grid, np.array([[corners[i, 0], corners[j, 1], corners[k, 2]]
                                              for i in (0, 1) for j in (0, 1) for k in (0, 1)]))
    camera = posterior_camera(box, (30.0, 8.0, 12.0), 0.6)
    rods = [rod for proposal in plan.proposals for rod in _rods(proposal, shown_pose(proposal), 1.2)]
    image = render(plan.spine.labels, plan.spine.grid, camera, rods)
    figure, axes = _canvas(camera.width_mm, camera.height_mm)
    w, h = camera.width_mm / 2, camera.height_mm / 2
    axes.imshow(image, extent=(-w, w, h, -h), interpolation="bicubic")
    for proposal in plan.proposals:
        _label(axes, camera, proposal)
    _marks(axes, False, "all targets, from behind", 0.92)
    _scale_bar(axes, camera.width_mm, camera.height_mm)
    return Picture(_encode(figure), "The column from behind with every nerve (yellow) and path; "
                                    "LEFT paths blue, RIGHT paths orange")


def _label(axes: Axes, camera: Camera, proposal: Proposal) -> None:
    """The nerve's name at the edge of the target's side, with a line to the target."""
    target = proposal.target
    x, y = camera.center[0] - target.position[0], camera.center[2] - target.position[2]
    left = target.side is Side.LEFT
    edge = (-1 if left else 1) * (camera.width_mm / 2 - 2)
    axes.annotate(target.nerve_name, (x, y), (edge, y), color=SIDE_COLOR[target.side], fontsize=8,
                  weight="bold", ha="left" if left else "right", va="center", family="DejaVu Sans",
                  arrowprops={"arrowstyle": "-", "color": SIDE_COLOR[target.side], "linewidth": 0.7})
