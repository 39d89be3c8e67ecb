"""Write a random-weight checkpoint in the released layout, or describe and check one.

alpamayo checkpoint random DIR [--generation alpamayo1_5] [--size small] [--seed 0]
alpamayo checkpoint describe DIR_OR_HUB_ID [--backbone DIR_OR_HUB_ID]
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from alpamayo_ros.types import CAMERA_NAMES

_GIB = 2**30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    random = actions.add_parser("random", help="write a checkpoint of random weights, to try the stack with")
    random.add_argument("folder", type=Path, help="a new folder")
    # The choices are checked where they are known (model/): listing them here would import torch for --help.
    random.add_argument("--generation", default="alpamayo1_5", help="alpamayo_r1 or alpamayo1_5 (default)")
    random.add_argument("--size", default="small", help="tiny (tests) or small (demo, default)")
    random.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    describe = actions.add_parser("describe", help="check a checkpoint and say what it is; reads no weights")
    describe.add_argument("checkpoint", help="a folder or a hub id")
    describe.add_argument(
        "--backbone", help="folder or hub id of config and tokenizer (default: config.json's)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action and return the exit code."""
    if args.action == "random":
        from alpamayo_ros.model.random_checkpoint import write_random_checkpoint

        folder = write_random_checkpoint(
            args.folder, generation=args.generation, size=args.size, seed=args.seed
        )
        print(
            f"{folder}: {args.generation}, {args.size}, random weights (seed {args.seed}): plans mean nothing"
        )
        return 0
    print(describe(args.checkpoint, args.backbone))
    return 0


def describe(checkpoint: str, backbone: str | None = None) -> str:
    """Return what a checkpoint is, after checking that its files, config and backbone fit together.

    Raises:
        CheckpointError: if they do not.
    """
    from alpamayo_ros.model.images import ImagePreparer
    from alpamayo_ros.model.loading import open_checkpoint

    opened = open_checkpoint(checkpoint, backbone)
    config, network, stored = opened.config, opened.network, opened.stored
    counts: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        part = "vision" if name.startswith("vlm.model.visual.") else name.partition(".")[0]
        counts[{"vlm": "language", "vision": "vision", "expert": "expert"}.get(part, "action")] += (
            parameter.numel()
        )
    total = sum(counts.values())
    kinds = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in stored.tensors.values())
    files = {tensor.path for tensor in stored.tensors.values()}
    height, width = ImagePreparer(config).model_size(1080, 1920)
    text = network.text_config
    seed = opened.random_seed
    weights = f"RANDOM (seed {seed}): plans mean nothing"
    if seed is None:
        weights = "trained (not marked as random)"
    lines = [
        ("checkpoint", opened.name),
        ("generation", config.generation),
        ("weights", weights),
        ("backbone", str(opened.backbone_folder)),
        ("parameters", f"{_count(total)}: " + ", ".join(f"{k} {_count(n)}" for k, n in counts.items())),
        (
            "stored",
            f"{stored.num_bytes / _GIB:.3f} GiB in {len(files)} file(s), {len(stored.tensors)} tensors "
            f"({', '.join(f'{n} {kind}' for kind, n in kinds.items())})",
        ),
        ("in memory", f"{2 * total / _GIB:.3f} GiB in bfloat16, {4 * total / _GIB:.3f} GiB in float32"),
        (
            "text model",
            f"{text.num_hidden_layers} layers, hidden {text.hidden_size}, {text.num_attention_heads} heads, "
            f"{text.num_key_value_heads} KV heads of {text.head_dim}",
        ),
        ("vocabulary", f"{len(opened.tokenizer)} tokens, {config.traj_vocab_size} of them trajectory tokens"),
        ("images", f"1080 x 1920 becomes {height} x {width}, {height * width // 1024} tokens an image"),
        ("cameras", _cameras(config.include_camera_ids)),
        ("navigation", "text and guidance" if config.takes_instruction else "no"),
        ("questions", "yes" if config.takes_question else "no"),
    ]
    return "\n".join(f"{name:<11} {value}" for name, value in lines)


def _cameras(labelled: bool) -> str:
    if labelled:
        return "one or more of " + ", ".join(f"{i} {name}" for i, name in enumerate(CAMERA_NAMES))
    return "not labelled in the prompt: trained with " + ", ".join(
        f"{i} {CAMERA_NAMES[i]}" for i in (0, 1, 2, 6)
    )


def _count(number: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)
