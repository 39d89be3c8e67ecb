"""A hub on the loopback: serves a folder as the gated data set, as far as the hub's own client asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub
import pytest

REPOSITORY = "nvidia/PhysicalAI-Autonomous-Vehicles"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD_TOKEN, LICENCE_MISSING = "hf_good", "hf_licence_missing"


class LoopbackHub:
    """What the server is to do, and what was asked of it.

    Attributes:
        root: the repository's files.
        url: of the server.
        requests: (method, path, first byte asked for) of each request.
        broken: files whose bytes break off half way.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = ""
        self.requests: list[tuple[str, str, int]] = []
        self.broken: set[str] = set()

    def bytes_of(self, suffix: str) -> list[int]:
        """First bytes asked for of files whose name ends so."""
        return [at for method, path, at in self.requests if method == "GET" and path.endswith(suffix)]


@contextmanager
def loopback_hub(root: Path) -> Iterator[LoopbackHub]:
    """Serve a folder until the block ends."""
    hub = LoopbackHub(root)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def point_client_at(hub_url: str, monkeypatch: pytest.MonkeyPatch, home: Path, *, token: str = "") -> Path:
    """Make the hub's client in this process ask `hub_url`, with a login of its own; returns its cache."""
    from huggingface_hub import HfFileSystem, constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub_url, 1)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub_url)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(huggingface_hub.file_download, "HF_HUB_CACHE", str(home / "hub"), raising=False)
    HfFileSystem.clear_instance_cache()
    return home / "hub"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: LoopbackHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def do_POST(self) -> None:
        path = self._path()
        length = int(self.headers.get("Content-Length", "0"))
        form = parse_qs(self.rfile.read(length).decode())
        assert "/paths-info/" in path, path
        if self._allowed(path, data=False):
            self._json([self._info(p) for p in form["paths"] if (self.state.root / p).is_file()])

    def _answer(self, *, head: bool) -> None:
        path = self._path()
        api = f"/api/datasets/{REPOSITORY}"
        if path.startswith(f"{api}/revision/"):
            if path.rsplit("/", 1)[-1] not in ("main", COMMIT):
                self._refuse(404, "RevisionNotFound")
            elif self._allowed(path, data=False):
                self._json({"id": REPOSITORY, "sha": COMMIT, "siblings": [], "tags": [], "gated": "auto"})
        elif path == api:
            self._json({"id": REPOSITORY, "sha": COMMIT, "siblings": [], "tags": [], "gated": "auto"})
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            folder = path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")
            files = sorted(p for p in (self.state.root / folder).iterdir() if p.is_file())
            self._json([self._info(str(p.relative_to(self.state.root))) for p in files])
        elif path.startswith(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/"):
            if self._allowed(path, data=True):
                self._file(path.removeprefix(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/"), head=head)
        else:
            self._refuse(404, "EntryNotFound")

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
        self.state.requests.append((self.command, path, int(asked or 0)))
        return path

    def _allowed(self, path: str, *, data: bool) -> bool:
        """As the hub does it: what a gated data set holds is told to all, its files are not."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", GOOD_TOKEN, LICENCE_MISSING):
            self._refuse(401, "", message="Invalid credentials in Authorization header")
            return False
        if data and token != GOOD_TOKEN:
            self._refuse(
                401 if not token else 403, "GatedRepo", message="Access to the dataset is restricted"
            )
            return False
        return True

    def _file(self, name: str, *, head: bool) -> None:
        file = self.state.root / name
        if not file.is_file():
            self._refuse(404, "EntryNotFound")
            return
        data = file.read_bytes()
        first, last = 0, len(data) - 1
        ranged = self.headers.get("Range")
        if ranged:
            start, _, end = ranged.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or last), last)
        self.send_response(206 if ranged else 200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        if ranged:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        if not head:
            body = data[first : last + 1]
            if name in self.state.broken:
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self.wfile.write(body)

    def _info(self, name: str) -> dict[str, Any]:
        data = (self.state.root / name).read_bytes()
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str, *, message: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()
