"""Image messages to RGB: every encoding against a picture of known colours, and what is refused."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.sensing.images import ENCODINGS, compressed_size, decode_compressed, decode_image
from alpamayo_ros.types import InvalidInput

HEIGHT, WIDTH = 12, 16


def picture(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """RGB [H, W, 3]: colours that change slowly, so that subsampled and mosaicked encodings keep them."""
    y, x = np.mgrid[0:height, 0:width]
    across, down = 80 * x / width, 70 * y / height
    return np.stack([40 + across, 200 - down, 90 + (across + down) / 3], axis=-1).astype(np.uint8)


def packed(rows: np.ndarray, padding: int = 0) -> tuple[bytes, int]:
    """Return bytes and step of an array [H, ...] with `padding` bytes of rubbish behind each row."""
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.concatenate([flat, np.full((len(rows), padding), 0xAB, np.uint8)], axis=1)
    return padded.tobytes(), padded.shape[1]


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Return [H, W]: of each pixel the channel that a Bayer filter lets through, by its first 2x2 block."""
    out = np.empty(rgb.shape[:2], rgb.dtype)
    for i, letter in enumerate(pattern):
        row, column = divmod(i, 2)
        out[row::2, column::2] = rgb[row::2, column::2, "rgb".index(letter)]
    return out


def to_yuv422(rgb: np.ndarray, order: str) -> np.ndarray:
    """Return [H, W, 2] bytes of limited-range BT.601, by the standard's own formula."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    luma = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    out = np.empty((*rgb.shape[:2], 2))
    chroma = np.where(np.arange(rgb.shape[1]) % 2 == 0, u, v)
    first, second = (luma, chroma) if order == "yuyv" else (chroma, luma)
    out[..., 0], out[..., 1] = first, second
    return out.round().astype(np.uint8)


def decode(rows: np.ndarray, encoding: str, *, padding: int = 0, is_bigendian: bool = False) -> np.ndarray:
    data, step = packed(rows, padding)
    image = decode_image(
        data, encoding=encoding, height=len(rows), width=rows.shape[1], step=step, is_bigendian=is_bigendian
    )
    assert image.dtype == np.uint8
    assert image.shape == (3, len(rows), rows.shape[1])
    return image.transpose(1, 2, 0)


CHANNELS = {"rgb": [0, 1, 2], "bgr": [2, 1, 0], "rgba": [0, 1, 2, 3], "bgra": [2, 1, 0, 3]}


@pytest.mark.parametrize("padding", [0, 5, 64])
@pytest.mark.parametrize("name", CHANNELS)
def test_colour_orders(name: str, padding: int) -> None:
    with_alpha = np.concatenate([picture(), np.full((HEIGHT, WIDTH, 1), 7, np.uint8)], axis=-1)
    rows = with_alpha[..., CHANNELS[name]]
    np.testing.assert_array_equal(decode(rows, f"{name}8", padding=padding), picture())


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("name", [*CHANNELS, "mono"])
def test_16_bit_keeps_the_high_byte_in_either_byte_order(name: str, is_bigendian: bool) -> None:
    high = np.concatenate([picture(), np.full((HEIGHT, WIDTH, 1), 7, np.uint8)], axis=-1)
    channels = CHANNELS.get(name, [0])
    values = (high[..., channels].astype(np.uint16) << 8) | 0x5A
    rows = values.astype(">u2" if is_bigendian else "<u2")
    expected = picture() if name != "mono" else np.repeat(picture()[..., :1], 3, axis=-1)
    result = decode(rows, f"{name}16", padding=6, is_bigendian=is_bigendian)
    np.testing.assert_array_equal(result, expected)


def test_mono8() -> None:
    grey = picture()[..., 0]
    np.testing.assert_array_equal(decode(grey, "mono8", padding=3), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("encoding", "order"), [("uyvy", "uyvy"), ("yuv422", "uyvy"), ("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv")]
)
def test_yuv422(encoding: str, order: str) -> None:
    result = decode(to_yuv422(picture(), order), encoding, padding=4)
    assert np.abs(result.astype(int) - picture()).max() <= 6  # chroma of two pixels is one


def test_nv21() -> None:
    rgb = picture()
    luma_and_u, luma_and_v = to_yuv422(rgb, "yuyv")[:, ::2], to_yuv422(rgb, "yuyv")[:, 1::2]
    luma = to_yuv422(rgb, "yuyv")[..., 0]
    chroma = np.stack([luma_and_v[::2, :, 1], luma_and_u[::2, :, 1]], axis=-1).reshape(HEIGHT // 2, WIDTH)
    data, step = packed(np.concatenate([luma, chroma]), 8)
    result = decode_image(data, encoding="nv21", height=HEIGHT, width=WIDTH, step=step)
    assert np.abs(result.transpose(1, 2, 0).astype(int) - rgb).max() <= 9


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern: str, bits: int) -> None:
    values = mosaic(picture(), pattern)
    rows = values if bits == 8 else (values.astype("<u2") << 8)
    result = decode(rows, f"bayer_{pattern}{bits}", padding=2)
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(result[inner].astype(int) - picture()[inner]).max() <= 2


def test_bayer_pure_red_is_red() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    for pattern in ("rggb", "bggr", "gbrg", "grbg"):
        result = decode(mosaic(red, pattern), f"bayer_{pattern}8")[2:-2, 2:-2]
        assert (result == (255, 0, 0)).all(), pattern


def test_rgb8_is_a_view_of_the_message() -> None:
    buffer = bytearray(picture().tobytes())
    image = decode_image(buffer, encoding="rgb8", height=HEIGHT, width=WIDTH, step=3 * WIDTH)
    buffer[0] = 77
    assert image[0, 0, 0] == 77
    assert image.transpose(1, 2, 0).flags.c_contiguous


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: array.array("B", b), np.frombuffer])
def test_kinds_of_buffers(wrap) -> None:
    data = picture().tobytes()
    buffer = wrap(data) if wrap is not np.frombuffer else np.frombuffer(data, np.uint8)
    image = decode_image(buffer, encoding="rgb8", height=HEIGHT, width=WIDTH, step=3 * WIDTH)
    np.testing.assert_array_equal(image.transpose(1, 2, 0), picture())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoding": "rgb"}, "expected one of rgb8, .* got 'rgb'"),
        ({"encoding": "32FC1"}, "got '32FC1'"),
        ({"encoding": "nv24"}, "got 'nv24'"),
        ({"height": HEIGHT + 1}, r"expected 624 bytes of data \(13 rows of 48\), got 576"),
        ({"height": HEIGHT - 1}, "expected 528 bytes .* got 576"),
        ({"width": WIDTH + 1}, "expected a step of at least 51 bytes, got 48"),
        ({"width": 0}, "expected a positive size, got 0x12"),
        ({"height": -1}, "expected a positive size, got 16x-1"),
        ({"data": b""}, "expected 576 bytes .* got 0"),
        ({"data": b"x" * 575}, "expected 576 bytes .* got 575"),
        ({"data": "text"}, "expected contiguous bytes, got str"),
        ({"encoding": "yuyv", "width": 15, "step": 48}, "a multiple of 2 .* got 15x12"),
        ({"encoding": "bayer_rggb8", "width": 48, "height": 11}, "a multiple of 2, got 48x11"),
    ],
)
def test_refusals(change: dict, message: str) -> None:
    arguments = {
        "data": picture().tobytes(), "encoding": "rgb8", "height": HEIGHT, "width": WIDTH, "step": 3 * WIDTH,
    } | change  # fmt: skip
    with pytest.raises(InvalidInput, match=message):
        decode_image(arguments.pop("data"), **arguments)


@given(
    encoding=st.sampled_from(ENCODINGS),
    height=st.integers(-1, 9),
    width=st.integers(-1, 9),
    step=st.integers(-1, 80),
    data=st.binary(max_size=400),
    is_bigendian=st.booleans(),
)
def test_any_message_is_decoded_or_refused(encoding, height, width, step, data, is_bigendian) -> None:
    try:
        image = decode_image(
            data, encoding=encoding, height=height, width=width, step=step, is_bigendian=is_bigendian
        )
    except InvalidInput:
        return
    assert image.shape == (3, height, width)
    assert image.dtype == np.uint8


# --- compressed ----------------------------------------------------------------------------------


def encoded(suffix: str, rgb: np.ndarray | None = None) -> bytes:
    bgr = cv2.cvtColor(picture(96, 128) // 2 if rgb is None else rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


@pytest.mark.parametrize("format", ["png", "", "rgb8; png compressed bgr8", "bgr8; png compressed bgr8"])
def test_png_is_exact(format: str) -> None:
    image = decode_compressed(encoded(".png"), format=format)
    np.testing.assert_array_equal(image.transpose(1, 2, 0), picture(96, 128) // 2)


@pytest.mark.parametrize(
    "format", ["jpeg", "jpg", "", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8"]
)
def test_jpeg_colours(format: str) -> None:
    image = decode_compressed(encoded(".jpg"), format=format)
    assert image.dtype == np.uint8
    assert np.abs(image.transpose(1, 2, 0).astype(int) - picture(96, 128) // 2).max() <= 8


def test_a_stored_rgb_order_is_exchanged_back() -> None:
    image = decode_compressed(encoded(".png"), format="rgb8; png compressed rgb8")
    np.testing.assert_array_equal(image.transpose(1, 2, 0), (picture(96, 128) // 2)[..., ::-1])


def test_a_grey_jpeg_becomes_rgb() -> None:
    grey = cv2.imencode(".jpg", picture(96, 128)[..., 0] // 2)[1].tobytes()
    image = decode_compressed(grey, format="mono8; jpeg compressed ")
    assert image.shape == (3, 96, 128)
    assert (image[0] == image[1]).all()


def test_a_16_bit_png_becomes_8_bit() -> None:
    wide = cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR).astype(np.uint16) << 8
    image = decode_compressed(cv2.imencode(".png", wide)[1].tobytes(), format="png")
    np.testing.assert_array_equal(image.transpose(1, 2, 0), picture())


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_compressed_mosaic_is_demosaicked(pattern: str) -> None:
    data = cv2.imencode(".png", mosaic(picture(), pattern))[1].tobytes()
    image = decode_compressed(data, format=f"bayer_{pattern}8; png compressed ")
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(image.transpose(1, 2, 0)[inner].astype(int) - picture()[inner]).max() <= 2


def test_an_orientation_tag_does_not_turn_the_image() -> None:
    plain = encoded(".jpg")
    tiff = (
        b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    app1 = b"Exif\x00\x00" + tiff
    tagged = plain[:2] + b"\xff\xe1" + (len(app1) + 2).to_bytes(2, "big") + app1 + plain[2:]
    np.testing.assert_array_equal(decode_compressed(tagged), decode_compressed(plain))


def test_zero_padding_behind_a_jpeg_is_accepted() -> None:
    data = encoded(".jpg")
    np.testing.assert_array_equal(decode_compressed(data + bytes(5000)), decode_compressed(data))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(("suffix", "codec"), [(".jpg", "JPEG"), (".png", "PNG")])
def test_truncated_data_is_refused(suffix: str, codec: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    data = encoded(suffix, noise)
    with pytest.raises(InvalidInput, match=f"{codec} data .* truncated"):
        decode_compressed(data[: int(len(data) * share)])


def test_a_png_without_its_header_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected PNG data with an IHDR chunk at the start"):
        decode_compressed(encoded(".png")[:8] + encoded(".png")[33:])


def test_broken_data_is_refused() -> None:
    jpeg, png = encoded(".jpg"), encoded(".png")
    with pytest.raises(InvalidInput, match="do not decode"):
        decode_compressed(jpeg[:40] + jpeg[-2:])
    with pytest.raises(InvalidInput, match="do not decode"):
        decode_compressed(png[:60] + bytes(40) + png[100:])


@pytest.mark.parametrize(
    ("data", "format", "message"),
    [
        (b"", "jpeg", "expected JPEG or PNG data, got 0 bytes"),
        (b"RIFF1234WEBP", "webp", r"got 12 bytes that begin with 52 49 46 46 .* \(format 'webp'\)"),
        (b"\x00\x00\x00\x01\x67", "h264", "format 'h264'"),
        (encoded(".png"), "16UC1; compressedDepth png", "got a depth image"),
    ],
)
def test_other_codecs_are_refused(data: bytes, format: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode_compressed(data, format=format)


@settings(deadline=None)
@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"]),
)
def test_any_bytes_are_decoded_or_refused(data: bytes, start: bytes) -> None:
    for ending in (b"", b"\xff\xd9", b"IEND\xae\x42\x60\x82"):
        try:
            image = decode_compressed(start + data + ending)
        except InvalidInput:
            continue
        assert image.ndim == 3


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_the_size_is_read_without_decoding(suffix: str, channels: int, flags: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (37, 301, channels), np.uint8)
    data = cv2.imencode(suffix, pixels, flags if suffix == ".jpg" else ())[1].tobytes()
    assert compressed_size(data) == (37, 301)
    broken = [data[:-4], data[4:], b"", b"\xff\xd8\xff\xd9"]
    if suffix == ".jpg":
        comment = b"\xff\xfe\x00\x06\xff\xc0\x01\x02"  # in which a frame header seems to begin
        assert compressed_size(data[:2] + comment + data[2:]) == (37, 301)
        broken.append(data[:20] + data[-2:])
    for each in broken:
        with pytest.raises(InvalidInput, match=r"expected (JPEG|PNG)"):
            compressed_size(each)
