"""Positions of prompt tokens on Qwen3-VL's three rotary axes (time, row, column).

Text advances all three together; an image's tokens share one time, take their row and column in the
merged patch grid, and what follows goes on behind the larger of its two sides (Qwen2-VL, arXiv
2409.12191, section 2.1). Written out here because transformers 4 and 5 ask for different inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def prompt_positions(
    token_ids: Sequence[int], grids: Sequence[tuple[int, int]], *, image_token_id: int
) -> tuple[NDArray[np.int64], int]:
    """Return positions int64 [3, L] and rope_delta: token i behind the prompt stands at i + rope_delta.

    Args:
        token_ids: the L tokens of the prompt.
        grids: (rows, columns) of merged tokens of each image, in order.
        image_token_id: the placeholder whose runs the images fill.
    """
    is_image = np.asarray(token_ids) == image_token_id
    if int(is_image.sum()) != sum(rows * columns for rows, columns in grids):
        raise ValueError(f"image tokens: expected those of {list(grids)}, got {int(is_image.sum())}")
    positions = np.empty((3, len(token_ids)), dtype=np.int64)
    index = 0
    following = 0
    remaining = iter(grids)
    while index < len(token_ids):
        if is_image[index]:
            rows, columns = next(remaining)
            count = rows * columns
            positions[0, index : index + count] = following
            positions[1, index : index + count] = following + np.repeat(np.arange(rows), columns)
            positions[2, index : index + count] = following + np.tile(np.arange(columns), rows)
            following += max(rows, columns)
        else:
            image_ahead = np.flatnonzero(is_image[index:])
            count = int(image_ahead[0]) if len(image_ahead) else len(token_ids) - index
            positions[:, index : index + count] = following + np.arange(count)
            following += count
        index += count
    return positions, following - len(token_ids)
