"""`alpamayo sim-renderer` as a child process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from alpamayo_ros.sim.render.gpu import RendererUnavailable

READY = "serving on "
"""What the child's line on its standard output begins with, before host:port."""

_TAIL_LINES = 30


class RendererProcess:
    """A renderer of our own, which ends with this process however that ends.

    The child watches its standard input, which closes when this process dies. Use it as a context manager, or
    call `stop`.

    Args:
        asl_logs: logs to make scenes from, beside the procedural ones.
        cache_scenes: how many scenes to keep ready.
        startup_timeout_s: how long to wait until it serves.

    Raises:
        RendererUnavailable: if it ends or does not serve in time; the message ends with its last lines.
    """

    def __init__(
        self,
        *,
        asl_logs: Sequence[Path] = (),
        cache_scenes: int = 8,
        host: str = "127.0.0.1",
        port: int = 0,
        startup_timeout_s: float = 90.0,
    ) -> None:
        command = [sys.executable, "-m", "alpamayo_ros.cli.main", "sim-renderer", "--until-stdin-closes"]
        command += ["--host", host, "--port", str(port), "--cache-scenes", str(cache_scenes)]
        for log in asl_logs:
            command += ["--scene-from-asl", str(log)]
        # The child must find this very package, from wherever this process did.
        source = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._address: str | None = None
        self._serving = threading.Event()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # a Ctrl-C at the terminal is for this process, which then ends the child
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        self._await_start(startup_timeout_s)

    @property
    def address(self) -> str:
        """host:port."""
        assert self._address is not None
        return self._address

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def log_tail(self) -> str:
        """Return the last lines that the child has printed."""
        return "\n".join(self._tail)

    def stop(self, grace_s: float = 5.0) -> None:
        """End the child: politely, then by force."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        for end in (lambda: None, self._process.terminate, self._process.kill):
            end()
            try:
                self._process.wait(timeout=grace_s)
                break
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(timeout=1.0)

    def __enter__(self) -> RendererProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._tail.append(line.rstrip())
            match = re.match(rf"{READY}(\S+)", line)
            if match is not None:
                self._address = match[1]
                self._serving.set()
        self._serving.set()

    def _await_start(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._serving.wait(timeout_s)
        if self._address is not None:
            return
        waited = time.monotonic() > deadline
        self.stop(1.0)
        reason = (
            f"did not serve within {timeout_s:g} s"
            if waited
            else f"ended with code {self._process.returncode}"
        )
        raise RendererUnavailable(f"alpamayo sim-renderer {reason}; it said:\n{self.log_tail()}")
