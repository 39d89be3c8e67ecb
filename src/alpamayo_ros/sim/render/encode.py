"""Images to bytes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def encode_rgba(image: NDArray[np.uint8], *, image_format: str, quality: int) -> bytes:
    """Return an image uint8 RGBA [H, W, 4], its fourth channel left out, as JPEG or PNG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGBA2BGR)
    if image_format == "JPEG":
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise RuntimeError(
            f"OpenCV did not encode {image.shape[1]}x{image.shape[0]} pixels as {image_format}"
        )
    return data.tobytes()
