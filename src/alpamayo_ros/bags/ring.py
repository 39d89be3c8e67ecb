"""The last seconds of everything that was received, in memory: bounded in time and in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

from alpamayo_ros.bags.recording import Message
from alpamayo_ros.types import InvalidInput

MESSAGE_BYTES = 256
"""What a message costs in memory beside its bytes, roughly."""

JUMP_NS = 1_000_000_000
"""A stamp that lies further back than this is of another time: a simulation or a bag that begins anew."""


class Ring:
    """Keeps messages for `seconds`, fewer where they would need more than `max_bytes`; thread-safe.

    Of latched topics (see `latch`) the last messages are kept whatever their age: who publishes a transform,
    a calibration or an instruction does so once.

    Args:
        seconds: by the messages' stamps, behind the newest.
        max_bytes: of all that is kept; latched messages may take half of it.

    Attributes:
        cut_short: messages that had to go before their time for want of memory.
    """

    def __init__(self, seconds: float, *, max_bytes: int) -> None:
        if not seconds > 0 or max_bytes < 1:
            raise InvalidInput(
                f"ring: expected a positive time and size, got {seconds:g} s, {max_bytes} bytes"
            )
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.cut_short = 0
        self._keep_ns = round(seconds * 1e9)
        self._lock = threading.Lock()
        self._messages: deque[tuple[int, Message]] = deque()
        self._bytes = 0
        self._number = 0
        self._latched: dict[str, tuple[int, OrderedDict[bytes, tuple[int, Message]]]] = {}
        self._latched_bytes = 0

    @property
    def bytes(self) -> int:
        """Memory that is taken."""
        return self._bytes + self._latched_bytes

    @property
    def held_s(self) -> float:
        """Seconds between the oldest and the newest message."""
        with self._lock:
            if not self._messages:
                return 0.0
            return (self._messages[-1][1].stamp_ns - self._messages[0][1].stamp_ns) * 1e-9

    def latch(self, topic: str, count: int) -> None:
        """Keep a topic's last `count` messages that differ, whatever their age."""
        with self._lock:
            _, known = self._latched.get(topic, (0, OrderedDict()))
            self._latched[topic] = (count, known)

    def put(self, message: Message) -> None:
        """Add a message, and let go what has become too old or too much."""
        with self._lock:
            if self._messages and message.stamp_ns < self._messages[-1][1].stamp_ns - JUMP_NS:
                self._messages.clear()
                self._bytes = 0
            self._number += 1
            self._messages.append((self._number, message))
            self._bytes += _size(message)
            if message.topic in self._latched:
                self._put_latched(message)
            oldest_ns = message.stamp_ns - self._keep_ns
            while self._messages and self._messages[0][1].stamp_ns < oldest_ns:
                self._drop_oldest()
            while self._bytes + self._latched_bytes > self.max_bytes and self._messages:
                self._drop_oldest()
                self.cut_short += 1

    def content(self) -> list[Message]:
        """Return what is held, oldest first.

        Latched messages that are older than the rest come first, stamped as its first message: they belong
        to the bag's beginning, not to hours before it.
        """
        with self._lock:
            held = [message for _, message in self._messages]
            first = self._messages[0][0] if self._messages else self._number + 1
            older = sorted(
                (entry for _, kept in self._latched.values() for entry in kept.values() if entry[0] < first),
                key=lambda entry: entry[0],
            )
        if not older:
            return held
        start_ns = min((m.stamp_ns for m in held), default=older[-1][1].stamp_ns)
        return [Message(m.topic, start_ns, m.data, received_ns=m.stamp_ns) for _, m in older] + held

    def _put_latched(self, message: Message) -> None:
        count, kept = self._latched[message.topic]
        if kept.pop(message.data, None) is None:
            self._latched_bytes += _size(message)
        kept[message.data] = (self._number, message)
        while len(kept) > 1 and (len(kept) > count or self._latched_bytes > self.max_bytes // 2):
            _, (_, gone) = kept.popitem(last=False)
            self._latched_bytes -= _size(gone)
        if self._latched_bytes > self.max_bytes // 2:  # this one alone is too much
            _, (_, gone) = kept.popitem()
            self._latched_bytes -= _size(gone)
            self.cut_short += 1

    def _drop_oldest(self) -> None:
        _, gone = self._messages.popleft()
        self._bytes -= _size(gone)


def _size(message: Message) -> int:
    return len(message.data) + MESSAGE_BYTES
