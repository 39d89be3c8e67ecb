"""The drawing thread: one for all, its death told to everybody, nobody left waiting."""

from __future__ import annotations

import argparse
import os
import signal
import threading

import grpc
import pytest
from wire import make_plain, request

from alpamayo_ros.cli import sim_renderer
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2_grpc
from alpamayo_ros.sim.render import render_thread as module
from alpamayo_ros.sim.render.render_thread import RenderThread, RenderThreadDied
from alpamayo_ros.sim.render.scene_store import SceneStore
from alpamayo_ros.sim.render.server import serve_store


class _Bare:
    """In place of the GPU, which these tests do not need."""

    def release(self) -> None:
        """Nothing to free."""


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.setattr(module, "Gpu", _Bare)


def die(gpu):
    raise SystemExit("a driver's fault")


def test_work_is_done_in_one_thread_in_order(bare):
    thread = RenderThread()
    names, order = set(), []

    def work(index):
        def run(gpu):
            names.add(threading.current_thread().name)
            order.append(index)
            return index * index

        return run

    futures = [thread.submit(work(index)) for index in range(20)]
    assert [future.result(5.0) for future in futures] == [k * k for k in range(20)]
    assert names == {"renderer"} and order == list(range(20))
    thread.close()
    assert not thread.alive


def test_an_error_is_the_callers_and_the_thread_goes_on(bare):
    thread = RenderThread()

    def fail(gpu):
        raise ValueError("not this")

    with pytest.raises(ValueError, match="not this"):
        thread.call(fail)
    assert thread.call(lambda gpu: 7) == 7
    thread.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_its_death_fails_what_waits_and_what_comes(bare):
    thread = RenderThread()
    held = threading.Event()
    thread.submit(lambda gpu: held.wait(5.0))
    dying = thread.submit(die)
    waiting = [thread.submit(lambda gpu: 1) for _ in range(3)]
    held.set()
    for future in (dying, *waiting):
        with pytest.raises(RenderThreadDied, match="a driver's fault"):
            future.result(5.0)
    with pytest.raises(RenderThreadDied, match="a driver's fault"):
        thread.call(lambda gpu: 1)
    assert not thread.alive


def test_it_does_not_wait_for_itself(bare):
    thread = RenderThread()
    with pytest.raises(RuntimeError, match="would wait for itself"):
        thread.call(lambda gpu: thread.call(lambda again: 1))
    thread.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_client_is_told_of_the_death(render_thread):
    own = RenderThread()
    store = SceneStore(own, make_plain)
    with serve_store(store) as server, grpc.insecure_channel(server.address) as channel:
        stub = sensorsim_pb2_grpc.SensorsimServiceStub(channel)
        stub.render_rgb(request())
        with pytest.raises(RenderThreadDied):
            own.call(die)
        with pytest.raises(grpc.RpcError) as error:
            stub.render_rgb(request())
    assert error.value.code() == grpc.StatusCode.INTERNAL
    assert "drawing thread has ended" in error.value.details()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("how", "code"), [("dies", 1), ("interrupted", 0), ("terminated", 0)])
def test_the_command_ends_with_its_thread_or_by_a_signal(bare, monkeypatch, capsys, how, code):
    started: list[RenderThread] = []

    class Remembered(RenderThread):
        def __init__(self) -> None:
            super().__init__()
            started.append(self)
            end = {
                "dies": lambda: self.submit(die),
                "interrupted": lambda: os.kill(os.getpid(), signal.SIGINT),
                "terminated": lambda: os.kill(os.getpid(), signal.SIGTERM),
            }[how]
            threading.Timer(0.3, end).start()

    monkeypatch.setattr(module, "RenderThread", Remembered)
    parser = argparse.ArgumentParser()
    sim_renderer.add_arguments(parser)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert sim_renderer.run(parser.parse_args([])) == code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    out, err = capsys.readouterr()
    assert "serving on 127.0.0.1:" in out
    assert ("the drawing thread has ended" in err) == (how == "dies")
