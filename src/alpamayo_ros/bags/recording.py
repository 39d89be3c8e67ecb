"""A recording in progress: a bounded queue and the thread that writes it to disk.

The callbacks that feed it never wait for the disk. What does not fit into the queue is dropped and
counted, by topic; an error of the disk ends the writing, keeps the file readable and is reported.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.typestore import Definition
from alpamayo_ros.bags.writer import MIN_FREE_BYTES, BagWriter

if TYPE_CHECKING:
    from rosbags.interfaces import Qos

QUEUE_BYTES = 512 * 2**20


class BagRecording:
    """Writes messages from any thread to a new bag; close() it to get a readable one.

    Args:
        path: folder to make.
        queue_bytes: limit on the messages that wait for the disk.
        min_free_bytes: space to leave on the disk.

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
    ) -> None:
        self.path = Path(path)
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.error: BagError | None = None
        """Why writing ended early, or None; DiskFull for a full disk."""
        self._writer = BagWriter(path, min_free_bytes=min_free_bytes, custom_data=custom_data)
        self._queue_bytes = queue_bytes
        self._queued_bytes = 0
        self._queue: deque[tuple[str, int, bytes]] = deque()
        self._changed = threading.Condition()
        self._writer_lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="bag-writer", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """Messages written so far."""
        return self._writer.message_count

    def add_topic(
        self, topic: str, type_name: str, *, qos: Sequence[Qos] = (), definition: Definition | None = None
    ) -> None:
        """Add a topic before its first message; raises BagError for an unknown type."""
        with self._writer_lock:
            self._writer.add_topic(topic, type_name, qos=qos, definition=definition)

    def put(self, topic: str, stamp_ns: int, data: bytes) -> bool:
        """Queue a message; False where it is dropped because the queue is full or writing has ended."""
        with self._changed:
            self.received[topic] += 1
            full = self._queued_bytes + len(data) > self._queue_bytes and self._queue
            if full or self._closing or self.error is not None:
                self.dropped[topic] += 1
                return False
            self._queue.append((topic, stamp_ns, data))
            self._queued_bytes += len(data)
            self._changed.notify()
            return True

    def close(self) -> None:
        """Write what is queued, then the index; a second call does nothing. `error` tells how it went."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        with self._writer_lock:
            try:
                self._writer.close()
            except BagError as error:
                self.error = self.error or error

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                topic, stamp_ns, data = self._queue.popleft()
                self._queued_bytes -= len(data)
            try:
                with self._writer_lock:
                    self._writer.write(topic, stamp_ns, data)
            except BagError as error:
                self._give_up(error, topic)
                return

    def _give_up(self, error: BagError, topic: str) -> None:
        with self._changed:
            self.error = error
            self.dropped[topic] += 1
            self.dropped.update(waiting for waiting, _, _ in self._queue)
            self._queue.clear()
            self._queued_bytes = 0
