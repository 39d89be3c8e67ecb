"""Files of a bag: splits without loss, the size that ends it, chunks, and what other readers make of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import Reader

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.mcap_file import ChunkOptions, McapFile, is_compressed
from alpamayo_ros.bags.mcap_records import COMPRESSIONS, Channel, Schema
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.typestore import base_typestore, definition_of
from alpamayo_ros.bags.writer import BagWriter, SizeReached, WriteOptions
from alpamayo_ros.types import InvalidInput

STRING, IMAGE = "std_msgs/msg/String", "sensor_msgs/msg/CompressedImage"
TOPICS = {"/text": STRING, "/image": IMAGE, "/other": STRING}
DEFINITIONS = {kind: definition_of(base_typestore(), kind) for kind in (STRING, IMAGE)}
Sent = list[tuple[str, int, bytes]]


def messages(count: int, *, size: int = 500, step_ns: int = 10**7, seed: int = 0) -> Sent:
    draw = random.Random(seed)
    names = list(TOPICS)
    return [(draw.choice(names), (i + 1) * step_ns, draw.randbytes(size)) for i in range(count)]


def write(path: Path, sent: Sent, options: WriteOptions) -> BagWriter:
    with BagWriter(path, options=options) as writer:
        for topic, kind in TOPICS.items():
            writer.add_topic(topic, kind, definition=DEFINITIONS[kind])
        for topic, stamp_ns, data in sent:
            writer.write(topic, stamp_ns, data)
    return writer


def read(path: Path) -> Sent:
    with BagReader(path) as bag:
        assert not bag.unfinished
        return [(m.topic, m.stamp_ns, m.data) for m in bag.messages()]


@settings(max_examples=10, deadline=None)
@given(
    count=st.integers(0, 40),
    split_bytes=st.sampled_from([0, 1, 2_000, 20_000]),
    split_ns=st.sampled_from([0, 1, 10**8]),
    chunk=st.sampled_from([1, 3_000, 2**20]),
    compression=st.sampled_from(COMPRESSIONS),
)
def test_splits_lose_and_repeat_nothing(
    count: int,
    split_bytes: int,
    split_ns: int,
    chunk: int,
    compression: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("any") / "bag"
    sent = messages(count)
    options = WriteOptions(ChunkOptions(compression, max_bytes=chunk), split_bytes, split_ns)
    writer = write(path, sent, options)
    assert writer.message_count == count
    assert read(path) == sent
    with Reader(path) as library:
        assert [(c.topic, s, bytes(d)) for c, s, d in library.messages()] == sent


def test_metadata_tells_each_files_messages_and_times(tmp_path: Path) -> None:
    sent = messages(100, step_ns=10**8)  # ten seconds
    write(tmp_path / "bag", sent, WriteOptions(split_ns=3 * 10**9))
    told = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert told["relative_file_paths"] == [f"bag_{i}.mcap" for i in range(4)]
    assert [f["message_count"] for f in told["files"]] == [30, 30, 30, 10]
    starts = [f["starting_time"]["nanoseconds_since_epoch"] for f in told["files"]]
    assert starts == [10**8, 31 * 10**8, 61 * 10**8, 91 * 10**8]
    assert told["files"][1]["duration"]["nanoseconds"] == 29 * 10**8
    assert told["duration"]["nanoseconds"] == 99 * 10**8
    counts = {t["topic_metadata"]["name"]: t["message_count"] for t in told["topics_with_message_count"]}
    assert counts == {name: sum(topic == name for topic, _, _ in sent) for name in TOPICS}


def test_every_file_is_near_its_size_and_whole_by_itself(tmp_path: Path) -> None:
    sent = messages(400, size=5_000)
    write(tmp_path / "bag", sent, WriteOptions(ChunkOptions(max_bytes=50_000), split_bytes=300_000))
    files = sorted((tmp_path / "bag").glob("*.mcap"))
    assert len(files) == 7
    parts: Sent = []
    for file in files:
        parts += read(file)
        assert file.stat().st_size < 330_000  # with its index
    assert parts == sent


def test_topics_may_come_after_a_split(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", options=WriteOptions(split_ns=10)) as writer:
        writer.add_topic("/text", STRING)
        for stamp_ns in (1, 20):
            writer.write("/text", stamp_ns, b"a")
        writer.add_topic("/other", STRING)
        for stamp_ns in (21, 40):
            writer.write("/other", stamp_ns, b"b")
    assert writer.file_count == 3
    assert [(t, s) for t, s, _ in read(tmp_path / "bag")] == [
        ("/text", 1), ("/text", 20), ("/other", 21), ("/other", 40)
    ]  # fmt: skip


def test_the_mcap_library_finds_every_checksum_right(tmp_path: Path) -> None:
    mcap_reader = pytest.importorskip("mcap.reader", reason="mcap comes with pip, not with package.xml")
    for compression in COMPRESSIONS:
        sent = messages(200, size=3_000)
        write(tmp_path / compression, sent, WriteOptions(ChunkOptions(compression, max_bytes=100_000)))
        with (tmp_path / compression / f"{compression}_0.mcap").open("rb") as file:
            reader = mcap_reader.make_reader(file, validate_crcs=True)
            summary = reader.get_summary()
            assert summary.statistics.message_count == 200
            assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 4
            seen = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
        assert seen == sent
        with (tmp_path / compression / f"{compression}_0.mcap").open("rb") as file:
            in_sequence = mcap_reader.NonSeekingReader(file, validate_crcs=True)
            assert [(c.topic, m.log_time, m.data) for _, c, m in in_sequence.iter_messages()] == sent


def test_what_is_compressed_already_is_stored_as_it_is(tmp_path: Path) -> None:
    assert is_compressed(IMAGE)
    assert not is_compressed("sensor_msgs/msg/Image")
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/text", STRING)
        writer.add_topic("/image", IMAGE)
        for stamp_ns in range(1, 100):
            writer.write("/text", stamp_ns, b"text " * 200)
            writer.write("/image", stamp_ns, b"jpeg " * 200)
    data = (tmp_path / "bag" / "bag_0.mcap").read_bytes()
    assert data.count(b"jpeg jpeg") > 50 * 99
    assert b"text text text text text " * 3 not in data
    assert len(read(tmp_path / "bag")) == 198


def test_what_does_not_shrink_is_not_packed(tmp_path: Path) -> None:
    write(tmp_path / "bag", messages(50, size=10_000), WriteOptions())
    data = (tmp_path / "bag" / "bag_0.mcap").read_bytes()
    assert all(m in data for _, _, m in messages(50, size=10_000))


def test_a_bag_ends_at_its_size(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag", options=WriteOptions(max_bytes=100_000))
    writer.add_topic("/text", STRING)
    with pytest.raises(SizeReached, match="expected at most"):
        for stamp_ns in range(1, 1000):
            writer.write("/text", stamp_ns, bytes(10_000))
    writer.close()
    assert [s for _, s, _ in read(tmp_path / "bag")] == list(range(1, 10))


def test_a_chunk_is_on_disk_when_its_time_is_over(tmp_path: Path) -> None:
    now = [0]
    file = McapFile(tmp_path / "a.mcap", options=ChunkOptions(max_ns=10), clock_ns=lambda: now[0])
    file.add(Schema(1, STRING, "ros2msg", b"string data\n"), Channel(1, 1, "/a", "cdr", {}))
    file.write(1, 5, 5, b"first")
    now[0] = 9
    file.flush_due()
    assert (file.summary.message_count, file.message_count) == (0, 1)
    now[0] = 10
    file.flush_due()
    assert file.summary.message_count == 1
    assert file.size == (tmp_path / "a.mcap").stat().st_size
    file.flush()
    file.close()


def test_options_are_checked() -> None:
    with pytest.raises(InvalidInput, match=r"compression: expected one of zstd, lz4, none, got 'zip'"):
        ChunkOptions("zip")
    with pytest.raises(InvalidInput, match="chunks: expected a positive size"):
        ChunkOptions(max_bytes=0)
    with pytest.raises(BagError, match="split_bytes: expected 0 or more, got -1"):
        WriteOptions(split_bytes=-1)
