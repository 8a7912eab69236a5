"""`GET /api/tickets/events`: every change is heard, in order, whoever made it and where."""

import asyncio
import logging
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from beanie import PydanticObjectId
from fastapi import FastAPI
from httpx import AsyncClient, HTTPError
from pydantic import SecretStr
from pymongo.asynchronous.client_session import AsyncClientSession

from api.app import create_app
from api.resources import resources_of
from api.tickets import changes as ticket_changes
from api.tickets import feed as ticket_feed
from api.tickets.changes import TicketIds
from api.tickets.feed import MAX_ABSENCE, TicketFeed
from devstack.mongodb import mongodb_part, mongodb_url
from devstack.ports import free_ports
from devstack.process import REPOSITORY
from tests.api import test_main
from tests.api.conftest import Json, Mongo, assert_problem, list_ticket, sign_up, visit
from tests.api.event_stream import EVENTS, TIMEOUT_SECONDS, EventReader, hearing, serving
from tests.api.tickets import hold, insert, ticket
from tests.resources import exchange
from tests.waiting import eventually
from ticketing.models import Ticket
from ticketing.mongodb import in_transaction
from ticketing.settings import ApiSettings, MongoDBSettings


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[str]:
    """Where the API is served."""
    async with serving(app) as url:
        yield url


UseFeed = Callable[..., TicketFeed]


@pytest.fixture
async def use_feed(app: FastAPI) -> AsyncIterator[UseFeed]:
    """Gives the app a feed with other limits, which stops watching when the test is over."""
    async with AsyncExitStack() as stack:

        def use(**limits: Any) -> TicketFeed:
            feed = TicketFeed(**limits)
            stack.push_async_callback(feed.aclose)
            exchange(app, ticket_feed=feed)
            return feed

        yield use


@asynccontextmanager
async def another_process(
    settings: ApiSettings, tmp_path: Path
) -> AsyncIterator[tuple[str, subprocess.Popen[str]]]:
    """A process of the API's own, on the same database, and where it serves."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = test_main.settings(settings.mongodb.url.get_secret_value(), port)
    environment["MONGODB_DATABASE"] = settings.mongodb.database
    process = test_main.start(tmp_path, **environment)
    try:
        await eventually(lambda: answers(url), timeout=60)
        yield url, process
    finally:
        if process.poll() is None:
            await end(process)


async def answers(url: str) -> bool:
    async with AsyncClient() as client:
        with suppress(HTTPError):
            return (await client.get(f"{url}/healthz")).is_success
    return False


async def end(process: subprocess.Popen[str]) -> tuple[str, float]:
    """Tell the process to stop; what it logged, and how many seconds it took."""
    told_at = monotonic()
    process.send_signal(signal.SIGTERM)
    _, logged = await asyncio.to_thread(process.communicate, timeout=30)
    return logged, monotonic() - told_at


async def edit(client: AsyncClient, ticket: Json, **changes: Any) -> Json:
    body = {"title": ticket["title"], "price": ticket["price"], **changes}
    answer = await client.put(f"/api/tickets/{ticket['id']}", json=body)
    assert answer.status_code == 200, answer.text
    edited: Json = answer.json()
    return edited


async def release(ticket: Json) -> None:
    await Ticket.get_pymongo_collection().update_one(
        {"_id": PydanticObjectId(ticket["id"])}, {"$set": {"order_id": None}}
    )


async def shown(client: AsyncClient, ticket: Json) -> Json:
    """The ticket as everybody sees it now."""
    answer: Json = (await client.get(f"/api/tickets/{ticket['id']}")).json()
    return answer


async def test_every_change_is_heard_as_everybody_sees_it(url: str, seller: AsyncClient) -> None:
    async with hearing(url) as stream:
        await stream.begins()

        listed = await list_ticket(seller)
        assert await heard(stream) == ("ticket", listed)

        edited = await edit(seller, listed, price=4200)
        assert await heard(stream) == ("ticket", edited)

        await hold(listed)
        reserved = await shown(seller, listed)
        assert (await heard(stream), reserved["status"]) == (("ticket", reserved), "reserved")

        await release(listed)
        assert await heard(stream) == ("ticket", await shown(seller, listed))

        await hold(listed, sold=True)
        sold = await shown(seller, listed)
        assert (await heard(stream), sold["status"]) == (("ticket", sold), "sold")


async def heard(stream: EventReader) -> tuple[str, Any]:
    event = await stream.next()
    return event.type, event.data


async def test_a_withdrawn_ticket_is_heard_of_by_its_id(url: str, seller: AsyncClient) -> None:
    listed = await list_ticket(seller)
    async with hearing(url) as stream:
        await stream.begins()
        await seller.delete(f"/api/tickets/{listed['id']}")

        assert await heard(stream) == ("ticket_withdrawn", {"id": listed["id"]})


async def test_the_documented_command_shows_what_happens(url: str, seller: AsyncClient) -> None:
    text = (REPOSITORY / "docs" / "ticket-events.md").read_text()
    (command,) = re.findall(r"<!-- listen -->\n```sh\n(.*?)```", text, re.DOTALL)
    command = command.replace("http://127.0.0.1:8000", url).replace("curl", "exec curl")
    curl = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    assert curl.stdout is not None
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await curl.stdout.readuntil(b"\nid: ")
        await list_ticket(seller, title="Radiohead, Berlin, row 4")
        shown = await curl.stdout.readuntil(b"row 4")
    curl.terminate()
    await curl.wait()

    assert b"\n\nevent: ticket\ndata: " in shown


async def test_nothing_holds_a_stream_back_or_keeps_it(url: str) -> None:
    async with hearing(url) as stream:
        await stream.begins()

        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        assert stream.response.headers["Cache-Control"] == "no-store"
        assert stream.response.headers["X-Accel-Buffering"] == "no"
        assert stream.retry == 1000


async def test_a_change_is_heard_whichever_process_made_it(
    url: str, seller: AsyncClient, api_settings: ApiSettings, tmp_path: Path
) -> None:
    session = {"Cookie": f"session={seller.cookies['session']}"}
    async with (
        another_process(api_settings, tmp_path) as (other_url, _),
        AsyncClient(base_url=other_url, headers=session) as at_the_other,
        hearing(url) as here,
        hearing(other_url) as there,
    ):
        await here.begins()
        await there.begins()
        made_here = await list_ticket(seller)
        made_there = await list_ticket(at_the_other)

        assert [event.data for event in await here.take(2)] == [made_here, made_there]
        assert [event.data for event in await there.take(2)] == [made_here, made_there]


async def miss_something(url: str, seller: AsyncClient) -> tuple[str, list[Json]]:
    """Hear of one ticket, and not of the next ones: the last event's id, and what was missed."""
    async with hearing(url) as stream:
        await stream.begins()
        await list_ticket(seller)
        last = await stream.next()
    return last.id, [await list_ticket(seller, title=f"Row {n}") for n in range(5)]


@pytest.mark.parametrize("how", ["last_event_id", "after"])
async def test_who_comes_back_is_told_what_was_missed(
    url: str, seller: AsyncClient, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the process remembers")

    monkeypatch.setattr(ticket_feed, "missed_changes", refuse)
    last_id, missed = await miss_something(url, seller)
    async with hearing(url, **{how: last_id}) as stream:
        next_one = await list_ticket(seller)

        assert [event.data for event in await stream.take(6)] == [*missed, next_one]


@pytest.mark.long
async def test_another_process_tells_what_was_missed(
    url: str, seller: AsyncClient, api_settings: ApiSettings, tmp_path: Path
) -> None:
    last_id, missed = await miss_something(url, seller)
    async with (
        another_process(api_settings, tmp_path) as (other_url, _),
        hearing(other_url, last_event_id=last_id) as stream,
    ):
        next_one = await list_ticket(seller)

        assert [event.data for event in await stream.take(6)] == [*missed, next_one]


async def test_what_is_no_longer_remembered_is_looked_up(
    use_feed: UseFeed, url: str, seller: AsyncClient
) -> None:
    use_feed(max_recent=2)
    last_id, missed = await miss_something(url, seller)
    async with hearing(url, last_event_id=last_id) as stream:
        assert [event.data for event in await stream.take(5)] == missed


@pytest.mark.parametrize("max_recent", [1000, 0], ids=["remembered", "looked up"])
async def test_who_heard_half_of_a_transaction_is_told_the_other_half(
    app: FastAPI, use_feed: UseFeed, url: str, max_recent: int
) -> None:
    use_feed(max_recent=max_recent)

    async def list_two(session: AsyncClientSession) -> None:
        await Ticket.insert_many([ticket(1), ticket(2)], session=session)

    async with hearing(url) as stream:
        await stream.begins()
        await in_transaction(resources_of(app).mongo, list_two)
        first, second = await stream.take(2)
    async with hearing(url, last_event_id=first.id) as stream:
        assert await stream.next() == second


async def test_the_header_counts_before_the_query(url: str, seller: AsyncClient) -> None:
    last_id, missed = await miss_something(url, seller)
    async with hearing(url, after=last_id) as stream:
        later_id = (await stream.take(3))[-1].id
    async with hearing(url, after=last_id, last_event_id=later_id) as stream:
        assert [event.data for event in await stream.take(2)] == missed[3:]


async def test_changes_while_the_past_is_looked_up_are_told_once_and_after_it(
    use_feed: UseFeed, url: str, seller: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = use_feed(max_recent=2)
    last_id, missed = await miss_something(url, seller)

    async def look_up_too_much(
        after: str, since: str, tickets: TicketIds
    ) -> list[ticket_changes.TicketChange]:
        missed.append(await list_ticket(seller))
        further = await eventually(lambda: position_beyond(since))
        return await ticket_changes.missed_changes(after, further, tickets)

    async def position_beyond(token: str) -> str:
        position = await feed.position() or ""
        return position if position > token else ""

    monkeypatch.setattr(ticket_feed, "missed_changes", look_up_too_much)
    async with hearing(url, last_event_id=last_id) as stream:
        told = await stream.take(6)
        missed.append(await list_ticket(seller))

        assert [event.data for event in [*told, await stream.next()]] == missed


async def test_no_change_falls_between_a_page_and_its_stream(
    app: FastAPI, url: str, seller: AsyncClient
) -> None:
    position = await resources_of(app).ticket_feed.position()
    assert position is not None
    page = (await seller.get("/api/tickets")).json()["items"]
    listed = await list_ticket(seller)  # before the page opens its stream

    async with hearing(url, after=position) as stream:
        assert (page, await heard(stream)) == ([], ("ticket", listed))


async def test_a_position_that_another_process_was_first_to_see_is_waited_for(
    app: FastAPI, url: str, seller: AsyncClient
) -> None:
    position = await resources_of(app).ticket_feed.position()
    assert position is not None
    async with hearing(url, after=position + "00") as stream:
        listed = await list_ticket(seller)

        assert await heard(stream) == ("ticket", listed)


async def test_only_the_tickets_that_are_asked_for_are_heard_of(
    url: str, seller: AsyncClient
) -> None:
    first, other, second = [await list_ticket(seller) for _ in range(3)]
    async with hearing(url, ticket=[first["id"], second["id"]]) as stream:
        await stream.begins()
        for listed in (first, other, second):
            await edit(seller, listed, price=100)

        assert [event.data["id"] for event in await stream.take(2)] == [first["id"], second["id"]]


@pytest.mark.parametrize("max_recent", [1000, 0], ids=["remembered", "looked up"])
async def test_of_what_was_missed_only_the_tickets_that_are_asked_for_are_told(
    use_feed: UseFeed, url: str, seller: AsyncClient, max_recent: int
) -> None:
    use_feed(max_recent=max_recent)
    last_id, missed = await miss_something(url, seller)
    async with hearing(url, last_event_id=last_id, ticket=missed[2]["id"]) as stream:
        await edit(seller, missed[3], price=100)
        edited = await edit(seller, missed[2], price=100)

        assert [event.data for event in await stream.take(2)] == [missed[2], edited]


async def test_a_filtered_stream_says_how_far_it_is(
    use_feed: UseFeed, url: str, seller: AsyncClient
) -> None:
    """Else its position would be forgotten by MongoDB while other tickets change."""
    use_feed(keep_alive=timedelta(milliseconds=20))
    mine = await list_ticket(seller)
    async with hearing(url, ticket=mine["id"]) as stream, hearing(url) as all_of_them:
        await all_of_them.begins()
        await list_ticket(seller)
        elsewhere = await all_of_them.next()
        while stream.last_event_id < elsewhere.id:
            await stream.begins()

    async with hearing(url, last_event_id=stream.last_event_id) as stream:
        listed = await list_ticket(seller)
        assert await heard(stream) == ("ticket", listed)


@pytest.mark.parametrize("token", ["not-a-token", "00", "FF", "8", "g" * 5000])
async def test_who_comes_with_an_unknown_token_is_told_to_read_anew(
    url: str, seller: AsyncClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_feed, "MAX_PROCESS_LAG", timedelta(milliseconds=100))
    async with hearing(url, last_event_id=token) as stream:
        assert await heard(stream) == ("reset", {})
        listed = await list_ticket(seller)
        assert await heard(stream) == ("ticket", listed)


async def test_who_missed_too_much_is_told_to_read_anew(
    use_feed: UseFeed, url: str, seller: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_changes, "MAX_MISSED", 4)
    use_feed(max_recent=0)
    last_id, _ = await miss_something(url, seller)
    async with hearing(url, last_event_id=last_id) as stream:
        assert await heard(stream) == ("reset", {})
        fresh_id = stream.last_event_id
    async with hearing(url, last_event_id=fresh_id) as stream:
        listed = await list_ticket(seller)
        assert await heard(stream) == ("ticket", listed)


async def test_who_was_away_for_long_is_told_to_read_anew_without_a_look_back(
    app: FastAPI, url: str, seller: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_id, _ = await miss_something(url, seller)
    second = int(last_id[ticket_feed.TOKEN_SECONDS], 16) - int(MAX_ABSENCE.total_seconds()) - 60
    long_ago = f"{last_id[:2]}{second:08X}{last_id[10:]}"
    monkeypatch.setattr(ticket_feed, "missed_changes", None)
    async with hearing(url, last_event_id=long_ago) as stream:
        assert await heard(stream) == ("reset", {})


async def test_who_would_wait_too_long_for_a_look_back_is_told_to_read_anew(
    use_feed: UseFeed, url: str, seller: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ticket_feed, "CATCH_UP_TIMEOUT", timedelta(milliseconds=100))
    monkeypatch.setattr(ticket_feed, "missed_changes", never)
    use_feed(max_recent=0)
    last_id, _ = await miss_something(url, seller)
    async with hearing(url, last_event_id=last_id) as stream:
        assert await heard(stream) == ("reset", {})


async def test_who_heard_of_tickets_that_were_dropped_is_told_to_read_anew(
    url: str, seller: AsyncClient
) -> None:
    async with hearing(url) as stream:
        await stream.begins()
        await list_ticket(seller)
        await stream.next()
        await Ticket.get_pymongo_collection().drop()
        assert await stream.rest() == []

    await eventually(lambda: is_served(url))
    async with hearing(url, last_event_id=stream.last_event_id) as stream:
        assert await heard(stream) == ("reset", {})
        listed = await list_ticket(seller)
        assert await heard(stream) == ("ticket", listed)


async def is_served(url: str) -> bool:
    async with AsyncClient() as client, client.stream("GET", url + EVENTS) as answer:
        return answer.is_success


async def test_who_is_too_slow_is_let_go_and_catches_up(use_feed: UseFeed, url: str) -> None:
    feed = use_feed(max_pending=3)
    async with feed.listen() as listener:
        messages = feed.messages(listener)
        _, here = [await anext(messages), await anext(messages)]
        titles = await insert(*map(ticket, range(4)))
        await eventually(lambda: listener.has_ended)
        assert [message async for message in messages] == []

    last_event_id = here.decode().removeprefix("id: ").strip()
    async with hearing(url, last_event_id=last_event_id) as stream:
        assert [event.data["title"] for event in await stream.take(4)] == titles


async def test_who_keeps_reading_is_not_let_go_in_a_burst(use_feed: UseFeed, url: str) -> None:
    use_feed(max_pending=2 * ticket_changes.BATCH)
    async with hearing(url) as stream:
        await stream.begins()
        titles = await insert(*map(ticket, range(5 * ticket_changes.BATCH)))

        assert [event.data["title"] for event in await stream.take(len(titles))] == titles


async def test_a_process_serves_so_many_streams_and_no_more(use_feed: UseFeed, url: str) -> None:
    use_feed(max_streams=1)
    async with AsyncClient(base_url=url) as another:
        async with hearing(url) as stream:
            await stream.begins()
            answer = await another.get(EVENTS)
            assert_problem(answer, 503, "too_many_streams")
            assert answer.headers["Retry-After"]

        assert await eventually(lambda: is_served(url))


@pytest.mark.parametrize(
    "query", ["ticket=1", "ticket=" + "&ticket=".join(["0" * 24] * 101), "x=1"]
)
async def test_a_malformed_filter_is_refused(client: AsyncClient, query: str) -> None:
    assert_problem(await client.get(f"{EVENTS}?{query}"), 422, "validation_error")


async def test_a_ticket_that_cannot_be_shown_is_left_out(url: str, seller: AsyncClient) -> None:
    async with hearing(url) as stream:
        await stream.begins()
        await Ticket.get_pymongo_collection().insert_one({"title": "without anything else"})
        listed = await list_ticket(seller)

        assert await heard(stream) == ("ticket", listed)


async def test_a_stream_is_logged_when_it_ends(url: str, caplog: pytest.LogCaptureFixture) -> None:
    def logged() -> list[str]:
        return [r.getMessage() for r in caplog.records if EVENTS in r.getMessage()]

    with caplog.at_level(logging.INFO, logger="api"):
        async with hearing(url) as stream:
            await stream.begins()
            assert logged() == []
        (line,) = await eventually(logged)

    assert re.fullmatch(rf"GET '{EVENTS}' 200 [\d.]+ ms", line)


@pytest.mark.long
async def test_without_mongodb_streams_end_and_catch_up_when_it_is_back(
    api_settings: ApiSettings, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    mongod = mongodb_part(tmp_path / "mongodb", port, log=tmp_path / "mongodb.log")
    settings = MongoDBSettings(url=SecretStr(mongodb_url(port)), database="test_events")
    app = create_app(api_settings.model_copy(update={"mongodb": settings}))
    mongod.start()
    await asyncio.to_thread(mongod.wait_until_ready)
    try:
        async with app.router.lifespan_context(app), serving(app) as url, visit(app) as seller:
            await sign_up(seller)
            async with hearing(url) as stream:
                await stream.begins()
                await asyncio.to_thread(mongod.kill)
                assert await stream.rest() == []

            assert await resources_of(app).ticket_feed.position() is None
            assert_problem(await visit(app).get(EVENTS), 503, "mongodb_unavailable")

            mongod.start()
            await asyncio.to_thread(mongod.wait_until_ready)
            listed = await eventually(lambda: listed_again(seller))
            await eventually(lambda: is_served(url))
            async with hearing(url, last_event_id=stream.last_event_id) as stream:
                assert await heard(stream) == ("ticket", listed)
    finally:
        await asyncio.to_thread(mongod.stop)


async def listed_again(seller: AsyncClient) -> Json | None:
    answer = await seller.post("/api/tickets", json={"title": "Back again", "price": 100})
    return answer.json() if answer.is_success else None


@pytest.mark.long
async def test_an_open_stream_does_not_hold_up_the_end_of_the_process(
    mongodb: Mongo, api_settings: ApiSettings, tmp_path: Path
) -> None:
    async with (
        another_process(api_settings, tmp_path) as (url, process),
        hearing(url) as stream,
        hearing(url, last_event_id="FF") as waiting,
    ):
        await stream.begins()
        logged, took = await end(process)  # after 15 s, it would not wait any longer
        assert (await stream.rest(), await waiting.rest()) == ([], [])

    assert (process.returncode, took < 10) == (0, True)
    assert "Traceback" not in logged
    assert '"level": "ERROR"' not in logged


@pytest.mark.long
async def test_a_stream_that_nobody_reads_does_not_hold_up_the_end_of_the_process(
    mongodb: Mongo, api_settings: ApiSettings, tmp_path: Path
) -> None:
    async with another_process(api_settings, tmp_path) as (url, process):
        with not_reading(url):
            async with hearing(url) as stream:
                await stream.begins()
                await insert(*(ticket(n, title="x" * 20_000) for n in range(250)))
                await stream.take(250)  # so the other one was sent them, as far as it goes
                logged, took = await end(process)

    assert (process.returncode, took < 10) == (0, True)
    assert "Waiting for connections" in logged
    assert "Traceback" not in logged


@contextmanager
def not_reading(url: str) -> Iterator[None]:
    """A client that asks for the stream and falls asleep, with hardly any room for what comes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect((host, int(port)))
        client.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        yield
