"""Every `temporal` command in the documentation is one that the command line knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.process import REPOSITORY

TEMPORAL = Path(sys.executable).with_name("temporal")
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
COMMANDS = sorted(
    {
        command
        for page in PAGES
        for command in re.findall(r"(?:^ *|`)(temporal [a-z-]+ [^`\n]+)", page.read_text(), re.M)
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_shown_exists_with_its_options(command: str) -> None:
    _, *words = re.sub(r"'[^']*'|\"[^\"]*\"", "", command).split()
    options = [word for word in words if word.startswith("--")]
    names = words[: words.index(options[0])] if options else words

    known = subprocess.run(
        [TEMPORAL, *names, "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert f"temporal {' '.join(names)} [" in known
    assert [option for option in options if option not in known] == []


def test_there_are_commands_to_check() -> None:
    assert any("set-current-version" in command for command in COMMANDS)
