"""The pictures of the report: simulated fluoroscopy, slices and bones, needle drawn, the sides marked on each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from imaging.geometry import Side, whole_degrees
from planner.drawing import Canvas
from planner.plan import Plan
from planner.reslice import Cut, Plane
from planner.scene import Bones, Camera, Rod, bones_of, posterior_camera, posterior_oblique_camera, render
from planner.views import (
    Edge,
    View,
    ViewName,
    edge_words,
    facing_words,
    near_side,
    pose_marks,
    radiograph_view,
    reformat_view,
)
from segmentation.anatomy import StructureName
from segmentation.spine import Spine
from targeting.fluoroscope import Beam
from targeting.model import NeedlePose, Proposal, Target, best_placement
from targeting.radiograph import Attenuation, as_fluoroscopy, attenuation, radiograph

__all__ = [
    "BONE_COLOR", "NERVE_COLOR", "SIDE_COLOR", "STRUCTURE_COLOR", "Picture", "Prepared", "overview_picture", "prepare",
    "shown_needles", "target_pictures",
]

Array = NDArray[np.float64]

#: Colours that colour-blind readers tell apart (Okabe and Ito 2008); words stand beside them everywhere.
SIDE_COLOR = {Side.LEFT: "#56b4e9", Side.RIGHT: "#e69f00"}
STRUCTURE_COLOR = {
    StructureName.CANAL: "#cc79a7", StructureName.FORAMEN_CONTENTS: "#f58fd0", StructureName.AORTA: "#d55e00",
    StructureName.VENA_CAVA: "#0072b2", StructureName.KIDNEYS: "#b07aa1", StructureName.LUNGS: "#7fd3c8",
    StructureName.BOWEL_GAS: "#9ec06b", StructureName.RIBS: "#c9b18b", StructureName.ILIAC_BONES: "#c9b18b",
    StructureName.METAL: "#ff4d4d", StructureName.SACRAL_FORAMINA: "#e85fb0",
}
NERVE_COLOR = "#f0e442"
BONE_COLOR = "#d8cfb8"
_TIP_COLOR = "#ffffff"
_WIDTH = 400
_WINDOW = (-180.0, 560.0)
_STEP_MM = 0.45
#: Half the thickness of what a slice shows of a needle, mm.
_SLICE_MM = 2.0
#: A needle this wide is drawn as an outline, and the dashes of what is not in a slice or ends unseen: finished pixels.
_OUTLINED, _DASH = 6.0, 6.0
_SHOWN_RADIOGRAPHS = (ViewName.NEEDLE_EYE, ViewName.AP, ViewName.LATERAL)


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


def _mark(canvas: Canvas, sight: Plane | Beam | Camera, title: str, watermark: str, dial: str = "") -> None:
    """The patient's ends at the four edges, the view, the research-use line, the watermark and a scale bar.

    A picture from the side says in its corner which side is near and which is far.
    """
    edges = edge_words(sight.right, sight.down)
    for edge, at, anchor in ((Edge.LEFT, (0.015, 0.5), "lm"), (Edge.RIGHT, (0.985, 0.5), "rm"),
                             (Edge.TOP, (0.5, 0.11), "mt"), (Edge.BOTTOM, (0.5, 0.92), "mb")):
        words = edges[edge]
        is_side = words[0] in (Side.LEFT.value, Side.RIGHT.value)
        canvas.words(at, words[0], SIDE_COLOR[Side(words[0])] if is_side else "#ffffff", 16 if is_side else 12, anchor)
        if len(words) > 1:
            canvas.words((at[0], at[1] + 0.05), ", ".join(words[1:]), "#ffffff", 10, anchor)
    near = near_side(sight.right, sight.down)
    if near is not None:
        canvas.words((0.985, 0.015), f"{near.value} near", SIDE_COLOR[near], 14, "ra")
        canvas.words((0.985, 0.065), f"{near.other.value} far", SIDE_COLOR[near.other], 14, "ra")
    canvas.words((0.015, 0.015), f"{title}; {facing_words(sight.right, sight.down)}", "#ffffff", 11, "la")
    if dial:
        canvas.words((0.015, 0.06), dial, "#ffffff", 11, "la")
    canvas.words((0.015, 0.985), "RESEARCH USE ONLY - NOT FOR CLINICAL USE", "#ffffff", 9, "ls")
    if watermark:
        canvas.words((0.985, 0.93), watermark, "#ffd24d", 12, "rs")
    canvas.scale_bar(20.0 / sight.step_mm, "20 mm")


def _outlines(canvas: Canvas, spine: Spine, cut: Cut) -> None:
    """The bones and every structure that crosses a plane."""
    layers = [(spine.labels, BONE_COLOR, 1)]
    layers += [(structure.mask, STRUCTURE_COLOR[name], 2) for name, structure in spine.structures.items()
               if structure.mask is not None]
    for array, color, width in layers:
        mask = cut.nearest(array) > 0
        if mask.any() and not mask.all():
            canvas.outline(mask, color, width)


def _stretches(start: Array, end: Array, sight: Plane | Beam) -> list[tuple[Array, bool]]:
    """Stretches (2, 3) LPS mm of a straight part of a needle, each in the picture's slice or not; a beam has none."""
    ends = np.stack([start, end])
    depth = sight.to_view(ends)[:, 2]
    if isinstance(sight, Beam) or (np.abs(depth) <= _SLICE_MM).all():
        return [(ends, True)]
    span = float(depth[1] - depth[0])
    crossed = [] if span == 0.0 else [(side * _SLICE_MM - float(depth[0])) / span for side in (-1.0, 1.0)]
    cuts = [0.0, *sorted(t for t in crossed if 0.0 < t < 1.0), 1.0]
    out = []
    for low, high in pairwise(cuts):
        middle = float(depth[0]) + 0.5 * (low + high) * span
        out.append((start + np.array([[low], [high]]) * (end - start), abs(middle) <= _SLICE_MM))
    return out


def _draw_shaft(canvas: Canvas, track: Array, color: str, width: float, dash: float) -> None:
    """A stretch of a needle; of a wide one the outline, so that what it runs through is seen."""
    if width < _OUTLINED:
        canvas.line(track, color, width, dash=dash)
        return
    along = track[1, :2] - track[0, :2]
    aside = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9) * 0.5 * width / canvas.pixels(1.0)
    for side in (-1.0, 1.0):
        canvas.line(track[:, :2] + side * aside, color, 1.6, dash=dash)


def _draw_needle(canvas: Canvas, sight: Plane | Beam, pose: NeedlePose, color: str) -> None:
    """The shaft at its true width, the active tip apart, entry and tip marked; end on, a bull's eye.

    On a slice only the part within its thickness is drawn whole; what is projected onto it is dashed.
    """
    marks = pose_marks(pose)
    track = sight.to_view(np.stack([marks.start, marks.knee, marks.tip]))
    if float(np.hypot(*(track[2] - track[0])[:2])) * sight.step_mm < 2.0:
        canvas.ring(track[2], 11.0, color, 2.0)
        canvas.ring(track[2], 2.0, _TIP_COLOR, 2.0)
        return
    width = max(canvas.pixels(pose.needle.diameter_mm / sight.step_mm), 2.0)
    for start, end, shade in ((marks.start, marks.knee, color), (marks.knee, marks.tip, _TIP_COLOR)):
        if np.array_equal(start, end):
            continue
        for stretch, inside in _stretches(start, end, sight):
            unbroken = inside and (marks.entry is not None or shade == _TIP_COLOR)
            _draw_shaft(canvas, sight.to_view(stretch), shade, width, 0.0 if unbroken else _DASH)
    canvas.ring(track[2], 3.5, _TIP_COLOR)
    if marks.entry is not None:
        canvas.diamond(track[0], 4.5, color)


def _draw_target(canvas: Canvas, sight: Plane | Beam, target: Target) -> None:
    """The nerve's course, full where it runs within 3 mm of a cut, and the target with one standard deviation."""
    path = sight.to_view(target.course.path)
    if isinstance(sight, Beam):
        canvas.line(path, NERVE_COLOR, 1.6)
    else:
        canvas.line(path, NERVE_COLOR, 1.2, dash=2.5, halo=False)
        near = np.abs(path[:, 2]) < 3.0
        for n in np.flatnonzero(near[:-1] & near[1:]):
            canvas.line(path[n:n + 2], NERVE_COLOR, 2.2)
    flat = np.stack([sight.right, sight.down])
    values, vectors = np.linalg.eigh(flat @ target.covariance @ flat.T)
    turn = np.linspace(0.0, 2 * np.pi, 41)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1) * np.sqrt(np.maximum(values, 0.0))
    canvas.line(sight.to_view(target.position + circle @ vectors.T @ flat), NERVE_COLOR, 1.4)


def _slice_picture(plan: Plan, target: Target, poses: tuple[NeedlePose, ...], view: View, caption: str) -> Picture:
    plane = view.sight
    if plan.volume is None or not isinstance(plane, Plane):
        raise ValueError("a slice needs a scan and a plane")
    cut = Cut(plane, plan.volume.grid)
    low, high = _WINDOW
    grey = np.clip((cut.values(plan.volume) - low) / (high - low), 0.0, 1.0) * 255.0
    canvas = Canvas(grey.astype(np.uint8), _WIDTH)
    same = plan.spine.grid.same_as(plan.volume.grid)
    _outlines(canvas, plan.spine, cut if same else Cut(plane, plan.spine.grid))
    return _finished(canvas, view, target, poses, plan.watermark(target.id), caption)


def _finished(canvas: Canvas, view: View, target: Target, poses: tuple[NeedlePose, ...], watermark: str,
              caption: str) -> Picture:
    _draw_target(canvas, view.sight, target)
    for pose in reversed(poses):  # the first needle, which the view is about, on top
        _draw_needle(canvas, view.sight, pose, SIDE_COLOR[target.side])
    _mark(canvas, view.sight, view.name.value, watermark, view.dial)
    return Picture(canvas.jpeg(), caption)


_RADIOGRAPH_CAPTION = {
    ViewName.NEEDLE_EYE: "Simulated fluoroscopy down the barrel, the needle end on",
    ViewName.AP: "Simulated fluoroscopy, AP along the endplate",
    ViewName.LATERAL: "Simulated fluoroscopy, lateral",
}


def _radiograph_picture(scan: Attenuation, target: Target, poses: tuple[NeedlePose, ...], name: ViewName,
                        watermark: str) -> Picture:
    view = radiograph_view(name, poses[0], target, _WIDTH)
    if not isinstance(view.sight, Beam):
        raise ValueError(f"{name} is not simulated fluoroscopy")
    canvas = Canvas(as_fluoroscopy(radiograph(scan, view.sight)), _WIDTH)
    return _finished(canvas, view, target, poses, watermark, f"{_RADIOGRAPH_CAPTION[name]}: {view.words}")


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _rods(proposal: Proposal, thick: float = 1.0) -> list[Rod]:
    target = proposal.target
    rods = [Rod(target.course.path, 0.9 * thick, _rgb(NERVE_COLOR))]
    for pose in shown_needles(proposal):
        marks = pose_marks(pose)
        rods.append(Rod(np.stack([marks.start, marks.knee]), 0.7 * thick, _rgb(SIDE_COLOR[target.side])))
        if not np.array_equal(marks.knee, marks.tip):
            rods.append(Rod(np.stack([marks.knee, marks.tip]), 0.8 * thick, _rgb(_TIP_COLOR)))
    return rods


def _bone_picture(bones: Bones | None, proposal: Proposal, watermark: str) -> Picture:
    target = proposal.target
    middle = (target.carrier.body_center + 2 * target.position) / 3
    camera = posterior_oblique_camera(middle, target.side, 118.0, _STEP_MM)
    canvas = Canvas(render(bones, camera, _rods(proposal), target.carrier.label), _WIDTH)
    _mark(canvas, camera, "bones", watermark)
    return Picture(canvas.jpeg(), f"Bones from behind, turned 60 degrees to the {target.side.value}; "
                                  f"{target.carrier.name} ivory, its neighbours grey, the nerve yellow")


def shown_needles(proposal: Proposal) -> tuple[NeedlePose, ...]:
    """The needles the pictures show: those of the best placement; the views are about the first. None without one."""
    placement = best_placement(proposal)
    return () if placement is None else placement.needles


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the pictures of one plan share.

    Attributes
    ----------
    radiographs : Attenuation or None
        None where the plan has no CT: no fluoroscopy is simulated.
    bones : Bones or None
        None where no vertebra was found.
    """

    radiographs: Attenuation | None
    bones: Bones | None


def prepare(plan: Plan) -> Prepared:
    """Prepare a plan's scan and bones for its pictures."""
    bones = bones_of(plan.spine.labels, plan.spine.grid)
    if plan.volume is None or plan.volume.modality != "CT":
        return Prepared(None, bones)
    body = plan.spine.body if plan.spine.grid.same_as(plan.volume.grid) else None
    return Prepared(attenuation(plan.volume, body), bones)


def target_pictures(plan: Plan, proposal: Proposal, prepared: Prepared) -> tuple[Picture, ...]:
    """The pictures of one target: down the barrel, AP, lateral, axial, needle plane, bones.

    Without a needle or an image, the bones alone; without a CT, no simulated fluoroscopy.
    """
    poses, target = shown_needles(proposal), proposal.target
    watermark = plan.watermark(target.id)
    bones = _bone_picture(prepared.bones, proposal, watermark)
    if plan.volume is None or not poses:
        return (bones,)
    pose = poses[0]
    ends = np.stack([pose_marks(pose).start, pose.tip, target.carrier.body_center])
    size = max(110.0, float(np.ptp(ends, axis=0)[:2].max()) + 45.0)
    axial = reformat_view(ViewName.AXIAL, pose, size, _STEP_MM, ends)
    cut = reformat_view(ViewName.IN_PLANE, pose, size, _STEP_MM, ends)
    scan = prepared.radiographs
    radiographs = () if scan is None else tuple(_radiograph_picture(scan, target, poses, name, watermark)
                                                for name in _SHOWN_RADIOGRAPHS)
    return (*radiographs,
            _slice_picture(plan, target, poses, axial, "Axial slice through the tip, seen from the feet; the needle is "
                           f"whole within {_SLICE_MM:g} mm of it, dashed where it is only projected onto it"),
            _slice_picture(plan, target, poses, cut, "Slice that holds the whole needle, "
                           f"{whole_degrees(pose.ct.out_of_plane_deg)} degrees out of the axial plane"),
            bones)


def overview_picture(plan: Plan, prepared: Prepared) -> Picture | None:
    """The planned part of the column from behind with every path and its target's name; None without a vertebra."""
    if prepared.bones is None or not plan.proposals:
        return None
    shown = [point for p in plan.proposals for point in (p.target.position, p.target.carrier.body_center)]
    shown += [pose_marks(pose).start for proposal in plan.proposals for pose in shown_needles(proposal)]
    box = np.repeat([np.mean(shown, axis=0)], 2, axis=0)
    box[:, 1] = prepared.bones.depth_range
    camera = posterior_camera(np.concatenate([shown, box]), (34.0, 4.0, 30.0), 0.6)
    rods = [rod for proposal in plan.proposals for rod in _rods(proposal, 1.2)]
    canvas = Canvas(render(prepared.bones, camera, rods), _WIDTH)
    for proposal in plan.proposals:
        _label(canvas, camera, proposal)
    _mark(canvas, camera, "all targets", plan.watermark())
    return Picture(canvas.jpeg(), "The column from behind with every nerve (yellow) and path; "
                                  "LEFT paths blue, RIGHT paths orange")


def _label(canvas: Canvas, camera: Camera, proposal: Proposal) -> None:
    """The nerve's name at the edge of the target's side, with a line to the target."""
    target = proposal.target
    point = camera.project(target.position)[0]
    at_left = target.side.value in edge_words(camera.right, camera.down)[Edge.LEFT]
    canvas.label(point, 0.02 if at_left else 0.98, target.nerve_name, SIDE_COLOR[target.side], 12,
                 "lm" if at_left else "rm")
