"""What a rollout over topics leaves behind, on disk and on the console."""

from __future__ import annotations

from pathlib import Path

from alpamayo_ros.ros.sim_rollout import TopicRollout
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout_driver import Job
from alpamayo_ros.sim.run import write_json
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.scoring import RolloutScore, aggregate, score_rollout
from alpamayo_ros.types import InvalidInput


class ResultsFolder:
    """Keeps each rollout as `alpamayo sim` does: rollouts/SCENE/{score.json, rollout.asl}, and scores.json.

    Args:
        path: the folder; empty keeps nothing.

    Raises:
        InvalidInput: where the folder cannot be made.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._scores: list[RolloutScore] = []
        if self._path is not None:
            try:
                (self._path / "rollouts").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidInput(f"out: expected a folder to write to, got {error}") from error

    def keep(self, record: RolloutRecord) -> None:
        """Score a rollout and write it down."""
        if self._path is None:
            return
        score = score_rollout(record)
        self._scores.append(score)
        folder = (
            self._path
            / "rollouts"
            / Job(record.scene.scene_id.replace("/", "_"), record.rollout_index).folder
        )
        folder.mkdir(exist_ok=True)
        write_json(folder / "score.json", score.as_dict())
        write_json(
            self._path / "scores.json",
            {
                "planner": record.planner,
                **aggregate(self._scores),
                "rollouts": [score.as_dict() for score in self._scores],
            },
        )


def summary(record: RolloutRecord, rollout: TopicRollout) -> str:
    """Return one line about a rollout: how it ended, how fast it went, and where the time went."""
    simulated_s = (len(record.ego) - 1) * STEP_US / 1e6
    stages = rollout.stages
    text = f"{record.scene.scene_id}: {record.end_reason} after {simulated_s:.1f} s"
    if record.error:
        text += f": {record.error}"
    if stages.steps:
        shown = ", ".join(f"{name} {ms:.1f}" for name, ms in stages.mean_ms.items() if ms >= 0.05)
        text += f"; {stages.factor(STEP_US / 1e6):.2f} x real time; ms a step: {shown}"
    if rollout.missed:
        text += f"; {rollout.missed} steps without a plan"
    return text
