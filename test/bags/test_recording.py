"""The writer thread: order, bounded memory, dropped messages, a disk that fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.recording import BagRecording
from alpamayo_ros.bags.writer import BagWriter, DiskFull

STRING = "std_msgs/msg/String"


def test_messages_of_many_threads_are_all_written(tmp_path: Path) -> None:
    recording = BagRecording(tmp_path / "bag")
    topics = [f"/t{i}" for i in range(4)]

    def feed(topic: str) -> None:
        recording.add_topic(topic, STRING)
        for stamp_ns in range(1, 201):
            assert recording.put(topic, stamp_ns, b"\x00\x01\x00\x00\x01\x00\x00\x00\x00")

    threads = [threading.Thread(target=feed, args=(t,)) for t in topics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recording.close()
    recording.close()
    assert recording.error is None
    assert recording.written == 800
    with BagReader(tmp_path / "bag") as bag:
        for topic in topics:
            assert [m.stamp_ns for m in bag.messages([topic])] == list(range(1, 201))


def test_a_slow_disk_costs_messages_not_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    write = BagWriter.write

    def slow(self: BagWriter, topic: str, stamp_ns: int, data: bytes, **_: object) -> None:
        assert go_on.wait(20)
        write(self, topic, stamp_ns, data)

    monkeypatch.setattr(BagWriter, "write", slow)
    recording = BagRecording(tmp_path / "bag", queue_bytes=5_000)
    recording.add_topic("/a", STRING)
    accepted = [recording.put("/a", stamp_ns, bytes(1_000)) for stamp_ns in range(1, 31)]
    go_on.set()
    recording.close()
    assert 5 <= sum(accepted) <= 7
    assert recording.received["/a"] == 30
    assert recording.dropped["/a"] == 30 - sum(accepted) == 30 - recording.written
    assert recording.error is None


def test_a_message_larger_than_the_queue_is_still_written(tmp_path: Path) -> None:
    recording = BagRecording(tmp_path / "bag", queue_bytes=10)
    recording.add_topic("/a", STRING)
    assert recording.put("/a", 1, bytes(1_000))
    recording.close()
    assert recording.written == 1


def test_a_full_disk_ends_the_recording_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = BagRecording(tmp_path / "bag")
    recording.add_topic("/a", STRING)
    write = BagWriter.write

    def full(self: BagWriter, topic: str, stamp_ns: int, data: bytes, **_: object) -> None:
        if stamp_ns > 10:
            raise DiskFull("no space")
        write(self, topic, stamp_ns, data)

    monkeypatch.setattr(BagWriter, "write", full)
    for stamp_ns in range(1, 31):
        recording.put("/a", stamp_ns, bytes(100))
    recording.close()
    assert isinstance(recording.error, DiskFull)
    assert recording.written == 10
    assert recording.dropped["/a"] == 20
    with BagReader(tmp_path / "bag") as bag:
        assert bag.message_count == 10


def test_after_closing_nothing_is_taken(tmp_path: Path) -> None:
    recording = BagRecording(tmp_path / "bag")
    recording.add_topic("/a", STRING)
    recording.close()
    assert not recording.put("/a", 1, b"")
    with pytest.raises(BagError):
        BagRecording(tmp_path / "bag")
