"""Write rosbag2/MCAP recordings that upstream's `ros2 bag` reads: offered QoS and type hashes included."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.typestore import Definition, base_typestore, definition_of

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, Qos
    from rosbags.typesys.store import Typestore

METADATA_VERSION: Literal[8] = 8
"""Of metadata.yaml. 9 spells QoS policies as words, which Humble and Iron refuse; later ones read both."""

MIN_FREE_BYTES = 64 * 2**20
"""Free disk space at which writing stops, so that the index still fits and the bag stays readable."""

_CHECK_EVERY_BYTES = 16 * 2**20


class DiskFull(BagError):
    """No space is left for the recording; what came before it is kept and can be closed."""


class BagWriter:
    """A new rosbag2 folder with one MCAP file; use it as a context manager.

    Args:
        path: folder to make; it must not exist.
        min_free_bytes: space to leave on the disk, see MIN_FREE_BYTES.
        custom_data: texts to keep in metadata.yaml.

    Raises:
        BagError: where the folder exists or cannot be made; DiskFull where the disk has too little space.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        min_free_bytes: int = MIN_FREE_BYTES,
        custom_data: dict[str, str] | None = None,
    ) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        self.path = Path(path)
        self.message_count = 0
        self._min_free_bytes = min_free_bytes
        self._bytes_to_check = 0
        self._store: Typestore = base_typestore()
        self._connections: dict[str, Connection] = {}
        self._closed = False
        if self.path.exists():
            raise BagError(
                f"bag {self.path}: expected a new folder, got one that exists; nothing is overwritten"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_space(0)
            self._writer = Writer(self.path, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
            for key, value in (custom_data or {}).items():
                self._writer.set_custom_data(key, value)
            self._writer.open()
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
        return self._store

    @property
    def topics(self) -> dict[str, str]:
        """Topic -> type of what was added so far."""
        return {name: connection.msgtype for name, connection in self._connections.items()}

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
        """
        if topic in self._connections:
            known = self._connections[topic].msgtype
            if known != type_name:
                raise BagError(f"bag {self.path}: expected {known} on {topic} as before, got {type_name}")
            return
        definition = definition or definition_of(self._store, type_name)
        self._connections[topic] = self._writer.add_connection(
            topic, type_name, msgdef=definition.text, rihs01=definition.rihs01, offered_qos_profiles=list(qos)
        )

    def write(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        """Append serialised bytes (CDR with its encapsulation header).

        Raises:
            BagError: for a topic that was not added.
            DiskFull: where the disk has no space; close() still makes a readable bag unless the disk
                filled up within 16 MiB.
        """
        connection = self._connections.get(topic)
        if connection is None:
            raise BagError(f"bag {self.path}: expected a topic that was added, got {topic}")
        self._check_space(len(data))
        try:
            self._writer.write(connection, stamp_ns, data)
        except OSError as error:
            raise DiskFull(f"bag {self.path}: expected to write {len(data)} bytes, got {error}") from error
        self.message_count += 1

    def write_message(self, topic: str, stamp_ns: int, message: object) -> None:
        """Serialise and append a message object of this writer's type store."""
        connection = self._connections.get(topic)
        if connection is None:
            raise BagError(f"bag {self.path}: expected a topic that was added, got {topic}")
        self.write(topic, stamp_ns, self._store.serialize_cdr(message, connection.msgtype))

    def close(self) -> None:
        """Write the index and metadata.yaml; a second call does nothing.

        Raises:
            DiskFull: where even these no longer fit (the file is then without an index).
        """
        if self._closed:
            return
        self._closed = True
        if not self.message_count:
            # The library's extremes of an empty set of stamps do not fit rosbag2's signed metadata.
            self._writer.min_timestamp = 0
        try:
            self._writer.close()
        except OSError as error:
            with suppress(OSError):
                self._writer.abort()
            raise DiskFull(
                f"bag {self.path}: expected space for the index, got {error}; `mcap recover` repairs it"
            ) from error

    def _check_space(self, size: int) -> None:
        self._bytes_to_check -= size
        if self._bytes_to_check > 0:
            return
        self._bytes_to_check = _CHECK_EVERY_BYTES
        free = shutil.disk_usage(self.path if self.path.is_dir() else self.path.parent).free
        if free < self._min_free_bytes:
            raise DiskFull(
                f"bag {self.path}: expected at least {self._min_free_bytes >> 20} MiB of free disk space, "
                f"got {free >> 20} MiB"
            )
