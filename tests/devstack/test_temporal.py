"""The embedded Temporal server has our search attributes, even on an older database."""

from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.common import SearchAttributeKey

from devstack.temporal import running_temporal_dev_server
from workflows import register_search_attributes as registration
from workflows.search_attributes import SEARCH_ATTRIBUTES

NAMES = {key.name for key in SEARCH_ATTRIBUTES}


async def _known(client: Client) -> set[str]:
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return set(answer.custom_attributes)


@pytest.mark.long
async def test_search_attributes_are_added_to_a_new_and_to_an_older_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_temporal_dev_server(tmp_path) as address:
        assert await _known(await Client.connect(address)) == NAMES
    added_later = SearchAttributeKey.for_keyword("AddedLater")
    monkeypatch.setattr(registration, "SEARCH_ATTRIBUTES", [*SEARCH_ATTRIBUTES, added_later])
    with running_temporal_dev_server(tmp_path) as address:
        assert await _known(await Client.connect(address)) == {*NAMES, "AddedLater"}


@pytest.mark.long
async def test_registering_names_what_was_missing_once(tmp_path: Path) -> None:
    with running_temporal_dev_server(tmp_path) as address:
        client = await Client.connect(address)
        assert await registration.register_search_attributes(client) == []


@pytest.mark.long
async def test_an_attribute_of_another_type_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_temporal_dev_server(tmp_path) as address:
        client = await Client.connect(address)
        keyword = SearchAttributeKey.for_keyword("Row")
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes={"Row": int(keyword.indexed_value_type)},  # type: ignore[dict-item]  # an open enum of protobuf's
            )
        )
        monkeypatch.setattr(registration, "SEARCH_ATTRIBUTES", [SearchAttributeKey.for_int("Row")])
        with pytest.raises(registration.SearchAttributeTypeError, match="Row"):
            await registration.register_search_attributes(client)
