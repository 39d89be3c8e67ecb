"""Images read from serialised bytes are what rclpy's own deserialisation gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from alpamayo_ros.ros.image_cdr import parse_compressed_image, parse_image, parse_stamp
from alpamayo_ros.types import InvalidInput

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=9)
STAMPS = st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))


@given(
    STAMPS, NAMES, NAMES, st.binary(max_size=40), st.tuples(*[st.integers(0, 2**32 - 1)] * 3), st.booleans()
)
def test_an_image_is_read_as_it_was_written(stamp, frame_id, encoding, data, sizes, big):
    msg = Image(encoding=encoding, height=sizes[0], width=sizes[1], step=sizes[2], is_bigendian=int(big))
    msg.header.stamp.sec, msg.header.stamp.nanosec = stamp
    msg.header.frame_id = frame_id
    msg.data.frombytes(data)
    image = parse_image(serialize_message(msg))
    assert image.stamp_ns == stamp[0] * 10**9 + stamp[1]
    assert parse_stamp(serialize_message(msg)) == image.stamp_ns
    assert (image.frame_id, image.encoding, image.is_bigendian) == (frame_id, encoding, big)
    assert (image.height, image.width, image.step) == sizes
    assert bytes(image.data) == data


@given(STAMPS, NAMES, NAMES, st.binary(max_size=40))
def test_a_compressed_image_is_read_as_it_was_written(stamp, frame_id, format, data):
    msg = CompressedImage(format=format)
    msg.header.stamp.sec, msg.header.stamp.nanosec = stamp
    msg.header.frame_id = frame_id
    msg.data.frombytes(data)
    image = parse_compressed_image(serialize_message(msg))
    assert image.stamp_ns == stamp[0] * 10**9 + stamp[1]
    assert (image.frame_id, image.format, bytes(image.data)) == (frame_id, format, data)


def test_the_pixels_are_not_copied():
    msg = Image(height=2, width=2, encoding="mono8", step=2)
    msg.data.frombytes(b"abcd")
    serialised = bytearray(serialize_message(msg))
    image = parse_image(memoryview(serialised))
    serialised[serialised.index(b"abcd")] = ord("z")
    assert bytes(image.data) == b"zbcd"


def big_endian(msg: CompressedImage) -> bytes:
    """Return CDR of the other byte order, put together by the specification."""
    frame_id, format = msg.header.frame_id.encode() + b"\0", msg.format.encode() + b"\0"
    body = msg.header.stamp.sec.to_bytes(4, "big") + msg.header.stamp.nanosec.to_bytes(4, "big")
    for text in (frame_id, format, bytes(msg.data)):
        body += b"\0" * (-len(body) % 4) + len(text).to_bytes(4, "big") + text
    return b"\0\0\0\0" + body


def test_the_other_byte_order_is_read_too():
    msg = CompressedImage(format="png")
    msg.header.stamp.sec, msg.header.frame_id = 77, "camera"
    msg.data.frombytes(b"pixels")
    image = parse_compressed_image(big_endian(msg))
    assert (image.stamp_ns, image.frame_id, image.format) == (77 * 10**9, "camera", "png")
    assert bytes(image.data) == b"pixels"


@given(st.integers(0, 200))
def test_bytes_that_end_early_are_refused(length):
    msg = Image(height=2, width=2, encoding="mono8", step=2)
    msg.data.frombytes(b"abcd")
    serialised = serialize_message(msg)
    needed = serialised.index(b"abcd") + 4
    if length < needed:
        with pytest.raises(InvalidInput, match="sensor_msgs/Image: expected"):
            parse_image(serialised[:length])


@pytest.mark.parametrize("start", [b"\0\2\0\0", b"\xff\xff\0\0"])
def test_another_encoding_than_cdr_is_refused(start):
    with pytest.raises(InvalidInput, match="expected a CDR encapsulation, got representation"):
        parse_image(start + bytes(60))


def test_text_that_is_not_utf8_is_refused():
    msg = CompressedImage(format="jpeg")
    msg.header.frame_id = "camera"
    with pytest.raises(InvalidInput, match="expected text in UTF-8"):
        parse_compressed_image(serialize_message(msg).replace(b"camera", b"cam\xffra"))
