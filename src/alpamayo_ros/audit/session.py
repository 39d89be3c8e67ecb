"""What holds for a whole log: the planner's parameters, its rig, its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alpamayo_ros.audit.identity import ModelIdentity

ParameterValue = str | bool | int | float | list[str] | list[bool] | list[int] | list[float]


@dataclass(frozen=True)
class AuditSession:
    """The first record of a log.

    Attributes:
        rig_name, rig_frame: of the rig.
        rig_file: where it was read from, and rig_text: what stood there.
        odometry_topic: absolute, as subscribed.
        camera_topics: by camera id, absolute, as subscribed.
        model: what plans.
        parameters: all of the node's, as they were when the log began.
        started_ns: in the clock of the stamps.
        software: version of this package.
    """

    rig_name: str
    rig_frame: str
    rig_file: str
    rig_text: str
    odometry_topic: str
    camera_topics: Mapping[int, str]
    model: ModelIdentity
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    started_ns: int = 0
    software: str = ""
