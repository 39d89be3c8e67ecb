"""Training ends at the next step when it is told to stop, and leaves what can be gone on with."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """Set the event on SIGTERM or SIGINT instead of dying; only the main thread can ask for signals."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def stop(number: int, frame: FrameType | None) -> None:
        told.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    earlier: list[Any] = [signal.signal(number, stop) for number in numbers]
    try:
        yield told
    finally:
        for number, handler in zip(numbers, earlier, strict=True):
            signal.signal(number, handler)
