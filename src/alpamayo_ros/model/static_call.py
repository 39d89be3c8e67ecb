"""Functions that always run on the same buffers, so that a CUDA graph can replay them.

A graph is a recording of kernels with their addresses. So inputs are copied into buffers that stay where
they are, the function is captured once, replayed from then on, and what it returns is cloned, since the next
replay (of any graph: they share their memory) overwrites it. What the function does besides must be the same
however often it is done with the same inputs, such as writing keys and values to a place that the inputs
name: the runs that warm up before a capture do it, too.

What captures is exchangeable. `SameBuffers` captures nothing and calls the function each time, on any device:
the same code, buffers and bookkeeping, which is how tests on a CPU see what a GPU would compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

Outputs: TypeAlias = tuple[Tensor, ...]
Value: TypeAlias = "Tensor | int | tuple[int, ...]"

WARM_UPS = 2
"""Runs before a capture: kernels are chosen and workspaces made in the first, the second sees none made."""


class CannotCapture(RuntimeError):
    """A function could not be captured; nothing that the caller holds has changed."""


class Capturer(Protocol):
    """Makes of a function one that repeats it on the same buffers."""

    def capture(self, function: Callable[[], Outputs]) -> Callable[[], Outputs]:
        """Return a function that does what `function` does; raises CannotCapture."""
        ...


class SameBuffers:
    """Calls the function itself, every time."""

    def capture(self, function: Callable[[], Outputs]) -> Callable[[], Outputs]:
        """Return `function`."""
        return function


class CudaGraphs:
    """Captures CUDA graphs, all in one pool of memory.

    Args:
        device: a CUDA device.
        api: `torch.cuda`, or what stands in for it.
    """

    def __init__(self, device: torch.device, *, api: Any = None) -> None:
        self._device = device
        self._api: Any = torch.cuda if api is None else api
        self._pool: Any = None
        self._side: Any = None  # one for all: every stream has a workspace of its own

    def capture(self, function: Callable[[], Outputs]) -> Callable[[], Outputs]:
        """Warm up on a stream beside the current one, capture, and return the replay.

        Raises:
            CannotCapture: where either fails, for want of memory or because of what the function does.
        """
        api = self._api
        try:
            current = api.current_stream(self._device)
            side = self._side = self._side or api.Stream(self._device)
            side.wait_stream(current)
            with api.stream(side):
                for _ in range(WARM_UPS):
                    function()
            current.wait_stream(side)
            if self._pool is None:
                self._pool = api.graph_pool_handle()
            graph = api.CUDAGraph()
            # Other threads may use the device meanwhile, to encode an image that has just arrived.
            with api.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                outputs = function()
        except RuntimeError as error:
            raise CannotCapture(str(error).splitlines()[0]) from error

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay


class StaticCall:
    """One function over one set of buffers.

    Args:
        function: from the buffers to what it returns; captured when it is first called.
        inputs: its buffers by name.
        kept: names of inputs that are copied only when another tensor is given than the last time.
        capturer: see there.
    """

    def __init__(
        self,
        function: Callable[[Mapping[str, Tensor]], Outputs],
        inputs: Mapping[str, Tensor],
        *,
        capturer: Capturer,
        kept: frozenset[str] = frozenset(),
    ) -> None:
        self._function = function
        self._inputs = dict(inputs)
        self._kept = kept
        self._given: dict[str, Value] = {}
        self._capturer = capturer
        self._replay: Callable[[], Outputs] | None = None

    def __call__(self, **values: Value) -> Outputs:
        """Run on `values`, one for each input: a tensor no larger than its buffer, or whole numbers.

        What a smaller tensor leaves of its buffer keeps what was there; the function must not let that
        reach what is used of its results.

        Raises:
            CannotCapture: the first time, where the function cannot be captured.
            ValueError: for other names than the inputs', or a tensor that does not fit.
        """
        if values.keys() != self._inputs.keys():
            raise ValueError(f"expected inputs {sorted(self._inputs)}, got {sorted(values)}")
        for name, value in values.items():
            if name in self._kept and self._given.get(name) is value:
                continue
            _copy_in(name, self._inputs[name], value)
            if name in self._kept:
                self._given[name] = value
        if self._replay is None:
            function, inputs = self._function, self._inputs  # not this object: that would be a cycle
            self._replay = self._capturer.capture(lambda: function(inputs))
        return tuple(output.clone() for output in self._replay())


def _copy_in(name: str, buffer: Tensor, value: Value) -> None:
    if isinstance(value, int):
        buffer.fill_(value)  # a kernel's argument: nothing is copied from the host
        return
    if not isinstance(value, Tensor):
        for index, number in enumerate(value):
            buffer[index].fill_(number)
        return
    fits = value.ndim == buffer.ndim and all(a <= b for a, b in zip(value.shape, buffer.shape, strict=True))
    if not fits:
        raise ValueError(f"{name}: expected at most {list(buffer.shape)}, got {list(value.shape)}")
    buffer[tuple(slice(length) for length in value.shape)].copy_(value)
