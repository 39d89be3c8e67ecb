"""The driver as AlpaSim's users start it: a process of its own, and what the system says of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

SOURCE = Path(__file__).resolve().parents[2] / "src"
READY = re.compile(r"AlpaSim driver on (\S+:\d+)")


def alpamayo(*arguments: object) -> list[str]:
    """Return the command line of `alpamayo`."""
    return [sys.executable, "-m", "alpamayo_ros.cli.main", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return an environment in which `alpamayo` runs from here."""
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Resources:
    """What a process holds."""

    rss_bytes: int
    threads: int
    files: int


class DriverProcess:
    """`alpamayo alpasim-driver --no-ros` on a free port, its output in a file; ended with the context."""

    def __init__(self, log: Path, *arguments: object, ready_s: float = 120.0) -> None:
        self.log = log
        command = alpamayo("alpasim-driver", "--no-ros", "--rig", "sim", "--port", 0, *arguments)
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, env=environment(), stdout=file, stderr=subprocess.STDOUT)
        try:
            self.address = self._wait(time.monotonic() + ready_s)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _wait(self, until_s: float) -> str:
        while time.monotonic() < until_s:
            ready = READY.search(self.output)
            if ready is not None:
                return ready[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"the driver does not listen: {self.output}")

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def resources(self) -> Resources:
        """Return what it holds now."""
        folder = Path("/proc") / str(self.process.pid)
        status = (folder / "status").read_text()
        numbers = {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.M)}
        return Resources(numbers["VmRSS"] * 1024, numbers["Threads"], len(list((folder / "fd").iterdir())))

    def stop(self) -> int:
        """End it as a user does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __enter__(self) -> DriverProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
