"""Whether two sessions were given the same answers."""

from __future__ import annotations

from typing import Any

from alpamayo_ros.sim.asl_tallies import debug_info
from alpamayo_ros.sim.protocol.generated import egodriver_pb2
from alpamayo_ros.sim.replay.contract import Finding
from alpamayo_ros.sim.replay.session import SessionRecord

_REASONING = ("reasoning_text", "reasoning")
"""What is compared of a JSON debug info: the rest may hold times. A pickle is never opened."""


def differences(record: SessionRecord, alone: SessionRecord) -> list[Finding]:
    """Return where a session's answers are other than those of the same session driven alone.

    Trajectories, samples and reasoning are compared byte for byte; only steps that both have an answer for,
    as a missing one is a finding already.
    """
    found = []
    for step, answer in record.answers.items():
        if step not in alone.answers:
            continue
        parts = _parts(alone.answers[step])
        other = [name for name, part in _parts(answer).items() if part != parts[name]]
        if other:
            found.append(Finding("same_answers", f"other {', '.join(other)}", record.number, step))
    return found


def _parts(answer: egodriver_pb2.DriveResponse) -> dict[str, Any]:
    _, told = debug_info(answer.debug_info.unstructured_debug_info)
    return {
        "trajectory": answer.trajectory.SerializeToString(deterministic=True),
        "samples": [
            each.SerializeToString(deterministic=True) for each in answer.debug_info.sampled_trajectories
        ],
        "reasoning": [told.get(name) for name in _REASONING],
        "terminate_session": answer.terminate_session,
    }
