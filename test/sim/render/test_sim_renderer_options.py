"""`alpamayo sim-renderer`: options that cannot be are refused before anything is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from alpamayo_ros.cli.main import main


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--tls-cert", "cert.pem"], "--tls-cert, --tls-key: expected both or neither, got one of them"),
        (
            ["--tls-client-ca", "ca.pem"],
            "--tls-client-ca: expected --tls-cert and --tls-key too, got neither",
        ),
        (["--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem"], "nowhere.pem"),
        (["--scene-from-asl", "nowhere.asl"], "nowhere.asl"),
    ],
)
def test_options_that_cannot_be_are_refused(options, text, capsys):
    assert main(["sim-renderer", *options]) == 2
    assert text in capsys.readouterr().err


def test_a_file_that_is_no_log_is_named(tmp_path: Path, capsys):
    path = tmp_path / "broken.asl"
    path.write_bytes(b"not a log at all")
    assert main(["sim-renderer", "--scene-from-asl", str(path)]) == 2
    assert "broken.asl" in capsys.readouterr().err


def test_help_says_what_it_does():
    command = [sys.executable, "-m", "alpamayo_ros.cli.main", "sim-renderer", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for option in ("--host", "--port", "--scene-from-asl", "--cache-scenes", "--tls-cert"):
        assert option in done.stdout
