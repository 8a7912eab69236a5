"""A listing by FastAPI and the MongoDB driver alone: the reference for listing pages.

Run as `python -m bench.bare_listing PORT`, with `MONGODB_URL` in its environment.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import uvicorn
from fastapi import FastAPI
from pymongo import AsyncMongoClient

from bench.market import Market
from devstack.environment import DATABASE
from devstack.mongodb import mongodb_url
from devstack.ports import LOOPBACK, free_ports, is_listening
from devstack.process import REPOSITORY, Part

PAGE = 20


def create_app(url: str) -> FastAPI:
    """One route, which returns a page of tickets."""
    app = FastAPI()
    tickets = AsyncMongoClient[dict[str, Any]](url, tz_aware=True)[DATABASE]["tickets"]

    @app.get("/tickets")
    async def list_tickets(before: datetime | None = None, word: str | None = None) -> Any:  # noqa: ANN401
        where: dict[str, Any] = {"order_id": None}
        if before is not None:
            where["created_at"] = {"$lt": before}
        if word is not None:
            where["words"] = word
        found = await tickets.find(where, {"words": 0}).sort("created_at", -1).to_list(PAGE)
        for ticket in found:
            ticket["_id"] = str(ticket["_id"])
            ticket["user_id"] = str(ticket["user_id"])
        return {"items": found}

    return app


@contextmanager
def bare_listing(market: Market) -> Iterator[str]:
    """Run the server in a process during the block; yields its address."""
    (port,) = free_ports(1)
    url = mongodb_url(*market.stack.settings.mongodb_ports)
    part = Part(
        name="bare",
        command=[sys.executable, "-m", "bench.bare_listing", str(port)],
        log=market.directory / "bare.log",
        is_ready=lambda: is_listening(port),
        environ={**os.environ, "MONGODB_URL": url},
        cwd=REPOSITORY,
    )
    part.start()
    try:
        part.wait_until_ready()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        part.stop()


if __name__ == "__main__":
    uvicorn.run(
        create_app(os.environ["MONGODB_URL"]),
        host=LOOPBACK,
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
    )
