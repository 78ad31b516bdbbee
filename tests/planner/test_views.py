"""Every view of a needle: what is on the patient's LEFT is where the picture says LEFT, in geometry and in pixels."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imaging.geometry import CArmAngles, Side, carm_angles, ct_angles, direction_from_carm, to_world
from imaging.volume import Volume
from planner.reslice import Cut, Plane
from planner.views import (
    RADIOGRAPHS,
    REFORMATS,
    Edge,
    View,
    ViewName,
    near_side,
    pose_marks,
    radiograph_view,
    reformat_view,
)
from segmentation.anatomy import StructureName
from targeting.fluoroscope import Beam, fluoroscope
from targeting.model import NeedlePose, Target
from targeting.radiograph import attenuation, radiograph
from tests.planner import builders

ENDS = {"LEFT": (1, 0, 0), "RIGHT": (-1, 0, 0), "BACK": (0, 1, 0), "FRONT": (0, -1, 0), "HEAD": (0, 0, 1),
        "FEET": (0, 0, -1)}
GROWS = {Edge.LEFT: (0, -1), Edge.RIGHT: (0, 1), Edge.TOP: (1, -1), Edge.BOTTOM: (1, 1)}


def of(side: Side) -> tuple[Target, NeedlePose]:
    proposal = next(p for p in builders.plan().proposals if p.target.side is side)
    return proposal.target, proposal.placements[0].needles[0]


def turned(pose: NeedlePose, rotation: float, tilt: float) -> NeedlePose:
    """The same tip from another direction."""
    direction = direction_from_carm(CArmAngles(rotation, tilt))
    return replace(pose, direction=direction, entry=pose.tip - 60.0 * direction, carm=carm_angles(direction),
                   ct=ct_angles(direction))


def every_view(target: Target, pose: NeedlePose) -> list[View]:
    return [*(radiograph_view(name, pose, target) for name in RADIOGRAPHS),
            *(reformat_view(name, pose, 120.0, 0.5) for name in REFORMATS)]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(Side)), st.floats(-60, 60), st.floats(-65, 40))
def test_a_step_toward_an_end_moves_toward_the_edge_that_names_it(side: Side, rotation: float, tilt: float) -> None:
    target, pose = of(side)
    pose = turned(pose, rotation, tilt)
    for view in every_view(target, pose):
        middle = view.sight.to_view(view.sight.center)
        for edge, word in ((edge, word) for edge, words in view.edges.items() for word in words):
            axis, sign = GROWS[edge]
            moved = view.sight.to_view(view.sight.center + 10.0 * np.array(ENDS[word]))
            assert sign * (moved - middle)[axis] > 0, (view.name, edge, word)
        assert all(view.edges.values()), "every edge is named"
        near = near_side(view.sight.right, view.sight.down)
        words = {word for edge in view.edges.values() for word in edge}
        if near is None:
            assert {"LEFT", "RIGHT"} <= words
        else:
            assert not {"LEFT", "RIGHT"} & words
            assert re.match(f"seen (obliquely )?from the patient's {near.value}", view.facing)
            assert view.sight.to_view(view.sight.center + 10.0 * np.array(ENDS[near.value]))[2] < 0


def test_a_slant_is_named_by_both_ends() -> None:
    target, pose = of(Side.LEFT)
    steep = radiograph_view(ViewName.NEEDLE_EYE, turned(pose, 2.0, 46.0), target)
    assert set(steep.edges[Edge.TOP]) == {"HEAD", "FRONT"}
    assert steep.edges[Edge.LEFT] == ("LEFT",)
    assert steep.facing == "seen obliquely from the HEAD and BACK"
    oblique = radiograph_view(ViewName.NEEDLE_EYE, turned(pose, 50.0, 0.0), target)
    assert oblique.edges[Edge.LEFT] == ("LEFT", "FRONT")
    assert oblique.facing == "seen obliquely from the patient's LEFT and BACK"
    aside = radiograph_view(ViewName.NEEDLE_EYE, turned(pose, 60.0, 0.0), target)
    assert aside.edges[Edge.LEFT] == ("FRONT",), "what lies in front is not read as lying on a side"
    assert near_side(aside.sight.right, aside.sight.down) is Side.LEFT
    assert aside.facing == "seen obliquely from the patient's LEFT and BACK"
    lateral = radiograph_view(ViewName.LATERAL, pose, target)
    assert lateral.facing == "seen from the patient's LEFT"


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(Side)), st.floats(-60, 60), st.floats(-65, 40), st.tuples(*[st.floats(-60, 60)] * 3))
def test_patient_to_picture_and_back(side: Side, rotation: float, tilt: float,
                                     offset: tuple[float, float, float]) -> None:
    target, pose = of(side)
    for view in every_view(target, turned(pose, rotation, tilt)):
        place = pose.tip + np.array(offset)
        np.testing.assert_allclose(view.sight.to_patient(view.sight.to_view(place)), place, atol=1e-8)
        axes = np.stack([view.sight.right, view.sight.down, view.sight.into])
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(axes) > 0, "not mirrored"


@pytest.mark.parametrize("side", list(Side))
def test_cuts_hold_what_they_say(side: Side) -> None:
    target, pose = of(side)
    assert pose.entry is not None
    ends = np.stack([pose.entry, pose.tip])
    for name in (ViewName.IN_PLANE, ViewName.LENGTHWISE):
        np.testing.assert_allclose(reformat_view(name, pose, 120.0, 0.5).sight.to_view(ends)[:, 2], 0.0, atol=1e-9)
    across = reformat_view(ViewName.ACROSS, pose, 120.0, 0.5).sight.to_view(ends)
    np.testing.assert_allclose(across[0, :2], across[1, :2], atol=1e-9)
    assert across[0, 2] < across[1, 2] == pytest.approx(0.0)
    over = reformat_view(ViewName.AXIAL, pose, 120.0, 0.5, np.stack([pose.entry, target.carrier.body_center])).sight
    assert over.to_view(pose.tip)[2] == pytest.approx(0.0)
    with pytest.raises(ValueError, match="fluoroscopy"):
        radiograph_view(ViewName.AXIAL, pose, target)
    with pytest.raises(ValueError, match="cut"):
        reformat_view(ViewName.AP, pose, 120.0, 0.5)


@pytest.mark.parametrize("side", list(Side))
def test_the_receptor_stands_where_each_radiograph_is_taken(side: Side) -> None:
    target, pose = of(side)
    frame = target.carrier.frame
    assert frame is not None
    views = {name: radiograph_view(name, pose, target) for name in RADIOGRAPHS}
    shaft = views[ViewName.NEEDLE_EYE].sight.to_view(np.stack([pose.entry, pose.tip]))
    np.testing.assert_allclose(shaft[0, :2], shaft[1, :2], atol=1e-6)
    np.testing.assert_allclose(views[ViewName.AP].sight.into, -frame.posterior, atol=1e-9)
    np.testing.assert_allclose(views[ViewName.LATERAL].sight.into, -frame.lateral(side), atol=1e-9)
    declined = frame.matrix @ -views[ViewName.DECLINED].sight.into
    assert np.degrees(np.arcsin(declined[2])) == pytest.approx(-fluoroscope().declined_tilt_deg)
    assert declined[0] == pytest.approx(0.0, abs=1e-9)
    for view in views.values():
        assert "(patient prone)" in view.words
        assert "(patient prone)" in view.dial
    words = views[ViewName.LATERAL].words
    assert words.startswith(f"rotate receptor to the patient's {side.value}")


@pytest.mark.parametrize("side", list(Side))
def test_without_a_frame_the_patient_s_own_axes_serve(side: Side) -> None:
    target, pose = of(side)
    bare = replace(target, carrier=replace(target.carrier, frame=None))
    assert radiograph_view(ViewName.AP, pose, bare).words == "no rotation, no tilt (patient prone)"
    np.testing.assert_allclose(radiograph_view(ViewName.LATERAL, pose, bare).sight.into, (-side.sign, 0, 0), atol=1e-9)


@cache
def water() -> Volume:
    """The hand-made scan with water for bones."""
    return Volume(np.where(builders.body(), 0, -1000).astype(np.int16), builders.grid())


def marked(at: NDArray[np.float64], radius: float = 4.0) -> Volume:
    """The same with one dense ball."""
    scan, (x, y, z) = water(), builders.world()
    hu = scan.array.copy()
    hu[(x - at[0])**2 + (y - at[1])**2 + (z - at[2])**2 < radius**2] = 3000
    return Volume(hu, scan.grid)


def dense(volume: Volume, view: View) -> NDArray[np.float64]:
    """Column and row of what the dense ball adds to the picture, from the pixels alone."""
    plain = water()
    if isinstance(view.sight, Beam):
        added = radiograph(attenuation(volume), view.sight) - radiograph(attenuation(plain), view.sight)
    else:
        assert isinstance(view.sight, Plane)
        added = Cut(view.sight, volume.grid).values(volume) - Cut(view.sight, volume.grid).values(plain)
    assert added.max() > 0.05, "the ball is in the picture"
    rows, columns = np.meshgrid(*(np.arange(n) for n in added.shape), indexing="ij")
    return np.array([(columns * added).sum(), (rows * added).sum()]) / added.sum()


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("name", [n for n in ViewName if n not in (ViewName.LATERAL, ViewName.LENGTHWISE)])
def test_a_dense_ball_on_the_patient_s_left_is_seen_on_the_side_marked_left(name: ViewName, side: Side) -> None:
    target, pose = of(side)
    view = radiograph_view(name, pose, target, 256) if name in RADIOGRAPHS else reformat_view(name, pose, 100.0, 0.5)
    lean = view.sight.into
    for way in (Side.LEFT, Side.RIGHT):
        step = np.array([way.sign * 12.0, 0.0, 0.0])
        place = pose.tip + step - (np.dot(step, lean) * lean if name in REFORMATS else 0.0)
        assert (place - pose.tip)[0] * way.sign > 5.0
        found = dense(marked(place), view)
        edge = next(edge for edge, words in view.edges.items() if words[0] == way.value)
        axis, sign = GROWS[edge]
        assert axis == 0
        assert sign * (found[0] - (view.sight.width - 1) / 2) > 5
        assert np.linalg.norm(found - view.sight.to_view(place)[:2]) < 2.5


@pytest.mark.parametrize("side", list(Side))
def test_in_the_lateral_picture_the_far_side_is_larger(side: Side) -> None:
    target, pose = of(side)
    view = radiograph_view(ViewName.LATERAL, pose, target, 256)
    assert near_side(view.sight.right, view.sight.down) is side
    plain = radiograph(attenuation(water()), view.sight)
    area = {}
    for way in Side:
        ball = marked(pose.tip + np.array([way.sign * 30.0 - pose.tip[0], 0.0, 0.0]), 6.0)
        added = radiograph(attenuation(ball), view.sight) - plain
        area[way] = int((added > added.max() / 2).sum())
    assert area[side.other] > 1.1 * area[side], "nearer to the source, so magnified more"


@pytest.mark.parametrize("side", list(Side))
def test_in_the_lengthwise_cut_back_and_head_are_where_they_are_said(side: Side) -> None:
    _, pose = of(side)
    view = reformat_view(ViewName.LENGTHWISE, pose, 100.0, 0.5)
    for word in ("BACK", "HEAD"):
        step = 12.0 * np.array(ENDS[word], dtype=np.float64)
        place = pose.tip + step - np.dot(step, view.sight.into) * view.sight.into
        edge = next(edge for edge, words in view.edges.items() if word in words)
        axis, sign = GROWS[edge]
        assert sign * (dense(marked(place), view)[axis] - (view.sight.width - 1) / 2) > 5


def test_marks_of_a_needle() -> None:
    _, pose = of(Side.LEFT)
    plain = pose_marks(pose)
    assert np.array_equal(plain.knee, plain.tip)
    assert plain.entry is pose.entry
    active = pose_marks(replace(pose, needle=replace(pose.needle, active_tip_mm=10.0), entry=None, length_mm=None))
    assert np.linalg.norm(active.tip - active.knee) == pytest.approx(10.0)
    assert active.entry is None
    assert np.linalg.norm(active.tip - active.start) == pytest.approx(60.0)


def test_masks_and_values_of_a_cut_agree_with_the_lattice() -> None:
    scan = builders.volume()
    canal = builders.spine().structures[StructureName.CANAL].mask
    assert canal is not None
    plane = Plane(to_world(scan.grid, (60, 58, 40)), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), 21, 21, 2.0)
    cut = Cut(plane, scan.grid)
    np.testing.assert_array_equal(cut.nearest(canal), canal[40, 48:69, 50:71])
    np.testing.assert_allclose(cut.values(scan), scan.values()[40, 48:69, 50:71], atol=1e-3)
    strided = np.asfortranarray(canal)
    np.testing.assert_array_equal(cut.nearest(strided), cut.nearest(canal))
    away = Cut(replace(plane, center=np.array([1e4, 0.0, 0.0])), scan.grid)
    assert not away.nearest(canal).any()
    assert (away.values(scan) == -1024).all()
    assert plane.sized(41, 11).points().shape == (11, 41, 3)


def test_the_views_draw_nothing_themselves() -> None:
    code = ("import sys, planner.views, planner.reslice, targeting.radiograph; "
            "print([m for m in ('matplotlib', 'jinja2', 'PIL', 'vtk', 'napari') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
