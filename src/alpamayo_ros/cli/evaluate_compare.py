"""Compare two evaluations of the same bags, plan by plan, with paired intervals: B against A."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo evaluate compare` takes."""
    parser.add_argument("a", metavar="A", type=Path, help="folder of an evaluation")
    parser.add_argument("b", metavar="B", type=Path, help="folder of another one")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="for comparison.json and comparison.html (default: B)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare, write, print; return the exit code."""
    from alpamayo_ros.evaluation.compare import (
        COMPARISON_FILE,
        PAGE_FILE,
        compare_runs,
        describe_comparison,
        write_comparison,
    )

    compared = compare_runs(arguments.a, arguments.b)
    out = arguments.out or arguments.b
    write_comparison(out, compared)
    print(describe_comparison(compared))
    print(f"results  {out}/{COMPARISON_FILE}, {PAGE_FILE}")
    return 0
