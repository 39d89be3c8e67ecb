"""Estimate the mean of a real metric from few real scenes and many simulated ones. See docs/SIM2VAL.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from alpamayo_ros.types import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo sim2val` takes."""
    parser.add_argument(
        "csv",
        nargs="?",
        metavar="CSV",
        help="columns id, real and one a simulation metric; real empty of scenes that were simulated only",
    )
    parser.add_argument("--real", metavar="DIR", help="instead: results of `alpamayo evaluate` (or sim)")
    parser.add_argument("--real-metric", default="min_ade@6.4s", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--sim", metavar="DIR", help="and results of `alpamayo sim` (or evaluate)")
    parser.add_argument(
        "--sim-metric",
        action="append",
        metavar="NAME",
        help="of the simulation, a control variate; may be repeated (default: scene_score)",
    )
    parser.add_argument("--ids", metavar="CSV", help="columns real and sim: ids that belong together")
    parser.add_argument("--controls", metavar="A,B", help="columns of CSV to use (default: all)")
    parser.add_argument("--confidence", type=float, default=0.95, help="of intervals (default: 0.95)")
    parser.add_argument("--miles", type=float, metavar="N", help="that a real sample costs")
    parser.add_argument("--out", metavar="DIR", help="folder for sim2val.json, sim2val.png and report.html")


def run(arguments: argparse.Namespace) -> int:
    """Print the estimate, and write it where asked."""
    from alpamayo_ros.sim.json_file import write_json
    from alpamayo_ros.sim2val.estimate import estimate
    from alpamayo_ros.sim2val.report import as_dict, page, picture, table
    from alpamayo_ros.sim2val.samples import join
    from alpamayo_ros.sim2val.sources import read_csv, read_ids, read_metric

    folders = bool(arguments.real) + bool(arguments.sim)
    if folders == 1 or bool(arguments.csv) == bool(folders):
        raise InvalidInput("samples: expected either a CSV table, or --real and --sim, got something else")
    if arguments.miles is not None and not arguments.miles > 0:
        raise InvalidInput(f"--miles: expected more than 0, got {arguments.miles:g}")
    if arguments.csv:
        controls = arguments.controls and [c.strip() for c in arguments.controls.split(",")]
        samples = read_csv(Path(arguments.csv), controls=controls)
        metric = "real"
    else:
        metric = arguments.real_metric
        names = arguments.sim_metric or ["scene_score"]
        samples = join(
            read_metric(Path(arguments.real), metric),
            {name: read_metric(Path(arguments.sim), name) for name in names},
            sim_id_of=None if arguments.ids is None else read_ids(Path(arguments.ids)),
        )
    result = estimate(samples, confidence=arguments.confidence)
    told = as_dict(result, samples, unit_per_sample=arguments.miles)
    print(table(told))
    if arguments.out:
        out = Path(arguments.out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            png = picture(result, samples, metric=metric)
            write_json(out / "sim2val.json", told)
            (out / "sim2val.png").write_bytes(png)
            (out / "report.html").write_text(page(told, png, title=f"Sim2Val: {metric}"), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"--out {out}: expected a folder that can be written, got {error}") from error
        print(f"\n{out / 'report.html'}")
    return 0
