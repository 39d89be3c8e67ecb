"""Samples of a bag: seen through the stack's sensing, the future as it was driven, no reasoning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader, RawMessage
from alpamayo_ros.bags.synthetic.bag import ODOMETRY_TOPIC, START_NS, SyntheticDrive, write_synthetic_bag
from alpamayo_ros.bags.synthetic.course import Course
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.cli.main import main
from alpamayo_ros.evaluation.track import DriveTrack
from alpamayo_ros.sensing.rig import Rig, load_rig
from alpamayo_ros.sensing.timing import TimingConfig
from alpamayo_ros.training import bag_samples
from alpamayo_ros.training.bag_samples import add_bag
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode import FrameCodec
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.shards import read_index
from alpamayo_ros.training.simulate import PictureSettings, resize_frame
from alpamayo_ros.types import InvalidInput

SECONDS = 9.0


def rig_of(*names: str) -> Rig:
    rig = load_rig("default")
    cameras = tuple(camera for camera in rig.cameras if camera.name in names)
    return replace(rig, cameras=cameras, odometry_topic=ODOMETRY_TOPIC, reference_camera_id=-1)


RIG = rig_of("front_wide", "front_tele")
PICTURES = PictureSettings(camera_ids=RIG.camera_ids, height=32, width=64, codec=FrameCodec("png"))

RIG_FILE = """
name: two
odometry: {topic: /odom}
cameras:
  - {role: front_wide, topic: /camera/front_wide/image/compressed, transport: compressed}
  - {role: front_tele, topic: /camera/front_tele/image/compressed, transport: compressed}
"""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "drive"
    write_synthetic_bag(path, RIG, drive=SyntheticDrive(seconds=SECONDS, width=96, height=54))
    return path


@pytest.fixture(scope="module")
def samples(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> EpisodeSamples:
    out = tmp_path_factory.mktemp("samples") / "set"
    made = add_bag(bag, RIG, out=out, pictures=PICTURES)
    assert set(made.left_out) == {"the drive ends before its future does"}
    return EpisodeSamples(out, split="train")


def truth(time_s: float) -> np.ndarray:
    pose = Course(seconds=SECONDS).pose(time_s)
    return np.array([pose.x_m, pose.y_m])


def test_every_tenth_of_a_second_with_a_past_and_a_future_is_a_sample(samples: EpisodeSamples) -> None:
    times_s = [(samples[i].observation.t0_ns - START_NS) / 1e9 for i in range(len(samples))]
    np.testing.assert_allclose(np.diff(times_s), 0.1, atol=1e-6)
    assert times_s[0] == pytest.approx(1.5, abs=0.11)
    assert times_s[-1] == pytest.approx(SECONDS - 6.4, abs=0.21)


def test_the_future_is_where_the_vehicle_went(samples: EpisodeSamples) -> None:
    sample = samples[3]
    t0_s = (sample.observation.t0_ns - START_NS) / 1e9
    pose = sample.observation.rig_pose_in_odom_at_t0
    went = sample.future_xyz_in_rig_t0 @ pose[:3, :3].T + pose[:3, 3]
    want = np.array([truth(t0_s + 0.1 * k) for k in range(1, 65)])
    np.testing.assert_allclose(went[:, :2], want, atol=0.01)
    heading = sample.future_rot_in_rig_t0[:, :2, 0]
    steps = np.diff(sample.future_xyz_in_rig_t0[:, :2], axis=0)
    along = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    assert ((heading[1:] * along).sum(axis=1) > 0.999).all()


def test_frames_are_the_bags_resized(samples: EpisodeSamples, bag: Path) -> None:
    observation = samples[0].observation
    wanted = int(observation.frame_stamps_ns[0, -1])
    topic = RIG.camera(observation.camera_ids[0]).topic
    with BagReader(bag) as reader:
        for message in reader.messages([topic]):
            content = reader.decode(message)
            if content.header.stamp.sec * 10**9 + content.header.stamp.nanosec == wanted:
                bgr = cv2.imdecode(np.frombuffer(bytes(content.data), np.uint8), cv2.IMREAD_COLOR)
    frame = np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(observation.frames[0, -1], resize_frame(frame, height=32, width=64))


def test_there_is_no_reasoning_and_no_seed(samples: EpisodeSamples) -> None:
    assert samples[0].source is ReasoningSource.NONE and samples[0].reasoning == ""
    assert samples[0].tags["family"] == "bag"
    assert samples.entries[0].seed is None


def test_a_second_time_adds_nothing_and_another_split_is_refused(bag: Path, samples: EpisodeSamples) -> None:
    again = add_bag(bag, RIG, out=samples.folder, pictures=PICTURES)
    assert (again.entries, again.already) == ((), 1)
    assert sum(entry.samples for entry in read_index(samples.folder)) == len(samples)
    with pytest.raises(InvalidInput, match="split: expected train as before, got test"):
        add_bag(bag, RIG, out=samples.folder, pictures=PICTURES, split="test")


def test_a_long_bag_becomes_several_episodes_of_the_same_samples(
    bag: Path, samples: EpisodeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_samples, "EPISODE_SAMPLES", 8)
    made = add_bag(bag, RIG, out=tmp_path / "set", pictures=PICTURES)
    assert [entry.samples for entry in made.entries[:-1]] == [8] * (len(made.entries) - 1)
    parts = EpisodeSamples(tmp_path / "set", split="train")
    assert len(parts) == len(samples)
    for index in range(len(samples)):
        one, part = samples[index], parts[index]
        assert part.sample_id.rpartition("/")[2] == str(index)
        np.testing.assert_array_equal(part.observation.frames, one.observation.frames)
        np.testing.assert_array_equal(part.future_xyz_in_rig_t0, one.future_xyz_in_rig_t0)


def rewritten(bag: Path, to: Path, change: Callable[[BagWriter, RawMessage, Any], None]) -> Path:
    """Write a bag anew, each message as `change` writes it."""
    with BagReader(bag) as reader, BagWriter(to) as writer:
        for topic in reader.topics.values():
            writer.add_topic(topic.name, topic.type_name)
        for message in reader.messages(list(reader.topics)):
            change(writer, message, reader.decode(message))
    return to


def test_messages_that_are_broken_are_left_out_and_told(bag: Path, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    camera = RIG.cameras[0]

    def spoil(writer: BagWriter, message: RawMessage, content: Any) -> None:
        counts[message.topic] += 1
        if message.topic == ODOMETRY_TOPIC and counts[message.topic] == 3:
            q = content.pose.pose.orientation
            q.x = q.y = q.z = q.w = 0.0
            writer.write_message(message.topic, message.stamp_ns, content)
        elif message.topic == camera.topic and counts[message.topic] == 20:
            content.data = content.data[:30]
            writer.write_message(message.topic, message.stamp_ns, content)
        else:
            writer.write(message.topic, message.stamp_ns, message.data)

    made = add_bag(rewritten(bag, tmp_path / "spoilt", spoil), RIG, out=tmp_path / "set", pictures=PICTURES)
    assert made.left_out["odometry that is no pose"] == 1
    assert made.left_out[f"an image of {camera.name} that cannot be read"] == 1
    stamps = {
        int(stamp)
        for sample in (
            EpisodeSamples(tmp_path / "set", split="train")[i] for i in range(made.entries[0].samples)
        )
        for stamp in sample.observation.frame_stamps_ns[0]
    }
    assert START_NS + 1_900_000_000 not in stamps  # the twentieth at 10 Hz


def test_a_recording_that_begins_again_is_refused(bag: Path, tmp_path: Path) -> None:
    """What a loop of `ros2 bag play` leaves: the same stamps once more, recorded later."""
    with BagReader(bag) as reader, BagWriter(tmp_path / "looped") as writer:
        for topic in reader.topics.values():
            writer.add_topic(topic.name, topic.type_name)
        for later_ns in (0, reader.end_ns - reader.start_ns + 10**8):
            for message in reader.messages(list(reader.topics)):
                writer.write(message.topic, message.stamp_ns + later_ns, message.data)
    with pytest.raises(BagError, match="expected stamps that go on, got some that go back"):
        add_bag(tmp_path / "looped", RIG, out=tmp_path / "set", pictures=PICTURES)


@pytest.mark.long
def test_a_fast_camera_gives_no_more_samples(tmp_path: Path) -> None:
    rig = rig_of("front_wide")
    drive = SyntheticDrive(seconds=8.5, camera_hz=30.0, width=64, height=36)
    write_synthetic_bag(tmp_path / "fast", rig, drive=drive)
    pictures = replace(PICTURES, camera_ids=rig.camera_ids)
    add_bag(tmp_path / "fast", rig, out=tmp_path / "set", pictures=pictures)
    samples = EpisodeSamples(tmp_path / "set", split="train")
    t0s_ns = [samples[i].observation.t0_ns for i in range(len(samples))]
    np.testing.assert_allclose(np.diff(t0s_ns) / 1e9, 0.1, atol=0.04)
    spacing_s = np.diff(samples[0].observation.frame_stamps_ns[0]) / 1e9
    np.testing.assert_allclose(spacing_s, 0.1, atol=0.02)


def test_a_bag_without_the_rigs_topics_is_refused(bag: Path, tmp_path: Path) -> None:
    rig = replace(RIG, odometry_topic="/vehicle/odometry")
    with pytest.raises(
        BagError, match=r"expected the rig's topics, got no /vehicle/odometry; it has .*/odom"
    ):
        add_bag(bag, rig, out=tmp_path / "set", pictures=PICTURES)
    with pytest.raises(InvalidInput, match="cameras: expected the rig's"):
        add_bag(bag, RIG, out=tmp_path / "set", pictures=replace(PICTURES, camera_ids=(1,)))
    assert not (tmp_path / "set").exists()


def track(stamps_s: np.ndarray, *, jump_at_s: float | None = None) -> DriveTrack:
    """5 m/s straight on."""
    poses = np.tile(np.eye(4), (len(stamps_s), 1, 1))
    poses[:, 0, 3] = 5.0 * stamps_s
    if jump_at_s is not None:
        poses[stamps_s > jump_at_s, 1, 3] += 30.0
    return DriveTrack(np.round(stamps_s * 1e9).astype(np.int64), poses, timing=TimingConfig())


def at(time_s: float) -> tuple[int, np.ndarray]:
    pose = np.eye(4)
    pose[0, 3] = 5.0 * time_s
    return round(time_s * 1e9), pose


def test_a_future_is_interpolated_never_extrapolated() -> None:
    whole = track(np.arange(0.0, 20.0, 0.07))
    future = whole.future(*at(3.33))
    assert not isinstance(future, str)
    np.testing.assert_allclose(future[0][:, 0], 0.5 * np.arange(1, 65), atol=1e-4)
    np.testing.assert_allclose(future[1], np.tile(np.eye(3), (64, 1, 1)), atol=1e-6)
    assert whole.future(*at(14.0)) == "the drive ends before its future does"
    assert track(np.zeros(0)).future(*at(1.0)) == "the drive ends before its future does"


def test_a_gap_or_a_jump_leaves_out_the_samples_before_it() -> None:
    stamps_s = np.arange(0.0, 20.0, 0.05)
    gap = track(stamps_s[(stamps_s < 10.0) | (stamps_s > 10.4)])
    assert gap.future(*at(5.0)) == "a gap of odometry in its future"
    assert not isinstance(gap.future(*at(3.0)), str) and not isinstance(gap.future(*at(11.0)), str)
    jump = track(stamps_s, jump_at_s=10.0)
    assert jump.future(*at(5.0)) == "a jump of odometry in its future"
    assert not isinstance(jump.future(*at(3.0)), str)


def test_the_command_reads_a_bag(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig_file = tmp_path / "rig.yaml"
    rig_file.write_text(RIG_FILE)
    out = tmp_path / "set"
    command = [
        "train",
        "data",
        "--bag",
        str(bag),
        "--rig",
        str(rig_file),
        "--out",
        str(out),
        "--size",
        "32x64",
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "train          1 episodes" in said and "the drive ends before its future does" in said
    assert EpisodeSamples(out, split="train")[0].observation.frames.shape == (2, 4, 3, 32, 64)


def test_a_bag_that_is_too_short_for_a_future_fails_and_says_why(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(writer: BagWriter, message: RawMessage, content: Any) -> None:
        if message.stamp_ns < START_NS + 3 * 10**9:
            writer.write(message.topic, message.stamp_ns, message.data)

    rewritten(bag, tmp_path / "short", cut)
    rig_file = tmp_path / "rig.yaml"
    rig_file.write_text(RIG_FILE)
    out = ["--out", str(tmp_path / "set"), "--size", "32x64"]
    assert main(["train", "data", "--bag", str(tmp_path / "short"), "--rig", str(rig_file), *out]) == 1
    said = capsys.readouterr().out
    assert "made           0 episodes" in said and "the drive ends before its future does" in said


def test_kitti(bags_dir: Path, tmp_path: Path) -> None:
    """A real drive of 11 s; its cameras run at 9.7 Hz and only look ahead."""
    rig = load_rig("kitti")
    pictures = replace(PICTURES, camera_ids=rig.camera_ids)
    add_bag(bags_dir / "kitti_raw_0001_street", rig, out=tmp_path / "set", pictures=pictures)
    samples = EpisodeSamples(tmp_path / "set", split="train")
    assert len(samples) >= 15
    for sample in (samples[0], samples[len(samples) - 1]):
        travelled_m = np.linalg.norm(np.diff(sample.future_xyz_in_rig_t0, axis=0), axis=1).sum()
        assert 20.0 < travelled_m < 120.0
        past = sample.observation.history_xyz_in_rig_t0
        np.testing.assert_allclose(sample.future_xyz_in_rig_t0[0], past[-1] - past[-2], atol=0.15)
