"""Staged instants on disk: a file a scene, made in several processes, resumable, read by index."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.observations import decode_rgb
from alpamayo_ros.sim.parent_watch import end_with_parent
from alpamayo_ros.sim.scene import family_and_seed
from alpamayo_ros.sim.workers import CannotStart
from alpamayo_ros.training.episode import Split, split_of
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.training.perception.samples import Sight, Sights, SightSource
from alpamayo_ros.training.perception.surroundings import GRID_CHANNELS, HOW_FAR, YES_OR_NO, Surroundings
from alpamayo_ros.training.simulate import PictureSettings
from alpamayo_ros.training.trainer_state import write_atomically
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.protocol.sensorsim import SensorsimClient

SETTINGS_FILE = "sights.json"
"""What tells a folder of staged instants from others."""


@dataclass(frozen=True)
class StagingRun:
    """What to make.

    Attributes:
        scene_ids: scenes, in order.
        out: the folder.
        instants: of each scene.
        pictures: what the cameras see.
        seed: of what is drawn.
        workers: processes.
        renderer: HOST:PORT that serves the pictures; "" for a process of our own, of each worker.

    Raises:
        InvalidInput: for no scenes, or a number below 1.
    """

    scene_ids: tuple[str, ...]
    out: Path
    instants: int = 40
    pictures: PictureSettings = field(default_factory=PictureSettings)
    seed: int = 0
    workers: int = 1
    renderer: str = ""

    def __post_init__(self) -> None:
        if not self.scene_ids:
            raise InvalidInput("scenarios: expected at least one scene, got none")
        for name in ("instants", "workers"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {getattr(self, name)}")
        for scene_id in self.scene_ids:
            family_and_seed(scene_id)

    def settings(self) -> dict[str, Any]:
        """Return what all files of a folder have in common, as JSON."""
        pictures = self.pictures
        return {
            **pictures.stored_settings(),
            "rendered": [pictures.render_height, pictures.render_width],
            "seed": self.seed,
            "instants": self.instants,
            "told": [list(GRID_CHANNELS), list(YES_OR_NO), list(HOW_FAR)],
        }

    def file(self, scene_id: str) -> Path:
        """Return a scene's file."""
        return self.out / f"{scene_id}.safetensors"


def stage_all(
    run: StagingRun, *, progress: Callable[[str, str], None] = lambda scene_id, error: None
) -> tuple[int, list[str]]:
    """Make the files that a folder lacks; return how many were made, and the scenes that failed.

    Args:
        run: what.
        progress: told each scene that is done, and what failed in it ("" if nothing did).

    Raises:
        InvalidInput: for a folder of other settings.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    _agree(run)
    missing = [scene_id for scene_id in run.scene_ids if not run.file(scene_id).exists()]
    made, failed = 0, []
    pool = ProcessPoolExecutor(
        max(1, min(run.workers, len(missing))),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(run,),
    )
    try:
        futures = {pool.submit(_make, scene_id): scene_id for scene_id in missing}
        for future in as_completed(futures):
            error = future.exception()
            progress(futures[future], "" if error is None else f"{type(error).__name__}: {error}")
            if error is None:
                made += 1
            else:
                failed.append(futures[future])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # after Ctrl-C, too: files are whole or not there
    return made, sorted(failed)


def _agree(run: StagingRun) -> None:
    path, wanted = run.out / SETTINGS_FILE, run.settings()
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != wanted:
            names = [name for name in wanted if found.get(name) != wanted[name]]
            given = "; ".join(f"{name} {found.get(name)}, got {wanted[name]}" for name in names)
            raise InvalidInput(f"{run.out}: expected the folder's own settings: {given}")
        return
    text = json.dumps(wanted, indent=1) + "\n"
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


_run: StagingRun | None = None
_client: SensorsimClient | None = None
_refused: CannotStart | None = None
"""Why there is no renderer: an initializer that raises would only break the pool."""
_stack = ExitStack()


def _start(run: StagingRun) -> None:
    global _run, _client, _refused
    import torch

    from alpamayo_ros.sim.protocol.channel import ServiceError
    from alpamayo_ros.sim.render.gpu import RendererUnavailable
    from alpamayo_ros.sim.renderer_connection import connect

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what is still brought to its end
    end_with_parent()
    torch.set_num_threads(1)
    _run = run
    try:
        _client = _stack.enter_context(connect(run.renderer))
    except (ServiceError, RendererUnavailable) as error:
        _refused = CannotStart(str(error))


def _make(scene_id: str) -> None:
    if _refused is not None:
        raise _refused
    assert _run is not None
    assert _client is not None
    from alpamayo_ros.sim.images import SceneCameras
    from alpamayo_ros.training.perception.staged import Stage

    stage, pictures, known = Stage(scene_id), _run.pictures, _client.cameras(scene_id)
    drawn_from = int.from_bytes(hashlib.sha256(f"{_run.seed}/{scene_id}".encode()).digest()[:7], "big")
    client = _client
    sights = stage.sights(
        lambda: SceneCameras(
            client,
            scene_id,
            width=pictures.render_width,
            height=pictures.render_height,
            cameras=known,
            keep=False,
        ),
        pictures,
        count=_run.instants,
        rng=np.random.default_rng(drawn_from),
    )
    write_sights(_run.file(scene_id), sights, pictures)


def write_sights(path: Path, sights: list[Sight], pictures: PictureSettings) -> None:
    """Write a scene's instants, whole or not at all."""
    from safetensors.numpy import save_file

    frames = [pictures.codec.encode(frame) for sight in sights for frame in sight.frames]
    tensors: dict[str, NDArray[Any]] = {
        "frames": np.frombuffer(b"".join(frames), np.uint8),
        "frame_ends": np.cumsum([len(frame) for frame in frames], dtype=np.int64),
        "grid": np.stack([sight.surroundings.grid for sight in sights]),
        "yes": np.stack([sight.surroundings.yes for sight in sights]),
        "far": np.stack([sight.surroundings.far for sight in sights]),
    }
    write_atomically(path, lambda beside: save_file(tensors, beside))


class StagedSights:
    """Staged instants of a folder by index, held in memory as they are stored.

    Args:
        folder: what `alpamayo train stage` wrote.
        split: which part of it, by the scenes' seeds.

    Attributes:
        camera_ids: Alpamayo's, in the order of the pictures.

    Raises:
        DataSetError: for no such folder, one without scenes of this split, or a damaged file.
    """

    def __init__(self, folder: Path, *, split: Split) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not (folder / SETTINGS_FILE).exists():
            raise DataSetError(f"{folder}: expected staged instants (alpamayo train stage), got none")
        self.folder = folder
        self.camera_ids = _camera_ids(folder / SETTINGS_FILE)
        paths = sorted(folder.glob("*.safetensors"))
        paths = [path for path in paths if split_of(family_and_seed(path.stem)[1]) == split]
        if not paths:
            raise DataSetError(f"{folder}: expected staged instants of split {split}, got none")
        try:
            self._scenes = [load_file(path) for path in paths]
        except (OSError, SafetensorError) as error:
            raise DataSetError(f"{folder}: expected staged instants, got: {error}") from error
        self._ends = np.cumsum([len(scene["yes"]) for scene in self._scenes])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sight:
        """Return an instant; raises IndexError beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: instant {index} of {len(self)}")
        place = int(np.searchsorted(self._ends, index, side="right"))
        scene = self._scenes[place]
        row = index - (int(self._ends[place - 1]) if place else 0)
        cameras = len(scene["frame_ends"]) // len(scene["yes"])
        ends = [0, *scene["frame_ends"].tolist()]
        spans = [(ends[i], ends[i + 1]) for i in range(row * cameras, (row + 1) * cameras)]
        frames = np.stack([decode_rgb(scene["frames"][begin:end].tobytes()) for begin, end in spans])
        return Sight(frames, Surroundings(scene["grid"][row], scene["yes"][row], scene["far"][row]))


def _camera_ids(path: Path) -> tuple[int, ...]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["camera_ids"]
        return tuple(int(camera_id) for camera_id in found)
    except (ValueError, TypeError, KeyError) as error:
        raise DataSetError(f"{path}: expected JSON with camera_ids, got none: {error!r}") from error


def open_sights(folder: Path, *, split: Split) -> SightSource:
    """Return the instants of a folder of staged ones, or of a data set's simulated episodes.

    Raises:
        DataSetError: for neither, or one without instants of this split.
    """
    if (folder / SETTINGS_FILE).exists():
        return StagedSights(folder, split=split)
    return Sights(folder, split=split)
