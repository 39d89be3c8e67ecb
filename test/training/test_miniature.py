"""The whole pipeline in five minutes: from scenes to a policy that drives better than what it began as."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from alpamayo_ros.cli.main import main

CAMERA = ("--cameras", "front_wide")
SMALL = ("--rendered", "96x160")
TRAIN = ",".join(f"{family}-{seed}" for seed in (100, 101, 120, 121) for family in ("straight", "curve"))
HELD_OUT = "straight-180,curve-181"


@pytest.mark.long
def test_a_policy_learns_to_see_to_speak_and_to_drive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def alpamayo(*arguments: str) -> str:
        begun_s = time.monotonic()
        assert main(["train", *map(str, arguments)]) == 0, arguments
        said = capsys.readouterr().out
        with capsys.disabled():
            print(f"\n{arguments[0]}: {time.monotonic() - begun_s:.0f} s", end="", flush=True)
        return said

    data, staged, see, sft = (str(tmp_path / name) for name in ("data", "staged", "see", "sft"))
    alpamayo("data", "--scenarios", f"{TRAIN},{HELD_OUT}", "--out", data, "--seconds", "10", *CAMERA, *SMALL,
             "--no-undisturbed", "--workers", "2")  # fmt: skip
    alpamayo("stage", "--scenarios", "straight-200,curve-201,straight-220,curve-221,straight-240,curve-241,"
             f"{HELD_OUT}", "--out", staged, *CAMERA, *SMALL, "--workers", "2")  # fmt: skip
    alpamayo("perceive", "--data", staged, "--words", data, "--checkpoint", "small:1M", "--out", see,
             "--steps", "150", "--rate", "2e-3", "--eval-every", "150")  # fmt: skip
    alpamayo("sft", "--data", data, "--checkpoint", f"{see}/checkpoint", "--out", sft, "--stage", "joint",
             "--freeze-vision", "--vision-cache", "1000", "--trajectory-weight", "0", "--flow-weight", "2",
             "--displacement-weight", "2", "--read-plan", "--rate", "2e-3", "--ema", "0.98",
             "--steps", "350", "--eval-every", "350", "--eval-samples", "16")  # fmt: skip
    alpamayo("export", sft, f"{sft}/policy")
    road = str(tmp_path / "road")
    alpamayo("road", "--checkpoint", f"{sft}/policy", "--data", data, "--out", road, "--stage", "joint",
             "--freeze-vision", "--steps", "60", "--rate", "5e-4", "--episodes", "4", "--seconds", "6",
             "--samples", "4", "--judged", "1", "--workers", "2")  # fmt: skip
    last, scores = f"{road}/iteration1/checkpoint", tmp_path / "scores"
    said = alpamayo("evaluate", last, "--baseline", f"{see}/start", "--out", str(scores), "--data", data,
                    "--scenarios", HELD_OUT, "--jobs", "2")  # fmt: skip
    with capsys.disabled():
        print("\n" + said)
    difference = json.loads((scores / "comparison.json").read_text())["difference"]["progress_score"]
    assert difference["mean"] > 0.03  # it drives farther before its first fault
