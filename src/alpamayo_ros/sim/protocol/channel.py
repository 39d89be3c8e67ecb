"""Calls of a gRPC service by AlpaSim's client policy: retries, a deadline, an end at any time.

A call waits for a server that is not there yet, and is tried again where the connection broke on the way: a
server that is killed and started anew is only a delay. What is refused for good is not tried again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from alpamayo_ros.types import InvalidInput

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Of a message, both ways, in AlpaSim's clients and ours; gRPC's own default is 4 MB."""

RETRIED_DETAILS = ("A load persistent id instruction was encountered", "Stopped waiting for backend")
"""What the details of UNKNOWN and DEADLINE_EXCEEDED must contain for a call to be tried again."""

_PROBE = "/alpamayo_ros.Probe/answer"
"""A method that no server has: any that answers says so, and is there."""
_PROBE_S = 1.0
_LOOPBACK = ("localhost", "127.", "[::1]")


@dataclass(frozen=True)
class CallPolicy:
    """How long a call may take, and how often it is tried.

    Attributes:
        deadline_s: of a call, its retries and the pauses between them included; infinite for none.
        retry_delays_s: pauses before the second attempt, the third, and so on.
        connect_timeout_s: how long a call waits for a server that does not answer at its address at all.

    Raises:
        InvalidInput: for times that are not positive.
    """

    deadline_s: float = 300.0
    retry_delays_s: tuple[float, ...] = (0.5, 2.0)
    connect_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("deadline_s", "connect_timeout_s"):
            value = getattr(self, name)
            if not value > 0:
                raise InvalidInput(f"{name}: expected a positive number of seconds, got {value}")
        if any(not 0 <= delay < float("inf") for delay in self.retry_delays_s):
            raise InvalidInput(f"retry_delays_s: expected seconds, got {self.retry_delays_s}")


@dataclass(frozen=True)
class ClientTls:
    """PEM texts of a client.

    Attributes:
        authority: who signed the server's certificate; None trusts what the machine trusts.
        certificate, key: the client's own, for servers that ask for one.
        server_name: the name in the server's certificate, where that is not the address's host.

    Raises:
        InvalidInput: for texts that are no PEM, or a certificate without its key.
    """

    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("TLS: expected a client's certificate and its key, got one of them")
        for name in ("authority", "certificate", "key"):
            require_pem(f"TLS: {name}", getattr(self, name))

    @classmethod
    def from_files(
        cls,
        *,
        authority: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        server_name: str | None = None,
    ) -> ClientTls:
        """Return what files say; raises InvalidInput for one that cannot be read."""
        return cls(
            read_pem("TLS: authority", authority),
            read_pem("TLS: certificate", certificate),
            read_pem("TLS: key", key),
            server_name,
        )


@dataclass(frozen=True)
class Service:
    """A gRPC service: what people call it, and its generated stub."""

    name: str
    stub: Callable[[grpc.Channel], Any]


class ServiceError(RuntimeError):
    """A service did not answer, or with a status that is not OK; the message says which and what to do.

    Attributes:
        code: gRPC's status; UNAVAILABLE where nothing answers, CANCELLED after Connection.cancel, ABORTED
            after Connection.fail.
        service, address, method: who was asked for what.
        details: the server's own words, "" for none.
    """

    def __init__(
        self, message: str, *, code: grpc.StatusCode, service: str, address: str, method: str, details: str
    ) -> None:
        super().__init__(message)
        self.code, self.service, self.address = code, service, address
        self.method, self.details = method, details


def require_pem(name: str, text: bytes | None) -> None:
    """Raise InvalidInput unless `text` is None or looks like PEM: gRPC only says that nothing answers."""
    if text is not None and b"-----BEGIN " not in text:
        raise InvalidInput(f"{name}: expected PEM text, got {text[:20]!r}")


def read_pem(name: str, path: Path | None) -> bytes | None:
    """Return a PEM file's text, None for none; raises InvalidInput naming it where that cannot be read."""
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{name}: expected a readable file, got {path} ({error.strerror})") from error


def require_address(name: str, address: str) -> str:
    """Return HOST:PORT, an IPv6 host in brackets; raises InvalidInput naming it for anything else."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]") and ":" in host
    plain = bool(host) and not set(host) & set("[]:/ ")
    if not colon or not (bracketed or plain) or not (port.isascii() and port.isdigit()):
        raise InvalidInput(f"{name}: expected HOST:PORT (an IPv6 host in brackets), got {address!r}")
    if not 1 <= int(port) <= 65535:
        raise InvalidInput(f"{name}: expected a port of 1 ... 65535, got {address!r}")
    return address


def join_address(host: str, port: int) -> str:
    """Return HOST:PORT, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection:
    """A connection to one server, for calls from any thread; close it, or use it as a context manager.

    Nothing is sent before the first call.

    Args:
        address: HOST:PORT.
        service: what is spoken there.
        policy: of its calls.
        tls: to encrypt; None is plain.

    Raises:
        InvalidInput: for what is no address.
    """

    def __init__(
        self,
        address: str,
        *,
        service: Service,
        policy: CallPolicy | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self.address = require_address(service.name, address)
        self.service = service
        self.policy = policy or CallPolicy()
        self._tls = tls is not None
        self._channel = _open(address, tls, self.policy)
        self._stub = service.stub(self._channel)
        self._probe = self._channel.unary_unary(_PROBE)
        self._lock = threading.Lock()
        self._running: set[grpc.Future] = set()
        self._cancelled = threading.Event()
        self._ended_by = _Failure(grpc.StatusCode.CANCELLED, "ended by this side")

    def call(self, method: str, request: Any, *, deadline_s: float | None = None) -> Any:
        """Call an rpc by its name and return the answer.

        Args:
            method: as in the service's .proto.
            request: its message.
            deadline_s: of this call, infinite for none; the policy's by default.

        Raises:
            ServiceError: where no answer comes, or one that is an error.
        """
        run = getattr(self._stub, method)
        limit_s = self.policy.deadline_s if deadline_s is None else deadline_s
        ends_s = time.monotonic() + limit_s
        for delay_s in (*self.policy.retry_delays_s, None):
            error = self._attempt(run, request, ends_s)
            if not isinstance(error, _Failure):
                return error
            out_of_time = delay_s is None or time.monotonic() + delay_s >= ends_s
            if out_of_time or not error.passes or self._cancelled.wait(delay_s):
                break
        if self._cancelled.is_set():
            error = self._ended_by
        raise self._error(method, error, limit_s)

    def cancel(self) -> None:
        """End all calls at once, waiting ones too; no other begins any more. For any thread."""
        self._cancelled.set()
        with self._lock:
            running = tuple(self._running)
        for each in running:
            each.cancel()

    def fail(self, reason: str) -> None:
        """As `cancel`, for a server that is gone for good: the ServiceError that calls raise says why."""
        self._ended_by = _Failure(grpc.StatusCode.ABORTED, reason)
        self.cancel()

    def close(self) -> None:
        """End all calls and the connection."""
        self.cancel()
        self._channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, run: Any, request: Any, ends_s: float) -> Any:
        """Return the answer of one attempt, or how it failed."""
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            return _Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        future = self._begin(run, request, timeout_s=left_s, wait_for_ready=True)
        if future is None:
            return _Failure(grpc.StatusCode.CANCELLED, "")
        try:
            done = threading.Event()
            future.add_done_callback(lambda _: done.set())
            # wait_for_ready alone would wait for an absent server until the deadline, made for slow answers.
            wait_s = self.policy.connect_timeout_s
            while not done.wait(wait_s):
                absent = self._absent()
                if absent is not None:
                    return absent
                wait_s = _PROBE_S
            return future.result()
        except grpc.RpcError as error:
            return _Failure(error.code(), error.details() or "")
        except grpc.FutureCancelledError:
            return _Failure(grpc.StatusCode.CANCELLED, "")
        finally:
            self._end(future)

    def _absent(self) -> _Failure | None:
        """Return why nothing answers at the address; None where something does, or it is not known yet."""
        future = self._begin(self._probe, b"", timeout_s=_PROBE_S, wait_for_ready=False)
        if future is None:
            return None
        try:
            future.result()
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                return _Failure(error.code(), error.details() or "", absent=True)
        except grpc.FutureCancelledError:
            pass
        finally:
            self._end(future)
        return None

    def _begin(self, run: Any, request: Any, *, timeout_s: float, wait_for_ready: bool) -> Any:
        """Begin a call that `cancel` ends; None where none may begin any more."""
        with self._lock:
            if self._cancelled.is_set():
                return None
            timeout = timeout_s if math.isfinite(timeout_s) else None
            future = run.future(request, timeout=timeout, wait_for_ready=wait_for_ready)
            self._running.add(future)
            return future

    def _end(self, future: Any) -> None:
        future.cancel()
        with self._lock:
            self._running.discard(future)

    def _error(self, method: str, failure: _Failure, limit_s: float) -> ServiceError:
        name, code = self.service.name, failure.code
        at = f"{name} at {self.address}: {method}"
        if failure.absent:
            reached = " by TLS" if self._tls else ""
            text = (
                f"{name}: nothing answers at {self.address}{reached} within "
                f"{self.policy.connect_timeout_s:g} s; is it running there? ({failure.details})"
            )
        elif code == grpc.StatusCode.UNAVAILABLE:
            text = f"{at}: the connection broke; has it ended? ({failure.details})"
        elif code == grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"{at}: no answer within {limit_s:g} s ({failure.details or 'deadline'})"
        elif code == grpc.StatusCode.UNIMPLEMENTED:
            text = f"{at}: expected a server that offers it, got one that does not ({failure.details})"
        else:
            text = f"{at}: {code.name}: {failure.details}"
        return ServiceError(
            text, code=code, service=name, address=self.address, method=method, details=failure.details
        )


@dataclass(frozen=True)
class _Failure:
    """How an attempt failed; `absent` where nothing answers at the address."""

    code: grpc.StatusCode
    details: str
    absent: bool = False

    @property
    def passes(self) -> bool:
        """Whether another attempt may succeed, by AlpaSim's rule; an absent server was waited for already."""
        if self.code == grpc.StatusCode.UNAVAILABLE:
            return not self.absent
        return self.code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED) and any(
            detail in self.details for detail in RETRIED_DETAILS
        )


def _open(address: str, tls: ClientTls | None, policy: CallPolicy) -> grpc.Channel:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A server that comes back is to be noticed soon: gRPC looks ever more rarely, every 2 min at last.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # The time that a connection attempt gets; hosts that drop packets are given up after it.
        ("grpc.min_reconnect_backoff_ms", round(1000 * min(20.0, policy.connect_timeout_s))),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if address.startswith(_LOOPBACK):
        options.append(("grpc.enable_http_proxy", 0))
    if tls is None:
        return grpc.insecure_channel(address, options=options)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.authority, tls.key, tls.certificate)
    return grpc.secure_channel(address, credentials, options=options)
