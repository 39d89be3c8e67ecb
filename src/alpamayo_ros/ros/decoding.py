"""A thread pool that handles each camera's images in order, and drops the oldest when it falls behind."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from alpamayo_ros.types import InvalidInput

T = TypeVar("T")

QUEUE_LENGTH = 4


class KeyedPool(Generic[T]):
    """Runs `handle(key, item)` in threads; items of one key one after another, in the order of submission.

    Args:
        keys: all keys, e.g. camera ids.
        handle: called in a thread of the pool; must not raise.
        threads: how many run at once.
        queue_length: items of one key that wait at most; beyond it the oldest is dropped.

    Raises:
        InvalidInput: for fewer than one thread or place in the queue.
    """

    def __init__(
        self,
        keys: Iterable[int],
        *,
        handle: Callable[[int, T], None],
        threads: int,
        queue_length: int = QUEUE_LENGTH,
    ) -> None:
        if threads < 1 or queue_length < 1:
            raise InvalidInput(
                f"pool: expected at least one thread and place, got {threads} threads, {queue_length} places"
            )
        self._handle = handle
        self._waiting: dict[int, deque[T]] = {key: deque() for key in keys}
        self._scheduled: set[int] = set()
        self._queue_length = queue_length
        self._lock = threading.Lock()
        self._closed = False
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def submit(self, key: int, item: T) -> T | None:
        """Hand over an item; returns the oldest one of its key if that was dropped for it, else None."""
        with self._lock:
            if self._closed:
                return None
            queue = self._waiting[key]
            dropped = queue.popleft() if len(queue) == self._queue_length else None
            queue.append(item)
            if key not in self._scheduled:
                self._scheduled.add(key)
                self._executor.submit(self._run_one, key)
            return dropped

    def run(self, function: Callable[[], None]) -> None:
        """Run `function`, which must not raise, in a thread of the pool."""
        with self._lock:
            if not self._closed:
                self._executor.submit(function)

    def clear(self) -> None:
        """Drop what waits; what is being handled runs to its end."""
        with self._lock:
            for queue in self._waiting.values():
                queue.clear()

    def close(self) -> None:
        """Drop what waits, let what runs finish, and end the threads."""
        with self._lock:
            self._closed = True
        self.clear()
        self._executor.shutdown(wait=True)

    def _run_one(self, key: int) -> None:
        with self._lock:
            queue = self._waiting[key]
            item = queue.popleft() if queue else None
        try:
            if item is not None:
                self._handle(key, item)
        finally:
            with self._lock:
                # One item a turn, so that a fast camera does not keep the others waiting.
                if queue and not self._closed:
                    self._executor.submit(self._run_one, key)
                else:
                    self._scheduled.discard(key)
