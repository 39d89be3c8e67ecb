"""Closed-loop scores of checkpoints: driven once, gone on with where it stopped, compared scene by scene."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from alpamayo_ros.model.shipped import or_shipped
from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.rollout_driver import RolloutSource
from alpamayo_ros.sim.run import prepare_folder
from alpamayo_ros.sim.scoring import RolloutScore, aggregate
from alpamayo_ros.sim.scoring.aggregate import mean_with_interval
from alpamayo_ros.sim.scoring.score import METRICS
from alpamayo_ros.sim.workers import Outcome, RunOptions, drive_all
from alpamayo_ros.types import InvalidInput

SCORES_FILE = "scores.json"
_OF_FILE = "evaluated.json"
SCENE_SCORE = "scene_score"
COMPARED = (SCENE_SCORE, "collision_at_fault", "offroad", "progress_score", "dist_to_gt_trajectory")
"""What is compared: the scene score, and metrics that say where a difference comes from."""


def evaluate(
    options: RunOptions,
    source: RolloutSource,
    *,
    identity: str,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[RolloutScore, ...]:
    """Drive the scenes that have no score in the folder yet; write scores.json and return all scores.

    A rollout that failed or was interrupted is driven again by the next call.

    Args:
        options: scenes, folder, processes.
        source: makes the planners.
        identity: of what is scored; a folder holds the scores of one (checkpoint_identity).
        progress: told each rollout that is driven.

    Raises:
        InvalidInput: for a folder that cannot be written, or that holds scores of something else.
        CannotStart: for a renderer that does not answer or does not start.
        KeyboardInterrupt: after Ctrl-C; what was driven is kept.
    """
    prepare_folder(options.out)
    _settle(options, identity)
    missing = tuple(scene_id for scene_id in options.scene_ids if _is_missing(options, scene_id))
    if missing:
        for outcome in drive_all(replace(options, scene_ids=missing), source):
            progress(outcome)
    # Read back, all of them: whether driven now or before, the same digits.
    scores = tuple(read_score(options.out / "rollouts" / job.folder / "score.json") for job in options.work)
    rollouts = [score.as_dict() for score in scores]
    write_json(options.out / SCORES_FILE, {"of": identity, **aggregate(scores), "rollouts": rollouts})
    return scores


def read_score(path: Path) -> RolloutScore:
    """Return a rollout's score as `alpamayo sim` writes it.

    Raises:
        InvalidInput: for a file that is not there, or is no score.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        names = [each.name for each in fields(RolloutScore) if each.name != "metrics"]
        values = {name: content[name] for name in names}
        values["unknown_incidents"] = tuple(values["unknown_incidents"])
        return RolloutScore(**values, metrics={name: content[name] for name in METRICS})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path}: expected a rollout's score, got {type(error).__name__}: {error}"
        ) from error


def checkpoint_identity(checkpoint: str) -> str:
    """Return a digest of a checkpoint's config, weights and plan options, by content; of a hub id the id.

    Raises:
        InvalidInput: for a folder without config.json.
    """
    folder = Path(or_shipped(checkpoint)).expanduser()
    if not folder.is_dir():
        return checkpoint
    if not (folder / "config.json").is_file():
        raise InvalidInput(f"{folder}: expected a checkpoint's folder with config.json, got none")
    digest = hashlib.sha256()
    how = [path for path in (folder / "plan_options.json",) if path.is_file()]
    for path in sorted([folder / "config.json", *how, *folder.glob("*.safetensors")]):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _is_missing(options: RunOptions, scene_id: str) -> bool:
    """Return whether a rollout of the scene has no score, or none that stands."""
    for job in replace(options, scene_ids=(scene_id,)).work:
        path = options.out / "rollouts" / job.folder / "score.json"
        if not path.is_file() or read_score(path).end_reason in ("failed", "interrupted"):
            return True
    return False


def _settle(options: RunOptions, identity: str) -> None:
    """Write what the folder's scores are of, or compare with what is there."""
    wanted = {"of": identity, "seed": options.seed, "image_size": list(options.image_size)}
    path = options.out / _OF_FILE
    if not path.is_file():
        if (options.out / "rollouts").exists():
            raise InvalidInput(f"{options.out}: expected a new folder or one with {_OF_FILE}, got rollouts")
        write_json(path, wanted)
        return
    found = json.loads(path.read_text("utf-8"))
    if found != wanted:
        raise InvalidInput(f"{options.out}: expected scores of {wanted}, got a folder of {found}")


# ---------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Difference:
    """How much a metric changed over the same rollouts: candidate less baseline.

    Attributes:
        mean: over the rollouts in which both are known; None where there is none.
        ci95: its 95 % interval, bootstrapped over scenes with the pairs kept together; None likewise.
        n: rollouts.
    """

    mean: float | None
    ci95: tuple[float, float] | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.ci95 is not None and (self.ci95[0] > 0 or self.ci95[1] < 0)

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        ci95 = None if self.ci95 is None else list(self.ci95)
        return {"mean": self.mean, "ci95": ci95, "n": self.n, "excludes_zero": self.excludes_zero}

    def __str__(self) -> str:
        if self.mean is None or self.ci95 is None:
            return "unknown"
        return f"{self.mean:+.4f} [{self.ci95[0]:+.4f}, {self.ci95[1]:+.4f}], n = {self.n}"


def compare(baseline: Sequence[RolloutScore], candidate: Sequence[RolloutScore]) -> Mapping[str, Difference]:
    """Return the paired differences of COMPARED, by name.

    Both drove the same scenes, so the scenes' own difficulty drops out of the differences. A rollout that
    could not be finished counts with its scene score of 0, as in every other figure; its metrics are unknown.

    Raises:
        InvalidInput: unless both are scores of the same rollouts, at least one.
    """
    before = {score.name: score for score in baseline}
    after = {score.name: score for score in candidate}
    if not before or before.keys() != after.keys():
        apart = sorted(before.keys() ^ after.keys())
        raise InvalidInput(
            f"compare: expected scores of the same rollouts, got {len(before)} and {len(after)}, "
            f"different: {', '.join(apart[:5]) or 'none'}"
        )
    names = sorted(before)
    return {
        metric: _difference(
            [before[name] for name in names],
            [_less(_value(after[name], metric), _value(before[name], metric)) for name in names],
        )
        for metric in COMPARED
    }


def _difference(scores: Sequence[RolloutScore], values: Sequence[float | None]) -> Difference:
    found: Mapping[str, Any] = mean_with_interval(scores, values)
    ci95 = found["ci95"]
    return Difference(found["mean"], None if ci95 is None else (ci95[0], ci95[1]), found["n"])


def _value(score: RolloutScore, metric: str) -> float | None:
    if not score.scored:
        return None
    return score.scene_score if metric == SCENE_SCORE else score.metrics[metric]


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
