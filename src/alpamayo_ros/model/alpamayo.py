"""Alpamayo as one class: an Observation in, K plans out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.answer import Answer
from alpamayo_ros.model.engine import Engine, Generated, PromptState, StopRule, TokenIds
from alpamayo_ros.model.flow_matching import FlowMatching
from alpamayo_ros.model.history_tokens import HistoryTokenizer
from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.model.loading import OpenedCheckpoint, open_checkpoint, require_device, require_dtype
from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.model.plan_assembly import TextsOfPlans, assembled
from alpamayo_ros.model.prompt import Prompt, PromptBuilder
from alpamayo_ros.model.prompt_reader import PromptReader
from alpamayo_ros.model.prompt_start import StartStatistics
from alpamayo_ros.model.replay_inputs import ACTION_SHAPE, checked_noise, checked_tokens
from alpamayo_ros.model.request import Request, check_guidance, usual_prompt_tokens
from alpamayo_ros.model.runners import runner_of
from alpamayo_ros.model.sampling import MaskedTokens, TokenSampler, fresh_seed, initial_noise
from alpamayo_ros.model.speculation import Drafter
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.model.static_runner import StaticStatistics
from alpamayo_ros.model.stopwatch import Stopwatch
from alpamayo_ros.model.vision_cache import VisionStatistics
from alpamayo_ros.types import (
    Float32Array,
    Observation,
    Plan,
    PlanOptions,
    UInt8Array,
)

_KEPT_PROMPTS = 16


class Alpamayo:
    """A loaded Alpamayo 1 or 1.5; implements `types.Planner`.

    `plan` and `answer` may be called from any thread; calls on one object take turns.
    """

    def __init__(
        self,
        opened: OpenedCheckpoint,
        action_space: UnicycleActionSpace,
        *,
        options: PlanOptions | None = None,
        speed: SpeedOptions | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Wrap a loaded checkpoint; use `from_pretrained`.

        `device` is where it computes if the weights, to become FP8, are elsewhere yet.
        """
        speed = speed or SpeedOptions()
        kept_prompts = _KEPT_PROMPTS if speed.prompt_reuse else 0
        network, tokenizer, config = opened.network, opened.tokenizer, opened.config
        self._end_ids = network.stop_token_ids
        self._tokenizer = tokenizer
        self._action_space = action_space
        self._defaults = options or PlanOptions()
        self._prompts = PromptBuilder(config, tokenizer)
        vision = network.vlm.config.vision_config
        self._images = ImagePreparer(
            config,
            patch_size=vision.patch_size,
            merge_size=vision.spatial_merge_size,
            temporal_patch_size=vision.temporal_patch_size,
        )
        self._history = HistoryTokenizer(config.history_tokenizer)
        self._future_start_id = tokenizer.id_of("traj_future_start")
        engine = Engine(
            network,
            image_token_id=tokenizer.image_pad_id,
            future_start_id=self._future_start_id,
            runner=runner_of(
                network, speed, prompt_tokens=usual_prompt_tokens(config), device=device or network.device
            ),
            kept_layouts=kept_prompts,
        )
        self._reader = PromptReader(engine, self._images, speed=speed)
        self._texts = TextsOfPlans(tokenizer, config.generation, kept=kept_prompts)
        self._drafter = Drafter() if speed.speculation else None
        self._trajectory_tokens = MaskedTokens(
            tokenizer.traj_token_start, tokenizer.traj_token_start + config.traj_vocab_size
        )
        self._lock = threading.Lock()
        self.config = config
        self.speed = speed
        self.device = network.device
        self.dtype = network.dtype
        self.random_seed = opened.random_seed  # None for trained weights
        self.name = opened.name
        self.folder, self.backbone_folder = opened.folder, opened.backbone_folder

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path,
        backbone: str | Path | None = None,
        *,
        device: str | torch.device = "cuda",
        dtype: str | torch.dtype = "bfloat16",
        options: PlanOptions | None = None,
        speed: SpeedOptions | None = None,
        progress: bool = True,
    ) -> Alpamayo:
        """Load a checkpoint.

        Args:
            checkpoint: a folder or a hub id ("nvidia/Alpamayo-1.5-10B").
            backbone: folder or hub id of the backbone's config and tokenizer; None takes config.json's.
            device: "cuda", "cuda:N", "cpu", or "auto" (CUDA where there is one).
            dtype: "bfloat16", "float32", or "auto" (bfloat16 on CUDA, float32 on a CPU).
            options: what `plan` uses where it is given none.
            speed: what makes plans faster; None takes all that changes no plan.
            progress: show a progress bar where stderr is a terminal.

        Raises:
            CheckpointError: for a checkpoint that cannot be used (CheckpointUnavailable: an unreachable hub).
            InvalidInput: for an unknown or absent device, an unknown dtype, or FP8 where a device has none.
        """
        target = require_device(device)
        kind = require_dtype(dtype, target)
        opened = open_checkpoint(checkpoint, backbone)
        # Weights that become FP8 do so on their way to the GPU, which has no room for them otherwise.
        first = torch.device("cpu") if speed is not None and speed.fp8 == "on" else target
        action_space = opened.load(device=first, dtype=kind, progress=progress)
        return cls(opened, action_space, options=options, speed=speed, device=target)

    @property
    def model_id(self) -> str:
        """What made a plan, for the record: name, generation, dtype, and whether weights are random."""
        parts = [self.config.generation, str(self.dtype).removeprefix("torch.")]
        if self.random_seed is not None:
            parts.append(f"random weights, seed {self.random_seed}")
        return f"{self.name} ({', '.join(parts)})"

    @property
    def network(self) -> AlpamayoNetwork:
        """The weights; raises RuntimeError once closed."""
        return self._reader.engine.network

    @property
    def vision_statistics(self) -> VisionStatistics:
        """How many images were encoded, and how many were found encoded."""
        return self._reader.vision_statistics

    @torch.inference_mode()
    def encode_ahead(self, camera_id: int, stamp_ns: int, frame: UInt8Array) -> bool:
        """Encode a frame that a plan is going to be made from, so that the plan finds it encoded.

        It changes no plan, not by a bit: features depend on the frame's pixels alone.

        Args:
            camera_id: the camera.
            stamp_ns: when it took the frame, as the observation will say.
            frame: uint8 RGB [3, H, W], as it will be in the observation.

        Returns:
            Whether it was encoded: not if it is already, nor without a vision cache.
        """
        with self._lock:
            return self._reader.encode_ahead(camera_id, stamp_ns, frame)

    @torch.inference_mode()
    def read_ahead(self) -> bool:
        """Read the start of the next plan's prompt, up to the first camera's newest frame (see prompt_start).

        Its images are that camera's frames that were encoded last, by a plan or by `encode_ahead`: to be
        called before the next newest frame is. If the plan turns out to be of other frames or other cameras,
        it was for nothing. It changes no plan, not by a bit.

        Returns:
            Whether it was read: not without `SpeedOptions.read_ahead`, before the first plan, without the
            frames, or if it is already.
        """
        with self._lock:
            return self._reader.read_ahead()

    @property
    def start_statistics(self) -> StartStatistics | None:
        """How many prompts' starts were read ahead and used; None where none is."""
        return self._reader.start_statistics

    @property
    def graph_statistics(self) -> StaticStatistics | None:
        """How many passes ran on fixed buffers, and how many did not; None where none does."""
        return self._reader.graph_statistics

    @property
    def image_preparer(self) -> ImagePreparer:
        """The model's image size rule and preparation."""
        return self._images

    def prepare_frame(self, frame: UInt8Array) -> UInt8Array:
        """Return uint8 RGB [3, H, W] at the model's size [3, h, w]; one that has it comes back untouched."""
        return self._images.prepare_frame(frame)

    def check_instruction(self, instruction: str) -> None:
        """Raise InvalidInput for navigation text that `plan` would refuse, before there is an observation."""
        self._prompts.check_instruction(instruction)

    def check_question(self, question: str) -> None:
        """Raise InvalidInput for a question that `answer` would refuse, before there is an observation."""
        self._prompts.check_question(question)

    def close(self) -> None:
        """Free the weights; the object plans no more. Waits for a plan that is being made."""
        with self._lock:
            self._reader.close()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @torch.inference_mode()
    def plan(
        self,
        observation: Observation,
        options: PlanOptions | None = None,
        *,
        noise: Float32Array | Tensor | None = None,
        forced_tokens: Sequence[Sequence[int]] | None = None,
    ) -> Plan:
        """Plan K trajectories with their reasoning.

        Sample k depends on (seed, k) and not on K or on the other samples: in float32 its tokens are the same
        and its waypoints within 1e-4 m. In bfloat16 matrix products round otherwise for another K, which can
        turn a draw between near-equal tokens; with the same K a plan repeats.

        Args:
            observation: what the vehicle sees.
            options: how to sample; None takes those given at loading.
            noise: the flow's initial noise, float32 [K, 64, 2], used as it is; None draws it from the
                seed and scales it by `noise_temperature`.
            forced_tokens: K sequences of generated ids to use instead of drawing any (a recorded
                `Plan.token_ids`); `max_reasoning_tokens` does not limit them.

        Raises:
            InvalidInput: before any compute, for an instruction that the checkpoint cannot take or that
                contains special tokens, guidance without an instruction, or noise or tokens that don't fit.
        """
        options = options or self._defaults
        check_guidance(observation, options)
        forced = None if forced_tokens is None else self._checked_tokens(forced_tokens, options.num_samples)
        given_noise = None if noise is None else checked_noise(noise, options.num_samples)
        history_ids = self._history.token_ids(
            observation.history_xyz_in_rig_t0, first_id=self._tokenizer.history_token_start
        )

        def prompt(image_token_counts: list[int]) -> Prompt:
            return self._prompts.planning(
                observation.camera_ids,
                image_token_counts,
                history_token_ids=history_ids,
                instruction=observation.instruction,
            )

        with self._lock:
            watch = Stopwatch(self.device)
            engine = self._reader.engine
            request = Request.of(observation, prompt, images=self._images)
            seed = fresh_seed() if options.seed is None else options.seed
            stop = StopRule(
                max(map(len, forced)) if forced else options.max_reasoning_tokens,
                self._end_ids,
                self._future_start_id,
            )
            state = self._reader.read(request, stop, num_samples=options.num_samples, watch=watch)
            if forced is not None:
                # By the way that drawn tokens take, so that a recorded plan comes out bit by bit.
                generated = (engine.replay if self._drafter is None else engine.settled)(state, forced)
            else:
                sampler = TokenSampler(options, seed=seed, masked=self._trajectory_tokens, device=self.device)
                generated = engine.generate(
                    state, sampler, num_samples=options.num_samples, stop=stop, drafter=self._drafter
                )
            watch.lap("reasoning")
            if given_noise is None:
                given_noise = initial_noise(seed, options.num_samples, ACTION_SHAPE)
                given_noise *= options.noise_temperature
            action = self._denoise(engine, request, state, generated, options, given_noise.to(self.device))
            trajectory = self._action_space.to_trajectory(
                action,
                torch.tensor(observation.history_xyz_in_rig_t0),
                torch.tensor(observation.history_rot_in_rig_t0),
            )
            watch.lap("denoise")
            texts = self._texts.of(request.prompt.fused_ids, state.visual_end, generated.token_ids)
            times = watch.times(tokens=max(map(len, generated.token_ids)))
        return assembled(
            observation,
            action,
            trajectory,
            texts,
            token_ids=generated.token_ids,
            times=times,
            model=self.model_id,
            seed=seed,
        )

    def answer(
        self, observation: Observation, question: str, options: PlanOptions | None = None
    ) -> list[str]:
        """Return K answers to a question about the camera images; see `ask`, which says more about each."""
        return [answer.text for answer in self.ask(observation, question, options)]

    @torch.inference_mode()
    def ask(
        self, observation: Observation, question: str, options: PlanOptions | None = None
    ) -> list[Answer]:
        """Answer a question about the camera images, K times.

        The history and the instruction are not part of the prompt. `max_reasoning_tokens` limits the answer.

        Raises:
            InvalidInput: before any compute, for a checkpoint that answers no questions, or a question that
                is empty or contains special tokens.
        """
        options = options or self._defaults

        def prompt(image_token_counts: list[int]) -> Prompt:
            return self._prompts.question(observation.camera_ids, image_token_counts, question=question)

        with self._lock:
            watch = Stopwatch(self.device)
            engine = self._reader.engine
            request = Request.of(observation, prompt, images=self._images)
            seed = fresh_seed() if options.seed is None else options.seed
            stop = StopRule(options.max_reasoning_tokens, self._end_ids)
            state = self._reader.read(request, stop, num_samples=options.num_samples, watch=watch)
            sampler = TokenSampler(options, seed=seed, masked=None, device=self.device)
            generated = engine.generate(state, sampler, num_samples=options.num_samples, stop=stop)
            return [Answer.from_decoded(self._tokenizer.decode(ids)) for ids in generated.token_ids]

    def _denoise(
        self,
        engine: Engine,
        request: Request,
        state: PromptState,
        generated: Generated,
        options: PlanOptions,
        noise: Tensor,
    ) -> Tensor:
        """Return the normalised actions, float32 [K, 64, 2] on the CPU."""
        unguided = None
        if options.guidance_weight is not None and request.prompt.unguided_ids is not None:
            unguided = engine.unguided_context(
                state,
                generated,
                request.prompt.unguided_ids,
                guided_ids=request.prompt.fused_ids,
                grids=request.grids,
            )
        return engine.denoise(
            engine.expert_context(state, generated),
            noise,
            flow=FlowMatching(options.flow_steps),
            unguided=unguided,
            guidance_weight=None if unguided is None else options.guidance_weight,
        ).cpu()

    def _checked_tokens(self, forced: Sequence[Sequence[int]], num_samples: int) -> tuple[TokenIds, ...]:
        return checked_tokens(
            forced,
            num_samples,
            vocab_size=len(self._tokenizer),
            end_ids=self._end_ids,
            start_id=self._future_start_id,
        )
