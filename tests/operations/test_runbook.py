"""Every command and query of docs/operations.md is run, as it stands there, on a real stack."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack.process import REPOSITORY
from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.devstack.waiting import eventually
from tests.operations.scenes import Market, Scene, open_market

DOCUMENT = REPOSITORY / "docs" / "operations.md"
TEXT = DOCUMENT.read_text()
ALERTS = REPOSITORY / "deploy" / "prometheus" / "alerts.yaml"

SHOWN = re.compile(
    r"^(?P<indent> *)<!-- (?P<kind>setup|run)(?:: (?P<scene>\w+))? -->\n"
    r" *```sh\n(?P<commands>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
BLOCKS = [match for match in SHOWN.finditer(TEXT) if match["kind"] == "run"]
(SETUP,) = (match["commands"] for match in SHOWN.finditer(TEXT) if match["kind"] == "setup")
QUERIES = re.findall(r"^\|[^|]+\| `(.+)` \|$", TEXT.split("<!-- queries -->")[1], re.MULTILINE)

LARGEST_PICTURE = 150_000


@dataclass(frozen=True)
class OnCall:
    """Somebody at a terminal, and the orders that they look at."""

    stack: Stack
    market: Market
    scenes: dict[str, Scene]

    def type(self, commands: str, scene: Scene | None = None) -> str:
        """What the commands print, with the setup before them; none of them may fail."""
        settings = self.stack.settings
        setup = (
            SETUP.replace("127.0.0.1:7233", settings.temporal_address)
            .replace("127.0.0.1:27017", f"127.0.0.1:{settings.mongodb_port}")
            .replace("http://127.0.0.1:8000", self.stack.urls["api"])
            .replace(".stack/", f"{settings.stack_dir}/")
        )
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", setup + commands],
            cwd=REPOSITORY,
            env={**os.environ, **_variables(scene)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _variables(scene: Scene | None) -> dict[str, str]:
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if scene is None:
        return {"PATH": python}
    found = {"ORDER": scene.order, "TICKET": scene.ticket, "BUYER": scene.buyer}
    return {"PATH": python, **found, "INTENT": scene.intent or "pi_lost"}


@pytest.fixture(scope="module")
def on_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnCall]:
    settings = StackSettings.on_free_ports(tmp_path_factory.mktemp("on_call"))
    environ = {**os.environ, "STRIPE_API_KEY": "", "PAYMENT_WAIT": "5"}
    with Stack(settings, environ) as stack, open_market(stack) as market:
        scenes = {
            "completed": market.is_completed(),
            "unpaid": market.waits_for_payment(),
            "unwanted": market.waits_for_payment(),
            "bank": market.waits_for_the_bank(),
            "lost": market.waits_for_payment(),
            "stripe": market.waits_for_stripe(),
        }
        yield OnCall(stack, market, scenes)


def _block(beginning: str) -> tuple[str, str]:
    """The shown commands that contain this, and the scene that they are for."""
    (found,) = (block for block in BLOCKS if beginning in block["commands"])
    return textwrap.dedent(found["commands"]), found["scene"] or ""


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=block["commands"].strip().partition("\n")[0][:60])
        for number, block in enumerate(BLOCKS)
        if block["scene"] not in ("unwanted", "lost") and "workflow cancel" not in block["commands"]
    ],
)
@pytest.mark.long
def test_what_is_shown_can_be_pasted(on_call: OnCall, number: int) -> None:
    block = BLOCKS[number]
    scene = on_call.scenes[block["scene"]] if block["scene"] else None

    assert on_call.type(textwrap.dedent(block["commands"]), scene).strip() or _may_be_silent(block)


def _may_be_silent(block: re.Match[str]) -> bool:
    return "TemporalReportedProblems" in block["commands"]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.long
def test_a_query_to_save_is_one_that_temporal_takes(on_call: OnCall, query: str) -> None:
    on_call.type(f"temporal workflow count --query '{query}'")


@pytest.mark.long
def test_an_order_is_found_by_whatever_the_caller_has(on_call: OnCall) -> None:
    commands, scene = _block("PaymentIntentId = ")
    found = on_call.scenes[scene]

    def is_found_by_all() -> bool:
        said = on_call.type(commands, found)
        return said.count(f"order:{found.order}") == len(commands.splitlines())

    eventually(is_found_by_all)  # the list may be a second behind


@pytest.mark.long
def test_a_buyer_is_found_by_their_address_however_it_is_written(on_call: OnCall) -> None:
    commands, _ = _block("buyer@example.com")

    said = on_call.type(commands.replace("buyer@example.com", "Buyer@Example.com"))

    assert on_call.scenes["completed"].buyer in said


@pytest.mark.long
def test_what_an_order_waits_for_can_be_read(on_call: OnCall) -> None:
    commands, scene = _block("workflow metadata")

    said = on_call.type(commands, on_call.scenes[scene])

    assert "Asking Stripe to authorize payment 1." in said
    assert '"waits_for":"Stripe to decide the payment"' in said
    assert "PaymentOutcomeUnknown" in said
    assert "TimerStarted" in said


@pytest.mark.parametrize(
    ("command", "status"),
    [("workflow cancel", "cancelled"), ("workflow update execute", "cancelled")],
)
@pytest.mark.long
def test_an_order_that_is_not_paid_can_be_cancelled(
    on_call: OnCall, command: str, status: str
) -> None:
    commands, scene = _block(command)
    cancelled = on_call.scenes[scene]

    on_call.type(commands, cancelled)

    eventually(lambda: on_call.market.order(cancelled)["status"] == status)


@pytest.mark.long
def test_a_lost_charge_can_be_entered(on_call: OnCall) -> None:
    commands, scene = _block("insert_one")
    lost = on_call.scenes[scene]
    on_call.type(f"temporal workflow terminate --workflow-id order:{lost.order}")

    *_, modified = on_call.type(commands, lost).splitlines()

    assert modified == "1"
    order = on_call.market.order(lost)
    assert order["status"] == "awaiting_payment"
    assert [charge["status"] for charge in order["charges"]] == ["created"]


def test_every_command_that_is_shown_is_run() -> None:
    assert TEXT.count("```sh") == len(BLOCKS) + 1
    assert len(BLOCKS) > 10
    assert len(QUERIES) > 8


def test_every_alert_has_a_heading_that_says_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    headings = re.findall(r"^### (Holdfast\w+)$", TEXT, re.MULTILINE)

    assert headings == alerts


def test_every_heading_that_is_linked_to_is_there() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_every_picture_is_there_shown_and_small() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((operations/[^)]+)\)", TEXT)
    pictures = sorted((DOCUMENT.parent / "operations").glob("*.png"))

    assert sorted(shown) == [f"operations/{picture.name}" for picture in pictures]
    assert [p.name for p in pictures if p.stat().st_size > LARGEST_PICTURE] == []
