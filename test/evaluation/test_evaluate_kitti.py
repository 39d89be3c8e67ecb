"""A real drive: constant velocity's figures, computed a second time from raw odometry, with numpy alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.cli.main import main

ODOMETRY, STATIC = "/odom", "/tf_static"
HORIZONS = {"1s": 10, "3s": 30, "5s": 50, "6.4s": 64}


def matrix(x: float, y: float, z: float, w: float) -> np.ndarray:
    """A rotation from a quaternion, by the formula in Hamilton's numbers."""
    n = x * x + y * y + z * z + w * w
    return (
        np.array(
            [
                [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
            ]
        )
        / n
    )


class RawDrive:
    """Odometry as recorded: positions and quaternions of the rear axle over time."""

    def __init__(self, bag: Path) -> None:
        from rosbags.highlevel import AnyReader

        stamps, xyz, quaternions = [], [], []
        with AnyReader([bag]) as reader:
            connections = [c for c in reader.connections if c.topic == ODOMETRY]
            for connection, _, raw in reader.messages(connections=connections):
                message = reader.deserialize(raw, connection.msgtype)
                assert message.child_frame_id == "base_link"
                stamps.append(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)
                p, q = message.pose.pose.position, message.pose.pose.orientation
                xyz.append((p.x, p.y, p.z))
                quaternions.append((q.x, q.y, q.z, q.w))
        self.t = np.array(stamps) - stamps[0]
        self.xyz, self.q = np.array(xyz), np.array(quaternions)
        self.q *= np.sign((self.q * self.q[0]).sum(axis=1))[:, None]

    def place(self, at: np.ndarray) -> np.ndarray:
        """Positions, linear in time."""
        return np.stack([np.interp(at, self.t, self.xyz[:, axis]) for axis in range(3)], axis=-1)

    def turned(self, at: float) -> np.ndarray:
        """The rotation, by normalised lerp of quaternions: at 50 Hz as good as slerp."""
        return matrix(*(np.interp(at, self.t, self.q[:, k]) for k in range(4)))

    def errors(self, t0: float) -> np.ndarray:
        """Distances [N] of constant velocity from the drive, at t0 + 0.1, 0.2, … s, as far as it goes."""
        known = int(np.floor((self.t[-1] - t0) / 0.1 + 1e-9))
        steps = 0.1 * np.arange(1, min(known, 64) + 1)
        to_rig = self.turned(t0).T
        # Speed at t0: the last step's, half a step further at the rate at which it changed.
        back = (self.place(np.array([t0, t0 - 0.1, t0 - 0.2])) - self.place(np.array([t0]))) @ to_rig.T
        last, before = (np.hypot(*(back[i] - back[i + 1])[:2]) / 0.1 for i in (0, 1))
        speed = last + 0.5 * (last - before)
        went = (self.place(t0 + steps) - self.place(np.array([t0]))) @ to_rig.T
        return np.hypot(went[:, 0] - speed * steps, went[:, 1])


@pytest.fixture(scope="module")
def evaluated(bags_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    bag = bags_dir / "kitti_raw_0001_street"
    out = tmp_path_factory.mktemp("kitti") / "run"
    command = ["evaluate", str(bag), "--rig", "kitti", "--hz", "10", "--out", str(out), "--worst", "1"]
    assert main(command) == 0
    return bag, out


def test_constant_velocity_is_what_raw_odometry_says(evaluated: tuple[Path, Path]) -> None:
    bag, out = evaluated
    content = json.loads((out / "evaluation.json").read_text())
    drive = RawDrive(bag)
    # All instants of a grid of 0.1 s with 1.5 s before and a second after them.
    grid = [0.1 * k for k in range(15, 2000) if drive.t[-1] - 0.1 * k >= 1.0 - 1e-9]
    errors = [drive.errors(t0) for t0 in grid]
    found = content["figures"]["constant velocity"]
    assert content["counts"]["instants"] == len(grid)
    for name, count in HORIZONS.items():
        known = [each[:count] for each in errors if len(each) >= count]
        assert found[f"ade@{name}"]["n"] == found[f"fde@{name}"]["n"] == len(known) > 20
        assert found[f"ade@{name}"]["value"] == pytest.approx(np.mean([e.mean() for e in known]), abs=2e-3)
        assert found[f"fde@{name}"]["value"] == pytest.approx(np.mean([e[-1] for e in known]), abs=2e-3)
        missed = np.mean([e.max() > 2.0 for e in known])
        assert found[f"miss@{name}"]["value"] == pytest.approx(missed, abs=1e-6)


def test_what_is_left_out_is_counted(evaluated: tuple[Path, Path]) -> None:
    content = json.loads((evaluated[1] / "evaluation.json").read_text())
    counts = content["counts"]
    assert counts["left_out"]["no history of odometry before it"] == 15
    assert counts["known_until"]["1s"] == counts["instants"] > counts["known_until"]["6.4s"] > 0
    assert counts["intervals"] is False  # 11 s of one drive
    assert (evaluated[1] / "report.html").stat().st_size > 50_000
