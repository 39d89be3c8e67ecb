"""Asks an OpenAI-compatible chat-completions endpoint: time limits, another try with back-off, a rate limit.

Standard library only. The request and the reply are those that OpenAI documents for
`POST …/chat/completions` and that vLLM, SGLang, llama.cpp, Ollama and NIM serve too.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from enum import Enum
from typing import IO, Any
from urllib.parse import urlsplit

from alpamayo_ros.types import InvalidInput

COMPLETIONS = "/chat/completions"
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_HOPELESS = frozenset({300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405})
"""What the next request would be answered with, too."""
_MAX_REPLY_BYTES = 2**20
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Failure(Enum):
    """Why an answer is none. The first three are the endpoint's, the others the model's."""

    HTTP = "HTTP error"
    UNREACHABLE = "no connection"
    TIMEOUT = "timeout"
    NOT_JSON = "reply not as documented"
    EMPTY = "empty"
    TOO_LONG = "too long"
    NOT_A_SENTENCE = "not one sentence"


class NoAnswer(Exception):
    """There is no usable answer to one request; `failure` says why."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(f"{failure.value}: {detail}")
        self.failure = failure


class EndpointRefuses(InvalidInput):
    """The endpoint refuses in a way that no other request would change: wrong key, model or address."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and how patiently.

    Attributes:
        url: of the service (".../v1") or of the very resource (".../v1/chat/completions"); http or https.
        model: name of the model there.
        api_key: sent as a bearer token; None sends none.
        timeout_s: for one request, from sending to the reply's last byte.
        tries: at most so many requests for one answer.
        backoff_s: pause before the second try; doubled for each further one. A reply's Retry-After counts if
            it asks for more, both up to max_backoff_s.
        max_backoff_s: the longest pause.
        requests_per_minute: limit on the rate, tries included; None for no limit.
        max_tokens, temperature: as the endpoint understands them.

    Raises:
        InvalidInput: on a value out of range, or a key that would go unencrypted to another machine.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    tries: int = 4
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    requests_per_minute: float | None = None
    max_tokens: int = 200
    temperature: float = 0.2

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"url: expected http://HOST/... or https://HOST/..., got {self.url!r}")
        if parts.username or parts.password:
            raise InvalidInput("url: expected the key in an environment variable, got one in the address")
        if self.api_key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise InvalidInput(
                f"url: expected https for a request with a key, got http to {parts.hostname}; "
                "the key would be readable on the way"
            )
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InvalidInput("api_key: expected printable ASCII, got other characters (a line's end?)")
        if not self.model:
            raise InvalidInput("model: expected a name, got an empty string")
        for name in ("timeout_s", "backoff_s", "max_backoff_s", "max_tokens"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name}: expected a positive number, got {getattr(self, name)}")
        if self.tries < 1:
            raise InvalidInput(f"tries: expected at least 1, got {self.tries}")
        if self.requests_per_minute is not None and not self.requests_per_minute > 0:
            raise InvalidInput(
                f"requests_per_minute: expected a positive number, got {self.requests_per_minute}"
            )
        if not self.temperature >= 0:
            raise InvalidInput(f"temperature: expected zero or more, got {self.temperature}")

    @property
    def completions_url(self) -> str:
        """Address of the resource."""
        url = self.url.rstrip("/")
        return url if url.endswith(COMPLETIONS) else url + COMPLETIONS


class ChatClient:
    """Asks one endpoint, one request at a time.

    Args:
        endpoint: where, and how patiently.
        clock, sleep: of time in s; tests bring their own.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self._clock, self._sleep = clock, sleep
        self._next_s = clock()
        self._jitter = random.Random(0)
        self._opener = urllib.request.build_opener(_NoRedirects())

    def ask(self, messages: Sequence[dict[str, Any]]) -> str:
        """Return the text of the answer, stripped.

        Raises:
            NoAnswer: where there is none: an endpoint's failure only after all tries.
            EndpointRefuses: where no request would be answered.
        """
        pause_s = self.endpoint.backoff_s
        for attempt in range(1, self.endpoint.tries + 1):
            try:
                return _text_of(self._post(messages))
            except _TryAgain as error:
                if attempt == self.endpoint.tries:
                    raise NoAnswer(error.failure, f"{error} (tried {attempt} times)") from error
                # Spread out, so that several clients do not come back at the same moment.
                spread_s = pause_s * self._jitter.uniform(0.75, 1.25)
                self._sleep(min(self.endpoint.max_backoff_s, max(spread_s, error.wait_s)))
                pause_s *= 2.0
        raise AssertionError("unreachable: the last try returns or raises")

    def _post(self, messages: Sequence[dict[str, Any]]) -> bytes:
        self._wait_for_turn()
        body = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "max_tokens": self.endpoint.max_tokens,
            "temperature": self.endpoint.temperature,
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.endpoint.api_key:
            headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        request = urllib.request.Request(
            self.endpoint.completions_url, data=json.dumps(body).encode(), headers=headers, method="POST"
        )
        self.requests += 1
        deadline_s = time.monotonic() + self.endpoint.timeout_s
        try:
            with self._opener.open(request, timeout=self.endpoint.timeout_s) as reply:
                return _read(reply, deadline_s)
        except urllib.error.HTTPError as error:
            with error:
                detail = _excerpt(error)
            if error.code in _HOPELESS:
                raise EndpointRefuses(
                    f"{self.endpoint.completions_url}: expected an answer, got HTTP {error.code} {detail}"
                ) from error
            if error.code in _TRY_AGAIN:
                raise _TryAgain(
                    Failure.HTTP, f"{error.code} {detail}", wait_s=_retry_after_s(error.headers)
                ) from error
            raise NoAnswer(Failure.HTTP, f"{error.code} {detail}") from error
        except TimeoutError as error:
            raise _TryAgain(Failure.TIMEOUT, f"none within {self.endpoint.timeout_s:g} s") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _TryAgain(Failure.TIMEOUT, f"none within {self.endpoint.timeout_s:g} s") from error
            raise _TryAgain(Failure.UNREACHABLE, str(error.reason)) from error
        except (http.client.HTTPException, OSError) as error:
            raise _TryAgain(Failure.UNREACHABLE, f"{type(error).__name__}: {error}") from error

    def _wait_for_turn(self) -> None:
        if self.endpoint.requests_per_minute is None:
            return
        wait_s = self._next_s - self._clock()
        if wait_s > 0:
            self._sleep(wait_s)
        self._next_s = max(self._next_s, self._clock()) + 60.0 / self.endpoint.requests_per_minute


class _TryAgain(Exception):
    def __init__(self, failure: Failure, detail: str, *, wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.failure, self.wait_s = failure, wait_s


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key is for the host that it was given for: what redirects is refused."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _read(reply: Any, deadline_s: float) -> bytes:
    """Return a reply's body; the socket's own time limit is for each of its pieces alone."""
    parts: list[bytes] = []
    size = 0
    while True:
        if time.monotonic() > deadline_s:
            raise TimeoutError
        part = reply.read1(2**16)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > _MAX_REPLY_BYTES:
            raise NoAnswer(Failure.NOT_JSON, f"expected at most {_MAX_REPLY_BYTES} bytes, got more")


def _text_of(body: bytes) -> str:
    """Return choices[0].message.content."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise NoAnswer(
            Failure.NOT_JSON, f"expected choices[0].message.content, got {body[:120]!r}"
        ) from error
    if text is None:
        raise NoAnswer(Failure.EMPTY, "the model wrote nothing")
    if not isinstance(text, str):
        raise NoAnswer(Failure.NOT_JSON, f"content: expected a text, got {type(text).__name__}")
    return text.strip()


def _excerpt(error: urllib.error.HTTPError) -> str:
    try:
        return f"{error.reason}: {error.read(200).decode('utf-8', 'replace')}".strip()
    except (OSError, http.client.HTTPException):
        return str(error.reason)


def _retry_after_s(headers: Message) -> float:
    """Return the pause that a reply asks for in seconds; 0 if none (dates are left to the back-off)."""
    value = headers.get("Retry-After", "")
    return float(value) if value.strip().isdigit() else 0.0
