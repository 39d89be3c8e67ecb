"""What holds for a whole log: the planner's parameters, its rig, its model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from alpamayo_ros.audit.identity import ModelIdentity
from alpamayo_ros.sensing.rig import Rig, load_rig
from alpamayo_ros.types import InvalidInput

ParameterValue = str | bool | int | float | list[str] | list[bool] | list[int] | list[float]


@dataclass(frozen=True)
class AuditSession:
    """The first record of a log.

    Attributes:
        rig_frame: as used, which may be another than the rig file's.
        rig_path: the rig file.
        rig_texts: the rig file's text under "", and the texts of the files that it names, by those names.
        odometry_topic: absolute, as subscribed.
        camera_topics: by camera id, absolute, as subscribed.
        model: what plans.
        parameters: all of the node's, as they were when the log began.
        started_ns: in the clock of the stamps.
        software: version of this package.
    """

    rig_frame: str
    rig_path: str
    rig_texts: Mapping[str, str]
    odometry_topic: str
    camera_topics: Mapping[int, str]
    model: ModelIdentity
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    started_ns: int = 0
    software: str = ""

    def rig(self) -> Rig:
        """Return the rig as it was; raises InvalidInput where the texts make none."""
        if "" not in self.rig_texts:
            raise InvalidInput("rig_texts: expected the rig file's text, got none")
        with tempfile.TemporaryDirectory(prefix="alpamayo_audit_") as folder:
            places: dict[str, str] = {}
            for number, (name, text) in enumerate(self.rig_texts.items()):
                places[name] = f"part_{number}.yaml"
                Path(folder, places[name]).write_text(text, encoding="utf-8")
            content = _parsed(self.rig_texts[""], "rig_texts")
            content.setdefault("name", Path(self.rig_path).stem)
            for section in _sections_with_files(content):
                section["intrinsics"] = places.get(section["intrinsics"], section["intrinsics"])
            path = Path(folder, "rig.yaml")
            path.write_text(yaml.safe_dump(content), encoding="utf-8")
            return replace(load_rig(path), rig_frame=self.rig_frame)


def read_rig_texts(path: Path) -> dict[str, str]:
    """Return the text of a rig file, under "", and of the files that it names.

    Raises:
        InvalidInput: where one cannot be read.
    """
    try:
        texts = {"": path.read_text(encoding="utf-8")}
        for section in _sections_with_files(_parsed(texts[""], str(path))):
            name = section["intrinsics"]
            texts[name] = (path.parent / Path(name).expanduser()).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: expected a rig file that can be read, got {error}") from error
    return texts


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{name}: expected YAML, got {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{name}: expected a mapping, got {type(content).__name__}")
    return content


def _sections_with_files(rig: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the sections of a rig file whose intrinsics stand in a file of their own."""
    cameras = rig.get("cameras")
    for camera in cameras if isinstance(cameras, list) else ():
        if isinstance(camera, dict):
            for section in (camera, camera.get("model_camera")):
                if isinstance(section, dict) and isinstance(section.get("intrinsics"), str):
                    yield section
