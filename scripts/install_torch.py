"""Install torch into this Python's environment: stock torch for CUDA, a small CPU build otherwise.

An installed torch is kept. For the CPU, pip is asked what its index would give: on Linux that is usually a
CUDA build of several GB, and then PyTorch's own index of CPU builds is used instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

TESTED_VERSION = "2.13.0"
OLDEST = "torch>=2.4"
"""As in pyproject.toml; taken where the tested version has no build for this Python."""
CPU_INDEX_URL = os.environ.get("TORCH_CPU_INDEX_URL", "https://download.pytorch.org/whl/cpu")
CUDA_PACKAGES = ("nvidia-", "cuda-", "triton")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pip of this Python and return what it printed."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


def has_nvidia_driver() -> bool:
    """Tell whether an NVIDIA driver is loaded."""
    return (
        Path("/proc/driver/nvidia/version").exists()
        or Path("/dev/nvidiactl").exists()
        or Path("/dev/dxg").exists()
    )


def planned_packages(requirement: str) -> list[str] | None:
    """Return the packages that pip's index would bring for `requirement`, or None if it has none."""
    answer = pip("install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", requirement)
    if answer.returncode != 0:
        return None
    report = json.loads(answer.stdout)
    return [item["metadata"]["name"].lower().replace("_", "-") for item in report["install"]]


def installed_build() -> tuple[str, str | None]:
    """Return the version of the installed torch and the CUDA version that it was built for, if any."""
    code = "import torch; print(torch.__version__, torch.version.cuda or '')"
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    version, _, cuda = answer.stdout.strip().partition(" ")
    return version, cuda or None


def main() -> int:
    """Install torch as the options say and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--version", default="", help=f"torch version, default {TESTED_VERSION}")
    options = parser.parse_args()

    try:
        kept = metadata.version("torch")
    except metadata.PackageNotFoundError:
        pass
    else:
        print(f"torch {kept} is installed already and kept")
        return 0

    device = options.device
    if device == "auto":
        device = "cuda" if has_nvidia_driver() else "cpu"
    requirement = f"torch=={options.version or TESTED_VERSION}"
    planned = planned_packages(requirement)
    if planned is None and not options.version:
        print(f"{requirement}: no build for this Python and platform; taking {OLDEST}")
        requirement = OLDEST
        planned = planned_packages(requirement)
    if planned is None:
        print(f"{requirement}: pip's index has no such torch for this Python and platform", file=sys.stderr)
        return 1

    arguments = ["install", "--quiet", requirement]
    if device == "cpu" and any(name.startswith(CUDA_PACKAGES) for name in planned):
        print(f"Installing {requirement} for the CPU from {CPU_INDEX_URL} (TORCH=cuda takes the CUDA build)")
        arguments += ["--index-url", CPU_INDEX_URL]
    else:
        print(f"Installing {requirement} ({device})")
    if pip(*arguments).returncode != 0:
        print(
            f"Installing {requirement} failed; install a torch of your choice into the virtual environment "
            "(it will be kept) and run make again",
            file=sys.stderr,
        )
        return 1

    version, cuda = installed_build()
    print(f"torch {version}, " + (f"built for CUDA {cuda}" if cuda else "CPU only"))
    if device == "cuda" and cuda is None:
        print(
            "An NVIDIA GPU was wanted, but pip's index gave a build for the CPU: install another torch into "
            "the virtual environment, or say TORCH=cpu",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
