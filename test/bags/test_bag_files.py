"""Reading and writing recordings: what comes back, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import StoragePlugin, Writer

from alpamayo_ros.bags import writer as writer_module
from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.qos import make_qos
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.typestore import (
    base_typestore,
    definition_of,
    ensure_type,
    find_message_file,
    installed_hash,
)
from alpamayo_ros.bags.writer import BagWriter, DiskFull

STRING = "std_msgs/msg/String"


def text(store: object, value: str) -> bytes:
    message = store.types[STRING](data=value)  # type: ignore[attr-defined]
    return bytes(store.serialize_cdr(message, STRING))  # type: ignore[attr-defined]


def write(path: Path, values: list[tuple[int, str]]) -> None:
    with BagWriter(path) as writer:
        writer.add_topic("/text", STRING)
        for stamp_ns, value in values:
            writer.write("/text", stamp_ns, text(writer.typestore, value))


@settings(max_examples=15, deadline=None)
@given(values=st.lists(st.tuples(st.integers(1, 2**60), st.text(st.characters(codec="ascii"), max_size=50))))
def test_what_is_written_comes_back_in_the_order_of_stamps(
    values: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "bag"
    write(path, values)
    with BagReader(path) as bag:
        back = [(m.stamp_ns, bag.decode(m).data) for m in bag.messages()]
        assert bag.message_count == len(values)
        assert (bag.start_ns, bag.end_ns) == ((back[0][0], back[-1][0]) if back else (0, 0))
    assert sorted(back) == sorted(values)
    assert [s for s, _ in back] == sorted(s for s, _ in values)


def test_offered_qos_and_type_hashes_are_stored_as_every_ros2_reads_them(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic(
            "/tf_static", "tf2_msgs/msg/TFMessage", qos=[make_qos(depth=1, transient_local=True)]
        )
        writer.add_topic("/image", "sensor_msgs/msg/Image", qos=[make_qos(depth=5, reliable=False)])
        writer.add_topic("/plan", "alpamayo_ros/msg/Plan")
    metadata = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["version"] == 8  # the newest that Humble reads
    topics = {t["topic_metadata"]["name"]: t["topic_metadata"] for t in metadata["topics_with_message_count"]}
    profile = yaml.safe_load(topics["/tf_static"]["offered_qos_profiles"])[0]
    assert profile["durability"] == 1
    assert profile["deadline"] == {"sec": 9223372036, "nsec": 854775807}
    for topic in topics.values():
        assert topic["type_description_hash"] == installed_hash(topic["type"])
    for path in (tmp_path / "bag", tmp_path / "bag" / "bag_0.mcap"):  # the file alone tells it too
        with BagReader(path) as bag:
            assert bag.topics["/tf_static"].qos[0].durability == QosDurability.TRANSIENT_LOCAL
            assert bag.topics["/image"].qos[0].reliability == QosReliability.BEST_EFFORT


@pytest.mark.parametrize(
    "type_name",
    [
        "alpamayo_ros/msg/Plan",
        "tf2_msgs/msg/TFMessage",
        "sensor_msgs/msg/CompressedImage",
        "nav_msgs/msg/Odometry",
        "diagnostic_msgs/msg/DiagnosticArray",
    ],
)
def test_type_hashes_are_those_of_the_installed_messages(type_name: str) -> None:
    assert installed_hash(type_name) is not None
    assert definition_of(base_typestore(), type_name).rihs01 == installed_hash(type_name)


def test_mcap_library_reads_what_we_write(tmp_path: Path) -> None:
    mcap_reader = pytest.importorskip("mcap.reader", reason="mcap comes with pip, not with package.xml")
    write(tmp_path / "bag", [(1, "a"), (2, "b")])
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as file:
        reader = mcap_reader.make_reader(file)
        seen = [(s.name, s.encoding, c.topic, m.log_time) for s, c, m in reader.iter_messages()]
    assert seen == [(STRING, "ros2msg", "/text", 1), (STRING, "ros2msg", "/text", 2)]


def test_sqlite3_is_read_as_folder_and_as_file(tmp_path: Path) -> None:
    store = base_typestore()
    with Writer(tmp_path / "old", version=8, storage_plugin=StoragePlugin.SQLITE3) as library:
        connection = library.add_connection("/text", STRING, typestore=store)
        library.write(connection, 7, text(store, "hello"))
    for path in (
        tmp_path / "old",
        next((tmp_path / "old").glob("*.db3")),
        tmp_path / "old" / "metadata.yaml",
    ):
        with BagReader(path) as bag:
            assert [bag.decode(m).data for m in bag.messages()] == ["hello"]
            assert bag.definition(STRING) == definition_of(store, STRING)


def test_a_folder_without_metadata_is_read_if_it_holds_one_recording(tmp_path: Path) -> None:
    write(tmp_path / "bag", [(1, "a")])
    (tmp_path / "bag" / "metadata.yaml").unlink()
    with BagReader(tmp_path / "bag") as bag:
        assert bag.message_count == 1
        definition = bag.definition(STRING)
        assert definition is not None
        assert definition.rihs01 == installed_hash(STRING)
    shutil.copy(tmp_path / "bag" / "bag_0.mcap", tmp_path / "bag" / "second.mcap")
    with pytest.raises(BagError, match="with 2 such files"):
        BagReader(tmp_path / "bag")


def test_topics_and_times_select(tmp_path: Path) -> None:
    write(tmp_path / "bag", [(10, "a"), (20, "b"), (30, "c")])
    with BagReader(tmp_path / "bag") as bag:
        assert [m.stamp_ns for m in bag.messages(["/text"], start_ns=20)] == [20, 30]
        assert [m.stamp_ns for m in bag.messages(stop_ns=20)] == [10]
        assert list(bag.messages(["/nothing"])) == []


def test_kitti_bag_is_read(bags_dir: Path) -> None:
    with BagReader(bags_dir / "kitti_raw_0001_street") as bag:
        assert bag.message_count == 1418
        assert bag.topics["/odom"].count == 553
        images = list(bag.messages(["/camera/front/image/compressed"]))
        assert bag.decode(images[0]).format


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: None, "no such file or folder"),
        (lambda p: p.mkdir(), "without it and with 0 such files"),
        (lambda p: p.write_bytes(b""), "got a nameless file"),
    ],
)
def test_what_is_no_bag_is_refused(tmp_path: Path, make: object, expected: str) -> None:
    path = tmp_path / "thing"
    make(path)  # type: ignore[operator]
    with pytest.raises(BagError, match=expected):
        BagReader(path)


def test_ros1_bags_and_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BagError, match="ROS 1 bag"):
        BagReader(tmp_path / "old.bag")
    (tmp_path / "video.mp4").write_bytes(b"x")
    with pytest.raises(BagError, match=r"got a \.mp4 file"):
        BagReader(tmp_path / "video.mp4")


@pytest.mark.parametrize("keep", [0, 5])
def test_a_file_without_its_beginning_is_refused(drive_bag: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.mcap").write_bytes(next(drive_bag.glob("*.mcap")).read_bytes()[:keep])
    with pytest.raises(BagError, match="expected an MCAP file"):
        BagReader(tmp_path / "cut.mcap")


def test_damage_inside_is_reported_when_it_is_reached(drive_bag: Path, tmp_path: Path) -> None:
    data = bytearray(next(drive_bag.glob("*.mcap")).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = b"\xff" * 4000
    (tmp_path / "hurt.mcap").write_bytes(data)
    with pytest.raises(BagError, match=r"hurt\.mcap: expected"), BagReader(tmp_path / "hurt.mcap") as bag:
        for message in bag.messages():
            bag.decode(message)


def test_broken_metadata_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "bag", [(1, "a")])
    for content in ("{", "rosbag2_bagfile_information: {version: 99}", "[]"):
        (tmp_path / "bag" / "metadata.yaml").write_text(content)
        with pytest.raises(BagError, match="expected a readable recording"):
            BagReader(tmp_path / "bag")


def test_missing_topics_are_named_with_what_there_is(drive_bag: Path) -> None:
    with BagReader(drive_bag) as bag, pytest.raises(BagError) as error:
        bag.require_topics(["/odom", "/lidar"], why="the topics of a test")
    assert "got no messages on /lidar" in str(error.value)
    assert "/camera/front_wide/image/compressed  sensor_msgs/msg/CompressedImage  31 messages" in str(
        error.value
    )


def test_a_writer_overwrites_nothing_and_knows_its_topics(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    with pytest.raises(BagError, match="nothing is overwritten"):
        BagWriter(tmp_path / "bag")
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match="can be made"):
        BagWriter(tmp_path / "file" / "bag")
    with BagWriter(tmp_path / "new") as writer:
        with pytest.raises(BagError, match="expected a topic that was added, got /text"):
            writer.write("/text", 1, b"")
        writer.add_topic("/text", STRING)
        writer.add_topic("/text", STRING)
        with pytest.raises(BagError, match="expected std_msgs/msg/String on /text"):
            writer.add_topic("/text", "std_msgs/msg/Bool")
        with pytest.raises(BagError, match=r"expected its \.msg file"):
            writer.add_topic("/other", "nobody_msgs/msg/Thing")
        with pytest.raises(BagError, match="expected PACKAGE/msg/NAME"):
            writer.add_topic("/other", "Thing")


def test_a_full_disk_ends_with_a_readable_bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    free = [10 * 2**30]
    monkeypatch.setattr(writer_module.shutil, "disk_usage", lambda path: usage(0, 0, free[0]))
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/text", STRING)
    message = text(writer.typestore, "x" * 2**20)
    with pytest.raises(DiskFull, match="expected at least 64 MiB of free disk space, got 63 MiB"):
        for stamp_ns in range(1, 100):
            writer.write("/text", stamp_ns, message)
            free[0] = 63 * 2**20
    writer.close()
    with BagReader(tmp_path / "bag") as bag:
        assert len(list(bag.messages())) == bag.message_count == writer.message_count > 0
    with pytest.raises(DiskFull):
        BagWriter(tmp_path / "another")


def test_an_error_of_the_disk_itself_is_named(tmp_path: Path) -> None:
    script = """
import random, resource, signal, sys
from alpamayo_ros.bags.writer import BagWriter, DiskFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = BagWriter(sys.argv[1])
writer.add_topic("/text", "std_msgs/msg/String")
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    for stamp_ns in range(1, 100):
        writer.write("/text", stamp_ns, random.randbytes(1_000_000))
except DiskFull as error:
    print("refused:", error)
try:
    writer.close()
except DiskFull as error:
    print("index:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "bag")], capture_output=True, text=True, check=True
    )
    assert "refused: bag" in done.stdout, done
    assert "File too large" in done.stdout


def test_other_packages_messages_are_found_where_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share" / "car_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Wheel.msg").write_text("float32 speed\nHub[2] hubs\n")
    (folder / "Hub.msg").write_text("std_msgs/Header header\nuint8[] raw\n")
    (folder / "Bad.msg").write_text("}{ not a message\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path), prepend=os.pathsep)
    store = base_typestore()
    definition = definition_of(store, "car_msgs/msg/Wheel")
    assert "MSG: car_msgs/Hub" in definition.text
    assert definition.rihs01.startswith("RIHS01_")
    with pytest.raises(BagError, match="Bad: expected a definition"):
        ensure_type(store, "car_msgs/msg/Bad")
    assert find_message_file("alpamayo_ros/msg/Plan") is not None


def test_a_bags_own_definition_wins_over_the_installed_one(tmp_path: Path) -> None:
    """A recording stays readable when a message has changed since."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    name = "alpamayo_ros/msg/StageTimes"
    old = get_typestore(Stores.EMPTY)
    old.register(get_types_from_msg("float32 total_ms\nfloat32 gone_ms\n", name))
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/times", name, definition=definition_of(old, name))
        message = old.types[name](total_ms=1.5, gone_ms=2.5)
        writer.write("/times", 1, old.serialize_cdr(message, name))
    with BagReader(tmp_path / "bag") as bag:
        assert bag.topics["/times"].rihs01 != installed_hash(name)
        content = bag.decode(next(iter(bag.messages())))
    assert np.isclose(content.gone_ms, 2.5)


def test_the_installed_hash_of_an_unknown_or_odd_package_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert installed_hash("nobody_msgs/msg/Thing") is None
    folder = tmp_path / "share" / "odd_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Thing.json").write_text(json.dumps({"type_hashes": []}))
    assert installed_hash("odd_msgs/msg/Thing") is None
