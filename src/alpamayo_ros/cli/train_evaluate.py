"""Score checkpoints in closed loop on the same scenes, and say by how much one beats the other.

alpamayo train evaluate CHECKPOINT --out DIR [--baseline CHECKPOINT] [--scenarios WHICH]

The same command goes on where it stopped. Differences are paired by scene, with 95 % intervals bootstrapped
over scenes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.cli.renderer_option import renderer_address

if TYPE_CHECKING:
    from alpamayo_ros.sim.scoring import RolloutScore

_EXIT_FAILED, _EXIT_INTERRUPTED = 1, 130
_VALIDATION = "validation"
_SCENES = 20
COMPARISON_FILE = "comparison.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="folder or hub id, or expert, or constant (velocity)"
    )
    parser.add_argument("--baseline", metavar="CHECKPOINT", help="another to compare with")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new, or to go on with")
    parser.add_argument(
        "--scenarios",
        default=_VALIDATION,
        metavar="WHICH",
        help=f"as `alpamayo sim` takes them (default: the first {_SCENES} of the validation split)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="show the cameras of this data set, rendered at its size (default: as `alpamayo sim` does)",
    )
    parser.add_argument("--rollouts", type=int, default=1, metavar="N", help="of each scene (default 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what they draw (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default 1)")
    parser.add_argument(
        "--renderer", default="", metavar="HOST:PORT", help="who renders (default: one of our own a process)"
    )


def run(args: argparse.Namespace) -> int:
    """Drive what has no score yet, write the comparison, print both."""
    from alpamayo_ros.sim.json_file import write_json
    from alpamayo_ros.sim.workers import CannotStart
    from alpamayo_ros.training.closed_loop import compare

    try:
        scores = _scores(args, args.checkpoint, args.out / "checkpoint")
        if args.baseline is None:
            return 0
        baseline = _scores(args, args.baseline, args.out / "baseline")
    except CannotStart as error:
        print(f"alpamayo train evaluate: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return _EXIT_INTERRUPTED
    differences = compare(baseline, scores)
    write_json(
        args.out / COMPARISON_FILE,
        {
            "checkpoint": args.checkpoint,
            "baseline": args.baseline,
            "difference": {name: each.as_dict() for name, each in differences.items()},
        },
    )
    print(f"{args.checkpoint} less {args.baseline}, 95 % interval:")
    for name, difference in differences.items():
        print(f"  {name:<22} {difference}")
    return 0


def _scores(args: argparse.Namespace, planner: str, out: Path) -> tuple[RolloutScore, ...]:
    from alpamayo_ros.cli.sim_checkpoint import CheckpointSource
    from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
    from alpamayo_ros.sim.planner_sources import SOURCES
    from alpamayo_ros.sim.rollout_driver import PlannerSource
    from alpamayo_ros.sim.scenarios import parse_scenarios
    from alpamayo_ros.sim.scoring.aggregate import mean_with_interval
    from alpamayo_ros.sim.workers import RunOptions
    from alpamayo_ros.training.closed_loop import checkpoint_identity, evaluate
    from alpamayo_ros.training.road_settings import pictures_of, validation_scenes
    from alpamayo_ros.training.simulate import PictureSettings

    if args.scenarios == _VALIDATION:
        scene_ids = validation_scenes(_SCENES)
    else:
        scene_ids = parse_scenarios(args.scenarios)
    pictures = PictureSettings() if args.data is None else pictures_of(args.data)
    source: PlannerSource = SOURCES.get(planner) or CheckpointSource(
        planner, camera_ids=pictures.camera_ids, device=args.device
    )
    options = RunOptions(
        scene_ids=scene_ids,
        out=out,
        rollouts=args.rollouts,
        jobs=args.jobs,
        seed=args.seed,
        renderer=renderer_address(args.renderer),
        image_size=(pictures.render_width, pictures.render_height),
    )
    identity = planner if planner in SOURCES else checkpoint_identity(planner)
    if pictures.camera_ids != USUAL_CAMERA_IDS:
        identity += f", cameras {','.join(map(str, pictures.camera_ids))}"
    scores = evaluate(
        options,
        source,
        identity=identity,
        progress=lambda outcome: print(
            f"{planner}: {outcome.score.scene_id} {outcome.score.scene_score} ({outcome.score.end_reason})",
            flush=True,
        ),
    )
    scored = [score for score in scores if score.scored]
    found = mean_with_interval(scored, [score.scene_score for score in scored])
    print(f"{planner}: scene score {found['mean']} {found['ci95']}, n = {found['n']}")
    return scores
