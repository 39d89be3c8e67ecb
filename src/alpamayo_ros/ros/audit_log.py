"""What the planner node tells the audit log: the glue between the node's objects and audit/."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros import __version__
from alpamayo_ros.audit.decision import Decision, OdometryWindow, Outcome
from alpamayo_ros.audit.identity import ModelIdentity
from alpamayo_ros.audit.log import AuditLog, AuditStatus
from alpamayo_ros.audit.session import AuditSession, ParameterValue, read_rig_texts
from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.types import Observation

if TYPE_CHECKING:
    from alpamayo_ros.ros.inference import PlanOutcome

_REMEMBERED = 16


def planner_session(
    *,
    rig: Rig,
    rig_file: Path,
    identity: ModelIdentity,
    parameters: Mapping[str, ParameterValue],
    resolve: Callable[[str], str],
    now_ns: int,
) -> AuditSession:
    """Return what a log begins with.

    Args:
        rig: as used.
        rig_file: where it is from.
        identity: of the model.
        parameters: all of the node's.
        resolve: the node's resolve_topic_name, which knows namespace and remapping.
        now_ns: of the node's clock.

    Raises:
        InvalidInput: where the rig file cannot be read any more.
    """
    return AuditSession(
        rig_frame=rig.rig_frame,
        rig_path=str(rig_file),
        rig_texts=read_rig_texts(rig_file),
        odometry_topic=resolve(rig.odometry_topic),
        camera_topics={camera.camera_id: resolve(camera.topic) for camera in rig.cameras},
        model=identity,
        parameters=dict(parameters),
        started_ns=now_ns,
        software=__version__,
    )


class PlannerAudit:
    """The audit log of one configured planner node. Every method may be called from any thread.

    None of them waits for the disk or raises for it: what could not be written is counted in `status`.

    Args:
        folder: where a new file is made; made itself if need be.
        session: what the log begins with.
    """

    def __init__(self, folder: str | Path, session: AuditSession) -> None:
        self._log = AuditLog(folder, session)
        self._lock = threading.Lock()
        self._origins: OrderedDict[int, tuple[int, OdometryWindow | None]] = OrderedDict()

    def observed(self, observation: Observation, *, assembler: ObservationAssembler, epoch: int) -> None:
        """Remember where an observation's history is from; to be called as soon as it was taken."""
        window = OdometryWindow(*assembler.odometry_sources(observation.t0_ns))
        with self._lock:
            self._origins[observation.t0_ns] = epoch, window
            self._origins.move_to_end(observation.t0_ns)
            while len(self._origins) > _REMEMBERED:
                self._origins.popitem(last=False)

    def decided(self, decision: Decision, *, outcome: PlanOutcome | None = None) -> None:
        """Log a decision.

        Args:
            decision: what is known; of an observation that `observed` was told, epoch and odometry are added.
            outcome: of the inference, if there was one: its observation, plan, options and latency are added.
        """
        if outcome is not None:
            decision = replace(
                decision,
                observation=outcome.observation,
                plan=decision.plan or outcome.plan,
                options=outcome.options,
                latency_ms=outcome.latency_ms,
            )
        if decision.observation is not None:
            with self._lock:
                origin = self._origins.get(decision.observation.t0_ns)
            if origin is not None:
                decision = replace(decision, epoch=origin[0], odometry=origin[1])
        self._log.decided(decision)

    def event(self, name: str, details: Mapping[str, ParameterValue] | None = None, *, now_ns: int) -> None:
        """Log something else that decisions depend on: "cleared", "activated", "parameters", "engaged" ..."""
        self._log.event(name, details or {}, now_ns=now_ns)

    @property
    def status(self) -> AuditStatus:
        """How it goes, for diagnostics."""
        return self._log.status

    def close(self) -> None:
        """Write what waits, and the index; returns after a few seconds at the latest."""
        self._log.close()


__all__ = ["AuditStatus", "Decision", "Outcome", "PlannerAudit", "planner_session"]
