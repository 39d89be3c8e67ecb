"""Fine-tune a checkpoint on samples, in two stages (reasoning and trajectory tokens; the flow) or at once.

alpamayo train sft --data DIR --checkpoint START --out RUN [--stage 1|2|both|joint] [--steps N] …
alpamayo train sft … --checkpoint small:10M           a new small member of the family, trained from scratch
alpamayo train sft … --checkpoint nvidia/Alpamayo-1.5-10B --lora | --expert-only

The same command again goes on where the run stopped, SIGTERM and Ctrl-C included. `alpamayo train export RUN
OUT` then writes the checkpoint.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.training.labels.chosen import ChosenReasonings
    from alpamayo_ros.training.sample import SampleSource
    from alpamayo_ros.training.settings import TrainSettings
    from alpamayo_ros.training.trainer import TrainResult

STAGES_NAMED: dict[str, tuple[int, ...]] = {"1": (1,), "2": (2,), "both": (1, 2), "joint": (3,)}
"""What --stage takes, as numbers of training.settings."""

_START_FOLDER = "start"
_MIB = 2**20
_INTERRUPTED = 128 + signal.SIGTERM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="what `alpamayo train data` wrote; of several all samples are drawn alike",
    )
    parser.add_argument(
        "--checkpoint", required=True, help="folder or hub id to start from, or small:1M, 4M, 7M, 10M"
    )
    parser.add_argument(
        "--backbone", help="folder or hub id of config and tokenizer (default: config.json's)"
    )
    parser.add_argument("--out", type=Path, required=True, help="the run's folder, new or to go on with")
    parser.add_argument(
        "--stage",
        choices=tuple(STAGES_NAMED),
        default="both",
        help="1, 2, one after the other (both, the default), or joint, for small models: all losses at once, "
        "the flow's gradient reaching the backbone",
    )
    parser.add_argument("--balance", metavar="TAGS", help="draw evenly over tags, e.g. family,recovery")
    add_reasonings_argument(parser)
    parser.add_argument("--steps", type=int, help="of stage 1 (default 1000)")
    parser.add_argument("--steps2", type=int, help="of stage 2 (default: as stage 1)")
    parser.add_argument("--batch-size", type=int, default=8, help="samples a pass (default 8)")
    parser.add_argument("--accumulate", type=int, default=1, help="passes a step (default 1)")
    parser.add_argument(
        "--rate", type=float, help="peak learning rate (default 1e-3; 1e-4 for hub ids and LoRA)"
    )
    parser.add_argument("--warmup", type=int, default=50, help="steps (default 50)")
    parser.add_argument("--weight-decay", type=float, default=0.05, help="AdamW's (default 0.05)")
    parser.add_argument("--clip", type=float, default=1.0, help="gradient norm (default 1)")
    parser.add_argument(
        "--ema", type=float, default=0.999, help="decay of the weights' average (default 0.999)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of order, noise and new weights (default 0)")
    parser.add_argument("--lora", action="store_true", help="train adapters instead of whole matrices")
    parser.add_argument("--lora-rank", type=int, default=16, help="default 16")
    parser.add_argument("--lora-alpha", type=float, default=32.0, help="default 32")
    parser.add_argument("--expert-only", action="store_true", help="stage 2 alone, the backbone as it is")
    parser.add_argument(
        "--freeze-vision", action="store_true", help="stages 1 and joint leave the vision tower as it is"
    )
    add_loss_arguments(parser)
    parser.add_argument("--flow-draws", type=int, default=4, help="noises a sample in stage 2 (default 4)")
    parser.add_argument(
        "--vision-cache",
        type=int,
        default=0,
        metavar="MIB",
        help="frames' features kept while the vision tower is frozen",
    )
    parser.add_argument("--eval-every", type=int, default=200, help="steps (default 200)")
    parser.add_argument("--eval-samples", type=int, default=64, help="held-out samples (default 64)")
    parser.add_argument("--patience", type=int, default=0, help="evaluations without gain before it stops")
    parser.add_argument("--save-every", type=int, default=200, help="steps between states (default 200)")
    parser.add_argument("--log-every", type=int, default=10, help="steps (default 10)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read samples (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="in which the result will drive: frozen weights are held and constants rounded so",
    )
    parser.add_argument(
        "--autocast",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16 (default: on a GPU; twice as fast on CPUs that have it, too)",
    )
    parser.add_argument(
        "--recompute", action="store_true", help="less memory for gradients, a third more time"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's files, too")


def add_loss_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare what counts how much."""
    parser.add_argument(
        "--reasoning-weight", type=float, default=1.0, help="of a reasoning token (default 1)"
    )
    parser.add_argument(
        "--trajectory-weight", type=float, default=1.0, help="of a trajectory token (default 1)"
    )
    parser.add_argument(
        "--flow-weight", type=float, default=1.0, help="of the flow's loss in stage joint (default 1)"
    )
    parser.add_argument(
        "--lateral-speed",
        type=float,
        default=0.0,
        metavar="MPS",
        help="from this speed on errors of curvature count more, as lateral accelerations do (default 0: all "
        "alike; 10 for a small model, to keep its lane)",
    )
    parser.add_argument(
        "--near-weight",
        type=float,
        default=1.0,
        metavar="N",
        help="an error of a plan's first action counts N times its last's (default 1; 3 for a small one)",
    )
    parser.add_argument(
        "--displacement-weight",
        type=float,
        default=0.0,
        metavar="N",
        help="how much it counts, beside the errors of actions, how far off these lead (default 0; 2 for a "
        "small model)",
    )
    parser.add_argument(
        "--read-plan",
        action="store_true",
        help="stage joint: the backbone learns from plans read at once, too, by a head that isn't kept",
    )


def loss_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what add_loss_arguments declares as TrainSettings takes it."""
    from alpamayo_ros.training.losses import SpanWeights

    weights = SpanWeights(
        reasoning=args.reasoning_weight, meta_action=args.reasoning_weight, trajectory=args.trajectory_weight
    )
    return {
        "span_weights": weights,
        "flow_weight": args.flow_weight,
        "lateral_speed_mps": args.lateral_speed,
        "near_weight": args.near_weight,
        "displacement_weight": args.displacement_weight,
        "read_plan": args.read_plan,
    }


def add_reasonings_argument(parser: argparse._ActionsContainer) -> None:
    """Declare which reasonings are trained on."""
    parser.add_argument(
        "--reasonings",
        choices=("automatic", "human", "model"),
        default="automatic",
        help="what of DATA/reasonings.jsonl counts before the samples' own: nothing (default), what people "
        "decided, or a model's texts that nobody has looked at, too",
    )


def chosen_reasonings(args: argparse.Namespace) -> ChosenReasonings:
    """Return what --reasonings takes, and say what it leaves; InvalidInput where there is nothing to take."""
    from alpamayo_ros.training.labels.chosen import choose_reasonings, unused_note

    folders = args.data if isinstance(args.data, list) else [args.data]
    chosen = choose_reasonings(folders, args.reasonings)
    notes = "".join(unused_note(folder, args.reasonings) for folder in folders)
    print(f"{chosen}{notes}", file=sys.stderr)
    return chosen


def run(args: argparse.Namespace) -> int:
    """Train what was asked for; 0 when done, 143 when told to stop before, 1 when it diverged."""
    from alpamayo_ros.model.loading import require_device
    from alpamayo_ros.training.balance import balanced_weights
    from alpamayo_ros.training.joined import open_joined
    from alpamayo_ros.training.small_checkpoint import SMALL, small_start
    from alpamayo_ros.training.trainer import Trainer, TrainingDiverged
    from alpamayo_ros.training.trainer_run import RunFolder, RunStart

    stages = _stages(args)
    device = require_device(args.device)
    autocast = device.type == "cuda" if args.autocast is None else bool(args.autocast)
    chosen = chosen_reasonings(args)
    settings = [
        replace(_settings(args, stage, autocast=autocast), reasonings=chosen.identity) for stage in stages
    ]
    episodes = open_joined(args.data, split="train")
    train = chosen.over(episodes)
    try:
        held_out: SampleSource | None = chosen.over(open_joined(args.data, split="validation"))
    except InvalidInput as error:
        if args.patience:
            raise
        print(f"no held-out samples, so the last weights are the best ({error})", file=sys.stderr)
        held_out = None
    weights = None
    if args.balance:
        weights = balanced_weights(list(episodes.all_tags()), by=args.balance.split(","))
    checkpoint = _absolute(args.checkpoint)
    if checkpoint.startswith(SMALL):
        small_start(checkpoint, args.data[0], folder=args.out / _START_FOLDER, seed=args.seed)
        checkpoint = _START_FOLDER
    backbone = None if args.backbone is None else _absolute(args.backbone)
    folder = RunFolder.create(args.out, RunStart(checkpoint, backbone, args.dtype))
    for stage, of_stage in zip(stages, settings, strict=True):
        before = tuple(done for done in folder.trained_stages() if done < stage)
        model = folder.load(device=device, stages=before, progress=True)
        trainer = Trainer(
            model,
            train,
            settings=of_stage,
            folder=folder.stage(stage),
            pictures=episodes.pictures(),
            held_out=held_out,
            weights=weights,
            tensorboard=args.tensorboard,
            progress=True,
        )
        if trainer.step:
            print(f"stage {stage}: goes on behind step {trainer.step}")
        try:
            result = trainer.run()
        except TrainingDiverged as error:
            print(f"alpamayo train sft: stage {stage}: {error}", file=sys.stderr)
            return 1
        print(f"stage {stage}: {_summary(result)}")
        if result.status == "interrupted":
            return _INTERRUPTED
    return 0


def _stages(args: argparse.Namespace) -> tuple[int, ...]:
    if args.expert_only:
        if args.stage in ("1", "joint"):
            raise InvalidInput(f"expert-only: expected stage 2 (or both, its default), got {args.stage}")
        return (2,)
    return STAGES_NAMED[args.stage]


def _settings(args: argparse.Namespace, stage: int, *, autocast: bool) -> TrainSettings:
    from alpamayo_ros.training.settings import LoraSettings, TrainSettings

    small = args.checkpoint.startswith("small:")
    steps = 1000 if args.steps is None else args.steps
    rate = args.rate if args.rate is not None else (1e-3 if small and not args.lora else 1e-4)
    frozen_vision = stage == 2 or args.freeze_vision or args.lora
    return TrainSettings(
        stage=stage,
        steps=args.steps2 if stage == 2 and args.steps2 is not None else steps,
        batch_size=args.batch_size,
        accumulate=args.accumulate,
        peak_rate=rate,
        warmup_steps=args.warmup,
        weight_decay=args.weight_decay,
        clip_norm=args.clip,
        ema_decay=args.ema,
        seed=args.seed,
        autocast=autocast,
        recompute=args.recompute,
        train_vision=not args.freeze_vision,
        lora=LoraSettings(args.lora_rank, args.lora_alpha) if args.lora else None,
        **loss_settings(args),
        flow_draws=args.flow_draws,
        eval_every=args.eval_every,
        eval_samples=args.eval_samples,
        patience=args.patience,
        checkpoint_every=args.save_every,
        log_every=args.log_every,
        workers=args.workers,
        vision_cache_bytes=args.vision_cache * _MIB if frozen_vision else 0,
    )


def _absolute(name: str) -> str:
    """Return a folder's absolute path, so that the run can be gone on with from anywhere; else the name."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _summary(result: TrainResult) -> str:
    best = "" if result.best_loss is None else f", held-out loss {result.best_loss:.4f} at {result.best_step}"
    return f"{result.status} at step {result.step}{best}"
