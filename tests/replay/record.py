"""Record the histories of paths that have none of today's version: `make record-histories`.

A recorded history is never overwritten: it stands for what the version of its day left in
flight. A patch of a workflow (`VERSIONS` in paths.py) adds histories under new names.
"""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import SecretStr

from devstack.mongodb import running_mongod
from stripe_sandbox.testing import running_sandbox
from tests.market import Market
from tests.replay.paths import history_names, history_of
from tests.timeskipping import time_skipping_server
from ticketing.mongodb import connect_mongodb
from ticketing.payments.gateway import StripeGateway
from ticketing.settings import MongoDBSettings, StripeApiSettings
from worker import create_worker

HISTORIES = Path(__file__).parent / "histories"


async def record(mongodb_url: str) -> list[str]:
    """Walk every path that has no such history yet and keep what Temporal recorded of it."""
    mongo = await connect_mongodb(MongoDBSettings(url=SecretStr(mongodb_url)))
    recorded = []
    for name, path in history_names().items():
        file = HISTORIES / f"{name}.json"
        if file.exists():
            continue
        queue = f"record-{uuid4().hex}"
        async with time_skipping_server() as env, running_sandbox() as sandbox:
            settings = StripeApiSettings(api_key=SecretStr("sk_test_sandbox"), api_base=sandbox.url)
            gateway = StripeGateway(settings)
            async with create_worker(env.client, task_queue=queue, mongo=mongo, gateway=gateway):
                walked = await path(Market(env=env, task_queue=queue, sandbox=sandbox))
                history = await history_of(walked)
            await gateway.close()
        file.write_text(json.dumps(without_traces(history.to_json_dict()), indent=1) + "\n")
        recorded.append(name)
    await mongo.close()
    return recorded


def without_traces(recorded: Any) -> Any:
    """Leave out what tells of the machine that recorded, and matters to no replay."""
    match recorded:
        case dict():
            return {
                name: without_traces(value)
                for name, value in recorded.items()
                if name not in ("identity", "stackTrace")
            }
        case list():
            return [without_traces(value) for value in recorded]
    return recorded


def main() -> None:
    """Record, and say what was recorded."""
    HISTORIES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, running_mongod(Path(directory)) as url:
        names = asyncio.run(record(url))
    print("\n".join(names) or "every path has its history already")  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
