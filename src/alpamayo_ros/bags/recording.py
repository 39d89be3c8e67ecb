"""A recording in progress: a bounded queue and the thread that writes it to disk.

The callbacks that feed it never wait for the disk. What does not fit into the queue is dropped and
counted, by topic; an error of the disk ends the writing, keeps the file readable and is reported.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.typestore import Definition, base_typestore, definition_of
from alpamayo_ros.bags.writer import MIN_FREE_BYTES, BagWriter, WriteOptions

if TYPE_CHECKING:
    from rosbags.interfaces import Qos

QUEUE_BYTES = 512 * 2**20

_FLUSH_PERIOD_S = 0.1


class Topic(NamedTuple):
    """A topic as a bag stores it."""

    name: str
    type_name: str
    definition: Definition
    qos: tuple[Qos, ...] = ()


class Message(NamedTuple):
    """A message on its way to a bag: the stamp to play it by, and when it came if not then."""

    topic: str
    stamp_ns: int
    data: bytes
    received_ns: int | None = None


class TopicCatalog:
    """Topics with their types' definitions, found out once for all the bags that a recorder writes."""

    def __init__(self) -> None:
        self._store = base_typestore()
        self._topics: dict[str, Topic] = {}

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All that were added."""
        return tuple(self._topics.values())

    def add(
        self, name: str, type_name: str, *, qos: Sequence[Qos] = (), definition: Definition | None = None
    ) -> Topic:
        """Return the topic; raises BagError for an unknown type, or another one than before."""
        known = self._topics.get(name)
        if known is not None:
            if known.type_name != type_name:
                raise BagError(f"topic {name}: expected {known.type_name} as before, got {type_name}")
            return known
        topic = Topic(name, type_name, definition or definition_of(self._store, type_name), tuple(qos))
        self._topics[name] = topic
        return topic


class BagRecording:
    """Writes messages from any thread to a new bag; close() it to get a readable one.

    Args:
        path: folder to make.
        queue_bytes: limit on the messages that wait for the disk.
        min_free_bytes: space to leave on the disk.
        custom_data: texts to keep in metadata.yaml; more may be added until the end.
        options: how the bag is stored.
        catalog: of topics, if another recording shares them.
        before: topics and messages that are written first; they do not count against the queue's limit.
        in_background: make the folder in the thread too; `error` then tells what was wrong with it.

    Raises:
        BagError: where the bag cannot be made (see BagWriter).
    """

    def __init__(
        self,
        path: str | Path,
        *,
        queue_bytes: int = QUEUE_BYTES,
        min_free_bytes: int = MIN_FREE_BYTES,
        custom_data: dict[str, str] | None = None,
        options: WriteOptions | None = None,
        catalog: TopicCatalog | None = None,
        before: Iterable[Topic | Message] = (),
        in_background: bool = False,
    ) -> None:
        self.path = Path(path)
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.error: BagError | None = None
        """Why writing ended early, or None; DiskFull for a full disk."""
        self.custom_data = dict(custom_data or {})
        self._make_writer = lambda: BagWriter(
            path, min_free_bytes=min_free_bytes, custom_data=custom_data, options=options
        )
        self._writer: BagWriter | None = None if in_background else self._make_writer()
        self._catalog = catalog or TopicCatalog()
        self._queue: deque[Topic | Message] = deque(before)
        self._queued_bytes = sum(len(m.data) for m in self._queue if isinstance(m, Message))
        self._limit_bytes = self._queued_bytes + queue_bytes
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="bag-writer", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """Messages written so far."""
        return 0 if self._writer is None else self._writer.message_count

    @property
    def size(self) -> int:
        """Bytes written so far, those in open chunks included."""
        return 0 if self._writer is None else self._writer.size

    @property
    def file_count(self) -> int:
        """Files begun so far."""
        return 0 if self._writer is None else self._writer.file_count

    @property
    def free_bytes(self) -> int:
        """Free space of the disk when it was last looked at."""
        return 0 if self._writer is None else self._writer.free_bytes

    @property
    def waiting_bytes(self) -> int:
        """Bytes of messages that wait for the disk."""
        return self._queued_bytes

    @property
    def ended(self) -> bool:
        """Whether the bag is closed, whole or by an error."""
        return not self._thread.is_alive()

    def add_topic(
        self, topic: str, type_name: str, *, qos: Sequence[Qos] = (), definition: Definition | None = None
    ) -> None:
        """Add a topic before its first message; raises BagError for an unknown type."""
        self.add(self._catalog.add(topic, type_name, qos=qos, definition=definition))

    def add(self, topic: Topic) -> None:
        """Add a topic before its first message; a second time does nothing."""
        with self._changed:
            self._queue.append(topic)
            self._changed.notify()

    def put(self, topic: str, stamp_ns: int, data: bytes) -> bool:
        """Queue a message; False where it is dropped because the queue is full or writing has ended."""
        with self._changed:
            self.received[topic] += 1
            full = self._queued_bytes and self._queued_bytes + len(data) > self._limit_bytes
            if full or self._closing or self.error is not None:
                self.dropped[topic] += 1
                return False
            self._queue.append(Message(topic, stamp_ns, data))
            self._queued_bytes += len(data)
            self._changed.notify()
            return True

    def finish(self) -> None:
        """Take nothing more; what is queued and the index are written in the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def close(self) -> None:
        """Write what is queued, then the index; a second call does nothing. `error` tells how it went."""
        self.finish()
        self._thread.join()

    def _run(self) -> None:
        writer = self._writer
        try:
            if writer is None:
                self._writer = writer = self._make_writer()
            self._write(writer)
        except BagError as error:
            self._give_up(error)
        except Exception as error:  # a thread that dies unseen would take the recording with it
            self._give_up(BagError(f"bag {self.path}: expected to go on, got {error!r}"))
        if writer is None:
            return
        # From the error on rather than at the end: whoever looks for the bag then finds a whole one.
        writer.custom_data.update(self.custom_data)
        try:
            writer.close()
        except BagError as error:
            self.error = self.error or error

    def _write(self, writer: BagWriter) -> None:
        """Write until told to finish; raises BagError where the disk does not take it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing, timeout=_FLUSH_PERIOD_S)
                if not self._queue and self._closing:
                    return
                item = self._queue.popleft() if self._queue else None
            if item is None:
                writer.flush_due()
            elif isinstance(item, Topic):
                writer.add_topic(item.name, item.type_name, qos=item.qos, definition=item.definition)
            else:
                try:
                    writer.write(item.topic, item.stamp_ns, item.data, publish_ns=item.received_ns)
                except Exception:
                    self.dropped[item.topic] += 1
                    raise
                with self._changed:
                    self._queued_bytes -= len(item.data)

    def _give_up(self, error: BagError) -> None:
        with self._changed:
            self.error = error
            self.dropped.update(waiting.topic for waiting in self._queue if isinstance(waiting, Message))
            self._queue.clear()
            self._queued_bytes = 0
