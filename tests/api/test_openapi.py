"""The description says what the routes do, and its examples work."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

EVERYWHERE = {"408", "413", "415", "431", "500"}
"""What any route may be answered with."""


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


@pytest.fixture
async def description(client: AsyncClient) -> dict[str, Any]:
    description: dict[str, Any] = (await client.get("/openapi.json")).json()
    return description


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def example_of(description: dict[str, Any], schema: str) -> dict[str, Any]:
    """What the documentation page offers to send."""
    properties = description["components"]["schemas"][schema]["properties"]
    return {name: value["examples"][0] for name, value in properties.items()}


async def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    schemas = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}

    assert set(references(description)) <= schemas


async def test_every_refusal_is_described_as_a_problem(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert response["content"].keys() == {"application/problem+json"}, (name, status)


async def test_no_default_error_of_the_framework_is_described(description: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in description["components"]["schemas"]


async def test_every_operation_explains_itself(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(description)]
    assert len(names) == len(set(names))
    for name, operation in operations(description):
        assert operation.get("description"), name
        assert operation.get("tags"), name


def described(description: dict[str, Any], prefix: str) -> dict[str, set[str]]:
    return {
        name: set(operation["responses"]) - EVERYWHERE
        for name, operation in operations(description)
        if prefix in name
    }


async def test_users_describe_every_status_that_they_answer_with(
    description: dict[str, Any],
) -> None:
    assert described(description, "/api/users") == {
        "post /api/users/signup": {"201", "403", "409", "422", "429", "503"},
        "post /api/users/signin": {"200", "401", "403", "422", "429", "503"},
        "post /api/users/signout": {"200", "403", "422", "503"},
        "get /api/users/currentuser": {"200", "503"},
        "post /api/users/token": {"200", "401", "403", "422", "429", "503"},
    }


async def test_tickets_describe_every_status_that_they_answer_with(
    description: dict[str, Any],
) -> None:
    change = {"401", "403", "404", "409", "412", "422", "503"}
    assert described(description, "/api/tickets") == {
        "post /api/tickets": {"201", "401", "403", "422", "503"},
        "get /api/tickets": {"200", "401", "422", "503"},
        "get /api/tickets/events": {"200", "422", "503"},
        "get /api/tickets/{ticket_id}": {"200", "404", "503"},
        "put /api/tickets/{ticket_id}": {"200"} | change,
        "delete /api/tickets/{ticket_id}": {"204"} | change,
    }


async def test_a_timeline_describes_every_status_that_it_answers_with(
    description: dict[str, Any],
) -> None:
    path = "get /api/orders/{order_id}/timeline"
    assert described(description, "/timeline") == {path: {"200", "401", "404", "503"}}


async def test_health_describes_every_status_that_it_answers_with(
    description: dict[str, Any],
) -> None:
    assert described(description, "z") == {
        "get /healthz": {"200"},
        "get /readyz": {"200", "422", "503"},
    }


async def test_routes_that_can_be_repeated_say_by_which_header(description: dict[str, Any]) -> None:
    documented = {
        name: parameter
        for name, operation in operations(description)
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }
    assert documented.keys() == {
        "post /api/tickets",
        "post /api/orders",
        "post /api/payments",
        "post /api/orders/{order_id}/refund",
    }
    for name, parameter in documented.items():
        assert (parameter["in"], parameter["required"]) == ("header", False)
        assert parameter["description"], name
        pattern = re.compile(parameter["schema"]["pattern"])
        assert pattern.search(parameter["schema"]["examples"][0])
    for name, operation in operations(description):
        if name in documented:
            examples = {
                status: response["content"]["application/problem+json"]["examples"]
                for status, response in operation["responses"].items()
                if status in {"409", "422"}
            }
            # A ticket is listed by one write, so nobody meets it half done.
            takes_a_while = name != "post /api/tickets"
            assert ("request_in_progress" in examples.get("409", {})) == takes_a_while, name
            assert "idempotency_key_reused" in examples["422"], name


async def test_operators_routes_want_the_operator_token(description: dict[str, Any]) -> None:
    assert described(description, "/api/operations") == {
        "get /api/operations/invariants": {"200", "401", "404", "422", "503"},
        "post /api/operations/invariants": {"202", "401", "403", "404", "422", "503"},
    }
    assert description["components"]["securitySchemes"]["operator"]["scheme"] == "bearer"
    for name, operation in operations(description):
        if "/api/operations" in name:
            assert operation["security"] == [{"operator": []}]


async def test_every_route_says_what_any_route_may_answer(
    description: dict[str, Any],
) -> None:
    for name, operation in operations(description):
        assert operation["responses"].keys() >= EVERYWHERE, name


async def test_a_route_that_needs_a_session_says_how_to_get_one(
    description: dict[str, Any],
) -> None:
    schemes = description["components"]["securitySchemes"]
    assert schemes["cookie"]["name"] == "session"
    assert schemes["bearer"]["flows"]["password"]["tokenUrl"] == "/api/users/token"
    for name, operation in operations(description):
        if "/api/tickets" in name and not name.startswith("get"):
            assert operation["security"] == [{"bearer": []}, {"cookie": []}], name
            assert "401" in operation["responses"]


async def test_the_examples_work_when_pasted(
    client: AsyncClient, description: dict[str, Any]
) -> None:
    credentials = example_of(description, "SignUpBody")
    assert (await client.post("/api/users/signup", json=credentials)).status_code == 201
    answer = await client.post("/api/users/signin", json=example_of(description, "SignInBody"))
    assert answer.status_code == 200
    ticket = example_of(description, "TicketBody")
    assert (await client.post("/api/tickets", json=ticket)).status_code == 201


async def test_the_documentation_is_a_page(client: AsyncClient) -> None:
    answer = await client.get("/docs")

    assert answer.status_code == 200
    assert "/openapi.json" in answer.text
