"""Health: for load balancers and orchestrators."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from pymongo.errors import PyMongoError
from temporalio.service import RPCError

from api.dependencies import Mongo, Temporal
from api.problems import problems
from ticketing.errors import NotReady

logger = logging.getLogger(__name__)

router = APIRouter(tags=["health"])

PROBE_TIMEOUT = timedelta(seconds=1)


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def get_health() -> Health:
    """The process answers. Says nothing about what it depends on."""
    return Health()


@router.get("/readyz", responses=problems(NotReady))
async def get_readiness(request: Request, mongo: Mongo, temporal: Temporal) -> Health:
    """Requests can be served: MongoDB and Temporal respond. A refusal names what does not.

    A process that is about to stop names itself (`api`): it still answers, so go elsewhere.
    """
    if request.app.state.is_draining:
        raise NotReady(["api"], "This process is about to stop.")
    probes: dict[str, Callable[[], Awaitable[object]]] = {
        "mongodb": lambda: mongo.admin.command("ping"),
        "temporal": lambda: temporal.service_client.check_health(timeout=PROBE_TIMEOUT),
    }
    responds = await asyncio.gather(*(_responds(*probe) for probe in probes.items()))
    unavailable = [name for name, up in zip(probes, responds, strict=True) if not up]
    if unavailable:
        raise NotReady(unavailable)
    return Health()


async def _responds(part: str, probe: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT.total_seconds()):
            return bool(await probe())
    except (PyMongoError, TimeoutError) as error:
        logger.warning("%s does not respond: %s", part, type(error).__name__)
    except (RPCError, RuntimeError) as error:
        # Such as a certificate that is not trusted, which nothing else would tell.
        logger.warning("%s does not respond: %s", part, error)
    return False
