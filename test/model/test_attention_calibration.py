"""Every way of attention gives what float64 does; the fastest that is exact is taken, and remembered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_helpers import load_alpamayo, make_observation
from test_lean import LIVELY, assert_near

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model import attention_calibration as calibration
from alpamayo_ros.model.attention_calibration import AttentionShapes, Measured, fastest_of, measure
from alpamayo_ros.model.lean import LeanNetwork
from alpamayo_ros.model.lean_attention import LAYOUTS, PHASES, RULE, AttentionChoice, attend
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.types import InvalidInput

SHAPES = AttentionShapes(
    heads=6, expert_heads=6, kv_heads=2, head_dim=16, prompt_tokens=70, dtype="float32", device="cpu"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "_found", {})
    monkeypatch.setattr(calibration, "_LEAST_S", 0.0)
    return tmp_path / "alpamayo_ros" / "attention.json"


@torch.inference_mode()
@pytest.mark.parametrize("way", [*LAYOUTS, "matmul"])
@pytest.mark.parametrize("masked", ["no", "rows", "one", "samples"])
def test_ways_are_attention(way: str, masked: str) -> None:
    generator = torch.Generator().manual_seed(3)
    batch, count, entries = 2, 5, 40
    query = torch.randn(batch, count, 6, 16, generator=generator).transpose(1, 2)
    keys, values = (torch.randn(batch, 2, entries, 16, generator=generator) for _ in "kv")
    places = torch.arange(entries)
    mask = {
        "no": None,
        "rows": (places <= torch.arange(35, 40)[:, None])[None, None],
        "one": (places <= 20)[None, None, None],
        "samples": (places < torch.tensor([[12], [33]]))[:, None, None],
    }[masked]
    wide = [t.double() for t in (query, *(x.repeat_interleave(3, 1) for x in (keys, values)))]
    scores = wide[0] @ wide[1].transpose(-1, -2) / 4
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    exact = (scores.softmax(-1) @ wide[2]).float()
    torch.testing.assert_close(attend(query, keys, values, mask=mask, way=way), exact, atol=1e-6, rtol=1e-5)


def test_what_a_cpu_has_is_measured_and_exact() -> None:
    rows = measure(SHAPES)
    for phase in PHASES:
        ways = [row.way for row in rows if row.phase == phase]
        assert ways[0] == RULE and "gqa" in ways and "expanded" in ways
        assert not any("/" in way for way in ways)  # kernels by name are a GPU's
    assert all(row.ms > 0 and row.error < 1e-5 for row in rows)


def test_the_fastest_exact_way_is_taken() -> None:
    def row(way: str, ms: float, error: float = 1e-6) -> Measured:
        return Measured("decode", way, ms, error)

    others = [Measured(phase, RULE, 1.0, 1e-6) for phase in PHASES if phase != "decode"]
    rows = [row(RULE, 1.0), row("gqa", 0.99), row("rows", 0.5), row("matmul", 0.1, error=1e-3)]
    assert fastest_of(others + rows) == AttentionChoice(decode="rows")
    assert fastest_of(others + rows[:2]) == AttentionChoice()  # not worth a change


def test_a_choice_is_measured_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = calibration.chosen(SHAPES)
    monkeypatch.setattr(calibration, "measure", lambda shapes: pytest.fail("measured again"))
    assert calibration.chosen(SHAPES) is first
    monkeypatch.setattr(calibration, "_found", {})
    assert calibration.chosen(SHAPES) == first  # by another process
    (key,) = json.loads(own_cache.read_text())
    assert json.loads(key)["torch"] == torch.__version__


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1', "{}"])
def test_a_spoilt_file_is_written_anew(own_cache: Path, content: str) -> None:
    own_cache.parent.mkdir()
    own_cache.write_text(content)
    calibration.chosen(SHAPES)
    assert len(json.loads(own_cache.read_text())) == 1


def test_measured_plans_are_the_same(random_folder: Path, random_alpamayo: Alpamayo) -> None:
    speed = SpeedOptions(attention="measured")
    model = Alpamayo.from_pretrained(
        random_folder, device="cpu", dtype="float32", speed=speed, progress=False
    )
    for samples in (1, 3):
        options = PlanOptions(num_samples=samples, seed=1, guidance_weight=1.5, **LIVELY)
        observation = make_observation(2, instruction="Turn left")
        assert_near(model.plan(observation, options), random_alpamayo.plan(observation, options))


@torch.inference_mode()
def test_each_way_gives_the_same_plan(random_folder: Path) -> None:
    """A network by every choice, in every phase."""
    network = load_alpamayo(random_folder).network
    plain = LeanNetwork(network)
    ids = torch.arange(5)[None]
    for way in ("gqa", "rows", "expanded", "matmul", "products"):
        chosen = LeanNetwork(network, attention=AttentionChoice(decode=way, verify=way, denoise=way))
        hidden = []
        for runner in (plain, chosen):
            cache = runner.new_cache(batch=1, capacity=80)
            runner.read_tail(ids, 0, cache)
            cache.advance(5)
            hidden.append(runner.read_tail(ids[:, :1], 5, cache))
        np.testing.assert_allclose(hidden[1], hidden[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", ["", "fast", "gqa/slow", "rule/flash"])
def test_unknown_ways_are_refused(way: str) -> None:
    with pytest.raises(InvalidInput, match="attention of decode: expected rule"):
        AttentionChoice(decode=way)


def test_shapes_are_checked() -> None:
    with pytest.raises(InvalidInput, match="whole groups"):
        AttentionShapes(5, 6, 2, 16, 70, "float32", "cpu")
