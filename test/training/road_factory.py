"""Episodes of a run without a renderer: every picture is one grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.training.episode import FrameCodec
from alpamayo_ros.training.episode_file import write_episode
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.training.simulate import simulate_episode
from alpamayo_ros.training.simulate_all import SimulationRun


class PlainPictures:
    """Cameras (attached_driver.VehicleCameras) that see nothing."""

    def __init__(self, *, height: int = 24, width: int = 40) -> None:
        self._picture = FrameCodec("png").encode(np.full((3, height, width), 90, np.uint8))

    @property
    def available(self) -> Mapping[str, AvailableCamera]:
        return {}

    def render(
        self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
    ) -> Mapping[int, bytes]:
        return dict.fromkeys(camera_ids, self._picture)


def make_all(run: SimulationRun) -> None:
    """Make what a run's data set lacks, as simulate_all does."""
    pictures = run.pictures
    cameras = PlainPictures(height=pictures.render_height, width=pictures.render_width)
    with open_writer(run.out, run.settings()) as writer:
        for job in run.work:
            if writer.lacks(job.episode_id):
                episode = simulate_episode(
                    job,
                    pictures,
                    cameras,
                    labeller=run.labeller,
                    steerer=run.steerer,
                    seed=run.seed,
                    ticks=run.ticks,
                )
                writer.add(write_episode(run.out, episode))
