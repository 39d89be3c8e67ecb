"""Pictures on meshes: facades with windows, and the faces of traffic signs. Drawn once, with OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]

PICTURE_PX = 256
_BAYS = 4

SPEEDS_KMH: tuple[int, ...] = (20, 30, 40, 50, 60, 70, 80, 90, 100, 120)


def all_pictures() -> tuple[UInt8Array, dict[str, int]]:
    """Return RGBA pictures uint8 [L, 256, 256, 4] and the layer of each name.

    Facades ("facade0" …) hold 4 x 4 bays; alpha is what glows in the dark.
    """
    makers: dict[str, Callable[[], UInt8Array]] = {
        f"facade{index}": partial(_facade, index) for index in range(len(_FACADES))
    }
    makers["stop"] = _stop
    makers["yield"] = _yield
    for kmh in SPEEDS_KMH:
        makers[f"speed{kmh}"] = partial(_speed, kmh)
    makers["turn_left"] = partial(_turn, -1)
    makers["turn_right"] = partial(_turn, 1)
    makers["chevrons"] = _chevrons
    layers = {name: index for index, name in enumerate(makers)}
    return np.stack([make() for make in makers.values()]), layers


# Wall, window and frame colours (encoded RGB), window's share of a bay across and up, and ribbon windows.
_FACADES: tuple[
    tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int], float, float], ...
] = (
    ((176, 98, 78), (52, 62, 74), (226, 222, 214), 0.42, 0.52),
    ((206, 196, 178), (58, 70, 84), (240, 238, 232), 0.46, 0.54),
    ((150, 152, 154), (62, 84, 104), (96, 100, 104), 0.72, 0.60),
    ((96, 112, 124), (70, 98, 120), (150, 156, 160), 0.90, 0.78),
    ((218, 206, 156), (54, 62, 70), (250, 248, 240), 0.40, 0.50),
    ((196, 178, 170), (50, 58, 66), (120, 80, 66), 0.38, 0.56),
)
FACADE_COUNT = len(_FACADES)


def _facade(index: int) -> UInt8Array:
    wall, glass, frame, across, up = _FACADES[index]
    rng = np.random.default_rng([31, index])
    bay = PICTURE_PX // _BAYS
    image = np.zeros((PICTURE_PX, PICTURE_PX, 4), np.float64)
    image[..., :3] = wall
    image[..., :3] *= 1 + 0.035 * rng.standard_normal((PICTURE_PX, PICTURE_PX, 1))
    if index in (0, 5):  # courses of bricks
        image[::4, :, :3] *= 0.88
    image[::bay, :, :3] *= 0.8
    image[1::bay, :, :3] *= 1.08
    for row in range(_BAYS):
        for column in range(_BAYS):
            w, h = round(bay * across), round(bay * up)
            x0 = column * bay + (bay - w) // 2
            y0 = row * bay + round((bay - h) * 0.45)
            image[y0 - 2 : y0 + h + 3, x0 - 2 : x0 + w + 2, :3] = frame
            image[y0 + h + 1 : y0 + h + 4, x0 - 3 : x0 + w + 3, :3] = np.array(frame) * 0.82
            pane = np.array(glass) * rng.uniform(0.75, 1.25)
            slope = np.linspace(1.25, 0.8, h)[:, None, None]
            image[y0 : y0 + h, x0 : x0 + w, :3] = pane * slope
            if rng.uniform() < 0.35:  # a blind
                drop = round(h * rng.uniform(0.2, 0.6))
                image[y0 : y0 + drop, x0 : x0 + w, :3] = (196, 192, 184)
            image[y0 : y0 + h, x0 + w // 2, :3] = np.array(frame) * 0.9
            if rng.uniform() < 0.3:
                image[y0 : y0 + h, x0 : x0 + w, 3] = rng.uniform(110, 215)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _plate(background: tuple[int, int, int]) -> UInt8Array:
    image = np.zeros((PICTURE_PX, PICTURE_PX, 4), np.uint8)
    image[..., :3] = background
    return image


def _text(image: UInt8Array, text: str, *, height: int, colour: tuple[int, int, int], thickness: int) -> None:
    font = cv2.FONT_HERSHEY_DUPLEX
    scale = height / 22.0
    (width, high), _ = cv2.getTextSize(text, font, scale, thickness)
    widest = PICTURE_PX * 0.74
    if width > widest:
        scale *= widest / width
        (width, high), _ = cv2.getTextSize(text, font, scale, thickness)
    at = ((PICTURE_PX - width) // 2, (PICTURE_PX + high) // 2)
    rgb = np.ascontiguousarray(image[..., :3])
    cv2.putText(rgb, text, at, font, scale, colour, thickness, cv2.LINE_AA)
    image[..., :3] = rgb


def _stop() -> UInt8Array:
    image = _plate((240, 240, 240))
    rgb = np.ascontiguousarray(image[..., :3])
    centre = PICTURE_PX / 2
    angles = np.pi / 8 + np.arange(8) * np.pi / 4
    points = centre + 0.465 * PICTURE_PX / np.cos(np.pi / 8) * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(rgb, [np.round(points).astype(np.int32)], (190, 22, 30), cv2.LINE_AA)
    image[..., :3] = rgb
    _text(image, "STOP", height=72, colour=(245, 245, 245), thickness=11)
    return image


def _yield() -> UInt8Array:
    image = _plate((200, 24, 32))
    rgb = np.ascontiguousarray(image[..., :3])
    c, p = PICTURE_PX / 2, PICTURE_PX
    points = np.array([[c + 0.31 * p, c - 0.32 * p], [c - 0.31 * p, c - 0.32 * p], [c, c + 0.22 * p]])
    cv2.fillPoly(rgb, [np.round(points).astype(np.int32)], (244, 244, 240), cv2.LINE_AA)
    image[..., :3] = rgb
    return image


def _speed(kmh: int) -> UInt8Array:
    image = _plate((200, 24, 32))
    rgb = np.ascontiguousarray(image[..., :3])
    centre = (PICTURE_PX // 2, PICTURE_PX // 2)
    cv2.circle(rgb, centre, round(0.385 * PICTURE_PX), (246, 246, 244), -1, cv2.LINE_AA)
    image[..., :3] = rgb
    _text(image, str(kmh), height=86, colour=(20, 20, 22), thickness=14)
    return image


def _chevrons() -> UInt8Array:
    """Return a board of arrows to the right; only the middle half of its height is seen."""
    image = _plate((244, 244, 240))
    rgb = np.ascontiguousarray(image[..., :3])
    top, middle, bottom = PICTURE_PX // 4, PICTURE_PX // 2, 3 * PICTURE_PX // 4
    for left in (10, 92, 174):
        points = [(left, top), (left + 34, top), (left + 74, middle), (left + 34, bottom), (left, bottom),
                  (left + 40, middle)]  # fmt: skip
        cv2.fillPoly(rgb, [np.array(points, np.int32)], (20, 20, 22), cv2.LINE_AA)
    image[..., :3] = rgb
    return image


def _turn(side: int) -> UInt8Array:
    image = _plate((244, 188, 20))
    rgb = np.ascontiguousarray(image[..., :3])
    c = PICTURE_PX // 2

    def at(x: float, y: float) -> tuple[int, int]:
        return round(c + side * x), round(c + y)

    black = (20, 20, 20)
    cv2.line(rgb, at(-18, 62), at(-18, 0), black, 20)
    cv2.line(rgb, at(-18, -6), at(24, -6), black, 20)
    tip = np.array([at(62, -6), at(22, -40), at(22, 28)], np.int32)
    cv2.fillPoly(rgb, [tip], black, cv2.LINE_AA)
    image[..., :3] = rgb
    return image
