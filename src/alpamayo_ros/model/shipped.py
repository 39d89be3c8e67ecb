"""Checkpoints that ship with the package, found by name: "pisco" is share/alpamayo_ros/checkpoints/pisco.

Looked for in the source tree first, then where the package is installed. Wherever a checkpoint is a folder or
a hub id, it may be one of these names; a folder of that name in the present directory comes first.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from alpamayo_ros.model.config import CheckpointError

NAMES = ("pisco",)
"""A hub id has a slash, so none can be meant."""

_FOLDER = "checkpoints"


def checkpoint_folders() -> list[Path]:
    """Return where shipped checkpoints are looked for, the first to win first; they need not be there."""
    module = Path(__file__).resolve()
    prefixes = [Path(each) for each in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if each]
    installed = [prefix / "share" / "alpamayo_ros" for prefix in (*prefixes, Path(sys.prefix))]
    return [root / _FOLDER for root in (module.parents[3], *installed)]


def is_shipped(name: str) -> bool:
    """Return whether a checkpoint of this name is there."""
    return name in NAMES and any((folder / name / "config.json").is_file() for folder in checkpoint_folders())


def shipped_checkpoint(name: str) -> Path:
    """Return the folder of a shipped checkpoint.

    Raises:
        CheckpointError: for another name, or where none is installed.
    """
    if name not in NAMES:
        raise CheckpointError(f"checkpoint: expected one of {', '.join(NAMES)}, got {name!r}")
    folders = checkpoint_folders()
    for folder in folders:
        if (folder / name / "config.json").is_file():
            return folder / name
    looked = ", ".join(map(str, folders))
    raise CheckpointError(f"checkpoint {name}: expected it in one of {looked}, got none: none is installed")


def or_shipped(name: str) -> str:
    """Return the folder of a shipped checkpoint's name, anything else as it is.

    Raises:
        CheckpointError: for a shipped checkpoint that is not installed.
    """
    if name not in NAMES or Path(name).is_dir():
        return name
    return str(shipped_checkpoint(name))
