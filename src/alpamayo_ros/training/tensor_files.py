"""The same arrays and texts, the same file: safetensors writes its metadata in an order drawn anew each time.

A file's header is eight bytes, its length (little-endian), and that many bytes of JSON, in which
`__metadata__` holds the texts (https://github.com/huggingface/safetensors#format). Only their order is
changed, so no offset is.
"""

from __future__ import annotations

import json
from pathlib import Path

from alpamayo_ros.types import InvalidInput

_LENGTH_BYTES = 8


def ordered_metadata(data: bytes) -> bytes:
    """Return a file's content, or at least its length and header, with the metadata sorted by name.

    Raises:
        InvalidInput: for what is no safetensors file.
    """
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(data[_LENGTH_BYTES:end])
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"file: expected safetensors with metadata, got {error!r}") from error
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    if len(text) > end - _LENGTH_BYTES:
        raise InvalidInput(f"header: expected at most {end - _LENGTH_BYTES} bytes, got {len(text)}")
    return data[:_LENGTH_BYTES] + text.ljust(end - _LENGTH_BYTES) + data[end:]


def order_metadata_of(path: Path) -> None:
    """Sort the metadata of a file in its place.

    Raises:
        InvalidInput: for what is no safetensors file.
    """
    with path.open("r+b") as file:
        length = file.read(_LENGTH_BYTES)
        header = file.read(int.from_bytes(length, "little"))
        file.seek(0)
        file.write(ordered_metadata(length + header))
