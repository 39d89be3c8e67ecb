"""`alpamayo train`: one command, an action each, and nothing heavy loaded before one is chosen."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alpamayo_ros.cli.main import main


def test_the_help_names_the_actions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    assert "make training samples from simulated drives or a bag" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["train"], ["train", "nothing"]])
def test_an_action_is_asked_for(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_the_help_loads_no_torch() -> None:
    program = (
        "import sys\nfrom alpamayo_ros.cli.main import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('loaded:', [name for name in ('torch', 'transformers', 'moderngl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
