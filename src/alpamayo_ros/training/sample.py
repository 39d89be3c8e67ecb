"""One training sample: an observation, where the vehicle should go from there, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np

from alpamayo_ros.types import (
    NUM_WAYPOINTS,
    Float32Array,
    InvalidInput,
    Observation,
    require_array,
    require_finite,
    require_rotation,
)


class ReasoningSource(Enum):
    """Who wrote a sample's reasoning. The three are kept apart: they are not worth the same."""

    NONE = "none"
    AUTOMATIC = "automatic"
    MODEL = "model"
    HUMAN = "human"


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """What the model is to learn from one moment.

    Attributes:
        sample_id: unique and stable, "EPISODE/TICK".
        observation: what the model sees at t0; its instruction too.
        future_xyz_in_rig_t0: float32 [64, 3] m, rear-axle positions at t0 + 0.1 s ... t0 + 6.4 s.
        future_rot_in_rig_t0: float32 [64, 3, 3], rotations likewise.
        reasoning: the Chain-of-Causation; "" where the source is NONE.
        meta_action: the meta action's text, "" if there is none.
        source: who wrote the reasoning.
        tags: what samples are balanced and reported by ("family", "recovery", "component", ...).

    Raises:
        InvalidInput: on a wrong shape, dtype or value, or reasoning that does not go with its source.
    """

    sample_id: str
    observation: Observation
    future_xyz_in_rig_t0: Float32Array
    future_rot_in_rig_t0: Float32Array
    reasoning: str = ""
    meta_action: str = ""
    source: ReasoningSource = ReasoningSource.NONE
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.sample_id:
            raise InvalidInput("sample_id: expected a name, got an empty string")
        require_array("future_xyz_in_rig_t0", self.future_xyz_in_rig_t0, (NUM_WAYPOINTS, 3), np.float32)
        require_array("future_rot_in_rig_t0", self.future_rot_in_rig_t0, (NUM_WAYPOINTS, 3, 3), np.float32)
        require_finite("future_xyz_in_rig_t0", self.future_xyz_in_rig_t0)
        require_rotation("future_rot_in_rig_t0", self.future_rot_in_rig_t0)
        if bool(self.reasoning) != (self.source is not ReasoningSource.NONE):
            raise InvalidInput(
                f"{self.sample_id}: expected reasoning exactly where its source is not none, "
                f"got source {self.source.value!r} and {len(self.reasoning)} characters"
            )


class SampleSource(Protocol):
    """Samples by index; the same index gives the same sample each time, from any process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingSample: ...
