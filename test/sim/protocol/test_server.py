"""Servers: addresses that are free, errors as statuses, TLS both ways, a clean end."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
from pathlib import Path

import grpc
import pytest
from sensorsim_fakes import ScriptedRenderer, start

from alpamayo_ros.sim.protocol.channel import CallPolicy, ClientTls, Connection, ServiceError
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.protocol.sensorsim import SENSORSIM
from alpamayo_ros.sim.protocol.server import NotFound, ServerTls, answering, serve
from alpamayo_ros.types import InvalidInput

EMPTY = common_pb2.Empty()


def version_at(address: str, tls: ClientTls | None = None) -> str:
    policy = CallPolicy(connect_timeout_s=1.0)
    with Connection(address, service=SENSORSIM, policy=policy, tls=tls) as connection:
        return connection.call("get_version", EMPTY).version_id


def test_an_address_that_is_taken_is_refused_and_free_again_after_stop() -> None:
    first = start(ScriptedRenderer())
    with pytest.raises(InvalidInput, match=f"--host, --port: expected an address that is free.*{first.port}"):
        start(ScriptedRenderer(), port=first.port)
    first.stop()
    first.stop()
    with start(ScriptedRenderer(), port=first.port) as second:
        assert version_at(second.address) and second.port == first.port
    with pytest.raises(InvalidInput, match=r"--port: expected 0 ... 65535"):
        start(ScriptedRenderer(), port=65536)
    with pytest.raises(InvalidInput, match=r"expected an address that is free, got 192\.0\.2\.1"):
        serve(lambda server: None, host="192.0.2.1")


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    servicer = ScriptedRenderer()
    with serve(
        lambda s: sensorsim_pb2_grpc.add_SensorsimServiceServicer_to_server(servicer, s), host="::1"
    ) as server:
        assert server.address.startswith("[::1]:") and version_at(server.address) == servicer.version_id


class Refusing(ScriptedRenderer):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get_version(self, request, context):
        with answering(context):
            raise self.error

    def get_available_scenes(self, request, context):
        with answering(context):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")


@pytest.mark.parametrize(
    ("error", "status", "details"),
    [
        (InvalidInput("width: expected 1, got 2"), "INVALID_ARGUMENT", "width: expected 1, got 2"),
        (NotFound("scene: expected one, got x"), "NOT_FOUND", "scene: expected one, got x"),
        (KeyError("oops"), "INTERNAL", "KeyError: 'oops'"),
    ],
)
def test_errors_become_statuses(
    error: Exception, status: str, details: str, caplog: pytest.LogCaptureFixture
) -> None:
    with start(Refusing(error)) as server, caplog.at_level(logging.ERROR):
        with pytest.raises(ServiceError) as caught:
            version_at(server.address)
        with (
            Connection(server.address, service=SENSORSIM) as connection,
            pytest.raises(ServiceError, match="PERMISSION_DENIED: not you"),
        ):
            connection.call("get_available_scenes", EMPTY)
    assert (caught.value.code.name, caught.value.details) == (status, details)
    assert ("while answering" in caplog.text) == (status == "INTERNAL")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, and what it and a stranger signed."""
    folder = tmp_path_factory.mktemp("certificates")
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is not there")
        pytest.skip("openssl is not there")

    def openssl(*arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=folder, check=True, capture_output=True)

    for authority in ("authority", "stranger"):
        key = (
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            f"{authority}.key",
        )
        openssl("req", "-x509", *key, "-out", f"{authority}.pem", "-days", "2", "-subj", f"/CN={authority}")
    (folder / "names").write_text("subjectAltName=DNS:renderer.test,IP:127.0.0.1\n")
    for name, authority in (("server", "authority"), ("client", "authority"), ("intruder", "stranger")):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
        openssl("req", *key, "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = (
            "-CA",
            f"{authority}.pem",
            "-CAkey",
            f"{authority}.key",
            "-CAcreateserial",
            "-extfile",
            "names",
        )
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem", "-days", "2")
    return folder


def test_tls(certificates: Path) -> None:
    tls = ServerTls.from_files(key=certificates / "server.key", certificate=certificates / "server.pem")
    servicer = ScriptedRenderer()
    trusting = ClientTls.from_files(authority=certificates / "authority.pem")
    with start(servicer, tls=tls) as server:
        assert version_at(server.address, trusting) == servicer.version_id
        named = ClientTls.from_files(authority=certificates / "authority.pem", server_name="renderer.test")
        assert version_at(server.address, named) == servicer.version_id
        for wrong in (
            ClientTls.from_files(authority=certificates / "stranger.pem"),
            ClientTls.from_files(authority=certificates / "authority.pem", server_name="other.test"),
        ):
            with pytest.raises(ServiceError, match=r"nothing answers at .* by TLS"):
                version_at(server.address, wrong)
        with pytest.raises(ServiceError, match=r"nothing answers at|connection broke"):
            version_at(server.address)
    assert servicer.calls["get_version"] == 2


def test_tls_of_clients(certificates: Path) -> None:
    tls = ServerTls.from_files(
        key=certificates / "server.key",
        certificate=certificates / "server.pem",
        client_authority=certificates / "authority.pem",
    )
    servicer = ScriptedRenderer()

    def client(name: str) -> ClientTls:
        return ClientTls.from_files(
            authority=certificates / "authority.pem",
            certificate=certificates / f"{name}.pem",
            key=certificates / f"{name}.key",
        )

    with start(servicer, tls=tls) as server:
        assert version_at(server.address, client("client")) == servicer.version_id
        for wrong in (client("intruder"), ClientTls.from_files(authority=certificates / "authority.pem")):
            with pytest.raises(ServiceError):
                version_at(server.address, wrong)
    assert servicer.calls["get_version"] == 1


def test_tls_files_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="TLS: authority: expected a readable file"):
        ClientTls.from_files(authority=tmp_path / "none.pem")
    (tmp_path / "text").write_text("not PEM")
    with pytest.raises(InvalidInput, match="TLS: authority: expected PEM text"):
        ClientTls.from_files(authority=tmp_path / "text")
    with pytest.raises(InvalidInput, match="TLS: key: expected PEM text"):
        ServerTls.from_files(key=tmp_path / "text", certificate=tmp_path / "text")
    with pytest.raises(InvalidInput, match="TLS: expected a client's certificate and its key"):
        ClientTls(certificate=b"-----BEGIN CERTIFICATE-----")
