"""A worker process that does not outlive the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process, a worker of multiprocessing's, as soon as the one that started it is gone.

    A pool's workers wait for work for ever when their parent is killed, and one that has some goes on for
    nobody. Does nothing in a process that has no such parent.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
