"""What a list of tickets costs the database."""

from datetime import timedelta
from typing import Any

import pytest
from beanie import PydanticObjectId

from api.tickets.service import SORT_ORDERS, TicketFilter, TicketSort
from tests.api.conftest import Mongo
from tests.api.tickets import GONE, HELD, SOME_ID, START, insert, ticket
from ticketing.models import Ticket
from ticketing.statuses import TicketStatus


@pytest.mark.long
async def test_every_index_of_the_tickets_is_made(mongodb: Mongo) -> None:
    wanted = {index.document["name"] for index in Ticket.Settings.indexes}

    assert wanted < (await Ticket.get_pymongo_collection().index_information()).keys()


def stages(plan: dict[str, Any]) -> set[str]:
    inner = [plan.get("inputStage"), *plan.get("inputStages", [])]
    return {plan["stage"]}.union(*(stages(stage) for stage in inner if stage))


async def explain(filter: TicketFilter, sort: TicketSort, *, behind: bool) -> dict[str, Any]:
    order = SORT_ORDERS[sort]
    conditions = [filter.conditions()]
    if behind:
        key = START + timedelta(seconds=150) if order.field == "created_at" else 200
        conditions.append(order.after(key, PydanticObjectId(SOME_ID)))
    query = Ticket.find({"$and": conditions}, sort=order.sort, limit=21)
    cursor = Ticket.get_pymongo_collection().find(
        query.get_filter_query(), sort=order.sort, limit=21
    )
    plan: dict[str, Any] = await cursor.explain()
    return plan


STATES: dict[TicketStatus, dict[str, Any]] = {
    TicketStatus.AVAILABLE: {},
    TicketStatus.RESERVED: HELD,
    TicketStatus.SOLD: GONE,
}
SELLERS = [None, PydanticObjectId(f"{0:024x}")]


async def insert_many(*, rare: TicketStatus) -> None:
    """A thousand tickets, of which one in a hundred has the rare status."""
    common = [state for status, state in STATES.items() if status is not rare]
    await insert(
        *(ticket(n, **(common[n // 2 % 2] if n % 100 else STATES[rare])) for n in range(1000))
    )


@pytest.mark.long
@pytest.mark.parametrize("sort", list(TicketSort))
@pytest.mark.parametrize("status", [None, *TicketStatus])
async def test_no_list_is_sorted_in_memory_or_read_from_the_whole_collection(
    mongodb: Mongo, status: TicketStatus | None, sort: TicketSort
) -> None:
    await insert_many(rare=TicketStatus.RESERVED)
    for seller in SELLERS:
        for behind in (False, True):
            plan = await explain(TicketFilter(status=status, seller_id=seller), sort, behind=behind)
            used = stages(plan["queryPlanner"]["winningPlan"])
            assert "IXSCAN" in used
            assert used.isdisjoint({"COLLSCAN", "SORT"}), (seller, behind)


@pytest.mark.long
@pytest.mark.parametrize("sort", list(TicketSort))
async def test_no_list_within_prices_is_read_from_the_whole_collection(
    mongodb: Mongo, sort: TicketSort
) -> None:
    """Where few tickets match, MongoDB may find them by price and sort those few."""
    await insert_many(rare=TicketStatus.RESERVED)
    for status in (None, *TicketStatus):
        for seller in SELLERS:
            filter = TicketFilter(status=status, seller_id=seller, min_price=100, max_price=300)
            plan = await explain(filter, sort, behind=True)
            used = stages(plan["queryPlanner"]["winningPlan"])
            assert "IXSCAN" in used
            assert "COLLSCAN" not in used


@pytest.mark.long
@pytest.mark.parametrize("sort", list(TicketSort))
@pytest.mark.parametrize("status", list(TicketStatus))
async def test_a_page_of_a_rare_status_reads_no_more_than_it_shows(
    mongodb: Mongo, status: TicketStatus, sort: TicketSort
) -> None:
    await insert_many(rare=status)

    plan = await explain(TicketFilter(status=status), sort, behind=False)

    stats = plan["executionStats"]
    assert stats["nReturned"] == stats["totalDocsExamined"] == 10


@pytest.mark.long
@pytest.mark.parametrize("sort", list(TicketSort))
async def test_a_search_reads_the_words_in_their_order(mongodb: Mongo, sort: TicketSort) -> None:
    await insert_many(rare=TicketStatus.RESERVED)

    plan = await explain(TicketFilter(words="ticket 7"), sort, behind=False)

    used = stages(plan["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in used
    assert used.isdisjoint({"COLLSCAN", "SORT"})


@pytest.mark.long
@pytest.mark.parametrize("words", ["ticket", "ticket 7", "7 ticket"])
async def test_a_search_reads_no_more_than_has_its_rarest_word(mongodb: Mongo, words: str) -> None:
    await insert_many(rare=TicketStatus.RESERVED)

    plan = await explain(TicketFilter(words, status=None), TicketSort.NEWEST, behind=False)

    stats = plan["executionStats"]
    assert stats["nReturned"] == stats["totalDocsExamined"]
