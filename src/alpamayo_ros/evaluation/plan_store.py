"""Plans on disk, a line each as they are made, so that a run that was killed goes on behind the last one."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alpamayo_ros.audit.codec import from_json, to_json
from alpamayo_ros.types import InvalidInput, Plan

_DONE = "done"
_BLOCK = 2**16


class PlanStore:
    """The plans of one bag, in a file of JSON lines; use it as a context manager to write.

    A line is {"t0_ns", "wall_ms", "instruction", "plan", "left_out"}; `left_out` counts what was left out up
    to there, and why. The last line of a bag that was read to its end is {"done": true, "left_out": {...}}.
    A line without its newline was being written when the process ended: it is taken off.

    Args:
        path: made if need be.

    Raises:
        InvalidInput: for a file that holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_done = False
        self.last_t0_ns = 0
        self.count = 0
        self.left_out: Counter[str] = Counter()
        self._file: Any = None
        path.parent.mkdir(parents=True, exist_ok=True)
        _take_off_torn_line(path)
        for line in _lines(path):
            self.left_out = Counter(line["left_out"])
            self.is_done = bool(line.get(_DONE))
            if not self.is_done:
                self.last_t0_ns, self.count = int(line["t0_ns"]), self.count + 1

    def __enter__(self) -> PlanStore:
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._file = None

    def add(self, plan: Plan, *, instruction: str, wall_ms: float) -> None:
        """Write one plan; it is in the system's hands when this returns.

        Args:
            plan: later than all before.
            instruction: what it was made with.
            wall_ms: how long it took, from the observation in to the plan out.
        """
        content = {"t0_ns": plan.t0_ns, "wall_ms": round(wall_ms, 3), "instruction": instruction}
        self._write({**content, "plan": to_json(plan)})
        self.last_t0_ns, self.count = plan.t0_ns, self.count + 1

    def finish(self) -> None:
        """Write that there are no more."""
        self._write({_DONE: True})
        self.is_done = True

    def plans(self) -> Iterator[tuple[Plan, str, float]]:
        """Yield the plans, each with its instruction and wall time in ms."""
        for line in _lines(self.path):
            if not line.get(_DONE):
                plan = from_json(Plan, line["plan"], name=f"{self.path}: plan")
                yield plan, str(line["instruction"]), float(line["wall_ms"])

    def _write(self, content: dict[str, Any]) -> None:
        line = {**content, "left_out": dict(self.left_out)}
        self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()


def _take_off_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep:
            block = min(_BLOCK, keep)
            file.seek(keep - block)
            newline = file.read(block).rfind(b"\n")
            keep = keep - block + newline + 1 if newline >= 0 else keep - block
            if newline >= 0:
                break
        if keep < end:
            file.truncate(keep)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                line = json.loads(text)
                if not isinstance(line, dict) or "left_out" not in line:
                    raise ValueError(text[:60])
            except ValueError as error:
                raise InvalidInput(f"{path}:{number}: expected a plan's line, got {text[:60]!r}") from error
            yield line
