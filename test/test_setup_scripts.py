"""`make setup` finds a Python, and says or installs what the system lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"


def _stub(folder: Path, name: str, body: str) -> Path:
    """Write an executable that stands in for a system's program."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path


def _run(
    *command: str | Path, path: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    if path is not None:
        environment["PATH"] = str(path)
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)


def test_a_named_python_is_taken() -> None:
    done = _run(SCRIPTS / "find_python.sh", sys.executable)
    assert Path(done.stdout.strip()).samefile(sys.executable)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("echo 3.9", "expected Python 3.10 to 3.13, got 3.9"),
        ("exit 127", "expected a Python interpreter, got none"),
    ],
)
def test_a_named_python_that_will_not_do_is_refused(tmp_path: Path, answer: str, message: str) -> None:
    done = _run(SCRIPTS / "find_python.sh", _stub(tmp_path, "python", answer))
    assert done.returncode == 1
    assert message in done.stderr


def _stub_pythons(tmp_path: Path, versions: dict[str, str]) -> None:
    for tool in ("bash", "uname", "env"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    for name, version in versions.items():
        version, _, lacking = version.partition(" ")
        cases = f"*version_info*) echo {version};; *ensurepip*) exit {1 if lacking else 0};;"
        body = f'case "$2" in {cases} *) echo {tmp_path}/{name};; esac'
        _stub(tmp_path, name, "exit 127" if version == "absent" else body)


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ({"python3": "3.12", "python3.11": "3.11"}, "python3"),
        ({"python3": "3.13", "python3.11": "3.11"}, "python3.11"),
        ({"python3": "3.13", "python3.11": "absent", "python3.12": "3.12"}, "python3.12"),
        ({"python3": "3.10", "python3.13": "3.13"}, "python3"),
        ({"python3": "3.14", "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.10", "python3.11": "3.11 incomplete"}, "python3"),
        ({"python3": "3.10 incomplete", "python3.11": "3.11 incomplete"}, "python3.11"),
    ],
)
def test_the_default_python(tmp_path: Path, versions: dict[str, str], chosen: str) -> None:
    _stub_pythons(tmp_path, versions)
    done = _run(SCRIPTS / "find_python.sh", path=tmp_path)
    assert done.stdout.strip() == f"{tmp_path}/{chosen}", done.stderr


def test_no_python_is_said_so(tmp_path: Path) -> None:
    _stub_pythons(tmp_path, {"python3": "3.8"})
    done = _run(SCRIPTS / "find_python.sh", path=tmp_path)
    assert done.returncode == 1
    assert "No Python 3.10 to 3.13 found" in done.stderr


# --- system_packages.sh ------------------------------------------------------------------------------


@pytest.fixture
def bare_system(tmp_path: Path) -> Path:
    """A PATH without compilers, whose Python lacks ensurepip; apt-get writes down what it is told."""
    for tool in ("bash", "env"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    answers = {
        "version_info": "echo 3.11",
        "sysconfig": "echo /nowhere",
        "ensurepip": "exit 1",
        "realpath": "echo /usr/bin/python3.11",
    }
    cases = "\n".join(f"*{key}*) {answer};;" for key, answer in answers.items())
    _stub(tmp_path, "python", f'case "$2" in {cases} esac')
    _stub(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/installed')
    _stub(tmp_path, "id", "echo 0")
    _stub(tmp_path, "sudo", "exit 1")
    return tmp_path


def test_root_installs_what_is_missing(bare_system: Path) -> None:
    done = _run(SCRIPTS / "system_packages.sh", bare_system / "python", path=bare_system)
    assert done.returncode == 0, done.stderr
    assert "Missing on this system: build-essential python3.11-dev python3.11-venv; installing" in done.stdout
    assert (
        (bare_system / "installed")
        .read_text()
        .splitlines()[-1]
        .endswith("build-essential python3.11-dev python3.11-venv")
    )


def test_sudo_without_a_password_is_used(bare_system: Path) -> None:
    _stub(bare_system, "id", "echo 1000")
    _stub(bare_system, "sudo", f'echo sudo >> {bare_system}/installed; shift; "$@"')
    assert _run(SCRIPTS / "system_packages.sh", bare_system / "python", path=bare_system).returncode == 0
    assert "sudo" in (bare_system / "installed").read_text()


def test_who_may_not_install_is_told_what_to_do(bare_system: Path) -> None:
    _stub(bare_system, "id", "echo 1000")
    done = _run(SCRIPTS / "system_packages.sh", bare_system / "python", path=bare_system)
    assert done.returncode == 1
    assert (
        "run  sudo apt-get install --yes --no-install-recommends build-essential python3.11-dev"
        in done.stderr
    )
    assert not (bare_system / "installed").exists()


def test_a_system_without_apt_is_told_what_to_do(bare_system: Path) -> None:
    (bare_system / "apt-get").unlink()
    done = _run(SCRIPTS / "system_packages.sh", bare_system / "python", path=bare_system)
    assert done.returncode == 1
    assert "what Debian calls build-essential" in done.stderr


def test_a_python_of_ones_own_cannot_be_mended_by_apt(bare_system: Path) -> None:
    python = bare_system / "python"
    python.write_text(python.read_text().replace("/usr/bin/python3.11", "/home/me/.pyenv/bin/python3.11"))
    done = _run(SCRIPTS / "system_packages.sh", python, path=bare_system)
    assert done.returncode == 1
    assert "not the system's and lacks what python3.11-dev python3.11-venv would bring" in done.stderr


def test_a_complete_system_is_left_alone(bare_system: Path) -> None:
    for name in ("cc", "c++"):
        _stub(bare_system, name, "exit 0")
    (bare_system / "Python.h").touch()
    python = bare_system / "python"
    text = python.read_text().replace("/nowhere", str(bare_system)).replace("exit 1", "exit 0")
    python.write_text(text)
    done = _run(SCRIPTS / "system_packages.sh", python, path=bare_system)
    assert (done.returncode, done.stdout) == (0, "")
    assert not (bare_system / "installed").exists()
