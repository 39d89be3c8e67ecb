"""What a vision-language model is shown and asked, and what of its answers is taken.

It sees the cameras' newest pictures and is told how the vehicle will move, not what the automatic label says:
a second opinion that has read the first is none.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.training.labels.chat import Failure, NoAnswer
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.types import HISTORY_INTERVAL_S, WAYPOINT_INTERVAL_S, UInt8Array, camera_name

MAX_CHARACTERS = 240
"""Alpamayo's published reasonings have up to 210."""
_MIN_WORDS = 4
_SOON_STEPS = round(3.0 / WAYPOINT_INTERVAL_S)
_JPEG_QUALITY = 90
_SYSTEM = (
    "You explain the decisions of an automated vehicle. You see its cameras at one moment and are told how "
    "it moves in the seconds that follow. Write the Chain of Causation as one sentence in English: first "
    "what the vehicle does, as an imperative, then the one thing in the scene that causes it, for example: "
    "'Slow down to keep a safe distance to the lead vehicle ahead in our lane.' "
    "Name only what can be seen in the pictures. No lists, no introduction, no second sentence."
)
_SENTENCE_ENDS = re.compile(r"[.!?](?=\s+[A-Z])")


def messages_for(sample: TrainingSample) -> list[dict[str, Any]]:
    """Return the messages of a chat request about one sample: system, then text and pictures in turn."""
    observation = sample.observation
    content: list[dict[str, Any]] = []
    for camera_id in observation.camera_ids:
        newest = observation.frames_of(camera_id)[-1]
        content.append({"type": "text", "text": f"Camera {camera_name(camera_id)}:"})
        content.append({"type": "image_url", "image_url": {"url": _data_url(newest)}})
    content.append({"type": "text", "text": _motion(sample)})
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]


def sentence_of(answer: str) -> str:
    """Return the one sentence of an answer.

    Raises:
        NoAnswer: for an answer that is empty, too long, or anything but one sentence.
    """
    text = answer.strip().strip('"“”').strip()
    if not text:
        raise NoAnswer(Failure.EMPTY, "the model wrote nothing")
    if len(text) > MAX_CHARACTERS:
        raise NoAnswer(Failure.TOO_LONG, f"expected at most {MAX_CHARACTERS} characters, got {len(text)}")
    # Angle brackets: special tokens and tags of thinking have no place in a training text.
    odd = not text.isprintable() or "<" in text or ">" in text
    if odd or len(text.split()) < _MIN_WORDS or _SENTENCE_ENDS.search(text):
        raise NoAnswer(Failure.NOT_A_SENTENCE, f"got {text[:80]!r}")
    return text if text.endswith(".") else f"{text.rstrip('!?;:, ')}."


def _motion(sample: TrainingSample) -> str:
    """Return what the vehicle does, in numbers that anybody can read."""
    history = sample.observation.history_xyz_in_rig_t0.astype(np.float64)
    now = float(np.linalg.norm(history[-1, :2] - history[-2, :2])) / HISTORY_INTERVAL_S
    future = sample.future_xyz_in_rig_t0.astype(np.float64)
    steps = np.linalg.norm(np.diff(future[:, :2], axis=0), axis=1) / WAYPOINT_INTERVAL_S
    soon, end = future[_SOON_STEPS - 1], future[-1]
    lines = [
        f"Speed now: {now:.1f} m/s; in 3 s: {steps[_SOON_STEPS - 1]:.1f} m/s; in 6 s: {steps[-1]:.1f} m/s.",
        f"Position in 3 s: {soon[0]:.1f} m ahead, {_aside(soon[1])}; "
        f"in 6.4 s: {end[0]:.1f} m ahead, {_aside(end[1])}.",
    ]
    if sample.meta_action:
        lines.append(f"Manoeuvre: {sample.meta_action}.")
    if sample.observation.instruction:
        lines.append(f"Navigation: {sample.observation.instruction}.")
    lines.append("Why does the vehicle do that? Answer with the one sentence alone.")
    return "\n".join(lines)


def _aside(y_m: float) -> str:
    return f"{abs(y_m):.1f} m to the {'left' if y_m >= 0 else 'right'}"


def _data_url(frame: UInt8Array) -> str:
    """Return a picture, uint8 [3, H, W] RGB, as a JPEG data URL."""
    bgr = np.ascontiguousarray(frame.transpose(1, 2, 0)[..., ::-1])
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise RuntimeError(f"JPEG: encoding a picture of {frame.shape} failed")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
