"""A clip's bag in use: observations as upstream's rule has them, training samples, a plan, a replay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("physical_ai_av", reason="the extra `dataset` is not installed")

import clip_factory as factory
from clip_factory import COMPLETE, DRIVE, WRITTEN

from alpamayo_ros.cli.main import main
from alpamayo_ros.datasets.physical_ai.clip import Clip, read_clip
from alpamayo_ros.datasets.physical_ai.names import stamp_ns
from alpamayo_ros.datasets.physical_ai.source import open_folder
from alpamayo_ros.datasets.physical_ai.to_bag import BagSettings, WrittenBag, write_bag
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
from alpamayo_ros.types import Observation

SECONDS = 8.6
LIMIT_S = 240


@pytest.fixture(scope="module")
def long_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("long")
    factory.write_repository(root, seconds=SECONDS)
    return root


@pytest.fixture(scope="module")
def written(long_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> WrittenBag:
    clip = read_clip(open_folder(long_repository), COMPLETE, camera_ids=USUAL_CAMERA_IDS)
    return write_bag(clip, tmp_path_factory.mktemp("bags") / "clip", settings=BagSettings(rate_hz=10))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    assert main(["checkpoint", "random", str(path), "--size", "tiny"]) == 0
    return path


@pytest.fixture(scope="module")
def observation(clip_short: Clip, tmp_path_factory: pytest.TempPathFactory) -> Observation:
    from alpamayo_ros.bags.reader import BagReader
    from alpamayo_ros.evaluation.drive import BagDrive
    from alpamayo_ros.sensing.rig import load_rig

    bag = write_bag(clip_short, tmp_path_factory.mktemp("all") / "clip")
    with BagReader(bag.bag) as opened:
        drive = BagDrive(opened, load_rig(bag.rig_file))
        return list(drive.observations(left_out=Counter[str]()))[-1]


@pytest.fixture(scope="module")
def clip_short(repository: Path) -> Clip:
    return read_clip(open_folder(repository), COMPLETE, camera_ids=USUAL_CAMERA_IDS)


def test_history_is_that_of_upstreams_loader(repository: Path, observation: Observation) -> None:
    """Upstream interpolates the package's egomotion at t0 - 1.5 s ... t0, and turns it into the rig at t0."""
    t0_us = (observation.t0_ns - stamp_ns(0)) // 1000
    assert t0_us in factory.stamps_us("camera_front_wide_120fov", 2.0)
    state = open_folder(repository).get_clip_feature(COMPLETE, "egomotion")
    poses = state(t0_us - np.arange(15, -1, -1) * 100_000).pose
    history = poses[-1].inv() * poses
    np.testing.assert_allclose(observation.history_xyz_in_rig_t0, history.translation, atol=2e-4)
    np.testing.assert_allclose(observation.history_rot_in_rig_t0, history.rotation.as_matrix(), atol=1e-5)
    np.testing.assert_allclose(observation.rig_pose_in_odom_at_t0, DRIVE.pose(t0_us * 1e-6), atol=1e-4)


def test_frames_are_those_next_to_their_times(observation: Observation) -> None:
    assert observation.camera_ids == USUAL_CAMERA_IDS
    for row, feature in enumerate(WRITTEN):
        stamps_us = (observation.frame_stamps_ns[row] - stamp_ns(0)) // 1000
        for step, stamp_us in enumerate(stamps_us):
            wanted_us = (observation.t0_ns - stamp_ns(0)) // 1000 - (3 - step) * 100_000
            assert abs(stamp_us - wanted_us) < 17_500
            drawn = factory.picture(feature, stamp_us * 1e-6).astype(int)
            shown = np.moveaxis(observation.frames[row][step], 0, 2).astype(int)
            assert np.abs(shown - drawn).mean() < 4


def test_a_plan_is_made_of_it(observation: Observation, checkpoint: Path) -> None:
    from alpamayo_ros.model import Alpamayo, PlanOptions

    model = Alpamayo.from_pretrained(checkpoint, device="cpu", dtype="float32")
    plan = model.plan(observation, PlanOptions(num_samples=2, max_reasoning_tokens=4, flow_steps=2, seed=1))
    assert plan.t0_ns == observation.t0_ns
    assert plan.xyz_in_rig_t0.shape == (2, 64, 3) and np.isfinite(plan.xyz_in_rig_t0).all()
    # The speed that a plan starts from is that of the history, even of random weights.
    np.testing.assert_allclose(plan.speed_mps[:, 0], DRIVE.speed_mps, rtol=0.02)


def test_training_samples_are_made_of_it(
    written: WrittenBag, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from alpamayo_ros.training.dataset import EpisodeSamples

    command = ["train", "data", "--bag", str(written.bag), "--rig", str(written.rig_file)]
    assert main([*command, "--out", str(tmp_path / "set")]) == 0, capsys.readouterr()
    samples = EpisodeSamples(tmp_path / "set", split="train")
    assert len(samples) >= 5
    sample = samples[0]
    t0_s = (sample.observation.t0_ns - stamp_ns(0)) * 1e-9
    rig_from_anchor = np.linalg.inv(DRIVE.pose(t0_s))
    truth = [(rig_from_anchor @ DRIVE.pose(t0_s + 0.1 * (i + 1)))[:3, 3] for i in range(64)]
    np.testing.assert_allclose(sample.future_xyz_in_rig_t0, truth, atol=2e-3)


@pytest.mark.long
def test_the_bag_is_evaluated(written: WrittenBag, checkpoint: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(written.bag), "--rig", str(written.rig_file), "--checkpoint", str(checkpoint)]
    options = ["--samples", "2", "--plan-options", "max_reasoning_tokens=4", "--out", str(tmp_path / "out")]
    assert main([*words, *options]) == 0
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())


@pytest.mark.long
def test_the_bag_is_replayed_through_the_planner(
    written: WrittenBag, checkpoint: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "alpamayo_ros.cli.main",
        "replay",
        written.bag,
        "--rig",
        written.rig_file,
    ]
    command += ["--checkpoint", checkpoint, "--out", tmp_path / "out", "--max-reasoning-tokens", "8"]
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    # 80 where nothing else runs; a busy machine skips some, as the planner takes the newest only.
    assert summary["observations"] >= 10, summary
    assert sum(summary["plans"].values()) >= 5, summary
    assert summary["refusals_after_start_up"].keys() <= {"gate"}
    assert (tmp_path / "out" / "summary.png").stat().st_size > 10_000
