"""What the README shows is pasted here, and does what it says."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from devstack.process import REPOSITORY
from devstack.settings import StackSettings
from devstack.stack import Stack

README = (REPOSITORY / "README.md").read_text()
WALK = re.findall(r"<!-- walk -->\n```sh\n(.*?)```", README, re.DOTALL)
REPEAT = re.findall(
    r"<!-- repeat -->\n```sh\n(.*?)```",
    (REPOSITORY / "docs" / "idempotency.md").read_text(),
    re.DOTALL,
)


def paste(commands: str, directory: Path) -> list[str]:
    """Run the commands as a terminal would; the lines that they print."""
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", commands],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_walk_buys_a_ticket_and_asks_twice_for_another(tmp_path: Path) -> None:
    settings = StackSettings.on_free_ports(tmp_path / "stack")
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    assert (len(WALK), len(REPEAT)) == (3, 1)
    with Stack(settings, environ) as stack:
        commands = "".join(WALK + REPEAT).replace("http://127.0.0.1:8000", stack.urls["api"])
        said = [json.loads(line) for line in paste(commands, tmp_path)]

    _seller, ticket, _buyer, refusal, charge, order, asked, again, reused = said
    assert ticket["status"] == "available"
    assert refusal["code"] == "ticket_reserved"
    assert charge["status"] == "completed"
    assert (order["status"], order["ticketId"]) == ("completed", ticket["id"])
    assert (asked["status"], again) == ("created", asked)
    assert reused["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    "document",
    [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))],
    ids=str,
)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())

    assert [t for t in targets if not (document.parent / t).exists()] == []


def test_the_tree_names_what_is_there() -> None:
    tree = README.split("## The tree")[1].split("```")[1]
    named = [line.split()[0] for line in tree.splitlines()[1:] if line.strip()]

    assert [name for name in named if not (REPOSITORY / name).exists()] == []
