"""Let a person accept, edit or reject reasoning.

alpamayo train review export DIR REVIEW [--all] [--pictures FOLDER]
alpamayo train review walk REVIEW --reviewer NAME [--pictures FOLDER]
alpamayo train review import DIR REVIEW

The review file is JSON lines with sample_id, automatic, model, decision (accept, edit, reject), edited and
reviewer; a decision is about the model's text where there is one. Imported decisions go to
DIR/reasonings.jsonl as source "human".
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from alpamayo_ros.cli.train_label import add_choice
from alpamayo_ros.types import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo train review` takes."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    export = steps.add_parser("export", help="write what is left to judge")
    export.add_argument("data", type=Path, metavar="DIR", help="a data set of `alpamayo train data`")
    export.add_argument("review", type=Path, metavar="REVIEW", help="the file to write")
    add_choice(export.add_argument_group("which samples"))
    export.add_argument("--all", action="store_true", help="also samples that no model has written about")
    export.add_argument("--pictures", type=Path, metavar="FOLDER", help="write each sample's cameras there")
    walk = steps.add_parser("walk", help="judge one after the other in the terminal")
    walk.add_argument("review", type=Path, metavar="REVIEW")
    walk.add_argument("--reviewer", required=True, metavar="NAME", help="who judges")
    walk.add_argument("--pictures", type=Path, metavar="FOLDER", help="where export wrote them")
    importing = steps.add_parser(
        "import", help="check the decisions and add them to the data set's reasonings"
    )
    importing.add_argument("data", type=Path, metavar="DIR")
    importing.add_argument("review", type=Path, metavar="REVIEW")


def run(arguments: argparse.Namespace) -> int:
    """Run the step and return the exit code."""
    if arguments.step == "export":
        return _export(arguments)
    return _walk(arguments) if arguments.step == "walk" else _import(arguments)


def _export(arguments: argparse.Namespace) -> int:
    from alpamayo_ros.training.dataset import EpisodeSamples
    from alpamayo_ros.training.labels.pictures import write_picture
    from alpamayo_ros.training.labels.reasonings import FILE_NAME, automatic_texts, read_reasonings
    from alpamayo_ros.training.labels.review import entries_of, write_review

    if arguments.every < 1:
        raise InvalidInput(f"--every: expected at least 1, got {arguments.every}")
    samples = EpisodeSamples(arguments.data, split=arguments.split)
    there = list(automatic_texts(samples))
    chosen = {sample_id: text for index, sample_id, text in there if index % arguments.every == 0}
    entries = entries_of(chosen, read_reasonings(arguments.data / FILE_NAME))
    if not arguments.all:
        entries = tuple(entry for entry in entries if entry.model)
    if not entries:
        raise InvalidInput(
            f"{arguments.data}: expected samples left to judge, got none"
            + ("" if arguments.all else " with a model's text (--all takes the automatic ones, too)")
        )
    count = write_review(arguments.review, entries)
    if arguments.pictures is not None:
        index_of = {sample_id: index for index, sample_id, _ in there}
        for entry in entries:
            write_picture(samples[index_of[entry.sample_id]], arguments.pictures)
    print(f"{count} samples to judge in {arguments.review}")
    return 0


def _walk(arguments: argparse.Namespace) -> int:
    from alpamayo_ros.training.labels.pictures import picture_path
    from alpamayo_ros.training.labels.review import read_review
    from alpamayo_ros.training.labels.walk import walk

    def picture_of(sample_id: str) -> Path | None:
        if arguments.pictures is None:
            return None
        path = picture_path(arguments.pictures, sample_id)
        return path if path.is_file() else None

    decided = walk(
        arguments.review, reviewer=arguments.reviewer, ask=input, tell=print, picture_of=picture_of
    )
    left = sum(not entry.decision for entry in read_review(arguments.review))
    print(f"{decided} decided, {left} left in {arguments.review}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from alpamayo_ros.training.dataset import EpisodeSamples
    from alpamayo_ros.training.episode import SPLITS
    from alpamayo_ros.training.labels.reasonings import (
        FILE_NAME,
        ReasoningFile,
        automatic_texts,
        read_reasonings,
    )
    from alpamayo_ros.training.labels.review import decisions_of, read_review
    from alpamayo_ros.training.shards import read_index

    entries = read_review(arguments.review)
    there = {entry.split for entry in read_index(arguments.data) if entry.samples}
    automatic: dict[str, str] = {}
    for split in SPLITS:
        if split in there:
            samples = EpisodeSamples(arguments.data, split=split)
            automatic |= {sample_id: text for _, sample_id, text in automatic_texts(samples)}
    path = arguments.data / FILE_NAME
    decisions = decisions_of(arguments.review, entries, automatic, read_reasonings(path))
    with ReasoningFile(path) as file:
        file.add(decisions)
    counts = Counter(each.decision.value for each in decisions if each.decision is not None)
    counted = ", ".join(f"{number} {decision}" for decision, number in counts.items()) or "none"
    print(f"decisions added to {path}: {counted}; {sum(not e.decision for e in entries)} left without one")
    return 0
