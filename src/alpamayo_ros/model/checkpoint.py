"""Find a checkpoint, check every tensor's name and shape, then fill a network that has no memory yet.

All checks come first and cost no memory: the network is built on the meta device, the files' headers are
compared with it, and only then is each parameter allocated on the target device in the target dtype and
filled from its file, one at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alpamayo_ros.model.config import CheckpointError
from alpamayo_ros.model.safetensors_file import StoredTensor, TensorReader, read_header
from alpamayo_ros.model.shipped import or_shipped

CONFIG_FILE = "config.json"
_SINGLE_FILE = "model.safetensors"
_INDEX_FILE = "model.safetensors.index.json"
_CHECKPOINT_FILES = [CONFIG_FILE, "*.safetensors", _INDEX_FILE]
_BACKBONE_FILES = [
    CONFIG_FILE,
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_ACTION_SPACE_BUFFERS = ("accel_mean", "accel_std", "curvature_mean", "curvature_std")
_ACTION_SPACE_PREFIX = "action_space."
_LM_HEAD = "vlm.lm_head.weight"
"""Left out of a checkpoint whose backbone ties it to the embedding."""
_LISTED = 5


class CheckpointUnavailable(CheckpointError):
    """A checkpoint or backbone that could not be fetched from the hub."""


def resolve_checkpoint(name: str | Path) -> Path:
    """Return the folder of a checkpoint: a folder, a shipped one's name, or a hub id (fetched unless cached).

    Raises:
        CheckpointUnavailable: when the hub cannot be reached or refuses.
        CheckpointError: for a name that is neither.
    """
    return _resolve("checkpoint", or_shipped(str(name)), _CHECKPOINT_FILES)


def resolve_backbone(name: str | Path | None, *, default: str, checkpoint_folder: Path) -> Path:
    """Return the folder of the backbone's config and tokenizer.

    Args:
        name: a folder or a hub id; None takes `default`.
        default: config.json's `vlm_name_or_path`: tried relative to the checkpoint, then as a hub id.
        checkpoint_folder: the checkpoint's folder.
    """
    if name is None:
        beside = checkpoint_folder / default
        return beside if beside.is_dir() else _resolve("backbone", default, _BACKBONE_FILES)
    return _resolve("backbone", str(name), _BACKBONE_FILES)


def _resolve(what: str, name: str, files: list[str]) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"{what}: expected a folder or a hub id like nvidia/Alpamayo-1.5-10B, got {name}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    expected = f"{what} {name}: expected a folder of that name or a repository on the hub, got"
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except GatedRepoError as error:
        raise CheckpointUnavailable(
            f"{expected} a gated one: accept its licence on the hub, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointUnavailable(
            f"{expected} neither (not found, or private and not logged in)"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointUnavailable(
            f"{expected} no answer from the hub, and no cached copy: {reason}"
        ) from error


@dataclass(frozen=True)
class StoredCheckpoint:
    """The tensors that a checkpoint folder holds."""

    folder: Path
    tensors: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, folder: Path) -> StoredCheckpoint:
        """Read the headers of all safetensors files of a folder, single or sharded.

        Raises:
            CheckpointError: for missing or truncated files, or tensors that the index promises in vain.
        """
        index_path = folder / _INDEX_FILE
        if not index_path.exists():
            single = folder / _SINGLE_FILE
            if not single.exists():
                raise CheckpointError(f"{folder}: expected {_SINGLE_FILE} or {_INDEX_FILE}, got neither")
            return cls(folder, read_header(single))
        weight_map = _weight_map(index_path)
        tensors: dict[str, StoredTensor] = {}
        shards = sorted(set(weight_map.values()))
        absent = [shard for shard in shards if not (folder / shard).exists()]
        if absent:
            raise CheckpointError(
                f"{index_path}: expected {len(shards)} files, got {len(shards) - len(absent)}; "
                f"missing: {_listed(absent)}"
            )
        for shard in shards:
            tensors |= read_header(folder / shard)
        absent = sorted(weight_map.keys() - tensors.keys())
        if absent:
            raise CheckpointError(f"{index_path}: expected tensors that no file holds: {_listed(absent)}")
        return cls(folder, tensors)

    @property
    def num_bytes(self) -> int:
        """Size of all tensors in the files."""
        return sum(tensor.num_bytes for tensor in self.tensors.values())

    @property
    def num_parameters(self) -> int:
        """Number of stored values."""
        return sum(tensor.num_bytes // tensor.dtype.itemsize for tensor in self.tensors.values())

    def action_space_buffers(self) -> dict[str, float]:
        """Return the action means and stds, where the checkpoint stores them (Alpamayo 1 does)."""
        found = {}
        reader = TensorReader()
        for name in _ACTION_SPACE_BUFFERS:
            stored = self.tensors.get(_ACTION_SPACE_PREFIX + name)
            if stored is None:
                continue
            if stored.shape not in ((), (1,)):
                problem = f"{stored.name}: expected shape [], got {list(stored.shape)}"
                raise _mismatches([problem], self.folder)
            value = torch.empty(stored.shape, dtype=torch.float32)
            with stored.path.open("rb", buffering=0) as file:
                reader.fill(file, stored, value)
            found[name] = float(value)
        return found


def _weight_map(path: Path) -> dict[str, str]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        weight_map = content["weight_map"]
        return {str(name): str(shard) for name, shard in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: expected JSON with a weight_map, got: {error}") from error


def check_tensors(stored: StoredCheckpoint, network: nn.Module) -> None:
    """Compare the stored tensors with the network's parameters.

    Buffers (Fourier frequencies) may be stored or not, and the action space's constants may be there;
    anything else must match one to one.

    Raises:
        CheckpointError: naming missing, unexpected and mismatched tensors, with expected and found shapes.
    """
    parameters = dict(network.named_parameters())
    optional = dict(network.named_buffers())
    if getattr(network, "tied", False):
        parameters.pop(_LM_HEAD, None)  # transformers 5 has tied them already, 4 has not
        optional[_LM_HEAD] = network.get_parameter(_LM_HEAD)
    known = parameters | optional
    constants = {_ACTION_SPACE_PREFIX + name for name in _ACTION_SPACE_BUFFERS}
    missing = sorted(parameters.keys() - stored.tensors.keys())
    unexpected = sorted(stored.tensors.keys() - known.keys() - constants)
    wrong = [
        f"{name}: expected shape {list(known[name].shape)}, got {list(tensor.shape)}"
        for name, tensor in sorted(stored.tensors.items())
        if name in known and tuple(known[name].shape) != tensor.shape
    ]
    problems = []
    if missing:
        shapes = [f"{name} {list(parameters[name].shape)}" for name in missing]
        problems.append(f"missing: {_listed(shapes)}")
    if unexpected:
        shapes = [f"{name} {list(stored.tensors[name].shape)}" for name in unexpected]
        problems.append(f"unexpected: {_listed(shapes)}")
    if problems or wrong:
        more = [f"and {len(wrong) - _LISTED} more of other shapes"] if len(wrong) > _LISTED else []
        raise _mismatches(wrong[:_LISTED] + more + problems, stored.folder)


def fill_network(
    network: nn.Module,
    stored: StoredCheckpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    progress: bool = False,
) -> None:
    """Give a meta network its memory: each parameter is allocated on `device` in `dtype` and filled in turn.

    `network` must have passed check_tensors and have its computed buffers; stored buffers replace those.
    In bfloat16 the buffers that take part in training (Fourier frequencies) are rounded as upstream's are.

    Raises:
        CheckpointError: when a file turns out truncated while it is read.
    """
    from tqdm.auto import tqdm

    targets: dict[str, nn.Module] = {}
    for path, module in network.named_modules():
        for name in [*module._parameters, *module._buffers]:
            targets[f"{path}.{name}" if path else name] = module
    tied = bool(getattr(network, "tied", False))
    wanted = [t for n, t in stored.tensors.items() if n in targets and not (tied and n == _LM_HEAD)]
    wanted.sort(key=lambda tensor: (tensor.path, tensor.begin))
    with tqdm(
        total=sum(tensor.num_bytes for tensor in wanted),
        desc="loading weights",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None if progress else True,  # None: shown on a terminal only
    ) as bar:
        reader = TensorReader(bar.update)
        for path, tensors in groupby(wanted, key=lambda tensor: tensor.path):
            with path.open("rb", buffering=0) as file:
                for tensor in tensors:
                    module, name = targets[tensor.name], tensor.name.rpartition(".")[2]
                    is_parameter = name in module._parameters
                    kind = dtype if is_parameter else torch.float32
                    value = torch.empty(tensor.shape, dtype=kind, device=device)
                    reader.fill(file, tensor, value)
                    if is_parameter:
                        module._parameters[name] = nn.Parameter(value, requires_grad=False)
                    else:
                        module._buffers[name] = value
    if tied:
        vlm: Any = network.vlm
        vlm.lm_head.weight = vlm.model.language_model.embed_tokens.weight
    if dtype == torch.bfloat16:
        _round_stored_buffers(network)
    left = [name for name, tensor in _all_tensors(network) if tensor.is_meta]
    if left:
        raise RuntimeError(f"tensors left without memory: {_listed(left)}")


def _round_stored_buffers(network: nn.Module) -> None:
    for name, buffer in network.named_buffers():
        if name.startswith("action_in_proj."):
            buffer.copy_(buffer.to(torch.bfloat16))


def _all_tensors(network: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _mismatches(problems: list[str], folder: Path) -> CheckpointError:
    found = "; ".join(problems)
    return CheckpointError(f"{folder}: the tensors don't fit config.json and the backbone: {found}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
