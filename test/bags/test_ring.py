"""The ring: bounded in time and memory, latched topics kept; and the bags that are saved of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.recording import Message, TopicCatalog
from alpamayo_ros.bags.ring import MESSAGE_BYTES, Ring
from alpamayo_ros.bags.snapshots import Snapshots
from alpamayo_ros.bags.writer import BagWriter, DiskFull
from alpamayo_ros.types import InvalidInput

STRING = "std_msgs/msg/String"
SECOND = 10**9


def message(topic: str, at_s: float, data: bytes = b"x") -> Message:
    return Message(topic, round(at_s * SECOND), data)


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.floats(0, 30), min_size=1, max_size=80),
    sizes=st.integers(0, 300),
    limit=st.integers(1, 20_000),
    seconds=st.floats(0.5, 20),
)
def test_what_is_held_is_the_newest_within_time_and_memory(
    times: list[float], sizes: int, limit: int, seconds: float
) -> None:
    ring = Ring(seconds, max_bytes=limit)
    sent = [message("/a", at_s, bytes(sizes)) for at_s in sorted(times)]
    for each in sent:
        ring.put(each)
    held = ring.content()
    assert held == sent[len(sent) - len(held) :]
    assert ring.bytes == len(held) * (sizes + MESSAGE_BYTES) <= limit
    young = [m for m in sent if m.stamp_ns >= sent[-1].stamp_ns - round(seconds * SECOND)]
    assert len(held) == min(len(young), limit // (sizes + MESSAGE_BYTES))


def test_latched_messages_stay_and_come_first() -> None:
    ring = Ring(2.0, max_bytes=10**6)
    ring.latch("/tf_static", 100)
    ring.latch("/instruction", 1)
    for i in range(3):
        ring.put(message("/tf_static", i, b"transform %d" % i))
    ring.put(message("/tf_static", 3, b"transform 0"))  # said again
    for i in range(4):
        ring.put(message("/instruction", 4 + i, b"turn %d" % i))
    for i in range(100, 111):
        ring.put(message("/a", i))
    held = ring.content()
    assert [(m.topic, m.data) for m in held[:4]] == [
        ("/tf_static", b"transform 1"),
        ("/tf_static", b"transform 2"),
        ("/tf_static", b"transform 0"),
        ("/instruction", b"turn 3"),
    ]
    assert {m.stamp_ns for m in held[:4]} == {108 * SECOND}, "stamped as the first of the rest"
    assert [m.received_ns for m in held[:4]] == [1 * SECOND, 2 * SECOND, 3 * SECOND, 7 * SECOND]
    assert [m.stamp_ns for m in held[4:]] == [s * SECOND for s in (108, 109, 110)]


def test_a_latched_message_within_the_time_is_there_once() -> None:
    ring = Ring(10.0, max_bytes=10**6)
    ring.latch("/tf_static", 5)
    ring.put(message("/tf_static", 1))
    ring.put(message("/a", 2))
    assert [m.topic for m in ring.content()] == ["/tf_static", "/a"]


def test_latched_messages_take_half_of_the_memory_at_most() -> None:
    ring = Ring(1.0, max_bytes=10_000)
    ring.latch("/map", 10)
    for i in range(8):
        ring.put(message("/map", i, bytes([i]) * 2_000))
    ring.put(message("/map", 8, bytes(9_000)))  # too large by itself
    ring.put(message("/a", 100))
    assert ring.bytes <= 10_000
    assert [m.data[:1] for m in ring.content()][-1] == b"x"
    assert ring.cut_short


def test_a_clock_that_goes_back_begins_anew() -> None:
    ring = Ring(30.0, max_bytes=10**6)
    ring.put(message("/a", 100))
    ring.put(message("/a", 99.9))  # a correction of the clock
    assert len(ring.content()) == 2
    ring.put(message("/a", 5))
    assert [m.stamp_ns for m in ring.content()] == [5 * SECOND]


@pytest.mark.parametrize(("seconds", "size"), [(0.0, 10), (-1.0, 10), (float("nan"), 10), (1.0, 0)])
def test_a_ring_of_nothing_is_refused(seconds: float, size: int) -> None:
    with pytest.raises(InvalidInput, match="ring: expected a positive time and size"):
        Ring(seconds, max_bytes=size)


class Rig:
    """A ring and its snapshots, fed together as the recorder feeds them."""

    def __init__(self, folder: Path, *, seconds: float = 3.0, max_bytes: int = 10**7, **more: Any) -> None:
        self.ring = Ring(seconds, max_bytes=max_bytes)
        catalog = TopicCatalog()
        for topic in ("/a", "/tf_static"):
            catalog.add(topic, STRING)
        more.setdefault("min_free_bytes", 0)
        self.snapshots = Snapshots(folder, self.ring, catalog, **more)
        self.sent: list[Message] = []

    def put(self, topic: str, at_s: float, data: bytes = b"x") -> None:
        self.sent.append(message(topic, at_s, data))
        self.ring.put(self.sent[-1])
        self.snapshots.put(self.sent[-1])

    def wait(self, until: Callable[[], bool], now_s: float) -> None:
        end_s = time.monotonic() + 20
        while not until():
            assert time.monotonic() < end_s
            self.snapshots.tick(round(now_s * SECOND))
            time.sleep(0.01)


def read(path: Path) -> list[tuple[str, int, bytes]]:
    with BagReader(path) as bag:
        assert not bag.unfinished
        return [(m.topic, m.stamp_ns, m.data) for m in bag.messages()]


def test_before_and_after_the_trigger_bit_by_bit(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "ring")
    rig.ring.latch("/tf_static", 5)
    rig.put("/tf_static", 1, b"fixed")
    for i in range(100, 1100):
        rig.put("/a", i / 100, i.to_bytes(8, "little") * 50)
    path = rig.snapshots.trigger("near miss!", stamp_ns=11 * SECOND, after_ns=2 * SECOND)
    assert path.parent == tmp_path / "ring" and path.name.endswith("Z_near_miss")
    assert rig.snapshots.is_saving
    for i in range(1100, 1500):
        rig.put("/a", i / 100, i.to_bytes(8, "little") * 50)
    rig.wait(lambda: rig.snapshots.saved == 1, 15)
    assert not rig.snapshots.is_saving
    expected = [(m.topic, m.stamp_ns, m.data) for m in rig.sent if 799 <= m.stamp_ns / 1e7 < 1300]
    assert read(path) == [("/tf_static", expected[0][1], b"fixed"), *expected]
    told = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert json.loads(told["custom_data"]["triggers"]) == [{"stamp_ns": 11 * SECOND, "label": "near miss!"}]


def test_a_trigger_meanwhile_prolongs_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "ring")
    rig.put("/a", 1)
    first = rig.snapshots.trigger("one", stamp_ns=SECOND, after_ns=2 * SECOND)
    rig.put("/a", 2)
    assert rig.snapshots.trigger("two", stamp_ns=2 * SECOND, after_ns=2 * SECOND) == first
    rig.put("/a", 3.5)
    rig.put("/a", 4.5)
    rig.wait(lambda: rig.snapshots.saved == 1, 4.5)
    assert [s / SECOND for _, s, _ in read(first)] == [1, 2, 3.5]
    told = yaml.safe_load((first / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert [t["label"] for t in json.loads(told["custom_data"]["triggers"])] == ["one", "two"]


def test_each_has_a_folder_of_its_own(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "ring")
    rig.put("/a", 1)
    paths = [rig.snapshots.trigger("", stamp_ns=SECOND, after_ns=0) for _ in range(3)]
    rig.snapshots.close()
    assert len(set(paths)) == 3 and rig.snapshots.saved == 3
    assert all(read(path) == [("/a", SECOND, b"x")] for path in paths)


def test_closing_ends_what_is_being_saved(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "ring")
    rig.put("/a", 1)
    path = rig.snapshots.trigger("", stamp_ns=SECOND, after_ns=3600 * SECOND)
    rig.put("/a", 2)
    rig.snapshots.close()
    assert [s / SECOND for _, s, _ in read(path)] == [1, 2]


def test_a_clock_that_goes_back_ends_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "ring")
    rig.put("/a", 50)
    path = rig.snapshots.trigger("", stamp_ns=50 * SECOND, after_ns=100 * SECOND)
    rig.put("/a", 3)
    rig.wait(lambda: rig.snapshots.saved == 1, 3)
    assert [s / SECOND for _, s, _ in read(path)] == [50]


def test_a_full_disk_is_refused_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "ring", min_free_bytes=2**60)
    rig.put("/a", 1)
    with pytest.raises(DiskFull, match="MiB of free disk space"):
        rig.snapshots.trigger("", stamp_ns=SECOND, after_ns=0)
    assert rig.snapshots.failed == 1 and "free disk space" in rig.snapshots.last_error
    assert not (tmp_path / "ring").exists()


def test_a_folder_that_cannot_be_made_is_told_later(tmp_path: Path) -> None:
    (tmp_path / "ring").write_text("in the way")
    rig = Rig(tmp_path / "ring")
    rig.put("/a", 1)
    rig.snapshots.trigger("", stamp_ns=SECOND, after_ns=0)
    rig.wait(lambda: rig.snapshots.failed == 1, 2)
    assert "expected a folder that can be made" in rig.snapshots.last_error


def test_a_disk_that_is_too_slow_bounds_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    write = BagWriter.write

    def slow(self: BagWriter, *args: Any, **more: Any) -> None:
        assert go_on.wait(20)
        write(self, *args, **more)

    monkeypatch.setattr(BagWriter, "write", slow)
    rig = Rig(tmp_path / "ring", seconds=1000.0, max_bytes=100_000, queue_bytes=20_000)
    for i in range(60):
        rig.put("/a", i, bytes(1_000))
    rig.snapshots.trigger("", stamp_ns=60 * SECOND, after_ns=10 * SECOND)
    for i in range(60, 90):
        rig.put("/a", i, bytes(3_000))
    rig.snapshots.tick(80 * SECOND)
    rig.snapshots.trigger("", stamp_ns=80 * SECOND, after_ns=0)
    with pytest.raises(BagError, match="expected the disk to have written what was saved before"):
        rig.snapshots.trigger("", stamp_ns=81 * SECOND, after_ns=0)
    assert rig.snapshots.waiting_bytes <= 220_000
    go_on.set()
    rig.snapshots.close()
    assert (rig.snapshots.saved, rig.snapshots.failed) == (1, 2)
