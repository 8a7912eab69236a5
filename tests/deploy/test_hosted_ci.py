"""The hosted check and the commit hooks are valid, and run what `.ci/run` and the lint run."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
WORKFLOW = REPOSITORY / ".github" / "workflows" / "ci.yaml"
HOOKS = REPOSITORY / ".pre-commit-config.yaml"


def _read(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file)


@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_the_workflow_follows_the_schema(schema: str) -> None:
    check = Path(sys.executable).with_name("check-jsonschema")

    checked = subprocess.run(
        [check, "--builtin-schema", schema, WORKFLOW], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_workflow_runs_the_check_and_may_only_read() -> None:
    workflow = _read(WORKFLOW)
    (job,) = workflow["jobs"].values()

    assert workflow["permissions"] == {"contents": "read"}
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    for step in job["steps"]:
        assert re.fullmatch(r"\S+@[0-9a-f]{40}", step.get("uses", "a@" + 40 * "0"))


def test_the_hooks_call_programs_of_the_lint() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    lint = makefile.split("\nlint:")[1].split("\n\n")[0]
    (local,) = _read(HOOKS)["repos"]

    programs = {hook["entry"].split()[0] for hook in local["hooks"]}

    assert programs
    assert programs <= {f".venv/bin/{name}" for name in re.findall(r"\$\(BIN\)/(\S+)", lint)}
