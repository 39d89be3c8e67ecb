"""Serves gRPC services: loopback by default, 64 MB both ways, TLS where asked for, a clean end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc

from alpamayo_ros.sim.protocol.channel import MAX_MESSAGE_BYTES, join_address, read_pem, require_pem
from alpamayo_ros.types import InvalidInput

_log = logging.getLogger(__name__)


class NotFound(InvalidInput):
    """Something that was named and is not here: a scene, a session, a track."""


class AlreadyExists(InvalidInput):
    """Something that was to be new and is here already: a session."""


class Busy(InvalidInput):
    """There is no room for another: it may be asked for again later."""


class Unwanted(InvalidInput):
    """Whoever asked has gone: there is nobody to answer."""


_STATUSES: tuple[tuple[type[InvalidInput], grpc.StatusCode], ...] = (
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unwanted, grpc.StatusCode.CANCELLED),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
)


def status_of(error: Exception) -> grpc.StatusCode:
    """Return the status that tells a client of an error."""
    return next((code for kind, code in _STATUSES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


@contextmanager
def answering(context: grpc.ServicerContext) -> Iterator[None]:
    """Answer what is raised inside with its status and message; what is no InvalidInput is logged, too."""
    try:
        yield
    except Exception as error:
        if context.code() is not None:  # aborted already; that is how gRPC leaves the method
            raise
        status = status_of(error)
        if status == grpc.StatusCode.INTERNAL:
            _log.exception("while answering")
        text = str(error) if isinstance(error, InvalidInput) else f"{type(error).__name__}: {error}"
        context.abort(status, text)


@dataclass(frozen=True)
class ServerTls:
    """PEM texts of a server: its key and certificate, and of the authority that clients must be signed by.

    Raises:
        InvalidInput: for texts that are no PEM.
    """

    key: bytes
    certificate: bytes
    client_authority: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("key", "certificate", "client_authority"):
            require_pem(f"TLS: {name}", getattr(self, name))

    @classmethod
    def from_files(cls, *, key: Path, certificate: Path, client_authority: Path | None = None) -> ServerTls:
        """Return what files say; raises InvalidInput for one that cannot be read."""
        own_key, own = read_pem("TLS: key", key), read_pem("TLS: certificate", certificate)
        assert own_key is not None and own is not None
        return cls(own_key, own, read_pem("TLS: client authority", client_authority))


@dataclass(frozen=True, eq=False)
class RunningServer:
    """A server that answers; `stop` ends it, and so does the end of a `with`."""

    server: grpc.Server
    host: str
    port: int
    on_stop: Callable[[], None]
    pool: ThreadPoolExecutor

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return join_address(self.host, self.port)

    def stop(self, grace_s: float = 1.0) -> None:
        """Take no further requests, give running ones `grace_s`, and end; a second time does nothing."""
        self.server.stop(grace_s).wait()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.on_stop()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    register: Callable[[grpc.Server], None],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ServerTls | None = None,
    workers: int = 16,
    on_stop: Callable[[], None] = lambda: None,
) -> RunningServer:
    """Serve and return at once.

    Args:
        register: adds services to the server.
        host: address of the machine to listen at.
        port: 0 takes a free one.
        tls: None is plain.
        workers: threads, and so calls at a time.
        on_stop: called when the server has stopped; at every stop.

    Raises:
        InvalidInput: if the address cannot be had.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),  # two servers on one port would share its requests unnoticed
    ]
    if not 0 <= port <= 65535:
        raise InvalidInput(f"--port: expected 0 ... 65535, got {port}")
    pool = ThreadPoolExecutor(workers, thread_name_prefix="grpc")
    server = grpc.server(pool, options=options)
    register(server)
    address = join_address(host, port)
    try:
        if tls is None:
            bound = server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.certificate)],
                root_certificates=tls.client_authority,
                require_client_auth=tls.client_authority is not None,
            )
            bound = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise InvalidInput(
            f"--host, --port: expected an address that is free, got {address} ({error})"
        ) from error
    if not bound:
        raise InvalidInput(f"--host, --port: expected an address that is free, got {address}")
    server.start()
    return RunningServer(server, host, bound, on_stop, pool)
