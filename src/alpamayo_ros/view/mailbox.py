"""What waits for one reader who may be slow: of a state the newest only, of events a bounded number."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from alpamayo_ros.types import InvalidInput

MAX_EVENTS = 256


class Mailbox:
    """Thread-safe; putting never blocks.

    Its size is bounded by the number of keys and by `max_events`. Events and states come out by turns, and a
    state that replaces another takes its place in the row: nothing busy keeps the rest from being read.

    Args:
        on_put: called, without the lock, when something was put into an empty box.
        max_events: events that may wait; of more, the newest.
    """

    def __init__(self, *, on_put: Callable[[], None] | None = None, max_events: int = MAX_EVENTS) -> None:
        if max_events < 1:
            raise InvalidInput(f"max_events: expected 1 or more, got {max_events}")
        self._on_put = on_put or (lambda: None)
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._states: OrderedDict[str, Any] = OrderedDict()
        self._events: deque[Any] = deque()
        self._max_events = max_events
        self._turn = False
        self._closed = False
        self._dropped = 0
        self._replaced = 0

    @property
    def dropped(self) -> int:
        """Events that made room for newer ones."""
        with self._lock:
            return self._dropped

    @property
    def replaced(self) -> int:
        """States that a newer one replaced before they were read."""
        with self._lock:
            return self._replaced

    def put_state(self, key: str, value: Any) -> None:
        """Have a value wait in the place of the former one of its key."""
        with self._lock:
            if self._closed:
                return
            was_empty = not self._states and not self._events
            if key in self._states:
                self._replaced += 1
            self._states[key] = value
            self._ready.notify()
        if was_empty:
            self._on_put()

    def put_event(self, value: Any) -> None:
        """Have a value wait in a row with the other events."""
        with self._lock:
            if self._closed:
                return
            was_empty = not self._states and not self._events
            if len(self._events) >= self._max_events:
                self._events.popleft()
                self._dropped += 1
            self._events.append(value)
            self._ready.notify()
        if was_empty:
            self._on_put()

    def clear(self) -> None:
        """Forget what waits; it is not counted as dropped."""
        with self._lock:
            self._states.clear()
            self._events.clear()

    def close(self) -> None:
        """Take nothing more, and wake whoever waits."""
        with self._lock:
            self._closed = True
            self._states.clear()
            self._events.clear()
            self._ready.notify_all()

    def take(self) -> Any:
        """Return what is next; None where nothing waits."""
        with self._lock:
            return self._take()

    def take_state(self, key: str) -> Any:
        """Return what waits under a key, before its turn; None where nothing does."""
        with self._lock:
            return self._states.pop(key, None)

    def wait(self) -> Any:
        """Return what is next, as soon as there is something; None once closed."""
        with self._lock:
            while not (self._closed or self._states or self._events):
                self._ready.wait()
            return self._take()

    def _take(self) -> Any:
        self._turn = not self._turn
        if self._events and (self._turn or not self._states):
            return self._events.popleft()
        if self._states:
            return self._states.popitem(last=False)[1]
        return None
