"""Checkpoint files: every way they can be wrong is named, and what is right is loaded as it was stored."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_helpers import make_observation
from safetensors.torch import load_file, save_file

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.checkpoint import CheckpointUnavailable, resolve_backbone, resolve_checkpoint
from alpamayo_ros.model.config import CheckpointError
from alpamayo_ros.model.loading import open_checkpoint
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.model.safetensors_file import CHUNK_BYTES, TensorReader, read_header

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
EMBEDDING = "vlm.model.language_model.embed_tokens.weight"
NORM = "expert.norm.weight"


@pytest.fixture
def folder(random_folder: Path, tmp_path: Path) -> Path:
    """A copy of the random checkpoint to spoil."""
    return Path(shutil.copytree(random_folder, tmp_path / "checkpoint"))


def rewrite(folder: Path, change: Any) -> None:
    """Apply `change` to the dict of stored tensors."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def change_config(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    opened = open_checkpoint(folder)
    opened.load(device=CPU, dtype=dtype)
    return dict(opened.network.named_parameters())


def test_parameters_are_as_stored(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    found = loaded(folder)
    assert found.keys() == stored.keys()
    for name, tensor in stored.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("stored_dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_floating_dtype_is_converted(folder: Path, stored_dtype, dtype) -> None:
    rewrite(folder, lambda tensors: tensors.update({k: v.to(stored_dtype) for k, v in tensors.items()}))
    stored = load_file(folder / "model.safetensors")
    for name, tensor in loaded(folder, dtype).items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, stored[name].to(dtype)), name


def test_shards_are_as_good_as_one_file(random_folder: Path, tmp_path: Path) -> None:
    sharded = write_random_checkpoint(tmp_path / "sharded", size="tiny", seed=7, max_shard_bytes=300_000)
    assert len(list(sharded.glob("model-*.safetensors"))) >= 4
    one, many = loaded(random_folder), loaded(sharded)
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_the_model_lives_on_when_its_file_is_overwritten(folder: Path) -> None:
    found = loaded(folder)
    before = {name: tensor.clone() for name, tensor in found.items()}
    path = folder / "model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(found[name], before[name]) for name in found)


def test_alpamayo_1s_stored_buffers_are_used(tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "r1", generation="alpamayo_r1", size="tiny")

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["action_space.accel_std"] = torch.tensor(0.5)
        tensors["action_in_proj.sinus.1.freqs"] = torch.full((1, 10), 2.5)

    rewrite(folder, change)
    opened = open_checkpoint(folder)
    space = opened.load(device=CPU, dtype=torch.float32)
    assert space.config.accel_std == 0.5
    assert space.config.accel_mean == pytest.approx(0.029)
    assert opened.network.action_in_proj.sinus[1].freqs.tolist() == [[2.5] * 10]
    assert opened.network.action_in_proj.sinus[0].freqs[0, -1] == pytest.approx(100)


def test_a_tied_backbone_needs_no_head(folder: Path) -> None:
    change_config(folder / "backbone" / "config.json", tie_word_embeddings=True)
    rewrite(folder, lambda tensors: tensors.pop("vlm.lm_head.weight"))
    opened = open_checkpoint(folder)
    opened.load(device=CPU, dtype=torch.float32)
    head: Any = opened.network.vlm.lm_head
    assert head.weight is opened.network.vlm.model.language_model.embed_tokens.weight


def test_a_missing_tensor_is_named(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop(NORM))
    with pytest.raises(CheckpointError, match=rf"missing: {NORM} \[32\]"):
        open_checkpoint(folder)


def test_an_unexpected_tensor_is_named(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"expert.extra.weight": torch.zeros(2, 3)}))
    with pytest.raises(CheckpointError, match=r"unexpected: expert\.extra\.weight \[2, 3\]"):
        open_checkpoint(folder)


def test_a_mismatched_tensor_is_named_with_both_shapes(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({NORM: torch.zeros(31)}))
    with pytest.raises(CheckpointError, match=rf"{NORM}: expected shape \[32\], got \[31\]"):
        open_checkpoint(folder)


def test_many_problems_are_counted(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            if name.startswith("expert.layers.") and name.endswith("norm.weight"):
                tensors[name] = torch.zeros(3)
            elif name.startswith("expert.layers."):
                del tensors[name]

    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=r"and 7 more of other shapes.*missing: .* and 16 more"):
        open_checkpoint(folder)


def test_a_mismatched_action_space_buffer_is_named(tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "r1", generation="alpamayo_r1", size="tiny")
    rewrite(folder, lambda tensors: tensors.update({"action_space.accel_std": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"action_space\.accel_std: expected shape \[\], got \[3\]"):
        open_checkpoint(folder).load(device=CPU, dtype=torch.float32)


@given(kept=st.floats(0, 0.999))
@settings(deadline=None, max_examples=20)
def test_a_truncated_file_is_refused_before_any_read(
    random_folder: Path, tmp_path_factory, kept: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    whole = (random_folder / "model.safetensors").read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(
        CheckpointError, match=r"truncated: expected (at least )?\d+ bytes, got|got no header"
    ):
        read_header(path)


def test_truncation_names_the_tensor_and_both_sizes(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    header = read_header(path)
    last = max(header.values(), key=lambda tensor: tensor.end)
    path.write_bytes(whole[:-1])
    expected = rf"expected {len(whole)} bytes, got {len(whole) - 1}; .* {last.name} \["
    with pytest.raises(CheckpointError, match=expected):
        Alpamayo.from_pretrained(folder, device="cpu", progress=False)


def test_a_file_that_shrinks_while_it_is_read(folder: Path) -> None:
    opened = open_checkpoint(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated while reading tensor"):
        opened.load(device=CPU, dtype=torch.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got no header in 0 bytes"),
        (b"hello world, no weights", "got no header"),
        ((2).to_bytes(8, "little") + b"[]", "expected a safetensors header, got list"),
        ((4).to_bytes(8, "little") + b"{{{{", "expected a safetensors header in JSON"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "tensor a: expected dtype, shape and data_offsets"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_header(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 7]}, r"expected 8 bytes for F32 \[2\], got 7"),
        (
            {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
            "expected dtype F32, BF16, F16, F64, got I64",
        ),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}, "expected a shape and"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}, "expected a shape and"),
        ({"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}, "expected a shape and"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    header = json.dumps({"weight": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointError, match=f"tensor weight: {message}"):
        read_header(path)


@given(
    stored=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    shape=st.lists(st.integers(0, 5), max_size=3),
)
@settings(deadline=None, max_examples=40)
def test_reader_reads_what_was_saved(tmp_path_factory, stored, dtype, shape) -> None:
    path = tmp_path_factory.mktemp("one") / "model.safetensors"
    value = torch.randn(shape).to(stored)
    save_file({"other": torch.ones(3), "value": value}, path)
    found = torch.empty(shape, dtype=dtype)
    with path.open("rb", buffering=0) as file:
        TensorReader().fill(file, read_header(path)["value"], found)
    assert torch.equal(found, value.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reader_goes_on_behind_its_buffer(tmp_path: Path, dtype) -> None:
    path = tmp_path / "model.safetensors"
    value = torch.randn(CHUNK_BYTES // 4 * 2 + 11)
    save_file({"value": value}, path)
    found = torch.empty_like(value, dtype=dtype)
    read = []
    with path.open("rb", buffering=0) as file:
        TensorReader(read.append).fill(file, read_header(path)["value"], found)
    assert torch.equal(found, value.to(dtype))
    assert sum(read) == value.nbytes


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return write_random_checkpoint(tmp_path / "sharded", size="tiny", max_shard_bytes=300_000)


def test_an_absent_shard_is_named(sharded: Path) -> None:
    shard = sorted(sharded.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"expected \d+ files, got \d+; missing: {shard.name}"):
        open_checkpoint(sharded)


def test_a_truncated_shard_is_named(sharded: Path) -> None:
    shard = sorted(sharded.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=f"{shard.name}: truncated: expected"):
        open_checkpoint(sharded)


def test_a_promise_of_the_index_that_no_file_keeps(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["vlm.nowhere"] = content["weight_map"][EMBEDDING]
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"expected tensors that no file holds: vlm\.nowhere"):
        open_checkpoint(sharded)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}'])
def test_an_index_of_another_kind_is_refused(sharded: Path, content: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match="expected JSON with a weight_map"):
        open_checkpoint(sharded)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors or .*index\.json, got neither"):
        open_checkpoint(folder)


def test_another_tokenizer_is_refused(folder: Path) -> None:
    change_config(folder / "config.json", vocab_size=737)
    with pytest.raises(CheckpointError, match="vocab_size 737"):
        open_checkpoint(folder)


def test_an_unreachable_hub_is_a_named_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointUnavailable, match=r"nobody/nothing: expected a folder .* no answer from the hub"
    ):
        resolve_checkpoint("nobody/nothing")
    change_config(folder / "config.json", vlm_name_or_path="nobody/no-backbone")
    with pytest.raises(CheckpointUnavailable, match="backbone nobody/no-backbone: expected a folder"):
        open_checkpoint(folder)


def test_a_hub_that_refuses_the_connection_is_a_named_error(tmp_path: Path) -> None:
    """The real client against a closed port, in a process of its own: its settings are read at import."""
    script = (
        "from alpamayo_ros.model import Alpamayo\n"
        "from alpamayo_ros.model.checkpoint import CheckpointUnavailable\n"
        "try:\n    Alpamayo.from_pretrained('nobody/nothing', device='cpu')\n"
        "except CheckpointUnavailable as error:\n    print(error)\n"
    )
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    output = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "checkpoint nobody/nothing: expected" in output
    assert "no answer from the hub" in output


def test_neither_folder_nor_hub_id(tmp_path: Path) -> None:
    for name in (tmp_path / "absent", "just-a-name", "a/b/c"):
        with pytest.raises(CheckpointError, match="expected a folder or a hub id"):
            resolve_checkpoint(name)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(CheckpointError, match="expected a folder or a hub id"):
        resolve_checkpoint(file)


def test_backbone_is_looked_for_beside_the_checkpoint(random_folder: Path, tmp_path: Path) -> None:
    beside = resolve_backbone(None, default="backbone", checkpoint_folder=random_folder)
    assert beside == random_folder / "backbone"
    assert resolve_backbone(tmp_path, default="backbone", checkpoint_folder=random_folder) == tmp_path


@pytest.mark.parametrize(("stored", "dtype"), [("bfloat16", "bfloat16"), ("float32", "float32")])
def test_loading_takes_little_more_than_the_weights(tmp_path: Path, stored: str, dtype: str) -> None:
    spec = importlib.util.spec_from_file_location("model_memory", ROOT / "benchmarks" / "model_memory.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.write_synthetic(tmp_path / "synthetic", megabytes=150, stored=stored, shards=3)
    found = benchmark.run_measurement(tmp_path / "synthetic", dtype)
    assert found["weights_mb"] > 130
    assert found["RssAnon_peak_ratio"] < benchmark.LIMIT


def test_two_loads_plan_alike(random_folder: Path, random_alpamayo: Alpamayo) -> None:
    again = Alpamayo.from_pretrained(random_folder, device="cpu", dtype="float32", progress=False)
    plans = [model.plan(make_observation(), PlanOptions(seed=0)) for model in (again, random_alpamayo)]
    assert plans[0].token_ids == plans[1].token_ids
