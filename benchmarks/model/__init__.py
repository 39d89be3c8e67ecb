"""Benchmarks of a plan's computation; they run from a checkout with torch and transformers alone."""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
warnings.filterwarnings("ignore", category=FutureWarning)
