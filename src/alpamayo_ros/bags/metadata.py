"""metadata.yaml of a rosbag2 folder, in the form that Humble and every later ROS 2 read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

METADATA_VERSION = 8
"""9 spells QoS policies as words, which Humble and Iron refuse; later ones read both."""

METADATA_NAME = "metadata.yaml"


@dataclass(frozen=True)
class TopicMetadata:
    """A topic: name, type, offered QoS as YAML text, REP-2016 hash, and its number of messages."""

    name: str
    type_name: str
    qos: str
    rihs01: str
    count: int


@dataclass(frozen=True)
class FileMetadata:
    """A storage file: its name in the folder, its messages, and their first and last stamp (0 of none)."""

    name: str
    count: int
    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        """From the first message to the last."""
        return self.end_ns - self.start_ns


def metadata_yaml(
    topics: Sequence[TopicMetadata],
    files: Sequence[FileMetadata],
    *,
    custom_data: Mapping[str, str] | None = None,
    inner: bool = False,
) -> str:
    """Return the text of metadata.yaml.

    Args:
        topics: in the order of their appearance.
        files: in the order of recording.
        custom_data: texts that are kept with the bag.
        inner: without the outermost key, as it is stored inside an MCAP file.
    """
    import yaml

    filled = [f for f in files if f.count]
    start_ns = min((f.start_ns for f in filled), default=0)
    end_ns = max((f.end_ns for f in filled), default=0)
    information = {
        "version": METADATA_VERSION,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": end_ns - start_ns},
        "starting_time": {"nanoseconds_since_epoch": start_ns},
        "message_count": sum(f.count for f in files),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": t.name,
                    "type": t.type_name,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": t.qos,
                    "type_description_hash": t.rihs01,
                },
                "message_count": t.count,
            }
            for t in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [f.name for f in files],
        "files": [
            {
                "path": f.name,
                "starting_time": {"nanoseconds_since_epoch": f.start_ns},
                "duration": {"nanoseconds": f.duration_ns},
                "message_count": f.count,
            }
            for f in files
        ],
        "custom_data": dict(custom_data) if custom_data else None,
        "ros_distro": "rosbags",
    }
    content = information if inner else {"rosbag2_bagfile_information": information}
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def write_metadata(folder: Path, text: str) -> None:
    """Write metadata.yaml, whole or not at all; raises OSError."""
    temporary = folder / f"{METADATA_NAME}.tmp"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / METADATA_NAME)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
