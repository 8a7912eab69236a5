"""Random requests, made from the API's own description; every answer is as it describes.

A few and the same in every `make test-all`, some of them in `make test`; `make fuzz` sends more
(CASES for each route, SEED).
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi.routing import APIRoute
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from requests import Session
from schemathesis import CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.http import middleware
from api.http.problems import MEDIA_TYPE
from api.storefront import accounts, buying, sales, selling
from api.tickets.service import TicketService
from stripe_sandbox.server import SandboxServer, listen, url_of
from tests.api.conftest import sign_up
from tests.api.tickets import SOME_ID
from tests.fuzz.bodies import RawBody, raw_bodies
from tests.fuzz.conftest import ANSWERS
from tests.fuzz.scenes import EMAIL, PASSWORD, AnyCase, Caller, Situation, stage
from tests.purchases.contract import Documentation
from tests.purchases.marketplace import Marketplace, open_marketplace
from tests.settings import api_settings
from ticketing.errors import OrderNotFound, PaymentInProgress
from ticketing.models import DOCUMENT_MODELS
from ticketing.mongodb import connect_mongodb
from ticketing.settings import MongoDBSettings
from workflows.reconciliation_schedules import schedule_reconciliation

Operation = APIOperation[Any, Any, Any, Any]

CASES = os.environ.get("CASES")

EVERY_RUN = settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,  # a request takes as long as MongoDB, Temporal and Stripe take
)
LONG_RUN = settings(EVERY_RUN, max_examples=int(CASES or 1), derandomize=False)
BODIES = settings(EVERY_RUN, max_examples=40)  # most are answered before anybody is asked
CONTROL = settings(EVERY_RUN, max_examples=50, phases=[Phase.generate])


def refusal_conformance(_context: CheckContext, response: Response, case: AnyCase) -> None:
    """The code of a refusal is one that the route names for its status."""
    if response.headers.get("content-type") == [MEDIA_TYPE]:
        answers = case.operation.definition.raw["responses"]
        described = answers.get(str(response.status_code))
        if described is not None:  # else it is another check's
            codes = described["content"][MEDIA_TYPE]["examples"]
            assert response.json()["code"] in codes, response.text


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    refusal_conformance,
]


def described() -> dict[str, Operation]:
    """The operations of the API, as it describes them itself; nothing is connected to."""
    nowhere = MongoDBSettings(url=SecretStr("mongodb://nobody.example"))
    app = create_app(api_settings(nowhere))
    schema = schemathesis.openapi.from_dict(app.openapi())
    operations = (found.ok() for found in schema.get_all_operations() if isinstance(found, Ok))
    return {operation.label: operation for operation in operations}


OPERATIONS = described()
del OPERATIONS["GET /api/tickets/events"]  # never ends; see tests/api/test_ticket_events.py
TAKING_BODIES = [label for label in OPERATIONS if not label.startswith("GET ")]
PAGES_WITH_FORMS = sorted(
    route.path
    for pages in (accounts, selling, buying, sales)
    for route in pages.router.routes
    if isinstance(route, APIRoute) and "POST" in (route.methods or ())
)

FITTING = {
    "GET /api/tickets/{ticket_id}": (Caller.NOBODY, Situation.RESERVED),
    "PUT /api/tickets/{ticket_id}": (Caller.SELLER, Situation.AVAILABLE),
    "DELETE /api/tickets/{ticket_id}": (Caller.SELLER, Situation.AVAILABLE),
    "POST /api/orders": (Caller.STRANGER, Situation.AVAILABLE),
    "GET /api/orders": (Caller.BUYER, Situation.REFUNDED),
    "GET /api/orders/{order_id}": (Caller.BUYER, Situation.AUTHENTICATING),
    "GET /api/orders/{order_id}/timeline": (Caller.SELLER, Situation.REFUNDED),
    "DELETE /api/orders/{order_id}": (Caller.BUYER, Situation.RESERVED),
    "POST /api/payments": (Caller.BUYER, Situation.RESERVED),
    "POST /api/orders/{order_id}/refund": (Caller.SELLER, Situation.COMPLETED),
}
"""The circumstances in which a route does what it is for; the others need none."""


def cases_of(operation: Operation) -> st.SearchStrategy[AnyCase]:
    """Requests that are as described, and such as are not, where there is something to spoil."""
    as_described = operation.as_strategy(GenerationMode.POSITIVE)
    if operation.body or operation.query:
        return as_described | operation.as_strategy(GenerationMode.NEGATIVE)
    return as_described


def circumstances_of(operation: Operation) -> st.SearchStrategy[tuple[Caller, Situation]]:
    """Who asks, and what about: half of the time what leads furthest, or else anything."""
    if operation.label not in FITTING:
        return st.tuples(st.sampled_from(Caller), st.just(Situation.MADE_UP))
    anything = st.tuples(st.sampled_from(Caller), st.sampled_from(Situation))
    return anything | st.just(FITTING[operation.label])


cards = st.sampled_from(
    ["pm_card_visa", "pm_card_authenticationRequired", "pm_card_chargeDeclined"]
)


@dataclass
class ServedApi:
    """The API behind its real server, and the market behind that."""

    url: str
    market: Marketplace
    portal: BlockingPortal
    http: Session

    def fuzz(self, label: str, settings: settings) -> Counter[int]:
        """Send requests to a route and compare each answer with its description.

        Returns how often each status was answered.
        """
        operation, answers = OPERATIONS[label], Counter[int]()

        @settings
        @given(cases_of(operation), circumstances_of(operation), cards)
        def send(case: AnyCase, circumstances: tuple[Caller, Situation], card: str) -> None:
            caller, situation = circumstances
            scene = self.portal.call(stage, self.market, situation, card)
            scene.put_into(case)
            answer = case.call(self.url, self.http, headers=scene.headers(caller))
            answers[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        send()
        return answers

    def fuzz_bodies(self, label: str, settings: settings) -> Counter[int]:
        """Send bodies of any kind to a route, and compare each answer with its description."""
        operation, answers = OPERATIONS[label], Counter[int]()
        callers = st.sampled_from(Caller)

        @settings
        @given(operation.as_strategy(GenerationMode.POSITIVE), raw_bodies, callers)
        def send(case: AnyCase, body: RawBody, caller: Caller) -> None:
            scene = self.portal.call(stage, self.market, Situation.MADE_UP, "pm_card_visa")
            headers = scene.headers(caller) | body.headers
            answer = case.call(self.url, self.http, headers=headers, data=body.content)
            answers[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        send()
        return answers

    def fuzz_form(self, path: str, settings: settings) -> Counter[int]:
        """Send bodies of any kind to a page that takes a form; each is answered with a page."""
        answers = Counter[int]()

        @settings
        @given(raw_bodies, st.sampled_from(Caller))
        def send(body: RawBody, caller: Caller) -> None:
            scene = self.portal.call(stage, self.market, Situation.MADE_UP, "pm_card_visa")
            headers = {"Accept": "text/html"} | scene.headers(caller) | body.headers
            answer = self.http.post(
                self.url + path, data=body.content, headers=headers, allow_redirects=False
            )
            answers[answer.status_code] += 1
            assert answer.status_code < 500, answer.text
            is_page = answer.headers.get("Content-Type") == "text/html; charset=utf-8"
            assert is_page or answer.is_redirect

        send()
        return answers


@pytest.fixture(scope="module")
def api(
    mongodb_url: str,
    temporal_address: str,
    documentation: Documentation,
) -> Iterator[ServedApi]:
    """One API for all requests, so that each meets what the ones before have left behind."""
    mongodb = MongoDBSettings(url=SecretStr(mongodb_url), database="test_fuzz")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            served_market(mongodb, temporal_address, documentation)
        ) as (url, market),
        Session() as http,
    ):
        yield ServedApi(url, market, portal, http)


@asynccontextmanager
async def served_market(
    mongodb: MongoDBSettings, temporal_address: str, documentation: Documentation
) -> AsyncIterator[tuple[str, Marketplace]]:
    """A marketplace with a worker, and where its API is served."""
    mongo = await connect_mongodb(mongodb)
    for document in DOCUMENT_MODELS:
        await document.get_pymongo_collection().delete_many({})
    opening = open_marketplace(mongo, mongodb, temporal_address, documentation)
    async with mongo, opening as market, market.working():
        await sign_up(market.visit(), email=EMAIL, password=PASSWORD)
        await schedule_reconciliation(market.temporal, market.settings.task_queue)
        listener = listen("127.0.0.1", 0)
        server = SandboxServer(market.app)
        server.config.lifespan = "off"  # the marketplace has begun it already
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.ready.wait()
        yield url_of(listener), market
        server.stop()
        await serving


@pytest.mark.long
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_the_api_describes_it(
    api: ServedApi, label: str, pytestconfig: pytest.Config
) -> None:
    answers = api.fuzz(label, LONG_RUN if CASES else EVERY_RUN)
    pytestconfig.stash[ANSWERS].update(answers)


@pytest.mark.parametrize("label", TAKING_BODIES)
@pytest.mark.long
def test_whatever_is_sent_is_answered_as_the_api_describes_it(
    api: ServedApi, label: str, pytestconfig: pytest.Config
) -> None:
    answers = api.fuzz_bodies(label, LONG_RUN if CASES else BODIES)
    pytestconfig.stash[ANSWERS].update(answers)


@pytest.mark.parametrize("path", PAGES_WITH_FORMS)
@pytest.mark.long
def test_whatever_is_sent_to_a_form_is_answered_with_a_page(
    api: ServedApi, path: str, pytestconfig: pytest.Config
) -> None:
    address = re.sub("{[^}]+}", SOME_ID, path)
    answers = api.fuzz_form(address, LONG_RUN if CASES else BODIES)
    pytestconfig.stash[ANSWERS].update(answers)


@pytest.mark.long
def test_control_a_charset_that_nobody_refuses_is_found(
    api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "declares_only_utf8", lambda _headers: True)
    with pytest.raises(AssertionError, match="Something went wrong"):
        api.fuzz_form("/signin", settings(CONTROL, max_examples=200))


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        (ZeroDivisionError, "Server error"),
        (PaymentInProgress, "Undocumented status code"),
        (OrderNotFound, "refusal_conformance"),
    ],
)
def test_control_a_planted_mistake_is_found(
    api: ServedApi,
    monkeypatch: pytest.MonkeyPatch,
    mistake: type[Exception],
    complaint: str,
) -> None:
    async def get(*_: object) -> None:
        raise mistake

    monkeypatch.setattr(TicketService, "get", get)
    with pytest.raises(FailureGroup, match=complaint):
        api.fuzz("GET /api/tickets/{ticket_id}", CONTROL)
