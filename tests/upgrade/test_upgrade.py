"""Orders that one checkout leaves open are carried on by another one, and a break is seen."""

import re
import sys
from pathlib import Path

import pytest

from bench.revisions import Checkout, check_out
from tests.upgrade.__main__ import render
from tests.upgrade.run import Rules, upgrade
from tests.upgrade.scenes import EXPIRED, SCENES
from tests.upgrade.stacks import working_tree

ACTIVITY = re.compile(r"@activity\.defn\n(\s+async def (\w+))")


@pytest.fixture
def head(tmp_path: Path) -> Checkout:
    """The latest commit, which every clone has."""
    return check_out("HEAD", tmp_path / "head")


@pytest.mark.long
def test_orders_in_every_waiting_state_survive_a_kill_and_another_checkout(
    head: Checkout, tmp_path: Path
) -> None:
    scenes = [scene for scene in SCENES if scene.ending != EXPIRED]
    report = upgrade(head, working_tree(sys.executable), tmp_path, killed=True, scenes=scenes)
    assert report.is_good, render(report)


@pytest.mark.long
def test_control_code_that_does_not_replay_is_noticed(head: Checkout, tmp_path: Path) -> None:
    new = check_out("HEAD", tmp_path / "new")
    for module in (new.directory / "activities").glob("*.py"):
        renamed = ACTIVITY.sub(r'@activity.defn(name="new_\2")\n\1', module.read_text())
        module.write_text(renamed)

    rules = Rules(reservation_ttl=40, patience=10)
    report = upgrade(head, new, tmp_path, killed=False, rules=rules, scenes=SCENES[:1])

    assert not report.is_good
    assert not report.orders[0].is_as_promised
    assert any("NON_DETERMINISTIC" in problem for problem in report.problems)
