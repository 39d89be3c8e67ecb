"""What `alpamayo doctor` looks at of Python, the model's libraries, the GPU and the hub."""

from __future__ import annotations

import platform
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from alpamayo_ros.cli.doctor_report import REINSTALL, Finding, fail, ok, warn

OLDEST_PYTHON = (3, 10)
OLDEST_TORCH = (2, 4)
TRANSFORMERS_RANGE = ((4, 57), (6,))
"""Qwen3-VL came with the first; the second is the first that nobody has tried."""

VRAM_OF_10B_BYTES = 24_000_000_000
"""One sample of a 10B checkpoint in bfloat16, as its model card says; a "24 GB" card reports 25.4e9."""

MODEL_ID = "nvidia/Alpamayo-1.5-10B"
LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "OpenCV": "cv2",
    "PyYAML": "yaml",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
    "rich": "rich",
    "tqdm": "tqdm",
}


def version_tuple(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (2, 13, 0) for "2.13.0+cpu"."""
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def check_python() -> Finding:
    """Look at the interpreter."""
    found = f"Python {platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return fail("python", found, "use Python 3.10 to 3.13: make setup PYTHON=/path/to/python3")
    return ok("python", found)


def check_libraries(libraries: Mapping[str, str] = LIBRARIES) -> Finding:
    """Import the libraries that every part of the stack uses."""
    missing: list[str] = []
    for name, module in libraries.items():
        try:
            import_module(module)
        except Exception as error:  # a broken library raises what it likes
            missing.append(f"{name} ({type(error).__name__}: {error})")
    if missing:
        return fail("libraries", "cannot import " + ", ".join(missing), REINSTALL)
    return ok("libraries", ", ".join(libraries))


def check_bags() -> Finding:
    """Look for what reads and writes bags, and for its compressions."""
    absent = [name for name in ("rosbags", "zstandard", "lz4") if find_spec(name) is None]
    if absent:
        return fail("bags", f"not installed: {', '.join(absent)}", "pip install 'rosbags>=0.11,<0.12'")
    return ok("bags", f"rosbags {metadata.version('rosbags')}: MCAP and sqlite3, zstd, lz4")


def check_torch() -> Finding:
    """Import torch."""
    try:
        torch = import_module("torch")
    except Exception as error:
        return fail(
            "torch", f"cannot be imported: {type(error).__name__}: {error}", "make setup TORCH=cpu|cuda"
        )
    detail = f"torch {torch.__version__}, " + (
        f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    )
    if version_tuple(torch.__version__) < OLDEST_TORCH:
        return fail("torch", detail, f"pip install 'torch>={'.'.join(map(str, OLDEST_TORCH))}'")
    return ok("torch", detail)


def check_gpu() -> Finding:
    """Look for a GPU that the 10B checkpoints fit in."""
    try:
        torch = import_module("torch")
    except Exception:
        return warn("gpu", "not looked for: torch cannot be imported", "see the line on torch")
    if not torch.cuda.is_available():
        if Path("/proc/driver/nvidia/version").exists() and torch.version.cuda is None:
            return warn(
                "gpu",
                "an NVIDIA driver is loaded, but torch is a CPU build",
                "pip uninstall torch, then make setup TORCH=cuda",
            )
        return warn(
            "gpu",
            "none that torch can use; small checkpoints run on the CPU",
            f"a CUDA GPU with 24 GB for the 10B checkpoints such as {MODEL_ID}",
        )
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return judge_gpus({f"{i} {device.name}": device.total_memory for i, device in enumerate(devices)})


def judge_gpus(memory_bytes: Mapping[str, int]) -> Finding:
    """Judge GPUs by their memory: name -> bytes."""
    detail = ", ".join(f"{name} {size / 1e9:.1f} GB" for name, size in memory_bytes.items())
    if max(memory_bytes.values()) < VRAM_OF_10B_BYTES:
        return warn(
            "gpu", f"{detail}; the 10B checkpoints need 24 GB", "use a smaller checkpoint, or a larger GPU"
        )
    return ok("gpu", detail)


def check_transformers() -> Finding:
    """Look for a transformers that has Qwen3-VL, without the seconds that importing it takes."""
    low, high = TRANSFORMERS_RANGE
    remedy = "pip install 'transformers>=4.57,<6'"
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return fail("transformers", "not installed", remedy)
    spec = find_spec("transformers")
    folders = (spec.submodule_search_locations if spec else None) or []
    has_backbone = any((Path(folder) / "models" / "qwen3_vl").is_dir() for folder in folders)
    if not low <= version_tuple(version) or not has_backbone:
        return fail("transformers", f"{version} has no Qwen3-VL", remedy)
    if version_tuple(version) >= high:
        return warn("transformers", f"{version} is newer than any that was tried", remedy)
    return ok("transformers", version)


def check_hub(timeout_s: float = 3.0) -> Finding:
    """Ask the model hub for a checkpoint, briefly, and look into its cache."""
    name = "model hub"
    remedy = "give checkpoints as folders, or set HF_ENDPOINT or HTTPS_PROXY"
    try:
        hub = import_module("huggingface_hub")
        constants = import_module("huggingface_hub.constants")
    except Exception as error:
        return warn(name, f"huggingface_hub: {type(error).__name__}: {error}", f"{remedy}; {REINSTALL}")
    try:
        cached = isinstance(hub.try_to_load_from_cache(MODEL_ID, "config.json"), str)
    except Exception:  # an unreadable cache is an empty one
        cached = False
    cache = f"{MODEL_ID} is {'in the cache' if cached else 'not in the cache'}"
    if constants.HF_HUB_OFFLINE:
        if cached:
            return ok(name, f"not asked (HF_HUB_OFFLINE); {cache}")
        return warn(
            name,
            f"not asked (HF_HUB_OFFLINE); {cache}",
            "unset HF_HUB_OFFLINE, or give checkpoints as folders",
        )
    answer = _ask_hub(f"{constants.ENDPOINT}/api/models/{MODEL_ID}", hub.get_token(), timeout_s)
    if answer == 200:
        return ok(name, f"{constants.ENDPOINT} answers; {cache}")
    if answer in (401, 403):
        return warn(
            name,
            f"{constants.ENDPOINT} refuses {MODEL_ID} ({answer}); {cache}",
            "accept its licence on the hub and run `hf auth login`",
        )
    said = f"answers {answer}" if isinstance(answer, int) else f"cannot be reached ({answer})"
    return warn(name, f"{constants.ENDPOINT} {said}; {cache}", remedy)


def _ask_hub(url: str, token: str | None, timeout_s: float) -> int | str:
    """Return the HTTP status of `url`, or why there is none; looking its name up counts into the time."""
    answer: list[int | str] = []

    def ask() -> None:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                answer.append(int(response.status))
        except urllib.error.HTTPError as error:
            answer.append(error.code)
        except (OSError, ValueError) as error:
            answer.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answer[0] if answer else f"no answer within {timeout_s:g} s"
