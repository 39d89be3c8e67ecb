"""Write scenes as .usdz files that AlpaSim's runtime reads."""

from __future__ import annotations

import argparse
from pathlib import Path

HEEDED = ("scenes", "export_out", "force")
"""What the options are called in the namespace: unlike those of `alpamayo sim`, which has an --out too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo sim export-usdz` takes."""
    parser.add_argument(
        "scenes",
        metavar="WHICH",
        help="a seed, seeds A-B, FAMILY-SEED, a family, all, or several of these by comma",
    )
    parser.add_argument(
        "--out",
        dest="export_out",
        type=Path,
        default=Path("out/usdz"),
        metavar="DIR",
        help="folder of the files, SCENE.usdz (default: out/usdz)",
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Export each scene; all names are checked before the first file is written."""
    from alpamayo_ros.sim.export import export_scene, usdz_path
    from alpamayo_ros.sim.scenarios import parse_scenarios
    from alpamayo_ros.sim.scenes import make_scene
    from alpamayo_ros.types import InvalidInput

    scene_ids = parse_scenarios(arguments.scenes)
    there = [str(path) for i in scene_ids if (path := usdz_path(arguments.export_out, i)).exists()]
    if there and not arguments.force:
        raise InvalidInput(f"export-usdz: expected no files there, got {', '.join(there)} (or --force)")
    for scene_id in scene_ids:
        print(export_scene(make_scene(scene_id), arguments.export_out, force=arguments.force))
    return 0
