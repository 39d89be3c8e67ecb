"""The parameters of the planner node, and what they become: PlanOptions and the node's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.ros.parameters import Changes, ParameterSpec, by_name
from alpamayo_ros.ros.safety_parameters import SAFETY_PARAMETERS
from alpamayo_ros.ros.speed_parameters import SPEED_PARAMETERS, speed_options
from alpamayo_ros.sensing.timing import TimingConfig
from alpamayo_ros.types import InvalidInput, PlanOptions

_OPTIONS = PlanOptions()
_TIMING = TimingConfig(t0_interval_ms=100.0)

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec("rig", "default", "Cameras and odometry: a rig file, or the name of one in config/rigs."),
    ParameterSpec("checkpoint", "", "Alpamayo's checkpoint: a folder or a hub id."),
    ParameterSpec(
        "backbone",
        "",
        "Backbone's config and tokenizer: a folder or a hub id; empty takes what the checkpoint names.",
    ),
    ParameterSpec(
        "device",
        "auto",
        'Where the model runs: "cpu", "cuda", "cuda:1", or "auto" for the first GPU if there is one.',
    ),
    ParameterSpec(
        "dtype",
        "auto",
        'The model\'s number format; "auto" is bfloat16 on a GPU and float32 on a CPU.',
        choices=("auto", "bfloat16", "float32"),
    ),
    ParameterSpec(
        "cpu_threads",
        0,
        "Threads that the model computes with on a CPU; 0 is half of the cores.",
        minimum=0,
        maximum=1024,
    ),
    *SPEED_PARAMETERS,
    ParameterSpec(
        "autostart",
        False,
        "Configure and activate at once, without waiting for a lifecycle manager.",
        changes=Changes.START,
    ),
    ParameterSpec(
        "rig_frame",
        "",
        "Frame of the plan: rear axle's centre on the ground; empty takes the rig file's.",
    ),
    ParameterSpec(
        "max_plan_age",
        1.0,
        "Age after t0 at which a plan is refused and, once published, must no longer be driven, s.",
        minimum=0.01,
        maximum=60.0,
    ),
    ParameterSpec(
        "plan_period_ms",
        500.0,
        "Longest time between plans that the vehicle counts on, ms; twice it is the deadline of `plan`.",
        minimum=1.0,
        maximum=60_000.0,
    ),
    *(
        ParameterSpec(name, getattr(_TIMING, name), text, minimum=low, maximum=high)
        for name, low, high, text in (
            (
                "sync_tolerance_ms",
                1.0,
                99.0,
                "How far a camera's frame may be from the time it stands for, ms.",
            ),
            ("frame_wait_ms", 0.0, 5000.0, "How long an observation waits for a camera that is behind, ms."),
            (
                "odometry_wait_ms",
                0.0,
                5000.0,
                "How long an observation waits for odometry up to its t0, ms; raise it below 10 Hz.",
            ),
            (
                "odometry_max_gap_ms",
                1.0,
                5000.0,
                "Longest gap between two odometry messages that is interpolated over, ms.",
            ),
            (
                "max_out_of_order_ms",
                1.0,
                60_000.0,
                "A stamp further back than this is a clock that jumped: every buffer is cleared, ms.",
            ),
            (
                "t0_interval_ms",
                0.0,
                10_000.0,
                "Usual time from one observation to the next: of faster cameras only the frames that those "
                "need are decoded; 0 takes every frame of the reference camera, ms.",
            ),
            (
                "max_speed_mps",
                0.1,
                1000.0,
                "Odometry that moves faster than this has jumped and is refused, m/s.",
            ),
        )
    ),
    *(
        ParameterSpec(
            name,
            0.0,
            f"How long {what} is kept, ms; 0 is as long as the waits need.",
            minimum=0.0,
            maximum=600_000.0,
        )
        for name, what in (("frame_buffer_ms", "a frame"), ("odometry_buffer_ms", "odometry"))
    ),
    ParameterSpec(
        "decode_threads",
        2,
        "Threads that decode, warp and resize camera images.",
        minimum=1,
        maximum=64,
    ),
    ParameterSpec(
        "encode_on_arrival",
        "auto",
        "Encode each frame when it arrives and no plan is being made, not in the plan that needs it; auto is "
        "on a GPU alone, as on a CPU that takes the cores which decode the other cameras' frames.",
        choices=("auto", "on", "off"),
    ),
    ParameterSpec(
        "num_samples",
        _OPTIONS.num_samples,
        "Plans drawn from one observation; the one nearest to the others is chosen.",
        minimum=1,
        maximum=64,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "temperature",
        _OPTIONS.temperature,
        "Temperature of the reasoning's sampling.",
        minimum=0.001,
        maximum=100.0,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "top_p",
        _OPTIONS.top_p,
        "Share of probability that the reasoning's tokens are drawn from.",
        minimum=0.001,
        maximum=1.0,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "top_k",
        0,
        "Number of tokens that the reasoning's are drawn from; 1 is greedy, 0 is no limit.",
        minimum=0,
        maximum=1_000_000,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "max_reasoning_tokens",
        _OPTIONS.max_reasoning_tokens,
        "Limit on generated tokens.",
        minimum=1,
        maximum=4096,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "flow_steps",
        _OPTIONS.flow_steps,
        "Euler steps of the trajectory's flow; fewer are faster and a little less accurate.",
        minimum=1,
        maximum=1000,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "guidance_weight",
        1.0,
        "Weight of navigation guidance while there is an instruction: 1 is off, NVIDIA's example 1.5.",
        minimum=0.0,
        maximum=20.0,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "noise_temperature",
        _OPTIONS.noise_temperature,
        "Scale of the flow's initial noise; 0 makes the trajectory deterministic.",
        minimum=0.0,
        maximum=10.0,
        changes=Changes.LIVE,
        by_checkpoint=True,
    ),
    ParameterSpec(
        "seed",
        -1,
        "Seed of every plan; -1 draws a fresh one each time.",
        minimum=-1,
        maximum=2**63 - 1,
        changes=Changes.LIVE,
    ),
    *SAFETY_PARAMETERS,
    ParameterSpec(
        "refuse_blind_cameras",
        True,
        "Refuse to plan while a camera is black, or shows the very same picture while the vehicle moves.",
    ),
    ParameterSpec(
        "max_inference_failures",
        5,
        "Failed plans in a row after which the model is tried only once a second.",
        minimum=1,
        maximum=1000,
    ),
    ParameterSpec(
        "audit_log",
        "",
        "Folder for the log of every decision, a new file every start; empty for none.",
    ),
    ParameterSpec(
        "publish_trajectory",
        False,
        "Publish `trajectory` (autoware_planning_msgs/Trajectory) too; that package must be installed.",
    ),
    ParameterSpec(
        "vehicle_length_m", 4.9, "Length of the footprint in the markers, m.", minimum=0.1, maximum=40.0
    ),
    ParameterSpec(
        "vehicle_width_m", 1.9, "Width of the footprint in the markers, m.", minimum=0.1, maximum=10.0
    ),
    ParameterSpec(
        "vehicle_rear_overhang_m",
        1.0,
        "From the rear axle back to the end of the footprint in the markers, m.",
        minimum=0.0,
        maximum=20.0,
    ),
)
"""All parameters of the planner node beside those that ROS itself declares."""

TABLE = by_name(PARAMETERS)


@dataclass(frozen=True)
class PlannerSettings:
    """The values that the node read when it was configured; fields are named as the parameters."""

    rig: str
    checkpoint: str
    backbone: str
    device: str
    dtype: str
    cpu_threads: int
    speed: SpeedOptions
    rig_frame: str
    max_plan_age: float
    plan_period_ms: float
    decode_threads: int
    encode_on_arrival: str
    safety_gate: bool
    refuse_blind_cameras: bool
    odometry_twist: str
    heartbeat_ms: float
    max_inference_failures: int
    audit_log: str
    publish_trajectory: bool
    vehicle_length_m: float
    vehicle_width_m: float
    vehicle_rear_overhang_m: float

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> PlannerSettings:
        """Return the settings among a node's parameter values."""
        named = {f.name: values[f.name] for f in fields(cls) if f.name != "speed"}
        return cls(speed=speed_options(values), **named)

    @property
    def max_plan_age_ns(self) -> int:
        """max_plan_age (s) in ns."""
        return round(self.max_plan_age * 1e9)


def timing_config(values: Mapping[str, Any]) -> TimingConfig:
    """Return the timing contract's numbers; raises InvalidInput for a combination that cannot be."""
    numbers = {f.name: values[f.name] for f in fields(TimingConfig)}
    wait_ms = max(numbers["frame_wait_ms"], numbers["odometry_wait_ms"])
    for name, extra_ms in (
        ("frame_buffer_ms", wait_ms),
        ("odometry_buffer_ms", wait_ms + numbers["odometry_max_gap_ms"]),
    ):
        numbers[name] = numbers[name] or getattr(_TIMING, name) + extra_ms
    return TimingConfig(**numbers)


def plan_options(values: Mapping[str, Any]) -> PlanOptions:
    """Return how plans are sampled; a parameter has no None, so top_k 0, guidance 1 and seed -1 stand for it.

    Guidance v = (1 - w) v_unguided + w v_guided is the guided branch alone at w = 1, so that is "off".

    Raises:
        InvalidInput: for values that PlanOptions refuses.
    """
    return PlanOptions(
        num_samples=values["num_samples"],
        temperature=values["temperature"],
        top_p=values["top_p"],
        top_k=values["top_k"] or None,
        max_reasoning_tokens=values["max_reasoning_tokens"],
        flow_steps=values["flow_steps"],
        guidance_weight=None if values["guidance_weight"] == 1.0 else values["guidance_weight"],
        noise_temperature=values["noise_temperature"],
        seed=None if values["seed"] < 0 else values["seed"],
    )


def sampling_values(options: PlanOptions) -> dict[str, int | float]:
    """Return the parameters by which `plan_options` gives these options; all but the seed."""
    return {
        "num_samples": options.num_samples,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k or 0,
        "max_reasoning_tokens": options.max_reasoning_tokens,
        "flow_steps": options.flow_steps,
        "guidance_weight": 1.0 if options.guidance_weight is None else options.guidance_weight,
        "noise_temperature": options.noise_temperature,
    }


def check_change(name: str, value: object, *, unconfigured: bool) -> None:
    """Raise InvalidInput unless parameter `name` may be set to `value` now."""
    spec = TABLE.get(name)
    if spec is None:
        return
    if spec.changes is Changes.CONFIGURE and not unconfigured:
        raise InvalidInput(
            f"{name}: changes only while unconfigured; deactivate and clean up the planner first"
        )
    spec.check(value)
