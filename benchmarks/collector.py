"""How long one full garbage collection stops the planner's process, before and after `settle_collector`.

    python benchmarks/collector.py

Everything that a planner with a checkpoint imports is there. While the collector walks no thread runs, and
neither does the one that publishes the stop.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from pathlib import Path

ROUNDS = 7


def pause_ms() -> float:
    """Return the median time of a full collection."""
    taken = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        gc.collect()
        taken.append((time.perf_counter() - began_s) * 1e3)
    return statistics.median(taken)


def main() -> None:
    import alpamayo_ros.nodes.planner  # noqa: F401 -- brings rclpy and the messages
    from alpamayo_ros.interpreter import settle_collector
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.model.random_checkpoint import write_random_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_random_checkpoint(Path(folder) / "checkpoint", size="tiny", seed=0)
        model = Alpamayo.from_pretrained(str(checkpoint or Path(folder) / "checkpoint"), device="cpu")
        objects = len(gc.get_objects())
        before_ms = pause_ms()
        settle_collector()
        after_ms = pause_ms()
        model.close()
    print(f"{objects} objects: a full collection takes {before_ms:.1f} ms, once settled {after_ms:.3f} ms")
    print(f"ratio {after_ms / before_ms:.5f}")


if __name__ == "__main__":
    main()
