"""Recordings that nobody closed: killed writers, full disks, files cut anywhere; read and repaired."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import Reader

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.mcap_file import ChunkOptions
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.unfinished import parts_of, repair
from alpamayo_ros.bags.writer import BagWriter, DiskFull, WriteOptions
from alpamayo_ros.cli.main import main

STRING, IMAGE = "std_msgs/msg/String", "sensor_msgs/msg/CompressedImage"
Sent = list[tuple[str, int, bytes]]
COUNT = 600


def messages() -> Sent:
    draw = random.Random(1)
    return [
        ("/text" if i % 3 else "/image", (i + 1) * 1000, draw.randbytes(draw.randint(1, 900)))
        for i in range(COUNT)
    ]


@pytest.fixture(scope="module")
def abandoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files, the last of them not closed, no metadata.yaml."""
    folder = tmp_path_factory.mktemp("abandoned") / "bag"
    options = WriteOptions(ChunkOptions(max_bytes=4_000), split_bytes=100_000)
    writer = BagWriter(folder, options=options)
    writer.add_topic("/text", STRING)
    writer.add_topic("/image", IMAGE)
    for topic, stamp_ns, data in messages():
        writer.write(topic, stamp_ns, data)
    shutil.copytree(folder, folder.parent / "left" / "bag")
    writer.close()
    return folder.parent / "left" / "bag"


def read(path: Path) -> Sent:
    with BagReader(path) as bag:
        found = [(m.topic, m.stamp_ns, m.data) for m in bag.messages()]
        assert bag.message_count == len(found)
        assert sum(t.count for t in bag.topics.values()) == len(found)
        if found:
            assert (bag.start_ns, bag.end_ns) == (found[0][1], found[-1][1])
    return found


def test_all_but_the_open_chunks_is_read(abandoned: Path) -> None:
    sent = messages()
    found = read(abandoned)
    assert set(found) <= set(sent)
    # Two chunks were open, of 4000 bytes each.
    assert sum(len(data) for _, _, data in set(sent) - set(found)) < 8_000
    with BagReader(abandoned) as bag:
        assert bag.unfinished == {"bag_2.mcap": ""}
        assert bag.definition(STRING) is not None
    assert not (abandoned / "metadata.yaml").exists(), "reading writes nothing"


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(200, 10**6))
def test_a_file_cut_anywhere_is_read_up_to_there_and_repaired(
    abandoned: Path, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every chunk that is whole in the file is read, whatever follows it."""
    folder = tmp_path_factory.mktemp("cut")
    whole = (abandoned / "bag_2.mcap").read_bytes()
    length = 3_000 + cut % (len(whole) - 3_000)
    file = folder / "bag_2.mcap"
    file.write_bytes(whole[:length])
    found = read(file)
    sent = [m for m in messages() if m in set(found)]
    assert found == sent
    mcap_stream = pytest.importorskip("mcap.stream_reader", reason="mcap comes with pip")
    with file.open("rb") as opened:
        stream = mcap_stream.StreamReader(opened, emit_chunks=True, skip_magic=False, validate_crcs=True)
        chunks = 0
        try:
            for record in stream.records:
                chunks += type(record).__name__ == "Chunk"
        except Exception:  # where it was cut
            pass
    (repaired,) = repair(file)
    assert not repaired.was_complete
    assert repaired.messages == len(found)
    assert read(file) == found
    mcap_reader = pytest.importorskip("mcap.reader")
    with file.open("rb") as opened:
        reader = mcap_reader.make_reader(opened, validate_crcs=True)
        assert [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()] == found
        assert reader.get_summary().statistics.chunk_count == chunks
    (again,) = repair(file)
    assert again.was_complete


def test_repair_makes_a_folder_that_others_read(abandoned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(abandoned, tmp_path / "bag")
    before = read(folder)
    assert [r.was_complete for r in repair(folder)] == [True, True, False]
    assert read(folder) == before
    with Reader(folder) as library:
        assert [(c.topic, s, bytes(d)) for c, s, d in library.messages()] == before
        hashes = {c.digest for c in library.connections}
    assert all(h.startswith("RIHS01_") for h in hashes)
    assert not list(folder.glob("*.cut"))


def test_a_torn_end_is_kept_beside_the_file(abandoned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(abandoned, tmp_path / "bag")
    file = folder / "bag_2.mcap"
    torn = file.read_bytes()[:-700]
    file.write_bytes(torn)
    repaired = repair(folder)[-1]
    assert repaired.problem == "a record that is cut off"
    cut = (folder / "bag_2.mcap.cut").read_bytes()
    assert len(cut) == repaired.cut_bytes > 0
    assert torn.endswith(cut)


def test_zeros_at_the_end_as_a_power_cut_leaves_them(abandoned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(abandoned, tmp_path / "bag")
    before = read(folder)
    with (folder / "bag_2.mcap").open("ab") as file:
        file.write(bytes(5_000))
    assert read(folder) == before
    assert repair(folder)[-1].problem == "zeros"
    assert not list(folder.glob("*.cut"))
    assert read(folder) == before


def test_an_empty_file_where_the_next_was_to_begin(abandoned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(abandoned, tmp_path / "bag")
    (folder / "bag_3.mcap").touch()
    before = read(folder)
    assert before == read(abandoned)
    assert [r.name for r in repair(folder)] == ["bag_0.mcap", "bag_1.mcap", "bag_2.mcap"]
    assert read(folder) == before


def test_a_chunk_that_is_damaged_ends_it(abandoned: Path, tmp_path: Path) -> None:
    data = bytearray((abandoned / "bag_2.mcap").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.mcap").write_bytes(data)
    found = read(tmp_path / "a.mcap")
    assert found and set(found) < set(messages())
    with BagReader(tmp_path / "a.mcap") as bag:
        (problem,) = bag.unfinished.values()
    assert problem


def test_a_recording_in_progress_is_read_but_not_repaired(tmp_path: Path) -> None:
    options = WriteOptions(ChunkOptions(max_bytes=100))
    with BagWriter(tmp_path / "bag", options=options) as writer:
        writer.add_topic("/text", STRING)
        writer.write("/text", 1, bytes(200))
        assert [s for _, s, _ in read(tmp_path / "bag")] == [1]
        with pytest.raises(BagError, match="expected a recording that has ended, got one in progress"):
            repair(tmp_path / "bag")
        writer.write("/text", 2, bytes(200))
    assert [s for _, s, _ in read(tmp_path / "bag")] == [1, 2]


def test_what_belongs_together(abandoned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(abandoned, tmp_path / "bag")
    assert [p.name for p in parts_of(folder)] == ["bag_0.mcap", "bag_1.mcap", "bag_2.mcap"]
    (folder / "bag_0.mcap").rename(folder / "bag_10.mcap")
    assert [p.name for p in parts_of(folder)] == ["bag_1.mcap", "bag_2.mcap", "bag_10.mcap"]
    shutil.copy(folder / "bag_1.mcap", folder / "other_0.mcap")
    assert parts_of(folder) == []
    with pytest.raises(BagError, match="with 4 such files"):
        BagReader(folder)
    for path in (tmp_path / "nothing", tmp_path, folder):
        with pytest.raises(BagError, match="expected an MCAP file, or a folder"):
            repair(path)


def test_the_commands_say_what_is_wrong_and_mend_it(
    abandoned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(abandoned, tmp_path / "bag")
    assert main(["bag", "info", str(folder)]) == 0
    assert "bag_2.mcap was not closed" in capsys.readouterr().out
    assert main(["bag", "repair", str(folder)]) == 0
    assert "bag_2.mcap: completed" in capsys.readouterr().out
    assert main(["bag", "info", str(folder)]) == 0
    assert "not closed" not in capsys.readouterr().out
    assert main(["bag", "repair", str(folder)]) == 0
    assert "nothing is wanting" in capsys.readouterr().out
    assert main(["bag", "repair", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


KILLED = """
import sys
from alpamayo_ros.bags.mcap_file import ChunkOptions
from alpamayo_ros.bags.recording import BagRecording
from alpamayo_ros.bags.writer import WriteOptions
options = WriteOptions(ChunkOptions(max_bytes=20_000, max_ns=50_000_000))
recording = BagRecording(sys.argv[1], options=options)
recording.add_topic("/text", "std_msgs/msg/String")
stamp_ns = 0
while True:
    stamp_ns += 1
    while not recording.put("/text", stamp_ns, stamp_ns.to_bytes(8, "little") * 100):
        pass
    print(recording._writer._file.summary.message_count, flush=True)
"""


def test_sigkill_costs_no_chunk_that_was_written(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "bag")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        on_disk = 0
        while on_disk < 500:
            on_disk = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        for line in process.stdout:
            if line.endswith("\n"):
                on_disk = int(line)
    found = read(tmp_path / "bag")
    assert len(found) >= on_disk
    assert found == [("/text", i, i.to_bytes(8, "little") * 100) for i in range(1, len(found) + 1)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB; skipped where this process may not mount one."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("other_bytes", [0, 900_000])
def test_a_disk_that_is_really_full(small_disk: Path, other_bytes: int) -> None:
    (small_disk / "other").write_bytes(bytes(other_bytes))
    writer = BagWriter(
        small_disk / "bag",
        min_free_bytes=0,
        options=WriteOptions(ChunkOptions(max_bytes=50_000), split_bytes=1_000_000),
    )
    writer.add_topic("/text", STRING)
    sent: Sent = []
    draw = random.Random(2)
    with pytest.raises(DiskFull):
        for stamp_ns in range(1, 10**6):
            sent.append(("/text", stamp_ns, draw.randbytes(1_000)))
            writer.write(*sent[-1])
    try:
        writer.close()
    except DiskFull as error:
        assert "alpamayo bag repair" in str(error)
    found = read(small_disk / "bag")
    assert found == sent[: len(found)]
    assert len(sent) - len(found) <= 50  # a chunk
    (small_disk / "other").unlink()
    repair(small_disk / "bag")
    assert read(small_disk / "bag") == found
    with Reader(small_disk / "bag") as library:
        assert library.message_count == len(found)


def test_a_limit_of_the_file_size_like_a_full_disk(tmp_path: Path) -> None:
    script = """
import random, resource, signal, sys
from alpamayo_ros.bags.writer import BagWriter, DiskFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = BagWriter(sys.argv[1])
writer.add_topic("/text", "std_msgs/msg/String")
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
draw = random.Random(3)
try:
    for stamp_ns in range(1, 100):
        writer.write("/text", stamp_ns, draw.randbytes(100_000))
except DiskFull as error:
    print("refused:", error)
writer.close()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "bag")], check=True, capture_output=True)
    found = read(tmp_path / "bag")
    assert [s for _, s, _ in found] == list(range(1, len(found) + 1))
    assert len(found) >= 20
    assert (tmp_path / "bag" / "metadata.yaml").exists()
