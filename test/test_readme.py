"""README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alpamayo_ros.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_parameters_are_those_declared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parameters"]) == 0
    table = README.partition("compared by a test -->\n")[2].partition("<!-- end of parameters -->")[0]
    assert table.strip() == capsys.readouterr().out.strip()


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_commands_that_it_names_exist() -> None:
    named = set(re.findall(r"^alpamayo ([a-z]+)", README, flags=re.MULTILINE))
    assert named and named <= COMMANDS.keys()
