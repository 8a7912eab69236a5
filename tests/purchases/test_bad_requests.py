"""What strangers and broken clients are told, and that nothing comes of it."""

from typing import Any

import pytest

from tests.api.conftest import assert_problem
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person

UNKNOWN = "0" * 24
ROUTES = [
    ("POST", "/api/orders"),
    ("GET", "/api/orders"),
    ("GET", f"/api/orders/{UNKNOWN}"),
    ("DELETE", f"/api/orders/{UNKNOWN}"),
    ("POST", "/api/payments"),
]
NO_JSON_OBJECTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"pm_card_visa"',
    b"{'ticketId': 1}",
    b'{"ticketId":',
    b"NaN",
    b"\xff",
    b"[" * 9999,
]
MALFORMED_IDS = ["", "x", "0" * 23, "0" * 25, "g" * 24, 7, None, True, [UNKNOWN], {"$ne": None}]


@pytest.fixture
async def order(market: Marketplace, seller: Person, buyer: Person) -> Json:
    """The buyer's order, waiting for a payment."""
    return await buyer.reserve(await seller.list_ticket())


async def test_a_stranger_is_told_to_sign_in_before_anything_else(
    idle_market: Marketplace,
) -> None:
    stranger = idle_market.visit()
    requests: list[dict[str, Any]] = [
        {"json": {"ticketId": UNKNOWN, "orderId": UNKNOWN, "paymentMethod": "pm_card_visa"}},
        {"json": {}},
        {"content": "{", "headers": {"Content-Type": "application/json"}},
        {"params": {"limit": "many"}},
        {"headers": {"Authorization": "Bearer forged"}},
        {"headers": {"Cookie": "session=forged"}},
        {"headers": {"Idempotency-Key": ""}},
    ]
    for method, path in ROUTES:
        for request in requests:
            answer = await stranger.request(method, path, **request)
            assert_problem(answer, 401, "not_authenticated")
    assert await idle_market.written() == {"tickets": [], "orders": [], "charges": []}


async def test_a_strangers_payment_for_a_real_order_is_not_made(
    market: Marketplace, order: Json
) -> None:
    before = await market.written()
    stranger = Person(market.visit())
    assert_problem(await stranger.pay(order), 401, "not_authenticated")
    assert_problem(await stranger.cancel(order), 401, "not_authenticated")
    assert_problem(await stranger.ask_for({"id": order["ticketId"]}), 401, "not_authenticated")
    assert await market.written() == before
    assert market.sandbox.requests == []


async def test_a_body_that_is_no_json_object_is_refused(
    idle_market: Marketplace, buyer: Person
) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/api/orders", "/api/payments"):
        for content in NO_JSON_OBJECTS:
            answer = await buyer.http.post(path, content=content, headers=headers)
            assert_problem(answer, 422, "validation_error")
    assert await idle_market.written() == {"tickets": [], "orders": [], "charges": []}


async def test_a_body_over_64_kib_is_refused(idle_market: Marketplace, buyer: Person) -> None:
    for path in ("/api/orders", "/api/payments"):
        answer = await buyer.http.post(path, json={"ticketId": "0" * 70_000})
        assert_problem(answer, 413, "content_too_large")


@pytest.mark.parametrize("path", ["/api/orders", "/api/payments"])
@pytest.mark.parametrize("keys", [[""], ["two words"], ['"open'], ["k" * 256], ["one", "two"]])
async def test_a_malformed_idempotency_key_is_refused_and_named(
    idle_market: Marketplace, buyer: Person, path: str, keys: list[str]
) -> None:
    ids = {"ticketId": UNKNOWN, "orderId": UNKNOWN}
    headers = [("Idempotency-Key", key) for key in keys]
    answer = await buyer.http.post(path, json=ids, headers=headers)
    problem = assert_problem(answer, 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]


async def test_a_malformed_ticket_id_is_refused_and_named(
    idle_market: Marketplace, buyer: Person
) -> None:
    for ticket_id in MALFORMED_IDS:
        answer = await buyer.http.post("/api/orders", json={"ticketId": ticket_id})
        assert _fields(assert_problem(answer, 422, "validation_error")) == ["ticketId"]


async def test_a_malformed_order_id_is_refused_in_a_body_and_not_found_in_a_path(
    idle_market: Marketplace, buyer: Person
) -> None:
    for order_id in MALFORMED_IDS:
        payment = {"orderId": order_id, "paymentMethod": "pm_card_visa"}
        answer = await buyer.http.post("/api/payments", json=payment)
        assert _fields(assert_problem(answer, 422, "validation_error")) == ["orderId"]
    for order_id in ("x", "0" * 23, "0" * 25, "g" * 24, "%00", "null"):
        for method in ("GET", "DELETE"):
            answer = await buyer.http.request(method, f"/api/orders/{order_id}")
            assert_problem(answer, 404, "order_not_found")


async def test_a_payment_method_that_is_no_id_of_stripes_is_refused_at_once(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    before = await market.written()
    for method in (
        "",
        "pm_",
        "card_visa",
        "PM_card_visa",
        "4242424242424242",
        "pm_card visa",
        "pm_card_visa\n",
        " pm_card_visa",
        "pm_card_visa/../x",
        "pm_" + "x" * 300,
        "pm_kärte",
        7,
        None,
        ["pm_card_visa"],
        {"id": "pm_card_visa"},
    ):
        payment = {"orderId": order["id"], "paymentMethod": method}
        answer = await buyer.http.post("/api/payments", json=payment)
        assert _fields(assert_problem(answer, 422, "validation_error")) == ["paymentMethod"]
    assert await market.written() == before
    assert market.sandbox.requests == []
    assert (await buyer.order(order)) == order


async def test_missing_and_unknown_fields_are_refused_and_named(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    before = await market.written()
    ticket_id, order_id = order["ticketId"], order["id"]
    payment = {"orderId": order_id, "paymentMethod": "pm_card_visa"}
    for path, body, fields in (
        ("/api/orders", {}, ["ticketId"]),
        ("/api/orders", {"ticketId": ticket_id, "price": 1}, ["price"]),
        ("/api/orders", {"ticketId": ticket_id, "userId": UNKNOWN}, ["userId"]),
        ("/api/orders", {"ticket_id": ticket_id}, ["ticketId", "ticket_id"]),
        ("/api/payments", {}, ["orderId", "paymentMethod"]),
        ("/api/payments", {"orderId": order_id}, ["paymentMethod"]),
        ("/api/payments", {"paymentMethod": "pm_card_visa"}, ["orderId"]),
        ("/api/payments", payment | {"amount": 1}, ["amount"]),
        ("/api/payments", payment | {"card": {"number": "4242424242424242"}}, ["card"]),
        (
            "/api/payments",
            {"order_id": order_id, "payment_method": "pm_card_visa"},
            ["orderId", "order_id", "paymentMethod", "payment_method"],
        ),
    ):
        answer = await buyer.http.post(path, json=body)
        assert sorted(_fields(assert_problem(answer, 422, "validation_error"))) == fields, body
    assert await market.written() == before
    assert market.sandbox.requests == []


async def test_what_a_broken_request_said_is_checked_before_what_it_is_about(
    idle_market: Marketplace, buyer: Person
) -> None:
    payment = {"orderId": UNKNOWN, "paymentMethod": "card"}
    answer = await buyer.http.post("/api/payments", json=payment)
    assert_problem(answer, 422, "validation_error")
    payment["paymentMethod"] = "pm_card_visa"
    assert_problem(await buyer.http.post("/api/payments", json=payment), 404, "order_not_found")


async def test_a_list_that_cannot_be_is_refused(idle_market: Marketplace, buyer: Person) -> None:
    for field, values in {
        "limit": ["0", "101", "-1", "1.5", "many"],
        "status": ["paid", "canceled"],
        "cursor": ["x", "e30", "x" * 501],
        "userId": [UNKNOWN],
        "page": ["2"],
    }.items():
        for value in values:
            answer = await buyer.http.get("/api/orders", params={field: value})
            assert _fields(assert_problem(answer, 422, "validation_error")) == [field]


async def test_a_page_of_another_site_may_neither_order_nor_pay_nor_cancel(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    before = await market.written()
    payment = {"orderId": order["id"], "paymentMethod": "pm_card_visa"}
    foreign = {"Origin": "https://evil.example"}
    for method, path, body in (
        ("POST", "/api/orders", {"ticketId": order["ticketId"]}),
        ("POST", "/api/payments", payment),
        ("DELETE", f"/api/orders/{order['id']}", None),
    ):
        answer = await buyer.http.request(method, path, json=body, headers=foreign)
        assert_problem(answer, 403, "foreign_origin")
    assert await market.written() == before
    assert market.sandbox.requests == []


def _fields(problem: Json) -> list[str]:
    return [error["field"] for error in problem["errors"]]
