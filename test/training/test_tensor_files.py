"""Files of arrays are the same, byte by byte, wherever and whenever they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from episode_factory import episode
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save, save_file

from alpamayo_ros.training.episode_file import write_episode
from alpamayo_ros.training.tensor_files import order_metadata_of, ordered_metadata
from alpamayo_ros.training.trainer_state import BEST_FILE, save_best
from alpamayo_ros.types import InvalidInput

ARRAYS: dict[str, np.ndarray] = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.arange(3, dtype=np.uint8),
}


@given(st.dictionaries(st.text(max_size=5), st.text(), min_size=1, max_size=8))
def test_only_the_order_of_the_texts_changes(texts: dict[str, str]) -> None:
    try:
        given_bytes = save(ARRAYS, metadata=texts)
    except UnicodeEncodeError:
        return  # half a character can be no text of a file
    found = ordered_metadata(given_bytes)
    assert len(found) == len(given_bytes)
    assert found == ordered_metadata(save(ARRAYS, metadata=dict(reversed(texts.items()))))
    assert found == ordered_metadata(found)


def test_a_file_in_its_place_is_the_one_in_memory(tmp_path: Path) -> None:
    texts = {str(number): "ä\n\x7f" for number in range(20)}
    save_file(ARRAYS, tmp_path / "file", metadata=texts)
    order_metadata_of(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == ordered_metadata(save(ARRAYS, metadata=texts))
    with safe_open(tmp_path / "file", "np") as file:
        assert file.metadata() == texts
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118
            name: array.tolist() for name, array in ARRAYS.items()
        }


def test_best_weights_are_the_same_file_each_time(tmp_path: Path) -> None:
    written = set()
    for _ in range(8):
        save_best(tmp_path, {"weight": torch.arange(4.0)}, step=3, loss=0.5)
        written.add((tmp_path / BEST_FILE).read_bytes())
    assert len(written) == 1


def test_an_episode_is_the_same_file_each_time(tmp_path: Path) -> None:
    made = episode()
    assert len({write_episode(tmp_path / str(time), made).sha256 for time in range(8)}) == 1


@pytest.mark.parametrize("data", [b"", b"\x02" + bytes(7) + b"{}", b"\x02" + bytes(7) + b"[]", bytes(20)])
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected safetensors with metadata"):
        ordered_metadata(data)
