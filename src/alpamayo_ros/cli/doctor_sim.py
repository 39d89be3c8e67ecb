"""What `alpamayo doctor` looks at for the simulator: whether pictures can be drawn without a screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from alpamayo_ros.cli.doctor_report import Finding, ok, warn

INSTALL = "only the simulator needs it: apt-get install libegl1 libgl1-mesa-dri"
_TIMEOUT_S = 60.0


def check_egl(environment: Mapping[str, str] | None = None, *, timeout_s: float = _TIMEOUT_S) -> Finding:
    """Make a context in a child process, which a broken driver may take with it, and name what draws.

    Args:
        environment: of the child; this process' by default.
        timeout_s: how long the driver may take.
    """
    given = dict(os.environ if environment is None else environment)
    source = str(Path(__file__).resolve().parents[2])
    given["PYTHONPATH"] = os.pathsep.join(filter(None, (source, given.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "alpamayo_ros.sim.render.probe"]
    try:
        done = subprocess.run(
            command, env=given, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return warn("egl", f"no OpenGL context within {timeout_s:g} s", INSTALL)
    said = (done.stdout.strip() or done.stderr.strip() or "nothing was said").splitlines()[-1]
    if done.returncode < 0:
        return warn("egl", f"the OpenGL driver ended the process by signal {-done.returncode}", INSTALL)
    if done.returncode:
        return warn("egl", said, INSTALL)
    return ok("egl", f"{said}{' (no GPU, drawn by the CPU)' if 'llvmpipe' in said else ''}")
