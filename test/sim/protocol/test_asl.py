"""Reading and writing .asl logs: AlpaSim's own, ours, and broken ones."""

from __future__ import annotations

import struct
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from alpamayo_ros.sim.protocol.asl import (
    BrokenLog,
    read_entries,
    unknown_fields,
    write_entries,
)
from alpamayo_ros.sim.protocol.generated import common_pb2, logging_pb2, sensorsim_pb2
from alpamayo_ros.types import InvalidInput

GOLDEN_ENTRIES = {
    "render_request": 124,
    "driver_camera_image": 124,
    "actor_poses": 32,
    **dict.fromkeys(
        (
            "driver_ego_trajectory",
            "route_request",
            "driver_request",
            "driver_return",
            "controller_request",
            "controller_return",
        ),
        30,
    ),
    **dict.fromkeys(
        (
            "rollout_metadata",
            "available_cameras_request",
            "available_cameras_return",
            "driver_session_request",
            "traffic_session_request",
            "available_ego_masks_request",
            "available_ego_masks_return",
        ),
        1,
    ),
}


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Path:
    return golden_dir / "alpasim" / "rollout.asl"


@pytest.fixture(scope="module")
def entries(golden: Path) -> list[logging_pb2.LogEntry]:
    return list(read_entries(golden))


def test_alpasims_log_is_read_to_the_last_field(entries: list[logging_pb2.LogEntry]) -> None:
    assert Counter(entry.WhichOneof("log_entry") for entry in entries) == GOLDEN_ENTRIES
    assert sum(GOLDEN_ENTRIES.values()) == len(entries) == 467
    assert [path for entry in entries for path in unknown_fields(entry)] == []


def test_alpasims_log_is_written_back_byte_by_byte(
    golden: Path, entries: list[logging_pb2.LogEntry], tmp_path: Path
) -> None:
    write_entries(tmp_path / "again.asl", entries)
    assert (tmp_path / "again.asl").read_bytes() == golden.read_bytes()


def test_unknown_fields_are_found_wherever_they_are(entries: list[logging_pb2.LogEntry]) -> None:
    # The check of the golden log proves nothing unless it can fail.
    request = next(entry for entry in entries if entry.HasField("render_request"))
    as_empty = common_pb2.Empty.FromString(request.SerializeToString())
    assert not as_empty.ListFields() and unknown_fields(as_empty) == ["3"]

    stranger = common_pb2.VersionId(version_id="x")  # fields 1 ... 3
    with_three = common_pb2.Vec3(x=1.0).SerializeToString() + b"\x9a\x06\x01!"  # field 99, bytes
    assert unknown_fields(common_pb2.Vec3.FromString(with_three)) == ["99"]
    changed = logging_pb2.LogEntry()
    changed.CopyFrom(request)
    target = changed.render_request
    target.dynamic_objects[1].pose_pair.end_pose.vec.MergeFromString(b"\x9a\x06\x01!")
    target.camera_intrinsics.ftheta_param.linear_cde.MergeFromString(b"\x9a\x06\x01!\xa0\x06\x05")
    reread = logging_pb2.LogEntry.FromString(changed.SerializeToString())
    assert unknown_fields(reread) == [
        "render_request.camera_intrinsics.ftheta_param.linear_cde.99",
        "render_request.camera_intrinsics.ftheta_param.linear_cde.100",
        "render_request.dynamic_objects[1].pose_pair.end_pose.vec.99",
    ]
    assert reread.SerializeToString() == changed.SerializeToString(), "they are kept all the same"
    assert unknown_fields(stranger) == []


def test_an_entry_of_an_unknown_type_is_found(tmp_path: Path) -> None:
    data = b"\xfa\x01\x03abc"  # field 31, of a version to come
    path = tmp_path / "newer.asl"
    path.write_bytes(struct.pack(">I", len(data)) + data)
    (entry,) = read_entries(path)
    assert entry.WhichOneof("log_entry") is None and unknown_fields(entry) == ["31"]


def test_written_entries_are_read_back(tmp_path: Path) -> None:
    wanted = [
        logging_pb2.LogEntry(available_ego_masks_request=common_pb2.Empty()),
        logging_pb2.LogEntry(video_model_chunk_return=b"\x00\xff"),
        logging_pb2.LogEntry(
            batch_render_request=sensorsim_pb2.BatchRGBRenderRequest(
                items=[sensorsim_pb2.BatchRGBRenderRequestItem(camera_name="a")]
            )
        ),
    ]
    path = tmp_path / "log.asl"
    write_entries(path, iter(wanted))
    assert list(read_entries(path)) == wanted


@pytest.mark.parametrize("keep", [1, 3, 4, 5, 200])
def test_a_log_that_was_cut_off_says_where(golden: Path, keep: int, tmp_path: Path) -> None:
    """A crash leaves a part of the last entry: of its length, or of what follows."""
    data = golden.read_bytes()
    offset = 0
    for _ in range(100):
        offset += 4 + int.from_bytes(data[offset : offset + 4], "big")
    path = tmp_path / "cut.asl"
    path.write_bytes(data[: offset + keep])
    read = []
    with pytest.raises(BrokenLog, match=rf"entry 100 at byte {offset}: expected \d+ bytes") as caught:
        read.extend(read_entries(path))
    assert (caught.value.entry, caught.value.offset_byte, caught.value.cut_off) == (100, offset, True)
    path.write_bytes(data[:offset])
    assert len(list(read_entries(path))) == 100, "cut between two entries, nobody can tell"


@pytest.mark.parametrize(
    ("tail", "words", "cut_off"),
    [
        (b"\x00\x10\x00\x00" + b"x" * 100, "expected 1048576 bytes, got the last 100", True),
        (
            b"\xff\xff\xff\xff" + b"x" * 100,
            "expected a length of 1 ... 2147483647 bytes, got 4294967295",
            False,
        ),
        (b"\x00\x00\x00\x00" * 8, "expected a length of 1 ... 2147483647 bytes, got 0", False),
        (b"\x00\x00\x00\x03\xff\xff\xff", "expected a LogEntry of 3 bytes, got other bytes", False),
    ],
)
def test_other_bytes_are_no_entry_and_cost_no_memory(
    tail: bytes, words: str, cut_off: bool, tmp_path: Path
) -> None:
    path = tmp_path / "log.asl"
    write_entries(path, [logging_pb2.LogEntry(video_model_session_id=b"abc")])
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + tail)
    entries = read_entries(path)
    next(entries)
    with pytest.raises(BrokenLog, match=f"entry 1 at byte {size}: {words}") as caught:
        next(entries)
    assert caught.value.cut_off is cut_off


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected an \.asl file, got .*nothing \(not there\)"):
        next(read_entries(tmp_path / "nothing"))
    with pytest.raises(InvalidInput, match=r"expected an \.asl file"):
        next(read_entries(tmp_path))
    (tmp_path / "empty.asl").touch()
    with pytest.raises(InvalidInput, match="expected entries, got an empty file"):
        next(read_entries(tmp_path / "empty.asl"))


def test_a_log_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    path, megabyte = tmp_path / "long.asl", 2**20
    write_entries(path, (logging_pb2.LogEntry(video_model_session_id=bytes(megabyte)) for _ in range(40)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_entries(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 40 and peak < 5 * megabyte
