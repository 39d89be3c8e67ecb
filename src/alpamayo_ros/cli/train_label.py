"""Have a vision-language model write reasoning for samples.

Any OpenAI-compatible endpoint serves. Good answers go to DIR/reasonings.jsonl as source "model", beside the
automatic reasoning, which stays as it is; samples that have one are not asked about again. They count once a
person has accepted them (`alpamayo train review`).

Exit code: 0 written, 1 the endpoint failed, or no answer was good, 2 it refuses.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.training.labels.vlm import Tally

WRITTEN, FAILED, INTERRUPTED = 0, 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo train label` takes."""
    parser.add_argument("data", type=Path, metavar="DIR", help="a data set of `alpamayo train data`")
    parser.add_argument(
        "--vlm", required=True, metavar="URL", help="the endpoint, e.g. http://localhost:8000/v1"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="the model's name there")
    parser.add_argument(
        "--key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable that holds the key, if one is needed (default: OPENAI_API_KEY)",
    )
    which = parser.add_argument_group("which samples")
    add_choice(which)
    which.add_argument("--limit", type=int, metavar="N", help="ask about at most N")
    asking = parser.add_argument_group("asking")
    asking.add_argument("--timeout", type=float, default=60.0, metavar="S", help="of a request (default: 60)")
    asking.add_argument("--tries", type=int, default=4, metavar="N", help="for an answer (default: 4)")
    asking.add_argument(
        "--rate", type=float, metavar="N", help="at most N requests a minute (default: no limit)"
    )


def add_choice(group: argparse._ArgumentGroup) -> None:
    """Declare what chooses samples of a data set."""
    group.add_argument(
        "--split", choices=("train", "validation", "test"), default="train", help="(default: train)"
    )
    group.add_argument("--every", type=int, default=1, metavar="N", help="every Nth sample (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Ask about the samples and return the exit code."""
    from tqdm.auto import tqdm

    from alpamayo_ros.training.dataset import EpisodeSamples
    from alpamayo_ros.training.labels.chat import ChatClient, Endpoint, NoAnswer
    from alpamayo_ros.training.labels.reasonings import (
        FILE_NAME,
        ReasoningFile,
        automatic_texts,
        read_reasonings,
    )
    from alpamayo_ros.training.labels.vlm import write_reasonings
    from alpamayo_ros.training.sample import ReasoningSource

    for name in ("every", "limit"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InvalidInput(f"--{name}: expected at least 1, got {value}")
    endpoint = Endpoint(
        arguments.vlm,
        arguments.model,
        api_key=os.environ.get(arguments.key_env) or None,
        timeout_s=arguments.timeout,
        tries=arguments.tries,
        requests_per_minute=arguments.rate,
    )
    samples = EpisodeSamples(arguments.data, split=arguments.split)
    path = arguments.data / FILE_NAME
    with ReasoningFile(path) as file:
        there = read_reasonings(path)
        indices = [
            index
            for index, sample_id, _ in automatic_texts(samples)
            if index % arguments.every == 0 and ReasoningSource.MODEL not in there.get(sample_id, {})
        ][: arguments.limit]
        with tqdm(total=len(indices), unit="sample", disable=not sys.stderr.isatty()) as bar:

            def report(sample_id: str, failure: NoAnswer | None) -> None:
                bar.update()
                if failure is not None:
                    tqdm.write(f"{sample_id}: {failure}", file=sys.stderr)

            try:
                tally = write_reasonings(samples, indices, ChatClient(endpoint), file=file, report=report)
            except KeyboardInterrupt:
                print(f"interrupted; what was written is in {path}, and the same command goes on")
                return INTERRUPTED
    return _tell(tally, asked=len(indices), path=path)


def _tell(tally: Tally, *, asked: int, path: Path) -> int:
    if not asked:
        print(f"nothing left to ask: all of these samples have a model's reasoning in {path}")
        return WRITTEN
    print(f"{tally.written} of {asked} answers written to {path}")
    for failure, count in tally.failures.most_common():
        print(f"{count:6d}  {failure.value}")
    if tally.gave_up:
        print("the endpoint failed again and again; the rest was not asked, the same command goes on")
    return FAILED if tally.gave_up or not tally.written else WRITTEN
