"""Image messages to uint8 RGB [3, H, W].

The result is a transposed view of an [H, W, 3] array: resizing such a view is three times faster
than a contiguous [3, H, W] array, and rgb8 messages need no copy at all. A view of a message's
buffer is read-only and keeps the buffer alive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput, UInt8Array

Buffer = Any  # bytes, bytearray, memoryview, array.array or a uint8 array: whatever has a byte buffer


@dataclass(frozen=True)
class _Layout:
    """How one encoding lays out a row: values per pixel, bytes per value, and the way to RGB.

    `code` is an OpenCV conversion of [H, W(, channels)] to RGB, None where the values are RGB already.
    """

    channels: int
    value_bytes: int
    code: int | None
    columns_multiple: int = 1
    rows_multiple: int = 1


# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by the first 2x2 block.
_BAYER_CODES = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}

# Names of sensor_msgs/image_encodings.hpp; "yuv422" is its old name of uyvy.
_LAYOUTS: dict[str, _Layout] = {
    **{f"rgb{8 * n}": _Layout(3, n, None) for n in (1, 2)},
    **{f"bgr{8 * n}": _Layout(3, n, cv2.COLOR_BGR2RGB) for n in (1, 2)},
    **{f"rgba{8 * n}": _Layout(4, n, cv2.COLOR_RGBA2RGB) for n in (1, 2)},
    **{f"bgra{8 * n}": _Layout(4, n, cv2.COLOR_BGRA2RGB) for n in (1, 2)},
    **{f"mono{8 * n}": _Layout(1, n, cv2.COLOR_GRAY2RGB) for n in (1, 2)},
    **{name: _Layout(2, 1, cv2.COLOR_YUV2RGB_UYVY, 2) for name in ("uyvy", "yuv422")},
    **{name: _Layout(2, 1, cv2.COLOR_YUV2RGB_YUY2, 2) for name in ("yuyv", "yuv422_yuy2")},
    **{f"bayer_{p}{8 * n}": _Layout(1, n, code, 2, 2) for p, code in _BAYER_CODES.items() for n in (1, 2)},
}
_NV21 = "nv21"

ENCODINGS: tuple[str, ...] = (*_LAYOUTS, _NV21)
"""The encodings that decode_image takes."""


def decode_image(
    data: Buffer, *, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> UInt8Array:
    """Return the pixels of a sensor_msgs/Image as uint8 RGB [3, H, W].

    Rows may be padded (`step` bytes each). 16-bit values, in either byte order, are reduced to
    their high byte. YUV is ITU-R BT.601 of limited range, as cameras send it.

    Args:
        data: the message's bytes; exactly `step` times the number of rows.
        encoding: a name of sensor_msgs/image_encodings, see ENCODINGS.
        height: rows of pixels.
        width: columns of pixels.
        step: bytes from one row to the next.
        is_bigendian: byte order of 16-bit values.

    Raises:
        InvalidInput: for an unknown encoding, or a size, step and amount of data that do not agree.
    """
    buffer = _byte_view(data)
    name = encoding.strip().lower()
    if name == _NV21:
        return _decode_nv21(buffer, height=height, width=width, step=step)
    layout = _LAYOUTS.get(name)
    if layout is None:
        raise InvalidInput(f"image encoding: expected one of {', '.join(ENCODINGS)}, got {encoding!r}")
    _check_size(
        name, height, width, rows_multiple=layout.rows_multiple, columns_multiple=layout.columns_multiple
    )
    row_bytes = width * layout.channels * layout.value_bytes
    rows = _rows(buffer, name, rows=height, row_bytes=row_bytes, step=step)
    if layout.value_bytes == 2:
        # A 16-bit value's high byte stands first in big-endian data, second in little-endian data.
        rows = np.ascontiguousarray(rows[:, (0 if is_bigendian else 1) :: 2])
    pixels = rows.reshape(height, width, layout.channels) if layout.channels > 1 else rows
    if layout.code is None:
        return pixels.transpose(2, 0, 1)
    return _convert(pixels, layout.code).transpose(2, 0, 1)


def _byte_view(data: Buffer) -> UInt8Array:
    try:
        return np.frombuffer(data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        if isinstance(data, (bytes, bytearray, memoryview)) and len(data) == 0:
            return np.empty(0, np.uint8)
        raise InvalidInput(
            f"image data: expected contiguous bytes, got {type(data).__name__} ({error})"
        ) from error


def _check_size(name: str, height: int, width: int, *, rows_multiple: int, columns_multiple: int) -> None:
    if height <= 0 or width <= 0:
        raise InvalidInput(f"{name} image: expected a positive size, got {width}x{height}")
    if width % columns_multiple or height % rows_multiple:
        raise InvalidInput(
            f"{name} image: expected a width that is a multiple of {columns_multiple} and a height that is a "
            f"multiple of {rows_multiple}, got {width}x{height}"
        )


def _rows(buffer: UInt8Array, name: str, *, rows: int, row_bytes: int, step: int) -> UInt8Array:
    """Return the buffer as [rows, row_bytes] without the rows' padding (a view)."""
    if step < row_bytes:
        raise InvalidInput(f"{name} image: expected a step of at least {row_bytes} bytes, got {step}")
    if buffer.size != rows * step:
        raise InvalidInput(
            f"{name} image: expected {rows * step} bytes of data ({rows} rows of {step}), got {buffer.size}"
        )
    return buffer.reshape(rows, step)[:, :row_bytes]


def _convert(pixels: NDArray[np.uint8], code: int) -> UInt8Array:
    return np.asarray(cv2.cvtColor(pixels, code), dtype=np.uint8)


def _decode_nv21(buffer: UInt8Array, *, height: int, width: int, step: int) -> UInt8Array:
    """Return an NV21 image: `height` rows of luma, then half as many rows of interleaved V and U."""
    _check_size(_NV21, height, width, rows_multiple=2, columns_multiple=2)
    rows = _rows(buffer, _NV21, rows=height + height // 2, row_bytes=width, step=step)
    return _convert(np.ascontiguousarray(rows), cv2.COLOR_YUV2RGB_NV21).transpose(2, 0, 1)


# --- compressed images ---------------------------------------------------------------------------

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Second bytes of the markers that a frame's size follows (SOF0 ... SOF15; ITU-T T.81, table B.1)."""
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xae\x42\x60\x82"
_PNG_HEADER = b"\0\0\0\rIHDR"

# Orientation tags are ignored: calibration refers to the pixels as the sensor delivers them.
_READ_COLOUR = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
_READS_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")  # OpenCV 4.11 and newer


def decode_compressed(data: Buffer, *, format: str = "") -> UInt8Array:
    """Return the pixels of a sensor_msgs/CompressedImage, JPEG or PNG, as uint8 RGB [3, H, W].

    The format string is that of image_transport: "jpeg", "png", or "ENCODING; CODEC compressed ORDER".
    It is read for two things that the data does not tell: a colour image that was stored with red and
    blue exchanged ("... compressed rgb8"), and a Bayer mosaic stored as grey ("bayer_rggb8; ...").
    What codec it is, the data tells.

    Raises:
        InvalidInput: for another codec, and for truncated or broken data (OpenCV alone would paint the
            missing part of a JPEG grey).
    """
    buffer = _byte_view(data)
    original, _, stored = format.strip().lower().partition(";")
    if "compresseddepth" in stored.lower().replace(" ", ""):
        raise InvalidInput(f"compressed image: expected a colour image, got a depth image ({format!r})")
    _check_complete(buffer, format)
    bayer = (
        _BAYER_CODES.get(original.removeprefix("bayer_").rstrip("0123456789"))
        if "bayer_" in original
        else None
    )
    if bayer is not None and "bgr" not in stored and "rgb" not in stored:
        mosaic = _imdecode(buffer, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION, format)
        _check_size(original, *mosaic.shape[:2], rows_multiple=2, columns_multiple=2)
        return _convert(mosaic, bayer).transpose(2, 0, 1)
    image = _imdecode(buffer, _READ_COLOUR, format)
    exchanged = "compressed rgb" in stored
    if exchanged == _READS_RGB:
        image = _convert(image, cv2.COLOR_BGR2RGB)
    return image.transpose(2, 0, 1)


def compressed_size(data: Buffer) -> tuple[int, int]:
    """Return the (height, width) that a JPEG or PNG says it has, without decoding it.

    Raises:
        InvalidInput: for another codec, and for data whose beginning or end is missing or broken.
    """
    buffer = _byte_view(data)
    _check_complete(buffer, "")
    head = buffer[:8].tobytes()
    if head == _PNG_START:
        width, height = (int.from_bytes(buffer[at : at + 4].tobytes(), "big") for at in (16, 20))
        return height, width
    at = 2
    while at + 9 <= buffer.size and buffer[at] == 0xFF:
        marker = int(buffer[at + 1])
        if marker in _JPEG_FRAMES:  # length 2, precision 1, height 2, width 2
            height, width = (int.from_bytes(buffer[k : k + 2].tobytes(), "big") for k in (at + 5, at + 7))
            return height, width
        at += 1 if marker == 0xFF else 2 + int.from_bytes(buffer[at + 2 : at + 4].tobytes(), "big")
    raise InvalidInput(_truncated("JPEG", "a frame header", buffer))


def check_complete(data: Buffer, *, format: str = "") -> None:
    """Raise InvalidInput unless a compressed image's data is JPEG or PNG and neither end is missing.

    What can be told without decoding it; decode_compressed checks it too.
    """
    _check_complete(_byte_view(data), format)


def _check_complete(buffer: UInt8Array, format: str) -> None:
    """Raise InvalidInput unless the data begins and ends as a JPEG or PNG file does."""
    head = buffer[: len(_PNG_START)].tobytes()
    tail = _without_padding(buffer)
    if head.startswith(_JPEG_START):
        if not tail.endswith(_JPEG_END):
            raise InvalidInput(_truncated("JPEG", "an end-of-image marker at the end", buffer))
    elif head == _PNG_START:
        if buffer[8:16].tobytes() != _PNG_HEADER:
            raise InvalidInput(_truncated("PNG", "an IHDR chunk at the start", buffer))
        if not tail.endswith(_PNG_END):
            raise InvalidInput(_truncated("PNG", "an IEND chunk at the end", buffer))
    else:
        raise InvalidInput(
            f"compressed image: expected JPEG or PNG data, got {buffer.size} bytes that begin with "
            f"{head.hex(' ') or 'nothing'} (format {format!r})"
        )


def _without_padding(buffer: UInt8Array) -> bytes:
    """Return the last bytes before the zeros that some drivers pad their transfers with."""
    end = buffer.size
    if end and buffer[-1]:
        return buffer[-16:].tobytes()
    while end > 0:
        start = max(0, end - 4096)
        filled = np.flatnonzero(buffer[start:end])
        if len(filled):
            end = start + int(filled[-1]) + 1
            return buffer[max(0, end - 16) : end].tobytes()
        end = start
    return b""


def _truncated(codec: str, ending: str, buffer: UInt8Array) -> str:
    got = f"{buffer.size} bytes without: truncated or broken"
    return f"compressed image: expected {codec} data with {ending}, got {got}"


def _imdecode(buffer: UInt8Array, flags: int, format: str) -> NDArray[np.uint8]:
    decode: Callable[..., Any] = cv2.imdecode
    try:
        image = decode(buffer, flags)
    except cv2.error as error:
        raise InvalidInput(
            f"compressed image: expected decodable data, got: {error} (format {format!r})"
        ) from error
    if image is None:
        raise InvalidInput(
            f"compressed image: expected decodable data, got {buffer.size} bytes that do not decode "
            f"(format {format!r})"
        )
    return np.asarray(image, dtype=np.uint8)
