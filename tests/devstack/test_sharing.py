"""Two API processes that share only MongoDB and their settings look like one to clients."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from devstack.process import Part
from devstack.settings import ProcessCounts, StackSettings
from devstack.stack import Stack
from tests.devstack.test_shape import Json, created, list_ticket, pay, person, reserve

SIGN_INS = 20
"""The limit of failed sign-ins per hour, for one account from one address."""


class Apart(Stack):
    """Each API process and worker has its own home and temporary directory."""

    def _make_parts(self) -> dict[str, Part]:
        parts = super()._make_parts()
        for part in parts.values():
            if part.name.startswith(("api", "worker")):
                home = home_of(self, part.name)
                home.mkdir(exist_ok=True)
                own = {"HOME": str(home), "TMPDIR": str(home)}
                part.environ = {**(part.environ or {}), **own}
        return parts


def home_of(stack: Stack, name: str) -> Path:
    return stack.settings.stack_dir / f"home-of-{name}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("sharing")
    settings = StackSettings.on_free_ports(directory, ProcessCounts(api=2, workers=2))
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    with Apart(settings, environ | {"RATE_LIMITS": "on"}) as stack:
        yield stack


@pytest.fixture
def other(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the second API process, not signed in."""
    with httpx.Client(base_url=stack.api_urls[1], timeout=60) as client:
        yield client


@pytest.mark.long
def test_a_session_made_at_one_works_at_the_other_and_ends_at_both(
    stack: Stack, other: httpx.Client
) -> None:
    with person(stack.api_urls[0]) as user:
        other.cookies.update(user.cookies)
        assert other.get("/api/users/currentuser").json()["currentUser"] is not None
        order = reserve(user)
        assert pay(other, order).status_code == 201

        token = user.cookies["session"]
        assert other.post("/api/users/signout", json={}).status_code == 200
        bearer = {"Authorization": f"Bearer {token}"}
        for url in stack.api_urls:
            asked = httpx.get(f"{url}/api/users/currentuser", headers=bearer)
            assert asked.status_code == 401 or asked.json()["currentUser"] is None


@pytest.mark.long
def test_an_idempotent_retry_at_the_other_process_gets_the_same_answer(
    stack: Stack, other: httpx.Client
) -> None:
    with person(stack.api_urls[0]) as buyer, person(stack.api_urls[0]) as seller:
        other.cookies.update(buyer.cookies)
        wish = {"ticketId": list_ticket(seller)["id"]}
        key = {"Idempotency-Key": f'"{uuid4()}"'}
        first = created(buyer.post("/api/orders", json=wish, headers=key))
        assert created(other.post("/api/orders", json=wish, headers=key)) == first


@pytest.mark.long
def test_rate_limits_count_requests_to_both_processes(stack: Stack) -> None:
    email = f"{uuid4()}@example.com"
    guess = {"email": email, "password": "not the password"}
    statuses = [
        httpx.post(f"{stack.api_urls[number % 2]}/api/users/signin", json=guess).status_code
        for number in range(SIGN_INS + 2)
    ]
    assert statuses == [401] * SIGN_INS + [429] * 2


@pytest.mark.long
def test_a_ticket_listed_at_one_is_streamed_by_the_other(stack: Stack) -> None:
    with (
        person(stack.api_urls[0]) as seller,
        httpx.stream("GET", f"{stack.api_urls[1]}/api/tickets/events", timeout=30) as stream,
        ThreadPoolExecutor() as threads,
    ):
        lines = stream.iter_lines()
        while not next(lines).startswith("id:"):
            pass  # from here on it hears everything
        listed: Json = threads.submit(list_ticket, seller).result()
        assert any(listed["id"] in line for line in lines)


@pytest.mark.long
def test_a_form_of_one_process_is_accepted_by_the_other(stack: Stack, other: httpx.Client) -> None:
    page = httpx.get(f"{stack.api_urls[0]}/signup")
    (token,) = {
        part.partition('value="')[2].partition('"')[0]
        for part in page.text.split("<input")
        if 'name="csrf_token"' in part
    }
    other.cookies.update(page.cookies)
    form = {"csrf_token": token, "email": f"{uuid4()}@example.com", "password": "a long password"}
    assert other.post("/signup", data={**form, "csrf_token": "forged"}).status_code == 403
    answer = other.post("/signup", data=form)
    assert answer.status_code == 303, answer.text
    assert "session" in other.cookies


@pytest.mark.long
def test_no_process_keeps_a_file(stack: Stack) -> None:
    for url in stack.api_urls * 2:  # enough for a worker to have asked Stripe
        with person(url) as buyer:
            assert pay(buyer, reserve(buyer)).status_code == 201
    for part in stack.parts.values():
        if part.name.startswith(("api", "worker")):
            assert list(home_of(stack, part.name).rglob("*")) == []
            open_files = {os.readlink(entry) for entry in Path(f"/proc/{part.pid}/fd").iterdir()}
            files = {name for name in open_files if Path(name).is_file()}
            assert files <= {str(part.log)}, part.name
