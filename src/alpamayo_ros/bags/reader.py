"""Read any rosbag2 recording (MCAP or sqlite3, folder or single file) without a ROS installation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.typestore import Definition, store_from_definitions
from alpamayo_ros.bags.unfinished import parts_of, problems_of, readable

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos
    from rosbags.rosbag2 import Reader
    from rosbags.typesys.store import Typestore

STORAGE_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag.

    Attributes:
        name: as recorded, absolute.
        type_name: e.g. "sensor_msgs/msg/CompressedImage".
        count: messages in the bag.
        qos: the profiles that its publishers offered; empty where the recorder stored none.
        rihs01: REP-2016 hash of the type, "" where the bag predates it.
    """

    name: str
    type_name: str
    count: int
    qos: tuple[Qos, ...] = field(default=(), repr=False)
    rihs01: str = ""


@dataclass(frozen=True)
class RawMessage:
    """A message as recorded: CDR bytes with the encapsulation header, stamped with the time of recording."""

    topic: str
    type_name: str
    stamp_ns: int
    data: bytes = field(repr=False)


class BagReader:
    """A rosbag2 recording, open for reading; use it as a context manager.

    Args:
        path: a folder with metadata.yaml, a folder that lost it but holds one storage file or the numbered
            MCAP files of one recording, or a .mcap or .db3 file. MCAP files that were not closed are read as
            far as they are whole.

    Attributes:
        unfinished: name -> what is at the end of a file that was not closed ("" where nothing is lost).

    Raises:
        BagError: where there is no bag, or it cannot be read; also while iterating over a damaged one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._reader = _open(self.path)
        self.unfinished = problems_of(self._reader.path)
        try:
            self.topics: dict[str, BagTopic] = self._read_topics()
        except BaseException:
            self._reader.close()
            raise
        self._store: Typestore | None = None

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        if self._reader.is_open:
            self._reader.close()

    @property
    def message_count(self) -> int:
        """Messages in the bag."""
        return self._reader.message_count

    @property
    def start_ns(self) -> int:
        """Stamp of the first message (0 for an empty bag)."""
        return self._reader.start_time if self.message_count else 0

    @property
    def end_ns(self) -> int:
        """Stamp of the last message (0 for an empty bag)."""
        return self._reader.end_time - 1 if self.message_count else 0

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        return (self.end_ns - self.start_ns) * 1e-9

    @property
    def typestore(self) -> Typestore:
        """The message types: those that the bag defines, then those known to this installation."""
        if self._store is None:
            self._store = store_from_definitions({c.msgtype: c.msgdef for c in self._reader.connections})
        return self._store

    def definition(self, type_name: str) -> Definition | None:
        """Return the definition recorded for a type, its hash computed where missing; None without one."""
        for connection in self._reader.connections:
            if connection.msgtype == type_name and connection.msgdef.data:
                digest = connection.digest or self.typestore.hash_rihs01(type_name)
                return Definition(connection.msgdef.data, digest)
        return None

    def require_topics(self, wanted: Collection[str], *, why: str) -> None:
        """Raise BagError unless the bag has messages on every wanted topic; lists what it has instead."""
        missing = [name for name in wanted if name not in self.topics or not self.topics[name].count]
        if missing:
            have = "\n".join(f"  {t.name}  {t.type_name}  {t.count} messages" for t in self.topics.values())
            raise BagError(
                f"bag {self.path}: expected {why}: {', '.join(wanted)}; "
                f"got no messages on {', '.join(missing)}. The bag has:\n{have or '  no topics'}"
            )

    def messages(
        self, topics: Iterable[str] | None = None, *, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """Yield messages in the order of recording.

        Args:
            topics: names to read, None for all.
            start_ns: first stamp of recording to read.
            stop_ns: stamp of recording to stop before.
        """
        names = None if topics is None else set(topics)
        connections = [c for c in self._reader.connections if names is None or c.topic in names]
        if not connections:
            return
        try:
            for connection, stamp_ns, data in self._reader.messages(connections, start_ns, stop_ns):
                yield RawMessage(connection.topic, connection.msgtype, stamp_ns, bytes(data))
        except GeneratorExit:
            raise
        except Exception as error:  # the library raises whatever the damaged bytes lead it to
            raise BagError(f"bag {self.path}: expected readable messages, got {_say(error)}") from error

    def decode(self, message: RawMessage) -> Any:
        """Return the message object (rosbags' dataclass of that type); raises BagError for damaged bytes."""
        try:
            return self.typestore.deserialize_cdr(message.data, message.type_name)
        except Exception as error:  # see messages()
            raise BagError(
                f"bag {self.path}: expected a {message.type_name} on {message.topic} "
                f"at {message.stamp_ns} ns, got {_say(error)}"
            ) from error

    def _read_topics(self) -> dict[str, BagTopic]:
        topics: dict[str, BagTopic] = {}
        for connection in self._reader.connections:
            extension = cast("ConnectionExtRosbag2", connection.ext)
            if extension.serialization_format != "cdr":
                raise BagError(
                    f"bag {self.path}: expected messages in cdr, got {extension.serialization_format} "
                    f"on {connection.topic}"
                )
            topics[connection.topic] = _merge(self.path, topics.get(connection.topic), connection)
        return topics


def _merge(path: Path, known: BagTopic | None, connection: Connection) -> BagTopic:
    """Add one connection to what is known of its topic: publishers of one topic can have several."""
    extension = cast("ConnectionExtRosbag2", connection.ext)
    topic = BagTopic(
        connection.topic,
        connection.msgtype,
        connection.msgcount,
        tuple(extension.offered_qos_profiles),
        connection.digest or "",
    )
    if known is None:
        return topic
    if known.type_name != topic.type_name:
        raise BagError(
            f"bag {path}: expected one type on {topic.name}, got {known.type_name} and {topic.type_name}"
        )
    return BagTopic(
        topic.name,
        topic.type_name,
        known.count + topic.count,
        known.qos + topic.qos,
        known.rihs01 or topic.rihs01,
    )


def _open(path: Path) -> Reader:
    from rosbags.rosbag2 import Reader

    storage = _storage(path)
    try:
        reader = Reader(readable(storage) if _is_mcap(storage) else storage)
        reader.open()
    except BagError:
        raise
    except Exception as error:  # see BagReader.messages
        raise BagError(f"bag {path}: expected a readable recording, got {_say(error)}") from error
    return reader


def _storage(path: Path) -> Path:
    """Return what the library is to open, or raise BagError saying what is there instead of a bag."""
    expected = "a rosbag2 folder with metadata.yaml, or a .mcap or .db3 file"
    if not path.exists():
        raise BagError(f"bag {path}: expected {expected}, got nothing: no such file or folder")
    if path.is_file():
        if path.name == "metadata.yaml":
            return path.parent
        if path.suffix == ".bag":
            raise BagError(f"bag {path}: expected {expected}, got a ROS 1 bag; see `rosbags-convert`")
        if path.suffix not in STORAGE_SUFFIXES:
            raise BagError(f"bag {path}: expected {expected}, got a {path.suffix or 'nameless'} file")
        return path
    if (path / "metadata.yaml").is_file():
        return path
    files = [p for p in sorted(path.iterdir()) if p.suffix in STORAGE_SUFFIXES and p.stat().st_size]
    if len(parts_of(path)) == len(files) > 1:
        return path
    if len(files) != 1:
        raise BagError(
            f"bag {path}: expected {expected}, got a folder without it and with {len(files)} such files"
        )
    return files[0]


def _is_mcap(path: Path) -> bool:
    return path.suffix == ".mcap" or (path.is_dir() and any(path.glob("*.mcap")))


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
