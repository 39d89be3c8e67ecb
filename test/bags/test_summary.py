"""summary.json and summary.png of a recording that is made here plan by plan, so every figure is known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.report import choose_moments, draw_report
from alpamayo_ros.bags.run import Run, read_run
from alpamayo_ros.bags.summary import percentiles, summarise, write_summary
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.sensing.rig import load_rig

PLAN, DIAGNOSTICS = "alpamayo_ros/msg/Plan", "diagnostic_msgs/msg/DiagnosticArray"
LATENCY_NS = 80_000_000


class Recorder:
    """Copies a drive and adds what a planner that follows it exactly would have published."""

    def __init__(self, drive: Path, path: Path) -> None:
        self.path = path
        self.writer = BagWriter(path)
        self.types = self.writer.typestore.types
        with BagReader(drive) as bag:
            self.start_ns = bag.start_ns
            for topic in bag.topics.values():
                self.writer.add_topic(topic.name, topic.type_name, qos=topic.qos)
            for message in bag.messages():
                self.writer.write(message.topic, message.stamp_ns, message.data)
        self.writer.add_topic("/alpamayo/plan", PLAN)
        self.writer.add_topic("/diagnostics", DIAGNOSTICS)

    def time(self, stamp_ns: int) -> object:
        return self.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))

    def header(self, stamp_ns: int) -> object:
        return self.types["std_msgs/msg/Header"](stamp=self.time(stamp_ns), frame_id="base_link")

    def pose(self, matrix: np.ndarray) -> object:
        yaw = np.arctan2(matrix[1, 0], matrix[0, 0])
        return self.types["geometry_msgs/msg/Pose"](
            position=self.types["geometry_msgs/msg/Point"](*map(float, matrix[:3, 3])),
            orientation=self.types["geometry_msgs/msg/Quaternion"](
                0.0, 0.0, float(np.sin(yaw / 2)), float(np.cos(yaw / 2))
            ),
        )

    def plan(
        self, run: Run, time_s: float, *, status: int, error_m: float = 0.0, text: str = "keep going"
    ) -> None:
        """Publish a plan that is the drive itself, `error_m` to the left."""
        t0_ns = self.start_ns + round(time_s * 1e9)
        odom_from_rig = run.track.pose(t0_ns)
        waypoints = []
        for i in range(64):
            stamp_ns = min(t0_ns + (i + 1) * 100_000_000, int(run.track.stamps_ns[-1]))
            matrix = np.linalg.inv(odom_from_rig) @ run.track.pose(stamp_ns)
            matrix[1, 3] += error_m
            duration = self.types["builtin_interfaces/msg/Duration"](*divmod((i + 1) * 100_000_000, 10**9))
            waypoints.append(
                self.types["alpamayo_ros/msg/PlanWaypoint"](self.pose(matrix), duration, 8.0, 0.0, 0.0)
            )
        times = self.types["alpamayo_ros/msg/StageTimes"](1.0, 2.0, 3.0, 4.0, 5.0, 15.0 + time_s, 17)
        candidate = self.types["alpamayo_ros/msg/PlanCandidate"](
            waypoints, 8.0, np.zeros(128, np.float32), text, True, "", "", "", "", "", np.zeros(3, np.int32)
        )
        message = self.types[PLAN](
            header=self.header(t0_ns),
            odometry_frame_id="odom",
            rig_pose=self.pose(odom_from_rig),
            status=status,
            status_reason="no valid plan yet" if status == 3 else "",
            engaged=False,
            decided=self.time(t0_ns),
            checks=[],
            monitor=0,
            monitor_reason="",
            candidates=[candidate],
            chosen=0,
            reasoning=text,
            meta_action="",
            valid_until=self.time(t0_ns + 10**9),
            instruction="Turn left in 30m",
            model="test (alpamayo1_5, float32, random weights, seed 0)",
            seed=1,
            times=times,
        )
        self.writer.write_message("/alpamayo/plan", t0_ns + LATENCY_NS, message)

    def report(self, time_s: float, **counts: object) -> None:
        """Publish the planner's diagnostics; `refusals__x` stands for refusals/x."""
        pair = self.types["diagnostic_msgs/msg/KeyValue"]
        inference = [pair(k.replace("__", "/"), str(v)) for k, v in counts.items()]
        statuses = [
            ("inference", inference),
            ("model", [pair("device", "cpu")]),
            ("odometry", [pair("rate_hz", "50.0")]),
            ("gate", [pair("failed/kink", "2")]),
            ("monitor", [pair("agrees", "5"), pair("contradicts", "1")]),
        ]
        kind = self.types["diagnostic_msgs/msg/DiagnosticStatus"]
        stamp_ns = self.start_ns + round(time_s * 1e9)
        array = self.types[DIAGNOSTICS](
            header=self.header(stamp_ns),
            status=[kind(0, f"alpamayo/{name}", "", "alpamayo_ros", values) for name, values in statuses]
            + [kind(0, "battery", "", "someone else", [pair("volts", "3")])],
        )
        self.writer.write_message("/diagnostics", stamp_ns, array)


def read(path: Path) -> Run:
    return read_run(path, plan_topic="/alpamayo/plan", odometry_topic="/odom")


@pytest.fixture(scope="module")
def recorded(drive_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("recorded") / "bag"
    recorder = Recorder(drive_bag, path)
    drive = read_run(drive_bag, plan_topic="/none", odometry_topic="/odom")
    for k in range(9):
        recorder.plan(drive, 1.4 + 0.1 * k, status=1 if k else 3, error_m=0.5, text="a $1 prize <b> " * k)
    recorder.report(0.5, observations=0, refusals__history_missing=1)
    recorder.report(1.5, observations=1, refusals__history_missing=4)
    recorder.report(2.5, observations=9, refusals__history_missing=4, refusals__odometry_gap=2, superseded=3)
    recorder.writer.close()
    return read(path)


def test_every_figure_of_the_summary(recorded: Run, tmp_path: Path) -> None:
    summary = summarise(recorded, sent={"/odom": 151, "/tf_static": 2}, bag_s=3.0, extra={"rate": 1.0})
    assert summary["plans"] == {"unchecked": 8}
    assert summary["stops"] == 1
    assert summary["rejected_for"] == {"kink": 2}
    assert summary["monitor"] == {"agrees": 5, "contradicts": 1, "silent": 0}
    assert summary["plans_published"] == 8
    assert summary["plan_rate_hz"] == pytest.approx(8 / 3, abs=1e-3)
    assert summary["observations"] == 9
    assert summary["refusals"] == {"history_missing": 4, "odometry_gap": 2}
    assert summary["refusals_after_start_up"] == {"odometry_gap": 2}
    assert summary["superseded"] == 3
    assert summary["messages_in"] == {"/odom": 151, "/tf_static": 1}
    assert summary["messages_lost"] == {"/tf_static": 1}
    assert summary["messages_out"]["/alpamayo/plan"] == 9
    assert summary["latency_ms"]["publish"] == {"p50": 80.0, "p90": 80.0, "p99": 80.0, "max": 80.0}
    assert summary["latency_ms"]["vision"]["max"] == 2.0
    assert summary["latency_ms"]["total"]["p50"] == pytest.approx(16.8)
    assert summary["latency_ms"]["total"]["max"] == pytest.approx(17.2)
    assert summary["reasoning_tokens"]["p50"] == 17
    assert summary["random_weights"] is True
    assert summary["device"] == "cpu"
    assert summary["inputs"] == {"odometry": {"rate_hz": 50.0}}
    assert summary["rate"] == 1.0
    assert {"alpamayo_ros", "python", "rosbags"} <= set(summary["versions"])
    # The plans are the drive itself, half a metre to the left; only the first second is wholly known.
    assert summary["displacement_error_m"] == {"1s": pytest.approx(0.5, abs=1e-3)}
    write_summary(tmp_path / "summary.json", summary)
    assert json.loads((tmp_path / "summary.json").read_text())["plans"] == summary["plans"]


def test_the_actual_future_is_taken_at_t0_in_the_rig_frame(recorded: Run) -> None:
    plan = recorded.plans[0]
    future = recorded.track.future_in_rig_t0(plan, np.array([0.0, 0.5, 100.0]))
    assert np.allclose(future[0], 0, atol=1e-6)
    assert 3.0 < future[1, 0] < 6.5
    assert np.isnan(future[2]).all()
    assert recorded.track.pose(0) is None


def test_percentiles_are_of_observed_values() -> None:
    assert percentiles([]) == {}
    assert percentiles(list(range(1, 101))) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert percentiles([7.0]) == {"p50": 7.0, "p90": 7.0, "p99": 7.0, "max": 7.0}


def test_moments_are_spread_over_the_run(recorded: Run) -> None:
    assert choose_moments([], 4) == []
    moments = choose_moments(recorded.plans, 4)
    assert len(moments) == 4
    assert [m.t0_ns for m in moments] == sorted({m.t0_ns for m in moments})
    assert len(choose_moments(recorded.plans[:2], 4)) == 2


def test_the_report_shows_cameras_and_plans(recorded: Run, tmp_path: Path) -> None:
    summary = summarise(recorded, sent={}, bag_s=3.0, extra={"bag": "a/drive"})
    draw_report(tmp_path / "summary.png", recorded, load_rig("default"), summary=summary)
    image = cv2.imread(str(tmp_path / "summary.png"))
    assert image.shape[1] == 1700
    plan_red = (np.abs(image.astype(int) - (46, 87, 228)).sum(axis=2) < 30).sum()
    assert plan_red > 500
    # The camera strip: sky-blue somewhere in the upper left part.
    part = image[150:400, 60:400].astype(int)
    assert ((part[..., 0] > part[..., 2] + 40) & (part[..., 0] > 120)).sum() > 500


def test_a_run_without_plans_is_summed_up_too(drive_bag: Path, tmp_path: Path) -> None:
    run = read_run(drive_bag, plan_topic="/alpamayo/plan", odometry_topic="/odom")
    summary = summarise(run, sent={"/odom": 151}, bag_s=0.0)
    assert summary["plans"] == {}
    assert summary["latency_ms"]["publish"] == {}
    assert summary["refusals"] == {}
    draw_report(tmp_path / "summary.png", run, load_rig("default"), summary=summary)
    assert (tmp_path / "summary.png").stat().st_size > 5_000
