"""Write rosbag2/MCAP recordings that upstream's `ros2 bag` reads: offered QoS and type hashes included."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.mcap_file import ChunkOptions, McapFile
from alpamayo_ros.bags.mcap_records import Channel, Schema
from alpamayo_ros.bags.metadata import FileMetadata, TopicMetadata, metadata_yaml, write_metadata
from alpamayo_ros.bags.typestore import Definition, base_typestore, definition_of

if TYPE_CHECKING:
    from rosbags.interfaces import Qos
    from rosbags.typesys.store import Typestore

MIN_FREE_BYTES = 64 * 2**20
"""Free disk space at which writing stops, so that the index still fits and the bag stays readable."""

QOS_KEY, HASH_KEY = "offered_qos_profiles", "topic_type_hash"
"""Under which rosbag2 keeps a topic's QoS and its type's hash in an MCAP file."""

_CHECK_EVERY_BYTES = 16 * 2**20
_IDL_MARK = "=" * 80 + "\nIDL: "


class DiskFull(BagError):
    """No space is left for the recording; what came before it is kept and can be closed."""


class SizeReached(BagError):
    """The recording is as large as it may become; what came before it is kept and can be closed."""


@dataclass(frozen=True)
class WriteOptions:
    """How a bag is stored.

    Attributes:
        chunks: how its files are cut into chunks.
        split_bytes: size at which the next file is begun; 0 for one file, whatever its size.
        split_ns: time from a file's first stamp on after which the next file is begun; 0 for one file.
        max_bytes: size of the whole bag at which writing ends; 0 for no limit.
    """

    chunks: ChunkOptions = field(default_factory=ChunkOptions)
    split_bytes: int = 0
    split_ns: int = 0
    max_bytes: int = 0

    def __post_init__(self) -> None:
        for name in ("split_bytes", "split_ns", "max_bytes"):
            if getattr(self, name) < 0:
                raise BagError(f"{name}: expected 0 or more, got {getattr(self, name)}")


class BagWriter:
    """A new rosbag2 folder with one MCAP file or several; use it as a context manager.

    Args:
        path: folder to make; it must not exist.
        min_free_bytes: space to leave on the disk, see MIN_FREE_BYTES.
        custom_data: texts to keep in metadata.yaml; more may be added until close().
        options: compression, chunks, and where files are split.

    Raises:
        BagError: where the folder exists or cannot be made; DiskFull where the disk has too little space.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        min_free_bytes: int = MIN_FREE_BYTES,
        custom_data: Mapping[str, str] | None = None,
        options: WriteOptions | None = None,
    ) -> None:
        self.path = Path(path)
        self.custom_data = dict(custom_data or {})
        self.free_bytes = 0
        """Of the disk, when it was last looked at."""
        self._options = options or WriteOptions()
        self._min_free_bytes = min_free_bytes
        self._bytes_to_check = 0
        self._store: Typestore | None = None
        self._topics: dict[str, tuple[Schema, Channel]] = {}
        self._files: list[FileMetadata] = []
        self._counts: Counter[int] = Counter()
        self._finished_bytes = 0
        self._began_ns: int | None = None
        self._closed = False
        if self.path.exists():
            raise BagError(
                f"bag {self.path}: expected a new folder, got one that exists; nothing is overwritten"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_space(0)
            self.path.mkdir()
            self._file: McapFile | None = self._new_file()
        except OSError as error:
            raise BagError(f"bag {self.path}: expected a folder that can be made, got {error}") from error

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def typestore(self) -> Typestore:
        """The types that this writer knows, to serialise messages with."""
        if self._store is None:
            self._store = base_typestore()
        return self._store

    @property
    def topics(self) -> dict[str, str]:
        """Topic -> type of what was added so far."""
        return {name: schema.name for name, (schema, _) in self._topics.items()}

    @property
    def message_count(self) -> int:
        """Messages on disk, and those that wait for their chunk to fill."""
        return sum(self._counts.values()) + (0 if self._file is None else self._file.message_count)

    @property
    def file_count(self) -> int:
        """Files of the bag."""
        return len(self._files) + (self._file is not None)

    @property
    def size(self) -> int:
        """Bytes of all files, open chunks as they are before compression."""
        file = self._file
        return self._finished_bytes + (0 if file is None else file.size + file.pending_bytes)

    def add_topic(
        self, topic: str, type_name: str, *, qos: Sequence[Qos] = (), definition: Definition | None = None
    ) -> None:
        """Add a topic; a second time with the same type does nothing.

        Args:
            topic: absolute name.
            type_name: e.g. "nav_msgs/msg/Odometry".
            qos: what its publishers offer; upstream's player offers the same again.
            definition: of the type, where it is not one that this installation knows.

        Raises:
            BagError: for a topic that was added with another type, or an unknown type.
            DiskFull: where the disk has no space.
        """
        from rosbags.rosbag2.metadata import dump_qos_v8

        if topic in self._topics:
            known = self._topics[topic][0].name
            if known != type_name:
                raise BagError(f"bag {self.path}: expected {known} on {topic} as before, got {type_name}")
            return
        definition = definition or definition_of(self.typestore, type_name)
        schemas = {schema.name: schema for schema, _ in self._topics.values()}
        encoding = "ros2idl" if definition.text.startswith(_IDL_MARK) else "ros2msg"
        schema = schemas.get(type_name) or Schema(
            len(schemas) + 1, type_name, encoding, definition.text.encode()
        )
        keys = {QOS_KEY: dump_qos_v8(list(qos)), HASH_KEY: definition.rihs01}
        channel = Channel(len(self._topics) + 1, schema.id, topic, "cdr", keys)
        try:
            self._open_file().add(schema, channel)
        except OSError as error:
            raise DiskFull(f"bag {self.path}: expected to add {topic}, got {error}") from error
        self._topics[topic] = (schema, channel)

    def write(
        self, topic: str, stamp_ns: int, data: bytes | memoryview, *, publish_ns: int | None = None
    ) -> None:
        """Append serialised bytes (CDR with its encapsulation header).

        Args:
            topic: one that was added.
            stamp_ns: time of recording, by which messages are played.
            data: the bytes.
            publish_ns: when it was published, if not then.

        Raises:
            BagError: for a topic that was not added.
            DiskFull: where the disk has no space; close() still makes a readable bag.
            SizeReached: where the bag would become larger than it may.
        """
        known = self._topics.get(topic)
        if known is None:
            raise BagError(f"bag {self.path}: expected a topic that was added, got {topic}")
        self._check_space(len(data))
        limit = self._options.max_bytes
        if limit and self.size + len(data) > limit:
            raise SizeReached(f"bag {self.path}: expected at most {limit / 2**20:g} MiB, got as much")
        try:
            if self._is_due(stamp_ns, len(data)):
                self._split()
            if self._began_ns is None:
                self._began_ns = stamp_ns
            published_ns = stamp_ns if publish_ns is None else publish_ns
            self._open_file().write(known[1].id, stamp_ns, published_ns, data)
        except OSError as error:
            raise DiskFull(f"bag {self.path}: expected to write {len(data)} bytes, got {error}") from error

    def write_message(self, topic: str, stamp_ns: int, message: object) -> None:
        """Serialise and append a message object of this writer's type store."""
        known = self._topics.get(topic)
        if known is None:
            raise BagError(f"bag {self.path}: expected a topic that was added, got {topic}")
        self.write(topic, stamp_ns, self.typestore.serialize_cdr(message, known[0].name))

    def flush_due(self) -> None:
        """Write what has waited in memory for as long as it may; raises DiskFull."""
        try:
            if self._file is not None:
                self._file.flush_due()
        except OSError as error:
            raise DiskFull(f"bag {self.path}: expected to write a chunk, got {error}") from error

    def close(self) -> None:
        """Write what waits, the index and metadata.yaml; a second call does nothing.

        Raises:
            DiskFull: where not all of this fits. BagReader does without index and metadata.yaml, and
                `alpamayo bag repair` adds them.
        """
        if self._closed:
            return
        self._closed = True
        problem: OSError | None = None
        for step in (self._finish_file, self._write_metadata):
            try:
                step()
            except OSError as error:
                problem = problem or error
        if problem is not None:
            raise DiskFull(
                f"bag {self.path}: expected space to complete it, got {problem}; `alpamayo bag repair` does "
                "so once there is some"
            ) from problem

    def _open_file(self) -> McapFile:
        if self._file is None:
            raise BagError(f"bag {self.path}: expected an open bag, got one that was closed")
        return self._file

    def _is_due(self, stamp_ns: int, size: int) -> bool:
        """Whether the next file begins with this message."""
        if self._began_ns is None:
            return False
        file, options = self._open_file(), self._options
        too_large = options.split_bytes and file.size + file.pending_bytes + size > options.split_bytes
        too_long = options.split_ns and stamp_ns - self._began_ns >= options.split_ns
        return bool(too_large or too_long)

    def _split(self) -> None:
        self._finish_file()
        self._file = file = self._new_file()
        for schema, channel in self._topics.values():
            file.add(schema, channel)

    def _new_file(self) -> McapFile:
        path = self.path / f"{self.path.name}_{len(self._files)}.mcap"
        return McapFile(path, options=self._options.chunks)

    def _finish_file(self) -> None:
        """Complete and close the file; raises OSError where not all of it fits, with what does noted."""
        file, self._file, self._began_ns = self._file, None, None
        if file is None:
            return
        problem: OSError | None = None
        try:
            file.flush()
        except OSError as error:
            problem = error
        described = _describe(file)
        self._files.append(described)
        self._counts.update(file.summary.counts)
        try:
            file.close(self._metadata([described], file.summary.counts, inner=True))
        finally:
            self._finished_bytes += file.size
        if problem is not None:
            raise problem

    def _write_metadata(self) -> None:
        write_metadata(self.path, self._metadata(self._files, self._counts))

    def _metadata(
        self, files: Sequence[FileMetadata], counts: Mapping[int, int], *, inner: bool = False
    ) -> str:
        topics = [
            TopicMetadata(name, s.name, c.metadata[QOS_KEY], c.metadata[HASH_KEY], counts.get(c.id, 0))
            for name, (s, c) in self._topics.items()
        ]
        return metadata_yaml(topics, files, custom_data=self.custom_data, inner=inner)

    def _check_space(self, size: int) -> None:
        self._bytes_to_check -= size
        if self._bytes_to_check > 0:
            return
        self._bytes_to_check = _CHECK_EVERY_BYTES
        self.free_bytes = shutil.disk_usage(self.path if self.path.is_dir() else self.path.parent).free
        if self.free_bytes < self._min_free_bytes:
            raise DiskFull(
                f"bag {self.path}: expected at least {self._min_free_bytes >> 20} MiB of free disk space, "
                f"got {self.free_bytes >> 20} MiB"
            )


def _describe(file: McapFile) -> FileMetadata:
    summary = file.summary
    return FileMetadata(file.path.name, summary.message_count, summary.start_ns or 0, summary.end_ns or 0)
