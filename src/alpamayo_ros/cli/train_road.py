"""Fine-tune on the policy's own rollouts, guided by the expert: RoaD, "rollouts as demonstrations".

alpamayo train road --checkpoint START --data DIR --out RUN --iterations 2 --episodes 40 [--mix 0.5] …

Each iteration drives rollouts in scenes of the data's train split, fine-tunes on them and on the data, writes
RUN/iterationN/checkpoint and scores it on validation scenes against the start. The same command again goes on
where the run stopped, wherever that was; with more --iterations it adds some.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.cli.renderer_option import renderer_address
from alpamayo_ros.cli.ticks import ticks_of
from alpamayo_ros.cli.train_sft import (
    STAGES_NAMED,
    add_loss_arguments,
    add_reasonings_argument,
    chosen_reasonings,
    loss_settings,
)
from alpamayo_ros.types import InvalidInput, PlanOptions

if TYPE_CHECKING:
    from alpamayo_ros.training.road_run import Policies
    from alpamayo_ros.training.road_settings import RoadSettings
    from alpamayo_ros.training.settings import TrainSettings

_INTERRUPTED = 128 + signal.SIGTERM
_ALL_IN_DATA = "data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--checkpoint", required=True, help="folder or hub id of the cloned policy")
    parser.add_argument(
        "--backbone", help="folder or hub id of config and tokenizer (default: config.json's)"
    )
    parser.add_argument("--data", type=Path, required=True, help="what it was cloned from")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder, new or to go on with")
    parser.add_argument("--iterations", type=int, default=1, help="in all (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    rollouts = parser.add_argument_group("rollouts")
    rollouts.add_argument("--episodes", type=int, default=40, help="an iteration (default 40)")
    rollouts.add_argument(
        "--scenarios",
        default=_ALL_IN_DATA,
        metavar="WHICH",
        help="of the train split, as `alpamayo sim` takes them (default: those of the data)",
    )
    rollouts.add_argument("--seconds", type=float, default=20.0, help="of each at most (default 20)")
    rollouts.add_argument("--samples", type=int, default=8, help="K, drawn at each step (default 8)")
    rollouts.add_argument(
        "--compared",
        type=float,
        default=2.0,
        metavar="S",
        help="the nearest is so over S seconds (default 2)",
    )
    rollouts.add_argument(
        "--near",
        type=float,
        default=1.5,
        metavar="M",
        help="and driven if it is within M metres (default 1.5)",
    )
    rollouts.add_argument(
        "--held", type=float, default=0.1, metavar="S", help="a plan is driven for S seconds (default 0.1)"
    )
    rollouts.add_argument(
        "--near-at", type=float, default=2.0, metavar="S", help="of the expert's, S seconds ahead (default 2)"
    )
    rollouts.add_argument(
        "--recovery",
        type=float,
        default=1.0,
        metavar="S",
        help="else the expert drives S seconds (default 1)",
    )
    training = parser.add_argument_group("training")
    training.add_argument("--mix", type=float, default=0.5, help="share of the rollouts (default 0.5)")
    training.add_argument("--balance", metavar="TAGS", default="", help="draw evenly over tags, e.g. family")
    add_reasonings_argument(training)
    training.add_argument("--stage", choices=tuple(STAGES_NAMED), default="both", help="default both")
    training.add_argument("--steps", type=int, default=500, help="of stage 1, an iteration (default 500)")
    training.add_argument("--steps2", type=int, help="of stage 2 (default: as stage 1)")
    training.add_argument("--batch-size", type=int, default=8, help="samples a pass (default 8)")
    training.add_argument("--accumulate", type=int, default=1, help="passes a step (default 1)")
    training.add_argument("--rate", type=float, default=2e-4, help="peak learning rate (default 2e-4)")
    training.add_argument("--warmup", type=int, default=25, help="steps (default 25)")
    add_loss_arguments(training)
    training.add_argument("--flow-draws", type=int, default=4, help="noises a sample in stage 2 (default 4)")
    training.add_argument("--freeze-vision", action="store_true", help="leave the vision tower as it is")
    training.add_argument("--lora", action="store_true", help="train adapters, merged into each checkpoint")
    training.add_argument("--lora-rank", type=int, default=16, help="default 16")
    training.add_argument("--lora-alpha", type=float, default=32.0, help="default 32")
    training.add_argument("--save-every", type=int, default=100, help="steps between states (default 100)")
    training.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="in which the result will drive"
    )
    training.add_argument(
        "--autocast",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16 (default: on a GPU; twice as fast on CPUs that have it, too)",
    )
    judged = parser.add_argument_group("scores")
    judged.add_argument(
        "--judged", type=int, default=20, metavar="N", help="validation scenes driven for scores (default 20)"
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    machine.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that drive (default 1)"
    )
    machine.add_argument(
        "--renderer", default="", metavar="HOST:PORT", help="who renders (default: one of our own a process)"
    )


def run(args: argparse.Namespace) -> int:
    """Do what is missing; 0 when done, 143 when told to stop before, 1 for what failed."""
    from alpamayo_ros.model.loading import require_device
    from alpamayo_ros.sim.workers import CannotStart
    from alpamayo_ros.training.labels.automatic import AutomaticLabels
    from alpamayo_ros.training.road_run import Machine, RoadFailed, RoadInterrupted, RoadRun
    from alpamayo_ros.training.trainer import TrainingDiverged

    device = require_device(args.device)
    chosen = chosen_reasonings(args)
    settings = _settings(args, autocast=device.type == "cuda" if args.autocast is None else args.autocast)
    settings = replace(
        settings, stages=tuple(replace(stage, reasonings=chosen.identity) for stage in settings.stages)
    )
    if args.workers < 1:
        raise InvalidInput(f"--workers: expected at least 1, got {args.workers}")
    road = RoadRun(
        args.out,
        settings,
        _policies(settings, device=str(device)),
        Machine(device, args.workers, renderer_address(args.renderer), progress=True),
        labeller=AutomaticLabels(),
        reasonings=chosen,
        tell=lambda line: print(line, flush=True),
    )
    try:
        done = road.run(args.iterations)
    except (CannotStart, RoadFailed, TrainingDiverged) as error:
        print(f"alpamayo train road: {error}", file=sys.stderr)
        return 1
    except RoadInterrupted as error:
        print(f"{error}; the same command goes on", file=sys.stderr)
        return _INTERRUPTED
    for figures in done:
        print(describe(figures))
    return 0


def describe(figures: dict[str, Any]) -> str:
    """Return an iteration's figures as lines for people."""
    rollouts = figures["rollouts"]
    nearest = rollouts["mean_nearest_m"]
    lines = [
        f"iteration {figures['iteration']}",
        f"  rollouts       {rollouts['episodes']}, {rollouts['ticks'] / 10:.0f} s, of which "
        f"{100 * (rollouts['recovered_share'] or 0):.1f} % driven by the expert; nearest sample "
        + ("none" if nearest is None else f"{nearest:.2f} m off"),
    ]
    if figures["scores"] is not None:
        mean = figures["scores"]["scene_score"]["mean"]
        lines.append(f"  scene score    {'unknown' if mean is None else f'{mean:.4f}'}")
        for name, found in figures["against_start"].items():
            if found["ci95"] is None:
                continue
            low, high = found["ci95"]
            change = f"{found['mean']:+.4f} [{low:+.4f}, {high:+.4f}], n = {found['n']}"
            lines.append(f"  {name:<21} against the start {change}")
    return "\n".join(lines)


def _settings(args: argparse.Namespace, *, autocast: bool) -> RoadSettings:
    from alpamayo_ros.sim.scenarios import parse_scenarios
    from alpamayo_ros.training.road_guidance import Guidance
    from alpamayo_ros.training.road_settings import RoadSettings, train_scenes_of, validation_scenes

    if args.judged < 0:
        raise InvalidInput(f"--judged: expected zero or more scenes, got {args.judged}")
    from_data = args.scenarios == _ALL_IN_DATA
    return RoadSettings(
        checkpoint=args.checkpoint,
        backbone=args.backbone,
        data=args.data,
        scene_ids=train_scenes_of(args.data) if from_data else parse_scenarios(args.scenarios),
        judged_scene_ids=validation_scenes(args.judged),
        stages=_stages(args, autocast=autocast),
        dtype=args.dtype,
        episodes=args.episodes,
        ticks=ticks_of("--seconds", args.seconds),
        mix=args.mix,
        balance=tuple(args.balance.split(",")) if args.balance else (),
        guidance=Guidance(
            num_samples=args.samples,
            compared_s=args.compared,
            near_m=args.near,
            near_at_s=args.near_at,
            recovery_ticks=ticks_of("--recovery", args.recovery),
            held_ticks=ticks_of("--held", args.held),
        ),
        seed=args.seed,
    )


def _stages(args: argparse.Namespace, *, autocast: bool) -> tuple[TrainSettings, ...]:
    from alpamayo_ros.training.settings import LoraSettings, TrainSettings

    return tuple(
        TrainSettings(
            stage=stage,
            steps=args.steps2 if stage == 2 and args.steps2 is not None else args.steps,
            batch_size=args.batch_size,
            accumulate=args.accumulate,
            peak_rate=args.rate,
            warmup_steps=args.warmup,
            seed=args.seed,
            autocast=autocast,
            train_vision=not args.freeze_vision,
            lora=LoraSettings(args.lora_rank, args.lora_alpha) if args.lora else None,
            flow_draws=args.flow_draws,
            **loss_settings(args),
            checkpoint_every=args.save_every,
        )
        for stage in STAGES_NAMED[args.stage]
    )


def _policies(settings: RoadSettings, *, device: str) -> Policies:
    from alpamayo_ros.cli.sim_checkpoint import CheckpointSource
    from alpamayo_ros.training.road_run import Policies
    from alpamayo_ros.training.road_settings import pictures_of

    cameras = pictures_of(settings.data).camera_ids
    guided = PlanOptions(num_samples=settings.guidance.num_samples)
    return Policies(
        guided=lambda checkpoint, backbone: CheckpointSource(checkpoint, backbone, guided, cameras, device),
        judged=lambda checkpoint, backbone: CheckpointSource(
            checkpoint, backbone, PlanOptions(), cameras, device
        ),
    )
