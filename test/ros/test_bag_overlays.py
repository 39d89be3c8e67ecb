"""`alpamayo overlay`: a bag's plans in its cameras' pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from plan_factory import build_plan

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.synthetic.bag import SyntheticDrive, write_synthetic_bag
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.cli.main import main
from alpamayo_ros.ros.bag_overlays import as_recorded, moments, read_recording
from alpamayo_ros.ros.conversions import odometry_from_msg
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg
from alpamayo_ros.ros.visualizer_plans import timed_plan
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.types import Plan
from alpamayo_ros.viz.timeline import PlanTimeline

T0_NS = 1_700_000_000 * 10**9
STEP_NS = 100_000_000
ODOM = ("--odometry", "/odom")


def straight(t0_ns: int, speed_mps: float = 10.0) -> Plan:
    xyz = np.zeros((1, 64, 3), np.float32)
    xyz[0, :, 0] = speed_mps * 0.1 * np.arange(1, 65)
    return build_plan(
        samples=1,
        t0_ns=t0_ns,
        xyz_in_rig_t0=xyz,
        rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (1, 64, 1, 1)),
        speed_mps=np.full((1, 65), speed_mps, np.float32),
    )


def published(t0_ns: int, **said) -> PublishedPlan:
    x = 10.0 * (t0_ns - T0_NS) / 1e9
    fields = {
        "odom_from_rig_t0": compose(np.eye(3), (x, 0, 0)),
        "status": PlanStatus.VALID,
        "valid_until_ns": t0_ns + 10**9,
        "odometry_frame": "odom",
        **said,
    }
    return PublishedPlan(plan=straight(t0_ns), rig_frame="base_link", **fields)


def timeline(*plans: PublishedPlan, frame: str = "odom") -> PlanTimeline:
    """A vehicle at 10 m/s along x for 3 s, odometry at 20 Hz."""
    made = PlanTimeline(history_s=1.0)
    for i in range(61):
        made.add_pose(T0_NS + i * STEP_NS // 2, compose(np.eye(3), (0.5 * i, 0, 0)), frame=frame)
    for plan in plans:
        made.add_plan(timed_plan(plan))
    return made


def test_a_plan_stays_on_the_road_while_the_vehicle_moves_on():
    moment = timeline(published(T0_NS)).at(T0_NS + 3 * STEP_NS + STEP_NS // 2)
    assert moment.drawing.status == "VALID"
    # 0.35 s later the vehicle is 3.5 m further along the plan's frame; waypoints that are past are left out.
    assert moment.drawing_from_rig[:3, 3] == pytest.approx([3.5, 0, 0])
    assert moment.drawing.path[0] == pytest.approx([3.0, 0, 0], abs=1e-5)
    assert moment.drawing.path[-1] == pytest.approx([64.0, 0, 0], abs=1e-4)
    assert moment.drawing.latency_ms == 16.25


def test_the_newest_plan_that_is_not_after_the_picture_is_shown():
    shown = timeline(published(T0_NS), published(T0_NS + 5 * STEP_NS, status=PlanStatus.UNCHECKED))
    assert shown.at(T0_NS + 4 * STEP_NS).drawing.status == "VALID"
    assert shown.at(T0_NS + 5 * STEP_NS).drawing.status == "UNCHECKED"
    stop = published(T0_NS + 5 * STEP_NS, status=PlanStatus.FALLBACK, status_reason="a gap")
    shown.add_plan(timed_plan(stop))  # of the same t0, later
    assert shown.at(T0_NS + 6 * STEP_NS).drawing.status == "FALLBACK"
    assert shown.at(T0_NS + 6 * STEP_NS).drawing.reason == "a gap"


@pytest.mark.parametrize(
    ("plans", "after_ns", "says"),
    [
        ((), STEP_NS, "no plan was received yet"),
        ((published(T0_NS + 5 * STEP_NS),), STEP_NS, "no plan is of a time before this picture"),
        ((published(T0_NS),), 12 * STEP_NS, "the newest plan is 1.2 s old and no longer valid"),
        ((published(T0_NS, valid_until_ns=T0_NS + 10**11),), 35 * STEP_NS, "odometry ends 500 ms before"),
        ((published(T0_NS, odometry_frame="map"),), STEP_NS, "the plan lies in 'map', odometry in 'odom'"),
        ((published(T0_NS, odometry_frame=""),), STEP_NS, "the plan does not say where it lies"),
    ],
)
def test_what_must_not_be_shown_as_valid_says_why(plans, after_ns, says):
    drawing = timeline(*plans).at(T0_NS + after_ns).drawing
    assert drawing.status == "NONE"
    assert says in drawing.reason
    assert len(drawing.path) == 0


def test_a_stop_is_told_though_nobody_knows_where_it_lies():
    stop = published(T0_NS, status=PlanStatus.FALLBACK, status_reason="no odometry", odometry_frame="")
    drawing = timeline(stop).at(T0_NS + STEP_NS).drawing
    assert (drawing.status, drawing.reason, len(drawing.path)) == ("FALLBACK", "no odometry", 0)


def test_the_driven_track_is_as_long_as_asked_for():
    drawing = timeline(published(T0_NS + 20 * STEP_NS)).at(T0_NS + 20 * STEP_NS).drawing
    assert drawing.history[-1] == pytest.approx([0, 0, 0], abs=1e-6)
    assert -10.1 <= drawing.history[0, 0] <= -7.9


def test_poses_of_another_odometry_frame_make_the_old_ones_void():
    made = timeline(published(T0_NS))
    made.add_pose(T0_NS + 31 * STEP_NS, np.eye(4), frame="map")
    assert "the plan lies in 'odom', odometry in 'map'" in made.at(T0_NS + STEP_NS).drawing.reason


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    """A synthetic drive of 3 s without plans."""
    folder = tmp_path_factory.mktemp("overlay") / "bag"
    drive = SyntheticDrive(seconds=3.0, camera_hz=10.0, width=192, height=108, seed=1)
    write_synthetic_bag(folder, load_rig("default"), drive=drive)
    return folder


def test_a_bag_without_plans_is_refused_with_what_it_has(bag, tmp_path, capsys):
    assert main(["overlay", str(bag), "--out", str(tmp_path / "a.jpg")]) == 2
    told = capsys.readouterr().err
    assert "expected recorded plans, as `alpamayo replay` makes them: /alpamayo/plan" in told
    assert "/odom" in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "a.gif"], "--out: expected a name that ends in .webm, .jpg, .png or a folder, got a.gif"),
        (["--out", "a.jpg", "--width", "3"], "--width: expected 64 … 4096, got 3"),
        (["--out", "a.jpg", "--every", "0"], "--every: expected a positive number of seconds, got 0.0"),
        (["--out", "a.webm", "--at", "3"], "--at: expected one picture"),
    ],
)
def test_options_that_cannot_be_are_refused(bag, capsys, monkeypatch, tmp_path, options, says):
    monkeypatch.chdir(tmp_path)
    assert main(["overlay", str(bag), *options]) == 2
    assert says in capsys.readouterr().err


def test_topics_are_found_in_the_namespace_or_at_the_root():
    bag = SimpleNamespace(topics={"/alpamayo/camera/front_wide/image/compressed": 1, "/odometry": 1})
    rig = as_recorded(bag, load_rig("sim"), namespace="alpamayo")  # type: ignore[arg-type]
    assert rig.camera(1).topic == "/alpamayo/camera/front_wide/image/compressed"
    assert rig.odometry_topic == "/odometry"
    assert as_recorded(bag, rig, namespace="x", odometry="/mine").odometry_topic == "/mine"  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def planned(bag, tmp_path_factory) -> Path:
    """The same drive with a plan every 0.2 s of its first second, straight ahead."""
    from rclpy.serialization import serialize_message

    folder = tmp_path_factory.mktemp("overlay") / "planned"
    with BagReader(bag) as source, BagWriter(folder) as target:
        for topic in source.topics.values():
            target.add_topic(topic.name, topic.type_name)
        target.add_topic("/alpamayo/plan", "alpamayo_ros/msg/Plan")
        for message in source.messages():
            target.write(message.topic, message.stamp_ns, message.data)
            if message.topic != "/odom":
                continue
            sample = odometry_from_msg(source.decode(message))
            after_ns = sample.stamp_ns - source.start_ns
            if after_ns % (2 * STEP_NS) or not 0 < after_ns <= 10 * STEP_NS:
                continue
            plan = published(
                sample.stamp_ns, odom_from_rig_t0=sample.odom_from_child, odometry_frame=sample.frame
            )
            target.write("/alpamayo/plan", message.stamp_ns, serialize_message(plan_to_msg(plan)))
    return folder


def test_a_recording_becomes_pictures_with_its_plans(planned, tmp_path, capsys):
    out = tmp_path / "pictures"
    assert main(["overlay", str(planned), "--out", str(out), "--width", "256", "--every", "0.4", *ODOM]) == 0
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [f"{i:06d}.jpg" for i in range(len(files))]
    assert len(files) == 3  # t0 at 0.2, 0.6 and 1.0 s
    picture = cv2.imread(str(files[1]))
    assert picture.shape == (288, 512 + 230, 3)
    # The green of a valid plan lies on the road before the vehicle.
    blue, green, red = (picture[90:120, 100:156, i].astype(int) for i in range(3))
    assert ((green > red + 40) & (green > blue + 20)).mean() > 0.1
    assert "3 pictures, 5 plans" in capsys.readouterr().out
    assert main(["overlay", str(planned), "--out", str(out), *ODOM]) == 2
    assert "expected a folder that is empty or not there yet" in capsys.readouterr().err


def test_a_bag_that_was_recorded_by_another_clock_has_its_pictures_too(planned, tmp_path):
    """Recorded by the wall's clock, three times slower than the headers' time."""
    folder = tmp_path / "slow"
    with BagReader(planned) as source, BagWriter(folder) as target:
        for topic in source.topics.values():
            target.add_topic(topic.name, topic.type_name)
        for message in source.messages():
            later_ns = 10**17 + 3 * (message.stamp_ns - source.start_ns)
            target.write(message.topic, message.stamp_ns + later_ns, message.data)
    pictures = []
    for bag, name in ((planned, "a.png"), (folder, "b.png")):
        out = tmp_path / name
        assert main(["overlay", str(bag), "--out", str(out), "--at", "0.4", "--width", "96", *ODOM]) == 0
        pictures.append(cv2.imread(str(out)))
    assert np.array_equal(*pictures)


def test_one_picture_at_a_time_that_is_asked_for(planned, tmp_path):
    for after_s, plan in ((0.0, 0), (0.45, 2), (9.0, 4)):
        with BagReader(planned) as bag:
            rig = as_recorded(bag, load_rig("default"), namespace="alpamayo", odometry="/odom")
            recording = read_recording(bag, rig, plan_topic="/alpamayo/plan")
        stamps = recording.stamps_ns(every_s=0.1)
        assert stamps == [timed.plan.t0_ns for timed in recording.plans]
        out = tmp_path / f"{plan}.png"
        assert (
            main(["overlay", str(planned), "--out", str(out), "--at", str(after_s), "--width", "96", *ODOM])
            == 0
        )
        (moment,) = moments(recording, [stamps[plan]])
        assert moment.drawing.status == "VALID"
        assert out.is_file()
