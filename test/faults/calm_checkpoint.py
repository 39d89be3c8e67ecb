"""A small real checkpoint that drives on at the speed it has: the whole model runs, and the gate passes it.

The weights are random, as those of `alpamayo checkpoint random`, but for the last projection of the expert,
which is zero. With noise_temperature 0 the flow then ends where it began, at the mean action: next to no
acceleration and no curvature.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from alpamayo_ros.model.random_checkpoint import write_random_checkpoint

CALM = {"noise_temperature": 0.0, "max_reasoning_tokens": 4, "seed": 5}
"""Parameters of the planner for this checkpoint."""


def write_calm_checkpoint(folder: Path) -> Path:
    """Write it to a new folder, which is returned."""
    write_random_checkpoint(folder, size="tiny", seed=0)
    changed = 0
    for path in sorted(folder.glob("*.safetensors")):
        tensors = load_file(path)
        for name, tensor in tensors.items():
            if "action_out_proj" in name:
                tensor.zero_()
                changed += 1
        save_file(tensors, path, metadata={"format": "pt"})
    assert changed, f"{folder}: expected a projection of the action to silence, got none"
    return folder
