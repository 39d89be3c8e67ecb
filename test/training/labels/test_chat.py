"""The chat client against a real HTTP server: good answers, slow ones, refusals, garbage."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from stub_endpoint import Clock, Reply, Stub, completion, stub_endpoint

from alpamayo_ros.training.labels.chat import ChatClient, Endpoint, EndpointRefuses, Failure, NoAnswer
from alpamayo_ros.types import InvalidInput

GOOD = "Slow down for the curve ahead."
QUESTION = [{"role": "user", "content": "Why?"}]


def client(stub: Stub, **options: Any) -> tuple[ChatClient, Clock]:
    clock = Clock()
    options = {"timeout_s": 5.0, **options}
    return ChatClient(Endpoint(stub.url, "vlm", **options), clock=clock, sleep=clock.sleep), clock


def test_a_good_answer_comes_back_stripped() -> None:
    with stub_endpoint(Reply(completion(f"  {GOOD}\n"))) as stub:
        asked, clock = client(stub, api_key="secret", max_tokens=50)
        assert asked.ask(QUESTION) == GOOD
    assert stub.paths == ["/v1/chat/completions"]
    assert stub.asked == [{"model": "vlm", "messages": QUESTION, "max_tokens": 50, "temperature": 0.2}]
    assert stub.headers[0]["Authorization"] == "Bearer secret"
    assert not clock.slept_s


def test_without_a_key_none_is_sent() -> None:
    with stub_endpoint(Reply(completion(GOOD))) as stub:
        assert client(stub)[0].ask(QUESTION) == GOOD
    assert "Authorization" not in stub.headers[0]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_who_is_busy_is_asked_again(status: int) -> None:
    with stub_endpoint(Reply(b"busy", status), Reply(b"busy", status), Reply(completion(GOOD))) as stub:
        asked, clock = client(stub, backoff_s=2.0)
        assert asked.ask(QUESTION) == GOOD
    first, second = clock.slept_s
    assert 1.5 <= first <= 2.5 and 3.0 <= second <= 5.0
    assert asked.requests == 3


def test_the_pause_that_is_asked_for_is_made_up_to_a_limit() -> None:
    replies = [Reply(b"", 429, {"Retry-After": wait}) for wait in ("7", "100000", "soon")]
    with stub_endpoint(*replies, Reply(completion(GOOD))) as stub:
        asked, clock = client(stub, max_backoff_s=20.0)
        assert asked.ask(QUESTION) == GOOD
    assert clock.slept_s[:2] == [7.0, 20.0] and 3.0 <= clock.slept_s[2] <= 5.0


def test_in_the_end_it_is_given_up() -> None:
    with stub_endpoint(Reply(b"out of memory", 503)) as stub:
        asked, _ = client(stub, tries=3)
        with pytest.raises(NoAnswer, match=r"HTTP error: 503 .*out of memory \(tried 3 times\)") as raised:
            asked.ask(QUESTION)
    assert raised.value.failure is Failure.HTTP and len(stub.asked) == 3


def test_a_bad_request_is_not_repeated() -> None:
    with (
        stub_endpoint(Reply(b"image too large", 400)) as stub,
        pytest.raises(NoAnswer, match=r"400 .*image too large") as raised,
    ):
        client(stub)[0].ask(QUESTION)
    assert raised.value.failure is Failure.HTTP and len(stub.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_request_would_change_ends_it_all(status: int) -> None:
    with (
        stub_endpoint(Reply(b"no such model", status)) as stub,
        pytest.raises(EndpointRefuses, match=f"got HTTP {status} .*no such model"),
    ):
        client(stub)[0].ask(QUESTION)
    assert len(stub.asked) == 1


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with stub_endpoint(Reply(completion(GOOD))) as other:
        moved = Reply(b"", 302, {"Location": f"{other.url}/chat/completions"})
        with stub_endpoint(moved) as stub, pytest.raises(EndpointRefuses, match="HTTP 302"):
            client(stub, api_key="secret")[0].ask(QUESTION)
        assert not other.asked and not other.headers


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (Reply(completion(GOOD), wait_s=30.0), Failure.TIMEOUT),
        (Reply(completion(GOOD), drip_s=0.1), Failure.TIMEOUT),
    ],
    ids=["silent", "dripping"],
)
def test_a_slow_answer_is_waited_for_no_longer_than_said(reply: Reply, failure: Failure) -> None:
    with stub_endpoint(reply) as stub, pytest.raises(NoAnswer, match=r"none within 0.3 s") as raised:
        client(stub, timeout_s=0.3, tries=2)[0].ask(QUESTION)
    assert raised.value.failure is failure and len(stub.asked) == 2


def test_after_a_slow_answer_a_quick_one_counts() -> None:
    with stub_endpoint(Reply(completion("late"), wait_s=30.0), Reply(completion(GOOD))) as stub:
        assert client(stub, timeout_s=0.5)[0].ask(QUESTION) == GOOD


def test_nobody_there_is_said() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        clock = Clock()
        endpoint = Endpoint(f"http://127.0.0.1:{held.getsockname()[1]}/v1", "vlm", tries=2)
        with pytest.raises(NoAnswer) as raised:
            ChatClient(endpoint, clock=clock, sleep=clock.sleep).ask(QUESTION)
    assert raised.value.failure is Failure.UNREACHABLE and len(clock.slept_s) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b"[1]",
        b"\xff\xfe",
    ],
)
def test_garbage_is_no_answer(body: bytes) -> None:
    with stub_endpoint(Reply(body)) as stub, pytest.raises(NoAnswer) as raised:
        client(stub)[0].ask(QUESTION)
    assert raised.value.failure is Failure.NOT_JSON and len(stub.asked) == 1


def test_a_reply_without_end_is_cut_off() -> None:
    with (
        stub_endpoint(Reply(b"x" * (2**20 + 2**17))) as stub,
        pytest.raises(NoAnswer, match="expected at most 1048576 bytes") as raised,
    ):
        client(stub)[0].ask(QUESTION)
    assert raised.value.failure is Failure.NOT_JSON


def test_no_text_is_an_empty_answer() -> None:
    with stub_endpoint(Reply(completion(None))) as stub, pytest.raises(NoAnswer) as raised:
        client(stub)[0].ask(QUESTION)
    assert raised.value.failure is Failure.EMPTY


def test_the_rate_is_kept() -> None:
    with stub_endpoint(Reply(completion(GOOD))) as stub:
        asked, clock = client(stub, requests_per_minute=30.0)
        for _ in range(4):
            asked.ask(QUESTION)
        assert clock.slept_s == pytest.approx([2.0, 2.0, 2.0])
        clock.now_s += 60.0  # who was idle has saved up nothing
        asked.ask(QUESTION)
        asked.ask(QUESTION)
    assert clock.slept_s == pytest.approx([2.0, 2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1/chat/completions"),
        ("https://a.b/x/chat/completions", "https://a.b/x/chat/completions"),
    ],
)
def test_where_it_asks(url: str, resource: str) -> None:
    assert Endpoint(url, "vlm").completions_url == resource


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "localhost:8000"}, "expected http://HOST"),
        ({"url": "file:///etc/passwd"}, "expected http://HOST"),
        ({"url": "https://me:secret@host/v1"}, "got one in the address"),
        ({"url": "http://far.example/v1", "api_key": "secret"}, "expected https for a request with a key"),
        ({"api_key": "secret\n"}, "expected printable ASCII"),
        ({"model": ""}, "model: expected a name"),
        ({"timeout_s": 0.0}, "timeout_s: expected a positive number"),
        ({"tries": 0}, "tries: expected at least 1"),
        ({"requests_per_minute": 0.0}, "requests_per_minute: expected a positive number"),
        ({"temperature": -1.0}, "temperature: expected zero or more"),
    ],
)
def test_an_endpoint_that_cannot_be(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Endpoint(**{"url": "https://host/v1", "model": "vlm", **change})


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Endpoint("https://host/v1", "vlm", api_key="secret"))
