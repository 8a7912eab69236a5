"""The sandbox's own API beside Stripe's: faults, refund settlement, and the ledger."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stripe_sandbox.bank import Bank
from stripe_sandbox.errors import Json
from stripe_sandbox.faults import ANY_PATH, FaultKind, FaultRule, Faults
from stripe_sandbox.ledger import Ledger


class FaultMatch(BaseModel):
    """Which requests a rule applies to."""

    model_config = ConfigDict(extra="forbid")

    method: Literal["GET", "POST"] | None = None
    path: str = Field(default=ANY_PATH, pattern="^/")


class FaultRequest(BaseModel):
    """A rule as it is posted; `times` null: until it is removed."""

    model_config = ConfigDict(extra="forbid")

    match: FaultMatch = FaultMatch()
    kind: FaultKind
    times: int | None = Field(default=1, ge=1)
    delay_seconds: float = Field(default=0, ge=0, le=600)
    probability: float = Field(default=1, ge=0, le=1)
    seed: int | None = None
    status: Literal[500, 503] = 500

    def rule(self) -> FaultRule:
        """The rule that it asks for."""
        rest = self.model_dump(exclude={"match"})
        return FaultRule(method=self.match.method, path=self.match.path, **rest)


def fault_routes(faults: Faults) -> list[Route]:
    """GET, POST and DELETE of `/_sandbox/faults`, DELETE of one."""

    async def list_faults(request: Request) -> Response:
        return JSONResponse({"faults": [rule.as_json() for rule in faults.rules]})

    async def add_fault(request: Request) -> Response:
        # A page of another origin cannot send this content type unasked.
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"error": "send application/json"}, 415)
        try:
            posted = FaultRequest.model_validate_json(await request.body())
        except ValidationError as error:
            problems = json.loads(error.json(include_url=False, include_context=False))
            return JSONResponse({"error": problems}, 422)
        return JSONResponse(faults.add(posted.rule()).as_json(), 201)

    async def clear_faults(request: Request) -> Response:
        faults.clear()
        return Response(status_code=204)

    async def remove_fault(request: Request) -> Response:
        found = faults.remove(request.path_params["id"])
        return Response(status_code=204 if found else 404)

    path = "/_sandbox/faults"
    return [
        Route(path, list_faults, methods=["GET"]),
        Route(path, add_fault, methods=["POST"]),
        Route(path, clear_faults, methods=["DELETE"]),
        Route(f"{path}/{{id}}", remove_fault, methods=["DELETE"]),
    ]


class RefundSettlement(BaseModel):
    """How the bank settles a refund."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["succeeded", "failed"]


def refund_routes(bank: Bank) -> list[Route]:
    """POST of `/_sandbox/refunds/{id}`: complete or fail a refund as the bank."""

    async def settle(request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"error": "send application/json"}, 415)
        try:
            posted = RefundSettlement.model_validate_json(await request.body())
        except ValidationError as error:
            problems = json.loads(error.json(include_url=False, include_context=False))
            return JSONResponse({"error": problems}, 422)
        succeeds = posted.status == "succeeded"
        settled = bank.settle_refund(request.path_params["id"], succeeds=succeeds)
        return Response(status_code=204 if settled else 404)

    return [Route("/_sandbox/refunds/{id}", settle, methods=["POST"])]


def ledger_summary(ledger: Ledger) -> list[Json]:
    """Every payment intent, newest first, with the amounts captured and refunded."""
    refunded: dict[str, int] = {}
    for refund in ledger.objects("refund"):
        if refund.body["status"] == "failed":
            continue
        id = refund.body["payment_intent"]
        refunded[id] = refunded.get(id, 0) + refund.body["amount"]
    return [
        {
            "id": intent.id,
            "status": intent.body["status"],
            "amount": intent.body["amount"],
            "currency": intent.body["currency"],
            "captured": intent.body["amount_received"],
            "refunded": refunded.get(intent.id, 0),
            "metadata": intent.body["metadata"],
            "created": intent.body["created"],
        }
        for intent in ledger.objects("payment_intent")
    ]


def ledger_routes(ledger: Ledger) -> list[Route]:
    """GET of `/_sandbox/ledger` and `/healthz`."""

    async def show_ledger(request: Request) -> Response:
        return JSONResponse({"payment_intents": ledger_summary(ledger)})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return [
        Route("/_sandbox/ledger", show_ledger, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
    ]
