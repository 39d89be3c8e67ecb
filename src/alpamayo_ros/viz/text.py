"""Text in pictures, in matplotlib's own font, so that it looks the same everywhere."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.types import UInt8Array

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont


@cache
def font(size_px: int, *, bold: bool = False, italic: bool = False) -> FreeTypeFont:
    """Return DejaVu Sans of a size."""
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import ImageFont

    wanted = FontProperties(
        family="DejaVu Sans", weight="bold" if bold else "normal", style="oblique" if italic else "normal"
    )
    return ImageFont.truetype(findfont(wanted), size_px)


@lru_cache(maxsize=4096)
def length_px(type_face: FreeTypeFont, text: str) -> float:
    """Return how wide a text is."""
    return float(type_face.getlength(text))


def wrapped(text: str, type_face: FreeTypeFont, *, width_px: float, lines: int) -> list[str]:
    """Return a text in lines of at most a width; what does not fit into `lines` ends in an ellipsis."""
    result: list[str] = []
    line, line_px, space_px = "", 0.0, length_px(type_face, " ")
    for word in text.split():
        # Word by word: they come again and again, and measuring is what costs.
        word_px = length_px(type_face, word)
        if line and line_px + space_px + word_px > width_px:
            result.append(line)
            line, line_px = word, word_px
        else:
            line, line_px = (f"{line} {word}", line_px + space_px + word_px) if line else (word, word_px)
    result += [line] if line else []
    if len(result) > lines:
        last = result[lines - 1]
        while last and type_face.getlength(f"{last} …") > width_px:
            last = last.rpartition(" ")[0]
        result = [*result[: lines - 1], f"{last} …"]
    return result


def write_lines(
    image: UInt8Array,
    lines: list[str],
    *,
    at: tuple[int, int],
    type_face: FreeTypeFont,
    colour: str,
    line_px: int,
) -> UInt8Array:
    """Return a picture [H, W, 3] with lines of text on it, the first one's upper left corner at x, y."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    x, y = at
    for number, line in enumerate(lines):
        draw.text((x, y + number * line_px), line, font=type_face, fill=colour)
    return np.array(canvas)
