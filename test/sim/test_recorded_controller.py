"""Our controller and vehicle against what AlpaSim's own did in the recorded session.

The session drives straight at a steady 8 m/s, so this holds units, frames and timing to the original, not the
behaviour in curves.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.ego import EgoDynamics
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.generated import common_pb2, controller_pb2
from alpamayo_ros.sim.roads import Float64Array, Terrain
from alpamayo_ros.sim.state import EgoState

Request = controller_pb2.RunControllerAndVehicleModelRequest
Response = controller_pb2.RunControllerAndVehicleModelResponse


@pytest.fixture(scope="module")
def steps(golden_dir: Path) -> list[tuple[Request, Response]]:
    requests, responses = [], []
    for entry in read_entries(golden_dir / "alpasim" / "rollout.asl"):
        kind = entry.WhichOneof("log_entry")
        if kind == "controller_request":
            requests.append(entry.controller_request)
        elif kind == "controller_return":
            responses.append(entry.controller_return)
    assert len(requests) == len(responses) == 30
    return list(zip(requests, responses, strict=True))


def matrix(pose: common_pb2.Pose) -> Float64Array:
    result = np.eye(4)
    quaternion = [pose.quat.x, pose.quat.y, pose.quat.z, pose.quat.w]
    result[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    result[:3, 3] = pose.vec.x, pose.vec.y, pose.vec.z
    return result


def state_of(request: Request) -> EgoState:
    velocity, turning = request.state.state.linear_velocity, request.state.state.angular_velocity
    return EgoState(
        request.state.timestamp_us, matrix(request.state.pose), (velocity.x, velocity.y), turning.z
    )


def advance(ego: EgoDynamics, request: Request) -> EgoState:
    """Answer a request as AlpaSim's controller is asked: its plan is in the rig frame of its first stamp."""
    plan = request.planned_trajectory_in_rig.poses
    stamps_us = np.array([each.timestamp_us for each in plan], np.int64)
    poses = ego.state.local_from_rig @ np.stack([matrix(each.pose) for each in plan])
    return ego.advance(stamps_us, poses, request.future_time_us)


def deviation(state: EgoState, response: Response) -> tuple[float, float, float]:
    """Return how far position (m), yaw (rad) and speed (m/s) are from AlpaSim's answer."""
    (answer,) = response.states
    assert answer.timestamp_us == state.time_us
    pose = matrix(answer.pose_local_to_rig)
    off = np.linalg.norm(pose[:3, 3] - state.local_from_rig[:3, 3])
    yaw = np.arctan2(pose[1, 0], pose[0, 0]) - state.yaw_rad
    velocity = answer.dynamic_state.linear_velocity
    speed = np.hypot(velocity.x - state.velocity_in_rig_mps[0], velocity.y - state.velocity_in_rig_mps[1])
    return float(off), abs(float(yaw)), float(speed)


def test_every_step_from_its_recorded_state(steps: list[tuple[Request, Response]]) -> None:
    # float32 on the wire: 1e-6 m at 25 m, and the recorded speed itself wavers by 1e-5 m/s.
    for request, response in steps:
        ego = EgoDynamics(Terrain(), state_of(request))
        off_m, yaw_rad, speed_mps = deviation(advance(ego, request), response)
        assert off_m < 2e-6
        assert yaw_rad < 1e-6
        assert speed_mps < 2e-5


def test_the_whole_session_in_one_go(steps: list[tuple[Request, Response]]) -> None:
    ego = EgoDynamics(Terrain(), state_of(steps[0][0]))
    worst = np.max([deviation(advance(ego, request), response) for request, response in steps], axis=0)
    np.testing.assert_array_less(worst, [2e-5, 1e-6, 2e-5])
