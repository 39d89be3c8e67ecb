"""The reference sets, each test over all that are there."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import load_alpamayo
from safetensors.torch import load_file

from alpamayo_ros.model import Alpamayo
from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer

ROOT = Path(__file__).resolve().parents[2]
NAVIGATION = "Turn left onto Main Street in 40m"
QUESTION = "What is ahead of the ego vehicle?"


@dataclass(frozen=True, eq=False)
class GoldenSet:
    """Inputs and outputs of upstream's code on one tiny checkpoint; see golden/README.md."""

    folder: Path
    config: ModelConfig
    tokenizer: AlpamayoTokenizer
    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]
    navigation: str = field(default=NAVIGATION)
    question: str = field(default=QUESTION)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    @property
    def planning_tags(self) -> list[str]:
        """The tags that have a trajectory."""
        return [tag for tag in self.record["texts"] if f"{tag}.action" in self.tensors]

    def instruction(self, tag: str) -> str | None:
        """The navigation text of a tag."""
        return self.navigation if tag.startswith("nav") else None

    @property
    def history(self) -> tuple[torch.Tensor, torch.Tensor]:
        """xyz [16, 3] m and rot [16, 3, 3]."""
        return self["ego_history_xyz"][0, 0], self["ego_history_rot"][0, 0]


def _folder() -> Path:
    return Path(os.environ.get("ALPAMAYO_GOLDEN", ROOT.parent / "shared" / "golden"))


def _set_names() -> list[str]:
    found = sorted(path.parent.name for path in _folder().glob("*/golden.safetensors"))
    return found or ["alpamayo1_5", "alpamayo_r1"]


@functools.cache
def load_golden(folder: Path) -> GoldenSet:
    """Load one set; its tensors and tokenizer are shared, so tests must not change them."""
    config = ModelConfig.from_file(folder / "checkpoint")
    return GoldenSet(
        folder=folder,
        config=config,
        tokenizer=AlpamayoTokenizer.load(folder / "backbone", config),
        tensors=load_file(folder / "golden.safetensors"),
        record=json.loads((folder / "golden.json").read_text()),
    )


@pytest.fixture(scope="session", params=_set_names())
def golden(request: pytest.FixtureRequest, golden_dir: Path) -> GoldenSet:
    """Each reference set in turn."""
    return load_golden(golden_dir / request.param)


@pytest.fixture(scope="session")
def golden_1_5(golden_dir: Path) -> GoldenSet:
    """The reference set of Alpamayo 1.5."""
    return load_golden(golden_dir / "alpamayo1_5")


@pytest.fixture(scope="session")
def golden_r1(golden_dir: Path) -> GoldenSet:
    """The reference set of Alpamayo 1."""
    return load_golden(golden_dir / "alpamayo_r1")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def raw_config() -> dict[str, Any]:
    """A config.json in the layout and with the numbers of the released Alpamayo 1.5, freshly made."""
    space = {
        "_target_": "alpamayo1_5.action_space.unicycle_accel_curvature.UnicycleAccelCurvatureActionSpace",
        "accel_mean": 0.029,
        "accel_std": 0.68,
        "curvature_mean": 0.00027,
        "curvature_std": 0.026,
        "n_waypoints": 64,
        "dt": 0.1,
    }
    return {
        "model_type": "alpamayo1_5",
        "vlm_name_or_path": "nvidia/Cosmos-Reason2-8B",
        "traj_vocab_size": 4000,
        "tokens_per_history_traj": 48,
        "tokens_per_future_traj": 128,
        "min_pixels": None,
        "max_pixels": None,
        "add_special_tokens": True,
        "traj_tokenizer_cfg": {
            "_target_": "alpamayo1_5.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "_recursive_": False,
            "action_space_cfg": dict(space),
            "dims_min": [-10, -10],
            "dims_max": [10, 10],
            "num_bins": 3000,
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": "alpamayo1_5.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "num_bins": 1000,
        },
        "action_space_cfg": dict(space),
        "diffusion_cfg": {"_target_": "alpamayo1_5.diffusion.flow_matching.FlowMatching"},
        "action_in_proj_cfg": {"_target_": "alpamayo1_5.models.action_in_proj.PerWaypointActionInProjV2"},
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "expert_cfg": {"hidden_size": 2048},
    }


@pytest.fixture(scope="session")
def golden_alpamayo(golden: GoldenSet) -> Alpamayo:
    """Each reference set's model in turn, in step with `golden`."""
    return load_alpamayo(golden.folder / "checkpoint", golden.folder / "backbone")


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight Alpamayo 1.5 checkpoint of other sizes than the reference sets'; not to be changed."""
    return write_random_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", size="tiny", seed=7)


@pytest.fixture(scope="session")
def random_alpamayo(random_folder: Path) -> Alpamayo:
    """The model of `random_folder`."""
    return load_alpamayo(random_folder)
