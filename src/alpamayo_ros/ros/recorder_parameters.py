"""Parameters of the recorder, and what they become."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from alpamayo_ros.bags.mcap_file import LIVE_CHUNK_NS, ChunkOptions
from alpamayo_ros.bags.mcap_records import COMPRESSIONS
from alpamayo_ros.bags.recording import QUEUE_BYTES
from alpamayo_ros.bags.writer import MIN_FREE_BYTES, WriteOptions
from alpamayo_ros.ros.parameters import Changes, ParameterSpec
from alpamayo_ros.types import InvalidInput

NEVER_RECORDED = ("/clock", "/parameter_events")
"""A bag that holds /clock would fight with its player's own."""

DISENGAGEMENT, WATCHDOG = "disengagement", "watchdog"
OCCASIONS = (DISENGAGEMENT, WATCHDOG)
"""What can save the ring by itself."""

RING_SUFFIX = "_ring"

_MIB = 2**20


def _start(name: str, default: Any, description: str, **limits: Any) -> ParameterSpec:
    return ParameterSpec(name, default, description, changes=Changes.START, **limits)


PARAMETERS: tuple[ParameterSpec, ...] = (
    _start("output", "", "Folder to make for the bag; strftime's fields (%Y, %H …) become the time in UTC."),
    _start("topics", ("",), "Topics to record, `*` and `?` allowed; empty for all."),
    _start("exclude", NEVER_RECORDED, "Topics not to record, `*` and `?` allowed."),
    _start(
        "continuous",
        True,
        "Record all the time; false keeps the ring alone, and `output` is the folder for its bags.",
    ),
    _start(
        "compression",
        "zstd",
        "Of chunks; images that are compressed already are stored as they are.",
        choices=COMPRESSIONS,
    ),
    _start(
        "chunk_s",
        LIVE_CHUNK_NS * 1e-9,
        "Seconds after which a chunk is written, so what a kill may cost.",
        minimum=0.01,
        maximum=60.0,
    ),
    _start(
        "split_mib", 0, "Size of a file at which the next begins, MiB; 0 for one file.",
        minimum=0, maximum=100_000_000,
    ),
    _start(
        "split_s", 0.0, "Length of a file at which the next begins, s; 0 for one file.",
        minimum=0.0, maximum=1e6,
    ),
    _start(
        "max_mib", 0, "Size of the bag at which recording ends, MiB; 0 for no limit.",
        minimum=0, maximum=100_000_000,
    ),
    _start(
        "queue_mib",
        QUEUE_BYTES // _MIB,
        "Limit on messages that wait for the disk, MiB.",
        minimum=1,
        maximum=1_000_000,
    ),
    _start(
        "min_free_mib",
        MIN_FREE_BYTES // _MIB,
        "Disk space at which recording stops, MiB.",
        minimum=0,
        maximum=100_000_000,
    ),
    _start(
        "ring_s",
        0.0,
        "Seconds that are kept in memory, to be saved by the service `save_recording`; 0 for no ring.",
        minimum=0.0,
        maximum=3600.0,
    ),
    _start("ring_mib", 1024, "Limit on the ring's memory, MiB.", minimum=1, maximum=1_000_000),
    _start(
        "ring_after_s",
        5.0,
        "Seconds that are saved after the trigger too, if the service names no others.",
        minimum=0.0,
        maximum=3600.0,
    ),
    _start(
        "ring_output",
        "",
        "Folder for the bags that are saved of the ring; empty for `output` with _ring behind it.",
    ),
    _start(
        "save_on",
        OCCASIONS,
        "What saves the ring by itself: disengagement (`engaged` ends), watchdog (it stops the vehicle).",
    ),
)  # fmt: skip
"""Parameters of the recorder."""


@dataclass(frozen=True)
class RecorderSettings:
    """What the recorder is to do.

    Attributes:
        output: folder of the bag, None for none.
        ring_output: folder for bags of the ring, None without a ring.
        topics, exclude: patterns.
        options: how bags are stored.
        queue_bytes, min_free_bytes, ring_bytes: limits.
        ring_s: seconds in memory, 0 for no ring.
        ring_after_ns: what is saved after a trigger.
        save_on: of OCCASIONS.
    """

    output: Path | None
    ring_output: Path | None
    topics: tuple[str, ...]
    exclude: tuple[str, ...]
    options: WriteOptions
    queue_bytes: int
    min_free_bytes: int
    ring_s: float
    ring_bytes: int
    ring_after_ns: int
    save_on: frozenset[str]

    def wants(self, topic: str) -> bool:
        """Whether a topic is to be recorded."""
        if any(fnmatchcase(topic, pattern) for pattern in self.exclude):
            return False
        return not self.topics or any(fnmatchcase(topic, pattern) for pattern in self.topics)


def recorder_settings(given: Mapping[str, Any]) -> RecorderSettings:
    """Return the settings; raises InvalidInput for parameters that do not fit together."""
    output = given["output"]
    if "%" in output:
        output = time.strftime(output, time.gmtime())
    ring_s, ring_output = given["ring_s"], given["ring_output"]
    if not given["continuous"] and not ring_s:
        raise InvalidInput("ring_s: expected more than 0 where nothing is recorded continuously, got 0")
    if not output and (given["continuous"] or not ring_output):
        raise InvalidInput("output: expected a folder to make in parameter 'output', got nothing")
    unknown = {occasion for occasion in given["save_on"] if occasion} - set(OCCASIONS)
    if unknown:
        raise InvalidInput(f"save_on: expected of {', '.join(OCCASIONS)}, got {', '.join(sorted(unknown))}")
    if not ring_output:
        ring_output = output + (RING_SUFFIX if given["continuous"] else "")
    return RecorderSettings(
        output=Path(output) if given["continuous"] else None,
        ring_output=Path(ring_output) if ring_s else None,
        topics=tuple(t for t in given["topics"] if t),
        exclude=tuple(t for t in given["exclude"] if t),
        options=WriteOptions(
            ChunkOptions(given["compression"], max_ns=round(given["chunk_s"] * 1e9)),
            split_bytes=given["split_mib"] * _MIB,
            split_ns=round(given["split_s"] * 1e9),
            max_bytes=given["max_mib"] * _MIB,
        ),
        queue_bytes=given["queue_mib"] * _MIB,
        min_free_bytes=given["min_free_mib"] * _MIB,
        ring_s=ring_s,
        ring_bytes=given["ring_mib"] * _MIB,
        ring_after_ns=round(given["ring_after_s"] * 1e9),
        save_on=frozenset(o for o in given["save_on"] if o),
    )
