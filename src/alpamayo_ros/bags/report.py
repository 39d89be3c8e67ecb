"""summary.png (first version follows)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw_report(path: Path, run: Any, rig: Any, *, summary: dict[str, Any]) -> None:
    """Draw."""
