"""Health probes for load balancers and orchestrators."""

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

Dependency = Literal["mongodb", "temporal"]
DEPENDENCIES: tuple[Dependency, ...] = get_args(Dependency)
Needs = Annotated[
    tuple[Dependency, ...],
    Query(
        description="Which dependencies have to respond: repeatable, by default all. "
        "`needs=mongodb` is for balancers: everything but buying works without Temporal.",
    ),
]


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def get_health() -> Health:
    """Liveness: the process answers. Its dependencies are not checked."""
    return Health()


@router.get("/readyz", responses=problems(NotReady, InvalidInput))
async def get_readiness(
    request: Request,
    mongo: Mongo,
    temporal: Temporal,
    needs: Needs = DEPENDENCIES,
) -> Health:
    """Readiness: MongoDB and Temporal respond. A refusal names those that do not.

    While the process drains, it names itself (`api`): it still serves requests, but new ones
    should be routed elsewhere.
    """
    if resources_of(request.app).draining.is_set():
        raise NotReady(["api"], "This process is about to stop.")
    probes: dict[Dependency, Callable[[], Awaitable[object]]] = {
        "mongodb": lambda: mongo.admin.command("ping"),
        "temporal": temporal.responds,
    }
    needed = [name for name in probes if name in needs]
    responds = await asyncio.gather(*(_responds(name, probes[name]) for name in needed))
    unavailable: list[str] = [name for name, up in zip(needed, responds, strict=True) if not up]
    if unavailable:
        raise NotReady(unavailable)
    return Health()


async def _responds(name: Dependency, probe: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT.total_seconds()):
            return bool(await probe())
    except (PyMongoError, TimeoutError) as error:
        logger.warning("%s does not respond: %s", name, type(error).__name__)
    return False
