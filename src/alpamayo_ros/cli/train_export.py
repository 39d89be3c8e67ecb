"""Write a run's best weights as a checkpoint that `Alpamayo.from_pretrained` loads, tokenizer included.

alpamayo train export RUN OUT [--dtype float32|bfloat16] [--stage 1|2|both|joint]
    [--plan-options NAME=VALUE,…]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alpamayo_ros.cli.train_sft import STAGES_NAMED
from alpamayo_ros.types import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", type=Path, help="what `alpamayo train sft` wrote")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of the stored weights (default: the run's)"
    )
    parser.add_argument(
        "--stage", choices=tuple(STAGES_NAMED), help="whose weights (default: all that were trained)"
    )
    parser.add_argument(
        "--plan-options",
        default="",
        metavar="NAME=VALUE,…",
        help="how its plans are best drawn, for plan_options.json (default: as the start recommends)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the checkpoint and say how large it is."""
    import torch

    from alpamayo_ros.model.loading import DTYPES
    from alpamayo_ros.model.plan_options import parse_options, recommended_options
    from alpamayo_ros.training.export import export_checkpoint
    from alpamayo_ros.training.trainer_run import RunFolder
    from alpamayo_ros.training.trainer_state import load_settings

    folder = RunFolder.open(args.run)
    stages = folder.trained_stages()
    if args.stage is not None:
        stages = STAGES_NAMED[args.stage]
    if not stages:
        raise InvalidInput(f"{args.run}: expected a stage that has been trained, got none")
    model = folder.load(device=torch.device("cpu"), stages=stages, progress=True)
    recommended = recommended_options(model.opened.folder)
    exported = export_checkpoint(
        model.opened,
        args.out,
        dtype=DTYPES[args.dtype or folder.start.dtype],
        plan_options=parse_options(args.plan_options, recommended),
        training={
            "start": model.opened.name,
            "stages": {str(stage): load_settings(folder.stage(stage)).as_dict() for stage in stages},
        },
    )
    print(
        f"{exported.folder}: {exported.num_parameters / 1e6:.2f}M parameters, "
        f"{exported.num_bytes / 1e6:.1f} MB, stages {', '.join(map(str, stages))}"
    )
    return 0
