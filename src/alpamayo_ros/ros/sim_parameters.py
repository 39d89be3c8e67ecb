"""The parameters of the simulation bridge in mode renderer; those of mode alpasim: driver_parameters.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from alpamayo_ros.ros.driver_parameters import MODE
from alpamayo_ros.ros.parameters import Changes, ParameterSpec
from alpamayo_ros.sim.protocol.channel import ClientTls
from alpamayo_ros.types import InvalidInput

HOSTED_PLANNERS = ("", "expert", "constant")
WORLDS = ("auto", "procedural", "recorded")


def _start(name: str, default: Any, description: str, **limits: Any) -> ParameterSpec:
    return ParameterSpec(name, default, description, changes=Changes.START, **limits)


PARAMETERS: tuple[ParameterSpec, ...] = (
    MODE,
    _start(
        "scenarios",
        "0",
        "What to drive, one after another: seeds, A-B ranges, ids FAMILY-SEED or family names, by comma; "
        "of a foreign renderer its scene ids.",
    ),
    _start(
        "planner",
        "",
        "Who plans: empty for a planner node on the topics, or a baseline hosted here: expert or constant.",
        choices=HOSTED_PLANNERS,
    ),
    _start("renderer", "", "HOST:PORT of a SensorsimService; empty starts the embedded renderer."),
    _start(
        "renderer_ca", "", "PEM file: who signed the renderer's certificate; any of these three means TLS."
    ),
    _start("renderer_cert", "", "PEM file: our certificate, where the renderer asks for one."),
    _start("renderer_key", "", "PEM file: the key of our certificate."),
    _start(
        "world",
        "auto",
        "Whence map and traffic: procedural, recorded (what the renderer tells of its scene), or auto for "
        "procedural where the renderer is ours.",
        choices=WORLDS,
    ),
    _start("usdz", "", "The recorded scene's .usdz: its tracks are replayed and scored."),
    _start(
        "rig", "sim", "Cameras to render and their topics: a rig file, or the name of one in config/rigs."
    ),
    _start("image_width", 576, "Width of the images to ask for, pixels.", minimum=16, maximum=8192),
    _start("image_height", 320, "Height of the images to ask for, pixels.", minimum=16, maximum=8192),
    _start("out", "", "Folder for rollout.asl and score.json of each rollout; empty keeps nothing."),
    _start("rollout_index", 0, "Number of this rollout among several of a scene.", minimum=0, maximum=10**6),
    _start(
        "realtime_factor",
        0.0,
        "Simulated seconds a wall second at most; 0 is as fast as lock-step goes.",
        minimum=0.0,
        maximum=1000.0,
    ),
    _start(
        "plan_timeout_s",
        30.0,
        "Wall seconds that a step waits for its plan before it is a stop.",
        minimum=0.01,
        maximum=3600.0,
    ),
    _start(
        "max_missed_plans",
        10,
        "Steps in a row without a plan after which the rollout has failed.",
        minimum=1,
        maximum=100_000,
    ),
    _start(
        "planner_timeout_s",
        300.0,
        "Wall seconds to wait for the planner to become active.",
        minimum=0.1,
        maximum=36_000.0,
    ),
    _start(
        "render_timeout_s",
        60.0,
        "Wall seconds for one set of images, retries included, before the rollout has failed.",
        minimum=0.1,
        maximum=3600.0,
    ),
    _start(
        "renderer_timeout_s",
        60.0,
        "Wall seconds to wait for the renderer's first answer.",
        minimum=0.1,
        maximum=3600.0,
    ),
)
"""Parameters of the simulation bridge in mode renderer."""


@dataclass(frozen=True)
class BridgeSettings:
    """The parameters' values; see PARAMETERS for what each says.

    Raises:
        InvalidInput: for values that contradict each other.
    """

    mode: str
    scenarios: str
    planner: str
    renderer: str
    renderer_ca: str
    renderer_cert: str
    renderer_key: str
    world: str
    usdz: str
    rig: str
    image_width: int
    image_height: int
    out: str
    rollout_index: int
    realtime_factor: float
    plan_timeout_s: float
    max_missed_plans: int
    planner_timeout_s: float
    render_timeout_s: float
    renderer_timeout_s: float

    def __post_init__(self) -> None:
        if self.mode != "renderer":
            raise InvalidInput(f"mode: expected renderer of this node, got {self.mode!r}")
        if not self.scenarios.strip():
            raise InvalidInput("scenarios: expected at least one seed or id, got none")
        if not self.renderer and (self.world == "recorded" or self.usdz):
            raise InvalidInput(
                "world: expected procedural scenes of the embedded renderer, got a recorded one; "
                "name a renderer that serves it"
            )
        if self.world == "procedural" and self.usdz:
            raise InvalidInput("usdz: expected none for procedural scenes, got one")
        if any(self._tls_files) and not self.renderer:
            raise InvalidInput("renderer_ca, _cert, _key: expected a renderer by its address too, got none")

    @property
    def _tls_files(self) -> tuple[str, str, str]:
        return self.renderer_ca, self.renderer_cert, self.renderer_key

    def tls(self) -> ClientTls | None:
        """Return how calls of the renderer are encrypted, None for not; raises InvalidInput for bad files."""
        if not any(self._tls_files):
            return None
        authority, certificate, key = (Path(name) if name else None for name in self._tls_files)
        return ClientTls.from_files(authority=authority, certificate=certificate, key=key)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> BridgeSettings:
        """Return the settings of parameter values by name; further names are ignored."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})
