"""`make demo` fills a running stack with tickets."""

import http.server
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from devstack import demo
from devstack.demo_listings import CLEO, LISTINGS, PASSWORD, SELLERS
from devstack.ports import free_ports
from devstack.process import REPOSITORY
from devstack.settings import StackSettings
from devstack.stack import Stack
from ticketing.statuses import TicketStatus

Json = dict[str, Any]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = StackSettings.on_free_ports(tmp_path_factory.mktemp("demo"))
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    with Stack(settings, environ) as stack:
        yield stack


def make_demo(api_port: int) -> subprocess.CompletedProcess[str]:
    """Run `python -m devstack.demo`, with a proxy in the environment that it must not use."""
    environ = {**os.environ, "API_PORT": str(api_port), "HTTP_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "devstack.demo"]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False
    )


def filled(stack: Stack) -> str:
    """Run the demo; its output."""
    done = make_demo(stack.settings.api_port)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def signed_in(stack: Stack, email: str, *, new: bool = False) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.urls["api"], timeout=60) as client:
        path = "/api/users/signup" if new else "/api/users/signin"
        answer = client.post(path, json={"email": email, "password": PASSWORD})
        assert answer.is_success, answer.text
        yield client


def demo_tickets(stack: Stack) -> list[Json]:
    """The demo sellers' tickets, newest first."""
    tickets: list[Json] = []
    for seller in SELLERS:
        with signed_in(stack, seller.email) as client:
            page = client.get("/api/tickets?seller=me&status=all&limit=100").json()
            assert page["nextCursor"] is None
            tickets += page["items"]
    return sorted(tickets, key=lambda ticket: str(ticket["createdAt"]), reverse=True)


def statuses(tickets: list[Json]) -> Counter[str]:
    return Counter(ticket["status"] for ticket in tickets)


def reservations(buyer: httpx.Client) -> list[Json]:
    orders: list[Json] = buyer.get("/api/orders?status=created").json()["items"]
    return orders


PROMISED = {"available": 29, "reserved": 5, "sold": 6}


@pytest.mark.long
def test_the_market_has_tickets_of_every_status_on_its_first_page(stack: Stack) -> None:
    said = filled(stack)

    tickets = demo_tickets(stack)
    assert statuses(tickets) == PROMISED
    assert "40 demo tickets: 29 available, 5 reserved, 6 sold." in said
    first_page = statuses(tickets[:20])
    assert min(first_page[status] for status in TicketStatus) >= 3
    prices = [ticket["price"] for ticket in tickets]
    assert (min(prices), max(prices)) == (800, 42_000)
    assert len({ticket["title"] for ticket in tickets}) == len(LISTINGS)


@pytest.mark.long
def test_whoever_reads_the_answer_finds_the_storefront_and_can_sign_in(stack: Stack) -> None:
    said = filled(stack)

    assert f"{stack.urls['api']}/\n" in said
    (password,) = re.findall("password “(.+)”", said)
    emails = re.findall(r"^ +(\S+@\S+\.test) ", said, re.MULTILINE)
    assert len(emails) == 5
    for email in emails:
        user = {"email": email, "password": password}
        assert httpx.post(f"{stack.urls['api']}/api/users/signin", json=user).status_code == 200


@pytest.mark.long
def test_a_second_run_changes_nothing(stack: Stack) -> None:
    filled(stack)
    before = demo_tickets(stack)

    assert filled(stack).startswith("Nothing was missing.\n")

    assert demo_tickets(stack) == before


@pytest.mark.long
def test_a_second_run_creates_what_is_missing(stack: Stack) -> None:
    filled(stack)
    with signed_in(stack, CLEO.email) as buyer:
        for order in reservations(buyer):
            assert buyer.delete(f"/api/orders/{order['id']}").status_code == 200
    gone = next(ticket for ticket in demo_tickets(stack) if ticket["status"] == "available")
    (seller,) = {listing.seller for listing in LISTINGS if listing.title == gone["title"]}
    with signed_in(stack, seller.email) as client:
        assert client.delete(f"/api/tickets/{gone['id']}").status_code == 204

    said = filled(stack)

    assert said.startswith("Just now: 1 listed, 2 reserved.\n")
    assert statuses(demo_tickets(stack)) == PROMISED


@pytest.mark.long
def test_an_interrupted_purchase_is_paid(stack: Stack) -> None:
    filled(stack)
    (listing, *_) = (listing for listing in LISTINGS if listing.sold_to)
    assert listing.sold_to is not None
    (ticket,) = (t for t in demo_tickets(stack) if t["title"] == listing.title)
    with signed_in(stack, listing.seller.email) as seller:
        refund = {"relist": True}
        refunded = seller.post(f"/api/orders/{ticket['orderId']}/refund", json=refund)
        assert refunded.status_code == 200, refunded.text
    with signed_in(stack, listing.sold_to.email) as buyer:
        reserved = buyer.post("/api/orders", json={"ticketId": ticket["id"]})
        assert reserved.status_code == 201, reserved.text

    assert filled(stack).startswith("Just now: 1 sold.\n")

    (now,) = (t for t in demo_tickets(stack) if t["title"] == listing.title)
    assert (now["status"], now["orderId"]) == ("sold", reserved.json()["id"])


@pytest.mark.long
def test_a_ticket_that_somebody_else_holds_is_left_to_them(stack: Stack) -> None:
    filled(stack)
    with signed_in(stack, CLEO.email) as cleo, signed_in(stack, "guest@x.test", new=True) as guest:
        given_up = reservations(cleo)[0]
        assert cleo.delete(f"/api/orders/{given_up['id']}").status_code == 200
        taken = guest.post("/api/orders", json={"ticketId": given_up["ticketId"]})
        assert taken.status_code == 201

        assert filled(stack).startswith("Nothing was missing.\n")

        ticket = guest.get(f"/api/tickets/{given_up['ticketId']}").json()
        assert ticket["orderId"] == taken.json()["id"]
        assert guest.delete(f"/api/orders/{taken.json()['id']}").status_code == 200


@pytest.mark.long
def test_a_payment_that_stripe_has_not_answered_is_not_said_to_be_a_sale(
    tmp_path: Path,
) -> None:
    settings = StackSettings.on_free_ports(tmp_path)
    environ = {**os.environ, "STRIPE_API_KEY": "", "PAYMENT_WAIT": "0.2"}
    with Stack(settings, environ) as stack:
        fault = {"match": {"path": "/v1/payment_intents"}, "kind": "lost_request", "times": None}
        faults = f"{stack.urls['stripe_sandbox']}/_sandbox/faults"
        assert httpx.post(faults, json=fault).status_code == 201

        said = filled(stack)

    assert said.startswith("Just now: 40 listed, 6 still being paid, 5 reserved.\n")
    assert "29 available, 11 reserved, 0 sold." in said


@pytest.mark.long
def test_an_account_with_another_password_is_named(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(stack)
    monkeypatch.setattr(demo, "PASSWORD", "another password")
    with pytest.raises(demo.DemoError, match=r"^mara@demo\.test has another password"):
        demo.fill_market(stack.urls["api"])


def test_without_a_stack_it_says_how_to_start_one() -> None:
    (port,) = free_ports(1)
    done = make_demo(port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Holdfast does not answer at http://127.0.0.1:{port}.\n")
    assert "make run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_is_wrong_is_named() -> None:
    done = make_demo(0)
    assert done.returncode == 1
    assert done.stderr.startswith("API_PORT: ")
    assert "Traceback" not in done.stderr


class _SomethingElse(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_another_program_on_the_port_is_recognized() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SomethingElse) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = make_demo(server.server_port)
        server.shutdown()
    assert done.returncode == 1
    assert "is answered by something other than Holdfast" in done.stderr
    assert "Traceback" not in done.stderr
