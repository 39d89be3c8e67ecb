from __future__ import annotations

import sys
from pathlib import Path

_TEST = Path(__file__).parents[2]
sys.path[:0] = [str(_TEST / "sim"), str(_TEST / "training")]  # for rollouts, samples and data sets
