"""README says what the code says."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import cv2
import pytest

from alpamayo_ros.cli.main import COMMANDS, main
from alpamayo_ros.sim.scene import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_parameters_are_those_declared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parameters"]) == 0
    page = (ROOT / "docs" / "PARAMETERS.md").read_text(encoding="utf-8")
    table = page.partition("compared by a test -->\n")[2].partition("<!-- end of parameters -->")[0]
    assert table.strip() == capsys.readouterr().out.strip()


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def commands(text: str) -> list[list[str]]:
    """Return the command lines of a page's shell blocks, in words, comments left out."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    return [
        shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()
    ]


def test_commands_that_it_names_exist() -> None:
    named = set(re.findall(r"`alpamayo ([a-z-]+)", README))
    assert named and named <= COMMANDS.keys()


@pytest.mark.parametrize(
    "words", [words for words in commands(README) if words[0] == "alpamayo"], ids=" ".join
)
def test_command_lines_are_taken(words: list[str]) -> None:
    module = importlib.import_module(f"alpamayo_ros.cli.{words[1].replace('-', '_')}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    parser.parse_args(words[2:])
    if words[1] == "run" and not words[2].startswith("-"):
        assert words[2] in (*module.NODES, module.SIMULATION, module.VEHICLE)


@pytest.mark.parametrize(
    "words", [words for words in commands(README) if words[:2] == ["ros2", "launch"]], ids=" ".join
)
def test_launch_files_take_their_arguments(words: list[str]) -> None:
    text = (ROOT / "launch" / words[3]).read_text(encoding="utf-8")
    for name in (word.partition(":=")[0] for word in words[4:]):
        assert f'"{name}"' in text


def test_targets_of_make_that_pages_name_exist() -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for page in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        named = set(re.findall(r"`make ([a-z0-9-]+)", page)) | {
            words[1] for words in commands(page) if words[0] == "make"
        }
        assert named and named <= targets


def test_every_family_of_scenes_has_a_section_and_a_picture() -> None:
    page = (ROOT / "docs" / "SCENES.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)\n\n!\[.+\]\(images/scenes/(\w+)\.jpg\)\n\n\w", page, re.MULTILINE) == [
        (family, family) for family in FAMILIES
    ]
    assert set(re.findall(r"\(#(\w+)\)", page)) == set(FAMILIES)
    pictures = sorted((ROOT / "docs" / "images" / "scenes").iterdir())
    assert [path.name for path in pictures] == sorted(f"{family}.jpg" for family in FAMILIES)
    for path in pictures:
        assert path.stat().st_size <= 80_000
        assert cv2.imread(str(path)).shape == (450, 1136, 3)


def test_pictures_stay_small() -> None:
    everything = [path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in everything) < 4_000_000
