"""The watchdog in a process of its own, which outlives the one that started it if that one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType

_RESTART_AFTER_S = 1.0
_END_TIMEOUT_S = 5.0
_REFUSED = 2
"""Exit code of a node that refuses its parameters: it would do so again."""


class WatchdogProcess:
    """`alpamayo run watchdog …` as a child, started again should it die.

    It shares the terminal, so Ctrl-C reaches it too, and it ends with the block. A SIGKILL of the parent
    leaves it running: that is what it is there for.

    Args:
        arguments: of `alpamayo run watchdog`.

    Attributes:
        refused: whether it refused its parameters; this process is then told to end, as if by SIGTERM.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._command = [sys.executable, "-m", "alpamayo_ros.cli.main", "run", "watchdog", *arguments]
        self.refused = False
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._process = self._start()
        self._thread = threading.Thread(target=self._look_after, name="watchdog process", daemon=True)
        self._thread.start()

    def __enter__(self) -> WatchdogProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ending.set()
            process = self._process
            if process.poll() is None:
                process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        self._thread.join()

    @property
    def pid(self) -> int:
        """Id of the process that is running now."""
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def _look_after(self) -> None:
        while True:
            code = self._process.wait()
            if code == _REFUSED and not self._ending.is_set():
                self.refused = True
                os.kill(os.getpid(), signal.SIGTERM)
                return
            # It ends with 0 when it is told to; then so is the parent, or somebody knows what he does.
            if code == 0 or self._ending.wait(_RESTART_AFTER_S):
                return
            print(f"the watchdog ended with exit code {code}; it is started again", file=sys.stderr)
            with self._lock:
                if self._ending.is_set():
                    return
                self._process = self._start()
