"""Which model it was: checkpoint, its files' hashes, and what computes with it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.model import Alpamayo

_HASHED_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".jinja", ".model"})
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class ModelIdentity:
    """What planned.

    Attributes:
        model_id: as in Plan.model.
        kind: "alpamayo", which can be loaded again, or the class of another planner.
        generation: e.g. "1.5"; "" where there is none.
        checkpoint, backbone: folders; "" where there are none.
        device, dtype: e.g. "cuda:0", "bfloat16".
        cpu_threads: that torch computed with; 0 where it is not known.
        fp8: the weights' way, as SpeedOptions has it; the only one of its switches that changes plans.
        read_ahead: whether prompts were read in two parts, which rounds otherwise than in one.
        versions: of what computes, by name.
        processor: instruction set of the processor, or name of the GPU: sums round differently on another.
    """

    model_id: str
    kind: str
    generation: str = ""
    checkpoint: str = ""
    backbone: str = ""
    device: str = ""
    dtype: str = ""
    cpu_threads: int = 0
    fp8: str = "off"
    read_ahead: bool = False
    versions: Mapping[str, str] | None = None
    processor: str = ""

    @property
    def repeats_exactly(self) -> bool:
        """Whether the same observation and seed give the same bits: in float32 on a CPU."""
        return self.device == "cpu" and self.dtype == "float32"


def identity_of(model: Alpamayo) -> ModelIdentity:
    """Return the identity of a loaded Alpamayo, as it computes now (threads may be set later)."""
    import torch
    import transformers

    from alpamayo_ros.model.lean_layers import products_name

    if model.device.type == "cuda":
        processor = torch.cuda.get_device_name(model.device)
    else:
        processor = f"{torch.backends.cpu.get_cpu_capability()} {platform.machine()}"
    return ModelIdentity(
        model_id=model.model_id,
        kind="alpamayo",
        generation=model.config.generation,
        checkpoint=str(model.folder),
        backbone=str(model.backbone_folder),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        cpu_threads=torch.get_num_threads(),
        fp8=model.speed.fp8,
        read_ahead=model.speed.read_ahead,
        versions={
            "products": products_name(model.device, model.dtype),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        processor=processor,
    )


@dataclass(frozen=True)
class FolderHash:
    """The hashes of a checkpoint's files.

    Attributes:
        files: name -> SHA-256 in hex.
    """

    files: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """One hash of all: SHA-256 of the lines "HASH  NAME", sorted by name, as sha256sum prints them."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def hash_folder(folder: str | Path, *, stop: Callable[[], bool] = lambda: False) -> FolderHash:
    """Return the SHA-256 of a checkpoint's or backbone's files: weights, configs, tokenizer.

    Args:
        folder: of the checkpoint.
        stop: asked between blocks of 8 MiB; True ends it.

    Raises:
        InvalidInput: where the folder has no such file, one cannot be read, or `stop` ended it.
    """
    folder = Path(folder)
    files: dict[str, str] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix in _HASHED_SUFFIXES and path.is_file():
                files[path.name] = _hash_file(path, stop)
    except OSError as error:
        raise InvalidInput(f"{folder}: expected files that can be read, got {error}") from error
    if not files:
        raise InvalidInput(f"{folder}: expected a checkpoint's files, got none")
    return FolderHash(files)


def _hash_file(path: Path, stop: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            if stop():
                raise InvalidInput(f"{path}: expected to be hashed to its end, got told to stop")
            digest.update(block)
    return digest.hexdigest()
