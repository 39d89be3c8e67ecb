"""How functions are captured and repeated: order of things, buffers, and nothing that waits for the host."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import load_alpamayo, make_observation
from test_static_runner import BUFFERS, LIVELY, runner_of
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.expert_context import ExpertContext
from alpamayo_ros.model.flow_matching import FlowMatching
from alpamayo_ros.model.lean import LeanNetwork
from alpamayo_ros.model.lean_attention import AttentionChoice
from alpamayo_ros.model.loading import open_checkpoint
from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.model.static_call import (
    WARM_UPS,
    CannotCapture,
    CudaGraphs,
    SameBuffers,
    StaticCall,
)
from alpamayo_ros.model.static_runner import StaticRunner

DEVICE = torch.device("cuda", 0)


class RecordedCuda:
    """Stands in for `torch.cuda`: notes what is done, in order, and replays by running again."""

    def __init__(self, *, fails: bool = False) -> None:
        self.events: list[str] = []
        self.fails = fails
        self.pools: list[Any] = []

    def current_stream(self, device: torch.device) -> Any:
        assert device == DEVICE
        return _Stream(self, "main")

    def Stream(self, device: torch.device) -> Any:
        assert device == DEVICE
        return _Stream(self, "side")

    @contextmanager
    def stream(self, stream: Any):
        self.events.append(f"on {stream.name}")
        yield
        self.events.append(f"off {stream.name}")

    def graph_pool_handle(self) -> object:
        self.events.append("pool")
        return "the pool"

    def CUDAGraph(self) -> Any:
        return _Graph(self)

    @contextmanager
    def graph(self, graph: Any, *, pool: Any, stream: Any, capture_error_mode: str):
        assert stream.name == "side" and capture_error_mode == "thread_local"
        self.pools.append(pool)
        self.events.append("begin capture")
        if self.fails:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        yield
        self.events.append("end capture")


class _Stream:
    def __init__(self, cuda: RecordedCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: Any) -> None:
        self.cuda.events.append(f"{self.name} waits for {other.name}")


class _Graph:
    def __init__(self, cuda: RecordedCuda) -> None:
        self.cuda = cuda

    def replay(self) -> None:
        self.cuda.events.append("replay")


def noted_call(cuda: RecordedCuda) -> tuple[StaticCall, torch.Tensor, torch.Tensor]:
    """Return a call, its input buffer and its output buffer, as a graph would have them."""
    buffer, result = torch.zeros(4), torch.zeros(4)

    def function(inputs):
        cuda.events.append(f"run on {inputs['x'].tolist()}")
        result.copy_(inputs["x"] * 2)
        return (result,)

    call = StaticCall(function, {"x": buffer}, capturer=CudaGraphs(DEVICE, api=cuda))
    return call, buffer, result


def test_warm_up_capture_once_then_replay() -> None:
    cuda = RecordedCuda()
    call, buffer, result = noted_call(cuda)
    (first,) = call(x=torch.ones(4))
    ran = "run on [1.0, 1.0, 1.0, 1.0]"
    assert cuda.events == [
        "side waits for main",
        "on side",
        *[ran] * WARM_UPS,
        "off side",
        "main waits for side",
        "pool",
        "begin capture",
        ran,
        "end capture",
        "replay",
    ]
    cuda.events.clear()
    (second,) = call(x=torch.full((4,), 3.0))
    assert cuda.events == ["replay"]
    assert buffer.tolist() == [3.0] * 4  # copied in before
    result.fill_(7.0)  # what a replay would write
    assert first.tolist() == second.tolist() == [2.0] * 4  # results are the caller's own


def test_graphs_share_one_pool() -> None:
    cuda = RecordedCuda()
    graphs = CudaGraphs(DEVICE, api=cuda)
    for _ in range(3):
        graphs.capture(lambda: (torch.zeros(1),))
    assert cuda.pools == ["the pool"] * 3
    assert cuda.events.count("pool") == 1


def test_what_cannot_be_captured_is_said_in_one_line() -> None:
    call, _, _ = noted_call(RecordedCuda(fails=True))
    with pytest.raises(CannotCapture) as caught:
        call(x=torch.ones(4))
    assert str(caught.value) == "CUDA error: operation not permitted when stream is capturing"


def test_out_of_memory_in_a_warm_up_is_no_capture() -> None:
    def function():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(CannotCapture, match="out of memory"):
        CudaGraphs(DEVICE, api=RecordedCuda()).capture(function)


def test_smaller_inputs_leave_the_rest_of_their_buffer() -> None:
    seen = []
    call = StaticCall(
        lambda b: (seen.append({k: v.clone() for k, v in b.items()}), b["x"])[1:],
        {
            "x": torch.zeros(3, 2),
            "n": torch.zeros(1, dtype=torch.int64),
            "m": torch.zeros(3, dtype=torch.int64),
        },
        capturer=SameBuffers(),
    )
    call(x=torch.ones(3, 2), n=5, m=(1, 2, 3))
    call(x=torch.full((1, 2), 9.0), n=6, m=(4,))
    assert seen[1]["x"].tolist() == [[9, 9], [1, 1], [1, 1]]
    assert (seen[1]["n"].tolist(), seen[1]["m"].tolist()) == ([6], [4, 2, 3])
    with pytest.raises(ValueError, match=r"x: expected at most \[3, 2\], got \[4, 2\]"):
        call(x=torch.ones(4, 2), n=1, m=())
    with pytest.raises(ValueError, match="expected inputs"):
        call(x=torch.ones(3, 2))


def test_kept_inputs_are_copied_when_they_change() -> None:
    buffer = torch.zeros(2)
    call = StaticCall(lambda b: (b["x"],), {"x": buffer}, capturer=SameBuffers(), kept=frozenset({"x"}))
    given = torch.ones(2)
    call(x=given)
    buffer.fill_(5.0)
    assert call(x=given)[0].tolist() == [5.0, 5.0]
    assert call(x=torch.ones(2))[0].tolist() == [1.0, 1.0]


class _NothingRead(TorchDispatchMode):
    REFUSED = ("_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero", "equal", "masked_select")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        moved = kwargs.get("device") if name in ("_to_copy", "to") else None
        if name in self.REFUSED or by_mask or (moved is not None and torch.device(moved) != args[0].device):
            raise AssertionError(f"{func} in a captured region")
        return func(*args, **kwargs)


class _NothingBrought(TorchFunctionMode):
    REFUSED = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.tolist, torch.Tensor.numpy)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (*self.REFUSED, torch.Tensor.cpu):
            raise AssertionError(f"{func} in a captured region")
        return func(*args, **(kwargs or {}))


@contextmanager
def nothing_from_the_host():
    """Refuse what a CUDA graph cannot hold: values read by the host, or brought from it."""
    with _NothingBrought(), _NothingRead():
        yield


class Checks:
    """Captures as a graph would: warms up, then runs under the mode, and again at each replay."""

    def __init__(self) -> None:
        self.captured = 0

    def capture(self, function):
        function()
        self.captured += 1

        def replay():
            with nothing_from_the_host():
                return function()

        return replay


@pytest.mark.parametrize("samples", [1, 6])
def test_nothing_in_a_captured_region_waits_for_the_host(random_folder: Path, samples: int) -> None:
    model = Alpamayo.from_pretrained(
        random_folder, device="cpu", dtype="float32", speed=BUFFERS, progress=False
    )
    runner, checks = runner_of(model), Checks()
    runner._capturer = checks
    options = PlanOptions(num_samples=samples, seed=1, guidance_weight=1.5, **LIVELY)
    for seed in (1, 1, 2):
        model.plan(make_observation(seed, instruction="Turn left"), options)
    assert checks.captured >= 5
    assert runner.statistics.eager == 0


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda x: x[0].item(),
        lambda x: bool(x[0] > 0),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: torch.tensor([1, 2]),
        lambda x: x[x > 0],
        lambda x: x.to("meta"),
    ],
)
def test_the_check_finds_what_it_is_for(forbidden) -> None:
    x = torch.ones(3)
    with pytest.raises(AssertionError, match="in a captured region"), nothing_from_the_host():
        forbidden(x)


@torch.no_grad()
def test_everything_that_is_captured_runs_on_one_device(
    random_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced on tensors without data: an input left on the host, or a look at a value, is refused."""
    # The library switches it off around its rotary angles, by a device that it does not know.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    away = torch.device("meta")
    opened = open_checkpoint(random_folder)
    network = opened.network
    network.initialise_computed_buffers(away)
    ways = AttentionChoice(prefill="gqa", decode="rows", verify="rows", denoise="rows")  # as on a GPU
    runner = StaticRunner(LeanNetwork(network, attention=ways), capturer=Checks())
    hidden, count = network.text_config.hidden_size, 4
    depth = len(network.vlm.config.vision_config.deepstack_visual_indexes)
    cache = runner.new_cache(batch=1, capacity=200)
    for _ in range(2):
        last = runner.read_prompt(
            torch.empty(1, 70, hidden, device=away),
            torch.empty(3, 1, 70, dtype=torch.int64, device=away),
            cache,
            visual=VisualFeatures(
                torch.empty(count, hidden, device=away),
                tuple(torch.empty(count, hidden, device=away) for _ in range(depth)),
            ),
            visual_index=torch.empty(count, dtype=torch.int64, device=away),
        )
        assert last.device == runner.logits(last).device == away
    cache.advance(70)
    rows = cache.expanded(3, 200)
    for tokens in (1, 5):
        ids = torch.empty(3, tokens, dtype=torch.int64, device=away)
        assert runner.read_tail(ids, 60, rows).shape == (3, tokens, hidden)
    contexts = [ExpertContext(c, (60, 61, 62), (70, 69, 68)) for c in (rows, rows.expanded(3, 200))]
    actions = runner.denoise(
        contexts[0],
        torch.empty(3, 64, 2, device=away),
        flow=FlowMatching(3),
        unguided=contexts[1],
        guidance_weight=1.5,
    )
    assert actions.device == away and actions.shape == (3, 64, 2)
    assert runner.statistics.eager == 0 and runner.statistics.captured == 5


def test_by_default_a_cpu_has_no_graphs(random_folder: Path) -> None:
    """Measured: padding costs a CPU more than it saves (docs/SPEED.md)."""
    assert isinstance(load_alpamayo(random_folder)._reader.engine._runner, LeanNetwork)
