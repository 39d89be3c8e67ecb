"""The planner in a process of its own, which never outlives the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1
# Loaded before the fork: the child may call little that takes locks.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class PlannerProcess:
    """`alpamayo run planner …` as a child process with its output in a file.

    It leads a session of its own: Ctrl-C in the terminal reaches only the parent, which ends it in
    order. Should the parent be killed, the kernel (Linux) ends the child too.

    Args:
        arguments: of `alpamayo run planner`.
        environment: of the child.
        log_path: file for its stdout and stderr.
    """

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str], log_path: Path) -> None:
        self.log_path = log_path
        command = [sys.executable, "-m", "alpamayo_ros.cli.main", "run", "planner", *arguments]
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs yet
            )

    def __enter__(self) -> PlannerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def stop(self, *, timeout_s: float = 15.0) -> int:
        """End it: SIGINT, after a while SIGTERM, at last SIGKILL; return its exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                continue
        return self._process.wait()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines of its output."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"({error})"
        return "\n".join(text.splitlines()[-lines:])


def _die_with_parent() -> None:
    """Run in the child before it becomes Python: ask for SIGTERM when the parent dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == 1:  # it died before we asked
            os._exit(1)
