"""Static transforms are chained through any number of frames."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from alpamayo_ros.ros.static_transforms import StaticTransforms
from alpamayo_ros.types import InvalidInput


def rigid(rng: np.random.Generator) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    matrix[:3, 3] = rng.normal(0, 3, 3)
    return matrix


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_any_two_frames_of_a_tree_are_connected(seed, count):
    rng = np.random.default_rng(seed)
    world_from = [np.eye(4)]
    transforms = StaticTransforms()
    edges = []
    for child in range(1, count):
        parent = int(rng.integers(0, child))
        parent_from_child = rigid(rng)
        world_from.append(world_from[parent] @ parent_from_child)
        edges.append((parent, child, parent_from_child))
    for i in rng.permutation(len(edges)):
        parent, child, matrix = edges[i]
        transforms.add(f"f{parent}", f"/f{child}", parent_from_child=matrix)
    a, b = (int(i) for i in rng.integers(0, count, 2))
    expected = np.linalg.inv(world_from[a]) @ world_from[b]
    np.testing.assert_allclose(transforms.lookup(f"f{a}", f"f{b}"), expected, atol=1e-9)


def test_frames_that_are_not_connected_have_no_transform():
    transforms = StaticTransforms()
    transforms.add("base_link", "imu", parent_from_child=np.eye(4))
    transforms.add("map", "tower", parent_from_child=np.eye(4))
    assert transforms.lookup("base_link", "tower") is None
    assert transforms.lookup("base_link", "nowhere") is None
    assert transforms.frames == ["base_link", "imu", "map", "tower"]


def test_what_is_wrong_in_a_message_is_said_and_the_rest_is_taken():
    def of(parent: str, child: str, *, x: float, norm: float = 1.0) -> TransformStamped:
        stamped = TransformStamped(child_frame_id=child)
        stamped.header.frame_id = parent
        stamped.transform.translation.x = x
        stamped.transform.rotation.w = norm
        return stamped

    msg = TFMessage(
        transforms=[of("base_link", "imu", x=1.0), of("imu", "imu", x=1.0), of("a", "b", x=0.0, norm=0.0)]
    )
    msg.transforms.append(of("imu", "gnss", x=2.0))
    transforms, refusals = StaticTransforms(), []
    transforms.add_message(msg, refused=refusals.append)
    assert transforms.lookup("base_link", "gnss")[0, 3] == 3.0
    assert transforms.frames == ["base_link", "gnss", "imu"]
    assert [type(refusal) for refusal in refusals] == [InvalidInput, InvalidInput]
    assert "expected two different frames" in str(refusals[0])


def test_a_newer_transform_replaces_the_older():
    transforms = StaticTransforms()
    for x in (1.0, 2.0):
        matrix = np.eye(4)
        matrix[0, 3] = x
        transforms.add("base_link", "imu", parent_from_child=matrix)
    assert transforms.lookup("base_link", "imu")[0, 3] == 2.0
    assert transforms.lookup("imu", "base_link")[0, 3] == -2.0


@pytest.mark.parametrize(
    ("parent", "child", "matrix", "problem"),
    [
        ("", "imu", np.eye(4), "expected two different frames"),
        ("imu", "/imu", np.eye(4), "expected two different frames"),
        ("a", "b", np.full((4, 4), np.nan), "expected finite values"),
        ("a", "b", np.diag([2.0, 2.0, 2.0, 1.0]), "expected rotation matrices"),
    ],
)
def test_a_bad_transform_is_refused(parent, child, matrix, problem):
    with pytest.raises(InvalidInput, match=problem):
        StaticTransforms().add(parent, child, parent_from_child=matrix)
