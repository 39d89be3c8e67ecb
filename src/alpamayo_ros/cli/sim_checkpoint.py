"""An Alpamayo checkpoint as the planner of `alpamayo sim`: sim/ knows no torch, so the command brings it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.model.shipped import or_shipped
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, PlanOptions, PrepareFrame

if TYPE_CHECKING:
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.sim.world import ProceduralWorld

RANDOM_NOTICE = "The weights are RANDOM: plans and reasoning mean nothing; everything else is real."

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class SeededPlanner:
    """Plans with seeds of its own: one rollout's plans are the same in every process."""

    def __init__(self, model: Alpamayo, options: PlanOptions, *, seed: int) -> None:
        self._model, self._options = model, options
        self._seed, self._count = seed, 0

    def plan(self, observation: Observation) -> Plan:
        """Return the model's plan; a checkpoint that was trained without navigation text gets none."""
        if not self._model.config.takes_instruction:
            observation = replace(observation, instruction=None)
        options = replace(self._options, seed=(self._seed + self._count) % 2**63)
        self._count += 1
        return self._model.plan(observation, options)


@dataclass(frozen=True)
class CheckpointSource:
    """A checkpoint; the model is loaded once a process, when its first rollout begins.

    Attributes:
        checkpoint: its folder or hub id, or the name of one that ships, which becomes its folder.
        backbone: folder or hub id of its config and tokenizer; None takes config.json's.
        options: how plans are sampled, None for as the checkpoint recommends (model/plan_options.py); their
            seeds come from the rollouts'.
        camera_ids: what it looks at.
        device: "cpu", "cuda", ... or "auto".
        option: what named it, for the message that refuses it.
    """

    checkpoint: str
    backbone: str | None = None
    options: PlanOptions | None = None
    camera_ids: tuple[int, ...] = USUAL_CAMERA_IDS
    device: str = "auto"
    option: str = "--planner"
    _loaded: list[Alpamayo] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoint", or_shipped(self.checkpoint))
        folder = Path(self.checkpoint).expanduser()
        is_hub_id = not folder.exists() and _HUB_ID.fullmatch(self.checkpoint) is not None
        if not (folder / "config.json").is_file() and not is_hub_id:
            others = "expert, constant, " if self.option == "--planner" else ""
            raise InvalidInput(
                f"{self.option}: expected {others}a checkpoint's folder with config.json or a hub id "
                f"like nvidia/Alpamayo-1.5-10B, got {self.checkpoint!r}"
            )

    @property
    def name(self) -> str:
        """The name of its folder, or of the checkpoint at the hub."""
        return Path(self.checkpoint).expanduser().resolve().name

    def check(self) -> str:
        """Return what people must know of its plans, "" for nothing; loads no weights.

        Raises:
            CheckpointError: an InvalidInput, unless config, backbone and weights fit.
        """
        from alpamayo_ros.model.loading import open_checkpoint

        opened = open_checkpoint(self.checkpoint, self.backbone)
        return "" if opened.random_seed is None else RANDOM_NOTICE

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        """Return a planner that draws from `seed`; it sees nothing of the world but its observations."""
        from alpamayo_ros.model.plan_options import recommended_options

        options = recommended_options(self.checkpoint) if self.options is None else self.options
        return SeededPlanner(self.model(), options, seed=seed)

    def prepare_frame(self) -> PrepareFrame | None:
        """Return the model's."""
        return self.model().prepare_frame

    def model(self) -> Alpamayo:
        """Return the model, loaded when it is first asked for."""
        from alpamayo_ros.model import Alpamayo

        if not self._loaded:
            model = Alpamayo.from_pretrained(
                self.checkpoint, backbone=self.backbone, device=self.device, dtype="auto"
            )
            self._loaded.append(model)
        return self._loaded[0]

    def __getstate__(self) -> dict[str, object]:
        """Go to worker processes without the model; each loads its own."""
        return {**self.__dict__, "_loaded": []}
