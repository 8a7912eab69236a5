"""What Prometheus is told, by a worker in the test and by a real worker process."""

import re
from pathlib import Path

import httpx
import pytest
from beanie import PydanticObjectId

from devstack.ports import LOOPBACK, free_ports
from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.purchases.marketplace import Marketplace
from tests.reconciliation.auditor import Auditor
from tests.waiting import eventually
from ticketing.invariants import Invariant
from ticketing.observability.metrics import runtime_with_metrics
from ticketing.temporal import connect_temporal

SAMPLE = re.compile(r"^(holdfast_invariant_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')

Samples = dict[tuple[str, str, str | None], float]


def samples(text: str) -> Samples:
    """Our own metrics, by name, invariant and outcome."""
    found = {}
    for name, labels, value in SAMPLE.findall(text):
        given = dict(LABEL.findall(labels))
        found[name, given["invariant"], given.get("outcome")] = float(value)
    return found


async def scrape(address: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://{address}/metrics")
    assert answer.status_code == 200
    return answer.text


@pytest.mark.long
async def test_violations_are_counted_once_and_open_ones_measured(idle_market: Marketplace) -> None:
    (port,) = free_ports(1)
    address = f"{LOOPBACK}:{port}"
    idle_market.temporal = await connect_temporal(
        idle_market.settings.temporal, runtime=runtime_with_metrics(address)
    )
    auditor = Auditor(idle_market)
    (person,) = idle_market.crowd(1)
    ticket = await person.list_ticket()
    await auditor.tamper_with_ticket(ticket, order_id=PydanticObjectId())
    intent_id = await auditor.authorize(str(PydanticObjectId()), capture=True)

    async with idle_market.working():
        await auditor.check()
        await auditor.check()
        found = samples(await scrape(address))
        await auditor.refund(intent_id)
        await auditor.check()
        later = samples(await scrape(address))

    total, now_open = "holdfast_invariant_findings_total", "holdfast_invariant_findings_open"
    assert found[total, "I3", "repaired"] == 1
    assert found[total, "I5", "reported"] == 1
    assert {i: found[now_open, str(i), None] for i in Invariant} == {
        i: float(i is Invariant.I5) for i in Invariant
    }
    assert later[now_open, "I5", None] == 0
    assert later[total, "I5", "reported"] == 1


@pytest.mark.long
async def test_a_worker_process_schedules_the_check_and_serves_its_metrics(tmp_path: Path) -> None:
    settings = StackSettings.on_free_ports(tmp_path)
    address = f"{LOOPBACK}:{settings.worker_metrics_port}"
    with Stack(settings, {"LOG_LEVEL": "WARNING"}) as stack:
        url = f"{stack.urls['api']}/api/operations/invariants"
        headers = {"Authorization": f"Bearer {stack.environment['OPERATOR_TOKEN']}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=30) as http:

            async def is_asked_for() -> bool:
                return (await http.post(url)).status_code == 202

            async def is_over() -> bool:
                run = (await http.get(url)).json()["lastRun"]
                return run is not None and run["finishedAt"] is not None

            await eventually(is_asked_for)
            await eventually(is_over, 60)
        metrics = await scrape(address)

    assert {invariant for _, invariant, _ in samples(metrics)} == set(Invariant)
    assert "temporal_workflow_completed" in metrics
