"""Teach a new, small checkpoint's vision tower to see, before `sft`: from simulated episodes alone.

It learns to read from the pictures of one instant what the simulator knows is about: road and lanes, road
users, lights and lines, how far off the lane's centre the vehicle is. Staged instants (`alpamayo train
stage`) teach more than drives do. OUT/checkpoint is where `sft` starts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo train perceive` takes."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="staged instants (alpamayo train stage), or a data set (alpamayo train data)",
    )
    parser.add_argument(
        "--words",
        type=Path,
        metavar="DIR",
        help="data set that small:SIZE takes its words and scale of actions from (default: --data)",
    )
    parser.add_argument(
        "--checkpoint",
        default="small:7M",
        help="small:SIZE, or a folder (or pisco) whose tower is to learn more (default small:7M)",
    )
    parser.add_argument("--out", type=Path, required=True, help="the run's folder, new or to go on with")
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps (default 2000)")
    parser.add_argument("--batch-size", type=int, default=32, help="instants a step (default 32)")
    parser.add_argument("--rate", type=float, default=1e-3, help="largest learning rate (default 1e-3)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    parser.add_argument("--eval-every", type=int, default=200, help="steps (default 200)")
    parser.add_argument(
        "--jitter", type=float, default=0.25, help="of brightness, contrast, colours (default 0.25)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    parser.add_argument(
        "--autocast",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compute in bfloat16 (default)",
    )


def run(args: argparse.Namespace) -> int:
    """Train, write the checkpoint, print how well held-out pictures are read."""
    import torch

    from alpamayo_ros.model.loading import require_device
    from alpamayo_ros.training.episode_file import DataSetError
    from alpamayo_ros.training.perception.run import CHECKPOINT_FOLDER, PerceptionRun, PerceptionSettings
    from alpamayo_ros.training.perception.staged_files import open_sights
    from alpamayo_ros.training.small_checkpoint import small_start
    from alpamayo_ros.training.trainer_model import TrainableModel

    train = open_sights(args.data, split="train")
    held_out = None
    try:
        held_out = open_sights(args.data, split="validation")
    except DataSetError as error:
        print(f"no held-out pictures, so the last weights are the best ({error})", file=sys.stderr)
    start = small_start(args.checkpoint, args.words or args.data, folder=args.out / "start", seed=args.seed)
    device = require_device(args.device)
    model = TrainableModel.load(start, device=device, dtype=torch.float32, progress=True)
    settings = PerceptionSettings(
        steps=args.steps,
        batch_size=args.batch_size,
        peak_rate=args.rate,
        seed=args.seed,
        jitter=args.jitter,
        autocast=args.autocast,
        eval_every=args.eval_every,
    )
    task = PerceptionRun(model, train, settings=settings, folder=args.out, held_out=held_out)
    if task.step:
        print(f"goes on behind step {task.step}")
    figures = task.run(progress=True)
    task.export(start, args.out / CHECKPOINT_FOLDER)
    for name, value in figures.items():
        print(f"{name:24} {value:.3f}")
    if task.best_step:
        print(f"these are of step {task.best_step}, the best on held-out pictures, which is kept")
    print(f"checkpoint: {args.out / CHECKPOINT_FOLDER}")
    return 0
