"""The sentence–trajectory pairs of the monitor: files of text lines, read into plans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plan_making import plan_of

from alpamayo_ros.sim.planners.motion import Motion
from alpamayo_ros.types import Plan

FOLDER = Path(__file__).parent
DEVELOPMENT = FOLDER / "monitor_pairs_development.txt"
HELD_OUT = FOLDER / "monitor_pairs_held_out.txt"
EXPECTED = ("agrees", "contradicts", "silent")

_SPEED = re.compile(r"v (?P<start>[\d.]+)(?P<changes>( -> [\d.]+ in [\d.]+)*)")
_CHANGE = re.compile(r" -> ([\d.]+) in ([\d.]+)")
_ASIDE = re.compile(r"(?P<kind>shift|turn) (?P<side>left|right) (?P<size>[\d.]+) in (?P<seconds>[\d.]+)")
_BEND = re.compile(r"bend (?P<side>left|right) (?P<size>[\d.]+)")
_SIDES = {"left": 1.0, "right": -1.0}


@dataclass(frozen=True)
class Pair:
    """What a text says and how the vehicle moves, and whether these go together."""

    expected: str
    motion: str
    reasoning: str
    meta_action: str = ""
    line: int = 0

    def plan(self) -> Plan:
        """Return the plan of this motion with these texts."""
        plan = plan_of([read_motion(self.motion)], [self.reasoning])
        object.__setattr__(plan, "meta_action", (self.meta_action,))
        return plan


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a file."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        expected, motion, *texts = [part.strip() for part in line.split("|")]
        if expected not in EXPECTED or not 1 <= len(texts) <= 2:
            raise ValueError(
                f"{path.name}:{number}: expected EXPECTED | MOTION | REASONING | META, got {line}"
            )
        pairs.append(Pair(expected, motion, *texts, *[""] * (2 - len(texts)), line=number))
    return pairs


def read_motion(text: str) -> Motion:
    """Return the motion that a text such as "v 12 -> 6 in 3, shift left 0.9 in 3" describes."""
    speed_text, *others = [part.strip() for part in text.split(",")]
    found = _SPEED.fullmatch(speed_text)
    if found is None:
        raise ValueError(f"motion: expected 'v START -> TO in SECONDS', got {speed_text!r}")
    times, speeds = [0.0], [float(found["start"])]
    for to, seconds in _CHANGE.findall(found["changes"]):
        times.append(times[-1] + float(seconds))
        speeds.append(float(to))
    steps_s = np.arange(65) * 0.1
    speed = np.interp(steps_s, times, speeds)
    way = np.concatenate([[0.0], np.cumsum(0.05 * (speed[1:] + speed[:-1]))])
    yaw = np.zeros(65)
    for other in others:
        yaw += _heading(other, steps_s, way)
    return Motion(accel_mps2=np.diff(speed) / 0.1, yaw_rad=yaw, speed_mps=speed)


def _heading(text: str, steps_s: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return the headings [65] of one manoeuvre across the road, on the way that is made."""
    if (bend := _BEND.fullmatch(text)) is not None:
        return _SIDES[bend["side"]] * np.radians(float(bend["size"])) * way / way[-1]
    found = _ASIDE.fullmatch(text)
    if found is None:
        raise ValueError(f"motion: expected shift, turn or bend, got {text!r}")
    size = _SIDES[found["side"]] * float(found["size"])
    made = np.interp(float(found["seconds"]), steps_s, way)
    share = np.clip(way / made, 0.0, 1.0)
    if found["kind"] == "turn":
        return np.radians(size) * share
    # Aside by a raised cosine: y = size * (share - sin(2 pi share) / 2 pi).
    return np.arctan(size / made * (1.0 - np.cos(2 * np.pi * share)))
