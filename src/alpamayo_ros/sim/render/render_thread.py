"""The one thread that draws: it owns the OpenGL context, others hand it work and wait."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from alpamayo_ros.sim.render.gpu import Gpu

T = TypeVar("T")


class RenderThreadDied(RuntimeError):
    """The drawing thread is gone; nothing more can be drawn in this process."""


class RenderThread:
    """Runs callables with the Gpu, one after another, in the thread that owns it.

    Raises:
        RendererUnavailable: if OpenGL cannot be had.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[Gpu], object], Future[object]] | None] = (
            queue.SimpleQueue()
        )
        self._started: Future[None] = Future()
        self._ended = threading.Event()
        self._ending = threading.Lock()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="renderer", daemon=True)
        self._thread.start()
        self._started.result()

    @property
    def alive(self) -> bool:
        """Whether it still draws."""
        return not self._ended.is_set()

    def submit(self, work: Callable[[Gpu], T]) -> Future[T]:
        """Queue `work`; its result or exception comes in the future."""
        future: Future[T] = Future()
        with self._ending:
            if self._ended.is_set():
                raise self._death()
            self._work.put((work, future))  # type: ignore[arg-type]
        return future

    def call(self, work: Callable[[Gpu], T]) -> T:
        """Run `work` in the drawing thread and return its result, or raise its exception."""
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "call: expected another thread than the drawing one, which would wait for itself"
            )
        return self.submit(work).result()

    def close(self) -> None:
        """End the thread after the work that is queued."""
        self._work.put(None)
        self._thread.join(timeout=10.0)

    def _run(self) -> None:
        try:
            gpu = Gpu()
        except BaseException as error:
            self._ended.set()
            self._error = error
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        try:
            while (item := self._work.get()) is not None:
                work, future = item
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(work(gpu))
                except Exception as error:
                    future.set_exception(error)
                except BaseException as error:
                    self._error = error
                    future.set_exception(self._death())
                    raise
            gpu.release()
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Fail what is still queued, so that nobody waits for ever."""
        with self._ending:
            self._ended.set()
        while True:
            try:
                item = self._work.get_nowait()
            except queue.Empty:
                return
            if item is not None and item[1].set_running_or_notify_cancel():
                item[1].set_exception(self._death())

    def _death(self) -> RenderThreadDied:
        return RenderThreadDied(f"the drawing thread has ended: {self._error or 'it was closed'}")


_shared: RenderThread | None = None
_sharing = threading.Lock()


def shared_thread() -> RenderThread:
    """Return the process' own drawing thread, started when first asked for."""
    global _shared
    with _sharing:
        if _shared is None or not _shared.alive:
            _shared = RenderThread()
            atexit.register(_shared.close)
        return _shared
