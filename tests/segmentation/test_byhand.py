"""A vertebra from three points: the frame is exact, and what cannot be one vertebra is refused in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from imaging.errors import UsageError
from imaging.geometry import VertebralFrame
from segmentation.byhand import frame_from_points

Array = NDArray[np.float64]
MIDDLE = np.array([12.0, -80.0, 410.0])


def turned(oblique_deg: float, tilt_deg: float, lean_deg: float) -> Array:
    """(3, 3) rows left, posterior, superior after turns about the long, the left-right and the front-back axis."""
    a, b, c = np.radians([oblique_deg, tilt_deg, lean_deg])
    about_z = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    about_y = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    return np.asarray(about_y @ about_x @ about_z)


def points(axes: Array, depth: float = 34.0, height: float = 13.0) -> tuple[Array, Array, Array]:
    """Front and back of the upper endplate and the middle of the body, (3,) LPS mm each."""
    end = MIDDLE + height * axes[2]
    return end - depth / 2 * axes[1], end + depth / 2 * axes[1], MIDDLE


@given(st.floats(-30, 30), st.floats(-40, 40), st.floats(-20, 20), st.floats(21, 54), st.floats(6, 29))
def test_the_frame_is_that_of_the_points(turn: float, tilt: float, lean: float, depth: float, height: float) -> None:
    axes = turned(turn, tilt, lean)
    frame = frame_from_points(*points(axes, depth, height))
    np.testing.assert_allclose(frame.matrix, axes, atol=1e-9)
    np.testing.assert_allclose(frame.origin, MIDDLE + depth / 2 * axes[1], atol=1e-9)
    assert isinstance(frame, VertebralFrame)


def test_the_middle_may_lie_before_or_behind_the_middle_of_the_endplate() -> None:
    front, back, middle = points(np.eye(3))
    np.testing.assert_allclose(frame_from_points(front, back, np.add(middle, (0, 5, 0))).matrix, np.eye(3), atol=1e-9)


@pytest.mark.parametrize(("depth", "height", "words"), [
    (12.0, 13.0, "lie 12 mm apart; a vertebra's lie 20 to 55 mm apart"), (70.0, 13.0, "lie 70 mm apart"),
    (34.0, 2.0, "lies 2 mm from the line of the upper endplate"), (34.0, 45.0, "lies 45 mm from the line")])
def test_points_that_are_no_vertebra_are_refused_with_their_distance(depth: float, height: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        frame_from_points(*points(np.eye(3), depth, height))


def test_points_in_the_wrong_order_are_refused() -> None:
    front, back, middle = points(np.eye(3))
    for wrong in ((back, front, middle), (front, back, 2 * (front + back) / 2 - middle)):
        with pytest.raises(UsageError, match="the patient's left"):
            frame_from_points(*wrong)
