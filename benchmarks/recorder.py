"""What recording four 1080p JPEG cameras costs, as ratios to a plain copy of the bytes to a file.

    python benchmarks/recorder.py [--seconds 20] [--folder DIR]

Four cameras at 10 Hz and odometry at 100 Hz, through the recorder's queue and thread into an MCAP bag. ROS is
not in it: docs/SPEED.md tells its part. CPU time of the process, so that a busy machine hardly matters.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from alpamayo_ros.bags.mcap_file import LIVE_CHUNK_NS, ChunkOptions
from alpamayo_ros.bags.recording import BagRecording, Message, TopicCatalog
from alpamayo_ros.bags.ring import Ring
from alpamayo_ros.bags.writer import WriteOptions

CAMERAS = 4
JPEG_BYTES = 400_000
IMAGE, ODOMETRY = "sensor_msgs/msg/CompressedImage", "nav_msgs/msg/Odometry"
SECOND_NS = 1_000_000_000


def messages(seconds: int) -> Iterator[Message]:
    """Yield what arrives; JPEG's bytes are as good as random, odometry's repeat themselves."""
    random = np.random.default_rng(0)
    images = [random.bytes(JPEG_BYTES) for _ in range(8)]
    pose = np.zeros(89)
    for tick in range(seconds * 100):
        stamp_ns = (tick + 1) * SECOND_NS // 100
        pose[:3] += 0.1
        yield Message("/odom", stamp_ns, pose.tobytes())
        if tick % 10 == 0:
            for camera in range(CAMERAS):
                yield Message(f"/camera{camera}", stamp_ns, images[(tick // 10 + camera) % len(images)])


def copied(sent: list[Message], folder: Path) -> int:
    """Write the bytes to one file, and return how many."""
    path = folder / "plain"
    with path.open("wb", buffering=0) as file:
        size = sum(file.write(message.data) for message in sent)
    path.unlink()  # what lies in the page cache makes the next one slower
    return size


def recorded(sent: list[Message], path: Path, compression: str, catalog: TopicCatalog) -> int:
    """Record the messages, and return the bag's size."""
    options = WriteOptions(ChunkOptions(compression, max_ns=LIVE_CHUNK_NS))
    recording = BagRecording(path, options=options, queue_bytes=2**40, catalog=catalog)
    recording.add_topic("/odom", ODOMETRY)
    for camera in range(CAMERAS):
        recording.add_topic(f"/camera{camera}", IMAGE)
    for message in sent:
        recording.put(message.topic, message.stamp_ns, message.data)
    recording.close()
    if recording.error is not None or sum(recording.dropped.values()):
        raise SystemExit(f"recording failed: {recording.error or recording.dropped}")
    size = sum(file.stat().st_size for file in path.iterdir())
    shutil.rmtree(path)
    return size


def kept(sent: list[Message]) -> int:
    """Put the messages through a ring, and return its bytes."""
    ring = Ring(30.0, max_bytes=2**30)
    for message in sent:
        ring.put(message)
    return ring.bytes


def cpu_ms(work: Callable[[], int]) -> tuple[float, int]:
    """Return the CPU time of a call in ms, and what it returned."""
    start = time.process_time()
    result = work()
    return (time.process_time() - start) * 1e3, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=20, help="of the drive (default: 20)")
    parser.add_argument("--folder", help="on the disk to write to (default: a temporary one)")
    arguments = parser.parse_args()
    catalog = TopicCatalog()  # types are looked up once, at the start
    sent = list(messages(arguments.seconds))
    mib = sum(len(message.data) for message in sent) / 2**20
    print(f"{len(sent)} messages, {mib:.0f} MiB, {mib / arguments.seconds:.1f} MiB/s")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        copied(sent, folder)
        copy_ms, _ = cpu_ms(lambda: copied(sent, folder))
        rows = [("plain copy", copy_ms, mib)]
        for compression in ("none", "lz4", "zstd"):
            recorded(sent[:50], folder / f"{compression}_first", compression, catalog)  # imports the library
            path = folder / compression
            took_ms, size = cpu_ms(lambda path=path, kind=compression: recorded(sent, path, kind, catalog))  # type: ignore[misc]
            rows.append((f"recorded, {compression}", took_ms, size / 2**20))
        ring_ms, ring_bytes = cpu_ms(lambda: kept(sent))
        rows.append(("the ring", ring_ms, ring_bytes / 2**20))
    print(f"{'':16}{'CPU ms/MiB':>12}{'ratio':>8}{'% of a core':>13}{'MiB':>8}")
    for what, took_ms, size in rows:
        share = took_ms / arguments.seconds / 10
        print(f"{what:16}{took_ms / mib:>12.2f}{took_ms / copy_ms:>8.2f}{share:>13.2f}{size:>8.0f}")


if __name__ == "__main__":
    main()
