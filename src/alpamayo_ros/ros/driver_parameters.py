"""The parameters of the driver for AlpaSim (`sim_bridge` in mode alpasim); `alpamayo alpasim-driver` too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.ros.parameters import Changes, ParameterSpec
from alpamayo_ros.ros.planner_parameters import TABLE as PLANNER_TABLE
from alpamayo_ros.ros.planner_parameters import plan_options
from alpamayo_ros.ros.safety_parameters import SAFETY_PARAMETERS, safety_settings
from alpamayo_ros.ros.speed_parameters import SPEED_PARAMETERS, speed_options
from alpamayo_ros.sim.driver.settings import DEBUG_INFOS, DEFAULT_PORT, NAVIGATIONS, DriverSettings
from alpamayo_ros.sim.protocol.server import ServerTls
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput, PlanOptions

PLANNERS = ("", "constant")
_DRIVER = DriverSettings()
_OF_A_NODE = {"heartbeat_ms", "fallback_period_ms", "odometry_twist", "max_odometry_age_ms"}
"""Of the safety stage: a session answers when it is asked, and every question tells where the vehicle is."""


def _start(name: str, default: Any, description: str, **limits: Any) -> ParameterSpec:
    return ParameterSpec(name, default, description, changes=Changes.START, **limits)


_SAFETY_DEFAULTS = {spec.name: spec.default for spec in SAFETY_PARAMETERS}

MODE = _start(
    "mode",
    "renderer",
    "What the bridge is: renderer runs our own simulation with images of a renderer, alpasim is the driver "
    "that AlpaSim calls.",
    choices=("renderer", "alpasim"),
)
_MODEL = (
    *("checkpoint", "backbone", "device", "dtype", "cpu_threads"),
    *(spec.name for spec in SPEED_PARAMETERS),
)
_SAMPLING = (
    *("num_samples", "temperature", "top_p", "top_k", "max_reasoning_tokens", "flow_steps"),
    *("guidance_weight", "noise_temperature"),
)

PARAMETERS: tuple[ParameterSpec, ...] = (
    replace(MODE, default="alpasim"),
    _start("host", "127.0.0.1", "Address to listen at; 0.0.0.0 is every network's."),
    _start("port", DEFAULT_PORT, "Port to listen at; 0 is a free one.", minimum=0, maximum=65535),
    _start(
        "planner",
        "",
        "Who plans: empty for Alpamayo with `checkpoint`, or constant for constant velocity, a baseline.",
        choices=PLANNERS,
    ),
    *(
        replace(PLANNER_TABLE[name], changes=Changes.START, by_checkpoint=False)
        for name in (*_MODEL, *_SAMPLING)
    ),
    _start(
        "seed",
        -1,
        "Seed of every session; -1 takes the one that the session is started with.",
        minimum=-1,
        maximum=2**63 - 1,
    ),
    _start("rig", "sim", "Cameras that the model looks at: a rig file, or the name of one in config/rigs."),
    _start(
        "cameras",
        "",
        "LOGICAL_ID=ROLE by comma, for a scene with other names than AlpaSim's usual ones; roles are "
        f"{', '.join(CAMERA_NAMES)}.",
    ),
    _start(
        "navigation",
        _DRIVER.navigation,
        "Whether routes become navigation text; auto is where the model takes any.",
        choices=NAVIGATIONS,
    ),
    _start(
        "debug_info",
        _DRIVER.debug_info,
        "Form of what goes along with an answer; pickle is for AlpaSim's own videos.",
        choices=DEBUG_INFOS,
    ),
    _start(
        "max_plan_age",
        _DRIVER.max_plan_age_s,
        "How old a plan may be that is driven (on, for want of a newer one), s of the session's time.",
        minimum=0.01,
        maximum=60.0,
    ),
    _start(
        "warm_up",
        _DRIVER.warm_up_s,
        "How long after the first drive too few pictures or poses are no fault, s of the session's time.",
        minimum=0.0,
        maximum=600.0,
    ),
    _start("max_sessions", _DRIVER.max_sessions, "Sessions at a time.", minimum=1, maximum=1024),
    _start(
        "idle_timeout",
        _DRIVER.idle_s,
        "After how long a session that nobody calls is ended, wall s.",
        minimum=1.0,
        maximum=1e6,
    ),
    _start("tls_key", "", "PEM file: the server's key; with `tls_cert` the connection is encrypted."),
    _start("tls_cert", "", "PEM file: the server's certificate."),
    _start("tls_client_ca", "", "PEM file: who must have signed the clients' certificates."),
    _start("mirror", True, "Publish each session under session_<8 hex digits>/, and one under watched/."),
    _start("mirror_images", True, "Publish the sessions' images too, where somebody subscribes to them."),
    _start(
        "through_topics",
        False,
        "Drive one session at a time through the node graph: inputs are published, a planner node plans.",
    ),
    _start(
        "plan_timeout_s",
        30.0,
        "Through topics: wall seconds that an answer waits for its plan.",
        minimum=0.01,
        maximum=3600.0,
    ),
    _start(
        "planner_timeout_s",
        300.0,
        "Through topics: wall seconds to wait for the planner to become active.",
        minimum=0.1,
        maximum=36_000.0,
    ),
    *(replace(spec, changes=Changes.START) for spec in SAFETY_PARAMETERS if spec.name not in _OF_A_NODE),
)
"""Parameters of the bridge in mode alpasim."""


@dataclass(frozen=True)
class DriverOptions:
    """The parameters' values; see PARAMETERS for what each says.

    Raises:
        InvalidInput: for values that contradict each other.
    """

    host: str
    port: int
    planner: str
    checkpoint: str
    backbone: str
    device: str
    dtype: str
    cpu_threads: int
    speed: SpeedOptions
    sampling: PlanOptions
    driver: DriverSettings
    rig: str
    tls_key: str
    tls_cert: str
    tls_client_ca: str
    mirror: bool
    mirror_images: bool
    through_topics: bool
    plan_timeout_s: float
    planner_timeout_s: float

    def __post_init__(self) -> None:
        if not self.host:
            raise InvalidInput("host: expected an address to listen at, got ''")
        if self.through_topics and (self.planner or self.checkpoint):
            raise InvalidInput(
                "through_topics: expected the planner node to plan, got "
                + (f"planner {self.planner!r}" if self.planner else f"checkpoint {self.checkpoint!r}")
                + " of the bridge too"
            )
        if self.planner and self.checkpoint:
            raise InvalidInput(
                f"planner, checkpoint: expected one of them, got {self.planner!r} and {self.checkpoint!r}"
            )
        if not (self.through_topics or self.planner or self.checkpoint):
            raise InvalidInput("checkpoint: expected a folder or a hub id (or planner constant), got ''")
        if bool(self.tls_key) != bool(self.tls_cert):
            raise InvalidInput("tls_key, tls_cert: expected both or neither, got one of them")
        if self.tls_client_ca and not self.tls_cert:
            raise InvalidInput("tls_client_ca: expected tls_key and tls_cert too, got neither")

    def tls(self) -> ServerTls | None:
        """Return how the port is encrypted, None for not; raises InvalidInput for bad files."""
        if not self.tls_cert:
            return None
        return ServerTls.from_files(
            key=Path(self.tls_key),
            certificate=Path(self.tls_cert),
            client_authority=Path(self.tls_client_ca) if self.tls_client_ca else None,
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> DriverOptions:
        """Return the options of parameter values by name; further names are ignored."""
        made: dict[str, Any] = {
            "driver": driver_settings(values),
            "sampling": plan_options({**values, "seed": -1}),
            "speed": speed_options(values),
        }
        names = [field.name for field in fields(cls) if field.name not in made]
        return cls(**made, **{name: values[name] for name in names})


def driver_settings(values: Mapping[str, Any]) -> DriverSettings:
    """Return how sessions are driven; raises InvalidInput for values that DriverSettings refuses."""
    return DriverSettings(
        seed=None if values["seed"] < 0 else values["seed"],
        debug_info=values["debug_info"],
        navigation=values["navigation"],
        cameras=cameras_of(values["cameras"]),
        max_plan_age_s=values["max_plan_age"],
        safety=safety_settings({**_SAFETY_DEFAULTS, **values}),
        # Through topics the planner node judges.
        safety_gate=values["safety_gate"] and not values["through_topics"],
        warm_up_s=values["warm_up"],
        max_sessions=1 if values["through_topics"] else values["max_sessions"],
        idle_s=values["idle_timeout"],
    )


def cameras_of(text: str) -> dict[str, int]:
    """Return logical id -> camera id of LOGICAL_ID=ROLE by comma.

    Raises:
        InvalidInput: for an unknown role, or a logical id that is named twice.
    """
    cameras: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        logical_id, separator, role = (part.strip() for part in item.partition("="))
        if not separator or not logical_id or role not in CAMERA_NAMES:
            raise InvalidInput(
                f"cameras: expected LOGICAL_ID=ROLE with a role of {', '.join(CAMERA_NAMES)}, got {item!r}"
            )
        if logical_id in cameras:
            raise InvalidInput(f"cameras: expected each logical id once, got {logical_id!r} twice")
        cameras[logical_id] = CAMERA_NAMES.index(role)
    return cameras


def defaults() -> dict[str, Any]:
    """Return every parameter's default by name."""
    return {spec.name: spec.default for spec in PARAMETERS}
