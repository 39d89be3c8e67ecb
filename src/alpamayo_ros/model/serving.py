"""One Alpamayo for many sessions: a planner for each, whose plans depend on nothing but its own inputs."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.types import (
    FRAME_INTERVAL_S,
    NUM_FRAMES,
    NUM_HISTORY_POSES,
    Float32Array,
    InvalidInput,
    Observation,
    Plan,
    PlanOptions,
    UInt8Array,
)

if TYPE_CHECKING:
    from alpamayo_ros.model.alpamayo import Alpamayo
    from alpamayo_ros.model.speed import SpeedOptions

_log = logging.getLogger(__name__)
_WARM_UP_TEXT = "Continue straight"
_WARM_UP_HEIGHT, _WARM_UP_WIDTH = 1080, 1920
_SEEDS = 2**63


class OutOfMemory(RuntimeError):
    """The device had no room for a plan; what could be was freed."""


class SessionPlanner:
    """Plans of one session: each is drawn from the session's seed and the observation's t0.

    So equal sessions get equal plans, whoever else is served in between.
    """

    def __init__(self, planners: AlpamayoPlanners, *, seed: int) -> None:
        self._planners, self._seed = planners, seed

    def plan(self, observation: Observation) -> Plan:
        """Return the plan; raises InvalidInput for what the model cannot take, OutOfMemory."""
        words = np.random.SeedSequence([self._seed, observation.t0_ns]).generate_state(1, np.uint64)
        return self._planners.plan(observation, seed=int(words[0]) % _SEEDS)


class AlpamayoPlanners:
    """What a driver is made around (see sim/driver/planners.DriverPlanners).

    Args:
        model: shared by all sessions; one plan at a time.
        options: how plans are sampled, without the seed. A guidance weight is used where an observation has
            an instruction.
    """

    def __init__(self, model: Alpamayo, options: PlanOptions | None = None) -> None:
        self._model = model
        self._options = options or PlanOptions()
        self._lock = threading.Lock()

    @property
    def model_id(self) -> str:
        """The checkpoint's name."""
        return self._model.model_id

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self._model.device)

    @property
    def takes_instruction(self) -> bool:
        """Whether the model was trained with navigation text."""
        return self._model.config.takes_instruction

    @property
    def num_samples(self) -> int:
        """How many samples each plan has."""
        return self._options.num_samples

    def prepare_frame(self, frame: UInt8Array) -> UInt8Array:
        """Return a frame, uint8 RGB [3, H, W], at the model's size; several threads may call it."""
        return self._model.prepare_frame(frame)

    def start(self, session: object, *, seed: int) -> SessionPlanner:
        """Return the planner of a session."""
        return SessionPlanner(self, seed=seed)

    def plan(self, observation: Observation, *, seed: int) -> Plan:
        """Return K plans drawn from `seed`; raises OutOfMemory once what could be was freed."""
        options = replace(self._options, seed=seed)
        if observation.instruction is None:
            options = replace(options, guidance_weight=None)
        with self._lock:
            try:
                return self._model.plan(observation, options)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
        free_device_memory()
        raise OutOfMemory(f"{self.device}: no room for {options.num_samples} samples: {message}")

    def warm_up(self, camera_ids: Sequence[int]) -> None:
        """Plan once for black frames, and once more with navigation text if the model takes any.

        Kernels are chosen and memory is reserved then, not while a simulator waits.
        """
        black = np.zeros((3, _WARM_UP_HEIGHT, _WARM_UP_WIDTH), np.uint8)
        observation = standing_observation(tuple(camera_ids), self.prepare_frame(black))
        self.plan(observation, seed=0)
        if self.takes_instruction:
            self.plan(replace(observation, instruction=_WARM_UP_TEXT), seed=0)

    def close(self) -> None:
        """Free the model's memory."""
        self._model.close()


def load_planners(
    checkpoint: str,
    options: PlanOptions,
    *,
    backbone: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    cpu_threads: int = 0,
    speed: SpeedOptions | None = None,
) -> AlpamayoPlanners:
    """Load a checkpoint, a folder or a hub id, for many sessions; arguments are those of `from_pretrained`.

    Raises:
        InvalidInput: where none is named, it cannot be used, or it cannot do what the options ask for.
    """
    if not checkpoint:
        raise InvalidInput("checkpoint: expected a folder or a hub id, got ''")
    from alpamayo_ros.model.alpamayo import Alpamayo
    from alpamayo_ros.model.threads import use_cpu_threads

    model = Alpamayo.from_pretrained(checkpoint, backbone=backbone, device=device, dtype=dtype, speed=speed)
    if model.device.type == "cpu":
        use_cpu_threads(cpu_threads)
    if options.guidance_weight is not None and not model.config.takes_instruction:
        raise InvalidInput(f"guidance_weight: expected a model with navigation, got {model.model_id}")
    return AlpamayoPlanners(model, options)


def standing_observation(camera_ids: tuple[int, ...], frame: UInt8Array) -> Observation:
    """Return an observation of a vehicle that stands, every frame of it the same."""
    stamps_ns = np.arange(1, NUM_FRAMES + 1, dtype=np.int64) * round(FRAME_INTERVAL_S * 1e9)
    still: Float32Array = np.zeros((NUM_HISTORY_POSES, 3), np.float32)
    return Observation(
        t0_ns=int(stamps_ns[-1]),
        camera_ids=camera_ids,
        frames=np.tile(frame, (len(camera_ids), NUM_FRAMES, 1, 1, 1)),
        frame_stamps_ns=np.tile(stamps_ns, (len(camera_ids), 1)),
        history_xyz_in_rig_t0=still,
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (NUM_HISTORY_POSES, 1, 1)),
    )


def free_device_memory() -> None:
    """Give back what the device's allocator keeps but nobody uses."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
