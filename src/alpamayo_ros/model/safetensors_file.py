"""Read safetensors files tensor by tensor, straight into memory that is already there.

The format is an 8-byte little-endian length, a JSON header of that length ({name: dtype, shape,
data_offsets}), and the tensors' bytes (https://huggingface.co/docs/safetensors). The library reads it by
mapping the file; here each tensor is read into its destination, because a mapping

- makes a float32 model on a CPU live on in the mapped file: a checkpoint that is replaced on disk would
  change or kill a driving planner, and pages that the kernel drops come back as a latency spike mid-plan;
- counts every page read towards the process's memory (VmRSS) until the file is closed: twice the model.

Only one buffer of CHUNK_BYTES stands between the file and a destination of another dtype or device.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from alpamayo_ros.model.config import CheckpointError

CHUNK_BYTES = 8 * 2**20
_MAX_HEADER_BYTES = 100 * 2**20
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: bytes [begin, end) of `path`."""

    name: str
    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        return self.end - self.begin


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by name, without reading any.

    Raises:
        CheckpointError: for a file that is truncated (expected and found bytes), no safetensors file, or that
            holds a dtype which is no floating-point one.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > _MAX_HEADER_BYTES:
                raise CheckpointError(f"{path}: expected a safetensors file, got no header in {size} bytes")
            if size < 8 + length:
                raise CheckpointError(f"{path}: truncated: expected at least {8 + length} bytes, got {size}")
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path}: expected a readable file, got {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: expected a safetensors header in JSON, got: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: expected a safetensors header, got {type(header).__name__}")
    start = 8 + length
    tensors = {
        name: _entry(name, path, entry, start) for name, entry in header.items() if name != "__metadata__"
    }
    expected = max((tensor.end for tensor in tensors.values()), default=start)
    if size < expected:
        first = min((t for t in tensors.values() if t.end > size), key=lambda t: t.begin)
        raise CheckpointError(
            f"{path}: truncated: expected {expected} bytes, got {size}; "
            f"the first tensor cut off is {first.name} {list(first.shape)}"
        )
    return tensors


def _entry(name: str, path: Path, entry: object, start: int) -> StoredTensor:
    where = f"{path}: tensor {name}"
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]  # type: ignore[index]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{where}: expected dtype, shape and data_offsets, got {entry}") from error
    numbers = (*shape, begin, end)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise CheckpointError(f"{where}: expected a shape and offsets of whole numbers, got {entry}")
    if dtype not in _DTYPES:
        raise CheckpointError(f"{where}: expected dtype {', '.join(_DTYPES)}, got {dtype}")
    num_bytes = math.prod(shape) * _DTYPES[dtype].itemsize
    if end - begin != num_bytes:
        raise CheckpointError(
            f"{where}: expected {num_bytes} bytes for {dtype} {list(shape)}, got {end - begin}"
        )
    return StoredTensor(name, path, _DTYPES[dtype], shape, start + begin, start + end)


class TensorReader:
    """Fills tensors from open files through one small buffer.

    Args:
        on_bytes: called with the number of bytes read, for a progress bar.
    """

    def __init__(self, on_bytes: Callable[[int], object] | None = None) -> None:
        self._on_bytes = on_bytes
        self._buffer = torch.empty(CHUNK_BYTES, dtype=torch.uint8)

    def fill(self, file: FileIO, stored: StoredTensor, destination: Tensor) -> None:
        """Copy `stored` into `destination` (same shape, any dtype and device).

        Raises:
            CheckpointError: when the file ends early.
        """
        flat = destination.detach().view(-1)
        file.seek(stored.begin)
        if flat.device.type == "cpu" and flat.dtype == stored.dtype:
            raw = flat.view(torch.uint8)
            for begin in range(0, len(raw), CHUNK_BYTES):
                self._read(file, stored, raw[begin : begin + CHUNK_BYTES])
            return
        step = CHUNK_BYTES // stored.dtype.itemsize
        for begin in range(0, len(flat), step):
            part = flat[begin : begin + step]
            raw = self._buffer[: len(part) * stored.dtype.itemsize]
            self._read(file, stored, raw)
            # Not asynchronous: the buffer is overwritten by the next chunk.
            part.copy_(raw.view(stored.dtype))

    def _read(self, file: FileIO, stored: StoredTensor, raw: Tensor) -> None:
        view = raw.numpy().data
        while len(view):
            count = file.readinto(view)
            if not count:
                raise CheckpointError(f"{stored.path}: truncated while reading tensor {stored.name}")
            view = view[count:]
            if self._on_bytes is not None:
                self._on_bytes(count)
