"""`alpamayo dataset`: what it prints, what it refuses, and where the package is missing."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from alpamayo_ros.cli.main import main
from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai import package
from alpamayo_ros.datasets.physical_ai.index import ClipFilter
from alpamayo_ros.types import InvalidInput

HAS_PACKAGE = find_spec("physical_ai_av") is not None
needs_package = pytest.mark.skipif(not HAS_PACKAGE, reason="the extra `dataset` is not installed")
CLIP = "11111111-2222-4333-8444-555555555555"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["dataset", *words]) == 2
    err = capsys.readouterr().err.strip()
    assert "\n" not in err and "expected" in err and "got" in err
    return err


def commands_of_the_page() -> list[list[str]]:
    page = (Path(__file__).resolve().parents[2] / "docs" / "DATASETS.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words for words in lines if words[:1] == ["alpamayo"]]


@pytest.mark.parametrize("words", commands_of_the_page(), ids=" ".join)
def test_command_lines_of_the_page_are_taken(words: list[str]) -> None:
    module = import_module(f"alpamayo_ros.cli.{words[1]}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    parser.parse_args(words[2:])


def test_ci_has_the_package() -> None:
    """All other tests of the data set are skipped without it."""
    if os.environ.get("CI") and sys.version_info >= (3, 11):
        assert HAS_PACKAGE, "the extra `dataset` is not installed"


@pytest.mark.parametrize("words", [("list",), ("fetch", CLIP), ("to-bag", CLIP)])
def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    err = refused(capsys, *words)
    assert "extra `dataset`" in err and "pip install 'physical_ai_av>=0.2.3,<0.3' 'scipy>=1.16'" in err


def test_an_older_package_or_scipy_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: name)
    monkeypatch.setattr(package, "version", lambda name: "0.1.9")
    assert "expected physical_ai_av 0.2.3 or newer, got 0.1.9" in refused(capsys, "to-bag", CLIP)
    monkeypatch.setattr(package, "version", lambda name: "0.2.10")
    monkeypatch.delattr("scipy.spatial.transform.RigidTransform", raising=False)
    assert "expected scipy 1.16 or newer" in refused(capsys, "to-bag", CLIP)


def test_help_needs_no_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    for action in ("list", "fetch", "to-bag"):
        with pytest.raises(SystemExit) as ended:
            main(["dataset", action, "--help"])
        assert ended.value.code == 0 and "usage: alpamayo dataset" in capsys.readouterr().out


@needs_package
def test_clips_are_listed_with_what_is_known_of_them(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(*words: str) -> list[str]:
        assert main(["dataset", "list", "--root", str(repository), *words]) == 0
        return capsys.readouterr().out.splitlines()

    lines = listed()
    assert lines[0].split() == ["clip", "country", "month", "hour", "platform", "split"]
    assert lines[1].split() == [CLIP, "Germany", "11", "23", "hyperion_8.1", "val"]
    assert lines[-1] == "3 of 4 clips"  # the fourth is marked as invalid
    assert listed("--limit", "2")[-1] == "3 of 4 clips; 1 more with a larger --limit"
    ids = [line.split()[0] for line in lines[1:-1]]
    assert listed("--ids") == ids
    for words, expected in (
        (("--country", "united states"), ids[1:2]),
        (("--country", "Germany", "--country", "United States"), ids),
        (("--hours", "22-4"), ids[:2]),
        (("--hours", "4-22"), ids[2:]),
        (("--hours", "12"), ids[2:]),
        (("--months", "11-2"), ids[:2]),
        (("--platform", "hyperion_8"), ids[1:2]),
        (("--split", "val"), ids[:1]),
        (("--with-reasoning",), ids[:1]),
        (("--country", "Germany", "--hours", "0-5"), []),
    ):
        assert [line for line in listed("--ids", *words) if line] == expected, words


@needs_package
def test_what_no_clip_has_is_refused_with_what_there_is(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ("--root", str(repository))
    err = refused(capsys, "list", *root, "--country", "Atlantis")
    assert "country: expected one of Germany, United States, got 'Atlantis'" in err
    assert "platform_class: expected one of" in refused(capsys, "list", *root, "--platform", "kart")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("list", "--limit", "0"), "--limit: expected 1 or more, got 0"),
        (("list", "--root", ".", "--revision", "a"), "--root: expected neither --revision nor --cache"),
        (("list", "--hours", "20-24"), "hours: expected 0 ... 23, got 20-24"),
        (("fetch",), "expected either CLIPs or options that choose some (--country ...), got neither"),
        (("fetch", CLIP, "--split", "val"), "expected either CLIPs or options that choose some"),
        (("fetch", "--split", "val", "--limit", "0"), "--limit: expected 1 or more, got 0"),
        (("fetch", "--months", "0-3"), "months: expected 1 ... 12, got 0-3"),
        (("to-bag", CLIP, "--hz", "60"), "--hz: expected 1 ... 30, got 60"),
        (("to-bag", CLIP, "--quality", "0"), "--quality: expected 1 ... 100, got 0"),
        (("to-bag", CLIP, "--root", ".", "--cache", "a"), "--root: expected neither --revision nor --cache"),
        (("to-bag", CLIP, "--out", "."), ".: expected a folder that is not there yet, got one that exists"),
    ],
)
def test_wrong_options_are_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert says in refused(capsys, *words)


@pytest.mark.parametrize("words", [("list", "--hours", "noon"), ("fetch", CLIP, "--cameras", "periscope")])
def test_what_cannot_be_parsed_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dataset", *words])
    assert ended.value.code == 2 and "expected" in capsys.readouterr().err


def test_a_filter_names_what_is_out_of_range() -> None:
    with pytest.raises(InvalidInput, match=r"months: expected 1 \.\.\. 12, got 12-13"):
        ClipFilter(months=(12, 13))
    assert issubclass(DatasetError, InvalidInput)
