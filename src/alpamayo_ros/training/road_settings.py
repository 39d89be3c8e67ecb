"""What a RoaD run does. What changes its result may not change between a run and its resumption."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.scene import FAMILIES, family_and_seed, scene_id_of
from alpamayo_ros.training.closed_loop import checkpoint_identity
from alpamayo_ros.training.episode import FrameCodec, Split, split_of
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.training.road_guidance import Guidance
from alpamayo_ros.training.settings import JOINT, TrainSettings
from alpamayo_ros.training.shards import SETTINGS_FILE, read_index
from alpamayo_ros.training.simulate import MOST_TICKS, PictureSettings
from alpamayo_ros.types import InvalidInput

ROAD_FILE = "road.json"
_SEED_SPACING = 1000
"""Between the rollouts' seeds of two runs whose seeds are neighbours: an iteration's is added."""


@dataclass(frozen=True)
class RoadSettings:
    """A RoaD run.

    Attributes:
        checkpoint, backbone: where it starts, as for Alpamayo.from_pretrained.
        data: what the start was cloned from, a data set of episodes.
        scene_ids: scenes to roll out in, of the train split.
        judged_scene_ids: scenes on which each iteration's checkpoint is scored, of the validation split; none
            to score nothing.
        stages: how each iteration fine-tunes: stage 1, stage 2, both in order, or the joint one.
        dtype: in which the result will drive (RunStart).
        episodes: rollouts an iteration, each in a scene of its own.
        ticks: of each rollout at most, 10 a second.
        mix: share of the draws that are from rollouts, of this and of all earlier iterations.
        balance: tags over which rollouts and original data are each drawn evenly.
        guidance: of the rollouts.
        seed: of scenes' order, what policies draw, and wording.

    Raises:
        InvalidInput: for a number out of its range, more episodes than scenes, or a scene of another split.
    """

    checkpoint: str
    data: Path
    scene_ids: tuple[str, ...]
    judged_scene_ids: tuple[str, ...]
    stages: tuple[TrainSettings, ...]
    backbone: str | None = None
    dtype: str = "float32"
    episodes: int = 40
    ticks: int = MOST_TICKS
    mix: float = 0.5
    balance: tuple[str, ...] = ()
    guidance: Guidance = field(default_factory=Guidance)
    seed: int = 0

    def __post_init__(self) -> None:
        _require_split(self.scene_ids, "train", name="scenarios")
        _require_split(self.judged_scene_ids, "validation", name="judged scenarios")
        if not 1 <= self.episodes <= len(self.scene_ids):
            raise InvalidInput(
                f"episodes: expected 1 ... {len(self.scene_ids)}, one a scene, got {self.episodes}"
            )
        if not 0 < self.mix <= 1:
            raise InvalidInput(f"mix: expected a share in (0, 1], got {self.mix}")
        if not 1 <= self.ticks <= MOST_TICKS:
            raise InvalidInput(f"ticks: expected 1 ... {MOST_TICKS} (0.1 s each), got {self.ticks}")
        if not 0 <= self.seed < 2**48:
            raise InvalidInput(f"seed: expected 0 ... 2^48 - 1, got {self.seed}")
        order = [settings.stage for settings in self.stages]
        if order not in ([1], [2], [1, 2], [JOINT]):
            raise InvalidInput(f"stages: expected 1, 2, both in order, or {JOINT}, got {order}")
        if any(settings.patience for settings in self.stages):
            raise InvalidInput("patience: expected 0: RoaD's training has no held-out samples, got another")

    def scenes_of(self, iteration: int) -> tuple[str, ...]:
        """Return an iteration's scenes: the next ones of a shuffled order, round and round.

        Shuffled within families, which take turns, so that few episodes hold as many families as they can.
        """
        rng = np.random.default_rng([self.seed, len(self.scene_ids)])
        by_family: dict[str, list[str]] = {family: [] for family in FAMILIES}
        for index in rng.permutation(len(self.scene_ids)):
            scene_id = self.scene_ids[int(index)]
            by_family[family_and_seed(scene_id)[0]].append(scene_id)
        order: list[str] = []
        while len(order) < len(self.scene_ids):
            order += [scenes.pop() for scenes in by_family.values() if scenes]
        first = (iteration - 1) * self.episodes
        return tuple(order[(first + number) % len(order)] for number in range(self.episodes))

    def rollout_seed(self, iteration: int) -> int:
        """Return the seed of an iteration's rollouts."""
        return self.seed * _SEED_SPACING + iteration

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON holds them.

        Checkpoint and data set go by content: where they lie does not matter.

        Raises:
            DataSetError: where the data set is none.
        """
        found = {
            **asdict(self),
            "checkpoint": checkpoint_identity(self.checkpoint),
            "data": _data_identity(self.data),
            "stages": [stage.as_dict() for stage in self.stages],
        }
        return dict(json.loads(json.dumps(found)))

    def settle(self, out: Path) -> None:
        """Write the settings into a new run's folder, or compare with those of the run that is there.

        Raises:
            InvalidInput: for a run of other settings (it names them), or a folder with something else in it.
        """
        wanted, path = self.as_dict(), out / ROAD_FILE
        if not path.is_file():
            if any(not each.name.startswith(".") for each in out.iterdir()):
                raise InvalidInput(f"{out}: expected a new folder or a RoaD run, got other files")
            write_json(path, wanted)
            return
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        earlier = [TrainSettings.from_dict(each) for each in found.pop("stages")]
        del wanted["stages"]
        other = [
            f"{name} {found.get(name)!r}, not {wanted.get(name)!r}"
            for name in sorted({*found} | {*wanted})
            if found.get(name) != wanted.get(name)
        ]
        if [each.stage for each in earlier] != [each.stage for each in self.stages]:
            other.append(
                f"stages {[each.stage for each in earlier]}, not {[each.stage for each in self.stages]}"
            )
        if other:
            raise InvalidInput(
                f"{out}: expected the settings that this run was begun with: {'; '.join(other)}"
            )
        for stage, before in zip(self.stages, earlier, strict=True):
            stage.require_same_result(before)  # which knows what of its settings may change


def _require_split(scene_ids: tuple[str, ...], split: Split, *, name: str) -> None:
    for scene_id in scene_ids:
        found = split_of(family_and_seed(scene_id)[1])
        if found != split:
            raise InvalidInput(f"{name}: expected scenes of the {split} split, got {scene_id} ({found})")
    if len(set(scene_ids)) != len(scene_ids):
        raise InvalidInput(f"{name}: expected each scene once, got {len(scene_ids)} with repetitions")


def _data_identity(folder: Path) -> str:
    """Return a digest of a data set's train split by content."""
    lines = sorted(
        f"{entry.episode_id} {entry.sha256}" for entry in read_index(folder) if entry.split == "train"
    )
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


# ------------------------------------------------------------------------------------- what the data set says


def train_scenes_of(folder: Path) -> tuple[str, ...]:
    """Return the simulated scenes of a data set's train split, by name.

    Raises:
        DataSetError: for no data set, or one without such scenes.
    """
    entries = [entry for entry in read_index(folder) if entry.split == "train" and entry.seed is not None]
    if not entries:
        raise DataSetError(f"{folder}: expected simulated episodes of the train split, got none")
    return tuple(sorted({entry.scene_id for entry in entries}))


def validation_scenes(count: int) -> tuple[str, ...]:
    """Return the first scenes of the validation split by their seeds: twenty hold each family once."""
    seeds = (seed for seed in itertools.count() if split_of(seed) == "validation")
    return tuple(scene_id_of(seed) for seed in itertools.islice(seeds, count))


def pictures_of(folder: Path) -> PictureSettings:
    """Return what the pictures of a data set are, so that rollouts get the same.

    Raises:
        DataSetError: for no data set, or pictures of another description.
    """
    read_index(folder)
    file = folder / SETTINGS_FILE
    settings: Mapping[str, Any] = json.loads(file.read_text("utf-8"))["settings"]
    height, width = settings["stored"]
    # A data set of bags alone has no size of rendering: what `alpamayo sim` shows.
    default = PictureSettings()
    render_height, render_width = settings.get("rendered", (default.render_height, default.render_width))
    return PictureSettings(
        camera_ids=tuple(settings["camera_ids"]),
        height=height,
        width=width,
        render_height=render_height,
        render_width=render_width,
        codec=_codec_of(settings["image"], file),
    )


def _codec_of(description: str, file: Path) -> FrameCodec:
    found = re.match(r"jpeg, quality (\d+)", description)
    codec = FrameCodec("jpeg", int(found[1])) if found else FrameCodec("png")
    if codec.description != description:
        raise DataSetError(f"{file}: expected pictures as {codec.description}, got {description!r}")
    return codec
