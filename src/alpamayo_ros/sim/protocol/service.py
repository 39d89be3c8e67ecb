"""What servers and clients of all services share: versions, sessions, what is wrong with an answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from alpamayo_ros import __version__
from alpamayo_ros.sim.protocol.channel import Connection
from alpamayo_ros.sim.protocol.generated import common_pb2
from alpamayo_ros.sim.protocol.server import AlreadyExists, NotFound
from alpamayo_ros.types import InvalidInput

_log = logging.getLogger(__name__)

OUR_VERSION = f"alpamayo_ros-{__version__}"
IDLE_S = 1800.0
"""How long a session is kept without a call. A client that dies never closes its own; one that lives can wait
for minutes while a renderer loads a scene, and longer when that is tried again."""


class BadAnswer(RuntimeError):
    """A service answered, but not as the protocol has it; the message says what was expected."""


@dataclass(frozen=True)
class ServiceVersion:
    """What a service says of itself; `api` is (major, minor, patch) of the protocol."""

    version_id: str
    git_hash: str
    api: tuple[int, int, int]

    @classmethod
    def of(cls, message: common_pb2.VersionId) -> ServiceVersion:
        """Return a message as a version."""
        api = message.grpc_api_version
        return cls(message.version_id, message.git_hash, (api.major, api.minor, api.patch))


@contextmanager
def reading(connection: Connection, method: str) -> Iterator[None]:
    """Turn what an answer is refused for inside into BadAnswer, with the service and the method."""
    try:
        yield
    except InvalidInput as error:
        raise BadAnswer(f"{connection.service.name} at {connection.address}: {method}: {error}") from error


def require_uuid(session_uuid: str) -> str:
    """Return a session's id; raises InvalidInput for an empty one."""
    if not session_uuid:
        raise InvalidInput("session_uuid: expected an id, got none")
    return session_uuid


def stamp_of(stamp_us: int, name: str) -> int:
    """Return a stamp of the wire, unsigned there; raises InvalidInput for one that int64 does not hold."""
    if not 0 <= stamp_us < 2**63:
        raise InvalidInput(f"{name}: expected a stamp in us under 2^63, got {stamp_us}")
    return stamp_us


class Closing(Protocol):
    """Something that is closed."""

    def close(self) -> None:
        """End it and free what it holds."""
        ...


T = TypeVar("T", bound=Closing)


@contextmanager
def _logging() -> Iterator[None]:
    """Log what is raised inside, but for NotFound."""
    try:
        yield
    except NotFound:
        raise
    except Exception:
        _log.exception("while closing a session")


class _Entry(Generic[T]):
    def __init__(self, session: T, now_s: float) -> None:
        self.session, self.used_s, self.users = session, now_s, 0
        self.turn = threading.Lock()


class Sessions(Generic[T]):
    """Open sessions by id; those that nobody has used for long are closed by `expire`.

    Args:
        idle_s: how long one is kept unused.
        clock: seconds, rising.
        on_expire: called for each session that is closed for want of use.

    Attributes:
        expired: how many were closed for want of use.
    """

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
        on_expire: Callable[[], None] = lambda: None,
    ) -> None:
        self._idle_s, self._clock = idle_s, clock
        self._entries: dict[str, _Entry[T]] = {}
        self._opening: set[str] = set()
        self._changed = threading.Condition()
        self._on_expire = on_expire
        self.expired = 0

    def __len__(self) -> int:
        return len(self._entries)

    def start(self, session_uuid: str, make: Callable[[], T]) -> None:
        """Open a session.

        Raises:
            AlreadyExists: for an id that is in use.
            InvalidInput: for an empty one, and what `make` raises.
        """
        require_uuid(session_uuid)
        self.expire()
        with self._changed:
            if session_uuid in self._entries or session_uuid in self._opening:
                raise AlreadyExists(f"session_uuid: expected a new id, got {session_uuid!r}, which is open")
            self._opening.add(session_uuid)
        try:
            session = make()
            with self._changed:
                self._entries[session_uuid] = _Entry(session, self._clock())
        finally:
            with self._changed:
                self._opening.discard(session_uuid)

    @contextmanager
    def use(self, session_uuid: str, *, shared: bool = False) -> Iterator[T]:
        """Give an open session, to one call at a time, or `shared` beside all others; raises NotFound."""
        with self._changed:
            entry = self._entries.get(session_uuid)
            if entry is None:
                raise self._not_found(session_uuid)
            entry.users += 1
        try:
            if shared:
                yield entry.session
            else:
                with entry.turn:
                    yield entry.session
        finally:
            with self._changed:
                entry.users -= 1
                entry.used_s = self._clock()
                self._changed.notify_all()

    def close(self, session_uuid: str) -> None:
        """End a session, after the calls that use it; raises NotFound."""
        with self._changed:
            entry = self._entries.pop(session_uuid, None)
            if entry is None:
                raise self._not_found(session_uuid)
            self._changed.wait_for(lambda: not entry.users)
        entry.session.close()

    def close_all(self) -> None:
        """End all sessions; what one of them raises is logged."""
        for session_uuid in tuple(self._entries):
            with suppress(NotFound), _logging():  # not found: closed by its client meanwhile
                self.close(session_uuid)

    def expire(self) -> None:
        """End the sessions that nobody has used for long; called when another begins, too.

        What one of them raises is logged: it is no fault of who begins.
        """
        with self._changed:
            until_s = self._clock() - self._idle_s
            old = [i for i, entry in self._entries.items() if not entry.users and entry.used_s < until_s]
            expired = [self._entries.pop(session_uuid) for session_uuid in old]
            self.expired += len(expired)
        for entry in expired:
            self._on_expire()
            with _logging():
                entry.session.close()

    def _not_found(self, session_uuid: str) -> NotFound:
        return NotFound(
            f"session_uuid: expected one of {len(self._entries)} open sessions, got {session_uuid!r} "
            f"(unused ones are closed after {self._idle_s / 60:g} min)"
        )
