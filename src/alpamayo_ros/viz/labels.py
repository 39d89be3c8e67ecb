"""Words on pictures: the state of a plan above, the reasoning below, each on a veil that keeps it legible."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from alpamayo_ros.types import UInt8Array
from alpamayo_ros.viz.colours import RGB, STATUS_COLOURS
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.text import font, wrapped

_VEIL = (12, 16, 24, 150)
_INK: RGB = (255, 255, 255)
_STATUS_OPACITY = 225
_LINES_A_HEIGHT = 25.0
_SMALLEST_PX = 10
_BRIGHT = 480

Sprite = tuple[UInt8Array, UInt8Array]
"""What is left of the picture below, 0 … 255, and what is added to it; both [h, w, 3]."""


def paint_labels(
    image_rgb: UInt8Array, drawing: PlanDrawing | None, *, reasoning_lines: int = 3, corner: str = ""
) -> None:
    """Write into a picture [H, W, 3]: status, speed, latency and notes above, the reasoning below.

    Args:
        image_rgb: uint8; it is changed.
        drawing: whose words; None writes the corner alone.
        reasoning_lines: the most lines of reasoning.
        corner: a word for the upper right corner.
    """
    height, width = image_rgb.shape[:2]
    size_px = text_size_px(image_rgb)
    right = 0
    if corner:
        sprite = _chip(corner, size_px, _INK, _VEIL)
        right = sprite[0].shape[1]
        _put(image_rgb, sprite, width - right, 0)
    if drawing is None:
        return
    paint_state(image_rgb, drawing, room_px=width - right)
    words = spoken_text(drawing)
    if words:
        panel = _panel(words, size_px, width, reasoning_lines)
        _put(image_rgb, panel, 0, height - panel[0].shape[0])


def paint_state(image_rgb: UInt8Array, drawing: PlanDrawing, *, room_px: int | None = None) -> None:
    """Write status, speed, latency and notes into the upper left corner, as many as there is room for."""
    size_px = text_size_px(image_rgb)
    colour = STATUS_COLOURS[drawing.status]
    ink = (0, 0, 0) if sum(colour) > _BRIGHT else _INK
    status = _chip(status_text(drawing), size_px, ink, (*colour, _STATUS_OPACITY), bold=True)
    taken = status[0].shape[1]
    _put(image_rgb, status, 0, 0)
    facts = _fitting(fact_texts(drawing), size_px, (room_px or image_rgb.shape[1]) - taken)
    if facts:
        _put(image_rgb, _chip(facts, size_px, _INK, _VEIL), taken, 0)


def paint_chip(
    image_rgb: UInt8Array, text: str, *, at: tuple[int, int], size_px: int, ink: RGB, right: bool = False
) -> None:
    """Write one line without a veil, its upper left (or right) corner at x, y."""
    sprite = _chip(text, size_px, ink, (0, 0, 0, 0))
    _put(image_rgb, sprite, at[0] - (sprite[0].shape[1] if right else 0), at[1])


def text_size_px(image_rgb: UInt8Array) -> int:
    """Return the height of letters that suits a picture."""
    height, width = image_rgb.shape[:2]
    return max(_SMALLEST_PX, round(min(height, width * 9 / 16) / _LINES_A_HEIGHT))


def status_text(drawing: PlanDrawing) -> str:
    """Return the status for people."""
    return "NO VALID PLAN" if drawing.status == "NONE" else drawing.status


def fact_texts(drawing: PlanDrawing) -> tuple[str, ...]:
    """Return speed, latency and notes."""
    facts = []
    if len(drawing.path_speed_mps):
        facts.append(f"{abs(drawing.path_speed_mps[0]) * 3.6:.0f} km/h")
    if drawing.latency_ms is not None:
        facts.append(f"{drawing.latency_ms:.0f} ms")
    return (*facts, *drawing.notes)


def spoken_text(drawing: PlanDrawing) -> str:
    """Return what is written below: the reasoning of a plan, or why there is none to follow."""
    if drawing.status in ("FALLBACK", "REJECTED", "NONE"):
        return drawing.reason
    return drawing.reasoning


@lru_cache(maxsize=128)
def _fitting(facts: tuple[str, ...], size_px: int, room_px: int) -> str:
    """Return as many facts as there is room for."""
    shown = list(facts)
    while shown and font(size_px).getlength("   ".join(shown)) + 2 * _pad(size_px) > room_px:
        shown.pop()
    return "   ".join(shown)


def _pad(size_px: int) -> int:
    return max(3, round(0.45 * size_px))


def _line_px(size_px: int) -> int:
    return round(1.3 * size_px)


@lru_cache(maxsize=128)
def _chip(
    text: str, size_px: int, ink: RGB, background: tuple[int, int, int, int], *, bold: bool = False
) -> Sprite:
    """Return one line on a background RGBA."""
    from PIL import Image, ImageDraw

    face = font(size_px, bold=bold)
    pad = _pad(size_px)
    width = round(face.getlength(text)) + 2 * pad
    canvas = Image.new("RGBA", (width, _line_px(size_px) + pad), background)
    ImageDraw.Draw(canvas).text((pad, pad // 2), text, font=face, fill=(*ink, 255))
    return _sprite(np.array(canvas))


@lru_cache(maxsize=32)
def _panel(text: str, size_px: int, width: int, most_lines: int) -> Sprite:
    """Return a text in lines on a veil as wide as the picture."""
    from PIL import Image, ImageDraw

    face, pad = font(size_px), _pad(size_px)
    lines = wrapped(text, face, width_px=width - 2 * pad, lines=most_lines)
    canvas = Image.new("RGBA", (width, len(lines) * _line_px(size_px) + pad), _VEIL)
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((pad, pad // 2 + number * _line_px(size_px)), line, font=face, fill=(*_INK, 255))
    return _sprite(np.array(canvas))


def _sprite(rgba: UInt8Array) -> Sprite:
    alpha = rgba[..., 3:].astype(np.uint16)
    kept = np.repeat(255 - rgba[..., 3:], 3, axis=2)
    added = (rgba[..., :3] * alpha // 255).astype(np.uint8)
    return np.ascontiguousarray(kept), added


def _put(image: UInt8Array, sprite: Sprite, x: int, y: int) -> None:
    """Lay a sprite onto a picture; what reaches beyond it is cut off."""
    kept, added = sprite
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + kept.shape[1], image.shape[1]), min(y + kept.shape[0], image.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    region = image[y0:y1, x0:x1]
    region[:] = cv2.add(cv2.multiply(region, kept[part], scale=1 / 255), added[part])
