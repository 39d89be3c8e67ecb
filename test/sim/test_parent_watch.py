"""Workers of a pool end when the process that started them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from alpamayo_ros.sim.parent_watch import end_with_parent

if __name__ == "__main__":
    end_with_parent()  # of no pool: nothing happens
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert _runs(worker)
        os.kill(parent.pid, signal.SIGKILL)
        until = time.monotonic() + 20.0
        while _runs(worker) and time.monotonic() < until:
            time.sleep(0.1)
        assert not _runs(worker)


def _runs(pid: int) -> bool:
    """Return whether a process is there, and not only its entry."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
