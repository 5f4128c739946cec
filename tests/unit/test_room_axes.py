"""The axes of a room, however it lies in its file."""
import numpy as np
import pytest

from helpers.scenes import furnished_room
from opendlign_mm.point_files.room_axes import room_axes


def turned(tilt, yaw):
    tilt, yaw = np.radians([tilt, yaw])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    return about_z @ about_x


@pytest.mark.parametrize('tilt, yaw', [(0, 0), (2, 0), (0, 30), (-1.5, -20)])
def test_a_turned_room_is_turned_back(tilt, yaw):
    points = furnished_room()[0].numpy()[:, :3].astype(np.float64)
    rotation = turned(tilt, yaw)
    axes = room_axes(points @ rotation.T)
    assert np.allclose(axes @ axes.T, np.eye(3)) and np.linalg.det(axes) == pytest.approx(1)
    assert np.degrees(np.arccos((axes @ rotation)[[0, 2], [0, 2]].clip(-1, 1))) == pytest.approx([0, 0], abs=.3)


def test_the_same_room_gets_the_same_axes_in_any_pose():
    points = furnished_room()[0].numpy()[:, :3].astype(np.float64)
    rotation = turned(1, 25)
    expected = points @ room_axes(points).T
    assert np.allclose(points @ rotation.T @ room_axes(points @ rotation.T).T, expected, atol=1e-6)


def test_what_has_no_axes_stays_as_it_is():
    ball = np.random.default_rng(0).normal(size=(3000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    assert np.allclose(room_axes(ball)[:, 2], (0, 0, 1), atol=.08)
    assert np.array_equal(room_axes(ball[:50]), np.eye(3))
