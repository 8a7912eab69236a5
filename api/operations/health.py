"""Health: for load balancers and orchestrators."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from pymongo.errors import PyMongoError

from api.dependencies import Mongo, Temporal
from api.http.problems import problems
from api.resources import resources_of
from ticketing.errors import InvalidInput, NotReady

logger = logging.getLogger(__name__)

router = APIRouter(tags=["health"])

PROBE_TIMEOUT = timedelta(seconds=1)

Part = Literal["mongodb", "temporal"]
PARTS: tuple[Part, ...] = get_args(Part)
Needs = Annotated[
    tuple[Part, ...],
    Query(
        description="Which parts have to respond; repeated for several, all of them by default. "
        "`needs=mongodb` is for balancers: without Temporal everything but buying goes on.",
    ),
]


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def get_health() -> Health:
    """The process answers. Says nothing about what it depends on."""
    return Health()


@router.get("/readyz", responses=problems(NotReady, InvalidInput))
async def get_readiness(
    request: Request,
    mongo: Mongo,
    temporal: Temporal,
    needs: Needs = PARTS,
) -> Health:
    """Requests can be served: MongoDB and Temporal respond. A refusal names what does not.

    A process that is about to stop names itself (`api`): it still answers, so go elsewhere.
    """
    if resources_of(request.app).draining.is_set():
        raise NotReady(["api"], "This process is about to stop.")
    probes: dict[Part, Callable[[], Awaitable[object]]] = {
        "mongodb": lambda: mongo.admin.command("ping"),
        "temporal": temporal.responds,
    }
    asked = [part for part in probes if part in needs]
    responds = await asyncio.gather(*(_responds(part, probes[part]) for part in asked))
    unavailable: list[str] = [part for part, up in zip(asked, responds, strict=True) if not up]
    if unavailable:
        raise NotReady(unavailable)
    return Health()


async def _responds(part: Part, probe: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT.total_seconds()):
            return bool(await probe())
    except (PyMongoError, TimeoutError) as error:
        logger.warning("%s does not respond: %s", part, type(error).__name__)
    return False
