"""Serialised images in, observations out: of fast cameras only what a plan can use is decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from alpamayo_ros.ros.sensor_feed import FeedListener, SensorFeed
from alpamayo_ros.sensing.images import decode_compressed
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.sensing.timing import BackwardJump, TimingConfig
from alpamayo_ros.types import Observation, UInt8Array

MS = 1_000_000
START_NS = 1_700_000_000 * 10**9
FRONT, LEFT = 1, 0


def prepare(frame: UInt8Array) -> UInt8Array:
    return frame[:, ::2, ::2]


def jpeg(stamp_ns: int, *, quality: int = 90) -> bytes:
    pixels = np.random.default_rng(stamp_ns % 2**32).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def compressed(stamp_ns: int, data: bytes | None = None) -> bytes:
    msg = CompressedImage(format="jpeg")
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    msg.data.frombytes(jpeg(stamp_ns) if data is None else data)
    return bytes(serialize_message(msg))


def raw(stamp_ns: int) -> bytes:
    msg = Image(encoding="rgb8", height=2, width=2, step=6)
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    msg.data.frombytes(bytes(range(12)))
    return bytes(serialize_message(msg))


@dataclass
class Heard:
    observations: list[Observation] = field(default_factory=list)
    refused: list[Any] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)
    jumps: list[BackwardJump] = field(default_factory=list)
    decoded: list[tuple[int, int, UInt8Array]] = field(default_factory=list)


@contextmanager
def feeding(
    *, t0_interval_ms: float = 100, transport: str = "compressed", prepare: Callable[..., Any] = prepare
) -> Iterator[tuple[SensorFeed, Heard]]:
    rig = Rig(
        name="test",
        cameras=(
            CameraConfig(camera_id=LEFT, topic="/left"),
            CameraConfig(camera_id=FRONT, topic="/front", transport=transport),
        ),
    )
    heard = Heard()
    feed = SensorFeed(
        rig,
        timing=TimingConfig(t0_interval_ms=t0_interval_ms),
        prepare_frame=prepare,
        decode_threads=2,
        now_ns=lambda: START_NS,  # nothing that is waited for is given up
        listener=FeedListener(
            observed=lambda observation, epoch: heard.observations.append(observation),
            refused=heard.refused.append,
            image_refused=lambda camera, error: heard.images.append((camera, str(error))),
            jumped=heard.jumps.append,
            decoded=lambda *frame: heard.decoded.append(frame),
        ),
    )
    try:
        yield feed, heard
    finally:
        feed.close()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def settled(feed: SensorFeed) -> None:
    """Wait until nothing that was asked for is being decoded."""
    until(
        lambda: all(
            camera["asked"] == camera["decoded"] + camera["dropped"] + camera["decode_errors"]
            for camera in feed.cameras.values()
        )
    )


def drive(feed: SensorFeed, rate_hz: float, seconds: float) -> list[int]:
    """Feed odometry, and images of both cameras; returns the images' stamps."""
    pose = np.eye(4)
    for i in range(int(seconds * 50) + 5):
        pose = pose.copy()
        pose[0, 3] = 0.1 * i
        feed.odometry(START_NS + i * 20 * MS, pose, child_frame="base_link")
    stamps = [START_NS + round(i * 1000 / rate_hz * MS) for i in range(int(seconds * rate_hz) + 1)]
    for stamp_ns in stamps:
        feed.image(LEFT, compressed(stamp_ns))
        feed.image(FRONT, compressed(stamp_ns))
        settled(feed)
    return stamps


def test_of_cameras_of_30_hz_a_third_is_decoded_and_nothing_is_lost() -> None:
    with feeding() as (feed, heard):
        stamps = drive(feed, 30, 3.0)
        until(lambda: heard.observations and heard.observations[-1].t0_ns == stamps[-1])
        for camera in feed.cameras.values():
            assert camera["received"] == camera["announced"] == len(stamps)
            assert camera["dropped"] == camera["decode_errors"] == 0
            assert camera["asked"] <= len(stamps) / 3 + 4
    assert not heard.refused
    t0s = [o.t0_ns for o in heard.observations]
    assert np.allclose(np.diff(t0s), 100 * MS, atol=2 * MS)
    assert len(t0s) >= 14


def test_observations_hold_the_plain_pixels_of_their_stamps() -> None:
    """Bit by bit what decoding and preparing each image by itself gives."""
    with feeding() as (feed, heard):
        drive(feed, 30, 2.0)
        until(lambda: heard.observations)
    for observation in heard.observations:
        for frames, stamps in zip(observation.frames, observation.frame_stamps_ns, strict=True):
            for frame, stamp_ns in zip(frames, stamps, strict=True):
                np.testing.assert_array_equal(frame, prepare(decode_compressed(jpeg(int(stamp_ns)))))


def test_decoded_frames_are_told_as_the_observation_holds_them() -> None:
    with feeding() as (feed, heard):
        drive(feed, 10, 2.0)
        until(lambda: heard.observations and len(heard.decoded) == 2 * 21)
        told = {(camera_id, stamp_ns): frame for camera_id, stamp_ns, frame in heard.decoded}
    observation = heard.observations[-1]
    for camera_id, frames, stamps in zip(
        observation.camera_ids, observation.frames, observation.frame_stamps_ns, strict=True
    ):
        for frame, stamp_ns in zip(frames, stamps, strict=True):
            np.testing.assert_array_equal(told[camera_id, int(stamp_ns)], frame)


def test_without_an_interval_every_image_is_decoded_and_is_a_t0() -> None:
    with feeding(t0_interval_ms=0) as (feed, heard):
        stamps = drive(feed, 30, 2.0)
        until(lambda: heard.observations and heard.observations[-1].t0_ns == stamps[-1])
        assert all(camera["decoded"] == len(stamps) for camera in feed.cameras.values())
    assert np.allclose(np.diff([o.t0_ns for o in heard.observations]), 1000 / 30 * MS, atol=2)


def test_raw_images_are_prepared_all() -> None:
    with feeding(transport="raw") as (feed, _):
        for i in range(20):
            feed.image(FRONT, raw(START_NS + i * 33 * MS))
            until(lambda count=i + 1: feed.cameras[FRONT]["decoded"] == count)
        assert feed.cameras[FRONT]["asked"] == 0


def test_an_image_that_breaks_off_is_refused_on_arrival_and_one_that_is_broken_inside_in_its_turn() -> None:
    """The observations are those of cameras that never sent them."""
    broken = bytearray(jpeg(START_NS))
    del broken[3:-3]  # begins and ends as it should
    with feeding() as (feed, heard):
        stamps = drive(feed, 10, 2.0)
        feed.image(LEFT, compressed(stamps[-1] + 50 * MS, jpeg(START_NS)[:-40]))
        assert feed.cameras[LEFT]["decode_errors"] == 1
        assert heard.images[-1][0] == "cross_left"
        assert "truncated or broken" in heard.images[-1][1]
        feed.image(LEFT, compressed(stamps[-1] + 100 * MS, bytes(broken)))
        until(lambda: feed.cameras[LEFT]["decode_errors"] == 2)
        feed.image(LEFT, compressed(0))
        assert "expected a positive stamp" in heard.images[-1][1]
        feed.image(LEFT, b"\x00\x01")
        assert feed.cameras[LEFT]["decode_errors"] == 4
        assert feed.assembler.camera_statistics(LEFT).newest_ns == stamps[-1]
        late_ns = stamps[-1] + 100 * MS
        feed.image(FRONT, compressed(late_ns))
        feed.image(LEFT, compressed(late_ns + 10 * MS))
        pose = np.eye(4)
        pose[0, 3] = 20.0
        feed.odometry(late_ns + 10 * MS, pose, child_frame="base_link")
        until(lambda: heard.observations[-1].t0_ns == late_ns)
        assert heard.observations[-1].frame_stamps_ns[0, -1] == late_ns + 10 * MS
        assert feed.cameras[LEFT].problem == ""


def test_images_that_come_faster_than_they_are_decoded_are_dropped_and_counted() -> None:
    gate = threading.Event()

    def slow(frame: UInt8Array) -> UInt8Array:
        assert gate.wait(20)
        return prepare(frame)

    with feeding(prepare=slow) as (feed, _):
        for i in range(12):
            feed.image(FRONT, compressed(START_NS + i * 100 * MS))
        dropped = feed.cameras[FRONT]["dropped"]
        assert 7 <= dropped <= 8, "one or none is being decoded, four wait"
        gate.set()
        until(lambda: feed.cameras[FRONT]["decoded"] == 12 - dropped)
        assert feed.cameras[FRONT]["asked"] == 12


def test_what_was_on_its_way_when_time_jumped_is_dropped() -> None:
    with feeding() as (feed, heard):
        stamps = drive(feed, 10, 2.0)
        until(lambda: heard.observations)
        epoch = feed.assembler.epoch
        feed.image(FRONT, compressed(stamps[0]))
        assert feed.assembler.epoch == epoch + 1
        assert [jump.source for jump in heard.jumps] == ["front_wide"]
        settled(feed)
        until(lambda: feed.assembler.camera_statistics(FRONT).newest_ns == stamps[0])
        before = len(heard.observations)
        drive(feed, 10, 2.0)
        until(lambda: len(heard.observations) > before)
