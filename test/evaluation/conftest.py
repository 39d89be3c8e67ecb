from __future__ import annotations

import sys
from pathlib import Path

_TEST = Path(__file__).parents[1]
sys.path[:0] = [str(_TEST / "sim" / "planners"), str(_TEST / "evaluation")]  # for causes and drives
